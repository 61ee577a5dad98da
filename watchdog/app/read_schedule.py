"""When a source is read: at times that differ from source to source, so that many are no burst."""

from __future__ import annotations

import math
import zlib
from datetime import UTC, datetime

from apscheduler.triggers.base import BaseTrigger

from watchdog.core.model import Millis

_START_GAP: Millis = 10
"""On average between the first reads of two sources at a start."""


class ReadSchedule(BaseTrigger):  # type: ignore[misc]  # APScheduler has no types
    """Every so many milliseconds, from a place in the interval that the source's name decides."""

    __slots__ = ("_period", "_phase", "_start_spread")

    def __init__(self, name: str, every: Millis, sources: int) -> None:
        """`sources`: how many there are in all. Few are read at once at a start, many within an interval."""
        share = zlib.crc32(name.encode()) / 2**32
        self._period = every / 1_000
        self._phase = share * self._period
        self._start_spread = share * min(every, _START_GAP * sources) / 1_000

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime:
        """The first time, and then the next place that is half an interval away at least; missed ones are passed over."""
        if previous is None:
            return datetime.fromtimestamp(now.timestamp() + self._start_spread, UTC)
        last = previous.timestamp()
        step = math.floor((last - self._phase) / self._period + 1.5)
        if (at := self._phase + step * self._period) <= now.timestamp():
            step = math.floor((now.timestamp() - self._phase) / self._period) + 1
            at = self._phase + step * self._period
        return datetime.fromtimestamp(at, UTC)
