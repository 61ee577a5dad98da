"""Sliding windows of what does not depend on order (maximum, minimum, maximum drawdown), a block of windows at a time.

Windows that begin in one block of samples have most of what they hold in common: their core. Together they reach a block
further to either side. What is said of the core and of the whole reach alike is said of each of them, for it can only
grow on the way from one to the other. Where it differs, and only there, samples are looked at one by one: from the left
block's end backwards, and from the core forwards.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from watchdog.tsdb.page import Floats, Ints

MIN_WINDOW_SAMPLES = 64
"""Windows of fewer samples are not worth it."""
_MAX_BLOCK_SIZE = 256

IndexArray = npt.NDArray[np.intp]


class WindowBlocks:
    """The samples under all windows of `n` that follow each other, in blocks of `size`.

    Windows of group g begin in block g. Their core is the `whole` blocks from g + 1 on; beyond it they reach `over` to
    `over + size - 1` samples into the two blocks that follow.
    """

    __slots__ = ("_grid", "_tail", "core_blocks", "count", "groups", "overhang", "size")

    def __init__(self, x: Floats, n: int) -> None:
        """`n` is at least `MIN_WINDOW_SAMPLES`."""
        self.size = size = min(_MAX_BLOCK_SIZE, 1 << (n.bit_length() - 3))
        self.count = x.size - n + 1
        self.groups = -(-self.count // size)
        self.core_blocks, self.overhang = n // size - 1, n % size
        filled = x.size // size
        self._grid = x[: filled * size].reshape(filled, size)
        # The last sample stands for those that are not there: it lies in the last windows anyway.
        self._tail = np.full((self.groups + self.core_blocks + 2 - filled, size), x[-1])
        left = x[filled * size :]
        self._tail.ravel()[: left.size] = left

    def block_arrays(self) -> tuple[Floats, Floats]:
        """All blocks, [some, size] each."""
        return self._grid, self._tail

    def copy_blocks(self, which: IndexArray) -> Floats:
        """A copy of these blocks."""
        filled = len(self._grid)
        if not which.size or int(which[-1]) < filled:
            return self._grid[which]
        split = int(which.searchsorted(filled))
        return np.concatenate((self._grid[which[:split]], self._tail[which[split:] - filled]))

    def samples_after_core(self, which: IndexArray, first: Floats) -> Floats:
        """Of these groups what follows the core, with `first` ahead of it. [those, over + size]"""
        found = np.empty((which.size, 1 + 2 * self.size))
        found[:, 0] = first
        found[:, 1 : 1 + self.size] = self.copy_blocks(which + self.core_blocks + 1)
        found[:, 1 + self.size :] = self.copy_blocks(which + self.core_blocks + 2)
        return found[:, : self.overhang + self.size]

    def repeat_per_window(self, core: Floats) -> Floats:
        """What the cores say, said of each window. [groups, size]"""
        return np.repeat(core, self.size).reshape(self.groups, self.size)


def accumulate_backwards(of: np.ufunc, rows: Floats) -> Floats:
    """`of` of each sample and those after it in its row."""
    return np.asarray(of.accumulate(rows[:, ::-1], axis=1)[:, ::-1])


def sliding_extreme(x: Floats, n: int, extreme: np.ufunc) -> Floats:
    """`extreme` (any of max and min) of all windows of `n` samples that follow each other: [m] → [m - n + 1]."""
    if n < MIN_WINDOW_SAMPLES:
        return _sliding_extreme_by_doubling(x, n, extreme)
    blocks = WindowBlocks(x, n)
    groups, whole, size = blocks.groups, blocks.core_blocks, blocks.size
    most = np.concatenate([extreme.reduce(part, axis=1) for part in blocks.block_arrays()])
    core = sliding_extreme(most[1:-2], whole, extreme)
    further = extreme(most[whole + 1 :][:groups], most[whole + 2 :][:groups])
    which = np.flatnonzero(extreme(extreme(most[:groups], further), core) != core)  # NaN too is looked at
    if 2 * which.size > groups:  # two pieces at the right end and one at the left reach everywhere
        ends, many = _sliding_extreme_by_doubling(x, size, extreme), blocks.count
        right = extreme(ends[n - size :][:many], ends[n - 2 * size :][:many])
        extreme(right, ends[:many], out=right)
        return np.asarray(extreme(right, np.repeat(core, size)[:many], out=right))
    result = blocks.repeat_per_window(core)
    if which.size:
        after = extreme.accumulate(blocks.samples_after_core(which, core[which]), axis=1)
        result[which] = extreme(accumulate_backwards(extreme, blocks.copy_blocks(which)), after[:, blocks.overhang :])
    return result.reshape(-1)[: blocks.count]


def _sliding_extreme_by_doubling(x: Floats, n: int, extreme: np.ufunc) -> Floats:
    """The same, two overlapping pieces each."""
    result = np.empty(x.size - n + 1)
    size = 1 << max(0, (n - 1).bit_length() - 1)  # of the pieces
    for start in range(0, result.size, _CHUNK_SIZE):
        out = result[start : start + _CHUNK_SIZE]
        some, at = x[start : start + _CHUNK_SIZE + n - 1], 1
        while at < size:
            some, at = extreme(some[:-at], some[at:]), 2 * at
        extreme(some[: out.size], some[n - size :][: out.size], out=out)
    return result


_CHUNK_SIZE = 16_384
"""Windows that are worked out together: what is touched on the way stays in the processor's cache."""


def window_extremes(x: Floats, firsts: Ints, counts: Ints, extreme: np.ufunc) -> Floats:
    """The same of any windows: two overlapping pieces each."""
    if (first := common_start(firsts)) is not None:
        return np.asarray(extreme.accumulate(x[first:])[counts - 1])
    result = np.empty(firsts.size)
    top, size = int(counts.max(initial=0)), 1
    while size <= top:
        which = np.flatnonzero((counts >= size) & (counts < 2 * size))
        if which.size:
            at = firsts[which]
            result[which] = extreme(x[at], x[at + counts[which] - size])
        if 2 * size <= top:
            x = extreme(x[:-size], x[size:])
        size *= 2
    return result


def common_start(firsts: Ints) -> int | None:
    """Where all windows begin, such as at the beginning of history; None where they begin here and there."""
    return int(firsts[0]) if firsts.size and bool((firsts == firsts[0]).all()) else None
