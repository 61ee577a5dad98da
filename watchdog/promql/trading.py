"""What trading asks for and PromQL lacks, or says only in a roundabout way. Known to the embedded engine alone.

Each is a kernel on one window, and on many. NaN samples are no observations: they are passed over, except by the streaks, which one
of them ends.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from watchdog.promql import folds
from watchdog.promql.averages import in_pieces
from watchdog.promql.pages import Bools, Floats
from watchdog.promql.windows import Kernel, Many, Window, Windows, array, by_even_rows, flagged


def drawdown(window: Window) -> Floats:
    """Greatest loss from a peak to a later sample, as a share of the peak: 0.1 is ten percent.

    NaN where no peak is above zero: a share of nothing, or of a debt, says nothing.
    """
    v = window.v
    if len(v) == 1 and np.minimum.reduce(v, axis=None) > 0 and np.maximum.reduce(v, axis=None) < np.inf:
        return np.array([_loss(v[0])])
    peaks, troughs, losses = folds.fold(_leaf(v), _fall)
    for row in np.flatnonzero((troughs < 0) | (peaks == np.inf)).tolist():
        losses[row] = _one_by_one(v[row])
    return losses + 0.0


def _loss(v: Floats) -> float:
    """The fold of one row of numbers above zero: of its losses nothing but the greatest is wanted."""
    n, worst = v.size, 0.0
    peaks = troughs = v
    rest: tuple[float, float] | None = None  # peak and trough of what is left over on the right
    while n > _FEW:
        if n & 1:
            worst, rest = _left_over(worst, float(peaks[n - 1]), float(troughs[n - 1]), rest)
        n >>= 1
        before, after = peaks[0 : 2 * n : 2], troughs[1 : 2 * n : 2]
        fall = before - after
        worst = max(worst, float(np.maximum.reduce(np.divide(fall, before, out=fall))))
        peaks, troughs = np.maximum(before, peaks[1 : 2 * n : 2]), np.minimum(troughs[0 : 2 * n : 2], after)
    high, low = peaks[:n].tolist(), troughs[:n].tolist()
    while True:
        if n & 1:
            worst, rest = _left_over(worst, high[n - 1], low[n - 1], rest)
        n >>= 1
        if not n:
            return worst
        for i in range(0, 2 * n, 2):
            peak, trough = high[i], low[i + 1]
            if trough < peak and (fell := (peak - trough) / peak) > worst:
                worst = fell
        high = [max(high[i], high[i + 1]) for i in range(0, 2 * n, 2)]
        low = [min(low[i], low[i + 1]) for i in range(0, 2 * n, 2)]


_FEW = 24
"""So few are faster in plain floats."""


def _left_over(
    worst: float, peak: float, trough: float, rest: tuple[float, float] | None
) -> tuple[float, tuple[float, float]]:
    if rest is None:
        return worst, (peak, trough)
    return max(worst, (peak - rest[1]) / peak), (max(peak, rest[0]), min(trough, rest[1]))


def _drawdowns(windows: Windows) -> Floats:
    base = windows.reach()
    v = windows.v[base]
    usual = bool(np.minimum.reduce(v) > 0 and np.maximum.reduce(v) < np.inf)
    leaf, fall = ((v, v, np.zeros(v.size)), _fall_above_zero) if usual else (_leaf(v), _fall)
    if windows.step:
        peaks, troughs, losses = (x[:: windows.step] for x in folds.slide(leaf, windows.n, fall))
        losses = losses.copy()
    else:
        peaks, troughs, losses = folds.pick(leaf, array(windows.firsts) - base.start, np.asarray(windows.counts), fall)
    if usual:
        return losses
    for i in np.flatnonzero((troughs < 0) | (peaks == np.inf)).tolist():
        losses[i] = _one_by_one(windows.v[windows.firsts[i] : windows.lasts[i]])
    return losses + 0.0


def _leaf(v: Floats) -> folds.Node:
    return v, v, np.where(v > 0, 0.0, np.nan)


def _fall(left: folds.Node, _: object, right: folds.Node, __: object) -> folds.Node:
    """Peak, trough, and greatest loss between: of two windows in a row. Right as long as nothing is below zero: there a
    lower peak would seem to have lost more."""
    (peak, low, loss), (later, trough, lost) = left, right
    across = np.where(peak > 0, (peak - trough) / peak, np.nan)
    return np.fmax(peak, later), np.fmin(low, trough), np.fmax(np.fmax(loss, lost), across)


def _fall_above_zero(left: folds.Node, _: object, right: folds.Node, __: object) -> folds.Node:
    """The same of numbers above zero."""
    (peak, low, loss), (later, trough, lost) = left, right
    across = np.subtract(peak, trough)
    np.divide(across, peak, out=across)
    np.maximum(across, loss, out=across)
    return np.maximum(peak, later), np.minimum(low, trough), np.maximum(across, lost, out=across)


def _one_by_one(v: Floats) -> float:
    peaks = np.fmax.accumulate(v)
    return float(np.fmax.reduce(np.where(peaks > 0, (peaks - v) / peaks, np.nan)))


def _change_share(window: Window) -> Floats | None:
    """Share of samples that differ from the one before."""
    n = window.t.size
    if n < 2:
        return None
    return np.asarray(np.add.reduce(differ(window.v[:, :-1], window.v[:, 1:]), axis=1, dtype=np.float64) / (n - 1))


def differ(before: Floats, after: Floats) -> Bools:
    return np.asarray((before != after) & ~(np.isnan(before) & np.isnan(after)))


def _streak(holds: Callable[[Floats, float], Bools]) -> Kernel:
    """How many of the newest samples in a row are on one side of a limit."""

    def length(window: Window, limit: float) -> Floats:
        ended = ~holds(window.v[:, ::-1], limit)
        return np.where(ended.any(axis=1), ended.argmax(axis=1), window.t.size).astype(np.float64)

    return length


def _streaks(windows: Windows, limit: float, *, holds: Callable[[Floats, float], Bools]) -> Floats:
    base = windows.reach()
    ended = ~holds(windows.v[base], limit)
    newest = np.maximum.accumulate(np.where(ended, np.arange(base.start, base.stop), -1))
    last = array(windows.lasts) - 1
    return np.asarray(np.minimum(last - newest[last - base.start], windows.counts), np.float64)


def _below(v: Floats, limit: float) -> Bools:
    return v < limit


def _above(v: Floats, limit: float) -> Bools:
    return v > limit


def _moments(window: Window, half_life: float) -> tuple[Floats, Floats]:
    """Mean and variance; a sample weighs half as much as one that is `half_life` seconds younger."""
    if not half_life > 0:
        return np.full(len(window.v), np.nan), np.full(len(window.v), np.nan)
    age = (window.t[-1] - window.t) / 1_000
    weights = np.where(np.isnan(window.v), 0.0, np.exp2(-age / half_life))
    v = np.where(np.isnan(window.v), 0.0, window.v)
    # Distances from one of the values: the mean of a constant is that constant, and nothing great cancels out.
    origin = np.take_along_axis(v, weights.argmax(axis=1)[:, None], axis=1)
    apart = np.where(weights > 0, v - origin, 0.0)
    whole = np.add.reduce(weights, axis=1)
    shift = np.add.reduce(weights * apart, axis=1) / whole
    variance = np.add.reduce(weights * np.square(apart - shift[:, None]), axis=1) / whole
    return origin[:, 0] + shift, variance


def _average(window: Window, half_life: float) -> Floats:
    return _moments(window, half_life)[0]


def _volatility(window: Window, half_life: float) -> Floats:
    return np.sqrt(_moments(window, half_life)[1])


TRADING: dict[str, Kernel] = {
    "max_drawdown_over_time": drawdown,
    "change_share_over_time": _change_share,
    "streak_below_over_time": _streak(_below),
    "streak_above_over_time": _streak(_above),
    "ewma_over_time": _average,
    "ewm_volatility_over_time": _volatility,
}

TRADING_MANY: dict[Kernel, Many] = {
    drawdown: partial(in_pieces, _drawdowns),
    _change_share: lambda windows: flagged(windows, differ) / (windows.counts - 1),
    TRADING["streak_below_over_time"]: partial(_streaks, holds=_below),
    TRADING["streak_above_over_time"]: partial(_streaks, holds=_above),
    _average: partial(by_even_rows, kernel=_average),
    _volatility: partial(by_even_rows, kernel=_volatility),
}

SCALARS = {name: 0 if name in ("max_drawdown_over_time", "change_share_over_time") else 1 for name in TRADING}
"""How many scalars follow the range."""
