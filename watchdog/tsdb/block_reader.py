"""Reading series.db: blocks → samples. Nothing here writes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np

from watchdog.core.model import Labels, Millis
from watchdog.tsdb.codec import CorruptDataError, unpack_samples, unpack_times, unpack_values
from watchdog.tsdb.page import ABSENT_BITS, Floats, Ints
from watchdog.tsdb.schema import DOWNSAMPLED, RAW

TIME_MAX: Millis = 1 << 62
SERIES_PER_PART = 256
"""Series whose fresh samples are kept together, by their ids."""

Statistic = Literal["mean", "min", "max"]
"""Which of the numbers is taken where five minutes are one."""
_DATA_QUERIES = {"times": "SELECT data FROM times WHERE id = ?", "block": "SELECT data FROM block WHERE id = ?"}
_STATISTIC_INDEX: dict[Statistic, int] = {"mean": 0, "min": 1, "max": 2}


class StoredSeries(NamedTuple):
    """A series of the file."""

    id: int
    key: Labels
    source: str
    whole_from: Millis
    """Samples up to this time are not there as they were delivered."""


class _Block(NamedTuple):
    id: int
    kind: int
    n: int
    times: int


def list_recent_series(db: sqlite3.Connection, source: str, since: Millis, most: int) -> list[StoredSeries]:
    """Series of a source of which there may be samples after `since`; when there are more, those that have been there
    longest. A file may hold millions that were there once."""
    rows = db.execute(
        "SELECT id, key, source, whole_from FROM series WHERE source = ? AND ("
        "EXISTS (SELECT 1 FROM block WHERE block.series = series.id AND block.until > ?) OR "
        "EXISTS (SELECT 1 FROM fresh WHERE fresh.part = series.id / ? AND fresh.until > ?)) ORDER BY id LIMIT ?",
        (source, since, SERIES_PER_PART, since, most),
    )
    return [StoredSeries(id_, decode_key(key), source, whole_from) for id_, key, source, whole_from in rows]


def list_series(db: sqlite3.Connection, names: Collection[str] | None = None) -> list[StoredSeries]:
    """The series of these metrics; None: all of them."""
    sql = "SELECT id, key, source, whole_from FROM series"
    rows = (
        [row for name in sorted(names) for row in db.execute(f"{sql} WHERE name = ?", (name,))]
        if names is not None
        else (db.execute(sql).fetchall())
    )
    return [StoredSeries(id_, decode_key(key), source, whole_from) for id_, key, source, whole_from in rows]


def read_watched_spans(db: sqlite3.Connection, source: str, now: Millis) -> list[tuple[Millis, Millis]]:
    """The spans in which a source was watched, ascending and apart from each other."""
    spans: list[tuple[Millis, Millis]] = []
    for begin, until in db.execute("SELECT begin, until FROM watched WHERE source = ? ORDER BY begin", (source,)):
        if begin > now:
            continue
        if spans and begin <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], min(until, now)))
        else:
            spans.append((begin, min(until, now)))
    return spans


def count_samples(db: sqlite3.Connection, ids: Iterable[int], after: Millis, until: Millis) -> int:
    """How many samples there are at most in the blocks of these series."""
    sql = "SELECT coalesce(sum(n), 0) FROM block WHERE series = ? AND until > ? AND start <= ?"
    return sum(db.execute(sql, (id_, after, until)).fetchone()[0] for id_ in ids)


def read_samples(
    db: sqlite3.Connection,
    ids: Sequence[int],
    after: Millis,
    until: Millis,
    *,
    raw_only: bool = False,
    statistic: Statistic = "mean",
) -> Iterator[tuple[list[int], Ints, Floats]]:
    """Samples of these series with ``after < t <= until``: ids that have the same times, times [n], values [ids, n].

    Each series comes once, those without a sample not at all. Raises DamagedError.
    """
    fresh = read_fresh(db, ids, after, until)
    alike: dict[tuple[object, ...], tuple[list[int], list[list[_Block]]]] = {}
    for id_ in ids:
        blocks = [
            _Block(*row)
            for row in db.execute(
                "SELECT id, kind, n, times FROM block WHERE series = ? AND until > ? AND start <= ? AND kind <= ? "
                "ORDER BY start, id",
                (id_, after, until, RAW if raw_only else DOWNSAMPLED),
            )
        ]
        times = fresh[id_][0].tobytes() if id_ in fresh else b""
        if blocks or times:
            group = alike.setdefault((*((block.times, block.n) for block in blocks), times), ([], []))
            group[0].append(id_)
            group[1].append(blocks)
    for mine, rows in alike.values():
        yield from _read_group(db, mine, rows, [fresh[id_] for id_ in mine if id_ in fresh], after, until, statistic)


def _read_group(
    db: sqlite3.Connection,
    ids: list[int],
    rows: list[list[_Block]],
    fresh: list[tuple[Ints, Floats]],
    after: Millis,
    until: Millis,
    statistic: Statistic,
) -> Iterator[tuple[list[int], Ints, Floats]]:
    tail = fresh[0][0].size if fresh else 0
    n = sum(block.n for block in rows[0]) + tail
    t, v = np.empty(n, np.int64), np.empty((len(ids), n))
    at = 0
    for block in rows[0]:
        t[at : at + block.n] = unpack_times(_read_data(db, "times", block.times), block.n)
        at += block.n
    for row, blocks in enumerate(rows):
        at = 0
        for block in blocks:
            v[row, at : at + block.n] = _unpack_block(_read_data(db, "block", block.id), block, statistic)
            at += block.n
    for row, (times, values) in enumerate(fresh):
        t[n - tail :], v[row, n - tail :] = times, values
    t, v = sort_by_time(t, v)
    first, last = t.searchsorted(after, "right"), t.searchsorted(until, "right")
    if last > first:
        yield ids, t[first:last], v[:, first:last]


def sort_by_time(t: Ints, v: Floats) -> tuple[Ints, Floats]:
    """In order of time, the last axis of `v` as well. When the clock was set back, what was said last of a time counts."""
    if t.size < 2 or not (t[1:] <= t[:-1]).any():
        return t, v
    order = np.argsort(t, kind="stable")
    order = order[np.append(np.diff(t[order]) > 0, True)]
    return t[order], v[..., order]


def _read_data(db: sqlite3.Connection, table: str, id_: int) -> bytes:
    found = db.execute(_DATA_QUERIES[table], (id_,)).fetchone()
    if found is None:
        raise CorruptDataError(f"a row of {table} is missing")
    return bytes(found[0])


def _unpack_block(data: bytes, block: _Block, statistic: Statistic) -> Floats:
    return unpack_values(data if block.kind == RAW else split_statistics(data)[_STATISTIC_INDEX[statistic]], block.n)


def split_statistics(data: bytes) -> list[bytes]:
    """Mean, least, greatest and number, each packed."""
    ends = np.cumsum(np.frombuffer(data[:16], "<u4")) + 16 if len(data) >= 16 else np.zeros(4, np.int64)
    if ends[-1] != len(data):
        raise CorruptDataError("five minutes are not whole")
    return [data[start:end] for start, end in zip((16, *ends[:-1]), ends, strict=True)]


def read_fresh(
    db: sqlite3.Connection, ids: Iterable[int], after: Millis, until: Millis
) -> dict[int, tuple[Ints, Floats]]:
    """id → samples that are in no block yet, ascending."""
    wanted = set(ids)
    parts: dict[int, list[tuple[Ints, Floats]]] = {}
    for part in {id_ // SERIES_PER_PART for id_ in wanted}:
        sql = "SELECT rows, n, data FROM fresh WHERE part = ? AND until > ? AND start <= ? ORDER BY id"
        for rows, n, data in db.execute(sql, (part, after, until)):
            sheet_ids, t, v = unpack_samples(data, rows, n)
            there = v.view(np.int64) != ABSENT_BITS
            whole = there.all(axis=1)
            for row, id_ in enumerate(sheet_ids.tolist()):
                if id_ in wanted:
                    parts.setdefault(id_, []).append((t, v[row]) if whole[row] else (t[there[row]], v[row][there[row]]))
    return {
        id_: (np.concatenate([t for t, _ in found]), np.concatenate([v for _, v in found]))
        for id_, found in parts.items()
    }


def encode_key(key: Labels) -> str:
    return json.dumps(key, ensure_ascii=False, separators=(",", ":"))


def decode_key(text: str) -> Labels:
    """Raises DamagedError."""
    try:
        return tuple((str(label), str(value)) for label, value in json.loads(text))
    except (ValueError, TypeError):
        raise CorruptDataError("a series has no labels") from None
