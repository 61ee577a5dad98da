"""Quantiles and regressions of windows: each window is worked out anew, in proportion to what it holds."""

from __future__ import annotations

from functools import partial

import numpy as np

from watchdog.promql.functions import numeric
from watchdog.promql.functions.windows import Window, apply_to_even_rows, apply_to_rows
from watchdog.tsdb.page import Floats


def quantile_over_time(window: Window, q: float) -> Floats:
    return numeric.row_quantile(window.v, q)


def median_deviation_over_time(window: Window) -> Floats:
    median = numeric.row_quantile(window.v, 0.5)
    return numeric.row_quantile(np.abs(window.v - median[:, None]), 0.5)


def slope(window: Window) -> Floats | None:
    """Of the regression, by the second: what PromQL calls `deriv`."""
    if window.t.size < 2:
        return None
    return numeric.linear_regression((window.t - window.t[0]) / 1_000, window.v)[0]


def predict_linear(window: Window, ahead: float) -> Floats | None:
    """The regression's value so many seconds after the evaluation, wherever the window lies."""
    if window.t.size < 2:
        return None
    rise, now = numeric.linear_regression((window.t - window.evaluated_at) / 1_000, window.v)
    return rise * ahead + now


quantiles_over_time = partial(apply_to_rows, kernel=quantile_over_time)
median_deviations_over_time = partial(apply_to_rows, kernel=median_deviation_over_time)
slopes = partial(apply_to_even_rows, kernel=slope)
predictions_linear = partial(apply_to_even_rows, kernel=predict_linear)
