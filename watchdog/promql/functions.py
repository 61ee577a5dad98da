"""The functions, by name. Range functions are kernels on one window; the others work on whole vectors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from watchdog.promql import numeric
from watchdog.promql.pages import Floats
from watchdog.promql.selectors import Kernel, Window
from watchdog.promql.trading import TRADING


def _extrapolated(window: Window, *, counter: bool, per_second: bool) -> Floats | None:
    """What `rate`, `increase` and `delta` share, operation by operation as Prometheus 3 does it.

    The change between the first and the last sample, stretched to the window's edges where samples lie close enough
    to them (1.1 × the mean distance), by half a distance where they do not; a counter never to before its zero.
    """
    t, v = window.t, window.v
    steps = t.size - 1
    if steps < 1:
        return None
    first = v[:, 0]
    result = v[:, -1] - first
    if counter:
        resets = v[:, 1:] < v[:, :-1]
        if resets.any():
            result = result + np.add.reduce(np.where(resets, v[:, :-1], 0.0), axis=1)
    to_start, to_end = int(t[0] - window.start) / 1_000, int(window.end - t[-1]) / 1_000
    sampled = int(t[-1] - t[0]) / 1_000
    distance = sampled / steps
    threshold = distance * 1.1
    if to_start >= threshold:
        to_start = distance / 2
    if to_end >= threshold:
        to_end = distance / 2
    starts: Floats | float = to_start
    if counter:
        rises = (result > 0) & (first >= 0)
        to_zero = sampled * (first / np.where(rises, result, 1.0))
        starts = np.where(rises & (to_zero < to_start), to_zero, to_start)
    factor = (sampled + starts + to_end) / sampled
    if per_second:
        factor = factor / ((window.end - window.start) / 1_000)
    return result * factor


def _last_two(window: Window, *, counter: bool, per_second: bool) -> Floats | None:
    """`irate` and `idelta`."""
    if window.t.size < 2:
        return None
    before, last = window.v[:, -2], window.v[:, -1]
    change = last - before
    if counter:
        change = np.where(last < before, last, change)
    return change / (int(window.t[-1] - window.t[-2]) / 1_000) if per_second else change


def _changes(window: Window) -> Floats:
    before, after = window.v[:, :-1], window.v[:, 1:]
    differ = (before != after) & ~(np.isnan(before) & np.isnan(after))
    return np.asarray(np.add.reduce(differ, axis=1, dtype=np.float64))


def _resets(window: Window) -> Floats:
    return np.asarray(np.add.reduce(window.v[:, 1:] < window.v[:, :-1], axis=1, dtype=np.float64))


def _count(window: Window) -> Floats:
    return np.full(len(window.v), float(window.t.size))


def _slope(window: Window) -> Floats | None:
    if window.t.size < 2:
        return None
    return numeric.regression((window.t - window.t[0]) / 1_000, window.v)[0]


def _predicted(window: Window, ahead: float) -> Floats | None:
    """The regression's value so many seconds after the evaluation, wherever the window lies."""
    if window.t.size < 2:
        return None
    slope, now = numeric.regression((window.t - window.asked) / 1_000, window.v)
    return slope * ahead + now


def _median_deviation(window: Window) -> Floats:
    median = numeric.quantile(window.v, 0.5)
    return numeric.quantile(np.abs(window.v - median[:, None]), 0.5)


def present(window: Window) -> Floats:
    return np.ones(len(window.v))


RANGE: dict[str, Kernel] = {
    "rate": partial(_extrapolated, counter=True, per_second=True),
    "increase": partial(_extrapolated, counter=True, per_second=False),
    "delta": partial(_extrapolated, counter=False, per_second=False),
    "irate": partial(_last_two, counter=True, per_second=True),
    "idelta": partial(_last_two, counter=False, per_second=False),
    "changes": _changes,
    "resets": _resets,
    "avg_over_time": lambda window: numeric.mean(window.v),
    "sum_over_time": lambda window: numeric.total(window.v),
    "min_over_time": lambda window: numeric.lowest(window.v),
    "max_over_time": lambda window: numeric.highest(window.v),
    "count_over_time": _count,
    "last_over_time": lambda window: window.v[:, -1],
    "stddev_over_time": lambda window: np.sqrt(numeric.variance(window.v)),
    "stdvar_over_time": lambda window: numeric.variance(window.v),
    "quantile_over_time": lambda window, q: numeric.quantile(window.v, q),
    "mad_over_time": _median_deviation,
    "deriv": _slope,
    "predict_linear": _predicted,
    "present_over_time": present,
    **TRADING,
    "absent_over_time": present,  # turned round by the engine, which also knows the labels
}

RANGE_FIRST = {"quantile_over_time": 1}
"""Where the range stands among the arguments, when it is not the first."""

KEEPS_NAME = frozenset({"last_over_time"})


def _sgn(v: Floats) -> Floats:
    return np.where(v < 0, -1.0, np.where(v > 0, 1.0, v))


def _round(v: Floats, nearest: Floats | None = None) -> Floats:
    inverse = 1.0 / (np.float64(1.0) if nearest is None else nearest)  # inverted for accuracy, as in Prometheus
    return np.floor(v * inverse + 0.5) / inverse


def _clamp(v: Floats, low: Floats | float, high: Floats | float) -> Floats:
    """NaN wins over everything but the infinity that no number exceeds, as in Go."""
    capped = np.where((v == -np.inf) | np.equal(high, -np.inf), -np.inf, np.minimum(high, v))
    return np.where((capped == np.inf) | np.equal(low, np.inf), np.inf, np.maximum(low, capped))


INSTANT: dict[str, Callable[..., Floats]] = {
    "abs": np.abs, "ceil": np.ceil, "floor": np.floor, "sqrt": np.sqrt,
    "exp": np.exp, "ln": np.log, "log2": np.log2, "log10": np.log10,
    "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan,
    "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh, "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh,
    "deg": lambda v: v * 180 / np.pi, "rad": lambda v: v * np.pi / 180,
    "sgn": _sgn,
    "round": _round,
    "clamp": _clamp,
    "clamp_min": lambda v, low: _clamp(v, low, np.inf),
    "clamp_max": lambda v, high: _clamp(v, -np.inf, high),
}  # fmt: skip
"""Vector in, vector out, series by series; further arguments are scalars. The metric's name is dropped."""

SPECIAL = frozenset({
    "absent", "histogram_fraction", "histogram_quantile", "label_join", "label_replace", "pi", "scalar", "sort", "sort_desc",
    "time", "timestamp", "vector",
})  # fmt: skip
"""Those the engine itself must know."""
