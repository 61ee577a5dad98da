"""Follows a log that is rotated, in whatever way: its new lines, each once, and a state from which the next look goes on.

A line is there when its newline is: half a line waits. Where the beginning of a line went away with a copy ahead of a
truncation, its end is put to it. What cannot be known: lines that were written between a copy and its truncation are
in no file, and what was deleted before it was read is gone.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import time
import zlib
from collections.abc import Callable, Generator, Iterator
from typing import BinaryIO

from watchdog.core.model import JsonObject
from watchdog.host.log_files import FileKey, FoundFile, LogFolder, is_gzip, open_log_folder, unpacked
from watchdog.host.log_identity import identify
from watchdog.host.log_position import MAX_FILES, TAIL, Position, hash_bytes, kept
from watchdog.host.plain_log import PlainLog

MAX_LINE = 1 << 20
"""Bytes; a longer line is passed over as a whole."""
LEAST_TIME = 0.25
"""s that are read whatever the time is."""
_CHUNK = 128 << 10
_MAX_TRIES = 5
"""To unpack up to where it was read; what takes longer than a look each time is let go."""


def read_new_lines(pattern: str, state: JsonObject, max_bytes: int, deadline: float | None = None) -> Iterator[bytes]:
    """The lines that were written since, oldest first, without their newlines.

    `pattern`: a full path; its last component may hold wildcards. Also what a name became by a rotation is read (``.1``,
    ``-20261130``, ``.1.gz``). `state`: an empty one begins at the end of what is there; once the iterator is exhausted or
    closed it stands for exactly those lines that came out of it, with `behind`, the bytes that wait to be read, and
    `skipped_lines`, which were longer than MAX_LINE. `max_bytes`: of one call, about, but 2 MiB at least. `deadline`:
    monotonic seconds.

    Raises ActionError; FileNotFoundError where there is no such folder.
    """
    with open_log_folder(pattern) as folder:
        tail = _Tail(folder, state)
        if tail.is_new:
            tail.begin()
            return
        budget = _Budget(max(max_bytes, 2 * MAX_LINE), deadline)
        try:
            yield from tail.read(budget)
        finally:
            tail.save()


def matches_any(pattern: str) -> bool:
    """Whether there is any file of that log. Raises as `read_new_lines` does."""
    with open_log_folder(pattern) as folder:
        return bool(folder.find())


def newest_lines(pattern: str, max_bytes: int) -> list[bytes]:
    """The last lines that are there, oldest first, out of about so many bytes; of what is packed none. Raises as above."""
    found: list[bytes] = []
    with open_log_folder(pattern) as folder:
        for each in reversed(folder.find()):
            if max_bytes <= 0:
                break
            with contextlib.suppress(FileNotFoundError), folder.open(each) as file:
                if is_gzip(file):
                    continue
                size = os.fstat(file.fileno()).st_size
                start = max(size - max_bytes, 0)
                data = os.pread(file.fileno(), min(size, max_bytes), start)
                lines = [line.lstrip(b"\0") for line in data.split(b"\n")[:-1]]
                found[:0] = lines if start == 0 else lines[1:]
                max_bytes -= len(data)
    return found


class _Budget:
    """Of one call."""

    def __init__(self, max_bytes: int, deadline: float | None) -> None:
        self.left, self._deadline = max_bytes, deadline

    def begin(self) -> None:
        """To find out which file is which may have taken all of the time; a look that reads nothing would never end it."""
        if self._deadline is not None:
            self._deadline = max(self._deadline, time.monotonic() + LEAST_TIME)

    @property
    def is_late(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    @property
    def is_spent(self) -> bool:
        return self.left <= 0 or self.is_late


class _Tail:
    """One look at a log."""

    def __init__(self, folder: LogFolder, state: JsonObject) -> None:
        self._folder, self._state = folder, state
        self._positions: dict[FileKey, Position] = {}
        self.is_new = "files" not in state
        try:
            for each in state.get("files", ()):
                position = Position.of_json(each)
                self._positions[position.key] = position
            self._since = int(state.get("since", 0))
            self._skipped = int(state.get("skipped_lines", 0))
        except (KeyError, TypeError, ValueError, AttributeError):  # nothing that we wrote
            self._positions, self._since, self._skipped, self.is_new = {}, 0, 0, True
        self._files: list[FoundFile] = []

    def begin(self) -> None:
        """Everything that is there was before us."""
        self._files = self._folder.find()
        older, newest = self._files[:-MAX_FILES], self._files[-MAX_FILES:]
        self._since = max((each.mtime_ns + 1 for each in older), default=0)
        for each in newest:
            with contextlib.suppress(FileNotFoundError), self._folder.open(each) as file:
                self._positions[each.key] = _position_at_end(each, file)
        self.save()

    def read(self, budget: _Budget) -> Iterator[bytes]:
        self._files = self._find()
        to_read = identify(self._folder, self._files, self._positions, self._since)
        for each in to_read:
            self._positions[each.key].seen = -1
        budget.begin()
        for each in to_read:
            if budget.is_spent:
                return
            with contextlib.suppress(FileNotFoundError), self._folder.open(each) as file:
                yield from self._read_file(each, file, budget)

    def _find(self) -> list[FoundFile]:
        """Also those that were renamed to what nobody foresaw; not what has got their inode since, and is another log's."""
        names = {each.name: each for each in self._positions.values() if each.name is not None}
        files = [
            each
            for each in self._folder.find(names)
            if each.name not in names or self._folder.belongs(each.name) or self._is_known(each)
        ]
        lost = {key for key, each in self._positions.items() if not each.gone} - {each.key for each in files}
        for each in files:
            if each.key in self._positions:
                self._positions[each.key].gone = False
        if not lost:
            return files
        renamed = [each for each in self._folder.find_renamed(lost) if self._is_known(each)]
        for each in renamed:
            self._positions[each.key].name = each.name
        for key in lost - {each.key for each in renamed}:
            self._positions[key].gone = True
        return sorted([*files, *renamed], key=lambda each: each.order)

    def _is_known(self, found: FoundFile) -> bool:
        """Whether what was read of it is there still."""
        position = self._positions.get(found.key)
        if position is None or not position.offset:
            return False
        with contextlib.suppress(FileNotFoundError), self._folder.open(found) as file:
            return position.is_unchanged(found) or position.fits(file, found.size)
        return False

    def _read_file(self, found: FoundFile, file: BinaryIO, budget: _Budget) -> Iterator[bytes]:
        position = self._positions[found.key]
        position.mtime_ns = found.mtime_ns
        lines = self._packed_lines if position.packed else self._plain_lines
        for line in lines(found, file, position, budget):
            if position.begins_in is None:
                yield line
            elif (half := self._take_first_half(position)) is not None:
                yield half + line

    def _plain_lines(self, _: FoundFile, file: BinaryIO, position: Position, budget: _Budget) -> Iterator[bytes]:
        # Who goes on at his own place after a truncation leaves a hole.
        if not position.offset and os.pread(file.fileno(), 1, 0) == b"\0":
            try:
                position.offset = file.seek(0, os.SEEK_DATA)
            except OSError:  # nothing but a hole
                position.offset = os.fstat(file.fileno()).st_size
        log = PlainLog(file, position)
        if log.is_another:
            return  # the next look finds out what became of it
        try:
            rest = yield from self._lines(log.read, position, budget)
        finally:
            log.note()
        if rest is not None and not log.is_another:
            position.seen = position.offset + rest

    def _packed_lines(self, found: FoundFile, file: BinaryIO, position: Position, budget: _Budget) -> Iterator[bytes]:
        if position.offset and _unpacked_size(found, file) == position.offset & 0xFFFFFFFF:
            position.seen = found.size
            return
        try:
            yield from self._unpacked_lines(found, file, position, budget)
        finally:
            position.note(file)

    def _unpacked_lines(self, found: FoundFile, file: BinaryIO, position: Position, budget: _Budget) -> Iterator[bytes]:
        with unpacked(file) as stream:
            try:
                if (last := _pass_over(stream, position.offset, budget)) is None:
                    position.tries += 1
                    if position.tries >= _MAX_TRIES:
                        position.seen = found.size
                    return
                if position.tail and hash_bytes(last) != position.tail:  # it only began like what was read
                    position.offset, position.tail = 0, ""
                    return
                position.tail = ""
                rest = yield from self._lines(stream.read1, position, budget)
            except (EOFError, zlib.error, gzip.BadGzipFile):  # what is whole of it was read
                rest = 0
        if rest is not None:
            position.seen, position.tries = found.size, 0

    def _lines(
        self, read: Callable[[int], bytes], position: Position, budget: _Budget
    ) -> Generator[bytes, None, int | None]:
        """Returns how many bytes are left of half a line at the end; None when there is more to read."""
        pending = b""
        while not budget.is_spent:
            chunk = read(_CHUNK)
            budget.left -= len(chunk)
            if not chunk:
                return len(pending)
            if not pending and chunk[:1] == b"\0":  # a hole, in the middle of a file or at its beginning
                size, chunk = len(chunk), chunk.lstrip(b"\0")
                position.offset += size - len(chunk)
            if position.skips:
                size = chunk.find(b"\n") + 1
                position.skips = not size
                position.offset += size or len(chunk)
                chunk = chunk[size:] if size else b""
            data = pending + chunk
            end = data.rfind(b"\n")
            if end >= 0:
                for line in data[:end].split(b"\n"):
                    position.offset += len(line) + 1
                    yield line.lstrip(b"\0") if line[:1] == b"\0" else line
                pending = data[end + 1 :]
            else:
                pending = data
            if pending[:1] == b"\0":
                size, pending = len(pending), pending.lstrip(b"\0")
                position.offset += size - len(pending)
            if len(pending) >= MAX_LINE:
                position.offset += len(pending)
                position.skips, pending = True, b""
                self._skipped += 1
        return None

    def _take_first_half(self, position: Position) -> bytes | None:
        """Of the first line of a file that was truncated within it: it stands at the end of the copy. None: it is too long."""
        key, position.begins_in = position.begins_in, None
        copy, half = self._positions.get(key or position.key), b""
        for each in self._files:
            if copy is not None and each.key == copy.key:
                with contextlib.suppress(FileNotFoundError, EOFError, zlib.error), self._folder.open(each) as file:
                    half = _rest_of(file, copy)
                    if b"\n" in half:  # it goes on by itself
                        return b""
                    copy.offset += len(half)
                    copy.note(file)
        if copy is not None and (copy.skips or len(half) > MAX_LINE):
            self._skipped += not copy.skips
            copy.skips = False
            return None
        return half

    def save(self) -> None:
        positions, since = kept(self._positions.values(), {each.key for each in self._files})
        self._state.update(
            files=[each.to_json() for each in positions],
            since=max(self._since, since),
            skipped_lines=self._skipped,
            behind=self._behind(),
        )

    def _behind(self) -> int:
        waiting = 0
        for each in self._files:
            position = self._positions.get(each.key)
            if position is not None and position.seen < 0:
                waiting += each.size if position.packed else max(each.size - position.offset, 0)
        return waiting


