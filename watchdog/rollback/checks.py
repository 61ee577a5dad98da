"""What a level may be proven by beside rules and conditions: a page that answers, lines of a log."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from watchdog.core.errors import ActionError
from watchdog.core.model import JsonObject
from watchdog.core.target import Target
from watchdog.host.folder import open_folder, resolve
from watchdog.net import http
from watchdog.net.deadline import Deadline
from watchdog.net.errors import HttpError
from watchdog.plans.models import HttpCheck, LogCheck

_MAX_BYTES = 1 << 20
"""Bytes of a page, and of a log at one poll."""


def http_check_passes(check: HttpCheck) -> bool:
    """Whether the page answers as it should. Blocks for `timeout` at most."""
    deadline = Deadline.after(check.timeout)
    try:
        page = http.request("GET", check.url, deadline=deadline, max_bytes=_MAX_BYTES, expect=check.expect)
    except HttpError:
        return False
    return check.body is None or re.search(check.body, page.body.decode(errors="replace")) is not None


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


def log_path(check: LogCheck, location: Target) -> LogFile:
    return LogFile(location.repo, check.file)


def log_position(log: LogFile) -> list[int]:
    """``[inode, size]`` of a log; zeros when there is none yet."""
    try:
        with log.opened() as file:
            return _position(file)
    except (OSError, ActionError):
        return [0, 0]


def _position(file: BinaryIO) -> list[int]:
    found = os.fstat(file.fileno())
    return [found.st_ino, found.st_size]


class LogMatches(NamedTuple):
    forbidden_line: str | None
    """The first line that must not be there."""
    required_found: bool | None
    """The line that must be there is; None when the log may not be read, which proves nothing either way."""


class LogReader:
    """Reads what was written since those positions, a bit further at each poll."""

    def __init__(self, check: LogCheck, log: LogFile, positions: JsonObject) -> None:
        """`positions`: ``{"began": mark, "ended": mark}`` of the last step; what is missing is as of now."""
        self._check = check
        self._log = log
        began: list[int] = positions.get("began") or log_position(log)
        self._inode, self._offset = began[0], began[1]
        self._step_end: list[int] = positions.get("ended") or began
        self._partial_line = b""
        self._forbidden_line: str | None = None
        self._required_found = check.present is None

    def poll(self) -> LogMatches:
        """Blocks for as long as reading 1 MB takes. A log that was rotated or cut is read from its start."""
        try:
            with self._log.opened() as file:
                inode, size = _position(file)
                if inode != self._inode or size < self._offset:
                    self._inode, self._offset, self._partial_line, self._step_end = inode, 0, b"", [inode, 0]
                file.seek(self._offset)
                read = file.read(_MAX_BYTES)
        except FileNotFoundError:  # nothing was written yet
            return LogMatches(self._forbidden_line, self._required_found)
        except (OSError, ActionError):
            return LogMatches(self._forbidden_line, None)
        *lines, self._partial_line = (self._partial_line + read).split(b"\n")
        at = self._offset + len(read) - len(self._partial_line) - sum(len(line) + 1 for line in lines)
        self._offset += len(read)
        if len(self._partial_line) > _MAX_BYTES:  # a log that never ends its line is not collected for ever
            lines.append(self._partial_line)
            self._partial_line = b""
        for line in lines:
            at += len(line) + 1
            self._match_line(line.decode(errors="replace"), after=at > self._step_end[1])
        return LogMatches(self._forbidden_line, self._required_found)

    def _match_line(self, line: str, *, after: bool) -> None:
        if self._check.present is not None and re.search(self._check.present, line):
            self._required_found = True
        if (
            after
            and self._forbidden_line is None
            and self._check.absent is not None
            and re.search(self._check.absent, line)
        ):
            self._forbidden_line = line.strip()[:300]
