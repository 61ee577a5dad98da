"""Reading samples: which cells an expression sees at each time, how fresh they are, and how much of a window is covered.

Windows are open on the left, as in Prometheus 3: a range reads ``(t - range, t]``, an instant selector the newest
sample in ``(t - 5 min, t]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from watchdog.model import Millis
from watchdog.promql.functions import MANY, TWO
from watchdog.promql.nodes import LOOKBACK, At, RangeCall, Selector, Subquery
from watchdog.promql.pages import ABSENT_BITS, NEVER, Bools, Floats, Ints, Page, Picked, Rows, Series, missing
from watchdog.promql.vectors import Keys, Merge, Scalar, Vector, merge, merge_plan
from watchdog.promql.windows import Kernel, Many, Window, Windows

__all__ = ["NONE", "Bounds", "Kernel", "Run", "Window", "columns", "instant", "over", "ranged"]

SPARE = 20
"""A window may miss so many parts of a whole (5 %) while nobody watched, and still counts as covered."""
NONE = -NEVER
"""Newer than every sample: the neutral element of "the oldest of"."""


class Bounds(NamedTuple):
    """Which columns of a page each window holds: those from `firsts` until before `lasts`. Empty where first >= last."""

    firsts: Ints
    """[times]"""
    lasts: Ints
    """[times]"""
    body: slice = slice(0, 0)
    """Of these times the windows slide: each begins and ends `step` columns after the one before."""
    step: int = 0
    even: bool = False
    """The columns of the body lie at equal distances, and its windows' ends with them."""


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
        self._bounds: dict[tuple[int, Millis, At, Millis], Bounds] = {}

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

    def bounds(self, page: Page, selector: Selector, span: Millis) -> Bounds:
        key = (id(page), selector.offset, selector.at, span)
        if (known := self._bounds.get(key)) is None:
            known = self._bounds[key] = columns(page, self.ends(selector), span, self.since)
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
        downs = picked.page.unwatched
        missed = downs.size and ends.size and int(downs[-1, 1]) > int(ends.min()) - span
        if ends.size and int(ends.min()) - begin >= span and not missed:  # the usual case: all of it, at all times
            self._top._worst(np.broadcast_to(np.int64(span), ends.shape), span)
            return
        have = np.minimum(np.maximum(ends - begin, 0), span)
        if missed:
            lost = _missed(downs, np.maximum(ends - span, begin), ends)
            have = have - np.where(lost * SPARE > span, lost, 0)
        self._top._worst(have, span)

    def _reach(self, node: Selector | Subquery, span: Millis) -> tuple[Ints, Millis]:
        if node.at is None:
            return self._ends - node.offset, self._span + span
        if node.at == "query":
            return self._top.times - node.offset, span
        return np.full_like(self._top.times, node.at - node.offset), span

    def _worst(self, have: Ints, span: Millis) -> None:
        if self.need is None:
            self.have, self.need = have, np.broadcast_to(np.int64(span), have.shape)
            return
        share, before = have / span, self.have / self.need
        worse = (share < before) | ((share == before) & (span > self.need))
        self.have, self.need = np.where(worse, have, self.have), np.where(worse, span, self.need)

    def select(self, selector: Selector) -> Sequence[Picked]:
        return selector.memo.of(
            self.series.generation, None, lambda: self.series.select(selector.name, selector.matchers)
        )  # fmt: skip


def _missed(downs: Ints, starts: Ints, ends: Ints) -> Ints:
    """[times] ms from `starts` to `ends` in which nobody watched."""
    until = np.zeros(downs.size)  # how much was missed until each down and each back
    until[1::2] = np.cumsum(downs[:, 1] - downs[:, 0])
    until[2::2] = until[1:-1:2]
    missed = np.interp(ends, downs.ravel(), until) - np.interp(starts, downs.ravel(), until)
    return np.maximum(np.rint(missed).astype(np.int64), 0)


