"""How many different times one read of events may say, so that `series_limits` cuts nothing of it.

What matters most is said last, and is what a cut would take: so whoever reads events says fewer times instead, once it
is known how many series there are.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from watchdog.core.model import Millis

T = TypeVar("T")

_MAX_STEPS = 60
"""Times at which the counters of a span are said that was slept through."""
_MIN_STEPS = 4
_MIN_LAST_TIMES = 8
_MAX_CELLS = 240_000
"""What `series_limits` takes of one read, about: samples × different times, of which a few may always be."""
_OWN_SAMPLES = 20
"""Of whoever says more of its own, at most."""


def catch_up_times(previous: Millis | None, now: Millis, every: Millis) -> list[Millis]:
    """Times between the last read and this one at which counters are said; none where the two lie close together."""
    if previous is None or now - previous <= 2 * every:
        return []
    width = max(every, -(-(now - previous) // _MAX_STEPS))
    return list(range(previous + width, now, width))


class TimeBudget(NamedTuple):
    """Of one read."""

    counters: int
    """Series of counters; each is said at every step, now, and where it is new as 0 at the read before."""
    lasts: int
    """Series of last values; each is said once."""

    def fewer_steps(self, steps: list[T]) -> list[T]:
        """As many of them as there is room for."""
        while len(steps) > _MIN_STEPS and (len(steps) + 2 + _MIN_LAST_TIMES) * self._samples(steps) > _MAX_CELLS:
            steps = steps[1::2]
        return steps

    def last_times(self, steps: list[T]) -> int:
        """Different times that last values may have beside those of the counters."""
        return max(_MIN_LAST_TIMES, _MAX_CELLS // self._samples(steps) - len(steps) - 2)

    def _samples(self, steps: list[T]) -> int:
        return self.counters * (len(steps) + 2) + self.lasts + _OWN_SAMPLES
