"""Reading samples: which cells an expression sees at each time, how fresh they are, and how much of a window is covered.

Windows are open on the left, as in Prometheus 3: a range reads ``(t - range, t]``, an instant selector the newest
sample in ``(t - 5 min, t]``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from watchdog.model import Millis
from watchdog.promql.nodes import LOOKBACK, Memo, Selector
from watchdog.promql.pages import ABSENT_BITS, NEVER, Bools, Floats, Ints, Page, Picked, Rows, Series, missing
from watchdog.promql.vectors import Keys, Merge, Vector, merge, merge_plan

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


Kernel = Callable[[Window], Floats | None]
"""[rows] from one window; None when there are too few samples to say anything."""


class Run:
    """One evaluation: what is read, and what was noticed while reading."""

    def __init__(self, series: Series, times: Ints, since: Millis | None) -> None:
        self.series = series
        self.times = times
        self.since = NEVER if since is None else since
        self.newest = np.full(times.size, NONE, np.int64)
        """Oldest of the newest sample times so far, `NONE` where nothing was read."""
        self.have: Ints = np.zeros(times.size, np.int64)
        self.need: Ints | None = None
        """None until a range has been read."""
        self._bounds: dict[tuple[int, Millis, Millis], tuple[Ints, Ints]] = {}

    def bounds(self, page: Page, offset: Millis, span: Millis) -> tuple[Ints, Ints]:
        """First column of the window at each time, and the one after the last. Empty where first >= last."""
        known = self._bounds.get((id(page), offset, span))
        if known is None:
            at = self.times - offset if offset else self.times
            first = page.t.searchsorted(at - span, "right")
            if self.since != NEVER:
                first = np.maximum(first, page.t.searchsorted(self.since, "right"))
            known = self._bounds[id(page), offset, span] = (first, page.t.searchsorted(at, "right"))
        return known

    def saw(self, newest: Ints) -> None:
        """Newest sample time that one selector read from one page, per time; `NONE` for none."""
        np.minimum(self.newest, newest, out=self.newest)

    def covers(self, picked: Picked, offset: Millis, span: Millis) -> None:
        """Notes the coverage of one window; the one with the least share of it covered is reported."""
        begin = max(picked.begin, picked.page.trimmed, self.since)
        have = np.minimum(np.maximum(self.times - (offset + begin), 0), span)
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


def instant(run: Run, selector: Selector) -> tuple[Vector, Floats]:
    """The vector of an instant selector, names kept, and the sample time of each value: [keys or 1, times] ms."""
    picked = run.select(selector)
    parts = [_instant(run, one, selector.offset) for one in picked]
    if len(parts) == 1:
        v, there, at = parts[0]
        return Vector(picked[0].keys, v, there), at.astype(np.float64)
    plan = selector.memo_keys.of(picked, None, lambda: _join([one.keys for one in picked]))
    v, there = _stack([part[0] for part in parts], run, np.float64), _stack([part[1] for part in parts], run, np.bool_)
    times = [np.broadcast_to(part[2], part[0].shape) for part in parts]
    return merge(plan, v, there), merge(plan, _stack(times, run, np.float64), there).v


def _instant(run: Run, picked: Picked, offset: Millis) -> tuple[Floats, Bools, Ints]:
    page, rows = picked.page, picked.rows
    first, last = run.bounds(page, offset, LOOKBACK)
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
    run.saw(newest + offset if offset else newest)
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


def ranged(run: Run, selector: Selector, span: Millis, kernel: Kernel, memo: Memo, *, named: bool = False) -> Vector:
    """`kernel` over the window of each series at each time. `named`: the function keeps the metric's name."""
    picked = run.select(selector)
    parts = []
    for one in picked:
        run.covers(one, selector.offset, span)
        parts.append(_ranged(run, one, selector.offset, span, kernel))
    plan = memo.of(picked, named, lambda: _join([one.keys if named else one.bare for one in picked]))
    if len(parts) == 1:
        return merge(plan, *parts[0])
    return merge(plan, _stack([part[0] for part in parts], run, np.float64),
                 _stack([part[1] for part in parts], run, np.bool_))  # fmt: skip


def _ranged(run: Run, picked: Picked, offset: Millis, span: Millis, kernel: Kernel) -> tuple[Floats, Bools]:
    page, rows, count = picked.page, picked.rows, len(picked.keys)
    values = np.full((count, run.times.size), np.nan)
    there = np.zeros(values.shape, np.bool_)
    newest = np.full(run.times.size, NONE, np.int64)
    firsts, lasts = run.bounds(page, offset, span)
    for i in range(run.times.size):
        first, last = firsts[i], lasts[i]
        if first >= last:
            continue
        end = int(run.times[i]) - offset
        t = page.t[first:last]
        v = page.v[rows, first:last] if isinstance(rows, slice) else page.v[:, first:last].take(rows, axis=0)
        if page.gap_max < t[0] or page.gap[rows].max() < t[0]:
            got = kernel(Window(t, v, end - span, end))
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
            got = kernel(Window(t, v[whole], end - span, end))
            if got is not None:
                values[whole, i], there[whole, i] = got, True
        for row in np.flatnonzero((counts > 0) & (counts < last - first)):
            mine = held[row]
            got = kernel(Window(t[mine], v[row, mine][None, :], end - span, end))
            if got is not None:
                values[row, i], there[row, i] = got[0], True
    run.saw(newest + offset if offset else newest)
    return values, there


def _join(keys: Sequence[Keys]) -> Merge:
    return merge_plan(tuple(key for part in keys for key in part))


def _stack(parts: Sequence[np.ndarray], run: Run, kind: type) -> np.ndarray:
    return np.concatenate(parts, dtype=kind) if parts else np.zeros((0, run.times.size), kind)
