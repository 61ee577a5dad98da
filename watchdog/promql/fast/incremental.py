"""Windows that move on: from one round to the next only the samples that came are folded in.

The tree of `folds` has a shape that lets the past be remembered. Of each of its levels, nodes of 1, 2, 4, … samples, the
newest so many are kept as one of them holds samples: what a window needs of a level begins less than a node's length before
its end. A new sample makes one new node on each level, out of the last one below and the one that this now pushes out. So a
mean over a day costs some thirty additions, and they are the very ones that `folds` makes: the answers are the same bits.
Maxima need no tree: their order does not matter.

Whatever is not plain (a NaN, sums that cancel out) is left to the kernels.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np

from watchdog.promql.functions.averages import LOSSY_RATIO
from watchdog.tsdb.page import Floats, SeriesPage

_MAX_NEW_SAMPLES = 64
"""New samples that are folded in one by one; more are folded anew."""
_MAX_NUMBERS = 4_000_000
"""Numbers that are remembered, all windows together: 32 MB."""


class MemoryBudget:
    """How much is remembered for one set of series."""

    def __init__(self) -> None:
        self.used = 0


class IncrementalState(Protocol):
    """What is remembered of a window [begin, end); places are counted since the page began."""

    min_begin: int
    """Windows that begin earlier are none of its business, …"""
    max_begin: float
    """… nor those that begin here or later, …"""
    max_samples: int
    """… or hold so many samples or more."""

    def push(self, x: float, at: int) -> None:
        """One more sample, at that place."""

    def result(self, begin: int, end: int, /) -> float | None:
        """The value; None: it is not plain."""


class Incremental(NamedTuple):
    """How the windows of a function are remembered."""

    start: Callable[[Floats, int], IncrementalState]
    """Of a window's samples, and the place of its end."""
    numbers_per_sample: int
    """How many are remembered for each sample at most."""


class IncrementalWindow:
    """One function over one window of one row, from round to round."""

    __slots__ = (
        "_end",
        "_memory_budget",
        "_numbers_per_sample",
        "_page",
        "_reserved",
        "_rewrite_count",
        "_row",
        "_start",
        "_state",
    )

    def __init__(self, kind: Incremental, page: SeriesPage, row: int, room: MemoryBudget) -> None:
        self._start, self._numbers_per_sample = kind
        self._page, self._row, self._memory_budget = page, row, room
        self._state: IncrementalState | None = None
        self._end = self._rewrite_count = self._reserved = 0

    def value(self, first: int, last: int) -> float | None:
        """Of the columns from `first` until before `last`, at least one, all of them with a value. None: ask the kernel."""
        page, kept = self._page, self._state
        begin, end = page.trimmed_columns + first, page.trimmed_columns + last
        new = end - self._end
        if (
            kept is None
            or page.rewrite_count != self._rewrite_count
            or not 0 <= new <= _MAX_NEW_SAMPLES
            or not kept.min_begin <= begin < kept.max_begin
            or end - begin >= kept.max_samples
        ):
            if not self._reserve(last - first):
                return None
            kept = self._state = self._start(page.v[self._row, first:last], end)
            self._rewrite_count = page.rewrite_count
        elif new == 1:
            kept.push(page.v.item(self._row, last - 1), end - 1)
        elif new:
            for at, x in enumerate(page.v[self._row, last - new : last].tolist(), end - new):
                kept.push(x, at)
        self._end = end
        return kept.result(begin, end)

    def _reserve(self, n: int) -> bool:
        cost = self._numbers_per_sample * n
        if self._memory_budget.used - self._reserved + cost > _MAX_NUMBERS:
            self._state = None
            cost = 0
        self._memory_budget.used += cost - self._reserved
        self._reserved = cost
        return cost > 0


def _greatest_power_of_two(n: int) -> int:
    """The greatest power of two that is not above n."""
    return 1 << n.bit_length() - 1


