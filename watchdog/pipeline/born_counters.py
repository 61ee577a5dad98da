"""Counters that are born high: where a KPI says `born: zero`, a series that its source has brought without until now was 0 then.

A sample is put in where samples are taken in, so that no function over counters needs to know, and the history says the same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from watchdog.core.model import Labels, Millis, Sample
from watchdog.core.protocols import Source
from watchdog.rules.state_machine import bridges_gap
from watchdog.sources.max_age import max_age_of
from watchdog.sources.series_limits import ALL_METRICS, Cut
from watchdog.tsdb.head import Head
from watchdog.tsdb.head_page import HeadPage

_SeriesName = tuple[str, Labels]


class _LastRead(NamedTuple):
    at: Millis
    series: frozenset[_SeriesName]
    """Of the metrics that are looked at."""
    cut: Collection[str]
    """Of these metrics not all was there."""


class BornCounters:
    """What each source brought last of the metrics that are looked at."""

    def __init__(self, store: Head) -> None:
        """`store`: where the samples go."""
        self._store = store
        self._metrics: frozenset[str] = frozenset()
        self._sources: Mapping[str, Source] = {}
        self._max_ages: Mapping[str, Millis] = {}
        self._last: dict[str, _LastRead] = {}
        self._cuts: dict[str, Collection[str]] = {}

    def apply_config(self, metrics: Collection[str], sources: Mapping[str, Source]) -> None:
        """Swaps the metrics that are looked at, and the sources. One that is the same goes on; what was not looked at of it was
        there before, as far as anybody knows."""
        new = frozenset(metrics) - self._metrics
        same = {name for name, source in sources.items() if self._sources.get(name) == source}
        self._last = {
            name: last._replace(cut=frozenset(last.cut) | new) for name, last in self._last.items() if name in same
        }
        self._cuts = {name: cut for name, cut in self._cuts.items() if name in same}
        self._metrics, self._sources = frozenset(metrics), dict(sources)
        self._max_ages = {name: max_age_of(source) for name, source in sources.items()}

    def forget(self) -> None:
        """Nobody watched: what comes next was there before, as far as anybody knows."""
        self._last, self._cuts = {}, {}

    def shift(self, step: Millis) -> None:
        """The clock was set."""
        self._last = {source: last._replace(at=last.at + step) for source, last in self._last.items()}

    def note_cut(self, source: str, cut: Cut | None) -> None:
        """What of the samples that come next is missing."""
        self._cuts[source] = () if cut is None else cut.metrics

    def fill(self, source: str, samples: Sequence[Sample], now: Millis) -> Sequence[Sample]:
        """The samples of a read, with a 0 at the read before ahead of each series that is new.

        Nothing is put in at a first read, after a gap longer than the source is believed, where the read before was cut, and of a
        series of which older samples are still held.
        """
        if not self._metrics:
            return samples
        found = frozenset((name, labels) for name, labels, _, _ in samples if name in self._metrics)
        last = self._last.get(source)
        self._last[source] = _LastRead(now, found, self._cuts.pop(source, ()))
        if last is None or ALL_METRICS in last.cut or not bridges_gap(last.at, self._max_ages.get(source, 0), now):
            return samples
        born = {
            (name, labels)
            for name, labels in found - last.series
            if name not in last.cut and not self._is_held(source, name, labels)
        }
        if not born:
            return samples
        filled: list[Sample] = []  # the 0 first: a series only moves forward
        for sample in samples:
            if sample[:2] in born:
                born.discard(sample[:2])
                if sample.v > 0:
                    filled.append(Sample(sample.name, sample.labels, min(last.at, sample.t - 1), 0.0))
            filled.append(sample)
        return filled

    def _is_held(self, source: str, metric: str, labels: Labels) -> bool:
        key = self._store.series_key(metric, labels, source)
        return any(key in page.row_of for page in self._store.pages if isinstance(page, HeadPage))
