"""Only one process acts on a state folder."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import signal
import time
from pathlib import Path

from watchdog.core.errors import WatchdogError
from watchdog.core.model import Millis
from watchdog.host.private_folder import secure_folder
from watchdog.journal.disk_reserve import DiskReserve, with_room
from watchdog.journal.errors import NOT_ALLOWED, JournalOutOfReachError

_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
OUR_FILES = ("journal*", "series*", "lock*", "backups", "snapshots")
"""What the state folder holds of ours; whatever else somebody keeps in there stays as it is."""

STALE_AFTER = 10.0
"""Seconds without a heartbeat after which the holder counts as hung."""


class StateLock:
    """An flock that dies with its holder; the file says who that is, and when it was last seen alive.

    A holder that hangs can be fenced off: the file is replaced by another one. From then on `is_held` is false for the
    old holder, and its journal takes nothing more from it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._reserve = DiskReserve.of(folder)
        self._path = folder / "lock"
        self._fd: int | None = None
        self.last_heartbeat: Millis | None = None
        """When whoever held it before gave its last sign of life, by the clock on the wall; None: nobody did, or it is not ours."""

    def acquire(self) -> bool:
        """True when we hold it now; then nobody else can read or write the folder's files of ours.

        Raises WatchdogError when the folder cannot be made or written, or when somebody else could have written it.
        """
        fd = None
        # Ahead of looking at the folder: whoever holds it has done that, and we need not be that user to ask it.
        with contextlib.suppress(OSError):  # there is none yet; or it is said below why not
            fd = os.open(self._path, _FLAGS)
        if fd is not None and not _try_lock(fd):
            os.close(fd)
            return False
        try:
            secure_folder(self._path.parent, OUR_FILES)
            if fd is None:
                fd = with_room(self._reserve, lambda: os.open(self._path, _FLAGS | os.O_CREAT, 0o600))
        except (OSError, WatchdogError) as error:
            if fd is not None:
                os.close(fd)
            raise self._unusable_error(error) if isinstance(error, OSError) else error from None
        if not _try_lock(fd) or not self._is_current_file(fd):  # replaced between the two calls
            os.close(fd)
            return False
        known = os.fstat(fd)
        self.last_heartbeat = known.st_mtime_ns // 1_000_000 if known.st_size else None
        self._write_owner(fd)
        return True

    def take_over(self) -> bool:
        """Takes it from a holder that hangs, and ends that one. False while it is alive, or when nobody holds it."""
        age, holder = self.heartbeat_age(), self._read_owner()
        if age is None or age < STALE_AFTER:
            return False
        try:
            secure_folder(self._path.parent, OUR_FILES)
            self.last_heartbeat = self._path.stat().st_mtime_ns // 1_000_000
            new = self._path.with_suffix(f".{os.getpid()}")
            fd = with_room(self._reserve, lambda: os.open(new, _FLAGS | os.O_CREAT | os.O_TRUNC, 0o600))
            fcntl.flock(fd, fcntl.LOCK_EX)
            self._write_owner(fd)
            with_room(self._reserve, lambda: new.replace(self._path))
        except OSError as error:
            raise self._unusable_error(error) from None
        if holder is not None and _start_time(holder[0]) == holder[1]:
            with contextlib.suppress(OSError):  # one that cannot be ended is fenced off all the same
                os.kill(holder[0], signal.SIGKILL)
        return True

    def heartbeat(self) -> OSError | None:
        """Says that we are alive, by the machine's steady clock: one that sleeps, or whose date is set, hangs nobody.

        What the disk had against it, if anything.
        """
        try:
            if self._fd is not None:
                os.pwrite(self._fd, _owner_line(), 0)
        except OSError as error:
            return error
        return None

    def is_held(self) -> bool:
        """Whether it is still ours; false once somebody took it over."""
        return self._fd is not None and self._is_current_file(self._fd)

    def holder_pid(self) -> int | None:
        """Pid of whoever holds it, when somebody does."""
        known = self._read_owner()
        return None if known is None else known[0]

    def heartbeat_age(self) -> float | None:
        """Seconds since the holder was last seen alive; None when nobody holds it."""
        known = self._read_owner()
        return None if known is None else max(0.0, time.monotonic() - known[2])

    def release(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _unusable_error(self, error: OSError) -> WatchdogError:
        kind = WatchdogError if error.errno in NOT_ALLOWED else JournalOutOfReachError
        return kind(
            f"the state folder {self._path.parent} cannot be used: {error.strerror} — "
            "check its path (state: in watchdog.yaml), its owner, its mode and the room on its disk"
        )

    def _write_owner(self, fd: int) -> None:
        """In place, which needs no room where a line stood before. Without one it is held all the same."""
        self._fd, line = fd, _owner_line()
        with contextlib.suppress(OSError):
            with_room(self._reserve, lambda: os.pwrite(fd, line, 0))
            os.ftruncate(fd, len(line))

    def _is_current_file(self, fd: int) -> bool:
        try:
            return os.fstat(fd).st_ino == self._path.stat().st_ino
        except OSError:
            return False

    def _read_owner(self) -> tuple[int, str, float] | None:
        """Pid, start and last sign of whoever signed it and still lives."""
        try:
            pid, started, beat = self._path.read_text().split()
            known = int(pid), started, float(beat)
        except (OSError, ValueError):
            return None
        return known if _start_time(known[0]) == started else None


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _owner_line() -> bytes:
    """Always of one length, so that it is overwritten as a whole."""
    return f"{os.getpid():>10} {_own_start_time(os.getpid()):>20} {time.monotonic():>20.3f}\n".encode()


@functools.cache
def _own_start_time(pid: int) -> str:
    """Of ourselves; it never changes, and every tick signs."""
    return _start_time(pid)


def _start_time(pid: int) -> str:
    """When a process began, in the kernel's own ticks: a pid alone may be somebody else's by now. Empty: it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().decode("latin-1").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