def _build_levels(sums: Floats, end: int) -> array[float]:
    """The newest nodes of each level, for samples that end before `end`. The node of `size` samples that ends at a place
    stands at ``size + place % size``."""
    n, size = sums.size, 1
    ring = array("d", bytes(16 * _greatest_power_of_two(n)))
    view = np.frombuffer(ring)
    while True:
        many = min(size, sums.size)
        view[size + np.arange(end - many, end) % size] = sums[sums.size - many :]
        if 2 * size > n:
            return ring
        sums = sums[:-size] + sums[size:]
        size *= 2


def _constant_since(v: Floats) -> int:
    """From where on all samples are equal to the last one."""
    moved = np.flatnonzero(v[1:] != v[:-1])
    return int(moved[-1]) + 1 if moved.size else 0


class _SumState:
    """Sums and means."""

    def __init__(self, v: Floats, end: int, *, mean: bool) -> None:
        n = v.size
        self._mean, self._top = mean, _greatest_power_of_two(n)
        self.min_begin, self.max_begin, self.max_samples = end - n, math.inf, 2 * self._top
        with np.errstate(all="ignore"):
            self._ring = _build_levels(v, end)
            self._greatest = float(np.maximum.reduce(np.abs(v)))
        self._greatest_at = end - 1
        self._last_change = self.min_begin + _constant_since(v)
        self._last = float(v[-1])

    def push(self, x: float, at: int) -> None:
        if x != self._last:
            self._last_change, self._last = at, x
        size_of = abs(x)
        if not size_of < self._greatest:
            self._greatest, self._greatest_at = size_of, at
        ring, size, top = self._ring, 1, self._top
        while size <= top:
            place = size | (at & (size - 1))
            before = ring[place]
            ring[place] = x
            x = before + x
            size += size

    def result(self, begin: int, end: int) -> float | None:
        n = end - begin
        if self._last_change <= begin:
            same = self._last
            if not -math.inf < same * n < math.inf:
                return None
            return same + 0.0 if self._mean else same * n + 0.0
        ring, left, at = self._ring, n, end - 1
        size = n & -n
        total = ring[size | (at & (size - 1))]
        left -= size
        while left:
            at -= size
            size = left & -left
            total = ring[size | (at & (size - 1))] + total
            left -= size
        if not (-math.inf < total < math.inf and self._greatest <= abs(total) * (LOSSY_RATIO / n)):
            if self._greatest_at < begin:
                self.max_samples = 0  # it is greater than anything in there: to be looked up anew
            return None
        return total / n if self._mean else total + 0.0


class _ExtremeState:
    """Maxima and minima: of each place in the past until its end, and of what came since then."""

    def __init__(self, v: Floats, end: int, *, sign: float) -> None:
        self._sign = sign
        """-1: the least, which is the greatest of the negatives."""
        self.min_begin, self.max_begin, self.max_samples = end - v.size, float(end), 1 << 62
        self._last_invalid = -1
        if math.isnan(np.minimum.reduce(v)):
            self._last_invalid = self.min_begin + int(np.flatnonzero(np.isnan(v))[-1])
        self._suffix_max: Callable[[int], float] = np.maximum.accumulate((v * sign)[::-1])[::-1].item
        self._max_since = -math.inf

    def push(self, x: float, at: int) -> None:
        x *= self._sign
        if x > self._max_since:
            self._max_since = x
        elif x != x:
            self._last_invalid = at

    def result(self, begin: int, _: int) -> float | None:
        if self._last_invalid >= begin:
            return None
        return max(self._suffix_max(begin - self.min_begin), self._max_since) * self._sign + 0.0


SUMS = Incremental(partial(_SumState, mean=False), 2)
MEANS = Incremental(partial(_SumState, mean=True), 2)
MAXIMA = Incremental(partial(_ExtremeState, sign=1.0), 1)
MINIMA = Incremental(partial(_ExtremeState, sign=-1.0), 1)
