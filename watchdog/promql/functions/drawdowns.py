"""The maximum drawdown: of one window of several rows, and of many windows of one row, bit for bit alike.

What is left of a peak is a later sample divided by it, and the drawdown is 1 less the least of those. Division is rounded
to the nearest number, so of greater peaks and lower troughs never more seems to be left: which pairs were looked at, and
in which order, leaves no trace as long as the one that counts is among them.
"""

from __future__ import annotations

import numpy as np

from watchdog.promql.functions import folds, sliding_extremes
from watchdog.promql.functions.sliding_extremes import WindowBlocks, accumulate_backwards
from watchdog.promql.functions.windows import Window, WindowBatch, in_chunks, to_array
from watchdog.tsdb.page import Floats


def max_drawdown(window: Window) -> Floats:
    """Greatest loss from a peak to a later sample, as a share of the peak: 0.1 is ten percent.

    NaN where no peak is above zero: a share of nothing, or of a debt, says nothing.
    """
    v = window.v
    if v.size and np.minimum.reduce(v, axis=None) > 0 and np.maximum.reduce(v, axis=None) < np.inf:
        return 1.0 - (
            np.array([_min_remaining_by_blocks(v[0])])
            if len(v) == 1 and v.size >= _MIN_BLOCKED_SAMPLES
            else _min_remaining(v)
        )
    return np.array([_drawdown_of_any(row) for row in v])


_MIN_BLOCKED_SAMPLES = 8_192
"""So many samples are looked at in blocks."""
_BLOCK_SIZE = 256


def _min_remaining(rows: Floats) -> Floats:
    """The least that is left of a peak, of rows of numbers above zero."""
    peaks = np.maximum.accumulate(rows, axis=1)
    return np.asarray(np.minimum.reduce(np.divide(rows, peaks, out=peaks), axis=1))


def _min_remaining_by_blocks(v: Floats) -> float:
    """The same of one long row: of most blocks the peak and the trough tell that nothing in them counts."""
    filled = v.size // _BLOCK_SIZE
    grid = v[: filled * _BLOCK_SIZE].reshape(filled, _BLOCK_SIZE)
    high, low = np.maximum.reduce(grid, axis=1), np.minimum.reduce(grid, axis=1)
    peaks = np.maximum.accumulate(high)
    least = float(np.minimum.reduce(low[1:] / peaks[:-1]))
    if v.size > filled * _BLOCK_SIZE:
        rest = v[filled * _BLOCK_SIZE :]
        least = min(least, float(np.minimum.reduce(rest)) / float(peaks[-1]), float(_min_remaining(rest[None])[0]))
    if least == 1.0 and not (v[1:] < v[:-1]).any():
        return 1.0
    bound = low / high
    which, at, some = np.flatnonzero(bound < least), 0, 4
    which = which[bound[which].argsort()]
    while at < which.size and bound[which[at]] < least:
        least = min(least, float(np.minimum.reduce(_min_remaining(grid[which[at : at + some]]))))
        at, some = at + some, 2 * some
    return least


def _drawdown_of_any(v: Floats) -> float:
    """Of one row of whatever numbers, from the highest peak so far."""
    with np.errstate(all="ignore"):
        peaks = np.fmax.accumulate(v)
        left = np.where((peaks > 0) & (peaks < np.inf), v / peaks, np.nan)
    return 1.0 - float(np.fmin.reduce(left))


def max_drawdowns(windows: WindowBatch) -> Floats:
    """The same of many windows of one series."""
    return in_chunks(_max_drawdowns, windows)


def _max_drawdowns(windows: WindowBatch) -> Floats:
    base = windows.sample_slice()
    v = windows.v[base]
    if np.minimum.reduce(v) > 0 and np.maximum.reduce(v) < np.inf:
        return 1.0 - _min_remaining_per_window(windows, v)
    leaf = v, v, np.where(v > 0, 1.0, np.nan)
    if windows.step:
        peaks, troughs, left = (
            x[:: windows.step] for x in folds.fold_sliding(leaf, windows.samples_per_window, _combine_drawdowns_of_any)
        )
    else:
        peaks, troughs, left = folds.fold_windows(
            leaf, to_array(windows.firsts) - base.start, np.asarray(windows.counts), _combine_drawdowns_of_any
        )
    losses = 1.0 - left
    # Below zero a lower peak would seem to have lost more than a higher one.
    for i in np.flatnonzero((troughs < 0) | (peaks == np.inf)).tolist():
        losses[i] = _drawdown_of_any(windows.v[windows.firsts[i] : windows.lasts[i]])
    return losses


