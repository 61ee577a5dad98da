"""Files of a bot's folder, as their owner sees them: which there are, and how they begin and end."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple

from watchdog.core.errors import ActionError

MAX_FILES = 2_000
"""Names that are looked at."""
_MAX_DEPTH = 2
_HEAD_BYTES = 64 << 10
_TAIL_BYTES = 256 << 10
_SKIPPED = ("node_modules", "__pycache__", "venv", "site-packages", "build", "dist")


class FoundFile(NamedTuple):
    path: str
    size: int
    modified: float
    """Seconds since the epoch."""


class FolderContents(NamedTuple):
    files: list[FoundFile]
    """Regular files with something in them, in the folder and the two levels below it; hidden ones left out."""
    repo: str | None
    """The git work tree that the folder is, or lies in."""
    cut: bool
    """There are more than were looked at."""


class FileEnds(NamedTuple):
    """A file's text, where it is long only both ends; what is no UTF-8 is replaced."""

    head: str
    tail: str
    """From the beginning of a line on."""
    size: int
    modified: float
    """Seconds since the epoch."""


def list_folder(folder: Path) -> FolderContents:
    """Raises ActionError when it cannot be looked into."""
    found: list[FoundFile] = []
    seen = 0
    try:
        top = folder.resolve(strict=True)
        for parent, folders, names in os.walk(top, onerror=_raise):
            depth = len(Path(parent).relative_to(top).parts)
            keep = [name for name in sorted(folders) if not name.startswith(".") and name not in _SKIPPED]
            folders[:] = keep if depth < _MAX_DEPTH else []
            for name in sorted(names):
                seen += 1
                path = Path(parent, name)
                if seen > MAX_FILES or name.startswith("."):
                    continue
                try:
                    kind = path.lstat()
                except FileNotFoundError:
                    continue  # a bot renames and deletes while it is looked at
                if stat.S_ISREG(kind.st_mode) and kind.st_size:
                    found.append(FoundFile(str(path), kind.st_size, kind.st_mtime))
            if seen > MAX_FILES:
                break
    except OSError as problem:
        raise ActionError(f"{problem.filename or folder} cannot be looked into: {problem.strerror}") from None
    repo = next((each for each in (top, *top.parents) if (each / ".git").exists()), None)
    return FolderContents(found, None if repo is None else str(repo), seen > MAX_FILES)


def _raise(problem: OSError) -> None:
    raise problem


def read_ends(path: Path) -> FileEnds:
    """Raises ActionError when it cannot be read, or is no regular file."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123 - flags
            kind = os.fstat(file.fileno())
            if not stat.S_ISREG(kind.st_mode):
                raise ActionError(f"{path} is no regular file")
            head = file.read(_HEAD_BYTES)
            start = max(0, kind.st_size - _TAIL_BYTES)
            file.seek(start)
            tail = file.read(_TAIL_BYTES)
    except OSError as problem:
        raise ActionError(f"{path} cannot be read: {problem.strerror}") from None
    if start:
        tail = tail.partition(b"\n")[2]
    return FileEnds(head.decode("utf-8", "replace"), tail.decode("utf-8", "replace"), kind.st_size, kind.st_mtime)
