"""Reading samples: which cells an expression sees at each time, how fresh they are, and how much of a window is covered.

Windows are open on the left, as in Prometheus 3: a range reads ``(t - range, t]``, an instant selector the newest
sample in ``(t - 5 min, t]``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from watchdog.model import Millis
from watchdog.promql.columns import SEVERAL, Bounds, columns, newest_of
from watchdog.promql.nodes import LOOKBACK, At, Selector, Subquery
from watchdog.promql.pages import ABSENT_BITS, NEVER, Bools, Floats, Ints, Page, Picked, Rows, Series, missing
from watchdog.promql.vectors import Keys, Merge, Vector, merge, merge_plan
from watchdog.promql.windows import array

SPARE = 20
"""A window may miss so many parts of a whole (5 %) while nobody watched, and still counts as covered."""
NONE = -NEVER
"""Newer than every sample: the neutral element of "the oldest of"."""


class Run:
    """One evaluation: what is read, and what was noticed while reading.

    A subquery, and a chunk of times, is a run inside of one: it reads at other times, but what it notices about
    coverage is said of the outermost.
    """

    def __init__(self, series: Series, times: Ints, since: Millis | None) -> None:
        self.series = series
        self.times = times
        self.since = NEVER if since is None else since
        self.query = times
        """[times] what ``start()`` and ``end()`` are."""
        self._newest: Ints | None = None
        self._lent = False  # `_newest` is somebody else's
        self.age: Millis | None = None
        """How old what was read is at most, where that is known of all times at once."""
        self.have: Ints = _always(0, times.size) if times.size >= SEVERAL else np.zeros(times.size, np.int64)
        self.need: Ints | None = None
        """None until a range has been read."""
        self._outermost: Run | None = None
        """None: this one. If it held itself, what it read would stay until the collector comes."""
        self._ends, self._span = (
            times,
            0,
        )  # per time of the outermost: until when this run reads, and how far back from there
        self._bounds: dict[tuple[int, Millis, At, Millis], Bounds] = {}

    @property
    def _top(self) -> Run:
        return self._outermost or self

    @property
    def newest(self) -> Ints:
        """Oldest of the newest sample times so far, `NONE` where nothing was read."""
        if self._newest is None:
            self._newest = np.full(self.times.size, NONE, np.int64)
        if self._lent:
            self._newest, self._lent = self._newest.copy(), False
        return self._newest

    def told(self) -> Ints:
        """`newest`, to be read only; 0 where nothing was read."""
        if self._newest is None:
            return _always(0, self.times.size)
        if self._newest.flags.writeable and self._newest.size and self._newest.max() == NONE:
            return np.where(self._newest == NONE, 0, self._newest)
        return self._newest

    def inside(self, times: Ints, query: Ints, within: tuple[Subquery, Millis] | None = None) -> Run:
        """A run at other times; `within` the range of a subquery, or for some of the times."""
        run = Run(self.series, times, self.since)
        run.query, run._outermost, run._ends, run._span = query, self._top, self._ends, self._span
        if within is not None:
            run._ends, run._span = self._reach(*within)
        return run

    def ends(self, node: Selector | Subquery) -> Ints:
        """[times] until when it reads, inclusive."""
        at = self.times if node.at is None else self.query if node.at == "query" else np.full_like(self.times, node.at)
        return at - node.offset if node.offset else at

    def bounds(self, page: Page, selector: Selector, span: Millis) -> Bounds:
        key = (id(page), selector.offset, selector.at, span)
        if (known := self._bounds.get(key)) is None:
            known = self._bounds[key] = columns(page, self.ends(selector), span, self.since)
        return known

    def saw(self, newest: Ints, node: Selector | Subquery, late: Millis = 0, age: Millis | None = None) -> None:
        """Newest sample time that one selector read from one page, per time; `NONE` for none. `age`: how long before the
        end it lies at all times, where that is known.

        What was asked for as it was before (offset, @) is as fresh as it could be: its age counts from there.
        """
        before = 0 if self._newest is None else self.age
        self.age = None if age is None or before is None else max(age, before)
        if late or node.offset or node.at is not None:
            newest = np.where(newest == NONE, NONE, newest + late + (self.times - self.ends(node)))
        if self._newest is None:
            self._newest, self._lent = newest, True
        elif self._newest is not newest:
            self._newest, self._lent = np.minimum(self._newest, newest, out=None if self._lent else self._newest), False

    def covers(self, picked: Picked, selector: Selector, span: Millis) -> None:
        """Notes the coverage of one window; the one with the least share of it covered is reported."""
        ends, span = self._reach(selector, span)
        if not span:
            return
        begin = max(picked.begin, picked.page.trimmed, self.since)
        downs = picked.page.unwatched
        earliest = int(ends.min(initial=-NEVER)) - span
        missed = downs.size and int(downs[-1, 1]) > earliest
        if earliest >= begin and not missed:  # the usual case: all of it, at all times
            self._top._worst(_always(span, ends.size), span)
            return
        have = np.minimum(np.maximum(ends - begin, 0), span)
        if missed:
            lost = _missed(downs, np.maximum(ends - span, begin), ends)
            have = have - np.where(lost * SPARE > span, lost, 0)
        self._top._worst(have, span)

    def _reach(self, node: Selector | Subquery, span: Millis) -> tuple[Ints, Millis]:
        if node.at is None:
            return self._ends - node.offset if node.offset else self._ends, self._span + span
        if node.at == "query":
            return self._top.times - node.offset, span
        return np.full_like(self._top.times, node.at - node.offset), span

    def _worst(self, have: Ints, span: Millis) -> None:
        if self.need is None:
            self.have, self.need = have, _always(span, have.size)
            return
        share, before = have / span, self.have / self.need
        worse = (share < before) | ((share == before) & (span > self.need))
        self.have, self.need = np.where(worse, have, self.have), np.where(worse, span, self.need)

    def select(self, selector: Selector) -> Sequence[Picked]:
        return selector.memo.of(
            self.series.generation, None, lambda: self.series.select(selector.name, selector.matchers)
        )


def _missed(downs: Ints, starts: Ints, ends: Ints) -> Ints:
    """[times] ms from `starts` to `ends` in which nobody watched."""
    until = np.zeros(downs.size)  # how much was missed until each down and each back
    until[1::2] = np.cumsum(downs[:, 1] - downs[:, 0])
    until[2::2] = until[1:-1:2]
    missed = np.interp(ends, downs.ravel(), until) - np.interp(starts, downs.ravel(), until)
    return np.maximum(np.rint(missed).astype(np.int64), 0)


def _always(value: Millis, size: int) -> Ints:
    """One number, so many times, in the space of one."""
    if size < SEVERAL:
        return np.full(size, value)
    many = np.ndarray((size,), np.int64, np.array(value, np.int64), strides=(0,))
    many.flags.writeable = False
    return many


def instant(run: Run, selector: Selector) -> tuple[Vector, Floats | Ints]:
    """The vector of an instant selector, names kept, and the sample time of each value: [keys or 1, times] ms."""
    picked = run.select(selector)
    parts = [_instant(run, one, selector) for one in picked]
    if len(parts) == 1:
        v, there, at = parts[0]
        return Vector(picked[0].keys, v, there), at
    plan = selector.memo_keys.of(picked, None, lambda: join([one.keys for one in picked]))
    v, there = stack([part[0] for part in parts], run, np.float64), stack([part[1] for part in parts], run, np.bool_)
    times = [np.broadcast_to(part[2], part[0].shape) for part in parts]
    return merge(plan, v, there), merge(plan, stack(times, run, np.float64), there).v


def _instant(run: Run, picked: Picked, selector: Selector) -> tuple[Floats, Bools, Ints]:
    page, rows = picked.page, picked.rows
    run.covers(picked, selector, 0)
    bounds = run.bounds(page, selector, LOOKBACK)
    if isinstance(bounds.lasts, range):
        freshest = slice(bounds.lasts.start - 1, bounds.lasts.stop - 1, bounds.step)
        cells, at = page.v[:, freshest][rows], newest_of(page, run.ends(selector), bounds.lasts)
        cells.flags.writeable = False
        if page.gap_max < page.t[freshest.start] or not np.isnan(np.minimum.reduce(cells, axis=None, initial=np.inf)):
            run.saw(at, selector, age=bounds.age)
            return cells, np.ones(cells.shape, np.bool_), at[None, :]
    first, last = array(bounds.firsts), array(bounds.lasts)
    live = last > first
    if not live.any():
        shape = (len(picked.keys), run.times.size)
        return np.full(shape, np.nan), np.zeros(shape, np.bool_), np.zeros((1, run.times.size), np.int64)
    column = np.maximum(last - 1, 0)
    cells = _cells(page, rows, column)
    always = bool(live.all())
    at = newest_of(page, run.ends(selector), bounds.lasts)[None, :] if always else page.t[column][None, :]
    there = np.repeat(live[None, :], len(cells), axis=0)
    earliest = first.min()
    if earliest < page.t.size and page.gap_max < page.t[earliest]:
        newest = newest_of(page, run.ends(selector), bounds.lasts) if always else np.where(live, at[0], NONE)
    else:
        look_back = np.flatnonzero(((cells.view(np.int64) == ABSENT_BITS) & live).any(axis=1))
        if look_back.size:
            at = np.repeat(at, len(cells), axis=0)
            lines = np.arange(page.v.shape[0])[rows][look_back]
            cells[look_back], at[look_back], there[look_back] = _look_back(page, lines, first, last, live)
        there &= ~missing(cells)
        newest = np.where(there, at, NEVER).max(axis=0)
        newest = np.where(newest == NEVER, NONE, newest)
    run.saw(newest, selector)
    return cells, there, at


def _cells(page: Page, rows: Rows, column: Ints) -> Floats:
    """The cells of these rows and columns, as a copy. [rows, times]"""
    if column.size == 1:
        return page.v[rows, int(column[0])].copy()[:, None]
    if isinstance(rows, slice):
        return page.v[rows].take(column, axis=1)
    return page.v[rows[:, None], column[None, :]]


def _look_back(page: Page, lines: Ints, first: Ints, last: Ints, live: Bools) -> tuple[Floats, Ints, Bools]:
    """For rows whose newest cells are absent: the newest cell that is not, if it lies within the window."""
    low, high = int(first[live].min()), int(last[live].max())
    block = page.v[lines, low:high]
    column = np.where(block.view(np.int64) == ABSENT_BITS, -1, np.arange(high - low))
    newest = np.maximum.accumulate(column, axis=1)[:, np.clip(last - 1 - low, 0, high - low - 1)] + low
    there = (newest >= np.maximum(first, low)) & live
    found = np.maximum(newest, low)
    return np.take_along_axis(block, found - low, axis=1), page.t[found], there


def join(keys: Sequence[Keys]) -> Merge:
    return merge_plan(tuple(key for part in keys for key in part))


def stack(parts: Sequence[np.ndarray], run: Run, kind: type) -> np.ndarray:
    return np.concatenate(parts, dtype=kind) if parts else np.zeros((0, run.times.size), kind)
