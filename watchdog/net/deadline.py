"""A total time for all that is waited for."""

from __future__ import annotations

import time
from typing import NamedTuple

from watchdog.core.model import Millis


class Deadline(NamedTuple):
    total: Millis
    """All the time there was, for people."""
    expires_at: float
    """Monotonic seconds."""

    @classmethod
    def after(cls, total: Millis) -> Deadline:
        return cls(total, time.monotonic() + total / 1_000)

    def milliseconds_left(self) -> Millis:
        """None are left at 0."""
        return max(0, round((self.expires_at - time.monotonic()) * 1_000))

    def remaining(self) -> float:
        """Seconds, above 0. Raises TimeoutError when there are none."""
        left = self.expires_at - time.monotonic()
        if left <= 0:
            raise TimeoutError("deadline")
        return left
