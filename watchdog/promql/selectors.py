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
from watchdog.promql.windows import Columns, Kernel, Many, Window, Windows, array

__all__ = ["NONE", "Bounds", "Kernel", "Run", "Window", "columns", "instant", "over", "ranged"]

SPARE = 20
"""A window may miss so many parts of a whole (5 %) while nobody watched, and still counts as covered."""
NONE = -NEVER
"""Newer than every sample: the neutral element of "the oldest of"."""


class Bounds(NamedTuple):
    """Which columns of a page each window holds: those from `firsts` until before `lasts`. Empty where first >= last.

    Ranges: all of the windows slide, and none is empty.
    """

    firsts: Columns
    """[times]"""
    lasts: Columns
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
        self._newest: Ints | None = None
        self.have: Ints = np.zeros(times.size, np.int64)
        self.need: Ints | None = None
        """None until a range has been read."""
        self._top = self
        self._ends, self._span = times, 0  # per time of the outermost: until when this run reads, and how far back from there
        self._bounds: dict[tuple[int, Millis, At, Millis], Bounds] = {}

    @property
    def newest(self) -> Ints:
        """Oldest of the newest sample times so far, `NONE` where nothing was read."""
        if self._newest is None:
            self._newest = np.full(self.times.size, NONE, np.int64)
        return self._newest

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
        if self._newest is None:
            self._newest = newest.copy()
        else:
            np.minimum(self._newest, newest, out=self._newest)

    def covers(self, picked: Picked, selector: Selector, span: Millis) -> None:
        """Notes the coverage of one window; the one with the least share of it covered is reported."""
        ends, span = self._reach(selector, span)
        if not span:
            return
        begin = max(picked.begin, picked.page.trimmed, self.since)
        downs = picked.page.unwatched
        missed = downs.size and ends.size and int(downs[-1, 1]) > int(ends.min()) - span
        if ends.size and int(ends.min()) - begin >= span and not missed:  # the usual case: all of it, at all times
            self._top._worst(_always(span, ends.size), span)
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
            self.have, self.need = have, _always(span, have.size)
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


def _always(value: Millis, size: int) -> Ints:
    """One number, so many times, in the space of one."""
    many = np.ndarray((size,), np.int64, np.array(value, np.int64), strides=(0,))
    many.flags.writeable = False
    return many


def columns(page: Page, ends: Ints, span: Millis, since: Millis = NEVER) -> Bounds:
    """The windows ``(end - span, end]``, as if nothing up to `since` were there."""
    t = page.t
    if ends.size < _SEVERAL:
        firsts, lasts = t.searchsorted(ends - span, "right"), t.searchsorted(ends, "right")
        return Bounds(firsts if since == NEVER else np.maximum(firsts, t.searchsorted(since, "right")), lasts)
    low, high = int(ends.min()), int(ends.max())
    start, stop = int(t.searchsorted(max(low - span, since), "right")), int(t.searchsorted(high, "right"))
    near = t[start:stop]
    pace = spacing(ends)
    apart = pace and stop - start > 1 and _paced(page, start, stop)
    if apart and pace % apart == 0:
        step = pace // apart
        first, last = ((int(ends[0]) - back - int(near[0])) // apart + 1 for back in (span, 0))
        moves = step * (ends.size - 1)
        if first >= 0 and last > first and last + moves <= near.size:
            froms, untils = (range(start + at, start + at + moves + 1, step) for at in (first, last))
            return Bounds(froms, untils, slice(0, ends.size), step, True)
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


def _paced(page: Page, start: int, stop: int) -> Millis:
    """`spacing` of these columns; what was found out of them before is remembered."""
    known = page.paced
    if known is not None and known[0] is page.t and known[1] <= start <= known[2] - 2:
        from_, until, apart = known[1:]
        if stop <= until:
            return apart
        if spacing(page.t[until - 1 : stop]) == apart:
            page.paced = page.t, from_, stop, apart
            return apart
        return 0
    apart = spacing(page.t[start:stop])
    if apart:
        page.paced = page.t, start, stop, apart
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
    if isinstance(bounds.lasts, range):
        freshest = slice(bounds.lasts.start - 1, bounds.lasts.stop - 1, bounds.step)
        cells, at = page.v[:, freshest][rows].copy(), page.t[freshest]
        if not np.isnan(np.minimum.reduce(cells, axis=None, initial=np.inf)):  # neither gaps nor NaN
            run.saw(at, selector)
            return cells, np.ones(cells.shape, np.bool_), at[None, :]
    first, last = array(bounds.firsts), array(bounds.lasts)
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
    page: Page, rows: Rows, bounds: Bounds, run: Run, ends: Ints, span: Millis, kernel: Kernel, args: Sequence[Scalar]
) -> tuple[Floats, Bools, Ints]:
    """`kernel` over these columns of some rows: values and whether there are any, [rows, times]; newest time [times]."""
    lines = np.arange(page.v.shape[0])[rows]
    many = MANY.get(kernel) if run.times.size >= _SEVERAL else None
    if many is not None and all(_constant(arg) for arg in args):
        held = int(bounds.lasts[-1] - bounds.firsts[-1])
        # Rough costs in µs: a row for all times, or a time for all rows. What is said is the same.
        if 150 * lines.size < run.times.size * (25 + 0.003 * lines.size * held):
            asked = _Asked(ends, run.times, span, many, [float(arg[0]) for arg in args], 2 if kernel in TWO else 1)
            return _row_by_row(page, lines, bounds, asked)
    return _time_by_time(page, rows, bounds, run, ends, span, kernel, args)


