"""The time of what a source is told: two samples of one series within a millisecond would be one."""

from __future__ import annotations

from collections.abc import Callable

from watchdog.core.model import Millis

_AHEAD: Millis = 1_000
"""How far what comes faster than once a millisecond may run ahead of the clock; where it is more, the clock was set back."""


class SampleClock:
    """Not for several threads."""

    def __init__(self, clock: Callable[[], Millis]) -> None:
        self._clock = clock
        self._last: Millis = 0

    def next(self) -> Millis:
        """Now, and later than what it said before."""
        now = self._clock()
        self._last = self._last + 1 if now <= self._last < now + _AHEAD else now
        return self._last
