"""Which file is which since the last look, whatever was renamed, copied, truncated or packed in between."""

from __future__ import annotations

import contextlib
import os
from typing import BinaryIO

from watchdog.host.log_files import FileKey, FoundFile, LogFolder, is_gzip, rotated_name, unpacked_head
from watchdog.host.log_position import HEAD, Position, hash_bytes, is_beginning, is_copy


def identify(
    folder: LogFolder, files: list[FoundFile], positions: dict[FileKey, Position], since: int
) -> list[FoundFile]:
    """Moves each position to the file that has its content now, gives new files one, and returns those files that may have
    lines to be read, in their order.

    A file that is how another one begins is left alone: it is a copy, or being made one, and will be known when what it
    was copied from is truncated. `files`: gets those that came while it was looked through. `since`: mtime in ns; an older
    file without a position was read.
    """
    return _Identification(folder, files, positions, since).order()


class _Identification:
    def __init__(
        self, folder: LogFolder, files: list[FoundFile], positions: dict[FileKey, Position], since: int
    ) -> None:
        self._folder, self._files, self._positions = folder, files, positions
        there = {each.key for each in files}
        self._homeless = [each for key, each in positions.items() if key not in there and not each.copied]
        self._intact: list[FoundFile] = []
        self._changed: list[FoundFile] = []
        """Of the intact ones: those that may have grown."""
        self._heads: dict[FileKey, bytes | None] = {}
        """First bytes of the intact ones, each read once a look: there may be hundreds, and as many to compare them with."""
        self._moved: dict[FileKey, FileKey] = {}
        self._is_unsure = False
        """One was renamed since the look: whether it was truncated before, and what is a copy of it, the next look tells."""
        self._truncated: list[FileKey] = []
        strangers: list[FoundFile] = []
        for each in files:
            position = positions.get(each.key)
            if position is None:
                if each.mtime_ns >= since:
                    strangers.append(each)
            elif position.copied:
                strangers.append(each)
            elif position.is_unchanged(each):
                self._intact.append(each)
            elif not position.offset:
                strangers.append(each)
            elif self._is_same(each, position):
                self._intact.append(each)
                self._changed.append(each)
            else:
                self._truncated.append(each.key)
                self._homeless.append(positions.pop(each.key))
                strangers.append(each)
        for each in strangers:
            if each.size or each.key in positions or each.key in self._truncated:
                with contextlib.suppress(FileNotFoundError), folder.open(each) as file:
                    self._place(each, file)
        if any(each.key in self._truncated for each in self._homeless):
            self._place_latecomers(since)
        for each_position in positions.values():
            begins_in = each_position.begins_in
            each_position.begins_in = None if begins_in is None else self._moved.get(begins_in, begins_in)
        for key in self._truncated:
            if key in self._moved and key in positions and (positions[key].copied or not positions[key].offset):
                positions[key].begins_in = self._moved[key]

    def _place_latecomers(self, since: int) -> None:
        """What was truncated was copied before: the copy is there by now, if it was not when we looked for files."""
        for each in self._folder.find():
            if each.size and each.key not in self._positions and each.mtime_ns >= since:
                with contextlib.suppress(FileNotFoundError), self._folder.open(each) as file:
                    self._files.append(each)
                    self._place(each, file)

    def order(self) -> list[FoundFile]:
        """A copy ahead of what was truncated after it."""
        by_key = {each.key: each for each in self._changed}

        def place(found: FoundFile) -> tuple[int, int, tuple[int, bool, str]]:
            copy = by_key.get(self._positions[found.key].begins_in or found.key, found)
            return max(found.mtime_ns, copy.mtime_ns), copy is not found, found.order

        return sorted(self._changed, key=place)

    def _is_same(self, found: FoundFile, position: Position) -> bool:
        try:
            with self._folder.open(found) as file:
                if not position.fits(file, found.size):
                    return False
                if not position.packed and found.size < position.offset:
                    position.offset, position.skips = found.size, False
                    position.note(file)
        except FileNotFoundError:
            self._is_unsure = True
            return True
        return True

    def _place(self, found: FoundFile, file: BinaryIO) -> None:
        # A copy has grown since the look; ahead of a truncation that was seen, it is whole.
        status = os.fstat(file.fileno())
        found = found._replace(size=status.st_size, mtime_ns=status.st_mtime_ns)
        packed = is_gzip(file)
        head = unpacked_head(file, HEAD) if packed else b""
        known = self._positions.get(found.key)
        predecessor = self._find_predecessor(found, file, head if packed else None)
        if predecessor is not None:
            self._homeless.remove(predecessor)
            if self._positions.get(predecessor.key) is predecessor:
                del self._positions[predecessor.key]
            self._moved[predecessor.key] = found.key
            moved = Position(found.key, predecessor.offset, skips=predecessor.skips, packed=packed)
            if not packed and found.size < moved.offset:
                moved.offset, moved.skips = found.size, False
            moved.note(file)
            moved.tail = moved.tail or predecessor.tail  # what is packed is unpacked only when it is read
            moved.begins_in = predecessor.begins_in
            self._positions[found.key] = moved
        elif self._is_unsure and known is None and found.key not in self._truncated:
            return
        elif found.size and (is_copy := self._is_copy(found, file, head if packed else None)) is not False:
            if is_copy:
                self._note_copy(found, file, packed=packed)
            return
        elif known is None:
            self._positions[found.key] = Position(found.key, packed=packed)
        elif known.copied:
            if known.is_unchanged(found):
                return
            # it goes on otherwise than what it seemed to be copied from: it only began like that
            self._positions[found.key] = Position(found.key, packed=packed, begins_in=known.begins_in)
        else:
            known.packed = packed
        self._intact.append(found)
        self._changed.append(found)

    def _note_copy(self, found: FoundFile, file: BinaryIO, *, packed: bool) -> None:
        """What is in it comes out of the original, as long as that is there."""
        before = self._positions.get(found.key)
        copy = Position(found.key, mtime_ns=found.mtime_ns, seen=found.size, packed=packed, copied=True)
        if not packed:
            copy.offset = found.size
        copy.note(file)
        copy.begins_in = None if before is None else before.begins_in
        self._positions[found.key] = copy

    def _find_predecessor(self, found: FoundFile, file: BinaryIO, head: bytes | None) -> Position | None:
        """The position that was in this content when it was elsewhere. `head`: of what is packed."""
        start = os.pread(file.fileno(), HEAD, 0) if head is None else head
        hashes: dict[int, str] = {}
        for each in self._homeless:
            if not each.offset or (each.packed and head is None):
                continue
            length = min(each.offset, HEAD)
            if length not in hashes:
                hashes[length] = hash_bytes(start[:length])
            if hashes[length] != each.head:
                continue
            if each.fits(file, found.size) if head is None else each.fits_packed(head):
                return each
        return None

    def _is_copy(self, found: FoundFile, file: BinaryIO, head: bytes | None) -> bool | None:
        """None: what it may be a copy of was truncated or renamed since the look, and the next look tells."""
        if head == b"":
            return True  # nothing of it is there yet
        start = os.pread(file.fileno(), min(found.size, HEAD), 0) if head is None else head
        for each in self._intact:
            position = self._positions[each.key]
            if position.packed or each.key == found.key or (head is None and each.size < found.size):
                continue
            if rotated_name(each.name) == found.name != each.name:
                continue  # what was begun in its place, however alike they are
            if (other_start := self._head_of(each)) is None:
                return None
            if not other_start.startswith(start):
                continue
            try:
                with self._folder.open(each) as other:
                    if is_beginning(head, other) if head is not None else is_copy(file, found.size, other, each.size):
                        return True
                    size = os.fstat(other.fileno()).st_size
                    if size < each.size or (position.offset and not position.fits(other, size)):
                        return None
            except FileNotFoundError:
                return None
        return False

    def _head_of(self, found: FoundFile) -> bytes | None:
        """None: it was truncated or renamed since the look."""
        if found.key not in self._heads:
            self._heads[found.key] = None
            with contextlib.suppress(FileNotFoundError), self._folder.open(found) as file:
                position, head = self._positions[found.key], os.pread(file.fileno(), HEAD, 0)
                length = min(position.offset, HEAD)
                is_whole = len(head) >= min(found.size, HEAD)
                if is_whole and (not length or hash_bytes(head[:length]) == position.head):
                    self._heads[found.key] = head
        return self._heads[found.key]
