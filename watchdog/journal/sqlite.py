"""journal.db: the durable record of incidents, plan runs, steps and messages. The truth; never deleted, never guessed.

One connection, one writer at a time, WAL and ``synchronous=FULL``: what `transaction()` committed survives ``kill -9``
and a power cut (`defer_sync=True`: kill -9). The command line may open the same file beside a running daemon: it reads,
and it leaves requests.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from watchdog.core.model import Millis
from watchdog.host.private_folder import create_private_file
from watchdog.journal import (
    backups,
    baselines,
    chat,
    heads,
    incidents,
    machines,
    message_writer,
    messages,
    peaks,
    provenance,
    requests,
    runs,
    summaries,
    suppressions,
    targets,
    timeline,
)
from watchdog.journal.clock_jump import follow_clock_step, handle_clock_jump
from watchdog.journal.disk_reserve import DiskReserve
from watchdog.journal.errors import (
    NOT_ALLOWED,
    JournalError,
    JournalOutdatedError,
    JournalOutOfReachError,
    JournalUnavailableError,
    UnavailableReason,
)
from watchdog.journal.lock import StateLock
from watchdog.journal.schema import APPLICATION_ID, MIGRATIONS, SCHEMA_VERSION

_BUSY_PAUSE = 0.01
"""s between two tries to open a file that somebody else is about to create."""
_SYNCHRONOUS_FULL = 2
"""As SQLite counts: OFF, NORMAL, FULL."""

_UNAVAILABLE: dict[int, UnavailableReason] = {
    sqlite3.SQLITE_BUSY: "busy",
    sqlite3.SQLITE_LOCKED: "busy",
    sqlite3.SQLITE_PROTOCOL: "busy",
    sqlite3.SQLITE_FULL: "full",
    sqlite3.SQLITE_READONLY: "read_only",
    sqlite3.SQLITE_IOERR: "io",
    sqlite3.SQLITE_CANTOPEN: "io",
}
"""What passes, or can be mended from outside. Any other error is a mistake in our SQL: never tried again in silence."""


class SqliteTransaction:
    """What `SqliteJournal.transaction` hands out; see `storage.Transaction`."""

    def __init__(self, journal: SqliteJournal) -> None:
        self._journal = journal
        self.incidents = incidents.SqlIncidentWriter(journal)
        self.timeline = timeline.SqlTimelineWriter(journal)
        self.machines = machines.SqlMachineWriter(journal)
        self.targets = targets.SqlTargetWriter(journal)
        self.peaks = peaks.SqlPeakWriter(journal)
        self.runs = runs.SqlRunWriter(journal)
        self.messages = message_writer.SqlMessageWriter(journal)
        self.requests = requests.SqlRequestWriter(journal)
        self.suppressions = suppressions.SqlSuppressionWriter(journal)
        self.backups = backups.SqlBackupWriter(journal)
        self.baselines = baselines.SqlBaselineWriter(journal)
        self.provenance = provenance.SqlProvenanceWriter(journal)
        self.heads = heads.SqlHeadWriter(journal)
        self.chat = chat.SqlChatWriter(journal)
        self.summaries = summaries.SqlSummaryWriter(journal)
        self.committed: list[Callable[[], object]] = []

    def on_commit(self, call: Callable[..., object], *args: object) -> None:
        self.committed.append(partial(call, *args))

    def follow_clock_step(self, step: Millis, now: Millis, span: Millis) -> None:
        follow_clock_step(self._journal, step, now, span)

    def handle_clock_jump(self, now: Millis) -> None:
        handle_clock_jump(self._journal, now)


class SqliteJournal:
    """See `storage.Journal`. Its SQL stays in the repositories of this package."""

    def __init__(self, path: Path, *, migrate: bool = True, busy_timeout: float = 10.0, durable: bool = True) -> None:
        """Opens or creates the file. Raises JournalError when it is not ours, damaged, or from a newer version.

        One from an older version is copied beside and then brought up to date; with `migrate=False` it is refused.
        `busy_timeout`: seconds to wait for another program's transaction to end, once; after that, hardly any until it
        has. `durable=False`: the disk is never waited for, for a journal that nobody needs after a power cut.
        """
        self.path = path
        self.disk_reserve = DiskReserve.of(path.parent)
        self.unusable_reason: str | None = None
        """Why it cannot be trusted any more. Nothing is read or written from then on: nobody acts blind."""
        self.fencing_lock: StateLock | None = None
        """The lock under which its owner acts. Once somebody took that over, nothing more is written."""
        self._may_migrate = migrate
        self._busy_timeout = busy_timeout
        self._durable = durable
        self._short_timeout = False
        self._lock = threading.RLock()
        self._in_transaction = False
        """Also when SQLite has already ended it, as it does on a full disk."""
        self._has_failed = False
        """Since the last probe that went well."""
        self._failure: BaseException | None = None
        """What could not be written in the transaction under way: nothing of it is committed."""
        self.incidents = incidents.SqlIncidentReader(self)
        self.timeline = timeline.SqlTimelineReader(self)
        self.machines = machines.SqlMachineReader(self)
        self.targets = targets.SqlTargetReader(self, self._add_target)
        self.peaks = peaks.SqlPeakReader(self)
        self.runs = runs.SqlRunReader(self)
        self.messages = messages.SqlMessageReader(self)
        self.requests = requests.SqlRequestReader(self)
        self.suppressions = suppressions.SqlSuppressionReader(self)
        self.backups = backups.SqlBackupReader(self)
        self.baselines = baselines.SqlBaselineReader(self)
        self.provenance = provenance.SqlProvenanceReader(self)
        self.heads = heads.SqlHeadReader(self)
        self.chat = chat.SqlChatReader(self)
        self.summaries = summaries.SqlSummaryReader(self)
        self._transaction = SqliteTransaction(self)
        try:
            self._open(path)
        except JournalOutOfReachError:
            # A new process needs room for SQLite's log and its index, ahead of the first write.
            if not (self._may_lack_room and self.disk_reserve.exists):
                raise
            self.disk_reserve.release()
            self._open(path)

    def _open(self, path: Path) -> None:
        self._may_lack_room = False
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            create_private_file(path)  # SQLite gives the files beside it the same mode
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=self._busy_timeout)
            self._db.row_factory = sqlite3.Row
        except (OSError, sqlite3.Error) as error:
            raise self._unusable_error(error) from None
        try:
            self._open_beside_others()
            self._inode = path.stat().st_ino
        except (OSError, sqlite3.Error, JournalUnavailableError) as error:
            self._db.close()
            raise self._unusable_error(error.__cause__ or error) from None
        except JournalError:
            self._db.close()
            raise

    def _unusable_error(self, why: object) -> JournalError:
        cure = "restore it from a backup, or move it away to start with an empty one"
        if isinstance(why, OSError | sqlite3.OperationalError):  # not to be reached, which says nothing against it
            cure = "check the folder's owner, its mode and the room on its disk"
            self._may_lack_room = isinstance(why, OSError) or _UNAVAILABLE.get(_primary_code(why)) in ("full", "io")
        kind = JournalError if isinstance(why, OSError) and why.errno in NOT_ALLOWED else JournalOutOfReachError
        return kind(f"{self.path}: {why} — {cure}")

    def _open_beside_others(self) -> None:
        """SQLite itself does not wait for another who creates the file, or changes to WAL, at the same moment."""
        until = time.monotonic() + self._busy_timeout
        while True:
            try:
                return self._check_and_configure()
            except sqlite3.OperationalError as error:
                if _primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() >= until:
                    raise
                time.sleep(_BUSY_PAUSE)

    def _check_and_configure(self) -> None:
        (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (owner,) = self._db.execute("PRAGMA application_id").fetchone()
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if tables and owner != APPLICATION_ID:
            raise JournalError(f"{self.path} is some other program's database — name another state folder")
        if version > SCHEMA_VERSION:
            raise JournalError(f"{self.path} was written by a newer trading-watchdog (schema {version}) — upgrade")
        if tables and version < SCHEMA_VERSION and not self._may_migrate:
            raise JournalOutdatedError(
                f"{self.path} was written by an older trading-watchdog (schema {version}) that may still "
                "run — restart the service: it brings the journal up to date"
            )
        if tables and (damage := self._db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise self._unusable_error(damage)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute(f"PRAGMA synchronous={'FULL' if self._durable else 'OFF'}")
        self._db.execute("PRAGMA foreign_keys=ON")
        if version < SCHEMA_VERSION:
            if tables:
                self._backup_before_migration(version)
            self._run_migrations()

    def _backup_before_migration(self, version: int) -> None:
        """The journal as it is, beside it: the way back when the newer program is taken off again."""
        kept = self.path.with_name(f"journal-v{version}.db")
        made = kept.with_suffix(".part")
        try:
            made.unlink(missing_ok=True)
            create_private_file(made)
            copy = sqlite3.connect(made)
            try:
                self._db.backup(copy)
            finally:
                copy.close()
            with made.open("rb") as file:
                os.fsync(file.fileno())
            made.replace(kept)
        except (OSError, sqlite3.Error) as error:
            made.unlink(missing_ok=True)
            raise JournalError(
                f"{kept}: {error} — the journal is of an older version and is not changed without a copy; "
                "make room on its disk"
            ) from None

    def _run_migrations(self) -> None:
        with self.transaction():
            (version,) = self._db.execute("PRAGMA user_version").fetchone()  # somebody else may just have done it
            for script in MIGRATIONS[version:]:
                for statement in script.split(";\n"):
                    self._db.execute(statement)
            if self._db.execute("PRAGMA foreign_key_check").fetchone() is not None:
                raise self._unusable_error("entries that belong to nothing")
            self._db.execute(f"PRAGMA application_id={APPLICATION_ID}")
            self._db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    @property
    def location(self) -> str:
        return str(self.path)

    @property
    def changes(self) -> int:
        return self._db.total_changes

    def probe(self) -> None:
        with self.transaction(defer_sync=not self._has_failed):
            # The lock alone is to be had on a full disk, too.
            if self._has_failed or not self.disk_reserve.exists:
                self._run(f"PRAGMA user_version={SCHEMA_VERSION}")
        self._has_failed = False

    def check(self) -> None:
        """Raises JournalError when the file is damaged, or is not the one that was opened any more."""
        try:
            moved = self.path.stat().st_ino != self._inode
        except OSError:
            moved = True
        if self.unusable_reason is None:
            self._check_fence()
        if moved and self.unusable_reason is None:
            self.unusable_reason = (
                f"{self.path} was moved, deleted or replaced while in use — put it back, and start again"
            )
        if self.unusable_reason is not None:
            raise JournalError(self.unusable_reason)

    def _check_fence(self) -> None:
        if self.fencing_lock is not None and not self.fencing_lock.is_held():
            self.unusable_reason = f"process {self.fencing_lock.holder_pid()} took over — this one acts no more"
            raise JournalError(self.unusable_reason)

    def _raise_translated(self, error: sqlite3.DatabaseError) -> NoReturn:
        """Tells what is damaged (remembered from then on) from what is unavailable for a while, and from mistakes of ours."""
        code = _primary_code(error)
        if code == sqlite3.SQLITE_FULL:
            self.disk_reserve.release()  # this transaction is lost; the next one has room
        if code == sqlite3.SQLITE_BUSY:
            self._set_busy_timeout(short=True)  # all of us stands still while we wait
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            self.unusable_reason = str(self._unusable_error(error))
            raise JournalOutOfReachError(self.unusable_reason) from None
        if code in _UNAVAILABLE:
            self._has_failed = True
            raise JournalUnavailableError(str(error), _UNAVAILABLE[code]) from error
        raise error

    def _run(self, sql: str, args: Sequence[object] = ()) -> sqlite3.Cursor:
        """One statement. A context manager around each, here and in `_write`, would cost as much as they do."""
        if self.unusable_reason is not None:
            raise JournalError(self.unusable_reason)
        try:
            return self._db.execute(sql, args)
        except sqlite3.DatabaseError as error:
            self._raise_translated(error)

    @contextmanager
    def transaction(self, *, defer_sync: bool = False) -> Iterator[SqliteTransaction]:
        """See `storage.Journal`."""
        with self._lock:
            if self._in_transaction:
                yield self._transaction
                return
            self.disk_reserve.release_if_low()
            with self._deferred_sync(defer_sync):
                self._check_fence()
                self._run("BEGIN IMMEDIATE")
                self._in_transaction, self._failure, self._transaction.committed = True, None, []
                try:
                    self._set_busy_timeout(short=False)
                    yield self._transaction
                    if self._failure is not None:  # whoever passed over it: there is no half of a transaction
                        raise self._failure
                    self._run("COMMIT")
                except BaseException:
                    if self._db.in_transaction:  # a full disk has already undone it
                        self._db.execute("ROLLBACK")
                    raise
                finally:
                    self._in_transaction, self._failure = False, None
                for call in self._transaction.committed:
                    call()

    @contextmanager
    def _deferred_sync(self, defer_sync: bool) -> Iterator[None]:
        if not defer_sync:
            yield
            return
        (usual,) = self._run("PRAGMA synchronous").fetchone()
        if usual < _SYNCHRONOUS_FULL:
            yield
            return
        self._db.execute("PRAGMA synchronous=NORMAL")
        try:
            yield
        finally:
            self._db.execute(f"PRAGMA synchronous={usual}")

    def _set_busy_timeout(self, *, short: bool) -> None:
        if short != self._short_timeout:
            self._short_timeout = short
            self._db.execute(f"PRAGMA busy_timeout={50 if short else round(self._busy_timeout * 1_000)}")

    def _add_target(self, target: str, epoch: Millis) -> None:
        with self.transaction() as tx:
            tx.targets.add_target(target, epoch)

    # ─ SQL, for the repositories and for tests ─

    def query(self, sql: str, *args: object) -> list[sqlite3.Row]:
        with self._lock:
            if self.unusable_reason is not None:
                raise JournalError(self.unusable_reason)
            try:
                return self._db.execute(sql, _storable(args)).fetchall()
            except sqlite3.DatabaseError as error:
                self._raise_translated(error)

    def query_one(self, sql: str, *args: object) -> sqlite3.Row | None:
        return next(iter(self.query(sql, *args)), None)

    def execute(self, sql: str, *args: object) -> None:
        self._write(self._db.execute, sql, _storable(args))

    def insert(self, sql: str, *args: object) -> int:
        return int(self._write(self._db.execute, sql, _storable(args)).fetchone()[0])

    def insert_once(self, sql: str, *args: object) -> int | None:
        row = self._write(self._db.execute, sql, _storable(args)).fetchone()
        return None if row is None else int(row[0])

    def execute_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        self._write(self._db.executemany, sql, map(_storable, rows))

    def _write(self, statement: Callable[[str, Any], sqlite3.Cursor], sql: str, args: object) -> sqlite3.Cursor:
        with self._lock:
            if self._failure is not None:
                raise self._failure
            if not self._db.in_transaction:
                raise RuntimeError("a mistake of ours: the transaction has ended")
            try:
                return statement(sql, args)
            except BaseException as error:
                self._failure = error
                if isinstance(error, sqlite3.DatabaseError):
                    try:
                        self._raise_translated(error)
                    except BaseException as translated:
                        self._failure = translated
                        raise
                raise

    def close(self) -> None:
        with self._lock:
            self._db.close()


def _storable(args: Sequence[object]) -> list[object]:
    """The bytes of a file's name need not be UTF-8, and SQLite refuses what Python makes of them. Their escapes are JSON's
    own: within JSON they are read back as they were."""
    return [
        arg.encode("utf-8", "backslashreplace").decode() if isinstance(arg, str) and not arg.isascii() else arg
        for arg in args
    ]


def _primary_code(error: sqlite3.Error) -> int:
    """0 when SQLite did not raise it itself."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
