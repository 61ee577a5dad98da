"""Reading samples: which cells an expression sees at each time.

Windows are open on the left, as in Prometheus 3: a range reads ``(t - range, t]``, an instant selector the newest
sample in ``(t - 5 min, t]``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from watchdog.promql.eval.context import NO_SAMPLE, EvaluationContext, NewestRead
from watchdog.promql.eval.vectors import Keys, MergePlan, Vector, make_merge_plan, merge_series
from watchdog.promql.eval.window_columns import newest_sample_times
from watchdog.promql.functions.windows import to_array
from watchdog.promql.parse.nodes import VectorSelector
from watchdog.tsdb.labels import LOOKBACK_DELTA
from watchdog.tsdb.page import ABSENT_BITS, TIME_MIN, Bools, Floats, Ints, PageSelection, Rows, SeriesPage, is_missing


def evaluate_selector(run: EvaluationContext, selector: VectorSelector) -> tuple[Vector, Floats | Ints]:
    """The vector of an instant selector, names kept, and the sample time of each value: [keys or 1, times] ms."""
    picked = run.select_pages(selector)
    parts = [_evaluate_page(run, one, selector) for one in picked]
    run.note_newest_of([part[3] for part in parts if part[3] is not None], selector)
    if len(parts) == 1:
        v, there, at, _ = parts[0]
        return Vector(picked[0].keys, v, there), at
    plan = selector.merge_cache.get(picked, None, lambda: plan_union([one.keys for one in picked]))
    v, there = (
        stack_rows([part[0] for part in parts], run, np.float64),
        stack_rows([part[1] for part in parts], run, np.bool_),
    )
    times = [np.broadcast_to(part[2], part[0].shape) for part in parts]
    return merge_series(plan, v, there), merge_series(plan, stack_rows(times, run, np.float64), there).v


def _evaluate_page(
    run: EvaluationContext, picked: PageSelection, selector: VectorSelector
) -> tuple[Floats, Bools, Ints, NewestRead | None]:
    """Values, whether there are any, their times, and how new that is; None: no window has a sample."""
    page, rows = picked.page, picked.rows
    run.note_coverage(picked, selector, 0)
    bounds = run.window_columns(page, selector, LOOKBACK_DELTA)
    if isinstance(bounds.lasts, range):
        freshest = slice(bounds.lasts.start - 1, bounds.lasts.stop - 1, bounds.step)
        cells, at = page.v[:, freshest][rows], newest_sample_times(page, run.window_ends(selector), bounds.lasts)
        cells.flags.writeable = False
        if page.newest_gap < page.t[freshest.start] or not np.isnan(
            np.minimum.reduce(cells, axis=None, initial=np.inf)
        ):
            return cells, np.ones(cells.shape, np.bool_), at[None, :], NewestRead(page, at, bounds.newest_age)
    first, last = to_array(bounds.firsts), to_array(bounds.lasts)
    live = last > first
    if not live.any():
        shape = (len(picked.keys), run.times.size)
        return np.full(shape, np.nan), np.zeros(shape, np.bool_), np.zeros((1, run.times.size), np.int64), None
    column = np.maximum(last - 1, 0)
    cells = _read_cells(page, rows, column)
    always = bool(live.all())
    at = (
        newest_sample_times(page, run.window_ends(selector), bounds.lasts)[None, :]
        if always
        else page.t[column][None, :]
    )
    there = np.repeat(live[None, :], len(cells), axis=0)
    earliest = first.min()
    if earliest < page.t.size and page.newest_gap < page.t[earliest]:
        newest = (
            newest_sample_times(page, run.window_ends(selector), bounds.lasts)
            if always
            else np.where(live, at[0], NO_SAMPLE)
        )
    else:
        look_back = np.flatnonzero(((cells.view(np.int64) == ABSENT_BITS) & live).any(axis=1))
        if look_back.size:
            at = np.repeat(at, len(cells), axis=0)
            lines = np.arange(page.v.shape[0])[rows][look_back]
            cells[look_back], at[look_back], there[look_back] = _find_previous_values(page, lines, first, last, live)
        there &= ~is_missing(cells)
        newest = np.where(there, at, TIME_MIN).max(axis=0)
        newest = np.where(newest == TIME_MIN, NO_SAMPLE, newest)
    return cells, there, at, NewestRead(page, newest, None)


def _read_cells(page: SeriesPage, rows: Rows, column: Ints) -> Floats:
    """The cells of these rows and columns, as a copy. [rows, times]"""
    if column.size == 1:
        return page.v[rows, int(column[0])].copy()[:, None]
    if isinstance(rows, slice):
        return page.v[rows].take(column, axis=1)
    return page.v[rows[:, None], column[None, :]]


def _find_previous_values(
    page: SeriesPage, lines: Ints, first: Ints, last: Ints, live: Bools
) -> tuple[Floats, Ints, Bools]:
    """For rows whose newest cells are absent: the newest cell that is not, if it lies within the window."""
    low, high = int(first[live].min()), int(last[live].max())
    block = page.v[lines, low:high]
    column = np.where(block.view(np.int64) == ABSENT_BITS, -1, np.arange(high - low))
    newest = np.maximum.accumulate(column, axis=1)[:, np.clip(last - 1 - low, 0, high - low - 1)] + low
    there = (newest >= np.maximum(first, low)) & live
    found = np.maximum(newest, low)
    return np.take_along_axis(block, found - low, axis=1), page.t[found], there


def plan_union(keys: Sequence[Keys]) -> MergePlan:
    return make_merge_plan(tuple(key for part in keys for key in part))


def stack_rows(parts: Sequence[np.ndarray], run: EvaluationContext, kind: type) -> np.ndarray:
    return np.concatenate(parts, dtype=kind) if parts else np.zeros((0, run.times.size), kind)
