"""Tells people once that a source flaps, that is fails and delivers in turn, and once that it delivers steadily again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from typing import NamedTuple

from watchdog.core.model import Message, Millis
from watchdog.core.units import format_duration
from watchdog.journal.topics import flaps_topic, source_that_flaps

_FAILURES = 5
"""So often it has ceased to deliver within the window: one that is restarted, or is down for good, does not flap."""
_LEAST_WINDOW: Millis = 60_000
_READS = 20
"""The window in reads, where that is longer."""


class _Flapping(NamedTuple):
    began: Millis
    """When it ceased to deliver for the first time of those by which it was seen to flap."""
    failures: int
    """Reads that failed since then; 0: in this process none has."""


class FlapReports:
    """Of all sources."""

    def __init__(self, every: Callable[[str], Millis], open_topics: Collection[str] = (), now: Millis = 0) -> None:
        """`every`: from one read of a source to the next. `open_topics`: what an earlier process has told."""
        self._every = every
        self._told = {source for topic in open_topics if (source := source_that_flaps(topic)) is not None}
        self._down: set[str] = set()
        self._ceased: dict[str, deque[Millis]] = {}
        """When it ceased to deliver, the last times."""
        self._failed_at: dict[str, Millis] = dict.fromkeys(self._told, now)
        self._flapping: dict[str, _Flapping] = dict.fromkeys(self._told, _Flapping(now, 0))
        self._reasons: dict[str, str] = {}
        self._removed: set[str] = set()

    def note_read(self, source: str, now: Millis) -> None:
        """It has delivered."""
        self._down.discard(source)
        if source in self._flapping and not 0 <= now - self._failed_at[source] < self._window(source):
            self._forget(source)

    def note_failure(self, source: str, reason: str, now: Millis) -> None:
        """It could not be read, or has not delivered."""
        self._failed_at[source], self._reasons[source] = now, reason
        if (known := self._flapping.get(source)) is not None:
            self._flapping[source] = known._replace(failures=known.failures + 1)
        if source in self._down:
            return
        self._down.add(source)
        ceased = self._ceased.setdefault(source, deque(maxlen=_FAILURES))
        ceased.append(now)
        if known is None and len(ceased) == _FAILURES and 0 <= now - ceased[0] <= self._window(source):
            self._flapping[source] = _Flapping(ceased[0], _FAILURES)

    def shift(self, step: Millis) -> None:
        """The clock was set."""
        self._failed_at = {source: at + step for source, at in self._failed_at.items()}
        self._flapping = {source: each._replace(began=each.began + step) for source, each in self._flapping.items()}
        for source, times in self._ceased.items():
            self._ceased[source] = deque((at + step for at in times), maxlen=_FAILURES)

    def _window(self, source: str) -> Millis:
        return max(_LEAST_WINDOW, _READS * self._every(source))

    def _forget(self, source: str) -> None:
        for each in (self._flapping, self._ceased, self._failed_at, self._reasons):
            each.pop(source, None)

    def forget_all_but(self, sources: Collection[str]) -> None:
        """No file names the others any more."""
        for source in {*self._ceased, *self._told, *self._failed_at, *self._down}.difference(sources):
            self._forget(source)
            self._down.discard(source)
            if source in self._told:
                self._removed.add(source)

    def current(self) -> dict[str, str]:
        """Source that flaps → how, and why it failed the last time."""
        return {source: self._describe(source, known) for source, known in self._flapping.items()}

    def _describe(self, source: str, known: _Flapping) -> str:
        lasting = format_duration(max(0, self._failed_at[source] - known.began))
        text = f"it failed {known.failures} times within {lasting}" if known.failures else "it did before this start"
        return f"{text}: {reason}" if (reason := self._reasons.get(source)) else text

    def due(self) -> dict[str, Message]:
        """What people should hear, by source; the same until it is `mark_told`."""
        found = {}
        for source, text in self.current().items():
            if source not in self._told:
                consequence = (
                    "rules are judged by the reads that work; time between two of them counts while they are believed"
                )
                lines = (text, consequence)
                found[source] = Message("warn", f"source {source} flaps", lines, opens=(flaps_topic(source),))
        for source in self._told - self._flapping.keys():
            gone = source in self._removed
            title = (
                f"source {source}, which flapped, is no longer configured"
                if gone
                else f"source {source} is steady again"
            )
            found[source] = Message("info", title, ends=(flaps_topic(source),))
        return found

    def mark_told(self, sources: Collection[str]) -> None:
        for source in sources:
            if source in self._flapping:
                self._told.add(source)
            else:
                self._told.discard(source)
                self._removed.discard(source)
