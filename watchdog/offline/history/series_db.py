"""The watchdog's own series.db → pages. Read beside a running daemon; nothing is written."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import numpy as np

from watchdog.core.model import Labels, Millis
from watchdog.offline.history.page_builder import HistoryError
from watchdog.tsdb import block_reader
from watchdog.tsdb.codec import CorruptDataError
from watchdog.tsdb.labels import METRIC_NAME_LABEL
from watchdog.tsdb.page import NO_DOWNTIME, Floats, Ints, SeriesPage
from watchdog.tsdb.schema import APPLICATION_ID, SCHEMA_VERSION

_MAGIC = b"SQLite format 3\x00"
_AGGREGATE_SUFFIXES: dict[str, block_reader.Statistic] = {":min": "min", ":max": "max"}
"""What a name may end with, to read the least or the greatest where five minutes are one mean."""


def is_series_db(path: Path) -> bool:
    """A database, by its first bytes."""
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def last_sample_time(path: Path) -> Millis | None:
    """Time of the last sample. That a series is gone, as each start writes down, is none."""
    with _open_transaction(path) as db:
        found = db.execute("SELECT max(until) FROM block UNION ALL SELECT max(until) FROM fresh").fetchall()
        (delivered,) = db.execute("SELECT max(until) FROM watched").fetchone()
    last = max((t for (t,) in found if t is not None), default=None)
    return last if last is None or delivered is None else min(last, delivered)


def read_pages(
    path: Path,
    metrics: Collection[str] = (),
    after: Millis = -block_reader.TIME_MAX,
    until: Millis = block_reader.TIME_MAX,
    max_samples: int | None = None,
) -> list[SeriesPage]:
    """What it holds of these metrics (none named, or ``""``: of all) with ``after < t <= until``.

    `max_samples`: more samples than that are refused. Raises HistoryError with the cure.
    """
    pages: list[SeriesPage] = []
    with _open_transaction(path) as db:
        for what, known in _select_series(db, metrics):
            if (
                max_samples is not None
                and (found := block_reader.count_samples(db, [one.id for one in known], after, until)) > max_samples
            ):
                cure = "ask for less, or ask the file itself: --history series.db"
                raise HistoryError(f"that reads {found:,} samples, more than {max_samples:,} — {cure}")
            for source in sorted({one.source for one in known}):
                mine = {one.id: one.key for one in known if one.source == source}
                for ids, t, v in block_reader.read_samples(db, list(mine), after, until, statistic=what):
                    pages.append(_build_page(db, source, [mine[id_] for id_ in ids], t, v))
    return pages


def _build_page(db: sqlite3.Connection, source: str, keys: list[Labels], t: Ints, v: Floats) -> SeriesPage:
    spans = block_reader.read_watched_spans(db, source, block_reader.TIME_MAX)
    page = SeriesPage(t, v, keys, min(spans[0][0], int(t[0])) if spans else int(t[0]))
    page.source = source
    gaps = [(before[1], after[0]) for before, after in itertools.pairwise(spans)]
    page.downtimes = np.array(gaps, np.int64) if gaps else NO_DOWNTIME
    return page


def _select_series(
    db: sqlite3.Connection, metrics: Collection[str]
) -> Iterator[tuple[block_reader.Statistic, list[block_reader.StoredSeries]]]:
    if not metrics or "" in metrics:
        yield "mean", block_reader.list_series(db)
        return
    plain = block_reader.list_series(db, metrics)
    yield "mean", plain
    for name in sorted(set(metrics) - {dict(one.key)[METRIC_NAME_LABEL] for one in plain}):
        if (what := _AGGREGATE_SUFFIXES.get(name[-4:])) is not None:
            yield (
                what,
                [one._replace(key=_with_name(one.key, name)) for one in block_reader.list_series(db, [name[:-4]])],
            )


def _with_name(key: Labels, name: str) -> Labels:
    return tuple((label, name if label == METRIC_NAME_LABEL else value) for label, value in key)


@contextmanager
def _open_transaction(path: Path) -> Iterator[sqlite3.Connection]:
    """As it is at one moment."""
    try:
        db = _connect(path)
    except sqlite3.Error as error:
        raise HistoryError(f"{path}: {error} — check its owner and its mode") from None
    try:
        owner, version = (db.execute(f"PRAGMA {what}").fetchone()[0] for what in ("application_id", "user_version"))
        if owner != APPLICATION_ID:
            raise HistoryError(f"{path} is some other program's database — the watchdog's own is series.db")
        if version != SCHEMA_VERSION:
            raise HistoryError(
                f"{path} has schema {version}, this is for {SCHEMA_VERSION} — use the version that wrote it"
            )
        db.execute("BEGIN")
        yield db
    except (sqlite3.Error, CorruptDataError, ValueError, TypeError) as error:
        cure = "the daemon sets a damaged one aside and begins a new one"
        raise HistoryError(f"{path} cannot be read: {error} — {cure}") from None
    finally:
        db.close()


def _connect(path: Path) -> sqlite3.Connection:
    address = f"file:{quote(str(path.absolute()))}?mode=ro"
    db = sqlite3.connect(address, uri=True, isolation_level=None, timeout=5)
    try:
        db.execute("PRAGMA application_id").fetchone()
    except sqlite3.OperationalError:  # at rest, in a folder that is not ours to write into
        db.close()
        if path.with_name(path.name + "-wal").exists():
            raise
        db = sqlite3.connect(f"{address}&immutable=1", uri=True, isolation_level=None)
    return db
