"""What a level may be proven by beside rules and conditions: a page that answers, lines of a log."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from watchdog.actions.plan import HttpCheck, LogCheck
from watchdog.model import Json, SourceError, Target
from watchdog.sources.fetch import Fetcher

_MOST = 1 << 20
"""Bytes of a page, and of a log at one look."""


def answers(check: HttpCheck) -> bool:
    """Whether the page answers as it should. Blocks for `timeout` at most."""
    fetcher = Fetcher()
    try:
        page = fetcher.get(check.url, {}, check.timeout, _MOST, expect=check.expect)
    except SourceError:
        return False
    return check.body is None or re.search(check.body, page.body.decode(errors="replace")) is not None


def log_of(check: LogCheck, place: Target) -> Path:
    return Path(place.repo or "", check.file)


def mark(path: Path) -> list[int]:
    """``[inode, size]`` of a log; zeros when there is none yet."""
    try:
        found = path.stat()
    except OSError:
        return [0, 0]
    return [found.st_ino, found.st_size]


class Lines(NamedTuple):
    bad: str | None
    """The first line that must not be there."""
    good: bool
    """The line that must be there is."""


class LogReader:
    """Reads what was written since the marks, a bit further at each look."""

    def __init__(self, check: LogCheck, path: Path, marks: Json) -> None:
        """`marks`: ``{"began": mark, "ended": mark}`` of the last step; what is missing is as of now."""
        self._check = check
        self._path = path
        began: list[int] = marks.get("began") or mark(path)
        self._inode, self._at = began[0], began[1]
        self._ended: list[int] = marks.get("ended") or began
        self._rest = b""
        self._bad: str | None = None
        self._good = check.present is None

    def look(self) -> Lines:
        """Blocks for as long as reading 1 MB takes. A log that was rotated or cut is read from its start."""
        try:
            with self._path.open("rb") as file:
                inode, size = mark(self._path)
                if inode != self._inode or size < self._at:
                    self._inode, self._at, self._rest, self._ended = inode, 0, b"", [inode, 0]
                file.seek(self._at)
                read = file.read(_MOST)
        except OSError:
            return Lines(self._bad, self._good)
        *lines, self._rest = (self._rest + read).split(b"\n")
        at = self._at + len(read) - len(self._rest) - sum(len(line) + 1 for line in lines)
        self._at += len(read)
        if len(self._rest) > _MOST:  # a log that never ends its line is not collected for ever
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            at += len(line) + 1
            self._see(line.decode(errors="replace"), after=at > self._ended[1])
        return Lines(self._bad, self._good)

    def _see(self, line: str, *, after: bool) -> None:
        if self._check.present is not None and re.search(self._check.present, line):
            self._good = True
        if after and self._bad is None and self._check.absent is not None and re.search(self._check.absent, line):
            self._bad = line.strip()[:300]
