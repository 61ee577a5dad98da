"""Range functions over the pages: a row for all times, or a time for all rows, whichever is less work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from watchdog.core.model import Millis
from watchdog.promql.eval.context import NO_SAMPLE, EvaluationContext, NewestRead
from watchdog.promql.eval.selectors import plan_union, stack_rows
from watchdog.promql.eval.vectors import Scalar, Vector, merge_series
from watchdog.promql.eval.window_columns import (
    MIN_VECTORIZED_TIMES,
    WindowColumns,
    find_sliding_slice,
    newest_sample_times,
)
from watchdog.promql.functions.function import RangeFunction
from watchdog.promql.functions.windows import BatchKernel, RangeKernel, Window, WindowBatch, to_array
from watchdog.promql.parse.nodes import RangeFunctionCall, VectorSelector
from watchdog.tsdb.page import TIME_MIN, Bools, Floats, Ints, Rows, SeriesPage, is_missing


def evaluate_range_call(
    run: EvaluationContext,
    node: RangeFunctionCall,
    selector: VectorSelector,
    function: RangeFunction,
    args: Sequence[Scalar] = (),
    *,
    named: bool = False,
) -> Vector:
    """A function over the window of each series at each time. `named`: the function keeps the metric's name."""
    picked = run.select_pages(selector)
    parts, read = [], []
    for one in picked:
        run.note_coverage(one, selector, node.span)
        bounds = run.window_columns(one.page, selector, node.span)
        v, there, newest = apply_kernel(
            one.page, one.rows, bounds, run, run.window_ends(selector), node.span, function, args
        )
        alike = bounds.newest_age is not None and newest is newest_sample_times(
            one.page, run.window_ends(selector), bounds.lasts
        )
        read.append(NewestRead(one.page, newest, bounds.newest_age if alike else None))
        parts.append((v, there))
    run.note_newest_of(read, selector)
    plan = node.plan_cache.get(
        picked, named, lambda: plan_union([one.keys if named else one.keys_without_name for one in picked])
    )
    if len(parts) == 1:
        return merge_series(plan, *parts[0])
    return merge_series(
        plan,
        stack_rows([part[0] for part in parts], run, np.float64),
        stack_rows([part[1] for part in parts], run, np.bool_),
    )


def apply_kernel(
    page: SeriesPage,
    rows: Rows,
    bounds: WindowColumns,
    run: EvaluationContext,
    ends: Ints,
    span: Millis,
    function: RangeFunction,
    args: Sequence[Scalar],
) -> tuple[Floats, Bools, Ints]:
    """A function over these columns of some rows: values and whether there are any, [rows, times]; newest time [times]."""
    lines = np.arange(page.v.shape[0])[rows]
    many = function.batch_kernel if run.times.size >= MIN_VECTORIZED_TIMES else None
    if many is not None and all(_is_constant(arg) for arg in args):
        held = int(bounds.lasts[-1] - bounds.firsts[-1])
        # Rough costs in µs: a row for all times, or a time for all rows. What is said is the same.
        if 150 * lines.size < run.times.size * (25 + 0.003 * lines.size * held):
            asked = _RowRequest(ends, run.times, span, many, [float(arg[0]) for arg in args], function.min_samples)
            return _evaluate_by_row(page, lines, bounds, asked)
    return _evaluate_by_time(page, rows, bounds, run, ends, span, function.kernel, args)


def _is_constant(arg: Scalar) -> bool:
    bits = arg.view(np.int64)
    return bool((bits == bits[0]).all())


class _RowRequest(NamedTuple):
    """What is asked of each row."""

    ends: Ints
    times: Ints
    span: Millis
    batch_kernel: BatchKernel
    args: Sequence[float]
    min_samples: int
    """Samples without which nothing is said."""


