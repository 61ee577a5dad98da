"""Sums, means and variances of windows: of one window of several rows, and of many windows of one row, bit for bit alike.

A sum is folded (see `folds`). Where great numbers cancel each other out, it is folded again with twice the digits, and
where even those do not suffice, it is taken exactly. Which it is depends on the window alone. The mean of a constant is that
constant: a rule at its very limit depends on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Protocol

import numpy as np

from watchdog.promql.functions import folds, numeric
from watchdog.promql.functions.extremes import batch_extremes
from watchdog.promql.functions.windows import IndexArray, Window, WindowBatch, in_chunks, to_array
from watchdog.tsdb.page import Bools, Floats, Ints

LOSSY_RATIO = 512.0
"""The greatest of the values is so many times their mean: a plain fold may lose a thirteenth digit."""
_CANCELLATION_RATIO = 2.0**40
"""… and here twice the digits may not be enough."""
NARROW_VARIANCE_RATIO = 2.0**-24
"""The variance is so much less than the square of the mean: sums have lost what makes it up."""


class WindowSums(Protocol):
    """Windows, whichever they are: the arrays are [windows]."""

    counts: Ints | int

    def plain_sums(self) -> Floats:
        """Sums."""

    def surely_accurate(self, sums: Floats) -> bool:
        """A cheap look: surely all sums are finite, and none is small beside what was summed."""

    def exceeding(self, bound: Floats) -> IndexArray:
        """Those whose greatest absolute value is above the bound, and finite."""

    def compensated_sums(self, which: IndexArray) -> Floats:
        """Sums of these with twice the digits."""

    def samples(self, i: int) -> Floats:
        """[n] of one window."""

    def constant_windows(self) -> tuple[IndexArray, Floats]:
        """Those whose samples are all equal, and to what."""

    def find_non_finite(self, which: IndexArray) -> tuple[Bools, Bools, Bools]:
        """Which of these hold a NaN, an infinity above, one below."""

    def moments(self) -> tuple[Floats, Floats]:
        """Sums, and sums of squared distances from the mean."""

    def variances(self, which: IndexArray) -> Floats:
        """Of these, in two passes: mean first."""


def window_sums(windows: WindowSums) -> Floats:
    """Sums."""
    return _sums_or_means(windows, mean=False)


def window_means(windows: WindowSums) -> Floats:
    """Means; they do not overflow where the sum would."""
    return _sums_or_means(windows, mean=True)


def _sums_or_means(windows: WindowSums, *, mean: bool) -> Floats:
    n = windows.counts
    sums = windows.plain_sums()
    result = sums / n if mean else sums + 0.0  # -0 is 0
    if not windows.surely_accurate(sums):
        _correct(windows, sums, result, mean=mean)
    same, value = windows.constant_windows()
    if same.size:
        result[same] = value + 0.0 if mean else value * (n if isinstance(n, int) else n[same]) + 0.0
    return result


def _correct(windows: WindowSums, sums: Floats, result: Floats, *, mean: bool) -> None:
    """Corrects what cancelled out, and what is not finite."""
    n = windows.counts
    lossy = windows.exceeding(np.abs(sums) * (LOSSY_RATIO / n))
    if lossy.size:
        count = n if isinstance(n, int) else n[lossy]
        sums = windows.compensated_sums(lossy)
        result[lossy] = sums / count if mean else sums
        for i in windows.exceeding(_scatter(np.abs(sums) * (_CANCELLATION_RATIO / count), lossy, result.size)).tolist():
            exact = _exact_sum(windows.samples(i))
            result[i] = exact / windows.samples(i).size if mean else exact
    finite = np.isfinite(result)
    if not finite.all():
        which = np.flatnonzero(~finite)
        nan, above, below = windows.find_non_finite(which)
        result[which] = np.where(nan | (above & below), np.nan, np.where(above, np.inf, -np.inf))
        for i in which[~(nan | above | below)].tolist():
            values = windows.samples(i)
            result[i] = _exact_sum(values / values.size) if mean else _exact_sum(values)


def _scatter(some: Floats, which: IndexArray, size: int) -> Floats:
    whole = np.full(size, np.inf)
    whole[which] = some
    return whole


def _exact_sum(values: Floats) -> float:
    try:
        return math.fsum(values)
    except OverflowError:  # on the way, though perhaps not in the end
        return math.fsum(values / 2.0**60) * 2.0**60


def window_variances(windows: WindowSums) -> Floats:
    """Population variances."""
    n = windows.counts
    sums, squares = windows.moments()
    middle, result = sums / n, squares / n
    same, value = windows.constant_windows()
    if same.size:
        result[same] = np.where(np.isfinite(value), 0.0, np.nan)
        middle[same] = 0.0
    narrow = np.flatnonzero(~(middle * middle * NARROW_VARIANCE_RATIO <= result) | ~np.isfinite(result))
    narrow = np.setdiff1d(narrow, same, assume_unique=True) if same.size else narrow
    if narrow.size:
        result[narrow] = windows.variances(narrow)
    return result


class SingleWindowSums:
    """One window of several rows."""

    def __init__(self, v: Floats) -> None:
        self._v = v
        self.counts = v.shape[1]

    def plain_sums(self) -> Floats:
        return folds.fold_sum(self._v)

    def surely_accurate(self, sums: Floats) -> bool:
        return not sums.size  # a look costs as much as being sure

    def exceeding(self, bound: Floats) -> IndexArray:
        v = self._v
        if v.shape[1] <= 2:  # nothing but the last place is rounded
            return np.zeros(0, np.intp)
        greatest = np.maximum(np.maximum.reduce(v, axis=1), -np.minimum.reduce(v, axis=1))
        return np.flatnonzero((greatest > bound) & (greatest < np.inf))

    def compensated_sums(self, which: IndexArray) -> Floats:
        v = self._v[which]
        high, low = folds.fold((v, np.zeros_like(v)), folds.add_compensated, scalar_combine=True)
        return np.asarray(high + low)

    def samples(self, i: int) -> Floats:
        return np.asarray(self._v[i])

    def constant_windows(self) -> tuple[IndexArray, Floats]:
        v = self._v
        which = np.flatnonzero(v[:, 0] == v[:, -1])
        if which.size and v.shape[1] > 2:
            which = which[(v[which] == v[which, :1]).all(axis=1)]
        return which, v[which, 0]

    def find_non_finite(self, which: IndexArray) -> tuple[Bools, Bools, Bools]:
        v = self._v[which]
        nan, above, below = (np.asarray(flags.any(axis=1)) for flags in (np.isnan(v), v == np.inf, v == -np.inf))
        return nan, above, below

    def moments(self) -> tuple[Floats, Floats]:
        sums, squares = folds.fold((self._v, np.zeros_like(self._v)), folds.combine_moments, scalar_combine=True)
        return sums, np.array(squares)

    def variances(self, which: IndexArray) -> Floats:
        return numeric.row_variance(self._v[which])


class WindowBatchSums:
    """Many windows of one row."""

    def __init__(self, windows: WindowBatch) -> None:
        self._windows = windows
        self._base = windows.sample_slice()
        self._v = windows.v[self._base]
        self.counts = windows.counts

    def _fold(self, leaf: folds.FoldNode, merge: folds.Combine) -> folds.FoldNode:
        windows = self._windows
        if windows.step:
            return tuple(x[:: windows.step] for x in folds.fold_sliding(leaf, windows.samples_per_window, merge))
        return folds.fold_windows(leaf, to_array(windows.firsts) - self._base.start, np.asarray(windows.counts), merge)

    def plain_sums(self) -> Floats:
        windows = self._windows
        if windows.step:
            return folds.sum_sliding(self._v, windows.samples_per_window)[:: windows.step]
        return self._fold((self._v,), folds.add)[0]

    def surely_accurate(self, sums: Floats) -> bool:
        low, high = float(np.minimum.reduce(self._v)), float(np.maximum.reduce(self._v))  # NaN goes through
        greatest = max(high, -low)
        longest = self.counts if isinstance(self.counts, int) else int(self.counts.max())
        if (low > 0 or high < 0) and greatest < 500.0 * min(abs(low), abs(high)) and greatest * longest < 1e308:
            return True  # a mean is no less than the least
        low, high = float(np.minimum.reduce(sums)), float(np.maximum.reduce(sums))
        least = low if low > 0 else -high if high < 0 else 0.0
        return high - low < np.inf and greatest <= least * (LOSSY_RATIO / longest)

    def exceeding(self, bound: Floats) -> IndexArray:
        greatest = batch_extremes(self._windows, np.maximum, np.abs(self._windows.v))
        return np.flatnonzero((greatest > bound) & (greatest < np.inf) & (np.asarray(self.counts) > 2))

    def compensated_sums(self, which: IndexArray) -> Floats:
        leaf = self._v, np.zeros_like(self._v)
        if 4 * which.size > self._windows.size:
            high, low = (x[which] for x in self._fold(leaf, folds.add_compensated))
        else:
            high, low = WindowBatchSums(self._windows.subset(which))._fold_with_zeros(folds.add_compensated)
        return np.asarray(high + low)

    def _fold_with_zeros(self, merge: folds.Combine) -> folds.FoldNode:
        return self._fold((self._v, np.zeros_like(self._v)), merge)

    def samples(self, i: int) -> Floats:
        return self._windows.v[self._windows.firsts[i] : self._windows.lasts[i]]

    def constant_windows(self) -> tuple[IndexArray, Floats]:
        windows, v = self._windows, self._v
        least = self.counts if isinstance(self.counts, int) else int(self.counts.min(initial=2))
        if least > 1 and not (v[1:] == v[:-1]).any():
            return np.zeros(0, np.intp), np.zeros(0)
        first = np.asarray(windows.first(windows.v), np.float64)
        which = np.flatnonzero(first == windows.last(windows.v))
        if which.size:
            moved = np.zeros(v.size, np.int64)
            np.cumsum(~(v[1:] == v[:-1]), out=moved[1:])
            start = self._base.start
            which = which[
                moved[to_array(windows.firsts)[which] - start] == moved[to_array(windows.lasts)[which] - 1 - start]
            ]
        return which, first[which]

    def find_non_finite(self, which: IndexArray) -> tuple[Bools, Bools, Bools]:
        windows, v = self._windows, self._v
        firsts, lasts = (
            to_array(windows.firsts)[which] - self._base.start,
            to_array(windows.lasts)[which] - self._base.start,
        )
        nan, above, below = (_any_flagged(flags, firsts, lasts) for flags in (np.isnan(v), v == np.inf, v == -np.inf))
        return nan, above, below

    def moments(self) -> tuple[Floats, Floats]:
        sums, squares = self._fold_with_zeros(folds.combine_moments)
        return sums, np.array(squares)

    def variances(self, which: IndexArray) -> Floats:
        result = np.empty(which.size)
        for some, rows in self._windows.subset(which).sample_rows():
            result[some] = numeric.row_variance(rows)
        return result


def _any_flagged(flags: Bools, firsts: Ints, lasts: Ints) -> Bools:
    """Whether some of the samples from `firsts` until before `lasts` is flagged."""
    count = np.zeros(flags.size + 1, np.int64)
    np.cumsum(flags, out=count[1:])
    return count[lasts] > count[firsts]


def _aggregate_window(window: Window, what: Callable[[WindowSums], Floats]) -> Floats:
    v = window.v
    if (
        len(v) == 1
        and what is not window_variances
        and (plain := _sum_or_mean_as_float(v, mean=what is window_means)) is not None
    ):
        return np.array([plain])
    return what(SingleWindowSums(v))


def _sum_or_mean_as_float(v: Floats, *, mean: bool) -> float | None:
    """`_sums_or_means` of one row in plain floats, where nothing is strange about it; None: it is."""
    n = v.shape[1]
    low, high = float(np.minimum.reduce(v, axis=None)), float(np.maximum.reduce(v, axis=None))
    if low == high:
        return low + 0.0 if mean else low * n + 0.0
    total = float(folds.fold_sum(v)[0])
    if not (-math.inf < total < math.inf and max(high, -low) <= abs(total) * (LOSSY_RATIO / n)):  # neither does NaN
        return None
    return total / n if mean else total + 0.0


def _aggregate_windows(windows: WindowBatch, what: Callable[[WindowSums], Floats]) -> Floats:
    return in_chunks(lambda some: what(WindowBatchSums(some)), windows)


sum_over_time = partial(_aggregate_window, what=window_sums)
sums_over_time = partial(_aggregate_windows, what=window_sums)
mean_over_time = partial(_aggregate_window, what=window_means)
means_over_time = partial(_aggregate_windows, what=window_means)
variance_over_time = partial(_aggregate_window, what=window_variances)
variances_over_time = partial(_aggregate_windows, what=window_variances)


def deviation_over_time(window: Window) -> Floats:
    return np.sqrt(variance_over_time(window))


def deviations_over_time(windows: WindowBatch) -> Floats:
    return np.sqrt(variances_over_time(windows))
