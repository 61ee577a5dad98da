"""One evaluation: the times it is asked for, and what is noticed while reading: how fresh, and how much is covered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from watchdog.core.model import Millis
from watchdog.promql.eval.limits import EvaluationLimits
from watchdog.promql.eval.window_columns import MIN_VECTORIZED_TIMES, WindowColumns, find_window_columns
from watchdog.promql.parse.nodes import AtModifier, Subquery, VectorSelector
from watchdog.tsdb.page import TIME_MIN, Ints, PageSelection, Querier, SeriesPage

DOWNTIME_TOLERANCE = 20
"""A window may miss so many parts of a whole (5 %) while nobody watched, and still counts as covered."""
NO_SAMPLE = -TIME_MIN
"""Newer than every sample: the neutral element of "the oldest of"."""


class NewestRead(NamedTuple):
    """The newest sample that was read from a page, per time."""

    page: SeriesPage
    newest: Ints
    """[times] ms; `NO_SAMPLE` for none."""
    age: Millis | None
    """How long before the end it lies at all times, where that is known."""


class EvaluationContext:
    """One evaluation: what is read, and what was noticed while reading.

    A subquery, and a chunk of times, is a run inside of one: it reads at other times, but what it notices about
    coverage is said of the outermost.
    """

    def __init__(
        self, series: Querier, times: Ints, since: Millis | None, limits: EvaluationLimits | None = None
    ) -> None:
        self.series = series
        self.limits = limits
        self.times = times
        self.samples_after = TIME_MIN if since is None else since
        self.query_times = times
        """[times] what ``start()`` and ``end()`` are."""
        self._newest: Ints | None = None
        self._newest_is_borrowed = False  # `_newest` is somebody else's
        self.newest_age: Millis | None = None
        """How old what was read is at most, where that is known of all times at once."""
        self.covered_ms: Ints = (
            _constant_ints(0, times.size) if times.size >= MIN_VECTORIZED_TIMES else np.zeros(times.size, np.int64)
        )
        self.window_ms: Ints | None = None
        """None until a range has been read."""
        self._parent_root: EvaluationContext | None = None
        """None: this one. If it held itself, what it read would stay until the collector comes."""
        self._ends, self._span = (
            times,
            0,
        )  # per time of the outermost: until when this run reads, and how far back from there
        self._window_columns: dict[tuple[int, Millis, AtModifier, Millis], WindowColumns] = {}

    @property
    def _root(self) -> EvaluationContext:
        return self._parent_root or self

    @property
    def newest(self) -> Ints:
        """Oldest of the newest sample times so far, `NO_SAMPLE` where nothing was read."""
        if self._newest is None:
            self._newest = np.full(self.times.size, NO_SAMPLE, np.int64)
        if self._newest_is_borrowed:
            self._newest, self._newest_is_borrowed = self._newest.copy(), False
        return self._newest

    def newest_or_zero(self) -> Ints:
        """`newest`, to be read only; 0 where nothing was read."""
        if self._newest is None:
            return _constant_ints(0, self.times.size)
        if self._newest.flags.writeable and self._newest.size and self._newest.max() == NO_SAMPLE:
            return np.where(self._newest == NO_SAMPLE, 0, self._newest)
        return self._newest

    def nested(self, times: Ints, query: Ints, within: tuple[Subquery, Millis] | None = None) -> EvaluationContext:
        """A run at other times; `within` the range of a subquery, or for some of the times."""
        run = EvaluationContext(self.series, times, self.samples_after, self.limits)
        run.query_times, run._parent_root, run._ends, run._span = query, self._root, self._ends, self._span
        if within is not None:
            run._ends, run._span = self._coverage_range(*within)
        return run

    def check_size(self, part: str, series: int, times: int | None = None) -> None:
        """Raises PromqlError where that is more than may be asked for. `times`: those of this run where not said."""
        if self.limits is not None:
            self.limits.check_size(part, series, self.times.size if times is None else times)

    def window_ends(self, node: VectorSelector | Subquery) -> Ints:
        """[times] until when it reads, inclusive."""
        at = (
            self.times
            if node.at is None
            else self.query_times
            if node.at == "query"
            else np.full_like(self.times, node.at)
        )
        return at - node.offset if node.offset else at

    def window_columns(self, page: SeriesPage, selector: VectorSelector, span: Millis) -> WindowColumns:
        key = (id(page), selector.offset, selector.at, span)
        if (known := self._window_columns.get(key)) is None:
            known = self._window_columns[key] = find_window_columns(
                page, self.window_ends(selector), span, self.samples_after
            )
        return known

    def note_newest(
        self, newest: Ints, node: VectorSelector | Subquery, lateness: Millis = 0, age: Millis | None = None
    ) -> None:
        """Newest sample time that one selector read from one page, per time; `NO_SAMPLE` for none. `age`: how long before the
        end it lies at all times, where that is known.

        What was asked for as it was before (offset, @) is as fresh as it could be: its age counts from there.
        """
        before = 0 if self._newest is None else self.newest_age
        self.newest_age = None if age is None or before is None else max(age, before)
        if lateness or node.offset or node.at is not None:
            newest = np.where(newest == NO_SAMPLE, NO_SAMPLE, newest + lateness + (self.times - self.window_ends(node)))
        if self._newest is None:
            self._newest, self._newest_is_borrowed = newest, True
        elif self._newest is not newest:
            self._newest, self._newest_is_borrowed = (
                np.minimum(self._newest, newest, out=None if self._newest_is_borrowed else self._newest),
                False,
            )

    def note_newest_of(self, read: Sequence[NewestRead], selector: VectorSelector) -> None:
        """What one selector read from each of some pages. Of one source's pages the newest counts at each time: a series that
        has ended does not make those old that go on, wherever it lies."""
        by_source: dict[object, list[NewestRead]] = {}
        for one in read:
            by_source.setdefault(id(one.page) if one.page.source is None else one.page.source, []).append(one)
        for mine in by_source.values():
            if len(mine) == 1:
                self.note_newest(mine[0].newest, selector, age=mine[0].age)
                continue
            times = [np.where(one.newest == NO_SAMPLE, TIME_MIN, one.newest) for one in mine]
            newest = np.maximum.reduce(times)
            self.note_newest(np.where(newest == TIME_MIN, NO_SAMPLE, newest), selector)

    def note_coverage(self, picked: PageSelection, selector: VectorSelector, span: Millis) -> None:
        """Notes the coverage of one window; the one with the least share of it covered is reported."""
        ends, span = self._coverage_range(selector, span)
        if not span:
            return
        begin = max(picked.watched_since, picked.page.trimmed_until, self.samples_after)
        downs = picked.page.downtimes
        earliest = int(ends.min(initial=-TIME_MIN)) - span
        missed = downs.size and int(downs[-1, 1]) > earliest
        if earliest >= begin and not missed:  # the usual case: all of it, at all times
            self._root._note_worst_coverage(_constant_ints(span, ends.size), span)
            return
        have = np.minimum(np.maximum(ends - begin, 0), span)
        if missed:
            lost = _downtime_between(downs, np.maximum(ends - span, begin), ends)
            have = have - np.where(lost * DOWNTIME_TOLERANCE > span, lost, 0)
        self._root._note_worst_coverage(have, span)

    def _coverage_range(self, node: VectorSelector | Subquery, span: Millis) -> tuple[Ints, Millis]:
        if node.at is None:
            return self._ends - node.offset if node.offset else self._ends, self._span + span
        if node.at == "query":
            return self._root.times - node.offset, span
        return np.full_like(self._root.times, node.at - node.offset), span

    def _note_worst_coverage(self, have: Ints, span: Millis) -> None:
        if self.window_ms is None:
            self.covered_ms, self.window_ms = have, _constant_ints(span, have.size)
            return
        share, before = have / span, self.covered_ms / self.window_ms
        worse = (share < before) | ((share == before) & (span > self.window_ms))
        self.covered_ms, self.window_ms = np.where(worse, have, self.covered_ms), np.where(worse, span, self.window_ms)

    def select_pages(self, selector: VectorSelector) -> Sequence[PageSelection]:
        return selector.plan_cache.get(
            self.series.generation, None, lambda: self.series.select(selector.name, selector.matchers)
        )


def _downtime_between(downs: Ints, starts: Ints, ends: Ints) -> Ints:
    """[times] ms from `starts` to `ends` in which nobody watched."""
    until = np.zeros(downs.size)  # how much was missed until each down and each back
    until[1::2] = np.cumsum(downs[:, 1] - downs[:, 0])
    until[2::2] = until[1:-1:2]
    missed = np.interp(ends, downs.ravel(), until) - np.interp(starts, downs.ravel(), until)
    return np.maximum(np.rint(missed).astype(np.int64), 0)


def unwatched_between(downs: Ints, start: Millis, end: Millis) -> Millis:
    """The same of one window."""
    lost = 0
    for begin, until in reversed(downs.tolist()):
        if until <= start:
            break
        lost += max(0, min(until, end) - max(begin, start))
    return lost


def _constant_ints(value: Millis, size: int) -> Ints:
    """One number, so many times, in the space of one."""
    if size < MIN_VECTORIZED_TIMES:
        return np.full(size, value)
    many = np.ndarray((size,), np.int64, np.array(value, np.int64), strides=(0,))
    many.flags.writeable = False
    return many
