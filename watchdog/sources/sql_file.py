"""A SQLite file of a bot's: read beside its writer, by whoever owns the folder, and with nothing of it changed.

SQLite itself is not enough for that. Opened `mode=ro`, a WAL database of which the last writer is gone gets its -wal and
-shm made anew by us; the writer's next start could meet files that it may not write. So what is opened, and how, is decided
under a shared lock of our own, which SQLite's own lock would be as well: it keeps nobody from writing in WAL, and keeps the
last writer from taking -wal and -shm away under us.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import stat
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from watchdog.core.errors import ActionError, SourceError
from watchdog.core.model import Millis, Sample
from watchdog.core.protocols import Match
from watchdog.core.text import shorten
from watchdog.core.units import format_duration
from watchdog.host.folder import resolve
from watchdog.net.deadline import Deadline
from watchdog.sources import sql_rows
from watchdog.sources.sql_rows import Budget, QuerySpec, ReadLimits, Table

_MAGIC = b"SQLite format 3\0"
_HEADER = 100
"""Bytes; at 19 stands 2 where the database has a write-ahead log."""
_PENDING_BYTE, _SHARED_FIRST, _SHARED_SIZE = 0x40000000, 0x40000002, 510
"""What SQLite locks of the file, see https://sqlite.org/src/file/src/os.h."""
_LOCK_POLL = 0.005
"""Seconds."""
_TRIES = 5
"""How often a file is opened that becomes another one meanwhile."""
_STEPS = 2_000
"""Instructions of SQLite's machine, some 0.1 ms, after which it is seen how late it is."""
_BATCH = 100
_MAX_VALUE = 1 << 20
"""Bytes of one text, blob or row."""
_LIMITS = (
    (sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE),
    (sqlite3.SQLITE_LIMIT_ATTACHED, 0),
    (sqlite3.SQLITE_LIMIT_WORKER_THREADS, 0),
    (sqlite3.SQLITE_LIMIT_COLUMN, 500),
    (sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1_000),
)
_PRAGMAS = (
    "PRAGMA query_only=1",
    "PRAGMA trusted_schema=0",  # views and triggers of the file are the bot's
    "PRAGMA cell_size_check=1",
    "PRAGMA mmap_size=0",  # a file that shrinks while it is mapped ends the process
)
_READABLE_PRAGMAS = frozenset(
    ("application_id", "data_version", "freelist_count", "page_count", "page_size", "user_version")
)
_FORBIDDEN_FUNCTIONS = frozenset(("load_extension", "readfile", "writefile", "edit", "fts3_tokenizer"))
_UNLUCKY = (sqlite3.SQLITE_READONLY_RECOVERY, sqlite3.SQLITE_READONLY_CANTINIT)
_READS = frozenset((sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE))

_How = Literal["mode=ro", "mode=ro&readonly_shm=1", "mode=ro&immutable=1"]


class _ChangedError(Exception):
    """The file is not the one any more that was opened, or is written into past our lock."""


class _UnluckyError(Exception):
    """A writer was just changing the log's index, which who may not write it cannot wait for in SQLite."""


class _Opened(NamedTuple):
    path: Path
    handle: int
    how: _How


def query_sqlite(
    path: Path, queries: tuple[QuerySpec, ...], limits: ReadLimits, zone: str, now: Millis
) -> list[Sample]:
    """The samples of all queries, seen at one moment. Raises ActionError."""
    try:
        return sql_rows.to_samples(queries, _read(path, queries, limits), zone, now)
    except SourceError as error:
        raise ActionError(str(error)) from None


def explain_sqlite(
    path: Path, queries: tuple[QuerySpec, ...], limits: ReadLimits, zone: str, now: Millis
) -> list[Match]:
    """What each query, and each column that the entry names, finds. Raises ActionError."""
    try:
        return sql_rows.explain(queries, _read(path, queries, limits), zone, now)
    except SourceError as error:
        raise ActionError(str(error)) from None


