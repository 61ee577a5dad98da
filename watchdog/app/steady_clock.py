"""What time it is: the machine's clock, but going on steadily. Setting the clock moves no span, and nothing is timed by it.

`now` is a wall time that was looked up once, and what has passed since on a clock that nobody sets and that goes on while the
machine sleeps. Where the two differ by more than a moment, somebody has set the machine's clock: `look` says so, and it is
followed once all that runs has been moved along. Smaller differences are made up for little by little.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from watchdog.core.model import Millis, Uncounted

_STEP: Millis = 750
"""From so much on the clock was set; what is less is caught up with."""
_PACE = 100
"""Of so many ms one is made up for."""
_STANDSTILL: Millis = 5_000
"""Looks are a second apart. Where they are further apart than this, nobody watched."""
_MAX_LOOK: Millis = 50
"""Two clocks that are read further apart than this are not compared."""

_NANOS = 1_000_000


def _read_steady() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Standstill(NamedTuple):
    """Nobody has watched."""

    since: Millis
    until: Millis


class Disruption(NamedTuple):
    """What has disturbed the even course of time."""

    step: Millis
    """By how much the clock was set; 0: it was not."""
    standstill: Standstill | None
    """In times after the step."""


class SteadyClock:
    """Told by any thread; asked for disruptions by one."""

    def __init__(self, wall: Callable[[], int] = time.time_ns, steady: Callable[[], int] = _read_steady) -> None:
        """Both in ns."""
        self._wall, self._steady = wall, steady
        self._offset = wall() - steady()
        self._looked_at = steady()
        self.uncounted = Uncounted()

    def __call__(self) -> Millis:
        return (self._offset + self._steady()) // _NANOS

    def begin(self) -> None:
        """From now on somebody looks each second."""
        self._looked_at = self._steady()

    def look(self) -> Disruption | None:
        """What has happened since the last look; None: nothing has. It is found again until it is said to be dealt with."""
        before, wall, after = self._steady(), self._wall(), self._steady()
        passed = before - self._looked_at
        ahead = wall - after - self._offset if after - before <= _MAX_LOOK * _NANOS else 0
        step = round(ahead / _NANOS) if abs(ahead) >= _STEP * _NANOS else 0
        asleep = passed >= _STANDSTILL * _NANOS
        if not step and not asleep:
            most = passed // _PACE
            self._offset += min(most, max(-most, ahead))
            self._looked_at = after
            return None
        times = [(self._offset + at) // _NANOS + step for at in (self._looked_at, after)]
        return Disruption(step, Standstill(*times) if asleep else None)

    def set(self, step: Millis) -> None:
        """The step is dealt with: it is so much later by now."""
        self._offset += step * _NANOS
        self.uncounted = self.uncounted._replace(steps=self.uncounted.steps + step)

    def pass_over(self, standstill: Standstill) -> None:
        """It is dealt with."""
        gone = standstill.until - standstill.since
        self.uncounted = self.uncounted._replace(standstill=self.uncounted.standstill + gone)
        self._looked_at = self._steady()
