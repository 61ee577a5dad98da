"""When a source is read: at times that differ from source to source, so that many are no burst."""

from __future__ import annotations

import math
import zlib

from watchdog.core.model import Millis

_START_GAP: Millis = 10
"""On average between the first reads of two sources at a start."""


class ReadSchedule:
    """Every so many milliseconds, from a place in the interval that the source's name decides. Times are seconds of the
    daemon's clock."""

    __slots__ = ("_period", "_phase", "_start_spread")

    def __init__(self, name: str, every: Millis, sources: int) -> None:
        """`sources`: how many there are in all. Few are read at once at a start, many within an interval."""
        share = zlib.crc32(name.encode()) / 2**32
        self._period = every / 1_000
        self._phase = share * self._period
        self._start_spread = share * min(every, _START_GAP * sources) / 1_000

    def next_time(self, previous: float | None, now: float) -> float:
        """The first time, and then the next place that is half an interval away at least; missed ones are passed over, and a
        clock that was set back is followed."""
        if previous is None:
            return now + self._start_spread
        step = math.floor((min(previous, now) - self._phase) / self._period + 1.5)
        if (at := self._phase + step * self._period) <= now:
            step = math.floor((now - self._phase) / self._period) + 1
            at = self._phase + step * self._period
        return at
