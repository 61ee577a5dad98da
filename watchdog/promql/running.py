"""Windows that move on: from one look to the next only the samples that came are folded in.

The tree of `folds` has a shape that lets the past be remembered. Of each of its levels, nodes of 1, 2, 4, … samples, the
newest so many are kept as one of them holds samples: what a window needs of a level begins less than a node's length before
its end. A new sample makes one new node on each level, out of the last one below and the one that this now pushes out. So a
mean over a day costs some thirty additions, and they are the very ones that `folds` makes: the answers are the same bits.
Maxima and drawdowns need no tree: their order does not matter.

Whatever is not plain (a NaN, sums that cancel out) is left to the kernels.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable
from functools import partial
from typing import Protocol

import numpy as np

from watchdog.promql.averages import LOSES, NARROW
from watchdog.promql.folds import moments
from watchdog.promql.pages import Floats, Page

_FEW = 64
"""New samples that are folded in one by one; more are folded anew."""
_ROOM = 4_000_000
"""Numbers that are remembered, all windows together: 32 MB."""


class Room:
    """How much is remembered for one set of series."""

    def __init__(self) -> None:
        self.taken = 0


class Kept(Protocol):
    """What is remembered of a window [begin, end); places are counted since the page began."""

    base: int
    """Windows that begin earlier are none of its business, …"""
    until: float
    """… nor those that begin here or later, …"""
    most: int
    """… or hold so many samples or more."""

    def push(self, x: float, at: int) -> None:
        """One more sample, at that place."""

    def tell(self, begin: int, end: int, /) -> float | None:
        """The value; None: it is not plain."""


class Running:
    """One function over one window of one row, from look to look."""

    __slots__ = ("_end", "_kept", "_kind", "_page", "_rewritten", "_room", "_row", "_taken", "_takes")

    def __init__(self, func: str, page: Page, row: int, room: Room) -> None:
        self._kind, self._takes = KINDS[func]
        self._page, self._row, self._room = page, row, room
        self._kept: Kept | None = None
        self._end = self._rewritten = self._taken = 0

    def value(self, first: int, last: int) -> float | None:
        """Of the columns from `first` until before `last`, at least one, all of them with a value. None: ask the kernel."""
        page, kept = self._page, self._kept
        begin, end = page.forgotten + first, page.forgotten + last
        new = end - self._end
        if (
            kept is None
            or page.rewritten != self._rewritten
            or not 0 <= new <= _FEW
            or not kept.base <= begin < kept.until
            or end - begin >= kept.most
        ):
            if not self._fits(last - first):
                return None
            kept = self._kept = self._kind(page.v[self._row, first:last], end)
            self._rewritten = page.rewritten
        elif new == 1:
            kept.push(page.v.item(self._row, last - 1), end - 1)
        elif new:
            for at, x in enumerate(page.v[self._row, last - new : last].tolist(), end - new):
                kept.push(x, at)
        self._end = end
        return kept.tell(begin, end)

    def _fits(self, n: int) -> bool:
        cost = self._takes * n
        if self._room.taken - self._taken + cost > _ROOM:
            self._kept = None
            cost = 0
        self._room.taken += cost - self._taken
        self._taken = cost
        return cost > 0


def _top(n: int) -> int:
    """The greatest power of two that is not above n."""
    return 1 << n.bit_length() - 1


def _filled(node: tuple[Floats, ...], end: int, merge: Callable[..., tuple[Floats, ...]]) -> list[array[float]]:
    """The newest nodes of each level, for samples that end before `end`. The node of `size` samples that ends at a place
    stands at ``size + place % size``."""
    n, size = node[0].size, 1
    rings = [array("d", bytes(16 * _top(n))) for _ in node]
    views = [np.frombuffer(ring) for ring in rings]
    while True:
        many = min(size, node[0].size)
        slots = size + np.arange(end - many, end) % size
        for view, x in zip(views, node, strict=True):
            view[slots] = x[x.size - many :]
        if 2 * size > n:
            return rings
        node = merge(tuple(x[:-size] for x in node), size, tuple(x[size:] for x in node), size)
        size *= 2


def _since(v: Floats) -> int:
    """From where on all samples are equal to the last one."""
    moved = np.flatnonzero(v[1:] != v[:-1])
    return int(moved[-1]) + 1 if moved.size else 0


class _Sums:
    """Sums and means."""

    def __init__(self, v: Floats, end: int, *, mean: bool) -> None:
        n = v.size
        self._mean, self._top = mean, _top(n)
        self.base, self.until, self.most = end - n, math.inf, 2 * self._top
        with np.errstate(all="ignore"):
            (self._rings,) = _filled((v,), end, lambda left, _, right, __: (left[0] + right[0],))
            self._greatest = float(np.maximum.reduce(np.abs(v)))
        self._greatest_at = end - 1
        self._moved = self.base + _since(v)
        self._last = float(v[-1])

    def push(self, x: float, at: int) -> None:
        if x != self._last:
            self._moved, self._last = at, x
        size_of = abs(x)
        if not size_of < self._greatest:
            self._greatest, self._greatest_at = size_of, at
        rings, size, top = self._rings, 1, self._top
        while size <= top:
            place = size | (at & (size - 1))
            before = rings[place]
            rings[place] = x
            x = before + x
            size += size

    def tell(self, begin: int, end: int) -> float | None:
        n = end - begin
        if self._moved <= begin:
            same = self._last
            if not -math.inf < same * n < math.inf:
                return None
            return same + 0.0 if self._mean else same * n + 0.0
        rings, left, at = self._rings, n, end - 1
        size = n & -n
        total = rings[size | (at & (size - 1))]
        left -= size
        while left:
            at -= size
            size = left & -left
            total = rings[size | (at & (size - 1))] + total
            left -= size
        if not (-math.inf < total < math.inf and self._greatest <= abs(total) * (LOSES / n)):
            if self._greatest_at < begin:
                self.most = 0  # it is greater than anything in there: to be looked up anew
            return None
        return total / n if self._mean else total + 0.0


class _Moments:
    """Variances, and their roots."""

    def __init__(self, v: Floats, end: int, *, root: bool) -> None:
        n = v.size
        self._root, self._top = root, _top(n)
        self.base, self.until, self.most = end - n, math.inf, 2 * self._top
        with np.errstate(all="ignore"):
            self._sums, self._squares = _filled((v, np.zeros(n)), end, moments)
        self._moved = self.base + _since(v)
        self._last = float(v[-1])

    def push(self, x: float, at: int) -> None:
        if x != self._last:
            self._moved, self._last = at, x
        sums, squares, size, top = self._sums, self._squares, 1, self._top
        square = 0.0
        while size <= top:
            place = size | (at & (size - 1))
            before, apart = sums[place], squares[place]
            sums[place], squares[place] = x, square
            distance = before - x
            x, square = before + x, (apart + square) + distance * distance * (0.5 / size)
            size += size

    def tell(self, begin: int, end: int) -> float | None:
        n = end - begin
        if self._moved <= begin:
            return 0.0 if -math.inf < self._last < math.inf else None
        sums, squares, at = self._sums, self._squares, end - 1
        size = n & -n
        place = size | (at & (size - 1))
        total, square, held, left = sums[place], squares[place], size, n - size
        while left:
            at -= size
            size = left & -left
            place = size | (at & (size - 1))
            before = sums[place]
            apart = before / size - total / held
            total, square = before + total, (squares[place] + square) + apart * apart * (size * held / (size + held))
            held, left = held + size, left - size
        middle, result = total / n, square / n
        if not (middle * middle * NARROW <= result < math.inf):
            return None
        return math.sqrt(result) if self._root else result


class _Extremes:
    """Maxima and minima: of each place in the past until its end, and of what came since then."""

    def __init__(self, v: Floats, end: int, *, sign: float) -> None:
        self._sign = sign
        """-1: the least, which is the greatest of the negatives."""
        self.base, self.until, self.most = end - v.size, float(end), 1 << 62
        self._odd = -1
        if math.isnan(np.minimum.reduce(v)):
            self._odd = self.base + int(np.flatnonzero(np.isnan(v))[-1])
        self._past: Callable[[int], float] = np.maximum.accumulate((v * sign)[::-1])[::-1].item
        self._since = -math.inf

    def push(self, x: float, at: int) -> None:
        x *= self._sign
        if x > self._since:
            self._since = x
        elif x != x:
            self._odd = at

    def tell(self, begin: int, _: int) -> float | None:
        if self._odd >= begin:
            return None
        return max(self._past(begin - self.base), self._since) * self._sign + 0.0


class _Drawdowns:
    """Greatest losses from a peak, of numbers above zero: as for extremes, with what is left of a peak at least."""

    def __init__(self, v: Floats, end: int) -> None:
        self.base, self.until, self.most = end - v.size, float(end), 1 << 62
        odd = np.flatnonzero(~((v > 0) & (v < np.inf)))
        self._odd = self.base + int(odd[-1]) if odd.size else -1
        back = v[::-1]
        with np.errstate(all="ignore"):
            left = np.minimum.accumulate(back) / back
        self._peaks: Callable[[int], float] = np.maximum.accumulate(back)[::-1].item
        self._lefts: Callable[[int], float] = np.minimum.accumulate(left)[::-1].item
        self._peak, self._low, self._left = 0.0, math.inf, 1.0

    def push(self, x: float, at: int) -> None:
        if not 0.0 < x < math.inf:
            self._odd = at  # when it has left the window, so has all that was before
            return
        if x > self._peak:
            self._peak = x
        elif (left := x / self._peak) < self._left:
            self._left = left
        self._low = min(self._low, x)

    def tell(self, begin: int, _: int) -> float | None:
        if self._odd >= begin:
            return None
        place = begin - self.base
        return 1.0 - min(self._low / self._peaks(place), self._lefts(place), self._left)


KINDS: dict[str, tuple[Callable[[Floats, int], Kept], int]] = {
    "avg_over_time": (partial(_Sums, mean=True), 2),
    "sum_over_time": (partial(_Sums, mean=False), 2),
    "stdvar_over_time": (partial(_Moments, root=False), 4),
    "stddev_over_time": (partial(_Moments, root=True), 4),
    "max_drawdown_over_time": (_Drawdowns, 2),
    "max_over_time": (partial(_Extremes, sign=1.0), 1),
    "min_over_time": (partial(_Extremes, sign=-1.0), 1),
}
"""Function → how its windows are remembered, and at most how many numbers for each sample."""
