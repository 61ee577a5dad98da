"""The functions, by name. Range functions are kernels on one window, and on many; the others work on whole vectors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from watchdog.core.model import Millis
from watchdog.promql.functions import averages, folds, numeric
from watchdog.promql.functions.averages import in_chunks
from watchdog.promql.functions.trading import TRADING_BATCH_KERNELS, TRADING_FUNCTIONS, differs
from watchdog.promql.functions.windows import (
    BatchKernel,
    RangeKernel,
    Window,
    WindowBatch,
    apply_to_even_rows,
    apply_to_rows,
    count_flagged,
    to_array,
)
from watchdog.tsdb.page import Bools, Floats


def _extrapolated_rate(window: Window, *, counter: bool, per_second: bool) -> Floats | None:
    """What `rate`, `increase` and `delta` share."""
    t, v = window.t, window.v
    if t.size < 2:
        return None
    lost: Floats | float = 0.0
    if counter:
        resets = v[:, 1:] < v[:, :-1]
        if resets.any():
            lost = folds.fold_sum(np.where(resets, v[:, :-1], 0.0))
    return _extrapolate(
        v[:, 0],
        v[:, -1],
        lost,
        t.size - 1,
        int(t[-1] - t[0]),
        int(t[0] - window.start),
        int(window.end - t[-1]),
        window.end - window.start,
        counter=counter,
        per_second=per_second,
    )


def _extrapolated_rates(windows: WindowBatch, *, counter: bool, per_second: bool) -> Floats:
    v = windows.v
    lost: Floats | float = 0.0
    if counter:
        base = windows.sample_slice()
        near = v[base]
        resets = near[1:] < near[:-1]
        if resets.any():
            lost = in_chunks(_counter_reset_corrections, windows)
    first, last = windows.first(windows.t), windows.last(windows.t)
    spaced: tuple[Any, Any, Any] = (last - first, first - (windows.ends - windows.span), windows.ends - last)
    if windows.evenly_spaced:  # alike for all of them
        spaced = tuple(int(x[0]) for x in spaced)  # type: ignore[assignment]
    return _extrapolate(
        windows.first(v),
        windows.last(v),
        lost,
        windows.counts - 1,
        *spaced,
        windows.span,
        counter=counter,
        per_second=per_second,
    )


def _counter_reset_corrections(windows: WindowBatch) -> Floats:
    """What counters lost at their resets. At least one window of two samples."""
    base = windows.sample_slice()
    near = windows.v[base]
    steps = np.zeros(near.size)
    np.copyto(steps[1:], near[:-1], where=near[1:] < near[:-1])
    if windows.step:
        return (
            folds.sum_sliding(steps[1:], windows.samples_per_window - 1)[:: windows.step]
            if windows.samples_per_window > 1
            else np.zeros(windows.size)
        )
    counts = np.maximum(np.asarray(windows.counts) - 1, 1)  # of a single sample nothing is said
    firsts = np.minimum(to_array(windows.firsts) - base.start + 1, near.size - 1)
    return folds.fold_windows((steps,), firsts, counts, folds.add)[0]


def _extrapolate(
    first: Any,
    last: Any,
    lost: Any,
    steps: Any,
    sampled: Any,
    to_start: Any,
    to_end: Any,
    span: Millis,
    *,
    counter: bool,
    per_second: bool,
) -> Floats:
    """Operation by operation as Prometheus 3 does it.

    The change between the first and the last sample, stretched to the window's edges where samples lie close enough
    to them (1.1 × the mean distance), by half a distance where they do not; a counter never to before its zero.
    The distances are in ms.
    """
    result = last - first + lost
    to_start, to_end, sampled = to_start / 1_000, to_end / 1_000, sampled / 1_000
    distance = sampled / steps
    threshold = distance * 1.1
    to_start, to_end = _edge_extension(to_start, threshold, distance), _edge_extension(to_end, threshold, distance)
    if counter:
        rises = (result > 0) & (first >= 0)
        to_zero = sampled * (first / np.where(rises, result, 1.0))
        to_start = np.where(rises & (to_zero < to_start), to_zero, to_start)
    factor = (sampled + to_start + to_end) / sampled
    if per_second:
        factor = factor / (span / 1_000)
    return np.asarray(result * factor)


def _edge_extension(away: Any, threshold: Any, distance: Any) -> Any:
    if isinstance(away, float):
        return distance / 2 if away >= threshold else away
    return np.where(away >= threshold, distance / 2, away)


def _instant_rate(window: Window, *, counter: bool, per_second: bool) -> Floats | None:
    """`irate` and `idelta`."""
    if window.t.size < 2:
        return None
    apart = int(window.t[-1] - window.t[-2])
    return _instant_change(window.v[:, -2], window.v[:, -1], apart, counter=counter, per_second=per_second)


def _instant_rates(windows: WindowBatch, *, counter: bool, per_second: bool) -> Floats:
    apart = windows.last(windows.t) - windows.last(windows.t, 2)
    return _instant_change(
        windows.last(windows.v, 2), windows.last(windows.v), apart, counter=counter, per_second=per_second
    )


def _instant_change(before: Any, last: Any, apart: Any, *, counter: bool, per_second: bool) -> Floats:
    change = last - before
    if counter:
        change = np.where(last < before, last, change)
    return np.asarray(change / (apart / 1_000) if per_second else change)


def _decreased(before: Floats, after: Floats) -> Bools:
    return np.asarray(after < before)


def _flag_count_kernel(flag: Callable[[Floats, Floats], Bools]) -> RangeKernel:
    """How many samples are flagged when compared with the one before."""
    return lambda window: np.asarray(np.add.reduce(flag(window.v[:, :-1], window.v[:, 1:]), axis=1, dtype=np.float64))


def _count_over_time(window: Window) -> Floats:
    return np.full(len(window.v), float(window.t.size))


def _deriv(window: Window) -> Floats | None:
    if window.t.size < 2:
        return None
    return numeric.linear_regression((window.t - window.t[0]) / 1_000, window.v)[0]


def _predict_linear(window: Window, ahead: float) -> Floats | None:
    """The regression's value so many seconds after the evaluation, wherever the window lies."""
    if window.t.size < 2:
        return None
    slope, now = numeric.linear_regression((window.t - window.evaluated_at) / 1_000, window.v)
    return slope * ahead + now


