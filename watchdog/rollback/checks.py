"""What a level may be proven by beside rules and conditions: a page that answers, lines of a log."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from watchdog.core.model import JsonObject
from watchdog.core.pattern import Pattern, search_pattern
from watchdog.core.target import Target
from watchdog.net import http
from watchdog.net.deadline import Deadline
from watchdog.net.errors import HttpError
from watchdog.plans.models import HttpCheck, LogCheck

_MAX_BYTES = 1 << 20
"""Bytes of a page, and of a log at one poll."""
_MAX_LINE_BYTES = 64 * 1_024
"""A line of a log that is longer is looked at in pieces of this length."""


def http_check_passes(check: HttpCheck) -> bool:
    """Whether the page answers as it should. Blocks for `timeout` at most."""
    deadline = Deadline.after(check.timeout)
    try:
        page = http.request("GET", check.url, deadline=deadline, max_bytes=_MAX_BYTES, expect=check.expect)
    except HttpError:
        return False
    return check.body is None or search_pattern(check.body).matches(page.body.decode(errors="replace"))


def log_path(check: LogCheck, location: Target) -> Path:
    return Path(location.repo or "", check.file)


def log_position(path: Path) -> list[int]:
    """``[inode, size]`` of a log; zeros when there is none yet."""
    try:
        found = path.stat()
    except OSError:
        return [0, 0]
    return [found.st_ino, found.st_size]


class LogMatches(NamedTuple):
    forbidden_line: str | None
    """The first line that must not be there."""
    required_found: bool
    """The line that must be there is."""


class LogReader:
    """Reads what was written since those positions, a bit further at each poll."""

    def __init__(self, check: LogCheck, path: Path, positions: JsonObject) -> None:
        """`positions`: ``{"began": mark, "ended": mark}`` of the last step; what is missing is as of now."""
        self._check = check
        self._path = path
        began: list[int] = positions.get("began") or log_position(path)
        self._inode, self._offset = began[0], began[1]
        self._step_end: list[int] = positions.get("ended") or began
        self._line_start = b""
        """Of the line that has not ended yet."""
        self._absent = _pattern_of(check.absent)
        self._present = _pattern_of(check.present)
        self._forbidden_line: str | None = None
        self._required_found = check.present is None

    def poll(self) -> LogMatches:
        """Blocks for as long as reading 1 MB takes. A log that was rotated or cut is read from its start."""
        try:
            with self._path.open("rb") as file:
                inode, size = log_position(self._path)
                if inode != self._inode or size < self._offset:
                    self._inode, self._offset, self._line_start, self._step_end = inode, 0, b"", [inode, 0]
                file.seek(self._offset)
                read = file.read(_MAX_BYTES)
        except OSError:
            return LogMatches(self._forbidden_line, self._required_found)
        at = self._offset
        *ended, rest = read.split(b"\n")
        for part in ended:
            at += len(part) + 1
            self._match_line(self._line_start + part, after=at > self._step_end[1])
            self._line_start = b""
        self._offset += len(read)
        self._line_start += rest
        whole = len(self._line_start) // _MAX_LINE_BYTES * _MAX_LINE_BYTES
        if whole:  # a log that never ends its line is neither waited for nor collected
            self._match_line(self._line_start[:whole], after=self._offset > self._step_end[1])
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
