"""Range functions over whole stretches of time: what they are at least and at most, told from blocks of samples.

Each bound holds for the very floats that the function gives, rounding included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from watchdog.model import Millis
from watchdog.promql import blocks, drawdowns, folds
from watchdog.promql.pages import Bools, Floats, Ints
from watchdog.promql.summaries import BLOCK, Summary
from watchdog.promql.trading import differ

_ROUNDS = 1e-12
"""What sums may be off, as a share of what was summed; they are off by far less."""


class Columns(NamedTuple):
    """The first column that the windows of a stretch read, and the one after the last: the least and greatest of each."""

    first: Ints
    first_late: Ints
    newest: Ints
    """The newest sample at the beginning of the stretch."""
    after_early: Ints
    after: Ints
    fewest: Floats
    """How many samples the windows of a stretch hold."""
    most: Floats


class Read(NamedTuple):
    """What the windows of all stretches read of one row."""

    summary: Summary
    row: int
    at: Columns
    low: Floats
    """Least and greatest of the samples that are read."""
    high: Floats


Range = Callable[..., tuple[Floats, Floats]]
"""Of a row and the length of the windows in ms, and scalars where the function takes any: least and greatest of each stretch."""


def newest(read: Read, _: Millis) -> tuple[Floats, Floats]:
    return read.low, read.high


def _between(read: Read, _: Millis) -> tuple[Floats, Floats]:
    """A mean; that of a constant is that constant."""
    return rounded(read.low, read.high, read.low == read.high)


def _core(x: Floats, at: Columns, extreme: np.ufunc) -> Floats:
    """`extreme` of what all windows of a stretch hold; NaN where that is no whole block."""
    first, after = -(-at.first_late // BLOCK), at.after_early // BLOCK
    held = after > first
    found = np.full(first.size, np.nan)
    if held.any():
        found[held] = blocks.widest_of(x, first[held], (after - first)[held], extreme)
    return found


def _greatest(read: Read, _: Millis) -> tuple[Floats, Floats]:
    return np.fmax(read.low, _core(read.summary.extremes(read.row)[1], read.at, np.maximum)), read.high


def _least(read: Read, _: Millis) -> tuple[Floats, Floats]:
    return read.low, np.fmin(read.high, _core(read.summary.extremes(read.row)[0], read.at, np.minimum))


def _total(read: Read, _: Millis) -> tuple[Floats, Floats]:
    low, high, at = read.low, read.high, read.at
    return rounded(
        np.minimum(low * at.fewest, low * at.most),
        np.maximum(high * at.fewest, high * at.most),
        (low == high) & (at.fewest == at.most),
    )


def _count(read: Read, _: Millis) -> tuple[Floats, Floats]:
    return np.asarray(read.at.fewest, np.float64), np.asarray(read.at.most, np.float64)


def _present(read: Read, _: Millis) -> tuple[Floats, Floats]:
    return np.ones(read.low.size), np.ones(read.low.size)


def _spread(read: Read, _: Millis) -> tuple[Floats, Floats]:
    """A standard deviation is no more than half of the range."""
    off = np.where(read.low == read.high, 0.0, np.maximum(np.abs(read.low), np.abs(read.high)) * 1e-9)
    return np.zeros(read.low.size), (read.high - read.low) / 2 + off


def _lost(read: Read, _: Millis) -> tuple[Floats, Floats]:
    """The maximum drawdown: over all that is read at most, over what all windows hold at least."""
    at = read.at
    low, high = read.summary.extremes(read.row)
    first = np.minimum(at.first // BLOCK, low.size - 1)
    left = folds.pick((high, low, low / high), first, np.maximum(-(-at.after // BLOCK) - first, 1), drawdowns.fall)[2]
    first, after = -(-at.first_late // BLOCK), at.after_early // BLOCK
    held = after > first
    kept = np.ones(first.size)
    if held.any():
        kept[held] = folds.pick((high, low, np.ones(low.size)), first[held], (after - first)[held], drawdowns.fall)[2]
    return np.where(read.low > 0, 1.0 - kept, np.nan), np.where(read.low > 0, 1.0 - left, np.nan)


def _added(read: Read, of: Callable[[Floats, Floats], Floats | Bools]) -> tuple[Floats, Floats]:
    """What `of` says of each sample and the one before it, none of it below zero, added up over a window."""
    sums, at = read.summary.sums(read.row, of), read.at
    start, end = at.first // BLOCK, -(-at.after // BLOCK)
    inner, over = np.minimum(-(-(at.first_late + 1) // BLOCK), sums.size - 1), at.after_early // BLOCK
    least, most = (
        np.where(over > inner, sums[over] - sums[inner], 0.0),
        sums[end] - sums[np.minimum(start, sums.size - 1)],
    )
    # Windows that are shorter than the stretch: the busiest blocks in a row that one can touch, the calmest that it holds.
    few, many = int(np.median(at.fewest)), int(np.median(at.most))
    start, count = np.minimum(start, sums.size - 2), np.maximum(end - start, 1)
    touched, held = -(-many // BLOCK) + 1, (few - BLOCK) // BLOCK
    most = np.where(
        at.most <= many, np.minimum(most, blocks.widest_of(_in_a_row(sums, touched), start, count, np.maximum)), most
    )
    if held > 0:
        calm = blocks.widest_of(_in_a_row(sums, held), start, count, np.minimum)
        least = np.where(at.fewest >= few, np.maximum(least, calm), least)
    return least, most


def _in_a_row(sums: Floats, count: int) -> Floats:
    """[blocks] what so many blocks in a row have, from each of them on."""
    return np.concatenate((sums[count:], np.full(min(count, sums.size) - 1, sums[-1]))) - sums[:-1]


def _steps(read: Read, _: Millis, flag: Callable[[Floats, Floats], Bools]) -> tuple[Floats, Floats]:
    """How many samples are flagged when compared with the one before."""
    fewest, most = _added(read, flag)
    return fewest, np.minimum(most, np.maximum(read.at.most - 1, 0))


def _share(read: Read, span: Millis) -> tuple[Floats, Floats]:
    fewest, most = _steps(read, span, differ)
    few, many = read.at.fewest - 1, read.at.most - 1
    return np.where(few > 0, fewest / many, np.nan), np.where(few > 0, np.minimum(most / few, 1.0), np.nan)


def _falls(before: Floats, after: Floats) -> Bools:
    return np.asarray(after < before)


def _rises(before: Floats, after: Floats) -> Floats:
    """Of a counter, which begins at zero after a fall; what lies below zero is none."""
    return np.maximum(np.where(after < before, after, after - before), 0.0)


def _increase(read: Read, _: Millis) -> tuple[Floats, Floats]:
    """Stretched to the window's edges by two distances at most."""
    at = read.at
    least, most = _added(read, _rises)
    off = (read.summary.sums(read.row, _rises)[-1] + read.high) * 1e-10
    stretch = (1 + 2.2 / np.maximum(at.fewest - 1, 1)) * (1 + _ROUNDS)
    still, known = read.low == read.high, (at.fewest > 1) & (read.low >= 0)
    return (
        np.where(known, np.where(still, 0.0, np.maximum(least - off, 0.0)), np.nan),
        np.where(known, np.where(still, 0.0, (most + off) * stretch), np.nan),
    )