def _quantile_over_time(window: Window, q: float) -> Floats:
    return numeric.row_quantile(window.v, q)


def _mad_over_time(window: Window) -> Floats:
    median = numeric.row_quantile(window.v, 0.5)
    return numeric.row_quantile(np.abs(window.v - median[:, None]), 0.5)


def present_over_time(window: Window) -> Floats:
    return np.ones(len(window.v))


RANGE_FUNCTIONS: dict[str, RangeKernel] = {
    "rate": partial(_extrapolated_rate, counter=True, per_second=True),
    "increase": partial(_extrapolated_rate, counter=True, per_second=False),
    "delta": partial(_extrapolated_rate, counter=False, per_second=False),
    "irate": partial(_instant_rate, counter=True, per_second=True),
    "idelta": partial(_instant_rate, counter=False, per_second=False),
    "changes": _flag_count_kernel(differs),
    "resets": _flag_count_kernel(_decreased),
    "avg_over_time": partial(averages.aggregate_window, what=averages.window_means),
    "sum_over_time": partial(averages.aggregate_window, what=averages.window_sums),
    "min_over_time": lambda window: numeric.row_min(window.v),
    "max_over_time": lambda window: numeric.row_max(window.v),
    "count_over_time": _count_over_time,
    "last_over_time": lambda window: window.v[:, -1],
    "stddev_over_time": lambda window: np.sqrt(averages.aggregate_window(window, averages.window_variances)),
    "stdvar_over_time": partial(averages.aggregate_window, what=averages.window_variances),
    "quantile_over_time": _quantile_over_time,
    "mad_over_time": _mad_over_time,
    "deriv": _deriv,
    "predict_linear": _predict_linear,
    "present_over_time": present_over_time,
    **TRADING_FUNCTIONS,
    "absent_over_time": present_over_time,  # turned round by the engine, which also knows the labels
}

