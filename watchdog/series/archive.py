"""series.db: samples that outlive a restart. Disposable: it may be deleted at any time, also while it is in use.

One writer, in a thread of the daemon's choice; readers open the file for themselves. What cannot be read is set aside
and a new file is begun; what cannot be written (a full disk) waits, and after five minutes it is lost. Neither is
anybody else's problem: nothing here raises because of the file.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from watchdog.model import Labels, Millis
from watchdog.promql.nodes import LOOKBACK, NAME
from watchdog.promql.pages import ABSENT_BITS, NEVER, STALE, STALE_BITS, Floats, Ints
from watchdog.series import Store, ageing, past
from watchdog.series.codec import DamagedError, pack_sheet
from watchdog.series.feed import Batch
from watchdog.series.schema import APPLICATION_ID, COARSE, RAW, SCHEMA, VERSION
from watchdog.telemetry import log

_MOST_IDS = 200_000
_ROOM = 64 * 2**20
"""Bytes of a disk that are left to those who need them more: the journal, and the bot."""
_MOST_ASIDE = 3
"""Files that one run sets aside; a disk that spoils every one of them is not filled up."""
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISMATCH)
"""What SQLite says of a file that is not what it should be; everything else may pass."""


class Limits(NamedTuple):
    raw: Millis
    """How long samples are kept as they were delivered."""
    coarse: Millis
    """How long means of them are kept."""
    most: int
    """Bytes."""


class Archive:
    """The file. `write` is for one thread at a time."""

    def __init__(self, path: Path, limits: Limits, keeps: Callable[[str], Millis]) -> None:
        """`keeps`: how long a metric is needed as it was delivered, whatever the limits say."""
        self.path = path
        self.limits = limits
        self.size = 0
        """Bytes of the file, as far as they are in use."""
        self.oldest: Millis | None = None
        self.set_aside = 0
        """How many files were."""
        self._news: list[str] = []
        self._keeps = keeps
        self._db: sqlite3.Connection | None = None
        self._inode = -1
        self._anew = False
        """Another file than the one that was written to before."""
        self._ids: dict[Labels, int] = {}
        self._last: Millis = NEVER
        self._held_from: Millis = NEVER
        self._paused: str | None = None
        self._busy = threading.Lock()

    # ─ boot ─

    def restore(self, store: Store, sources: Collection[str], now: Millis) -> None:
        """Puts back into the store what expressions read of the past. Works on what it finds; never raises for it."""
        with self._busy, self._guarded(now):
            db = self._opened()
            db.execute("BEGIN IMMEDIATE")
            try:
                found = past.known(db)
                for source in sorted({one.source for one in found}):
                    spans = past.watched(db, source, now)
                    if spans and source in sources:
                        store.restore(source, spans, list(_restored(db, store, source, found, now)), now)
                    if spans:
                        _mark_gone(db, [one.id for one in found if one.source == source], spans[-1][1])
                db.execute("COMMIT")
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")
            self._look(db)

    # ─ writing ─

    def write(self, batch: Batch) -> bool:
        """Writes down what is new. False: it was not; keep it, and try again with what has come since."""
        with self._busy, self._guarded(batch.now):
            db = self._opened()
            if shutil.disk_usage(self.path.parent).free < _ROOM:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if self._anew or batch.since > self._last:
                self._held_from, self._anew = batch.since, False  # what was before is not in it
            db.execute("BEGIN IMMEDIATE")
            try:
                self._put(db, batch)
                ageing.settle(db)
                ageing.coarsen(db, batch.now, lambda name: max(self.limits.raw, self._keeps(name)), self.limits.coarse)
                shed = ageing.shed(db, self.limits.most)
                db.execute("COMMIT")
            except BaseException:
                self._ids.clear()
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
            if shed:
                db.execute("PRAGMA incremental_vacuum").fetchall()
            self._look(db)
            self._last = batch.now
            if self._paused is not None:
                self._paused = None
                log.info("history goes on")
            return True
        return False

    def _put(self, db: sqlite3.Connection, batch: Batch) -> None:
        for sheet in batch.sheets:
            ids = np.array([self._id(db, key) for key in sheet.keys], np.int64)
            for part in np.unique(ids // past.PART).tolist():
                rows = ids // past.PART == part
                v = sheet.v[rows]
                columns = (v.view(np.int64) != ABSENT_BITS).any(axis=0)
                if not columns.any():
                    continue
                _add(db, ids[rows], sheet.t[columns], v[:, columns])
        for source, (begin, until) in batch.watched.items():
            begin = max(begin, self._held_from)
            if until > begin:
                db.execute(
                    "INSERT INTO watched VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET until = max(until, excluded.until)",
                    (source, begin, until),
                )

    def _id(self, db: sqlite3.Connection, key: Labels) -> int:
        if (known := self._ids.get(key)) is not None:
            return known
        if len(self._ids) > _MOST_IDS:
            self._ids.clear()
        text, labels = past.write_key(key), dict(key)
        db.execute(
            "INSERT OR IGNORE INTO series (key, name, source) VALUES (?, ?, ?)", (text, labels[NAME], labels["source"])
        )
        (id_,) = db.execute("SELECT id FROM series WHERE key = ?", (text,)).fetchone()
        self._ids[key] = int(id_)
        return int(id_)

    def _look(self, db: sqlite3.Connection) -> None:
        self.size = ageing.held(db)
        sql = "SELECT start FROM block WHERE kind = ? ORDER BY until LIMIT 1"
        firsts = [row for kind in (RAW, COARSE) for row in db.execute(sql, (kind,))]
        firsts += db.execute("SELECT min(start) FROM fresh WHERE start IS NOT NULL").fetchall()
        self.oldest = min((start for (start,) in firsts if start is not None), default=None)

    # ─ the file ─

    def said(self) -> dict[str, object]:
        """How much is held since when, and why it is not written to at the moment."""
        return {"bytes": self.size, "oldest": self.oldest, "paused": self._paused}

    def told(self) -> list[str]:
        """What people should know of files that were set aside; each is said once."""
        told, self._news = self._news, []
        return told

    def close(self) -> None:
        """At the end. A write that hangs is left alone: the process ends anyway."""
        if self._busy.acquire(timeout=2):
            self._let_go()
            self._busy.release()

    def _let_go(self) -> None:
        if self._db is not None:
            try:
                self._db.close()
            except sqlite3.Error as error:
                log.debug("%s: %s", self.path, error)
        self._db = None
        self._ids.clear()

    @contextmanager
    def _guarded(self, now: Millis) -> Iterator[None]:
        """What the file does to us ends here: damage sets it aside, anything else pauses the history."""
        try:
            yield
        except (DamagedError, ValueError, TypeError, OverflowError) as error:  # cells of another kind than ours
            self._put_aside(now, str(error))
        except (sqlite3.Error, OSError) as error:
            if isinstance(error, sqlite3.Error) and _is_damage(error):
                self._put_aside(now, str(error))
            else:
                self._pause(error)

    def _pause(self, error: Exception) -> None:
        if self._paused is None:
            log.warning("history pauses: %s: %s", self.path, error)
        self._paused = str(error)
        self._let_go()

    def _put_aside(self, now: Millis, why: str) -> None:
        self._let_go()
        if self.set_aside == _MOST_ASIDE:
            self._pause(DamagedError(f"{why}; {_MOST_ASIDE} files were set aside already"))
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
        self.set_aside += 1
        self._news.append(f"{self.path} could not be read ({why}) and was set aside as {name}: history begins anew")
        log.error("%s", self._news[-1])

    def _opened(self) -> sqlite3.Connection:
        """The file as it is there; a new one where it is gone. Raises sqlite3.Error, OSError and DamagedError."""
        if self._db is not None:
            if _inode(self.path) == self._inode:
                return self._db
            log.warning("%s is gone: history begins anew", self.path)
            self._let_go()
        if _inode(self.path) == -1:
            for end in ("-wal", "-shm"):  # of a file that is gone; SQLite would take them for this one's
                self.path.with_name(self.path.name + end).unlink(missing_ok=True)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None, timeout=5)
        try:
            created = _prepare(db)
        except BaseException:
            db.close()
            raise
        inode = _inode(self.path)
        self._anew |= created or inode != self._inode
        self._db, self._inode = db, inode
        return db


def _restored(
    db: sqlite3.Connection, store: Store, source: str, found: list[past.Known], now: Millis
) -> Iterator[tuple[list[Labels], list[Millis], Ints, Floats]]:
    """What the store holds of one source: keys, since when they are known, times and values."""
    mine = {one.id: one for one in found if one.source == source}
    by_keep: dict[Millis, list[int]] = {}
    for one in mine.values():
        by_keep.setdefault(store.keeps(dict(one.key)[NAME]), []).append(one.id)
    for keep, ids in by_keep.items():
        for alike, t, v in past.read(db, ids, now - keep, now, raw_only=True):
            yield [mine[id_].key for id_ in alike], [mine[id_].whole_from for id_ in alike], t, v


def _mark_gone(db: sqlite3.Connection, ids: list[int], end: Millis) -> None:
    """Nobody has watched since `end`: what was there until then is gone, for readers of the file as well."""
    for alike, t, v in past.read(db, ids, end - LOOKBACK, past.EVER):
        mine = np.array(alike, np.int64)[v[:, -1].view(np.int64) != STALE_BITS]
        for part in np.unique(mine // past.PART).tolist():
            rows = mine[mine // past.PART == part]
            _add(db, rows, np.array([max(end, int(t[-1])) + 1]), np.full((rows.size, 1), STALE, np.float64))


def _add(db: sqlite3.Connection, ids: Ints, t: Ints, v: Floats) -> None:
    """Fresh samples of series of one part."""
    db.execute(
        "INSERT INTO fresh (part, start, until, rows, n, data) VALUES (?, ?, ?, ?, ?, ?)",
        (int(ids[0]) // past.PART, int(t[0]), int(t[-1]), ids.size, t.size, pack_sheet(ids, t, v)),
    )


def _prepare(db: sqlite3.Connection) -> bool:
    """True: it was empty."""
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (owner,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if tables and owner != APPLICATION_ID:
        raise DamagedError("it is some other program's database")
    if tables and version != VERSION:
        raise DamagedError(f"its schema is {version}, not {VERSION}")
    if not tables:
        db.execute("PRAGMA auto_vacuum=INCREMENTAL")
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=NORMAL")
    if not tables:
        db.execute("BEGIN IMMEDIATE")
        for statement in SCHEMA.split(";\n"):
            db.execute(statement)
        db.execute(f"PRAGMA application_id={APPLICATION_ID}")
        db.execute(f"PRAGMA user_version={VERSION}")
        db.execute("COMMIT")
    return not tables


def _is_damage(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _DAMAGE


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return -1
