"""series.db: samples that outlive a restart. Disposable: it may be deleted at any time, also while it is in use.

One writer, in a thread of the daemon's choice; readers open the file for themselves. What cannot be read is set aside
and a new file is begun; what cannot be written (a full disk) waits, and after five minutes it is lost. Neither is
anybody else's problem: nothing here raises because of the file.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from watchdog.core.model import Labels, Millis
from watchdog.core.telemetry import log
from watchdog.host.private_folder import create_private_file
from watchdog.tsdb import block_reader, retention
from watchdog.tsdb.codec import CorruptDataError, pack_samples
from watchdog.tsdb.head import Head
from watchdog.tsdb.labels import LOOKBACK_DELTA, METRIC_NAME_LABEL
from watchdog.tsdb.page import ABSENT_BITS, STALE, STALE_BITS, TIME_MIN, Floats, Ints
from watchdog.tsdb.schema import APPLICATION_ID, DOWNSAMPLED, RAW, SCHEMA, SCHEMA_VERSION, SOURCE_STATE
from watchdog.tsdb.write_buffer import StateSnapshot, WriteBatch

_MIN_FREE_BYTES = 64 * 2**20
"""Bytes of a disk that are left to those who need them more: the journal, and the bot."""
_MAX_SET_ASIDE = 3
"""Files that one run sets aside; a disk that spoils every one of them is not filled up."""
_CORRUPTION_CODES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISMATCH)
"""What SQLite says of a file that is not what it should be; everything else may pass."""


class RetentionLimits(NamedTuple):
    raw: Millis
    """How long samples are kept as they were delivered."""
    coarse: Millis
    """How long means of them are kept."""
    max_bytes: int
    """Bytes."""


class SeriesArchive:
    """The file. `write` is for one thread at a time."""

    def __init__(self, path: Path, limits: RetentionLimits, retention_of: Callable[[str], Millis]) -> None:
        """`retention_of`: how long a metric is needed as it was delivered, whatever the limits say."""
        self.path = path
        self.limits = limits
        self.used_bytes = 0
        """Bytes of the file, as far as they are in use."""
        self.oldest: Millis | None = None
        self.set_aside_count = 0
        """How many files were."""
        self._reports: list[str] = []
        self._retention_of = retention_of
        self._db: sqlite3.Connection | None = None
        self._inode = -1
        self._is_new_file = False
        """Another file than the one that was written to before."""
        self._ids: dict[Labels, int] = {}
        self._last_written: Millis = TIME_MIN
        self._complete_since: Millis = TIME_MIN
        self._pruned_at: Millis = TIME_MIN
        self._paused: str | None = None
        self._lock = threading.Lock()

    # ─ boot ─

    def restore(
        self,
        store: Head,
        sources: Collection[str],
        now: Millis,
        max_series_of: Callable[[str], int] = lambda _: sys.maxsize,
    ) -> dict[str, StateSnapshot]:
        """Puts back into the store what expressions read of the past. Works on what it finds; never raises for it.

        `max_series_of`: source → how many of its series, at most; those that have been there longest.
        Returns what the sources remembered; nothing when the file could not be read.
        """
        states: dict[str, StateSnapshot] = {}
        with self._lock, self._handling_errors(now):
            db = self._open_database()
            db.execute("BEGIN IMMEDIATE")
            try:
                for (source,) in db.execute("SELECT DISTINCT source FROM series ORDER BY source").fetchall():
                    spans = block_reader.read_watched_spans(db, source, now)
                    if spans and source in sources:
                        since = now - store.longest_retention()
                        found = block_reader.list_recent_series(db, source, since, max_series_of(source))
                        store.restore(source, spans, list(_read_for_restore(db, store, found, now)), now)
                    if spans:
                        there = block_reader.list_recent_series(db, source, spans[-1][1] - LOOKBACK_DELTA, sys.maxsize)
                        _mark_series_gone(db, [one.id for one in there], spans[-1][1])
                for source, name in db.execute("SELECT DISTINCT source, name FROM series").fetchall():
                    store.ever_held.setdefault(source, set()).add(name)
                states = _read_states(db)
                db.execute("COMMIT")
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")
            self._update_size(db)
        return states

    # ─ writing ─

    def write(self, batch: WriteBatch) -> bool:
        """Writes down what is new. False: it was not; keep it, and try again with what has come since."""
        with self._lock, self._handling_errors(batch.now):
            db = self._open_database()
            if shutil.disk_usage(self.path.parent).free < _MIN_FREE_BYTES:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if self._is_new_file or batch.since != self._last_written:  # something was lost, or the clock was set
                self._complete_since, self._is_new_file = batch.since, False  # what was before is not in it
            db.execute("BEGIN IMMEDIATE")
            try:
                if batch.since < self._last_written:
                    retention.drop_after(db, batch.since)
                self._insert_samples(db, batch)
                retention.compact(db, batch.now)
                retention.downsample(
                    db, batch.now, lambda name: max(self.limits.raw, self._retention_of(name)), self.limits.coarse
                )
                shed = retention.enforce_size_limit(db, self.limits.max_bytes)
                if shed or not self._pruned_at <= batch.now < self._pruned_at + retention.HOUR:
                    retention.drop_empty_series(db)
                    self._pruned_at = batch.now
                    self._ids.clear()
                db.execute("COMMIT")
            except BaseException:
                self._ids.clear()
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
            if shed:
                db.execute("PRAGMA incremental_vacuum").fetchall()
            self._update_size(db)
            self._last_written = batch.now
            if self._paused is not None:
                self._paused = None
                log.info("history goes on")
            return True
        return False

    def _insert_samples(self, db: sqlite3.Connection, batch: WriteBatch) -> None:
        written = {key for sheet in batch.samples for key in sheet.keys}
        self._ids = {key: id_ for key, id_ in self._ids.items() if key in written}  # series come and go
        for sheet in batch.samples:
            ids = np.array([self._series_id(db, key) for key in sheet.keys], np.int64)
            for part in np.unique(ids // block_reader.SERIES_PER_PART).tolist():
                rows = ids // block_reader.SERIES_PER_PART == part
                v = sheet.v[rows]
                columns = (v.view(np.int64) != ABSENT_BITS).any(axis=0)
                if not columns.any():
                    continue
                _insert_fresh(db, ids[rows], sheet.t[columns], v[:, columns])
        spans = [(source, *span) for source, some in batch.watched.items() for span in some]
        for source, begin, until in spans:
            begin = max(begin, self._complete_since)
            if until > begin:
                db.execute(
                    "INSERT INTO watched VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET until = max(until, excluded.until)",
                    (source, begin, until),
                )
        rows = [(source, *state, batch.now) for source, state in batch.states.items()]
        db.executemany(
            "INSERT OR REPLACE INTO source_state (source, identity, state, saved_at) VALUES (?, ?, ?, ?)", rows
        )

    def _series_id(self, db: sqlite3.Connection, key: Labels) -> int:
        if (known := self._ids.get(key)) is not None:
            return known
        text, labels = block_reader.encode_key(key), dict(key)
        db.execute(
            "INSERT OR IGNORE INTO series (key, name, source) VALUES (?, ?, ?)",
            (text, labels[METRIC_NAME_LABEL], labels["source"]),
        )
        (id_,) = db.execute("SELECT id FROM series WHERE key = ?", (text,)).fetchone()
        self._ids[key] = int(id_)
        return int(id_)

    def _update_size(self, db: sqlite3.Connection) -> None:
        self.used_bytes = retention.used_bytes(db)
        sql = "SELECT start FROM block WHERE kind = ? ORDER BY until LIMIT 1"
        firsts = [row for kind in (RAW, DOWNSAMPLED) for row in db.execute(sql, (kind,))]
        firsts += db.execute("SELECT min(start) FROM fresh WHERE start IS NOT NULL").fetchall()
        self.oldest = min((start for (start,) in firsts if start is not None), default=None)

    # ─ the file ─

    def status(self) -> dict[str, object]:
        """How much is held since when, and why it is not written to at the moment."""
        return {"bytes": self.used_bytes, "oldest": self.oldest, "paused": self._paused}

    def take_reports(self) -> list[str]:
        """What people should know of files that were set aside; each is said once."""
        told, self._reports = self._reports, []
        return told

    def close(self) -> None:
        """At the end. A write that hangs is left alone: the process ends anyway."""
        if self._lock.acquire(timeout=2):
            self._close_database()
            self._lock.release()

    def _close_database(self) -> None:
        if self._db is not None:
            try:
                self._db.close()
            except sqlite3.Error as error:
                log.debug("%s: %s", self.path, error)
        self._db = None
        self._ids.clear()

    @contextmanager
    def _handling_errors(self, now: Millis) -> Iterator[None]:
        """What the file does to us ends here: damage sets it aside, anything else pauses the history."""
        try:
            yield
        except (CorruptDataError, ValueError, TypeError, OverflowError) as error:  # cells of another kind than ours
            self._set_aside_file(now, str(error))
        except (sqlite3.Error, OSError) as error:
            if isinstance(error, sqlite3.Error) and _is_corruption(error):
                self._set_aside_file(now, str(error))
            else:
                self._pause(error)

    def _pause(self, error: Exception) -> None:
        if self._paused is None:
            log.warning("history pauses: %s: %s", self.path, error)
        self._paused = str(error)
        self._close_database()

    def _set_aside_file(self, now: Millis, why: str) -> None:
        self._close_database()
        if self.set_aside_count == _MAX_SET_ASIDE:
            self._pause(CorruptDataError(f"{why}; {_MAX_SET_ASIDE} files were set aside already"))
            return
        name = f"{self.path.name}.corrupt-{datetime.fromtimestamp(now / 1_000, UTC):%Y%m%dT%H%M%SZ}"
        try:
            for end in ("", "-wal", "-shm"):
                mine = self.path.with_name(self.path.name + end)
                if mine.exists():
                    mine.rename(self.path.with_name(name + end))
        except OSError as error:
            self._pause(error)
            return
        self.set_aside_count += 1
        self._reports.append(f"{self.path} could not be read ({why}) and was set aside as {name}: history begins anew")
        log.error("%s", self._reports[-1])

    def _open_database(self) -> sqlite3.Connection:
        """The file as it is there; a new one where it is gone. Raises sqlite3.Error, OSError and DamagedError."""
        if self._db is not None:
            if _inode_of(self.path) == self._inode:
                return self._db
            log.warning("%s is gone: history begins anew", self.path)
            self._close_database()
        if _inode_of(self.path) == -1:
            for end in ("-wal", "-shm"):  # of a file that is gone; SQLite would take them for this one's
                self.path.with_name(self.path.name + end).unlink(missing_ok=True)
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        create_private_file(self.path)
        db = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None, timeout=5)
        try:
            created = _prepare_database(db)
        except BaseException:
            db.close()
            raise
        inode = _inode_of(self.path)
        self._is_new_file |= created or inode != self._inode
        self._db, self._inode = db, inode
        return db


def _read_for_restore(
    db: sqlite3.Connection, store: Head, found: list[block_reader.StoredSeries], now: Millis
) -> Iterator[tuple[list[Labels], list[Millis], Ints, Floats]]:
    """What the store holds of one source: keys, since when they are known, times and values."""
    mine = {one.id: one for one in found}
    by_keep: dict[Millis, list[int]] = {}
    for one in mine.values():
        by_keep.setdefault(store.retention_of(dict(one.key)[METRIC_NAME_LABEL]), []).append(one.id)
    for keep, ids in by_keep.items():
        for alike, t, v in block_reader.read_samples(db, ids, now - keep, now, raw_only=True):
            yield [mine[id_].key for id_ in alike], [mine[id_].whole_from for id_ in alike], t, v


def _read_states(db: sqlite3.Connection) -> dict[str, StateSnapshot]:
    states = {}
    for source, identity, text in db.execute("SELECT source, identity, state FROM source_state"):
        if not isinstance(json.loads(text), dict):
            raise CorruptDataError(f"the state of the source {source} is none")
        states[source] = StateSnapshot(identity, text)
    return states


def _mark_series_gone(db: sqlite3.Connection, ids: list[int], end: Millis) -> None:
    """Nobody has watched since `end`: what was there until then is gone, for readers of the file as well."""
    for alike, t, v in block_reader.read_samples(db, ids, end - LOOKBACK_DELTA, block_reader.TIME_MAX):
        mine = np.array(alike, np.int64)[v[:, -1].view(np.int64) != STALE_BITS]
        for part in np.unique(mine // block_reader.SERIES_PER_PART).tolist():
            rows = mine[mine // block_reader.SERIES_PER_PART == part]
            _insert_fresh(db, rows, np.array([max(end, int(t[-1])) + 1]), np.full((rows.size, 1), STALE, np.float64))


def _insert_fresh(db: sqlite3.Connection, ids: Ints, t: Ints, v: Floats) -> None:
    """Fresh samples of series of one part."""
    db.execute(
        "INSERT INTO fresh (part, start, until, rows, n, data) VALUES (?, ?, ?, ?, ?, ?)",
        (int(ids[0]) // block_reader.SERIES_PER_PART, int(t[0]), int(t[-1]), ids.size, t.size, pack_samples(ids, t, v)),
    )


def _prepare_database(db: sqlite3.Connection) -> bool:
    """True: it was empty."""
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (owner,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if tables and owner != APPLICATION_ID:
        raise CorruptDataError("it is some other program's database")
    if tables and version != SCHEMA_VERSION:
        raise CorruptDataError(f"its schema is {version}, not {SCHEMA_VERSION}")
    if not tables:
        db.execute("PRAGMA auto_vacuum=INCREMENTAL")
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=NORMAL")
    if not tables:
        db.execute("BEGIN IMMEDIATE")
        for statement in SCHEMA.split(";\n"):
            db.execute(statement)
        db.execute(f"PRAGMA application_id={APPLICATION_ID}")
        db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        db.execute("COMMIT")
    db.execute(SOURCE_STATE)
    return not tables


def _is_corruption(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _CORRUPTION_CODES


def _inode_of(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return -1