BATCH_KERNELS: dict[RangeKernel, BatchKernel] = {
    RANGE_FUNCTIONS["rate"]: partial(_extrapolated_rates, counter=True, per_second=True),
    RANGE_FUNCTIONS["increase"]: partial(_extrapolated_rates, counter=True, per_second=False),
    RANGE_FUNCTIONS["delta"]: partial(_extrapolated_rates, counter=False, per_second=False),
    RANGE_FUNCTIONS["irate"]: partial(_instant_rates, counter=True, per_second=True),
    RANGE_FUNCTIONS["idelta"]: partial(_instant_rates, counter=False, per_second=False),
    RANGE_FUNCTIONS["changes"]: partial(count_flagged, flag=differs),
    RANGE_FUNCTIONS["resets"]: partial(count_flagged, flag=_decreased),
    RANGE_FUNCTIONS["avg_over_time"]: partial(averages.aggregate_windows, what=averages.window_means),
    RANGE_FUNCTIONS["sum_over_time"]: partial(averages.aggregate_windows, what=averages.window_sums),
    RANGE_FUNCTIONS["min_over_time"]: partial(
        in_chunks, partial(averages.window_min_or_max, of=np.minimum, past_nan=np.fmin)
    ),
    RANGE_FUNCTIONS["max_over_time"]: partial(
        in_chunks, partial(averages.window_min_or_max, of=np.maximum, past_nan=np.fmax)
    ),
    RANGE_FUNCTIONS["count_over_time"]: lambda windows: np.broadcast_to(
        np.asarray(windows.counts, np.float64), windows.size
    ),
    RANGE_FUNCTIONS["last_over_time"]: lambda windows: windows.last(windows.v),
    RANGE_FUNCTIONS["stddev_over_time"]: lambda windows: np.sqrt(
        averages.aggregate_windows(windows, averages.window_variances)
    ),
    RANGE_FUNCTIONS["stdvar_over_time"]: partial(averages.aggregate_windows, what=averages.window_variances),
    RANGE_FUNCTIONS["quantile_over_time"]: partial(apply_to_rows, kernel=_quantile_over_time),
    RANGE_FUNCTIONS["mad_over_time"]: partial(apply_to_rows, kernel=_mad_over_time),
    RANGE_FUNCTIONS["deriv"]: partial(apply_to_even_rows, kernel=_deriv),
    RANGE_FUNCTIONS["predict_linear"]: partial(apply_to_even_rows, kernel=_predict_linear),
    RANGE_FUNCTIONS["present_over_time"]: lambda windows: np.ones(windows.size),
    **TRADING_BATCH_KERNELS,
}
"""The same for many windows of one series at once, bit for bit."""

_TWO_SAMPLE_FUNCTIONS = (
    "rate",
    "increase",
    "delta",
    "irate",
    "idelta",
    "deriv",
    "predict_linear",
    "change_share_over_time",
)
NEEDS_TWO_SAMPLES = frozenset(RANGE_FUNCTIONS[name] for name in _TWO_SAMPLE_FUNCTIONS)
"""They say nothing of a single sample."""

RANGE_ARGUMENT_INDEX = {"quantile_over_time": 1}
"""Where the range stands among the arguments, when it is not the first."""

KEEPS_METRIC_NAME = frozenset({"last_over_time"})


def _sgn(v: Floats) -> Floats:
    return np.where(v < 0, -1.0, np.where(v > 0, 1.0, v))


def _round(v: Floats, nearest: Floats | None = None) -> Floats:
    inverse = 1.0 / (np.float64(1.0) if nearest is None else nearest)  # inverted for accuracy, as in Prometheus
    return np.floor(v * inverse + 0.5) / inverse


def _clamp(v: Floats, low: Floats | float, high: Floats | float) -> Floats:
    """NaN wins over everything but the infinity that no number exceeds, as in Go."""
    capped = np.where((v == -np.inf) | np.equal(high, -np.inf), -np.inf, np.minimum(high, v))
    return np.where((capped == np.inf) | np.equal(low, np.inf), np.inf, np.maximum(low, capped))


INSTANT_FUNCTIONS: dict[str, Callable[..., Floats]] = {
    "abs": np.abs,
    "ceil": np.ceil,
    "floor": np.floor,
    "sqrt": np.sqrt,
    "exp": np.exp,
    "ln": np.log,
    "log2": np.log2,
    "log10": np.log10,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "deg": lambda v: v * 180 / np.pi,
    "rad": lambda v: v * np.pi / 180,
    "sgn": _sgn,
    "round": _round,
    "clamp": _clamp,
    "clamp_min": lambda v, low: _clamp(v, low, np.inf),
    "clamp_max": lambda v, high: _clamp(v, -np.inf, high),
}
"""Vector in, vector out, series by series; further arguments are scalars. The metric's name is dropped."""

ENGINE_FUNCTIONS = frozenset(
    {
        "absent",
        "histogram_fraction",
        "histogram_quantile",
        "label_join",
        "label_replace",
        "pi",
        "scalar",
        "sort",
        "sort_desc",
        "time",
        "timestamp",
        "vector",
    }
)
"""Those the engine itself must know."""
