"""What becomes of samples with time: an hour of them becomes blocks, old blocks become means, the oldest go.

All of it works inside of the caller's transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable

import numpy as np

from watchdog.core.model import Millis
from watchdog.tsdb import block_reader
from watchdog.tsdb.codec import pack_times, pack_values, unpack_times, unpack_values
from watchdog.tsdb.page import STALE_BITS, Bools, Floats, Ints, is_missing
from watchdog.tsdb.schema import DOWNSAMPLED, RAW

HOUR: Millis = 3_600_000
DAY: Millis = 24 * HOUR
DOWNSAMPLE_STEP: Millis = 300_000
"""What is one mean: as long as PromQL looks back, so that it finds one at any time."""
_MAX_SERIES_AT_ONCE = 200
"""Series that age in one go."""
_MAX_FRESH_ROWS = 200
"""Flushes that are kept one by one at most."""


def compact(db: sqlite3.Connection, now: Millis) -> None:
    """An hour of fresh samples becomes blocks: of a few hundred series at a time, so that ten thousand take turns. So do
    those of series that have brought nothing for an hour."""
    (parts,) = db.execute("SELECT count(DISTINCT part) FROM fresh").fetchone()
    full = db.execute(
        "SELECT part FROM fresh GROUP BY part HAVING max(until) - min(start) >= ? OR count(*) >= ? "
        "OR max(until) < ? ORDER BY min(start) LIMIT ?",
        (HOUR, _MAX_FRESH_ROWS, now - HOUR, max(2, parts // 20)),
    ).fetchall()
    for (part,) in full:
        ids = range(part * block_reader.SERIES_PER_PART, (part + 1) * block_reader.SERIES_PER_PART)
        times: dict[bytes, int] = {}
        for id_, (t, v) in sorted(
            block_reader.read_fresh(db, ids, -block_reader.TIME_MAX, block_reader.TIME_MAX).items()
        ):
            t, v = block_reader.sort_by_time(t, v)
            mine = _first_stale_only(v)
            _insert_block(db, id_, RAW, t[mine], pack_values(v[mine]), times)
        db.execute("DELETE FROM fresh WHERE part = ?", (part,))


def _first_stale_only(v: Floats) -> Bools:
    """A series that is gone says so once."""
    gone = v.view(np.int64) == STALE_BITS
    gone[1:] &= gone[:-1].copy()
    gone[:1] = False
    return np.asarray(~gone)


def _insert_block(
    db: sqlite3.Connection, series: int, kind: int, t: Ints, data: bytes, times: dict[bytes, int]
) -> None:
    """One block. `times`: rows of that table that are known; series of one scrape share theirs."""
    packed = pack_times(t)
    if packed not in times:
        row = db.execute("INSERT INTO times (data) VALUES (?)", (packed,)).lastrowid
        assert row is not None
        times[packed] = row
    db.execute(
        "INSERT INTO block (series, kind, start, until, n, times, data) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (series, kind, int(t[0]), int(t[-1]), t.size, times[packed], data),
    )


def downsample(db: sqlite3.Connection, now: Millis, raw: Callable[[str], Millis], coarse: Millis) -> None:
    """Samples older than `raw` (of that metric) become means, a day at a time; means older than `coarse` go.

    What is more than can be done at once waits for the next time.
    """
    least = raw("")
    candidates = db.execute(
        "SELECT DISTINCT block.series, series.name FROM block JOIN series ON series.id = block.series "
        "WHERE block.kind = ? AND block.until < ?",
        (RAW, now - least - DAY),
    ).fetchall()
    candidates = [
        (series, name) for series, name in candidates if _oldest_block_end(db, series) < now - raw(name) - DAY
    ]
    times: dict[bytes, int] = {}
    for series, name in candidates[:_MAX_SERIES_AT_ONCE]:
        _downsample_series(db, series, now - raw(name), now - coarse, times)
    if db.execute("DELETE FROM block WHERE kind = ? AND until < ?", (DOWNSAMPLED, now - coarse)).rowcount or candidates:
        delete_unused_times(db)
    db.execute("DELETE FROM watched WHERE until < ?", (now - max(coarse, least),))


def _oldest_block_end(db: sqlite3.Connection, series: int) -> Millis:
    sql = "SELECT min(until) FROM block WHERE series = ? AND kind = ?"
    return int(db.execute(sql, (series, RAW)).fetchone()[0])


def _downsample_series(
    db: sqlite3.Connection, series: int, before: Millis, keep: Millis, times: dict[bytes, int]
) -> None:
    blocks = db.execute(
        "SELECT block.id, n, times.data, block.data FROM block JOIN times ON times.id = block.times "
        "WHERE series = ? AND kind = ? AND until < ? ORDER BY start, block.id LIMIT 48",
        (series, RAW, before),
    ).fetchall()
    t, v = block_reader.sort_by_time(
        np.concatenate([unpack_times(data, n) for _, n, data, _ in blocks]),
        np.concatenate([unpack_values(data, n) for _, n, _, data in blocks]),
    )
    whole = t <= t[-1] // DOWNSAMPLE_STEP * DOWNSAMPLE_STEP  # five minutes that go on in the next block wait for it
    if not whole.any():
        whole[:] = True
    if not whole.all():
        _insert_block(db, series, RAW, t[~whole], pack_values(v[~whole]), times)
    until = int(t[whole][-1])
    at, numbers = downsampled_statistics(t[whole & ~is_missing(v)], v[whole & ~is_missing(v)])
    kept = at > keep
    if kept.any():
        packed = [pack_values(np.ascontiguousarray(row[kept])) for row in numbers]
        sizes = np.array([len(part) for part in packed], "<u4").tobytes()
        _insert_block(db, series, DOWNSAMPLED, at[kept], sizes + b"".join(packed), times)
    db.executemany("DELETE FROM block WHERE id = ?", [(block[0],) for block in blocks])
    _raise_whole_from(db, {series: until})


def downsampled_statistics(t: Ints, v: Floats) -> tuple[Ints, list[Floats]]:
    """Ends of the five minutes that hold samples; mean, least, greatest and number of each. NaN counts in none of them."""
    ends = -(-t // DOWNSAMPLE_STEP) * DOWNSAMPLE_STEP
    at, first = np.unique(ends, return_index=True)
    if not at.size:
        return at, [np.zeros(0)] * 4
    numbers = ~np.isnan(v)
    with np.errstate(all="ignore"):
        n = np.add.reduceat(numbers.astype(np.float64), first)
        mean = np.add.reduceat(np.where(numbers, v, 0.0), first) / n
        least = np.fmin.reduceat(v, first)
        return at, [np.clip(mean, least, np.fmax.reduceat(v, first)), least, np.fmax.reduceat(v, first), n]


def drop_empty_series(db: sqlite3.Connection, ids: Iterable[int] | None = None) -> bool:
    """Series of which no sample is left go (of these; None: of all), or a source that makes up names would fill the file
    with them. Says whether any went."""
    sql = (
        "DELETE FROM series WHERE NOT EXISTS (SELECT 1 FROM block WHERE block.series = series.id) "
        "AND NOT EXISTS (SELECT 1 FROM fresh WHERE fresh.part = series.id / ?)"
    )
    part = block_reader.SERIES_PER_PART
    if ids is None:
        return bool(db.execute(sql, (part,)).rowcount)
    return db.executemany(sql + " AND id = ?", [(part, id_) for id_ in ids]).rowcount > 0


def enforce_size_limit(db: sqlite3.Connection, max_bytes: int) -> bool:
    """Deletes the oldest until the file holds less than `max_bytes` bytes. Says whether anything had to go."""
    if used_bytes(db) <= max_bytes:
        return False
    while used_bytes(db) > max_bytes * 0.95:
        sql = "SELECT until, id, series, kind FROM block WHERE kind = ? ORDER BY until LIMIT 200"
        oldest = sorted(row for kind in (RAW, DOWNSAMPLED) for row in db.execute(sql, (kind,)))[:200]
        if not oldest:
            first = db.execute("SELECT id, until FROM fresh ORDER BY id LIMIT 10").fetchall()
            if not first:
                break
            db.execute("DELETE FROM fresh WHERE id <= ?", (first[-1][0],))
            db.execute("UPDATE series SET whole_from = max(whole_from, ?)", (max(until for _, until in first),))
            continue
        db.executemany("DELETE FROM block WHERE id = ?", [(id_,) for _, id_, _, _ in oldest])
        _raise_whole_from(db, {series: until for until, _, series, kind in oldest if kind == RAW})
        delete_unused_times(db)
        drop_empty_series(db, {series for _, _, series, _ in oldest})
    return True


def used_bytes(db: sqlite3.Connection) -> int:
    """Bytes that are in use."""
    pages, free, size = (
        db.execute(f"PRAGMA {what}").fetchone()[0] for what in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def drop_after(db: sqlite3.Connection, until: Millis) -> None:
    """The clock was set back: what was written of times that have not come yet goes, as far as it stands apart."""
    db.execute("DELETE FROM block WHERE start > ?", (until,))
    db.execute("DELETE FROM fresh WHERE start > ?", (until,))
    db.execute("DELETE FROM watched WHERE begin > ?", (until,))
    db.execute("UPDATE watched SET until = ? WHERE until > ?", (until, until))
    delete_unused_times(db)


def delete_unused_times(db: sqlite3.Connection) -> None:
    """Times that no block has any more go."""
    db.execute("DELETE FROM times WHERE NOT EXISTS (SELECT 1 FROM block WHERE block.times = times.id)")


def _raise_whole_from(db: sqlite3.Connection, until: dict[int, Millis]) -> None:
    db.executemany(
        "UPDATE series SET whole_from = max(whole_from, ?) WHERE id = ?", [(t, id_) for id_, t in until.items()]
    )
