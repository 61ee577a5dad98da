"""Where samples of all formats come together: series that were sampled at the same times share a page."""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

import numpy as np

from watchdog.core.errors import WatchdogError
from watchdog.core.model import Labels, Millis
from watchdog.tsdb.labels import METRIC_NAME_LABEL, SOURCE_LABEL
from watchdog.tsdb.page import ABSENT_BITS, Floats, Ints, PageList, SeriesPage


class HistoryError(WatchdogError):
    """History that cannot be read: which file and line, what is wrong with it, and the cure."""


class QueryRange(NamedTuple):
    """What a server is asked for; ms."""

    start: Millis
    end: Millis
    step: Millis


class PageBuilder:
    """Series as they are found: key (with `__name__`, sorted) → times and values.

    They grow in bytearrays, which the system enlarges in place: a year of seconds is in memory once, not twice.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._found: dict[Labels, tuple[bytearray, bytearray]] = {}
        self._begin: dict[Labels, Millis] = {}

    def series_key(self, name: str, labels: Labels) -> Labels:
        """The key of a series; a label `source` of its own is kept."""
        known = {"source": self._source, **{label: value for label, value in labels if value}}
        return tuple(sorted({**known, METRIC_NAME_LABEL: name}.items()))

    def add(self, key: Labels, t: Ints, v: Floats, begin: Millis | None = None) -> None:
        """Samples of one series in any order. `begin`: since when it has been watched; else since its first sample."""
        if not t.size:
            return
        times, values = self._found.setdefault(key, (bytearray(), bytearray()))
        times += np.ascontiguousarray(t, np.int64).data
        values += np.ascontiguousarray(v, np.float64).data
        since = int(t.min()) if begin is None else begin
        self._begin[key] = min(since, self._begin.get(key, since))

    def add_page(self, page: SeriesPage) -> None:
        """All series of a page."""
        for row, key in enumerate(page.keys):
            there = page.v[row].view(np.int64) != ABSENT_BITS
            self.add(key, page.t[there], page.v[row, there], int(page.watched_since[row]))

    def build(self) -> PageList:
        """One page for all series of a source that have the same times. Uses up what was gathered."""
        groups: dict[tuple[bytes, str], tuple[Ints, list[Labels], list[Floats]]] = {}
        begins_by_metric = self._begins_by_metric()
        while self._found:
            key = next(iter(self._found))
            t, v = _sort_unique(*self._found.pop(key))
            group = blake2b(t.data).digest(), dict(key).get(SOURCE_LABEL, "")
            _, keys, values = groups.setdefault(group, (t, [], []))
            keys.append(key)
            values.append(v)
        made = []
        for (_, source), (t, keys, values) in groups.items():
            begins = np.array([begins_by_metric[_metric_of(key)] for key in keys], np.int64)
            page = SeriesPage(t, np.stack(values) if len(values) > 1 else values[0][None, :], keys, begins)
            page.source = source
            made.append(page)
        return PageList(made)

    def _begins_by_metric(self) -> dict[tuple[str, str], Millis]:
        """Who reads a metric of a source would see a new label set of it: each has been watched since the first one was."""
        begins: dict[tuple[str, str], Millis] = {}
        for key, begin in self._begin.items():
            metric = _metric_of(key)
            begins[metric] = min(begin, begins.get(metric, begin))
        return begins


def _metric_of(key: Labels) -> tuple[str, str]:
    labels = dict(key)
    return labels.get(SOURCE_LABEL, ""), labels[METRIC_NAME_LABEL]


def _sort_unique(times: bytearray, values: bytearray) -> tuple[Ints, Floats]:
    """In order of time; of several samples at one time the first counts, as in Prometheus."""
    t, v = np.frombuffer(times, np.int64), np.frombuffer(values, np.float64)
    v[v.view(np.int64) == ABSENT_BITS] = np.nan
    if (t[1:] <= t[:-1]).any():
        t, first = np.unique(t, return_index=True)
        v = v[first]
    return t, v
