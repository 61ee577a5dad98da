"""Temporary folders of a server's processes: each is gone with its process, however that ended."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

_PREFIX = "trading-watchdog-worker-"
_IN_MEMORY = "/dev/shm"  # noqa: S108 - a folder of a random name, for its user alone


class ScratchFolders:
    """One folder of the server's, for its user alone, made when the first process comes; in it one for each process.

    It is held by a lock as long as anybody of this server lives, so that a later server knows what was left behind.
    """

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._next = 0
        for path in (found for place in _places() for found in place.glob(f"{_PREFIX}*")):
            with contextlib.suppress(OSError):
                handle = _open(path)
                try:
                    if os.fstat(handle).st_uid == os.geteuid():
                        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        shutil.rmtree(path, ignore_errors=True)
                finally:
                    os.close(handle)

    def new(self) -> Path:
        """Where a process may make its own. Raises OSError."""
        while self._folder is None:
            made = _make_folder()
            with contextlib.suppress(FileNotFoundError):  # another server took it for one that was left behind
                fcntl.flock(handle := _open(made), fcntl.LOCK_EX)  # and stays open
                if os.path.samestat(made.lstat(), os.fstat(handle)):
                    self._folder = made
        self._next += 1
        return self._folder / str(self._next)

    def close(self) -> None:
        if self._folder is not None:
            remove(self._folder)


def _make_folder() -> Path:
    """In memory where the disk is full or read-only: a halt needs a place for its worker then as well."""
    try:
        return Path(tempfile.mkdtemp(prefix=_PREFIX))
    except OSError:
        return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_IN_MEMORY))


def _places() -> list[Path]:
    with contextlib.suppress(OSError):
        return [Path(tempfile.gettempdir()), Path(_IN_MEMORY)]
    return [Path(_IN_MEMORY)]


def remove(path: Path) -> None:
    """With all that lies in it; no link is followed. Nothing when it is not there."""
    shutil.rmtree(path, ignore_errors=True)


def _open(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
