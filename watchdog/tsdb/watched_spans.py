"""When each source was watched: what its windows are worth.

A read speaks for a while: for as long as the next ones may take (`LongestGap`). When none has come by then, nobody watches the
source until it delivers again, whatever keeps us from it: a page that is down, a read that hangs, or a watchdog that stands
still or does not run.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from watchdog.core.model import Millis
from watchdog.tsdb.page import NO_DOWNTIME, TIME_MIN, Ints, shift_times

ONGOING: Millis = -TIME_MIN
"""Until when a source is not watched that has not delivered again."""


class LongestGap(NamedTuple):
    """For how long after a read a source counts as watched."""

    when_failing: Millis
    """Where it could not be read since, …"""
    when_well: Millis | None
    """… and where nothing was heard of it. None: for ever, since it is told and not asked."""


class WatchedSpans:
    """Of all sources of a store."""

    def __init__(self, on_change: Callable[[str, Ints], None], retention: Callable[[], Millis]) -> None:
        """`on_change` is told a source's downtimes whenever they are others: [n, 2] ms, see `SeriesPage.downtimes`.
        `retention`: how far back windows reach at most."""
        self._on_change, self._retention = on_change, retention
        self._since: dict[str, Millis] = {}
        self._downtimes: dict[str, Ints] = {}
        """The last one is open until the source delivers again."""
        self._delivered_at: dict[str, Millis] = {}
        self._failed: set[str] = set()
        """Sources that could not be read since they delivered last."""
        self.longest_gaps: Mapping[str, LongestGap] = {}
        """By source; one that is not named counts as watched until everything stands still."""

    def since(self, source: str, now: Millis) -> Millis:
        """Since when a source has been known; `now` for one that is not."""
        return self._since.get(source, now)

    def downtimes(self, source: str) -> Ints:
        """When nobody watched it since then."""
        return self._downtimes.get(source, NO_DOWNTIME)

    def sources(self) -> set[str]:
        """Those that are known."""
        return set(self._since)

    def restore(self, source: str, spans: Sequence[tuple[Millis, Millis]]) -> None:
        """What another process has watched: ascending, at least one; nobody has since."""
        downs = [(before[1], after[0]) for before, after in itertools.pairwise(spans)]
        self._since[source] = spans[0][0]
        self._set(source, np.array([*downs, (spans[-1][1], ONGOING)], np.int64))

    def note_delivery(self, source: str, now: Millis) -> None:
        self._since.setdefault(source, now)
        self._note_silence(source, now)
        self._failed.discard(source)
        self._delivered_at[source] = now
        if self._is_unwatched(source):
            missed = self._downtimes[source].copy()
            missed[-1, 1] = now
            self._set(source, missed)

    def note_failure(self, source: str, now: Millis) -> None:
        """It could not be read."""
        self._failed.add(source)
        self._note_silence(source, now)

    def note_silences(self, now: Millis) -> bool:
        """At `now`: whether nobody watches a source any more that was watched until then."""
        found = [self._note_silence(source, now) for source in self._delivered_at]
        return any(found)

    def note_standstill(self, since: Millis) -> None:
        """Since then nobody has watched anything."""
        for source, delivered in self._delivered_at.items():
            if not self._is_unwatched(source):
                self._begin_downtime(source, max(since, delivered))

    def forget(self, source: str) -> None:
        """Nothing is held of it any more."""
        for known in (self._since, self._downtimes, self._delivered_at):
            known.pop(source, None)
        self._failed.discard(source)

    def shift(self, step: Millis) -> None:
        """The clock was set: what is known moves along."""
        self._since = {source: since + step for source, since in self._since.items()}
        self._delivered_at = {source: at + step for source, at in self._delivered_at.items()}
        for source, missed in list(self._downtimes.items()):
            self._set(source, shift_times(missed, step))

    def set_back(self, now: Millis) -> None:
        """Nothing is known of what comes after `now`."""
        self._since = {source: min(since, now) for source, since in self._since.items()}
        self._delivered_at = {source: min(at, now) for source, at in self._delivered_at.items()}

    def spans(self, after: Millis = TIME_MIN) -> dict[str, list[tuple[Millis, Millis]]]:
        """Source → the spans in which it was watched without a break, ascending, that end after `after`; the last one ends
        with what was delivered last. Those that have delivered."""
        found = {}
        for source, delivered in self._delivered_at.items():
            missed = self.downtimes(source).tolist()
            begins = [self.since(source, delivered), *(until for _, until in missed)]
            ends = [*(begin for begin, _ in missed), delivered]
            spans = zip(begins, ends, strict=True)
            found[source] = [(begin, end) for begin, end in spans if begin <= end and end > after and begin != ONGOING]
        return found

    def _note_silence(self, source: str, now: Millis) -> bool:
        delivered, gap = self._delivered_at.get(source), self.longest_gaps.get(source)
        if delivered is None or gap is None:
            return False
        watched = gap.when_failing if source in self._failed else gap.when_well
        if watched is None or now <= delivered + watched or self._is_unwatched(source):
            return False
        self._begin_downtime(source, delivered + watched)
        return True

    def _is_unwatched(self, source: str) -> bool:
        missed = self._downtimes.get(source)
        return missed is not None and missed[-1, 1] == ONGOING

    def _begin_downtime(self, source: str, begin: Millis) -> None:
        """Of those that no window reaches any more the last one stays: a span begins where it ends."""
        known = self.downtimes(source)
        expired = int(np.count_nonzero(known[:, 1] < begin - self._retention()))
        known = known[max(0, expired - 1) :]
        if known.size and known[-1, 1] >= begin:  # it has not delivered in between
            begin, known = int(known[-1, 0]), known[:-1]
        self._set(source, np.concatenate((known, np.array([(begin, ONGOING)], np.int64))))

    def _set(self, source: str, missed: Ints) -> None:
        self._downtimes[source] = missed
        self._on_change(source, missed)