def _rest_of(file: BinaryIO, position: Position) -> bytes:
    """What lies behind the position, as far as it may be a line."""
    if not position.packed:
        return os.pread(file.fileno(), MAX_LINE + 1, position.offset)
    with unpacked(file) as stream:
        _pass_over(stream, position.offset)
        return stream.read(MAX_LINE + 1)


def _pass_over(stream: gzip.GzipFile, size: int, budget: _Budget | None = None) -> bytes | None:
    """The last bytes ahead of that place; None when time was up first."""
    left, last = size, b""
    while left and (passed := stream.read1(min(left, _CHUNK))):
        left -= len(passed)
        last = (last + passed)[-TAIL:]
        if budget is not None and budget.is_late:
            return None
    return last


def _position_at_end(found: FoundFile, file: BinaryIO) -> Position:
    """Behind the last whole line."""
    position = Position(found.key, mtime_ns=found.mtime_ns, seen=found.size, packed=is_gzip(file))
    if position.packed:
        position.offset = _unpacked_size(found, file)
    else:
        start = max(found.size - MAX_LINE, 0)
        end = os.pread(file.fileno(), found.size - start, start).rfind(b"\n")
        position.offset = start + end + 1 if end >= 0 or not start else found.size
        position.skips = end < 0 and start > 0
    position.note(file)
    return position


def _unpacked_size(found: FoundFile, file: BinaryIO) -> int:
    """As gzip notes it at the end: modulo 4 GiB."""
    return int.from_bytes(os.pread(file.fileno(), 4, max(found.size - 4, 0)), "little")
