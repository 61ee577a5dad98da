"""Reading samples: which cells an expression sees at each time, how fresh they are, and how much of a window is covered.

Windows are open on the left, as in Prometheus 3: a range reads ``(t - range, t]``, an instant selector the newest
sample in ``(t - 5 min, t]``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from watchdog.model import Millis
from watchdog.promql.nodes import LOOKBACK, At, RangeCall, Selector, Subquery
from watchdog.promql.pages import ABSENT_BITS, NEVER, Bools, Floats, Ints, Page, Picked, Rows, Series, missing
from watchdog.promql.vectors import Keys, Merge, Scalar, Vector, merge, merge_plan

NONE = -NEVER
"""Newer than every sample: the neutral element of "the oldest of"."""


class Window(NamedTuple):
    """The samples of some series in one window. All of them have a sample at each of the times."""

    t: Ints
    """[n] ms, ascending; n is at least 1."""
    v: Floats
    """[rows, n]"""
    start: Millis
    """Exclusive."""
    end: Millis
    """Inclusive."""
    asked: Millis
    """The time of evaluation: `end`, but for offset and @."""


Kernel = Callable[..., Floats | None]
"""[rows] from one window, and from scalars where the function takes any; None: too few samples to say anything."""


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
        self.newest = np.full(times.size, NONE, np.int64)
        """Oldest of the newest sample times so far, `NONE` where nothing was read."""
        self.have: Ints = np.zeros(times.size, np.int64)
        self.need: Ints | None = None
        """None until a range has been read."""
        self._top = self
        self._ends, self._span = times, 0  # per time of the outermost: until when this run reads, and how far back from there
        self._bounds: dict[tuple[int, Millis, At, Millis], tuple[Ints, Ints]] = {}

    def inside(self, times: Ints, query: Ints, within: tuple[Subquery, Millis] | None = None) -> Run:
        """A run at other times; `within` the range of a subquery, or for some of the times."""
        run = Run(self.series, times, self.since)
        run.query, run._top, run._ends, run._span = query, self._top, self._ends, self._span
        if within is not None:
            run._ends, run._span = self._reach(*within)
        return run

    def ends(self, node: Selector | Subquery) -> Ints:
        """[times] until when it reads, inclusive."""
        at = self.times if node.at is None else self.query if node.at == "query" else np.full_like(self.times, node.at)
        return at - node.offset if node.offset else at

    def bounds(self, page: Page, selector: Selector, span: Millis) -> tuple[Ints, Ints]:
        """First column of the window at each time, and the one after the last. Empty where first >= last."""
        key = (id(page), selector.offset, selector.at, span)
        if (known := self._bounds.get(key)) is None:
            first, last = columns(page, self.ends(selector), span)
            if self.since != NEVER:
                first = np.maximum(first, page.t.searchsorted(self.since, "right"))
            known = self._bounds[key] = (first, last)
        return known

    def saw(self, newest: Ints, node: Selector | Subquery, late: Millis = 0) -> None:
        """Newest sample time that one selector read from one page, per time; `NONE` for none.

        What was asked for as it was before (offset, @) is as fresh as it could be: its age counts from there.
        """
        if late or node.offset or node.at is not None:
            newest = np.where(newest == NONE, NONE, newest + late + (self.times - self.ends(node)))
        np.minimum(self.newest, newest, out=self.newest)

    def covers(self, picked: Picked, selector: Selector, span: Millis) -> None:
        """Notes the coverage of one window; the one with the least share of it covered is reported."""
        ends, span = self._reach(selector, span)
        if not span:
            return
        begin = max(picked.begin, picked.page.trimmed, self.since)
        self._top._worst(np.minimum(np.maximum(ends - begin, 0), span), span)

    def _reach(self, node: Selector | Subquery, span: Millis) -> tuple[Ints, Millis]:
        if node.at is None:
            return self._ends - node.offset, self._span + span
        if node.at == "query":
            return self._top.times - node.offset, span
        return np.full_like(self._top.times, node.at - node.offset), span

    def _worst(self, have: Ints, span: Millis) -> None:
        if self.need is None:
            self.have, self.need = have, np.full(self.times.size, span, np.int64)
            return
        share, before = have / span, self.have / self.need
        worse = (share < before) | ((share == before) & (span > self.need))
        self.have, self.need = np.where(worse, have, self.have), np.where(worse, span, self.need)

    def select(self, selector: Selector) -> Sequence[Picked]:
        return selector.memo.of(
            self.series.generation, None, lambda: self.series.select(selector.name, selector.matchers)
        )  # fmt: skip


def columns(page: Page, ends: Ints, span: Millis) -> tuple[Ints, Ints]:
    """First column of the windows ``(end - span, end]``, and the one after the last."""
    return page.t.searchsorted(ends - span, "right"), page.t.searchsorted(ends, "right")


def instant(run: Run, selector: Selector) -> tuple[Vector, Floats]:
    """The vector of an instant selector, names kept, and the sample time of each value: [keys or 1, times] ms."""
    picked = run.select(selector)
    parts = [_instant(run, one, selector) for one in picked]
    if len(parts) == 1:
        v, there, at = parts[0]
        return Vector(picked[0].keys, v, there), at.astype(np.float64)
    plan = selector.memo_keys.of(picked, None, lambda: _join([one.keys for one in picked]))
    v, there = _stack([part[0] for part in parts], run, np.float64), _stack([part[1] for part in parts], run, np.bool_)
    times = [np.broadcast_to(part[2], part[0].shape) for part in parts]
    return merge(plan, v, there), merge(plan, _stack(times, run, np.float64), there).v


def _instant(run: Run, picked: Picked, selector: Selector) -> tuple[Floats, Bools, Ints]:
    page, rows = picked.page, picked.rows
    run.covers(picked, selector, 0)
    first, last = run.bounds(page, selector, LOOKBACK)
    live = last > first
    if not live.any():
        shape = (len(picked.keys), run.times.size)
        return np.full(shape, np.nan), np.zeros(shape, np.bool_), np.zeros((1, run.times.size), np.int64)
    column = np.maximum(last - 1, 0)
    cells = _cells(page, rows, column)
    at = page.t[column][None, :]
    there = np.repeat(live[None, :], len(cells), axis=0)
    earliest = first.min()
    if earliest < page.t.size and page.gap_max < page.t[earliest]:
        newest = at[0] if live.all() else np.where(live, at[0], NONE)
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


def ranged(run: Run, node: RangeCall, selector: Selector, kernel: Kernel, args: Sequence[Scalar] = (), *,
           named: bool = False) -> Vector:  # fmt: skip
    """`kernel` over the window of each series at each time. `named`: the function keeps the metric's name."""
    picked = run.select(selector)
    parts = []
    for one in picked:
        run.covers(one, selector, node.span)
        bounds = run.bounds(one.page, selector, node.span)
        v, there, newest = over(one.page, one.rows, bounds, run, run.ends(selector), node.span, kernel, args)
        run.saw(newest, selector)
        parts.append((v, there))
    plan = node.memo.of(picked, named, lambda: _join([one.keys if named else one.bare for one in picked]))
    if len(parts) == 1:
        return merge(plan, *parts[0])
    return merge(plan, _stack([part[0] for part in parts], run, np.float64),
                 _stack([part[1] for part in parts], run, np.bool_))  # fmt: skip


