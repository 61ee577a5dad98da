"""When the journal takes nothing for a while: since when, why, and what a person can do about it."""

from __future__ import annotations

from watchdog.journal.errors import JournalUnavailableError

NOTIFY_AFTER = 10.0
"""Seconds after which people are told, past the journal."""


class JournalOutage:
    """Nothing is done that cannot be written down, so a long one is as bad as no watchdog at all."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self._since = 0.0
        self._notified = False

    def record_failure(self, error: JournalUnavailableError, monotonic: float) -> bool:
        """A write failed; True when it is the first one. `monotonic`: seconds on a clock that nobody sets."""
        first = self.reason is None
        if first:
            self._since = monotonic
        self.reason = str(error)
        return first

    def duration(self, monotonic: float) -> float:
        """Seconds; 0 when there is none."""
        return 0.0 if self.reason is None else monotonic - self._since

    def should_notify(self, monotonic: float) -> bool:
        """Whether people are to be told of it now; once an outage."""
        notify = not self._notified and self.duration(monotonic) >= NOTIFY_AFTER
        self._notified |= notify
        return notify

    def record_success(self) -> bool:
        """A write went through; True when people had been told that none does."""
        was_notified, self.reason, self._notified = self._notified, None, False
        return was_notified
