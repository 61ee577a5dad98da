"""Whether any source delivers at all."""

from __future__ import annotations

from collections.abc import Collection

from watchdog.core.model import Millis

BLIND_AFTER: Millis = 30_000
"""ms without a single source before people are told that nobody sees the bot."""


class Blindness:
    """Since when each source is down, and what people know of it."""

    def __init__(self, sources: Collection[str], now: Millis, *, reported: bool) -> None:
        """`reported`: an earlier process has told that nobody sees anything; it is told otherwise once a source has delivered."""
        self.reported = reported
        self._lost_since = dict.fromkeys(sources if reported else (), now - BLIND_AFTER)

    def note_delivery(self, source: str) -> None:
        self._lost_since.pop(source, None)

    def note_failure(self, source: str, now: Millis) -> None:
        """It could not be read."""
        self._lost_since.setdefault(source, now)

    def is_blind(self, sources: Collection[str], now: Millis) -> bool:
        """Whether all of these are down, for long."""
        return bool(sources) and all(now - self._lost_since.get(source, now) >= BLIND_AFTER for source in sources)

    def shift(self, span: Millis) -> None:
        """The clock was set by so much, or nobody has watched for so long."""
        self._lost_since = {source: at + span for source, at in self._lost_since.items()}
