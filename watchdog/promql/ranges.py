"""Range functions over the pages: a row for all times, or a time for all rows, whichever is less work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from watchdog.model import Millis
from watchdog.promql.columns import SEVERAL, Bounds, newest_of, sliding
from watchdog.promql.functions import MANY, TWO
from watchdog.promql.nodes import RangeCall, Selector
from watchdog.promql.pages import NEVER, Bools, Floats, Ints, Page, Rows, missing
from watchdog.promql.selectors import NONE, Run, join, stack
from watchdog.promql.vectors import Scalar, Vector, merge
from watchdog.promql.windows import Kernel, Many, Window, Windows, array


def ranged(
    run: Run, node: RangeCall, selector: Selector, kernel: Kernel, args: Sequence[Scalar] = (), *, named: bool = False
) -> Vector:
    """`kernel` over the window of each series at each time. `named`: the function keeps the metric's name."""
    picked = run.select(selector)
    parts = []
    for one in picked:
        run.covers(one, selector, node.span)
        bounds = run.bounds(one.page, selector, node.span)
        v, there, newest = over(one.page, one.rows, bounds, run, run.ends(selector), node.span, kernel, args)
        alike = bounds.age is not None and newest is newest_of(one.page, run.ends(selector), bounds.lasts)
        run.saw(newest, selector, age=bounds.age if alike else None)
        parts.append((v, there))
    plan = node.memo.of(picked, named, lambda: join([one.keys if named else one.bare for one in picked]))
    if len(parts) == 1:
        return merge(plan, *parts[0])
    return merge(
        plan, stack([part[0] for part in parts], run, np.float64), stack([part[1] for part in parts], run, np.bool_)
    )


def over(
    page: Page, rows: Rows, bounds: Bounds, run: Run, ends: Ints, span: Millis, kernel: Kernel, args: Sequence[Scalar]
) -> tuple[Floats, Bools, Ints]:
    """`kernel` over these columns of some rows: values and whether there are any, [rows, times]; newest time [times]."""
    lines = np.arange(page.v.shape[0])[rows]
    many = MANY.get(kernel) if run.times.size >= SEVERAL else None
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
    empty = not isinstance(bounds.firsts, range) and bool((array(bounds.lasts) <= bounds.firsts).any())
    low, high = int(np.min(bounds.firsts[0])), int(bounds.lasts[-1])
    if not isinstance(bounds.firsts, range):
        low, high = int(bounds.firsts.min()), int(array(bounds.lasts).max())
    gappy = low < page.t.size and page.gap_max >= page.t[low]
    for i, line in enumerate(lines.tolist()):
        mine, t, v = bounds, page.t, page.v[line]
        if gappy and np.isnan(np.minimum.reduce(v[low:high], initial=np.inf)) and (gaps := missing(v[low:high])).any():
            held = ~gaps
            place = np.zeros(held.size + 1, np.int64)
            np.cumsum(held, out=place[1:])
            firsts, lasts = (place[np.clip(array(x), low, high) - low] for x in (bounds.firsts, bounds.lasts))
            mine, t, v = Bounds(firsts, lasts, *sliding(firsts, lasts)), t[low:high][held], v[low:high][held]
        if mine is not bounds or not known:  # said once for all rows without a gap
            known = known or mine is bounds
            seen = _newest(t, mine) if mine is not bounds or empty else newest_of(page, asked.ends, mine.lasts)
            newest = seen if newest is None else np.maximum(newest, seen)
        if lines.size == 1 and isinstance(mine.firsts, range) and mine.lasts[0] - mine.firsts[0] >= asked.least:
            windows = Windows(t, v, mine.firsts, mine.lasts, asked.ends, asked.times, asked.span, even=mine.even)
            got = asked.many(windows, *asked.args)
            values = (got if got.flags.owndata and got.flags.writeable else got.copy())[None, :]
            there = np.ones(values.shape, np.bool_)
            continue
        _fill(values[i], there[i], t, v, mine, asked)
    if newest is None:
        newest = np.full(size, NEVER, np.int64)
    if (empty or not known) and newest.min() == NEVER:
        newest = np.where(newest == NEVER, NONE, newest)
    return values, there, newest


def _newest(t: Ints, bounds: Bounds) -> Ints:
    """Newest sample of each window; `NEVER` where there is none."""
    told = array(bounds.lasts) > array(bounds.firsts)
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
        if told.all():
            values[some] = many(Windows(t, v, from_here, until_here, ends[some], times[some], span), *args)
            continue
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
