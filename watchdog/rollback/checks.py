"""What a level may be proven by beside rules and conditions: a page that answers, lines of a log."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

from watchdog.core.errors import ActionError
from watchdog.core.model import JsonObject
from watchdog.core.pattern import Pattern, search_pattern
from watchdog.core.target import Target
from watchdog.host.folder import open_folder, resolve
from watchdog.net import http
from watchdog.net.deadline import Deadline
from watchdog.net.errors import HttpError
from watchdog.plans.models import HttpCheck, LogCheck

_MAX_PAGE_BYTES = 1 << 20
MAX_LOG_BYTES = 1 << 20
"""Bytes of a log that are read at one poll."""
_MAX_LINE_BYTES = 64 * 1_024
"""A line of a log that is longer is looked at in pieces of this length."""


def http_check_passes(check: HttpCheck) -> bool:
    """Whether the page answers as it should. Blocks for `timeout` at most."""
    deadline = Deadline.after(check.timeout)
    try:
        page = http.request("GET", check.url, deadline=deadline, max_bytes=_MAX_PAGE_BYTES, expect=check.expect)
    except HttpError:
        return False
    return check.body is None or search_pattern(check.body).matches(page.body.decode(errors="replace"))


class LogFile(NamedTuple):
    """Where a log is by its plan; a link to it is followed at each look, for it may move with the day."""

    base: str | None
    name: str

    @contextlib.contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """Raises OSError; ActionError when it is no regular file, or a link leads out of the target's folder."""
        path = resolve(self.base, self.name)
        with open_folder(path.parent) as folder, folder.open_file(path.name) as file:
            yield file


class LogPart(NamedTuple):
    """What a log holds from an offset on."""

    inode: int | None
    """0: there is no log; None: there is one that cannot be read."""
    size: int = 0
    data: str = ""
    """Bytes as latin-1: what they mean is known only once whole lines are there."""


def log_path(check: LogCheck, location: Target) -> LogFile:
    return LogFile(location.repo, check.file)


def log_position(log: LogFile) -> tuple[int, int]:
    """(inode, size) of a log; zeros when there is none yet, or none that can be read."""
    part = read_log(log, 0, 0, 0)
    return part.inode or 0, part.size


def read_log(log: LogFile, inode: int, offset: int, limit: int) -> LogPart:
    """At most `limit` bytes from `offset` on; from the start of a log that is another than `inode`, or was cut."""
    try:
        with log.opened() as file:
            found = os.fstat(file.fileno())
            file.seek(offset if found.st_ino == inode and found.st_size >= offset else 0)
            return LogPart(found.st_ino, found.st_size, file.read(limit).decode("latin-1"))
    except FileNotFoundError:
        return LogPart(0)
    except (OSError, ActionError):
        return LogPart(None)


class LogMatches(NamedTuple):
    forbidden_line: str | None
    """The first line that must not be there."""
    required_found: bool | None
    """The line that must be there is; None when the log may not be read, which proves nothing either way."""


class LogReader:
    """Reads what was written since those positions, a bit further at each poll."""

    def __init__(self, check: LogCheck, positions: JsonObject, now: Sequence[int]) -> None:
        """`positions`: ``{"began": [inode, size], "ended": [inode, size]}`` of the last step; what is missing is `now`."""
        self._check = check
        began: Sequence[int] = positions.get("began") or now
        self.inode, self.offset = began
        self._step_end: Sequence[int] = positions.get("ended") or began
        self._line_start = b""
        """Of the line that has not ended yet."""
        self._absent = _pattern_of(check.absent)
        self._present = _pattern_of(check.present)
        self._forbidden_line: str | None = None
        self._required_found = check.present is None

    def add(self, part: LogPart) -> LogMatches:
        """What was read from `offset` of `inode` on. A log that was rotated or cut is read from its start."""
        if not part.inode:
            return LogMatches(self._forbidden_line, None if part.inode is None else self._required_found)
        if part.inode != self.inode or part.size < self.offset:
            self.inode, self.offset, self._line_start, self._step_end = part.inode, 0, b"", [part.inode, 0]
        read = part.data.encode("latin-1")
        at = self.offset
        *ended, rest = read.split(b"\n")
        for line in ended:
            at += len(line) + 1
            self._match_line(self._line_start + line, after=at > self._step_end[1])
            self._line_start = b""
        self.offset += len(read)
        self._line_start += rest
        whole = len(self._line_start) // _MAX_LINE_BYTES * _MAX_LINE_BYTES
        if whole:  # a log that never ends its line is neither waited for nor collected
            self._match_line(self._line_start[:whole], after=self.offset > self._step_end[1])
            self._line_start = self._line_start[whole:]
        return LogMatches(self._forbidden_line, self._required_found)

    def _match_line(self, line: bytes, *, after: bool) -> None:
        for start in range(0, max(len(line), 1), _MAX_LINE_BYTES):
            text = line[start : start + _MAX_LINE_BYTES].decode(errors="replace")
            if self._present is not None and self._present.matches(text):
                self._required_found = True
            if after and self._forbidden_line is None and self._absent is not None and self._absent.matches(text):
                self._forbidden_line = text.strip()[:300]


def _pattern_of(text: str | None) -> Pattern | None:
    return None if text is None else search_pattern(text)
