"""The maximum drawdown: of one window of several rows, and of many windows of one row, bit for bit alike.

What is left of a peak is a later sample divided by it, and the drawdown is 1 less the least of those. Division is rounded
to the nearest number, so of greater peaks and lower troughs never more seems to be left: which pairs were looked at, and
in which order, leaves no trace as long as the one that counts is among them.
"""

from __future__ import annotations

import numpy as np

from watchdog.promql import blocks, folds
from watchdog.promql.blocks import Blocks, backwards
from watchdog.promql.pages import Floats
from watchdog.promql.windows import Window, Windows, array


def drawdown(window: Window) -> Floats:
    """Greatest loss from a peak to a later sample, as a share of the peak: 0.1 is ten percent.

    NaN where no peak is above zero: a share of nothing, or of a debt, says nothing.
    """
    v = window.v
    if v.size and np.minimum.reduce(v, axis=None) > 0 and np.maximum.reduce(v, axis=None) < np.inf:
        return 1.0 - (np.array([_left_of(v[0])]) if len(v) == 1 and v.size >= _LONG else _left(v))
    return np.array([_any(row) for row in v])


_LONG = 8_192
"""So many samples are looked at in blocks."""
_BLOCK = 256


def _left(rows: Floats) -> Floats:
    """The least that is left of a peak, of rows of numbers above zero."""
    peaks = np.maximum.accumulate(rows, axis=1)
    return np.asarray(np.minimum.reduce(np.divide(rows, peaks, out=peaks), axis=1))


def _left_of(v: Floats) -> float:
    """The same of one long row: of most blocks the peak and the trough tell that nothing in them counts."""
    filled = v.size // _BLOCK
    grid = v[: filled * _BLOCK].reshape(filled, _BLOCK)
    high, low = np.maximum.reduce(grid, axis=1), np.minimum.reduce(grid, axis=1)
    peaks = np.maximum.accumulate(high)
    least = float(np.minimum.reduce(low[1:] / peaks[:-1]))
    if v.size > filled * _BLOCK:
        rest = v[filled * _BLOCK :]
        least = min(least, float(np.minimum.reduce(rest)) / float(peaks[-1]), float(_left(rest[None])[0]))
    if least == 1.0 and not (v[1:] < v[:-1]).any():
        return 1.0
    bound = low / high
    which, at, some = np.flatnonzero(bound < least), 0, 4
    which = which[bound[which].argsort()]
    while at < which.size and bound[which[at]] < least:
        least = min(least, float(np.minimum.reduce(_left(grid[which[at : at + some]]))))
        at, some = at + some, 2 * some
    return least


def _any(v: Floats) -> float:
    """Of one row of whatever numbers, from the highest peak so far."""
    with np.errstate(all="ignore"):
        peaks = np.fmax.accumulate(v)
        left = np.where((peaks > 0) & (peaks < np.inf), v / peaks, np.nan)
    return 1.0 - float(np.fmin.reduce(left))


def drawdowns(windows: Windows) -> Floats:
    """The same of many windows of one series."""
    base = windows.reach()
    v = windows.v[base]
    if np.minimum.reduce(v) > 0 and np.maximum.reduce(v) < np.inf:
        return 1.0 - _lefts(windows, v)
    leaf = v, v, np.where(v > 0, 1.0, np.nan)
    if windows.step:
        peaks, troughs, left = (x[:: windows.step] for x in folds.slide(leaf, windows.n, _fall_of_any))
    else:
        peaks, troughs, left = folds.pick(
            leaf, array(windows.firsts) - base.start, np.asarray(windows.counts), _fall_of_any
        )
    losses = 1.0 - left
    # Below zero a lower peak would seem to have lost more than a higher one.
    for i in np.flatnonzero((troughs < 0) | (peaks == np.inf)).tolist():
        losses[i] = _any(windows.v[windows.firsts[i] : windows.lasts[i]])
    return losses


def _lefts(windows: Windows, v: Floats) -> Floats:
    """The least that is left of a peak in each window, of numbers above zero."""
    if windows.step and windows.n >= blocks.LEAST:
        return _sliding(Blocks(v, windows.n))[:: windows.step]
    if windows.step:
        return folds.slide((v, v, np.ones(v.size)), windows.n, fall)[2][:: windows.step]
    firsts, counts = array(windows.firsts) - windows.reach().start, np.asarray(windows.counts)
    if (first := blocks.common(firsts)) is not None:
        v = v[first:]
        peaks = np.maximum.accumulate(v)
        return np.asarray(np.minimum.accumulate(np.divide(v, peaks, out=peaks))[counts - 1])
    return folds.pick((v, v, np.ones(v.size)), firsts, counts, fall)[2]


def _sliding(windows: Blocks) -> Floats:
    groups, whole, over = windows.groups, windows.whole, windows.over
    parts = windows.parts()
    high, low = (np.concatenate([of.reduce(part, axis=1) for part in parts]) for of in (np.maximum, np.minimum))
    said = high, low, np.ones(high.size)
    core = folds.slide(tuple(x[1:-2] for x in said), whole, fall)
    # Within a block no more is lost than from its peak to its trough: mostly less than from one block to the next.
    deep = np.flatnonzero(low / high < np.maximum.reduce(core[2]))
    if deep.size:
        said[2][deep] = _left(windows.rows(deep))
        core = folds.slide(tuple(x[1:-2] for x in said), whole, fall)
    reach = fall(tuple(x[:groups] for x in said), 1, core, 1)
    for after in (whole + 1, whole + 2):
        reach = fall(reach, 1, tuple(x[after : after + groups] for x in said), 1)
    result = windows.told(core[2])
    which = np.flatnonzero(reach[2] < core[2])
    for start in range(0, which.size, _AT_ONCE):
        some = which[start : start + _AT_ONCE]
        x = windows.beyond(some, core[0][some])
        peaks = np.maximum.accumulate(x, axis=1)
        left = np.divide(x, peaks, out=peaks)
        left[:, 0] = core[2][some]
        np.minimum.accumulate(left, axis=1, out=left)
        x[:, 0] = core[1][some]
        troughs = np.minimum.accumulate(x, axis=1)
        before = windows.rows(some)
        lows, highs = backwards(np.minimum, before), backwards(np.maximum, before)
        fell = backwards(np.minimum, lows / before)
        across = troughs[:, over:] / highs
        result[some] = np.minimum(np.minimum(fell, left[:, over:]), across)
    return result.reshape(-1)[: windows.count]


_AT_ONCE = 64
"""Groups of windows that are worked out together, in the processor's cache."""


def fall(left: folds.Node, _: object, right: folds.Node, __: object) -> folds.Node:
    """Peak, trough, and what is left at least of a peak: of two windows in a row, of numbers above zero."""
    (peak, low, least), (later, trough, less) = left, right
    across = np.divide(trough, peak)
    np.minimum(across, least, out=across)
    return np.maximum(peak, later), np.minimum(low, trough), np.minimum(across, less, out=across)


def _fall_of_any(left: folds.Node, _: object, right: folds.Node, __: object) -> folds.Node:
    """The same of any numbers; right as long as none is below zero."""
    (peak, low, least), (later, trough, less) = left, right
    across = np.where(peak > 0, trough / peak, np.nan)
    return np.fmax(peak, later), np.fmin(low, trough), np.fmin(np.fmin(least, less), across)