def _min_remaining_per_window(windows: WindowBatch, v: Floats) -> Floats:
    """The least that is left of a peak in each window, of numbers above zero."""
    if windows.step and windows.samples_per_window >= sliding_extremes.MIN_WINDOW_SAMPLES:
        return _min_remaining_sliding(WindowBlocks(v, windows.samples_per_window))[:: windows.step]
    if windows.step:
        return folds.fold_sliding((v, v, np.ones(v.size)), windows.samples_per_window, combine_drawdowns)[2][
            :: windows.step
        ]
    firsts, counts = to_array(windows.firsts) - windows.sample_slice().start, np.asarray(windows.counts)
    if (first := sliding_extremes.common_start(firsts)) is not None:
        v = v[first:]
        peaks = np.maximum.accumulate(v)
        return np.asarray(np.minimum.accumulate(np.divide(v, peaks, out=peaks))[counts - 1])
    return folds.fold_windows((v, v, np.ones(v.size)), firsts, counts, combine_drawdowns)[2]


def _min_remaining_sliding(windows: WindowBlocks) -> Floats:
    groups, whole, over = windows.groups, windows.core_blocks, windows.overhang
    parts = windows.block_arrays()
    high, low = (np.concatenate([of.reduce(part, axis=1) for part in parts]) for of in (np.maximum, np.minimum))
    said = high, low, np.ones(high.size)
    core = folds.fold_sliding(tuple(x[1:-2] for x in said), whole, combine_drawdowns)
    # Within a block no more is lost than from its peak to its trough: mostly less than from one block to the next.
    deep = np.flatnonzero(low / high < np.maximum.reduce(core[2]))
    if deep.size:
        said[2][deep] = _min_remaining(windows.copy_blocks(deep))
        core = folds.fold_sliding(tuple(x[1:-2] for x in said), whole, combine_drawdowns)
    reach = combine_drawdowns(tuple(x[:groups] for x in said), 1, core, 1)
    for after in (whole + 1, whole + 2):
        reach = combine_drawdowns(reach, 1, tuple(x[after : after + groups] for x in said), 1)
    result = windows.repeat_per_window(core[2])
    which = np.flatnonzero(reach[2] < core[2])
    for start in range(0, which.size, _GROUPS_AT_ONCE):
        some = which[start : start + _GROUPS_AT_ONCE]
        x = windows.samples_after_core(some, core[0][some])
        peaks = np.maximum.accumulate(x, axis=1)
        left = np.divide(x, peaks, out=peaks)
        left[:, 0] = core[2][some]
        np.minimum.accumulate(left, axis=1, out=left)
        x[:, 0] = core[1][some]
        troughs = np.minimum.accumulate(x, axis=1)
        before = windows.copy_blocks(some)
        lows, highs = accumulate_backwards(np.minimum, before), accumulate_backwards(np.maximum, before)
        fell = accumulate_backwards(np.minimum, lows / before)
        across = troughs[:, over:] / highs
        result[some] = np.minimum(np.minimum(fell, left[:, over:]), across)
    return result.reshape(-1)[: windows.count]


_GROUPS_AT_ONCE = 64
"""Groups of windows that are worked out together, in the processor's cache."""


def combine_drawdowns(left: folds.FoldNode, _: object, right: folds.FoldNode, __: object) -> folds.FoldNode:
    """Peak, trough, and what is left at least of a peak: of two windows in a row, of numbers above zero."""
    (peak, low, least), (later, trough, less) = left, right
    across = np.divide(trough, peak)
    np.minimum(across, least, out=across)
    return np.maximum(peak, later), np.minimum(low, trough), np.minimum(across, less, out=across)


def _combine_drawdowns_of_any(left: folds.FoldNode, _: object, right: folds.FoldNode, __: object) -> folds.FoldNode:
    """The same of any numbers; right as long as none is below zero."""
    (peak, low, least), (later, trough, less) = left, right
    across = np.where(peak > 0, trough / peak, np.nan)
    return np.fmax(peak, later), np.fmin(low, trough), np.fmin(np.fmin(least, less), across)
