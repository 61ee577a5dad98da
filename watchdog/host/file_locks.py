"""POSIX locks on files, as the kernel lists them: who keeps us from a file."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

_LIST = Path("/proc/locks")


class FileLock(NamedTuple):
    pid: int
    exclusive: bool
    start: int
    end: int | None
    """The last byte; None: to the end of the file, however long it gets."""

    def covers(self, bytes_: Iterable[int]) -> bool:
        return any(self.start <= each and (self.end is None or each <= self.end) for each in bytes_)


def file_locks(path: Path) -> list[FileLock]:
    """The locks that other processes hold on a file. Raises OSError.

    It is not opened for that: closing it would end our own.
    """
    found = path.stat()
    device = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    return parse_locks(_LIST.read_text(), device)


def parse_locks(listed: str, device: str) -> list[FileLock]:
    """``1: POSIX  ADVISORY  WRITE 4711 fe:00:131 120 120`` → those on that file, of others than us; `->` only waits."""
    locks = []
    for line in listed.splitlines():
        words = line.split()
        if len(words) == 8 and words[1] == "POSIX" and words[5] == device and words[4].isdecimal():
            pid, end = int(words[4]), None if words[7] == "EOF" else int(words[7])
            if pid not in (0, os.getpid()):
                locks.append(FileLock(pid, words[3] == "WRITE", int(words[6]), end))
    return locks


def signal_process(pid: int, number: signal.Signals, still_meant: Callable[[], bool]) -> bool:
    """True: it was there, ours to signal, and `still_meant` once its number could not become another's any more."""
    with contextlib.suppress(OSError):
        held = os.pidfd_open(pid)
        try:
            if still_meant():
                signal.pidfd_send_signal(held, number)
                return True
        finally:
            os.close(held)
    return False