def _evaluate_by_row(
    page: SeriesPage, lines: npt.NDArray[np.intp], bounds: WindowColumns, asked: _RowRequest
) -> tuple[Floats, Bools, Ints]:
    size = asked.times.size
    values, there = np.empty((lines.size, size)), np.empty((lines.size, size), np.bool_)
    newest: Ints | None = None
    known = False
    empty = not isinstance(bounds.firsts, range) and bool((to_array(bounds.lasts) <= bounds.firsts).any())
    low, high = int(np.min(bounds.firsts[0])), int(bounds.lasts[-1])
    if not isinstance(bounds.firsts, range):
        low, high = int(bounds.firsts.min()), int(to_array(bounds.lasts).max())
    gappy = low < page.t.size and page.newest_gap >= page.t[low]
    for i, line in enumerate(lines.tolist()):
        mine, t, v = bounds, page.t, page.v[line]
        if (
            gappy
            and np.isnan(np.minimum.reduce(v[low:high], initial=np.inf))
            and (gaps := is_missing(v[low:high])).any()
        ):
            held = ~gaps
            place = np.zeros(held.size + 1, np.int64)
            np.cumsum(held, out=place[1:])
            firsts, lasts = (place[np.clip(to_array(x), low, high) - low] for x in (bounds.firsts, bounds.lasts))
            mine, t, v = (
                WindowColumns(firsts, lasts, *find_sliding_slice(firsts, lasts)),
                t[low:high][held],
                v[low:high][held],
            )
        if mine is not bounds or not known:  # said once for all rows without a gap
            known = known or mine is bounds
            seen = (
                _newest_per_window(t, mine)
                if mine is not bounds or empty
                else newest_sample_times(page, asked.ends, mine.lasts)
            )
            newest = seen if newest is None else np.maximum(newest, seen)
        if lines.size == 1 and isinstance(mine.firsts, range) and mine.lasts[0] - mine.firsts[0] >= asked.min_samples:
            windows = WindowBatch(
                t, v, mine.firsts, mine.lasts, asked.ends, asked.times, asked.span, evenly_spaced=mine.evenly_spaced
            )
            got = asked.batch_kernel(windows, *asked.args)
            values = (got if got.flags.owndata and got.flags.writeable else got.copy())[None, :]
            there = np.ones(values.shape, np.bool_)
            continue
        _evaluate_row(values[i], there[i], t, v, mine, asked)
    if newest is None:
        newest = np.full(size, TIME_MIN, np.int64)
    if (empty or not known) and newest.min() == TIME_MIN:
        newest = np.where(newest == TIME_MIN, NO_SAMPLE, newest)
    return values, there, newest


def _newest_per_window(t: Ints, bounds: WindowColumns) -> Ints:
    """Newest sample of each window; `TIME_MIN` where there is none."""
    told = to_array(bounds.lasts) > to_array(bounds.firsts)
    newest = np.full(told.size, TIME_MIN, np.int64)
    newest[told] = t[bounds.lasts[told] - 1]
    return newest


def _evaluate_row(values: Floats, there: Bools, t: Ints, v: Floats, bounds: WindowColumns, asked: _RowRequest) -> None:
    """One row: the stretch in which windows slide, and what is before and after it."""
    firsts, lasts, body, step = bounds.firsts, bounds.lasts, bounds.sliding_slice, bounds.step
    ends, times, span, many, args, least = asked
    slides = body.stop > body.start and int(lasts[body.start] - firsts[body.start]) >= least
    if slides:
        there[body] = True
        moves = step * (body.stop - body.start - 1) + 1
        from_, until = (range(int(x[body.start]), int(x[body.start]) + moves, step) for x in (firsts, lasts))
        values[body] = many(
            WindowBatch(t, v, from_, until, ends[body], times[body], span, evenly_spaced=bounds.evenly_spaced), *args
        )
    for some in [slice(0, body.start), slice(body.stop, there.size)] if slides else [slice(0, there.size)]:
        if some.start == some.stop:
            continue
        from_here, until_here = to_array(firsts[some]), to_array(lasts[some])
        there[some] = told = until_here - from_here >= least
        if told.all():
            values[some] = many(WindowBatch(t, v, from_here, until_here, ends[some], times[some], span), *args)
            continue
        which = np.flatnonzero(told)
        values[some] = np.nan
        if which.size:
            windows = WindowBatch(
                t, v, from_here[which], until_here[which], ends[some][which], times[some][which], span
            )
            values[some.start + which] = many(windows, *args)


def _evaluate_by_time(
    page: SeriesPage,
    rows: Rows,
    bounds: WindowColumns,
    run: EvaluationContext,
    ends: Ints,
    span: Millis,
    kernel: RangeKernel,
    args: Sequence[Scalar],
) -> tuple[Floats, Bools, Ints]:
    count = len(range(*rows.indices(page.v.shape[0]))) if isinstance(rows, slice) else len(rows)
    values = np.full((count, run.times.size), np.nan)
    there = np.zeros(values.shape, np.bool_)
    newest = np.full(run.times.size, NO_SAMPLE, np.int64)
    firsts, lasts = to_array(bounds.firsts), to_array(bounds.lasts)
    for i in range(run.times.size):
        first, last = firsts[i], lasts[i]
        if first >= last:
            continue
        end, asked = int(ends[i]), int(run.times[i])
        given = [arg[i] for arg in args]
        t = page.t[first:last]
        v = page.v[rows, first:last] if isinstance(rows, slice) else page.v[:, first:last].take(rows, axis=0)
        if page.newest_gap < t[0] or page.last_gap[rows].max() < t[0]:
            got = kernel(Window(t, v, end - span, end, asked), *given)
            newest[i] = t[-1]
            if got is not None:
                values[:, i], there[:, i] = got, True
            continue
        held = ~is_missing(v)
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
