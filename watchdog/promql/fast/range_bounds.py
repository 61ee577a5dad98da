"""Range functions over whole stretches of time: what they are at least and at most, told from blocks of samples.

Each bound holds for the very floats that the function gives, rounding included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from watchdog.core.model import Millis
from watchdog.promql.fast.block_summaries import BLOCK_SIZE, BlockSummary
from watchdog.promql.functions import drawdowns, folds, sliding_extremes
from watchdog.promql.functions.counts import decreased, differs
from watchdog.tsdb.page import Bools, Floats, Ints

_ROUNDING_ERROR = 1e-12
"""What sums may be off, as a share of what was summed; they are off by far less."""


class SpanColumns(NamedTuple):
    """The first column that the windows of a stretch read, and the one after the last: the least and greatest of each."""

    first_min: Ints
    first_max: Ints
    newest: Ints
    """The newest sample at the beginning of the stretch."""
    after_min: Ints
    after_max: Ints
    min_samples: Floats
    """How many samples the windows of a stretch hold."""
    max_samples: Floats


class RowWindows(NamedTuple):
    """What the windows of all stretches read of one row."""

    summary: BlockSummary
    row: int
    columns: SpanColumns
    low: Floats
    """Least and greatest of the samples that are read."""
    high: Floats


BoundFunction = Callable[..., tuple[Floats, Floats]]
"""Of a row and the length of the windows in ms, and scalars where the function takes any: least and greatest of each stretch."""


def newest_bounds(read: RowWindows, _: Millis) -> tuple[Floats, Floats]:
    return read.low, read.high


def mean_bounds(read: RowWindows, _: Millis) -> tuple[Floats, Floats]:
    """A mean; that of a constant is that constant."""
    return widen_for_rounding(read.low, read.high, read.low == read.high)


def _common_extreme(x: Floats, at: SpanColumns, extreme: np.ufunc) -> Floats:
    """`extreme` of what all windows of a stretch hold; NaN where that is no whole block."""
    first, after = -(-at.first_max // BLOCK_SIZE), at.after_min // BLOCK_SIZE
    held = after > first
    found = np.full(first.size, np.nan)
    if held.any():
        found[held] = sliding_extremes.window_extremes(x, first[held], (after - first)[held], extreme)
    return found


def max_bounds(read: RowWindows, _: Millis) -> tuple[Floats, Floats]:
    return np.fmax(
        read.low, _common_extreme(read.summary.block_min_max(read.row)[1], read.columns, np.maximum)
    ), read.high


def min_bounds(read: RowWindows, _: Millis) -> tuple[Floats, Floats]:
    return read.low, np.fmin(
        read.high, _common_extreme(read.summary.block_min_max(read.row)[0], read.columns, np.minimum)
    )


def sum_bounds(read: RowWindows, _: Millis) -> tuple[Floats, Floats]:
    low, high, at = read.low, read.high, read.columns
    return widen_for_rounding(
        np.minimum(low * at.min_samples, low * at.max_samples),
        np.maximum(high * at.min_samples, high * at.max_samples),
        (low == high) & (at.min_samples == at.max_samples),
    )


def count_bounds(read: RowWindows, _: Millis) -> tuple[Floats, Floats]:
    return np.asarray(read.columns.min_samples, np.float64), np.asarray(read.columns.max_samples, np.float64)


def present_bounds(read: RowWindows, _: Millis) -> tuple[Floats, Floats]:
    return np.ones(read.low.size), np.ones(read.low.size)


def deviation_bounds(read: RowWindows, _: Millis) -> tuple[Floats, Floats]:
    """A standard deviation is no more than half of the range."""
    off = np.where(read.low == read.high, 0.0, np.maximum(np.abs(read.low), np.abs(read.high)) * 1e-9)
    return np.zeros(read.low.size), (read.high - read.low) / 2 + off


def drawdown_bounds(read: RowWindows, _: Millis) -> tuple[Floats, Floats]:
    """The maximum drawdown: over all that is read at most, over what all windows hold at least."""
    at = read.columns
    low, high = read.summary.block_min_max(read.row)
    first = np.minimum(at.first_min // BLOCK_SIZE, low.size - 1)
    left = folds.fold_windows(
        (high, low, low / high),
        first,
        np.maximum(-(-at.after_max // BLOCK_SIZE) - first, 1),
        drawdowns.combine_drawdowns,
    )[2]
    first, after = -(-at.first_max // BLOCK_SIZE), at.after_min // BLOCK_SIZE
    held = after > first
    kept = np.ones(first.size)
    if held.any():
        kept[held] = folds.fold_windows(
            (high, low, np.ones(low.size)), first[held], (after - first)[held], drawdowns.combine_drawdowns
        )[2]
    return np.where(read.low > 0, 1.0 - kept, np.nan), np.where(read.low > 0, 1.0 - left, np.nan)


def _accumulated_bounds(read: RowWindows, of: Callable[[Floats, Floats], Floats | Bools]) -> tuple[Floats, Floats]:
    """What `of` says of each sample and the one before it, none of it below zero, added up over a window."""
    sums, at = read.summary.cumulative_sums(read.row, of), read.columns
    start, end = at.first_min // BLOCK_SIZE, -(-at.after_max // BLOCK_SIZE)
    inner, over = np.minimum(-(-(at.first_max + 1) // BLOCK_SIZE), sums.size - 1), at.after_min // BLOCK_SIZE
    least, most = (
        np.where(over > inner, sums[over] - sums[inner], 0.0),
        sums[end] - sums[np.minimum(start, sums.size - 1)],
    )
    # Windows that are shorter than the stretch: the busiest blocks in a row that one can touch, the quietest that it holds.
    few, many = int(np.median(at.min_samples)), int(np.median(at.max_samples))
    start, count = np.minimum(start, sums.size - 2), np.maximum(end - start, 1)
    touched, held = -(-many // BLOCK_SIZE) + 1, (few - BLOCK_SIZE) // BLOCK_SIZE
    most = np.where(
        at.max_samples <= many,
        np.minimum(
            most, sliding_extremes.window_extremes(_consecutive_block_sums(sums, touched), start, count, np.maximum)
        ),
        most,
    )
    if held > 0:
        fewest = sliding_extremes.window_extremes(_consecutive_block_sums(sums, held), start, count, np.minimum)
        least = np.where(at.min_samples >= few, np.maximum(least, fewest), least)
    return least, most


def _consecutive_block_sums(sums: Floats, count: int) -> Floats:
    """[blocks] what so many blocks in a row have, from each of them on."""
    return np.concatenate((sums[count:], np.full(min(count, sums.size) - 1, sums[-1]))) - sums[:-1]


def _flag_count_bounds(read: RowWindows, _: Millis, flag: Callable[[Floats, Floats], Bools]) -> tuple[Floats, Floats]:
    """How many samples are flagged when compared with the one before."""
    fewest, most = _accumulated_bounds(read, flag)
    return fewest, np.minimum(most, np.maximum(read.columns.max_samples - 1, 0))


def change_share_bounds(read: RowWindows, span: Millis) -> tuple[Floats, Floats]:
    fewest, most = _flag_count_bounds(read, span, differs)
    few, many = read.columns.min_samples - 1, read.columns.max_samples - 1
    return np.where(few > 0, fewest / many, np.nan), np.where(few > 0, np.minimum(most / few, 1.0), np.nan)


def _counter_increase(before: Floats, after: Floats) -> Floats:
    """Of a counter, which begins at zero after a fall; what lies below zero is none."""
    return np.maximum(np.where(after < before, after, after - before), 0.0)


def increase_bounds(read: RowWindows, _: Millis) -> tuple[Floats, Floats]:
    """Stretched to the window's edges by two distances at most."""
    at = read.columns
    least, most = _accumulated_bounds(read, _counter_increase)
    off = (read.summary.cumulative_sums(read.row, _counter_increase)[-1] + read.high) * 1e-10
    stretch = (1 + 2.2 / np.maximum(at.min_samples - 1, 1)) * (1 + _ROUNDING_ERROR)
    still, known = read.low == read.high, (at.min_samples > 1) & (read.low >= 0)
    return (
        np.where(known, np.where(still, 0.0, np.maximum(least - off, 0.0)), np.nan),
        np.where(known, np.where(still, 0.0, (most + off) * stretch), np.nan),
    )


