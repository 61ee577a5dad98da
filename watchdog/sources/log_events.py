"""What belongs together in a log: an event is one line, or a line and those that go on from it, as a traceback does."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from watchdog.core.model import Millis
from watchdog.core.pattern import Pattern

MAX_EVENT_BYTES = 64 * 1_024
"""What of one event is looked at; the rest of a longer one is cut."""
EVERY_LINE = "^"
"""As `event_start`: each line is an event, and none is waited for."""

_TRACEBACK = b"Traceback (most recent call last):"
_CONTINUATIONS = (
    _TRACEBACK,
    b"During handling of the above exception, another exception occurred:",
    b"The above exception was the direct cause of the following exception:",
    b"Caused by: ",
)


@dataclass(frozen=True)
class Event:
    data: bytes
    """UTF-8, its lines with a newline between them."""
    t: Millis | None
    """When its first line was taken down, where somebody else than the bot has noted it."""
    cut: bool = False
    """It was longer than `MAX_EVENT_BYTES`."""


@dataclass
class _OpenEvent:
    """An event that may go on. Kept in a source's state."""

    text: str
    t: Millis | None
    since: Millis
    """When its newest line came."""
    cut: bool = False
    traceback: bool = False
    """Its newest line is within a traceback of Python's, whose last line begins like any other."""


class EventAssembler:
    """Makes events of lines, over as many reads as it takes."""

    def __init__(
        self, start: Pattern | None, time: Pattern | None, timeout: Millis, kept: dict[str, Any] | None
    ) -> None:
        """`start`: is found in each line that begins an event. None: a line goes on from the one before it that begins
        with a blank, is empty, or belongs to a traceback, unless `time` is found in it. `timeout`: how long after its newest
        line an event is open. `kept`: what `keep` has said."""
        self._start, self._time = start, time
        self._timeout = 0 if start is not None and start.text == EVERY_LINE else timeout
        self._open: _OpenEvent | None = None
        self._lines: list[bytes] = []
        self._size = 0
        if kept is not None:
            self._open = _OpenEvent(**kept)
            self._lines = [self._open.text.encode()]
            self._size = len(self._lines[0])

    def keep(self) -> dict[str, Any] | None:
        """The event that is open, as JSON; None when there is none."""
        if self._open is None:
            return None
        self._open.text = b"\n".join(self._lines).decode()
        return asdict(self._open)

    def add(self, line: bytes, now: Millis, t: Millis | None = None) -> Event | None:
        """The event that this line has ended. `t`: when it was taken down, where somebody noted it."""
        line = _normalize(line)
        if self._open is not None and self._goes_on(line, self._open):
            self._append(line, self._open)
            ended = None
        else:
            ended = self._end()
            self._open = _OpenEvent("", t, now)
            self._append(line, self._open)
        self._open.since = now if t is None else t
        self._open.traceback = _TRACEBACK in line or (self._open.traceback and (not line or line[:1] in b" \t"))
        return ended

    def flush(self, now: Millis) -> Event | None:
        """The event that was open, when nothing has come to it for so long that nothing will."""
        if self._open is None or now - self._open.since < self._timeout:
            return None
        return self._end()

    def _goes_on(self, line: bytes, before: _OpenEvent) -> bool:
        if self._start is not None:
            return self._start.find(line) is None
        looks_so = not line or line[:1] in b" \t" or before.traceback or line.startswith(_CONTINUATIONS)
        return looks_so and (self._time is None or self._time.find(line) is None)

    def _append(self, line: bytes, event: _OpenEvent) -> None:
        room = MAX_EVENT_BYTES - self._size - bool(self._lines)
        if event.cut or len(line) > room:
            if not event.cut:
                self._lines.append(line[: max(room, 0)].decode("utf-8", "ignore").encode())
            event.cut = True
            return
        self._size += len(line) + bool(self._lines)
        self._lines.append(line)

    def _end(self) -> Event | None:
        if self._open is None:
            return None
        ended = Event(b"\n".join(self._lines), self._open.t, self._open.cut)
        self._open, self._lines, self._size = None, [], 0
        return ended


def _normalize(line: bytes) -> bytes:
    """Without its end, and UTF-8 whatever it was: what is none stands there as the replacement character."""
    line = line.rstrip(b"\r\n")
    try:
        line.decode()
    except UnicodeDecodeError:
        return line.decode("utf-8", "replace").encode()
    return line
