"""journal.db: the durable record of incidents, plan runs, steps and messages. The truth; never deleted, never guessed.

One connection, one writer at a time, WAL and ``synchronous=FULL``: what `write()` committed survives ``kill -9`` and a
power cut. The command line may open the same file beside a running daemon: it reads, and it leaves requests.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from watchdog.journal.schema import APPLICATION_ID, SCHEMA, VERSION
from watchdog.model import WatchdogError


class JournalError(WatchdogError):
    """The journal cannot be used. Nobody acts blind: the daemon stops with the cure."""


class Journal:
    """An open journal. Use `write()` for changes that belong together and `rows` to read."""

    def __init__(self, path: Path) -> None:
        """Opens or creates the file. Raises JournalError when it is not ours, damaged, or from a newer version."""
        self.path = path
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=10)
            self._db.row_factory = sqlite3.Row
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from None
        try:
            self._prepare()
        except sqlite3.Error as error:
            self._db.close()
            raise self._unusable(error) from None
        except JournalError:
            self._db.close()
            raise

    def _unusable(self, why: object) -> JournalError:
        cure = "restore it from a backup, or move it away to start with an empty one"
        if isinstance(why, OSError | sqlite3.OperationalError):  # not to be reached, which says nothing against it
            cure = "check the folder's owner, its mode and the room on its disk"
        return JournalError(f"{self.path}: {why} — {cure}")

    def _prepare(self) -> None:
        (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (owner,) = self._db.execute("PRAGMA application_id").fetchone()
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if tables and owner != APPLICATION_ID:
            raise JournalError(f"{self.path} is some other program's database — name another state folder")
        if version > VERSION:
            raise JournalError(f"{self.path} was written by a newer trading-watchdog (schema {version}) — upgrade")
        if tables and (damage := self._db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise self._unusable(damage)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("PRAGMA foreign_keys=ON")
        if not tables:
            with self.write() as db:
                if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    return  # somebody else has just created it
                for statement in SCHEMA.split(";\n"):
                    db.execute(statement)
                db.execute(f"PRAGMA application_id={APPLICATION_ID}")
                db.execute(f"PRAGMA user_version={VERSION}")

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it is committed, or nothing. Nested calls join the outer one."""
        with self._lock:
            if self._db.in_transaction:
                yield self._db
                return
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk has already undone it
                    self._db.execute("ROLLBACK")
                raise

    def rows(self, sql: str, *args: object) -> list[sqlite3.Row]:
        with self._lock:
            return self._db.execute(sql, args).fetchall()

    def row(self, sql: str, *args: object) -> sqlite3.Row | None:
        return next(iter(self.rows(sql, *args)), None)

    def close(self) -> None:
        with self._lock:
            self._db.close()


def dump(value: object) -> str:
    """JSON as it stands in the journal."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def load(text: str | None) -> Any:
    return None if text is None else json.loads(text)


class Lock:
    """Only one process acts on a state folder: an flock that dies with its holder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock"
        self._fd: int | None = None

    def take(self) -> bool:
        """True when we hold it now."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            return False
        os.ftruncate(fd, 0)
        os.write(fd, f"{os.getpid()}\n".encode())
        self._fd = fd
        return True

    def holder(self) -> int | None:
        """Pid of whoever holds it, when somebody does."""
        try:
            text = self._path.read_text().strip()
        except OSError:
            return None
        return int(text) if text.isdigit() and Path(f"/proc/{text}").exists() else None

    def release(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