def columns(page: Page, ends: Ints, span: Millis, since: Millis = NEVER) -> Bounds:
    """The windows ``(end - span, end]``, as if nothing up to `since` were there."""
    t = page.t
    if ends.size < _SEVERAL:
        firsts, lasts = t.searchsorted(ends - span, "right"), t.searchsorted(ends, "right")
        return Bounds(firsts if since == NEVER else np.maximum(firsts, t.searchsorted(since, "right")), lasts)
    low, high = int(ends.min()), int(ends.max())
    start, stop = int(t.searchsorted(max(low - span, since), "right")), int(t.searchsorted(high, "right"))
    near = t[start:stop]
    apart, pace = spacing(near), spacing(ends)
    if apart and pace and pace % apart == 0:
        step = pace // apart
        first, last = ((int(ends[0]) - back - int(near[0])) // apart + 1 for back in (span, 0))
        steps = np.arange(ends.size, dtype=np.int64) * step
        firsts, lasts = np.clip(steps + first, 0, near.size), np.clip(steps + last, 0, near.size)
        from_, until = max(0, -(first // step)), min(ends.size, (near.size - last) // step + 1)
        body = slice(from_, max(from_, until)) if last > first else slice(0, 0)
        return Bounds(firsts + start, lasts + start, body, step, True)
    firsts, lasts = near.searchsorted(ends - span, "right"), near.searchsorted(ends, "right")
    return Bounds(firsts + start, lasts + start, *_sliding(firsts, lasts))


def spacing(t: Ints) -> Millis:
    """The distance between any two neighbours, when it is always the same; else 0."""
    if t.size < 2:
        return 0
    apart = int(t[1] - t[0])
    if apart <= 0 or int(t[-1] - t[0]) != apart * (t.size - 1) or (t[1:] - t[:-1] != apart).any():
        return 0
    return apart


def _sliding(firsts: Ints, lasts: Ints) -> tuple[slice, int]:
    """The longest stretch in which windows move on by the same number of columns."""
    moved, ended = np.diff(firsts), np.diff(lasts)
    step = int(moved[moved.size // 2])
    if step < 1:
        return slice(0, 0), 0
    breaks = np.flatnonzero((moved != step) | (ended != step))
    edges = np.concatenate(([-1], breaks, [moved.size]))
    longest = int(np.argmax(np.diff(edges)))
    body = slice(int(edges[longest]) + 1, int(edges[longest + 1]) + 1)
    return (body, step) if body.stop - body.start >= _SEVERAL and lasts[body.start] > firsts[body.start] else (slice(0, 0), 0)


_SEVERAL = 16
"""So many times are worth more than a look at each."""


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
    bounds = run.bounds(page, selector, LOOKBACK)
    first, last = bounds.firsts, bounds.lasts
    live = last > first
    if not live.any():
        shape = (len(picked.keys), run.times.size)
        return np.full(shape, np.nan), np.zeros(shape, np.bool_), np.zeros((1, run.times.size), np.int64)
    column = np.maximum(last - 1, 0)
    cells = _cells(page, rows, column, bounds)
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


def _cells(page: Page, rows: Rows, column: Ints, bounds: Bounds) -> Floats:
    """The cells of these rows and columns, as a copy. [rows, times]"""
    if column.size == 1:
        return page.v[rows, int(column[0])].copy()[:, None]
    if bounds.body == slice(0, column.size):
        return page.v[:, int(column[0]) : int(column[-1]) + 1 : bounds.step][rows].copy()
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
    page: Page, rows: Rows, bounds: Bounds, run: Run, ends: Ints, span: Millis, kernel: Kernel, args: Sequence[Scalar]
) -> tuple[Floats, Bools, Ints]:
    """`kernel` over these columns of some rows: values and whether there are any, [rows, times]; newest time [times]."""
    lines = np.arange(page.v.shape[0])[rows]
    many = MANY.get(kernel) if run.times.size >= _SEVERAL else None
    if many is not None and all(same_bits(arg) for arg in args):
        held = int((bounds.lasts - bounds.firsts).max())
        # Rough costs in µs: a row for all times, or a time for all rows. What is said is the same.
        if 150 * lines.size < run.times.size * (25 + 0.003 * lines.size * held):
            given = [float(arg[0]) for arg in args]
            return _row_by_row(page, lines, bounds, run, ends, span, many, given, 2 if kernel in TWO else 1)
    return _time_by_time(page, rows, bounds, run, ends, span, kernel, args)


def same_bits(arg: Scalar) -> bool:
    return bool((arg.view(np.int64) == arg.view(np.int64)[0]).all())


def _row_by_row(
    page: Page, lines: npt.NDArray[np.intp], bounds: Bounds, run: Run, ends: Ints, span: Millis, many: Many,
    args: Sequence[float], least: int,
) -> tuple[Floats, Bools, Ints]:  # fmt: skip
    size = run.times.size
    values, there = np.full((lines.size, size), np.nan), np.zeros((lines.size, size), np.bool_)
    newest = np.full(size, NEVER, np.int64)
    low, high = int(bounds.firsts.min()), int(bounds.lasts.max())
    known = False
    for i, line in enumerate(lines.tolist()):
        mine, t, v = bounds, page.t, page.v[line]
        if np.isnan(np.minimum.reduce(v[low:high], initial=np.inf)) and (gaps := missing(v[low:high])).any():
            held = ~gaps
            place = np.zeros(held.size + 1, np.int64)
            np.cumsum(held, out=place[1:])
            firsts, lasts = (place[np.clip(x, low, high) - low] for x in (bounds.firsts, bounds.lasts))
            mine, t, v = Bounds(firsts, lasts, *_sliding(firsts, lasts)), t[low:high][held], v[low:high][held]
        told = mine.lasts > mine.firsts
        if mine is not bounds or not known:  # said once for all rows without a gap
            known = known or mine is bounds
            newest[told] = np.maximum(newest[told], t[mine.lasts[told] - 1])
        there[i] = told if least == 1 else mine.lasts - mine.firsts >= least
        _fill(values[i], there[i], t, v, mine, run, ends, span, many, args)
    newest[newest == NEVER] = NONE
    return values, there, newest


def _fill(
    values: Floats, there: Bools, t: Ints, v: Floats, bounds: Bounds, run: Run, ends: Ints, span: Millis, many: Many,
    args: Sequence[float],
) -> None:  # fmt: skip
    """One row: the stretch in which windows slide, and what is before and after it."""
    firsts, lasts, body = bounds.firsts, bounds.lasts, bounds.body
    slides = body.stop > body.start and there[body.start]
    if slides:
        windows = Windows(t, v, firsts[body], lasts[body], ends[body], run.times[body], span,
                          step=bounds.step, even=bounds.even)  # fmt: skip
        values[body] = many(windows, *args)
    apart = [slice(0, body.start), slice(body.stop, there.size)] if slides else [slice(0, there.size)]
    for some in apart:
        which = np.flatnonzero(there[some]) + some.start
        if which.size:
            windows = Windows(t, v, firsts[which], lasts[which], ends[which], run.times[which], span)
            values[which] = many(windows, *args)


def _time_by_time(
    page: Page, rows: Rows, bounds: Bounds, run: Run, ends: Ints, span: Millis, kernel: Kernel, args: Sequence[Scalar]
) -> tuple[Floats, Bools, Ints]:
    count = len(range(*rows.indices(page.v.shape[0]))) if isinstance(rows, slice) else len(rows)
    values = np.full((count, run.times.size), np.nan)
    there = np.zeros(values.shape, np.bool_)
    newest = np.full(run.times.size, NONE, np.int64)
    firsts, lasts = bounds.firsts, bounds.lasts
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