def over(
    page: Page, rows: Rows, bounds: tuple[Ints, Ints], run: Run, ends: Ints, span: Millis, kernel: Kernel,
    args: Sequence[Scalar],
) -> tuple[Floats, Bools, Ints]:  # fmt: skip
    """`kernel` over these columns of some rows: values and whether there are any, [rows, times]; newest time [times]."""
    count = len(range(*rows.indices(page.v.shape[0]))) if isinstance(rows, slice) else len(rows)
    values = np.full((count, run.times.size), np.nan)
    there = np.zeros(values.shape, np.bool_)
    newest = np.full(run.times.size, NONE, np.int64)
    firsts, lasts = bounds
    for i in range(run.times.size):
        first, last = firsts[i], lasts[i]
        if first >= last:
            continue
        end, asked = int(ends[i]), int(run.times[i])
        given = [arg[i] for arg in args]
        t = page.t[first:last]
        v = page.v[rows, first:last] if isinstance(rows, slice) else page.v[:, first:last].take(rows, axis=0)
        if page.gap_max < t[0] or page.gap[rows].max() < t[0]:
            got = kernel(Window(t, v, end - span, end, asked), *given)
            newest[i] = t[-1]
            if got is not None:
                values[:, i], there[:, i] = got, True
            continue
        held = ~missing(v)
        counts = held.sum(axis=1)
        if counts.any():
            newest[i] = t[np.flatnonzero(held.any(axis=0))[-1]]
        whole = np.flatnonzero(counts == last - first)
        if whole.size:
            got = kernel(Window(t, v[whole], end - span, end, asked), *given)
            if got is not None:
                values[whole, i], there[whole, i] = got, True
        for row in np.flatnonzero((counts > 0) & (counts < last - first)):
            mine = held[row]
            got = kernel(Window(t[mine], v[row, mine][None, :], end - span, end, asked), *given)
            if got is not None:
                values[row, i], there[row, i] = got[0], True
    return values, there, newest


def _join(keys: Sequence[Keys]) -> Merge:
    return merge_plan(tuple(key for part in keys for key in part))


def _stack(parts: Sequence[np.ndarray], run: Run, kind: type) -> np.ndarray:
    return np.concatenate(parts, dtype=kind) if parts else np.zeros((0, run.times.size), kind)
