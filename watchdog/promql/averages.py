"""Sums, means and variances of windows: of one window of several rows, and of many windows of one row, bit for bit alike.

A sum is folded (see `folds`). Where great numbers cancel each other out, it is folded again with twice the digits, and
where even those do not suffice, it is taken exactly. Which it is depends on the window alone. The mean of a constant is that
constant: a rule at its very limit depends on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np

from watchdog.promql import blocks, folds, numeric
from watchdog.promql.pages import Bools, Floats, Ints
from watchdog.promql.windows import Places, Window, Windows, array

LOSES = 512.0
"""The greatest of the values is so many times their mean: a plain fold may lose a thirteenth digit."""
_CANCELS = 2.0**40
"""… and here twice the digits may not be enough."""
NARROW = 2.0**-24
"""The variance is so much less than the square of the mean: sums have lost what makes it up."""


class Summed(Protocol):
    """Windows, whichever they are: the arrays are [windows]."""

    counts: Ints | int

    def plain(self) -> Floats:
        """Sums."""

    def within(self, sums: Floats) -> bool:
        """A cheap look: surely all sums are finite, and none is small beside what was summed."""

    def doubtful(self, bound: Floats) -> Places:
        """Those whose greatest absolute value is above the bound, and finite."""

    def twice(self, which: Places) -> Floats:
        """Sums of these with twice the digits."""

    def values(self, i: int) -> Floats:
        """[n] of one window."""

    def constant(self) -> tuple[Places, Floats]:
        """Those whose samples are all equal, and to what."""

    def strange(self, which: Places) -> tuple[Bools, Bools, Bools]:
        """Which of these hold a NaN, an infinity above, one below."""

    def moments(self) -> tuple[Floats, Floats]:
        """Sums, and sums of squared distances from the mean."""

    def variances(self, which: Places) -> Floats:
        """Of these, in two passes: mean first."""


def total(windows: Summed) -> Floats:
    """Sums."""
    return _settled(windows, mean=False)


def mean(windows: Summed) -> Floats:
    """Means; they do not overflow where the sum would."""
    return _settled(windows, mean=True)


def _settled(windows: Summed, *, mean: bool) -> Floats:
    n = windows.counts
    sums = windows.plain()
    result = sums / n if mean else sums + 0.0  # -0 is 0
    if not windows.within(sums):
        _mind(windows, sums, result, mean=mean)
    same, value = windows.constant()
    if same.size:
        result[same] = value + 0.0 if mean else value * (n if isinstance(n, int) else n[same]) + 0.0
    return result


def _mind(windows: Summed, sums: Floats, result: Floats, *, mean: bool) -> None:
    """Corrects what cancelled out, and what is not finite."""
    n = windows.counts
    lossy = windows.doubtful(np.abs(sums) * (LOSES / n))
    if lossy.size:
        count = n if isinstance(n, int) else n[lossy]
        sums = windows.twice(lossy)
        result[lossy] = sums / count if mean else sums
        for i in windows.doubtful(_spread(np.abs(sums) * (_CANCELS / count), lossy, result.size)).tolist():
            exact = _exactly(windows.values(i))
            result[i] = exact / windows.values(i).size if mean else exact
    finite = np.isfinite(result)
    if not finite.all():
        which = np.flatnonzero(~finite)
        nan, above, below = windows.strange(which)
        result[which] = np.where(nan | (above & below), np.nan, np.where(above, np.inf, -np.inf))
        for i in which[~(nan | above | below)].tolist():
            values = windows.values(i)
            result[i] = _exactly(values / values.size) if mean else _exactly(values)


def _spread(some: Floats, which: Places, size: int) -> Floats:
    whole = np.full(size, np.inf)
    whole[which] = some
    return whole


def _exactly(values: Floats) -> float:
    try:
        return math.fsum(values)
    except OverflowError:  # on the way, though perhaps not in the end
        return math.fsum(values / 2.0**60) * 2.0**60


def variance(windows: Summed) -> Floats:
    """Population variances."""
    n = windows.counts
    sums, squares = windows.moments()
    middle, result = sums / n, squares / n
    same, value = windows.constant()
    if same.size:
        result[same] = np.where(np.isfinite(value), 0.0, np.nan)
        middle[same] = 0.0
    narrow = np.flatnonzero(~(middle * middle * NARROW <= result) | ~np.isfinite(result))
    narrow = np.setdiff1d(narrow, same, assume_unique=True) if same.size else narrow
    if narrow.size:
        result[narrow] = windows.variances(narrow)
    return result


class One:
    """One window of several rows."""

    def __init__(self, v: Floats) -> None:
        self._v = v
        self.counts = v.shape[1]

    def plain(self) -> Floats:
        return folds.fold_sum(self._v)

    def within(self, sums: Floats) -> bool:
        return not sums.size  # a look costs as much as being sure

    def doubtful(self, bound: Floats) -> Places:
        v = self._v
        if v.shape[1] <= 2:  # nothing but the last place is rounded
            return np.zeros(0, np.intp)
        greatest = np.maximum(np.maximum.reduce(v, axis=1), -np.minimum.reduce(v, axis=1))
        return np.flatnonzero((greatest > bound) & (greatest < np.inf))

    def twice(self, which: Places) -> Floats:
        v = self._v[which]
        high, low = folds.fold((v, np.zeros_like(v)), folds.exact_plus, plain=True)
        return np.asarray(high + low)

    def values(self, i: int) -> Floats:
        return np.asarray(self._v[i])

    def constant(self) -> tuple[Places, Floats]:
        v = self._v
        which = np.flatnonzero(v[:, 0] == v[:, -1])
        if which.size and v.shape[1] > 2:
            which = which[(v[which] == v[which, :1]).all(axis=1)]
        return which, v[which, 0]

    def strange(self, which: Places) -> tuple[Bools, Bools, Bools]:
        v = self._v[which]
        nan, above, below = (np.asarray(flags.any(axis=1)) for flags in (np.isnan(v), v == np.inf, v == -np.inf))
        return nan, above, below

    def moments(self) -> tuple[Floats, Floats]:
        sums, squares = folds.fold((self._v, np.zeros_like(self._v)), folds.moments, plain=True)
        return sums, np.array(squares)

    def variances(self, which: Places) -> Floats:
        return numeric.variance(self._v[which])


class Several:
    """Many windows of one row."""

    def __init__(self, windows: Windows) -> None:
        self._windows = windows
        self._base = windows.reach()
        self._v = windows.v[self._base]
        self.counts = windows.counts

    def _fold(self, leaf: folds.Node, merge: folds.Merge) -> folds.Node:
        windows = self._windows
        if windows.step:
            return tuple(x[:: windows.step] for x in folds.slide(leaf, windows.n, merge))
        return folds.pick(leaf, array(windows.firsts) - self._base.start, np.asarray(windows.counts), merge)

    def plain(self) -> Floats:
        windows = self._windows
        if windows.step:
            return folds.slide_sum(self._v, windows.n)[:: windows.step]
        return self._fold((self._v,), folds.plus)[0]

    def within(self, sums: Floats) -> bool:
        low, high = float(np.minimum.reduce(self._v)), float(np.maximum.reduce(self._v))  # NaN goes through
        greatest = max(high, -low)
        longest = self.counts if isinstance(self.counts, int) else int(self.counts.max())
        if (low > 0 or high < 0) and greatest < 500.0 * min(abs(low), abs(high)) and greatest * longest < 1e308:
            return True  # a mean is no less than the least
        low, high = float(np.minimum.reduce(sums)), float(np.maximum.reduce(sums))
        least = low if low > 0 else -high if high < 0 else 0.0
        return high - low < np.inf and greatest <= least * (LOSES / longest)

    def doubtful(self, bound: Floats) -> Places:
        greatest = extreme(self._windows, np.maximum, np.abs(self._windows.v))
        return np.flatnonzero((greatest > bound) & (greatest < np.inf) & (np.asarray(self.counts) > 2))

    def twice(self, which: Places) -> Floats:
        leaf = self._v, np.zeros_like(self._v)
        if 4 * which.size > self._windows.size:
            high, low = (x[which] for x in self._fold(leaf, folds.exact_plus))
        else:
            high, low = Several(self._windows.those(which))._anywhere(folds.exact_plus)
        return np.asarray(high + low)

    def _anywhere(self, merge: folds.Merge) -> folds.Node:
        return self._fold((self._v, np.zeros_like(self._v)), merge)

    def values(self, i: int) -> Floats:
        return self._windows.v[self._windows.firsts[i] : self._windows.lasts[i]]

    def constant(self) -> tuple[Places, Floats]:
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
            which = which[moved[array(windows.firsts)[which] - start] == moved[array(windows.lasts)[which] - 1 - start]]
        return which, first[which]

    def strange(self, which: Places) -> tuple[Bools, Bools, Bools]:
        windows, v = self._windows, self._v
        firsts, lasts = array(windows.firsts)[which] - self._base.start, array(windows.lasts)[which] - self._base.start
        nan, above, below = (_held(flags, firsts, lasts) for flags in (np.isnan(v), v == np.inf, v == -np.inf))
        return nan, above, below

    def moments(self) -> tuple[Floats, Floats]:
        sums, squares = self._anywhere(folds.moments)
        return sums, np.array(squares)

    def variances(self, which: Places) -> Floats:
        result = np.empty(which.size)
        for some, rows in self._windows.those(which).rows():
            result[some] = numeric.variance(rows)
        return result


def _held(flags: Bools, firsts: Ints, lasts: Ints) -> Bools:
    """Whether some of the samples from `firsts` until before `lasts` is flagged."""
    count = np.zeros(flags.size + 1, np.int64)
    np.cumsum(flags, out=count[1:])
    return count[lasts] > count[firsts]


def in_pieces(of: Callable[[Windows], Floats], windows: Windows) -> Floats:
    """So many windows at a time as fit the cache."""
    if windows.size <= max(2 * windows.n, 2_048):
        return of(windows)
    result = np.empty(windows.size)
    for some, part in windows.pieces():
        result[some] = of(part)
    return result


def extreme(windows: Windows, of: np.ufunc, v: Floats) -> Floats:
    """`np.maximum` and its like, of the values `v` of each sample."""
    base = windows.reach()
    if windows.step:
        return blocks.widest(v[base], windows.n, of)[:: windows.step]
    return blocks.widest_of(v[base], array(windows.firsts) - base.start, np.asarray(windows.counts), of)


def extremes(windows: Windows, of: np.ufunc, past_nan: np.ufunc) -> Floats:
    """Maximum or minimum of each window, NaN only when all is NaN. Adding zero makes -0 and 0 one value."""
    result = extreme(windows, of, windows.v)
    if np.isnan(np.minimum.reduce(result, initial=np.inf)):
        result = extreme(windows, past_nan, windows.v)
    return np.add(result, 0.0, out=result)


def of_one(window: Window, what: Callable[[Summed], Floats]) -> Floats:
    v = window.v
    if len(v) == 1 and what is not variance and (plain := _plainly(v, mean=what is mean)) is not None:
        return np.array([plain])
    return what(One(v))


def _plainly(v: Floats, *, mean: bool) -> float | None:
    """`_settled` of one row in plain floats, where nothing is strange about it; None: it is."""
    n = v.shape[1]
    low, high = float(np.minimum.reduce(v, axis=None)), float(np.maximum.reduce(v, axis=None))
    if low == high:
        return low + 0.0 if mean else low * n + 0.0
    total = float(folds.fold_sum(v)[0])
    if not (-math.inf < total < math.inf and max(high, -low) <= abs(total) * (LOSES / n)):  # neither does NaN
        return None
    return total / n if mean else total + 0.0


def of_many(windows: Windows, what: Callable[[Summed], Floats]) -> Floats:
    return in_pieces(lambda some: what(Several(some)), windows)