def _read(path: Path, queries: Sequence[QuerySpec], limits: ReadLimits) -> list[Table]:
    deadline = Deadline.after(limits.timeout)
    real = resolve(None, str(path))
    try:
        changed = 0
        while changed < _TRIES:
            try:
                with _open_file(real, deadline) as opened:
                    return _read_opened(opened, queries, Budget(limits), deadline)
            except _UnluckyError:
                time.sleep(min(_LOCK_POLL, deadline.remaining()))
            except _ChangedError:
                changed += 1
                time.sleep(min(_LOCK_POLL, deadline.remaining()))
    except TimeoutError:
        raise SourceError(_describe_lock(deadline)) from None
    raise SourceError("it is replaced again and again — write into one database instead of making new ones")


@contextmanager
def _open_file(path: Path, deadline: Deadline) -> Iterator[_Opened]:
    """The file under a shared lock, and how SQLite may open it so that nothing beside it is made or removed."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise SourceError("there is no such file — the bot makes it; or mend the path") from None
    except OSError as problem:
        raise SourceError(
            f"it cannot be opened: {problem.strerror} — user says as whom it is read, if not as the folder's owner"
        ) from None
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise SourceError("it is no regular file — name the database itself")
        _lock_shared(handle, deadline)
        yield _Opened(path, handle, _choose_how(path, os.pread(handle, _HEADER, 0)))
    finally:
        os.close(handle)  # and so is the lock


def _lock_shared(handle: int, deadline: Deadline) -> None:
    """As SQLite does: nobody is passed by who waits to write. The lock is the open file's and not the process's, so that
    no other connection to the file loses its own by our closing. Raises TimeoutError."""

    def lock(kind: int, first: int, size: int) -> None:
        while True:
            try:
                fcntl.fcntl(handle, fcntl.F_OFD_SETLK, struct.pack("@hhqqi0q", kind, os.SEEK_SET, first, size, 0))
            except (BlockingIOError, PermissionError):
                time.sleep(min(_LOCK_POLL, deadline.remaining()))
            except OSError as problem:
                raise SourceError(
                    f"it cannot be locked: {problem.strerror} — SQLite needs a file system that has locks"
                ) from None
            else:
                return

    lock(fcntl.F_RDLCK, _PENDING_BYTE, 1)
    try:
        lock(fcntl.F_RDLCK, _SHARED_FIRST, _SHARED_SIZE)
    finally:
        lock(fcntl.F_UNLCK, _PENDING_BYTE, 1)


def _choose_how(path: Path, header: bytes) -> _How:
    """While the file is locked. Raises SourceError for what is no database, or can be read by its writer alone."""
    if not header:
        raise SourceError("it is empty — the bot has made no table in it yet; or mend the path")
    if len(header) < _HEADER or not header.startswith(_MAGIC):
        raise SourceError("it is no SQLite database, or an encrypted one — mend the path")
    if header[19] != 2:
        return "mode=ro"
    log, index = _log_and_index(path)
    if log is not None and index is not None:
        return "mode=ro&readonly_shm=1"
    if log:
        raise SourceError(
            "it has a write-ahead log (-wal) without its index (-shm), which only a writer may make — start the bot, or copy "
            "all three files together"
        )
    return "mode=ro&immutable=1"  # nobody has it open, and all of it is in the one file


def _log_and_index(path: Path) -> tuple[int | None, int | None]:
    """Size of -wal and of -shm; None for one that is not there."""

    def size_of(suffix: str) -> int | None:
        try:
            return path.with_name(path.name + suffix).stat().st_size
        except OSError:
            return None

    return size_of("-wal"), size_of("-shm")


def _read_opened(opened: _Opened, queries: Sequence[QuerySpec], budget: Budget, deadline: Deadline) -> list[Table]:
    tables: list[Table] = []
    try:
        uri = f"{opened.path.as_uri()}?{opened.how}"
        with closing(sqlite3.connect(uri, deadline.remaining(), isolation_level=None, uri=True)) as connection:
            _ensure_same(opened)  # SQLite has opened the file, and looked at nothing yet
            _restrain(connection, deadline)
            for query in queries:
                with closing(connection.execute(query.query)) as cursor:
                    columns = tuple(column[0] for column in cursor.description or ())
                    rows: list[tuple[object, ...]] = []
                    while batch := cursor.fetchmany(_BATCH):
                        rows += budget.take(batch)
                tables.append(Table(columns, rows))
            _ensure_same(opened)
            return tables
    except (sqlite3.Error, sqlite3.Warning, UnicodeError, MemoryError) as problem:
        _ensure_same(opened)
        if getattr(problem, "sqlite_errorcode", None) in _UNLUCKY:
            raise _UnluckyError from None
        raise SourceError(_describe(problem, len(tables) + 1, deadline)) from None


def _restrain(connection: sqlite3.Connection, deadline: Deadline) -> None:
    """From now on it reads, within the deadline, and sees one moment of the database."""
    connection.text_factory = lambda text: text.decode("utf-8", "replace")
    for limit, value in _LIMITS:
        connection.setlimit(limit, value)
    for pragma in _PRAGMAS:
        connection.execute(pragma).close()
    connection.set_progress_handler(lambda: time.monotonic() >= deadline.expires_at, _STEPS)
    connection.execute("BEGIN").close()
    connection.set_authorizer(_authorize)


def _authorize(action: int, first: str | None, second: str | None, *_: object) -> int:
    if action == sqlite3.SQLITE_FUNCTION:
        allowed = (second or "").lower() not in _FORBIDDEN_FUNCTIONS
    elif action == sqlite3.SQLITE_PRAGMA:
        allowed = second is None and (first or "").lower() in _READABLE_PRAGMAS
    else:
        allowed = action in _READS
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def _ensure_same(opened: _Opened) -> None:
    """Raises _ChangedError when what was read may be half of one database and half of another."""
    try:
        there, read = opened.path.stat(), os.fstat(opened.handle)
    except OSError:
        raise _ChangedError from None
    if (there.st_dev, there.st_ino) != (read.st_dev, read.st_ino):
        raise _ChangedError
    if opened.how == "mode=ro&immutable=1" and None not in _log_and_index(opened.path):
        raise _ChangedError  # a writer has come, and cannot have gone: it would take both away, and we have the lock


def _describe_lock(deadline: Deadline) -> str:
    return (
        f"it stayed locked: no look at it within {format_duration(deadline.total)} — PRAGMA journal_mode=WAL in the bot, "
        "without locking_mode=EXCLUSIVE, lets both work"
    )


def _describe(problem: Exception, number: int, deadline: Deadline) -> str:
    """What SQLite said, as it helps. `number`: the query under way."""
    code = getattr(problem, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    said = shorten(str(problem), 150)
    if code == sqlite3.SQLITE_READONLY_ROLLBACK:
        return (
            "its writer was broken off in the middle (-journal) — start the bot, or open it once as its owner with sqlite3: "
            "that takes back what is half written"
        )
    if isinstance(problem, UnicodeError):
        return f"query {number} meets a name that is no UTF-8 — name its columns with AS, or mend the file"
    if isinstance(problem, MemoryError):
        return f"query {number} takes too much memory — fewer rows, or an index for its ORDER BY"
    match code & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return _describe_lock(deadline)
        case sqlite3.SQLITE_INTERRUPT:
            return (
                f"query {number} did not end within {format_duration(deadline.total)} — an index helps, or fewer rows, or "
                "a longer timeout"
            )
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return f"it is damaged, or half copied: {said} — PRAGMA integrity_check says more; put a new one there by rename"
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_IOERR | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return f"it cannot be read: {said} — who reads it must be able to read -wal and -shm beside it, too"
        case sqlite3.SQLITE_TOOBIG:
            return f"query {number} meets a text of more than 1 MiB — name the columns that are needed instead of *"
        case sqlite3.SQLITE_AUTH:
            return f"query {number} does more than read: {said} — a query is one SELECT"
        case _:
            return f"query {number} fails: {said} — mend the query"
