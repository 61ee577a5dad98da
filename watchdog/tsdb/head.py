"""Samples in memory: what the sources delivered, for as long as some expression may read it.

The series of one source that are kept equally long share a *shelf*: one row of times, one row of values each, in
buffers with room to spare, so that every window is one slice and forgetting costs nothing most of the time.

What is kept, and what is not:
- A series only moves forward. A sample that is not newer than the newest mark of its series (a value, or the note that
  it was gone) is dropped: sources may repeat what they have said.
- A sample may be older than others of its source: it gets a column of its own between theirs.
- Samples older than anything reads, or more than ten minutes ahead of `now`, are dropped. Those of a time that was slept
  through are history all the same, see `late_samples`.
- A series that a source no longer delivers is marked as gone at `now`, and forgotten once nothing can read it any more.
  So is all of a source that is neither kept nor lost any longer.
- When the clock is set back by more than a minute, samples from the time that has not come yet are forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from watchdog.core.model import Labels, Millis, Sample
from watchdog.tsdb.head_page import (
    MAX_AHEAD,
    RETENTION_SLACK,
    HeadPage,
    RowIndices,
    merge_head_pages,
    page_of_gone_series,
)
from watchdog.tsdb.labels import LOOKBACK_DELTA, METRIC_NAME_LABEL, SOURCE_LABEL, Matcher, retarget_key, series_key
from watchdog.tsdb.late_samples import LateSamples
from watchdog.tsdb.page import STALE, TIME_MIN, Floats, Ints, PageList, is_missing
from watchdog.tsdb.pages_by_source import PagesBySource
from watchdog.tsdb.watched_spans import WatchedSpans

_MAX_INCOMPLETE = 2_000
"""Metrics of a source of which it is remembered one by one that series were left out."""
_SWEEP_INTERVAL: Millis = 1_000
"""Between two looks for sources of which nothing is held any more."""


class _IngestPlan:
    """Where the samples of one read go. Worked out once; the next read mostly brings the same series in the same order."""

    __slots__ = ("generation", "other_pages", "parts", "series_names", "single_page")

    def __init__(self, names: list[tuple[str, Labels]], generation: object) -> None:
        self.series_names = names
        self.generation = generation
        self.parts: list[tuple[HeadPage, RowIndices, RowIndices]] = []
        """Shelf, row and position in the read of each sample that goes there."""
        self.single_page: HeadPage | None = None
        """The one shelf that takes each sample of the read into the row of its position, if there is one, …"""
        self.other_pages: list[HeadPage] = []
        """… and the other shelves of the source."""


class Head(PageList):
    """All series. Not for several threads: whoever keeps samples also evaluates."""

    def __init__(
        self, lookback_by_metric: Mapping[str, Millis] | None = None, target_by_source: Mapping[str, str] | None = None
    ) -> None:
        """`lookback_by_metric`: metric name → how far back it is read, in ms; ``""`` for every metric. 5 min where not said.
        `target_by_source`: whose own a source is; None: no target says so, and ``target`` is a label like any other."""
        super().__init__()
        self._lookback_by_metric = dict(lookback_by_metric or {})
        self._forgotten_before: dict[str, Millis] = {}
        """Metric name → time before which its samples may be forgotten, because its window was shorter then."""
        self._head_pages: dict[tuple[str, Millis, bool], HeadPage] = {}
        """By source and how long it is kept. `up` stands apart: its times are ours, not the data's."""
        self._pages_by_source = PagesBySource()
        self._swept_at: Millis = TIME_MIN
        self.watched = WatchedSpans(self._set_downtimes, self.longest_retention)
        self._ingest_plans: dict[str, _IngestPlan] = {}
        self._incomplete_until: dict[str, dict[str, Millis]] = {}
        """Source → metric (``""``: every one) → until when some of its series were left out."""
        self.ever_held: dict[str, set[str]] = {}
        """Source → metrics that were written down since the history began, whether samples of them are still held or not."""
        self._target_by_source = target_by_source
        self._now: Millis = TIME_MIN
        self.late_samples: LateSamples | None = None
        """Set by who writes them down."""

    # ─ in ─

    def ingest(self, source: str, now: Millis, samples: Iterable[Sample]) -> Millis:
        """Takes one successful read of a source. Returns the newest sample time in it, 0 when it brought none.

        Every series gets the label ``source``; a label of that name in the data becomes ``exported_source``. Of a source
        that is a target's own it gets ``target``, too. Series of that source that are not among the samples are marked as
        gone, and ``up{source=…}`` is 1.
        """
        self._advance_clock(now)
        self.watched.note_delivery(source, now)
        read = list(samples)
        v = np.array([sample[3] for sample in read], np.float64)
        batch = self._ingest_plan(source, read, now)
        page, times = batch.single_page, {sample[2] for sample in read}
        if page is not None and len(times) == 1 and page.append_full_row(now, at := min(times), v):
            self._finish_read(source, now, batch.other_pages, 1.0)
            return at if at <= now + MAX_AHEAD else 0
        t = np.array([sample[2] for sample in read], np.int64)
        if self.late_samples is not None and t.size and int(t.min()) < now - LOOKBACK_DELTA:
            for shelf, rows, places in batch.parts:
                self.late_samples.keep(shelf, rows, t[places], v[places], now - LOOKBACK_DELTA)
        rest = {id(shelf): shelf for shelf in self._pages_by_source.data_pages(source)}
        for shelf, rows, places in batch.parts:
            shelf.append(now, rows, t[places], v[places])
            rest.pop(id(shelf), None)
        self._finish_read(source, now, rest.values(), 1.0)
        sane = t[t <= now + MAX_AHEAD]
        return int(sane.max()) if sane.size else 0

    def note_incomplete(self, source: str, metrics: Iterable[str], now: Millis) -> None:
        """At `now`, series of these metrics (``""``: of any) are left out: one that comes later was not watched until now."""
        known = self._incomplete_until.setdefault(source, {})
        known.update(dict.fromkeys(metrics, now))
        if len(known) > _MAX_INCOMPLETE:
            known.clear()
            known[""] = now

    def mark_source_down(self, source: str, now: Millis) -> None:
        """The source could not be read: its series are gone, and ``up{source=…}`` is 0."""
        self._advance_clock(now)
        self.watched.note_failure(source, now)
        mine = list(self._pages_by_source.data_pages(source))
        self._finish_read(source, now, mine, 0.0)

    # ─ what was watched ─

    def note_standstill(self, since: Millis) -> None:
        """Since then nobody has watched anything, as over a restart: series are gone until they come again."""
        self.watched.note_standstill(since)
        none = np.zeros(0, np.int64)
        for page in self._head_pages.values():
            page.append(max(since, page.now), none.astype(np.intp), none, none.astype(np.float64))

    def shift(self, step: Millis, now: Millis) -> None:
        """The clock was set by `step`, and it is `now`: what was seen so long ago was seen so long ago."""
        for page in self._head_pages.values():
            page.shift(step, now)
        self.watched.shift(step)
        for known in (self._forgotten_before, *self._incomplete_until.values()):
            known.update({name: at if at == TIME_MIN else at + step for name, at in known.items()})
        self._now = now
        self._swept_at = TIME_MIN
        self.invalidate()

    def _set_downtimes(self, source: str, missed: Ints) -> None:
        for page in self._pages_by_source.pages(source):
            page.downtimes = missed

    def _advance_clock(self, now: Millis) -> None:
        """Time goes on. A clock that was set back would hide every new sample behind those from before: they go."""
        if now < self._now - RETENTION_SLACK:
            for shelf in self._head_pages.values():
                shelf.truncate_after(now)
            self.watched.set_back(now)
            self._now = now
            self.invalidate()
        self._now = max(self._now, now)

    def _finish_read(self, source: str, now: Millis, silent: Iterable[HeadPage], up: float) -> None:
        none = np.zeros(0, np.int64)
        for shelf in silent:
            shelf.append(now, none.astype(np.intp), none, none.astype(np.float64))
        key = self.series_key("up", (), source)
        shelf = self._page_for(source, "up", is_up=True)
        if key not in shelf.row_of:
            self._add_series(source, shelf, [key], now)
        if len(shelf.keys) > 1 or not shelf.append_full_row(now, now, np.array([up])):
            shelf.append(now, np.array([shelf.row_of[key]]), np.array([now]), np.array([up]))
        self._drop_expired(source, now)

    def _drop_expired(self, source: str, now: Millis) -> None:
        swept = False
        for shelf in self._pages_by_source.data_pages(source):
            swept |= shelf.drop_gone_series(now)
        if not 0 <= self._now - self._swept_at < _SWEEP_INTERVAL:
            self._swept_at = self._now
            swept |= any(shelf.now <= self._now - shelf.retention for shelf in self._head_pages.values())
        if swept:
            self._head_pages = {
                place: shelf
                for place, shelf in self._head_pages.items()
                if shelf.keys and shelf.now > self._now - shelf.retention
            }
            for gone in self.watched.sources() - {owner for owner, _, _ in self._head_pages}:
                self.watched.forget(gone)
                self._ingest_plans.pop(gone, None)
                self._incomplete_until.pop(gone, None)
            self._update_pages()

    def _ingest_plan(self, source: str, read: list[Sample], now: Millis) -> _IngestPlan:
        names = [sample[:2] for sample in read]
        known = self._ingest_plans.get(source)
        if known is not None and known.generation is self.generation and known.series_names == names:
            return known
        up = self.series_key("up", (), source)
        homes: dict[int, tuple[HeadPage, list[Labels], list[int]]] = {}
        for place, (name, labels) in enumerate(names):
            key = self.series_key(name, labels, source)
            if name and key != up:
                shelf = self._page_for(source, name)
                _, keys, places = homes.setdefault(id(shelf), (shelf, [], []))
                keys.append(key)
                places.append(place)
        for shelf, keys, _ in homes.values():
            if fresh := [key for key in dict.fromkeys(keys) if key not in shelf.row_of]:
                self._add_series(source, shelf, fresh, now)
        batch = self._ingest_plans[source] = _IngestPlan(names, self.generation)
        for shelf, keys, places in homes.values():
            batch.parts.append((shelf, np.array([shelf.row_of[key] for key in keys]), np.array(places)))
        if len(batch.parts) == 1:
            shelf, rows, places_ = batch.parts[0]
            if rows.tolist() == list(range(len(shelf.keys))) and places_.size == len(read):
                batch.single_page = shelf
                batch.other_pages = [other for other in self._pages_by_source.data_pages(source) if other is not shelf]
        return batch

    def _add_series(self, source: str, shelf: HeadPage, keys: list[Labels], now: Millis) -> None:
        since = self.watched.since(source, now)
        incomplete = self._incomplete_until.get(source, {})
        anything = max(self._forgotten_before.get("", TIME_MIN), incomplete.get("", TIME_MIN))
        begins = [
            max(since, anything, self._forgotten_before.get(name, TIME_MIN), incomplete.get(name, TIME_MIN))
            for name in (dict(key)[METRIC_NAME_LABEL] for key in keys)
        ]
        shelf.add_series(keys, begins, now)
        self.invalidate()

    def _page_for(self, source: str, name: str, *, is_up: bool = False) -> HeadPage:
        place = (source, _retention_of(self._lookback_by_metric, name), is_up)
        shelf = self._head_pages.get(place)
        if shelf is None:
            shelf = self._head_pages[place] = HeadPage.empty(place[1])
            self._list_page(source, shelf, is_up=is_up)
            self.pages.append(shelf)
            self.invalidate()
        return shelf

    def _update_pages(self) -> None:
        self._pages_by_source = PagesBySource()
        for (source, _, is_up), shelf in self._head_pages.items():
            self._list_page(source, shelf, is_up=is_up)
        self.pages[:] = self._head_pages.values()
        self.invalidate()

    def pages_where(self, matchers: tuple[Matcher, ...]) -> Sequence[HeadPage]:
        found = self._pages_by_source.find(matchers, self._target_by_source)
        return list(self._head_pages.values()) if found is None else found

    def _list_page(self, source: str, shelf: HeadPage, *, is_up: bool) -> None:
        shelf.downtimes = self.watched.downtimes(source)
        self._pages_by_source.add(source, shelf, is_up=is_up)

    def series_key(self, name: str, labels: Labels, source: str) -> Labels:
        """The labels under which a sample is kept: with its name, its source and whose it is."""
        return series_key(name, labels, source, self._target_by_source)

    # ─ reload and boot ─

    @property
    def has_own_sources(self) -> bool:
        """Whether ``target`` is a label of ours."""
        return self._target_by_source is not None

    def set_target_by_source(self, target_by_source: Mapping[str, str] | None) -> None:
        """After a reload: whose own each source is. What is held goes on under its new labels at once."""
        before, self._target_by_source = self._target_by_source, target_by_source
        if target_by_source == before:
            return
        for (source, _, _), page in self._head_pages.items():
            if before is None:  # until now it was the data that said `target`
                keys = [_key_with_target(key, source, target_by_source) for key in page.keys]
            else:
                keys = [retarget_key(key, target_by_source) for key in page.keys]
            page.rename_series(keys)
        self._ingest_plans = {}
        self._pages_by_source.forget_targets()
        self.invalidate()

    def metrics_by_source(self) -> dict[str, set[str]]:
        """Source → the metrics that are held of it."""
        found: dict[str, set[str]] = {}
        for (source, _, _), shelf in self._head_pages.items():
            found.setdefault(source, set()).update(dict(key)[METRIC_NAME_LABEL] for key in shelf.keys)
        return found

    def set_lookback(self, lookback_by_metric: Mapping[str, Millis]) -> None:
        """After a reload: how far back each metric is read from now on. Series move at once, with what they have."""
        before, self._lookback_by_metric = self._lookback_by_metric, dict(lookback_by_metric)
        for name in lookback_by_metric.keys() | before.keys():
            old = _retention_of(before, name)
            if _retention_of(lookback_by_metric, name) > old and self._now != TIME_MIN:
                self._forgotten_before[name] = max(self._forgotten_before.get(name, TIME_MIN), self._now - old)
        homes: dict[tuple[str, Millis, bool], list[tuple[HeadPage, list[int]]]] = {}
        for (source, _, is_up), shelf in self._head_pages.items():
            for row, key in enumerate(shelf.keys):
                parts = homes.setdefault(
                    (source, _retention_of(self._lookback_by_metric, dict(key)[METRIC_NAME_LABEL]), is_up), []
                )
                if not parts or parts[-1][0] is not shelf:
                    parts.append((shelf, []))
                parts[-1][1].append(row)
        shelves = {}
        for place, parts in homes.items():
            shelf, rows = parts[0]
            as_it_was = len(parts) == 1 and len(rows) == len(shelf.keys) and shelf.retention == place[1]
            shelves[place] = (
                shelf if as_it_was else merge_head_pages([(part, np.array(rows)) for part, rows in parts], place[1])
            )
        if any(self._head_pages.get(place) is not shelf for place, shelf in shelves.items()):
            self._head_pages = shelves
            self._update_pages()

    def preload(
        self, source: str, name: str, labels: Labels, points: Iterable[tuple[Millis, float]], begin: Millis
    ) -> None:
        """Puts remembered samples of a series back at boot, watched since `begin`, before it is kept for the first time.

        They speak for the past only: the series counts as gone right after the newest of them.
        """
        key = self.series_key(name, labels, source)
        place = (source, _retention_of(self._lookback_by_metric, name), False)
        shelf = self._head_pages.get(place)
        row = None if shelf is None else shelf.row_of.get(key)
        held = dict(points)
        if shelf is not None and row is not None:  # it is remembered as a whole, from its first sample on
            begin = int(shelf.watched_since[row])
            there = np.flatnonzero(~is_missing(shelf.v[row]))
            held = {at: v for at, v in held.items() if not there.size or at + 1 < shelf.t[there[0]]}
        if not held:
            return
        t = np.array([*sorted(held), max(held) + 1], np.int64)
        v = np.append(np.array([held[at] for at in sorted(held)], np.float64), np.nan)[None, :]
        v[0, -1] = STALE
        past = HeadPage(place[1], t, v, [key], np.array([begin]), t[-1:].copy(), t[-1:].copy())
        past.now = int(t[-1])
        parts = [(past, np.array([0]))]
        if shelf is not None:
            parts.insert(0, (shelf, np.arange(len(shelf.keys))))
        self._head_pages[place] = merge_head_pages(parts, place[1])
        self._update_pages()

    def restore(
        self,
        source: str,
        watched_spans: Sequence[tuple[Millis, Millis]],
        series: Iterable[tuple[list[Labels], list[Millis], Ints, Floats]],
        now: Millis,
    ) -> None:
        """Puts whole series back at boot, before anything else is kept: windows go on where they were.

        `watched_spans`: those in which the source was watched, ascending, at least one. What lies between two of them, and
        from the last one's end until the source delivers again, was watched by nobody: see `SeriesPage.downtimes`.
        `series`: keys, since when each is known (at the earliest), and their times [n] and values [keys, n]; everything
        from the windows until `now`.
        """
        begin, end = watched_spans[0][0], watched_spans[-1][1]
        self.watched.restore(source, watched_spans)
        homes: dict[tuple[str, Millis, bool], list[tuple[HeadPage, RowIndices]]] = {}
        for keys, begins, t, v in series:
            rows: dict[tuple[Millis, bool], list[int]] = {}
            keys = (
                [retarget_key(key, self._target_by_source) for key in keys]
                if self._target_by_source is not None
                else keys
            )
            for row, key in enumerate(keys):
                rows.setdefault(
                    (self.retention_of(dict(key)[METRIC_NAME_LABEL]), key == self.series_key("up", (), source)), []
                ).append(row)
            for (keep, is_up), mine in rows.items():
                known = [max(begin, begins[row]) for row in mine]
                part = page_of_gone_series(keep, t, v[mine], [keys[row] for row in mine], known, end)
                homes.setdefault((source, keep, is_up), []).append((part, np.arange(len(mine))))
        for place, parts in homes.items():
            shelf = self._head_pages[place] = parts[0][0] if len(parts) == 1 else merge_head_pages(parts, place[1])
            shelf.trimmed_until = max(shelf.trimmed_until, now - place[1])
        self._update_pages()

    def retention_of(self, name: str) -> Millis:
        """How long samples of a metric are held."""
        return _retention_of(self._lookback_by_metric, name)

    def longest_retention(self) -> Millis:
        """How long samples of any metric are held at most."""
        return max(_retention_of(self._lookback_by_metric, name) for name in ("", *self._lookback_by_metric))

    # ─ out ─

    def latest_samples(self, name: str | None = None) -> Iterator[tuple[Labels, Millis, float]]:
        """Newest value of each series that is still held (all, or those of one metric): labels with the name, time, value.

        A series that is gone keeps its last one until it is forgotten: look at the time.
        """
        for shelf in self._head_pages.values():
            for row in range(len(shelf.keys)) if name is None else shelf.rows_named(name):
                if (newest := shelf.latest_sample(row)) is not None:
                    yield shelf.keys[row], *newest


def _key_with_target(key: Labels, source: str, target_by_source: Mapping[str, str] | None) -> Labels:
    """A key from before `target` was a label of ours."""
    labels = dict(key)
    return series_key(labels.pop(METRIC_NAME_LABEL), _data_labels(labels), source, target_by_source)


def _data_labels(labels: dict[str, str]) -> Labels:
    return tuple(pair for pair in labels.items() if pair[0] != SOURCE_LABEL)


def _retention_of(lookback_by_metric: Mapping[str, Millis], name: str) -> Millis:
    return max(lookback_by_metric.get(name, 0), lookback_by_metric.get("", 0), LOOKBACK_DELTA) + RETENTION_SLACK
