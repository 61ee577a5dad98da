"""How far a file of a log was read, and by what it is known again after it was renamed, copied, truncated or packed.

By device and inode, as long as its content is the one that was read: the beginning of it, and what lies right ahead of the
position, by their hashes. Both, since files often begin alike, and an inode is used again. What has the content and
another inode is the same log under another name: a copy ahead of a truncation, or what gzip made of it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from watchdog.core.model import JsonObject
from watchdog.host.log_files import FileKey, FoundFile, unpacked_head

HEAD = 1_024
TAIL = 256
MAX_FILES = 1_000
"""Files of which the position is kept."""
_KEPT = 64
"""So many are always kept, also when they are gone, or read to their end long ago."""
_IDLE_NS = 7 * 86_400 * 10**9
"""A file that was silent so much longer than another one will not be written to any more."""


@dataclass
class Position:
    """Of one file."""

    key: FileKey
    offset: int = 0
    """Up to here it was read; of what is packed, in what comes out of it."""
    head: str = ""
    tail: str = ""
    """Hashes of the first `HEAD` bytes ahead of the offset, and of the last `TAIL` of these."""
    mtime_ns: int = 0
    seen: int = -1
    """Its size when there was nothing more to be read; -1: there was more."""
    packed: bool = False
    skips: bool = False
    """The offset stands within a line that is too long."""
    name: str | None = None
    """Where it lies, when that is not what its pattern names."""
    begins_in: FileKey | None = None
    """The copy that ends with the beginning of its first line: the file was truncated in the middle of that."""
    tries: int = 0
    """To get to the offset of what is packed."""
    gone: bool = False
    """It lay nowhere in the folder."""
    copied: bool = False
    """It is how another file begins, and was not read: that one was."""

    def is_unchanged(self, file: FoundFile) -> bool:
        return self.seen == file.size and self.mtime_ns == file.mtime_ns

    def note(self, file: BinaryIO) -> None:
        """By what its content is known, up to the offset."""
        if self.packed:
            self.head = hash_bytes(unpacked_head(file, min(self.offset, HEAD)))
            return
        self.head = hash_of(file, 0, min(self.offset, HEAD))
        self.tail = hash_of(file, max(self.offset - TAIL, 0), min(self.offset, TAIL))

    def fits(self, file: BinaryIO, size: int) -> bool:
        """Whether that is the content that was read; of a file that was cut back since, the beginning alone is left."""
        length = min(self.offset, HEAD)
        if self.packed:
            return hash_bytes(unpacked_head(file, length)) == self.head
        if size < length or hash_of(file, 0, length) != self.head:
            return False
        if size < self.offset:
            return length == HEAD
        return hash_of(file, max(self.offset - TAIL, 0), min(self.offset, TAIL)) == self.tail

    def fits_packed(self, head: bytes) -> bool:
        length = min(self.offset, HEAD)
        return len(head) >= length and hash_bytes(head[:length]) == self.head

    def to_json(self) -> JsonObject:
        """Short: it is written with every read."""
        found: dict[str, Any] = {
            "file": list(self.key),
            "offset": self.offset,
            "mtime": self.mtime_ns,
            "seen": self.seen,
        }
        if self.offset:
            found |= {"head": self.head, "tail": self.tail}
        found |= {name: True for name in ("packed", "skips", "gone", "copied") if getattr(self, name)}
        if self.name is not None:
            found["name"] = self.name
        if self.begins_in is not None:
            found["begins_in"] = list(self.begins_in)
        if self.tries:
            found["tries"] = self.tries
        return found

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Position:
        """Raises KeyError, TypeError, ValueError."""
        begins_in = value.get("begins_in")
        return cls(
            _key(value["file"]),
            int(value["offset"]),
            str(value.get("head", "")),
            str(value.get("tail", "")),
            int(value["mtime"]),
            int(value["seen"]),
            bool(value.get("packed", False)),
            bool(value.get("skips", False)),
            value.get("name"),
            None if begins_in is None else _key(begins_in),
            int(value.get("tries", 0)),
            bool(value.get("gone", False)),
            bool(value.get("copied", False)),
        )


def is_copy(file: BinaryIO, size: int, other: BinaryIO, other_size: int) -> bool:
    """Whether all that a file holds is how another one begins, as far as its first and its last bytes tell."""
    if not 0 < size <= other_size:
        return False
    last = max(size - TAIL, 0)
    return _part(file, 0, min(size, HEAD)) == _part(other, 0, min(size, HEAD)) and _part(file, last, TAIL) == _part(
        other, last, size - last
    )


def is_beginning(head: bytes, other: BinaryIO) -> bool:
    return _part(other, 0, len(head)) == head


def kept(positions: Iterable[Position], there: set[FileKey]) -> tuple[list[Position], int]:
    """Those that must be remembered; and the mtime in ns after that of all others: an older file that is not known was read."""
    newest_first = sorted(positions, key=lambda each: each.mtime_ns, reverse=True)
    horizon = newest_first[0].mtime_ns - _IDLE_NS if newest_first else 0
    stays, gone, since = [], 0, 0
    for number, each in enumerate(newest_first):
        if each.key not in there:
            gone += 1
            if gone <= _KEPT:
                stays.append(each)
        elif each.seen < 0 or number < _KEPT or (number < MAX_FILES and each.mtime_ns >= horizon):
            stays.append(each)
        else:
            since = max(since, each.mtime_ns + 1)
    stays.sort(key=lambda each: (each.mtime_ns, each.key))
    return stays, since


def _key(value: Any) -> FileKey:
    device, inode = value
    return int(device), int(inode)


def _part(file: BinaryIO, start: int, size: int) -> bytes:
    return os.pread(file.fileno(), size, start)


def hash_of(file: BinaryIO, start: int, size: int) -> str:
    return hash_bytes(_part(file, start, size))


def hash_bytes(part: bytes) -> str:
    return hashlib.blake2b(part, digest_size=8).hexdigest()
