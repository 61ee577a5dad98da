"""The files that one log is made of: what a pattern names now, and what those were called before a rotation."""

from __future__ import annotations

import contextlib
import fnmatch
import gzip
import os
import re
import stat
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from watchdog.core.errors import ActionError
from watchdog.host.folder import Folder, open_folder, resolve

MAX_NAMES = 20_000
"""Of a folder; with more of them, every look would take longer than the time from one to the next."""
MAX_LINKS = 100
_ROTATED = re.compile(r"[.-][0-9][0-9TZ_.-]{0,40}(\.gz)?|\.gz", re.ASCII)
"""What logrotate, loggers and people append: ``.1``, ``.1.gz``, ``-20261130.gz``, ``.2026-11-30``."""
_WILDCARDS = re.compile(r"[*?[]")
_PACKED = (".zst", ".xz", ".bz2", ".lz4", ".zip", ".Z")
"""Names of what is not read: no line of it could be told."""
_GZIP_MAGIC = b"\x1f\x8b"

FileKey = tuple[int, int]
"""Device and inode."""


class FoundFile(NamedTuple):
    """One regular file, as it was at the look."""

    name: str
    key: FileKey
    size: int
    mtime_ns: int
    path: Path
    """Without links in it."""

    @property
    def is_current(self) -> bool:
        """Its name is not one that a rotation gives."""
        return rotated_name(self.name) == self.name

    @property
    def order(self) -> tuple[int, bool, str]:
        """Oldest first; of one tick of the kernel's clock, what was rotated ahead of what is written now."""
        return self.mtime_ns, self.is_current, self.name


class LogFolder:
    """An open folder and the pattern of names in it."""

    def __init__(self, folder: Folder, pattern: str) -> None:
        self._folder = folder
        self._pattern = pattern
        self._matches = re.compile(fnmatch.translate(pattern)).match
        self._is_plain = not _WILDCARDS.search(pattern)

    def is_named(self, name: str) -> bool:
        """Whether the pattern itself names it."""
        hidden = name.startswith(".") and not self._pattern.startswith(".")
        return self._matches(name) is not None and not hidden

    def belongs(self, name: str) -> bool:
        """Whether the pattern names it, or named it before a rotation."""
        return not name.endswith(_PACKED) and (self.is_named(name) or self.is_named(rotated_name(name)))

    def find(self, beside: Iterable[str] = ()) -> list[FoundFile]:
        """All there are now, each once, oldest first. `beside`: other names that are looked at, too."""
        others = frozenset(beside)
        return self._look(name for name in self._names() if name in others or self.belongs(name))

    def find_renamed(self, keys: set[FileKey]) -> list[FoundFile]:
        """Of files that are lost: those that still lie in the folder, whatever they are called now."""
        return [file for file in self._look(self._names()) if file.key in keys]

    def _names(self) -> list[str]:
        names = self._folder.names()
        if len(names) > MAX_NAMES:
            raise ActionError(
                f"{self._folder.path} holds {len(names)} files, of {MAX_NAMES} at most — move old ones away"
            )
        return names

    def _look(self, names: Iterable[str]) -> list[FoundFile]:
        found: dict[FileKey, FoundFile] = {}
        links = 0
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # it was renamed just now
                status, path = self._folder.stat(name), self._folder.path / name
                if stat.S_ISLNK(status.st_mode):
                    links += 1
                    if links > MAX_LINKS or not self.is_named(name):
                        continue
                    path = resolve(str(self._folder.path), name)
                    with open_folder(path.parent) as inner:
                        status = inner.stat(path.name)
                if stat.S_ISREG(status.st_mode):
                    key = status.st_dev, status.st_ino
                    file = FoundFile(name, key, status.st_size, status.st_mtime_ns, path)
                    if key not in found or name == path.name:
                        found[key] = file
                elif self._is_plain and name == self._pattern:
                    self._folder.open_file(name)  # raises, and says what it is instead
        return sorted(found.values(), key=lambda file: file.order)

    @contextlib.contextmanager
    def open(self, file: FoundFile) -> Iterator[BinaryIO]:
        """FileNotFoundError when it was renamed, or another one has that name by now."""
        with contextlib.ExitStack() as stack:
            folder = self._folder
            if file.path.parent != folder.path:
                folder = stack.enter_context(open_folder(file.path.parent))
            opened = stack.enter_context(folder.open_file(file.path.name))
            status = os.fstat(opened.fileno())
            if (status.st_dev, status.st_ino) != file.key:
                raise FileNotFoundError(f"{file.path} is another file by now")
            yield opened


@contextlib.contextmanager
def open_log_folder(pattern: str) -> Iterator[LogFolder]:
    """The folder of a full path whose last component may hold wildcards. Raises FileNotFoundError; ActionError."""
    head, name = os.path.split(pattern)
    if _WILDCARDS.search(head):
        raise ActionError(f"{pattern} has wildcards in a folder's name — use them in the file's name only")
    try:
        with open_folder(Path(os.path.realpath(head))) as folder:
            yield LogFolder(folder, name)
    except (FileNotFoundError, ActionError):
        raise
    except OSError as problem:
        raise ActionError(f"{problem.filename or pattern} cannot be read: {problem.strerror}") from None


def rotated_name(name: str) -> str:
    """What it was called before it was rotated; the same when it does not look rotated."""
    for at, sign in enumerate(name):
        if at and sign in ".-" and _ROTATED.fullmatch(name, at):
            return name[:at]
    return name


def is_gzip(file: BinaryIO) -> bool:
    return os.pread(file.fileno(), 2, 0) == _GZIP_MAGIC


def unpacked_head(file: BinaryIO, size: int) -> bytes:
    """The first bytes of what is packed there, as far as it is whole."""
    found = bytearray()
    with unpacked(file) as stream, contextlib.suppress(EOFError, zlib.error, OSError):
        while len(found) < size and (chunk := stream.read1(size - len(found))):
            found += chunk
    return bytes(found)


def unpacked(file: BinaryIO) -> gzip.GzipFile:
    """From its beginning."""
    file.seek(0)
    return gzip.GzipFile(fileobj=file, mode="rb")
