"""What trading asks for and PromQL lacks, or says only in a roundabout way. Known to the embedded engine alone.

Each is a kernel on one window. NaN samples are no observations: they are passed over, except by the streaks, which one
of them ends.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from watchdog.promql import numeric
from watchdog.promql.pages import Bools, Floats
from watchdog.promql.selectors import Kernel, Window


def drawdown(window: Window) -> Floats:
    """Greatest loss from a peak to a later sample, as a share of the peak: 0.1 is ten percent.

    NaN where no peak is above zero: a share of nothing, or of a debt, says nothing.
    """
    peaks = np.fmax.accumulate(window.v, axis=1)
    return numeric.highest(np.where(peaks > 0, (peaks - window.v) / peaks, np.nan))


def _change_share(window: Window) -> Floats | None:
    """Share of samples that differ from the one before."""
    n = window.t.size
    if n < 2:
        return None
    before, after = window.v[:, :-1], window.v[:, 1:]
    differ = (before != after) & ~(np.isnan(before) & np.isnan(after))
    return np.asarray(np.add.reduce(differ, axis=1, dtype=np.float64) / (n - 1))


def _streak(holds: Callable[[Floats, float], Bools]) -> Kernel:
    """How many of the newest samples in a row are on one side of a limit."""

    def length(window: Window, limit: float) -> Floats:
        ended = ~holds(window.v[:, ::-1], limit)
        return np.where(ended.any(axis=1), ended.argmax(axis=1), window.t.size).astype(np.float64)

    return length


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


TRADING: dict[str, Kernel] = {
    "max_drawdown_over_time": drawdown,
    "change_share_over_time": _change_share,
    "streak_below_over_time": _streak(lambda v, limit: v < limit),
    "streak_above_over_time": _streak(lambda v, limit: v > limit),
    "ewma_over_time": lambda window, half_life: _moments(window, half_life)[0],
    "ewm_volatility_over_time": lambda window, half_life: np.sqrt(_moments(window, half_life)[1]),
}

SCALARS = {name: 0 if name in ("max_drawdown_over_time", "change_share_over_time") else 1 for name in TRADING}
"""How many scalars follow the range."""
