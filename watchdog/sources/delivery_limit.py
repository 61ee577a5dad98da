"""How often a source that is told may deliver: each delivery takes room in memory, for all of the source's series."""

from __future__ import annotations

import time

from watchdog.core.model import Millis

_MIN_BURST, _MAX_BURST = 100, 10_000
_BURST_CELLS = 2_000_000
"""Series × deliveries that may come beyond what `every` says: 16 MB."""


class DeliveryLimit:
    """In the long run one delivery for each `every`, and as many more at once as take little room. Not for several threads."""

    def __init__(self, every: Millis) -> None:
        self._every = every / 1_000
        self._spent, self._at = 0.0, time.monotonic()

    def is_open(self, series: int) -> bool:
        """Whether one more may be made of so many series."""
        now = time.monotonic()
        self._spent, self._at = max(0.0, self._spent - (now - self._at) / self._every), now
        return self._spent + 1 <= min(max(_BURST_CELLS // max(series, 1), _MIN_BURST), _MAX_BURST)

    def note(self) -> None:
        """One was made."""
        self._spent += 1