def _rate(read: Read, span: Millis) -> tuple[Floats, Floats]:
    low, high = _increase(read, span)
    return low / (span / 1_000) * (1 - _ROUNDS), high / (span / 1_000) * (1 + _ROUNDS)


def _quantile(read: Read, _: Millis, args: Sequence[float]) -> tuple[Floats, Floats]:
    low, high = rounded(read.low, read.high)
    known = 0 <= args[0] <= 1
    return np.where(known, low, np.nan), np.where(known, high, np.nan)


def _smoothed(read: Read, span: Millis, args: Sequence[float]) -> tuple[Floats, Floats]:
    low, high = _between(read, span)
    return np.where(args[0] > 0, low, np.nan), np.where(args[0] > 0, high, np.nan)


def _streak(read: Read, _: Millis, args: Sequence[float], holds: np.ufunc) -> tuple[Floats, Floats]:
    (limit,), at = args, read.at
    low, high = read.summary.within(read.row, at.newest, at.after)
    whole = holds(read.low, limit) & holds(read.high, limit)
    return np.where(whole, at.fewest, 0.0), np.where(holds(low, limit) | holds(high, limit), at.most, 0.0)


RANGES: dict[str, Range] = {
    "avg_over_time": _between,
    "quantile_over_time": _quantile,
    "last_over_time": newest,
    "max_over_time": _greatest,
    "min_over_time": _least,
    "sum_over_time": _total,
    "count_over_time": _count,
    "present_over_time": _present,
    "stddev_over_time": _spread,
    "changes": partial(_steps, flag=differ),
    "resets": partial(_steps, flag=_falls),
    "increase": _increase,
    "rate": _rate,
    "max_drawdown_over_time": _lost,
    "change_share_over_time": _share,
    "ewma_over_time": _smoothed,
    "streak_below_over_time": partial(_streak, holds=np.less),
    "streak_above_over_time": partial(_streak, holds=np.greater),
}


def rounded(low: Floats, high: Floats, exact: Bools | bool = False) -> tuple[Floats, Floats]:
    """As wide as what rounding may do to sums of such numbers; where they are `exact` it does nothing."""
    off = np.where(exact, 0.0, np.maximum(np.abs(low), np.abs(high)) * _ROUNDS)
    return low - off, high + off
