"""Maximum and minimum: of one window of several rows, and of many windows of one row, bit for bit alike."""

from __future__ import annotations

from functools import partial

import numpy as np

from watchdog.promql.functions import numeric, sliding_extremes
from watchdog.promql.functions.windows import Window, WindowBatch, in_chunks, to_array
from watchdog.tsdb.page import Floats


def min_over_time(window: Window) -> Floats:
    return numeric.row_min(window.v)


def max_over_time(window: Window) -> Floats:
    return numeric.row_max(window.v)


def batch_extremes(windows: WindowBatch, of: np.ufunc, v: Floats) -> Floats:
    """`np.maximum` and its like, of the values `v` of each sample."""
    base = windows.sample_slice()
    if windows.step:
        return sliding_extremes.sliding_extreme(v[base], windows.samples_per_window, of)[:: windows.step]
    return sliding_extremes.window_extremes(
        v[base], to_array(windows.firsts) - base.start, np.asarray(windows.counts), of
    )


def _min_or_max(windows: WindowBatch, of: np.ufunc, past_nan: np.ufunc) -> Floats:
    """Maximum or minimum of each window, NaN only when all is NaN. Adding zero makes -0 and 0 one value."""
    result = batch_extremes(windows, of, windows.v)
    if np.isnan(np.minimum.reduce(result, initial=np.inf)):
        result = batch_extremes(windows, past_nan, windows.v)
    return np.add(result, 0.0, out=result)


minima_over_time = partial(in_chunks, partial(_min_or_max, of=np.minimum, past_nan=np.fmin))
maxima_over_time = partial(in_chunks, partial(_min_or_max, of=np.maximum, past_nan=np.fmax))
