"""What people should hear of sources: which are cut, and which flap."""

from __future__ import annotations

from collections.abc import Callable, Collection

from watchdog.core.model import Message, Millis
from watchdog.pipeline.cut_reports import CutReports
from watchdog.pipeline.flap_reports import FlapReports


class SourceReports:
    """Both kinds, told and marked as told together."""

    def __init__(self, every: Callable[[str], Millis], open_topics: Collection[str], now: Millis) -> None:
        """`every`: from one read of a source to the next. `open_topics`: what an earlier process has told."""
        self.cuts = CutReports(open_topics, now)
        self.flaps = FlapReports(every, open_topics, now)
        self._due: tuple[Collection[str], Collection[str]] = (), ()

    def forget_all_but(self, sources: Collection[str]) -> None:
        """No file names the others any more."""
        self.cuts.forget(self.cuts.known().difference(sources))
        self.flaps.forget_all_but(sources)

    def shift(self, step: Millis) -> None:
        """The clock was set."""
        self.cuts.shift(step)
        self.flaps.shift(step)

    def due(self, now: Millis) -> list[Message]:
        """What is to be told; the same until it is `mark_told`."""
        cuts, flaps = self.cuts.due(now), self.flaps.due()
        self._due = tuple(cuts), tuple(flaps)
        return [*cuts.values(), *flaps.values()]

    def mark_told(self) -> None:
        """What was due the last time."""
        cuts, flaps = self._due
        self.cuts.mark_told(cuts)
        self.flaps.mark_told(flaps)