def rate_bounds(read: RowWindows, span: Millis) -> tuple[Floats, Floats]:
    low, high = increase_bounds(read, span)
    return low / (span / 1_000) * (1 - _ROUNDING_ERROR), high / (span / 1_000) * (1 + _ROUNDING_ERROR)


def quantile_bounds(read: RowWindows, _: Millis, args: Sequence[float]) -> tuple[Floats, Floats]:
    low, high = widen_for_rounding(read.low, read.high)
    known = 0 <= args[0] <= 1
    return np.where(known, low, np.nan), np.where(known, high, np.nan)


def ewma_bounds(read: RowWindows, span: Millis, args: Sequence[float]) -> tuple[Floats, Floats]:
    low, high = mean_bounds(read, span)
    return np.where(args[0] > 0, low, np.nan), np.where(args[0] > 0, high, np.nan)


def _streak_bounds(read: RowWindows, _: Millis, args: Sequence[float], holds: np.ufunc) -> tuple[Floats, Floats]:
    (limit,), at = args, read.columns
    low, high = read.summary.column_min_max(read.row, at.newest, at.after_max)
    whole = holds(read.low, limit) & holds(read.high, limit)
    return np.where(whole, at.min_samples, 0.0), np.where(holds(low, limit) | holds(high, limit), at.max_samples, 0.0)


def widen_for_rounding(low: Floats, high: Floats, exact: Bools | bool = False) -> tuple[Floats, Floats]:
    """As wide as what rounding may do to sums of such numbers; where they are `exact` it does nothing."""
    off = np.where(exact, 0.0, np.maximum(np.abs(low), np.abs(high)) * _ROUNDING_ERROR)
    return low - off, high + off


change_bounds = partial(_flag_count_bounds, flag=differs)
reset_bounds = partial(_flag_count_bounds, flag=decreased)
streak_below_bounds = partial(_streak_bounds, holds=np.less)
streak_above_bounds = partial(_streak_bounds, holds=np.greater)
