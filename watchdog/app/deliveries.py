"""What a source has said, on its way from the thread that read or received it to the loop."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import NamedTuple

from watchdog.core.model import Sample
from watchdog.sources.series_limits import Cut

MAX_WAITING = 256
"""Deliveries of a source that wait at most. A newer one stands for all before it, so the oldest are passed over."""


class Delivery(NamedTuple):
    samples: list[Sample]
    cut: Cut | None
    """What of them was left out."""
    state: str
    """JSON."""
    at: float
    """Monotonic s: when the read began; when it was delivered."""


class Deliveries:
    """What one receiver has delivered and nobody has taken yet; put in by its threads, taken out in the loop."""

    def __init__(self) -> None:
        self._waiting: deque[Delivery] = deque(maxlen=MAX_WAITING)
        self._any = asyncio.Event()
        self._woken = False
        self.overrun = False
        """Whether any was passed over."""

    def put(self, delivery: Delivery, loop: asyncio.AbstractEventLoop) -> int:
        """How many wait now."""
        self.overrun |= len(self._waiting) == MAX_WAITING
        self._waiting.append(delivery)
        if not self._woken:  # a flood of deliveries is no flood of wake-ups
            self._woken = True
            with suppress(RuntimeError):  # the loop has ended, and we with it
                loop.call_soon_threadsafe(self._any.set)
        return len(self._waiting)

    async def wait(self) -> None:
        await self._any.wait()
        self._any.clear()
        self._woken = False

    def take(self) -> Delivery | None:
        """The oldest; None when there is none."""
        return self._waiting.popleft() if self._waiting else None
