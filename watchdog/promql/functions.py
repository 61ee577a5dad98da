"""The functions, by name. Range functions are kernels on one window, and on many; the others work on whole vectors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from watchdog.model import Millis
from watchdog.promql import averages, folds, numeric
from watchdog.promql.averages import in_pieces
from watchdog.promql.pages import Bools, Floats
from watchdog.promql.trading import TRADING, TRADING_MANY, differ
from watchdog.promql.windows import Kernel, Many, Window, Windows, array, by_even_rows, by_rows, flagged


def _extrapolated(window: Window, *, counter: bool, per_second: bool) -> Floats | None:
    """What `rate`, `increase` and `delta` share."""
    t, v = window.t, window.v
    if t.size < 2:
        return None
    lost: Floats | float = 0.0
    if counter:
        resets = v[:, 1:] < v[:, :-1]
        if resets.any():
            lost = folds.fold_sum(np.where(resets, v[:, :-1], 0.0))
    return _stretched(
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


def _all_extrapolated(windows: Windows, *, counter: bool, per_second: bool) -> Floats:
    v = windows.v
    lost: Floats | float = 0.0
    if counter:
        base = windows.reach()
        near = v[base]
        resets = near[1:] < near[:-1]
        if resets.any():
            lost = in_pieces(_lost, windows)
    first, last = windows.first(windows.t), windows.last(windows.t)
    spaced: tuple[Any, Any, Any] = (last - first, first - (windows.ends - windows.span), windows.ends - last)
    if windows.even:  # alike for all of them
        spaced = tuple(int(x[0]) for x in spaced)  # type: ignore[assignment]
    return _stretched(
        windows.first(v),
        windows.last(v),
        lost,
        windows.counts - 1,
        *spaced,
        windows.span,
        counter=counter,
        per_second=per_second,
    )


def _lost(windows: Windows) -> Floats:
    """What counters lost at their resets. At least one window of two samples."""
    base = windows.reach()
    near = windows.v[base]
    steps = np.zeros(near.size)
    np.copyto(steps[1:], near[:-1], where=near[1:] < near[:-1])
    if windows.step:
        return folds.slide_sum(steps[1:], windows.n - 1)[:: windows.step] if windows.n > 1 else np.zeros(windows.size)
    counts = np.maximum(np.asarray(windows.counts) - 1, 1)  # of a single sample nothing is said
    firsts = np.minimum(array(windows.firsts) - base.start + 1, near.size - 1)
    return folds.pick((steps,), firsts, counts, folds.plus)[0]


def _stretched(
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
    to_start, to_end = _near(to_start, threshold, distance), _near(to_end, threshold, distance)
    if counter:
        rises = (result > 0) & (first >= 0)
        to_zero = sampled * (first / np.where(rises, result, 1.0))
        to_start = np.where(rises & (to_zero < to_start), to_zero, to_start)
    factor = (sampled + to_start + to_end) / sampled
    if per_second:
        factor = factor / (span / 1_000)
    return np.asarray(result * factor)


def _near(away: Any, threshold: Any, distance: Any) -> Any:
    if isinstance(away, float):
        return distance / 2 if away >= threshold else away
    return np.where(away >= threshold, distance / 2, away)


def _last_two(window: Window, *, counter: bool, per_second: bool) -> Floats | None:
    """`irate` and `idelta`."""
    if window.t.size < 2:
        return None
    apart = int(window.t[-1] - window.t[-2])
    return _changed(window.v[:, -2], window.v[:, -1], apart, counter=counter, per_second=per_second)


def _all_last_two(windows: Windows, *, counter: bool, per_second: bool) -> Floats:
    apart = windows.last(windows.t) - windows.last(windows.t, 2)
    return _changed(windows.last(windows.v, 2), windows.last(windows.v), apart, counter=counter, per_second=per_second)


def _changed(before: Any, last: Any, apart: Any, *, counter: bool, per_second: bool) -> Floats:
    change = last - before
    if counter:
        change = np.where(last < before, last, change)
    return np.asarray(change / (apart / 1_000) if per_second else change)


def _fell(before: Floats, after: Floats) -> Bools:
    return np.asarray(after < before)


def _steps(flag: Callable[[Floats, Floats], Bools]) -> Kernel:
    """How many samples are flagged when compared with the one before."""
    return lambda window: np.asarray(np.add.reduce(flag(window.v[:, :-1], window.v[:, 1:]), axis=1, dtype=np.float64))


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


def _quantile(window: Window, q: float) -> Floats:
    return numeric.quantile(window.v, q)


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
    "changes": _steps(differ),
    "resets": _steps(_fell),
    "avg_over_time": partial(averages.of_one, what=averages.mean),
    "sum_over_time": partial(averages.of_one, what=averages.total),
    "min_over_time": lambda window: numeric.lowest(window.v),
    "max_over_time": lambda window: numeric.highest(window.v),
    "count_over_time": _count,
    "last_over_time": lambda window: window.v[:, -1],
    "stddev_over_time": lambda window: np.sqrt(averages.of_one(window, averages.variance)),
    "stdvar_over_time": partial(averages.of_one, what=averages.variance),
    "quantile_over_time": _quantile,
    "mad_over_time": _median_deviation,
    "deriv": _slope,
    "predict_linear": _predicted,
    "present_over_time": present,
    **TRADING,
    "absent_over_time": present,  # turned round by the engine, which also knows the labels
}

MANY: dict[Kernel, Many] = {
    RANGE["rate"]: partial(_all_extrapolated, counter=True, per_second=True),
    RANGE["increase"]: partial(_all_extrapolated, counter=True, per_second=False),
    RANGE["delta"]: partial(_all_extrapolated, counter=False, per_second=False),
    RANGE["irate"]: partial(_all_last_two, counter=True, per_second=True),
    RANGE["idelta"]: partial(_all_last_two, counter=False, per_second=False),
    RANGE["changes"]: partial(flagged, flag=differ),
    RANGE["resets"]: partial(flagged, flag=_fell),
    RANGE["avg_over_time"]: partial(averages.of_many, what=averages.mean),
    RANGE["sum_over_time"]: partial(averages.of_many, what=averages.total),
    RANGE["min_over_time"]: partial(in_pieces, partial(averages.extremes, of=np.minimum, past_nan=np.fmin)),
    RANGE["max_over_time"]: partial(in_pieces, partial(averages.extremes, of=np.maximum, past_nan=np.fmax)),
    RANGE["count_over_time"]: lambda windows: np.broadcast_to(np.asarray(windows.counts, np.float64), windows.size),
    RANGE["last_over_time"]: lambda windows: windows.last(windows.v),
    RANGE["stddev_over_time"]: lambda windows: np.sqrt(averages.of_many(windows, averages.variance)),
    RANGE["stdvar_over_time"]: partial(averages.of_many, what=averages.variance),
    RANGE["quantile_over_time"]: partial(by_rows, kernel=_quantile),
    RANGE["mad_over_time"]: partial(by_rows, kernel=_median_deviation),
    RANGE["deriv"]: partial(by_even_rows, kernel=_slope),
    RANGE["predict_linear"]: partial(by_even_rows, kernel=_predicted),
    RANGE["present_over_time"]: lambda windows: np.ones(windows.size),
    **TRADING_MANY,
}
"""The same for many windows of one series at once, bit for bit."""

_TWO = ("rate", "increase", "delta", "irate", "idelta", "deriv", "predict_linear", "change_share_over_time")
TWO = frozenset(RANGE[name] for name in _TWO)
"""They say nothing of a single sample."""

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

SPECIAL = frozenset(
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
