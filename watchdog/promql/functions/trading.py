"""What trading asks for and PromQL lacks, or says only in a roundabout way. Known to the embedded engine alone.

Each is a kernel on one window, and on many. NaN samples are no observations: they are passed over, except by the streaks, which one
of them ends.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from watchdog.promql.functions.averages import in_chunks
from watchdog.promql.functions.drawdowns import max_drawdown, max_drawdowns
from watchdog.promql.functions.windows import (
    BatchKernel,
    RangeKernel,
    Window,
    WindowBatch,
    apply_to_even_rows,
    count_flagged,
    to_array,
)
from watchdog.tsdb.page import Bools, Floats


def _change_share_over_time(window: Window) -> Floats | None:
    """Share of samples that differ from the one before."""
    n = window.t.size
    if n < 2:
        return None
    return np.asarray(np.add.reduce(differs(window.v[:, :-1], window.v[:, 1:]), axis=1, dtype=np.float64) / (n - 1))


def differs(before: Floats, after: Floats) -> Bools:
    return np.asarray((before != after) & ~(np.isnan(before) & np.isnan(after)))


def _streak_kernel(holds: Callable[[Floats, float], Bools]) -> RangeKernel:
    """How many of the newest samples in a row are on one side of a limit."""

    def length(window: Window, limit: float) -> Floats:
        ended = ~holds(window.v[:, ::-1], limit)
        return np.where(ended.any(axis=1), ended.argmax(axis=1), window.t.size).astype(np.float64)

    return length


def _streak_lengths(windows: WindowBatch, limit: float, *, holds: Callable[[Floats, float], Bools]) -> Floats:
    base = windows.sample_slice()
    ended = ~holds(windows.v[base], limit)
    newest = np.maximum.accumulate(np.where(ended, np.arange(base.start, base.stop), -1))
    last = to_array(windows.lasts) - 1
    return np.asarray(np.minimum(last - newest[last - base.start], windows.counts), np.float64)


def _below(v: Floats, limit: float) -> Bools:
    return v < limit


def _above(v: Floats, limit: float) -> Bools:
    return v > limit


def _weighted_moments(window: Window, half_life: float) -> tuple[Floats, Floats]:
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


def _ewma(window: Window, half_life: float) -> Floats:
    return _weighted_moments(window, half_life)[0]


def _ewm_volatility(window: Window, half_life: float) -> Floats:
    return np.sqrt(_weighted_moments(window, half_life)[1])


TRADING_FUNCTIONS: dict[str, RangeKernel] = {
    "max_drawdown_over_time": max_drawdown,
    "change_share_over_time": _change_share_over_time,
    "streak_below_over_time": _streak_kernel(_below),
    "streak_above_over_time": _streak_kernel(_above),
    "ewma_over_time": _ewma,
    "ewm_volatility_over_time": _ewm_volatility,
}

TRADING_BATCH_KERNELS: dict[RangeKernel, BatchKernel] = {
    max_drawdown: partial(in_chunks, max_drawdowns),
    _change_share_over_time: lambda windows: count_flagged(windows, differs) / (windows.counts - 1),
    TRADING_FUNCTIONS["streak_below_over_time"]: partial(_streak_lengths, holds=_below),
    TRADING_FUNCTIONS["streak_above_over_time"]: partial(_streak_lengths, holds=_above),
    _ewma: partial(apply_to_even_rows, kernel=_ewma),
    _ewm_volatility: partial(apply_to_even_rows, kernel=_ewm_volatility),
}

SCALAR_ARGUMENT_COUNTS = {
    name: 0 if name in ("max_drawdown_over_time", "change_share_over_time") else 1 for name in TRADING_FUNCTIONS
}
"""How many scalars follow the range."""
