"""What is known of a page's samples block by block, so that long stretches of them need not be read one by one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from watchdog.promql.eval.window_columns import cached_spacing
from watchdog.promql.functions import sliding_extremes
from watchdog.promql.functions.windows import CHUNK_SIZE
from watchdog.tsdb.page import Bools, Floats, Ints, SeriesPage

BLOCK_SIZE = 128
"""Columns that are told of together."""


class BlockSummary:
    """One page, in blocks; each thing is worked out when it is first asked for. The page may not change meanwhile."""

    def __init__(self, page: SeriesPage) -> None:
        self.page = page
        self.spacing = cached_spacing(page, 0, page.t.size)
        """ms from each sample to the next; 0 where that varies."""
        self._gaps: tuple[Ints, Ints] | None = None
        self._extremes: dict[int, tuple[Floats, Floats]] = {}
        self._sums: dict[tuple[int, Callable[[Floats, Floats], Floats | Bools]], Floats] = {}

    def min_max_distances(self) -> tuple[Ints, Ints]:
        """[blocks] ms: the least and the greatest distance of a sample from the one before."""
        if self._gaps is None:
            t = self.page.t
            if self.spacing:
                same = np.full(-(-t.size // BLOCK_SIZE), self.spacing)
                self._gaps = same, same
            else:
                self._gaps = _min_max_by_block(t.size, np.int64, lambda start, stop: _distances(t, start, stop))
        return self._gaps

    def count_until(self, times: Ints) -> Ints:
        """[n] how many samples there are up to each time, inclusive."""
        t = self.page.t
        if not self.spacing:
            return t.searchsorted(times, "right")
        found: Ints = np.clip((times - t[0]) // self.spacing + 1, 0, t.size)
        return found

    def block_min_max(self, row: int) -> tuple[Floats, Floats]:
        """[blocks] least and greatest value of a row; NaN where some cell has no number."""
        if row not in self._extremes:
            v = self.page.v[row]
            self._extremes[row] = _min_max_by_block(v.size, np.float64, lambda start, stop: v[start:stop])
        return self._extremes[row]

    def column_min_max(self, row: int, froms: Ints, untils: Ints) -> tuple[Floats, Floats]:
        """Least and greatest value of a row within these columns."""
        low, high = self.block_min_max(row)
        return extreme_of_blocks(low, froms, untils, np.minimum), extreme_of_blocks(high, froms, untils, np.maximum)

    def cumulative_sums(self, row: int, of: Callable[[Floats, Floats], Floats | Bools]) -> Floats:
        """[blocks + 1] running sums of what `of` says of each sample and the one before; nothing where one is no number."""
        if (row, of) not in self._sums:
            v = self.page.v[row]
            many = -(-v.size // BLOCK_SIZE)
            sums = np.zeros(many + 1)
            for start in range(0, v.size, CHUNK_SIZE):
                low, high = max(1, start), min(start + CHUNK_SIZE, v.size)
                said = np.zeros(high - start)
                said[low - start :] = of(v[low - 1 : high - 1], v[low:high])
                said[~np.isfinite(said)] = 0.0  # else one of them would hide all that follow
                at = start // BLOCK_SIZE + 1
                told = np.add.reduceat(said, np.arange(0, said.size, BLOCK_SIZE))
                sums[at : at + told.size] = told
            self._sums[row, of] = np.cumsum(sums)
        return self._sums[row, of]


def _distances(t: Ints, start: int, stop: int) -> Ints:
    """From the sample before; the first of all is said to be as far away as the second one is from it."""
    if start or stop < 2:
        return t[start:stop] - t[start - 1 : stop - 1] if start else np.zeros(stop, np.int64)
    found = np.diff(t[:stop], prepend=0)
    found[0] = found[1]
    return found


def _min_max_by_block(size: int, kind: type, part: Callable[[int, int], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest of each block."""
    many = -(-size // BLOCK_SIZE)
    low: np.ndarray = np.empty(many, kind)
    high: np.ndarray = np.empty(many, kind)
    for start in range(0, size, CHUNK_SIZE):
        stop = min(start + CHUNK_SIZE, size)
        some = part(start, stop)
        whole, at = some.size // BLOCK_SIZE, start // BLOCK_SIZE
        grid = some[: whole * BLOCK_SIZE].reshape(whole, BLOCK_SIZE)
        np.minimum.reduce(grid, axis=1, out=low[at : at + whole])
        np.maximum.reduce(grid, axis=1, out=high[at : at + whole])
        if whole * BLOCK_SIZE < some.size:
            low[-1], high[-1] = some[whole * BLOCK_SIZE :].min(), some[whole * BLOCK_SIZE :].max()
    return low, high


def extreme_of_blocks(x: np.ndarray, froms: Ints, untils: Ints, extreme: np.ufunc) -> np.ndarray:
    """`extreme` (maximum or minimum) over all blocks that hold some of the columns from `froms` until before `untils`."""
    first = np.minimum(froms // BLOCK_SIZE, x.size - 1)
    return sliding_extremes.window_extremes(x, first, np.maximum(-(-untils // BLOCK_SIZE) - first, 1), extreme)
