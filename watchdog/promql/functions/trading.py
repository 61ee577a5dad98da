"""What trading asks for and PromQL lacks, or says only in a roundabout way. Known to the embedded engine alone.

Each is a kernel on one window, and on many. NaN samples are no observations: they are passed over, except by the streaks, which one
of them ends.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from watchdog.promql.functions.counts import count_flagged, count_flagged_of_batch, differs
from watchdog.promql.functions.windows import RangeKernel, Window, WindowBatch, apply_to_even_rows, to_array
from watchdog.tsdb.page import Bools, Floats


def change_share(window: Window) -> Floats | None:
    """Share of samples that differ from the one before."""
    if window.t.size < 2:
        return None
    return count_flagged(window, differs) / (window.t.size - 1)


def change_shares(windows: WindowBatch) -> Floats:
    return count_flagged_of_batch(windows, differs) / (windows.counts - 1)


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


def ewma(window: Window, half_life: float) -> Floats:
    return _weighted_moments(window, half_life)[0]


def ewm_volatility(window: Window, half_life: float) -> Floats:
    return np.sqrt(_weighted_moments(window, half_life)[1])


streak_below = _streak_kernel(_below)
streaks_below = partial(_streak_lengths, holds=_below)
streak_above = _streak_kernel(_above)
streaks_above = partial(_streak_lengths, holds=_above)
ewmas = partial(apply_to_even_rows, kernel=ewma)
ewm_volatilities = partial(apply_to_even_rows, kernel=ewm_volatility)