def _constant(arg: Scalar) -> bool:
    bits = arg.view(np.int64)
    return bool((bits == bits[0]).all())


class _Asked(NamedTuple):
    """What is asked of each row."""

    ends: Ints
    times: Ints
    span: Millis
    many: Many
    args: Sequence[float]
    least: int
    """Samples without which nothing is said."""


def _row_by_row(page: Page, lines: npt.NDArray[np.intp], bounds: Bounds, asked: _Asked) -> tuple[Floats, Bools, Ints]:
    size = asked.times.size
    values, there = np.empty((lines.size, size)), np.empty((lines.size, size), np.bool_)
    newest: Ints | None = None
    known = False
    low, high = int(np.min(bounds.firsts[0])), int(bounds.lasts[-1])
    if not isinstance(bounds.firsts, range):
        low, high = int(bounds.firsts.min()), int(array(bounds.lasts).max())
    for i, line in enumerate(lines.tolist()):
        mine, t, v = bounds, page.t, page.v[line]
        if np.isnan(np.minimum.reduce(v[low:high], initial=np.inf)) and (gaps := missing(v[low:high])).any():
            held = ~gaps
            place = np.zeros(held.size + 1, np.int64)
            np.cumsum(held, out=place[1:])
            firsts, lasts = (place[np.clip(array(x), low, high) - low] for x in (bounds.firsts, bounds.lasts))
            mine, t, v = Bounds(firsts, lasts, *_sliding(firsts, lasts)), t[low:high][held], v[low:high][held]
        if mine is not bounds or not known:  # said once for all rows without a gap
            known = known or mine is bounds
            seen = _newest(t, mine)
            newest = seen if newest is None else np.maximum(newest, seen)
        _fill(values[i], there[i], t, v, mine, asked)
    if newest is None:
        newest = np.full(size, NEVER, np.int64)
    return values, there, np.where(newest == NEVER, NONE, newest) if newest[0] == NEVER or newest.min() == NEVER else newest


def _newest(t: Ints, bounds: Bounds) -> Ints:
    """Newest sample of each window; `NEVER` where there is none."""
    if isinstance(bounds.lasts, range):
        return t[bounds.lasts.start - 1 : bounds.lasts.stop - 1 : bounds.step]
    told = bounds.lasts > array(bounds.firsts)
    newest = np.full(told.size, NEVER, np.int64)
    newest[told] = t[bounds.lasts[told] - 1]
    return newest


def _fill(values: Floats, there: Bools, t: Ints, v: Floats, bounds: Bounds, asked: _Asked) -> None:
    """One row: the stretch in which windows slide, and what is before and after it."""
    firsts, lasts, body, step = bounds.firsts, bounds.lasts, bounds.body, bounds.step
    ends, times, span, many, args, least = asked
    slides = body.stop > body.start and int(lasts[body.start] - firsts[body.start]) >= least
    if slides:
        there[body] = True
        moves = step * (body.stop - body.start - 1) + 1
        from_, until = (range(int(x[body.start]), int(x[body.start]) + moves, step) for x in (firsts, lasts))
        values[body] = many(Windows(t, v, from_, until, ends[body], times[body], span, even=bounds.even), *args)
    for some in [slice(0, body.start), slice(body.stop, there.size)] if slides else [slice(0, there.size)]:
        if some.start == some.stop:
            continue
        from_here, until_here = array(firsts[some]), array(lasts[some])
        there[some] = told = until_here - from_here >= least
        which = np.flatnonzero(told)
        values[some] = np.nan
        if which.size:
            windows = Windows(t, v, from_here[which], until_here[which], ends[some][which], times[some][which], span)
            values[some.start + which] = many(windows, *args)


def _time_by_time(
    page: Page, rows: Rows, bounds: Bounds, run: Run, ends: Ints, span: Millis, kernel: Kernel, args: Sequence[Scalar]
) -> tuple[Floats, Bools, Ints]:
    count = len(range(*rows.indices(page.v.shape[0]))) if isinstance(rows, slice) else len(rows)
    values = np.full((count, run.times.size), np.nan)
    there = np.zeros(values.shape, np.bool_)
    newest = np.full(run.times.size, NONE, np.int64)
    firsts, lasts = array(bounds.firsts), array(bounds.lasts)
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
