"""A plain file of a log that may be truncated at any moment while it is read.

What was read is known by the bytes that came, never by those that stand there afterwards: these may be another log's
beginning by then, and the copy that was made ahead of the truncation would not be known for what it is.
"""

from __future__ import annotations

import os
from typing import BinaryIO

from watchdog.host.log_position import HEAD, TAIL, Position, hash_bytes


class PlainLog:
    """Reads on from a position."""

    def __init__(self, file: BinaryIO, position: Position) -> None:
        self._file, self._position = file, position
        self._end = file.seek(position.offset)
        self._head = os.pread(file.fileno(), min(self._end, HEAD), 0)
        size = min(self._end, TAIL)
        self._recent = os.pread(file.fileno(), size, self._end - size)
        """What lies ahead of `_end`: from `TAIL` bytes ahead of the position on."""
        self.is_another = bool(position.offset and position.head) and not self._fits()
        """It is not the file any more that was read."""

    def read(self, size: int) -> bytes:
        """Nothing at the end, and when it is another file by now."""
        if self.is_another:
            return b""
        chunk = self._file.read(size)
        if os.pread(self._file.fileno(), len(self._head), 0) != self._head:
            self.is_another = True
            return b""
        if len(self._head) == self._end < HEAD:
            self._head += chunk[: HEAD - self._end]
        self._recent = self._recent[-(self._end - self._position.offset + TAIL) :] + chunk
        self._end += len(chunk)
        return chunk

    def note(self) -> None:
        """By what its content is known, up to the position."""
        offset = self._position.offset
        ahead = self._recent[: len(self._recent) - (self._end - offset)]
        self._position.head = hash_bytes(self._head[:offset])
        self._position.tail = hash_bytes(ahead[-TAIL:])

    def _fits(self) -> bool:
        return (hash_bytes(self._head), hash_bytes(self._recent)) == (self._position.head, self._position.tail)
