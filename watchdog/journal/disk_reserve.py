"""Room on the disk that is kept for the worst moment: a halt must be written down before it is carried out."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

RESERVE_BYTES = 8 << 20
"""Bytes. A halt with its messages takes some tens of kilobytes, and SQLite's log up to 4 MB before it is reused."""
_MIN_FREE_BYTES = 1 << 20
"""Bytes free on the disk below which the room is given up ahead of a write."""


_FULL = (errno.ENOSPC, errno.EDQUOT)
"""No room, no inodes, or a quota that is used up."""
T = TypeVar("T")


class DiskReserve:
    """A file of `RESERVE_BYTES` bytes beside the journal, deleted when the disk is full."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, folder: Path) -> DiskReserve:
        """That of a state folder."""
        return cls(folder / "journal.reserve")

    @property
    def exists(self) -> bool:
        return self.path.exists()

    def fill(self) -> bool:
        """Takes the room when the disk has plenty; True when it was not there before and is now."""
        if self.exists or self._free_bytes() < 2 * RESERVE_BYTES:
            return False
        part = self.path.with_suffix(".part")
        try:
            fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(fd, 0, RESERVE_BYTES)
            finally:
                os.close(fd)
            part.replace(self.path)
        except OSError:
            part.unlink(missing_ok=True)
            return False
        return True

    def release_if_low(self) -> None:
        """Ahead of a write: gives the room up when less than a write may need is left."""
        if self._free_bytes() < _MIN_FREE_BYTES:
            self.release()

    def release(self) -> None:
        try:
            self.path.unlink(missing_ok=True)
        except OSError:
            return  # a disk that can only be read: the write will say so

    def _free_bytes(self) -> int:
        """Bytes that we may still take; a disk that cannot be asked counts as roomy, since the write itself will tell."""
        try:
            disk = os.statvfs(self.path.parent)
        except OSError:
            return 2 * RESERVE_BYTES
        return disk.f_bavail * disk.f_frsize


def with_room(reserve: DiskReserve, call: Callable[[], T]) -> T:
    """What it answers; where the disk has no room for it, once more when the reserve was given up. Raises OSError."""
    try:
        return call()
    except OSError as error:
        if error.errno not in _FULL or not reserve.exists:
            raise
    reserve.release()
    return call()
