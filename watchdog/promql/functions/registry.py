"""The table of functions: one row each. Parser, engine, fast paths, bounds and static analysis all ask it.

A new function is a row with a kernel; whatever else the row says makes it faster, or known ahead of the samples.
"""

from __future__ import annotations

import numpy as np

from watchdog.promql.fast import compiled_calls, incremental, range_bounds
from watchdog.promql.functions import (
    averages,
    calendar,
    counts,
    drawdowns,
    elementwise,
    extremes,
    histograms,
    label_functions,
    rates,
    special_forms,
    statistics,
    trading,
)
from watchdog.promql.functions.function import ElementwiseFunction, Function, RangeFunction, SpecialFunction
from watchdog.promql.functions.static_bounds import (
    always,
    clamped,
    clamped_above,
    clamped_below,
    counts_gaps,
    counts_samples,
    exactly_one,
    non_negative,
    sum_of_input,
    whole_numbers,
    within_input,
)
from watchdog.promql.parse.nodes import FunctionCall

_RANGE_FUNCTIONS: dict[str, Function] = {
    "rate": RangeFunction(
        kernel=rates.rate,
        batch_kernel=rates.rates,
        span_bounds=range_bounds.rate_bounds,
        values=non_negative,
        min_samples=2,
    ),
    "increase": RangeFunction(
        kernel=rates.increase,
        batch_kernel=rates.increases,
        span_bounds=range_bounds.increase_bounds,
        values=non_negative,
        min_samples=2,
    ),
    "delta": RangeFunction(kernel=rates.delta, batch_kernel=rates.deltas, min_samples=2),
    "irate": RangeFunction(
        kernel=rates.instant_rate,
        batch_kernel=rates.instant_rates,
        values=non_negative,
        samples_only=True,
        min_samples=2,
    ),
    "idelta": RangeFunction(
        kernel=rates.instant_delta, batch_kernel=rates.instant_deltas, samples_only=True, min_samples=2
    ),
    "changes": RangeFunction(
        kernel=counts.changes,
        batch_kernel=counts.changes_of_batch,
        span_bounds=range_bounds.change_bounds,
        values=counts_gaps,
        samples_only=True,
    ),
    "resets": RangeFunction(
        kernel=counts.resets,
        batch_kernel=counts.resets_of_batch,
        span_bounds=range_bounds.reset_bounds,
        values=counts_gaps,
        samples_only=True,
    ),
    "avg_over_time": RangeFunction(
        kernel=averages.mean_over_time,
        batch_kernel=averages.means_over_time,
        incremental=incremental.MEANS,
        span_bounds=range_bounds.mean_bounds,
        values=within_input,
        samples_only=True,
    ),
    "sum_over_time": RangeFunction(
        kernel=averages.sum_over_time,
        batch_kernel=averages.sums_over_time,
        incremental=incremental.SUMS,
        span_bounds=range_bounds.sum_bounds,
        values=sum_of_input,
        samples_only=True,
    ),
    "min_over_time": RangeFunction(
        kernel=extremes.min_over_time,
        batch_kernel=extremes.minima_over_time,
        incremental=incremental.MINIMA,
        span_bounds=range_bounds.min_bounds,
        values=within_input,
        samples_only=True,
        extreme="min",
    ),
    "max_over_time": RangeFunction(
        kernel=extremes.max_over_time,
        batch_kernel=extremes.maxima_over_time,
        incremental=incremental.MAXIMA,
        span_bounds=range_bounds.max_bounds,
        values=within_input,
        samples_only=True,
        extreme="max",
    ),
    "count_over_time": RangeFunction(
        kernel=counts.count_over_time,
        batch_kernel=counts.counts_over_time,
        span_bounds=range_bounds.count_bounds,
        values=counts_samples,
        samples_only=True,
    ),
    "last_over_time": RangeFunction(
        kernel=counts.last_over_time,
        batch_kernel=counts.last_of_batch,
        span_bounds=range_bounds.newest_bounds,
        values=within_input,
        samples_only=True,
        keeps_name=True,
    ),
    "stddev_over_time": RangeFunction(
        kernel=averages.deviation_over_time,
        batch_kernel=averages.deviations_over_time,
        span_bounds=range_bounds.deviation_bounds,
        values=non_negative,
        samples_only=True,
    ),
    "stdvar_over_time": RangeFunction(
        kernel=averages.variance_over_time,
        batch_kernel=averages.variances_over_time,
        values=non_negative,
        samples_only=True,
    ),
    "quantile_over_time": RangeFunction(
        kernel=statistics.quantile_over_time,
        batch_kernel=statistics.quantiles_over_time,
        span_bounds=range_bounds.quantile_bounds,
        values=within_input,
        samples_only=True,
        input=1,
    ),
    "mad_over_time": RangeFunction(
        kernel=statistics.median_deviation_over_time,
        batch_kernel=statistics.median_deviations_over_time,
        values=non_negative,
        samples_only=True,
    ),
    "deriv": RangeFunction(kernel=statistics.slope, batch_kernel=statistics.slopes, min_samples=2),
    "predict_linear": RangeFunction(
        kernel=statistics.predict_linear, batch_kernel=statistics.predictions_linear, min_samples=2
    ),
    "present_over_time": RangeFunction(
        kernel=counts.present_over_time,
        batch_kernel=counts.present_of_batch,
        span_bounds=range_bounds.present_bounds,
        values=exactly_one,
        samples_only=True,
    ),
    "absent_over_time": RangeFunction(
        kernel=counts.present_over_time,
        batch_kernel=counts.present_of_batch,
        conclude=special_forms.absent_over_time,
        values=exactly_one,
        absence=True,
    ),
    "max_drawdown_over_time": RangeFunction(
        kernel=drawdowns.max_drawdown,
        batch_kernel=drawdowns.max_drawdowns,
        span_bounds=range_bounds.drawdown_bounds,
        values=non_negative,
        samples_only=True,
        extreme="max",
        extension_scalars=0,
    ),
    "change_share_over_time": RangeFunction(
        kernel=trading.change_share,
        batch_kernel=trading.change_shares,
        span_bounds=range_bounds.change_share_bounds,
        values=always(0.0, 1.0),
        samples_only=True,
        min_samples=2,
        extension_scalars=0,
    ),
    "streak_below_over_time": RangeFunction(
        kernel=trading.streak_below,
        batch_kernel=trading.streaks_below,
        span_bounds=range_bounds.streak_below_bounds,
        values=counts_samples,
        samples_only=True,
        extension_scalars=1,
    ),
    "streak_above_over_time": RangeFunction(
        kernel=trading.streak_above,
        batch_kernel=trading.streaks_above,
        span_bounds=range_bounds.streak_above_bounds,
        values=counts_samples,
        samples_only=True,
        extension_scalars=1,
    ),
    "ewma_over_time": RangeFunction(
        kernel=trading.ewma,
        batch_kernel=trading.ewmas,
        span_bounds=range_bounds.ewma_bounds,
        values=within_input,
        extension_scalars=1,
    ),
    "ewm_volatility_over_time": RangeFunction(
        kernel=trading.ewm_volatility,
        batch_kernel=trading.ewm_volatilities,
        values=non_negative,
        extension_scalars=1,
    ),
}

_ELEMENTWISE_FUNCTIONS: dict[str, Function] = {
    "abs": ElementwiseFunction(kernel=np.abs, values=non_negative),
    "ceil": ElementwiseFunction(kernel=np.ceil, values=whole_numbers, monotone=True),
    "floor": ElementwiseFunction(kernel=np.floor, values=whole_numbers, monotone=True),
    "sqrt": ElementwiseFunction(kernel=np.sqrt, values=non_negative, monotone=True),
    "exp": ElementwiseFunction(kernel=np.exp, values=non_negative),
    "ln": ElementwiseFunction(kernel=np.log),
    "log2": ElementwiseFunction(kernel=np.log2),
    "log10": ElementwiseFunction(kernel=np.log10),
    "sin": ElementwiseFunction(kernel=np.sin, values=always(-1, 1)),
    "cos": ElementwiseFunction(kernel=np.cos, values=always(-1, 1)),
    "tan": ElementwiseFunction(kernel=np.tan),
    "asin": ElementwiseFunction(kernel=np.arcsin),
    "acos": ElementwiseFunction(kernel=np.arccos),
    "atan": ElementwiseFunction(kernel=np.arctan),
    "sinh": ElementwiseFunction(kernel=np.sinh),
    "cosh": ElementwiseFunction(kernel=np.cosh),
    "tanh": ElementwiseFunction(kernel=np.tanh),
    "asinh": ElementwiseFunction(kernel=np.arcsinh),
    "acosh": ElementwiseFunction(kernel=np.arccosh),
    "atanh": ElementwiseFunction(kernel=np.arctanh),
    "deg": ElementwiseFunction(kernel=elementwise.degrees),
    "rad": ElementwiseFunction(kernel=elementwise.radians),
    "sgn": ElementwiseFunction(kernel=elementwise.sign, values=always(-1, 1), monotone=True),
    "round": ElementwiseFunction(kernel=elementwise.round_to),
    "clamp": ElementwiseFunction(kernel=elementwise.clamp, has_result=elementwise.clamp_has_result, values=clamped),
    "clamp_min": ElementwiseFunction(kernel=elementwise.clamp_min, values=clamped_below, monotone=True),
    "clamp_max": ElementwiseFunction(kernel=elementwise.clamp_max, values=clamped_above, monotone=True),
}

_OF_NOW = (FunctionCall("vector", (FunctionCall("time", ()),)),)
_CALENDAR_FUNCTIONS: dict[str, Function] = {
    "minute": ElementwiseFunction(kernel=calendar.minute, values=always(0, 59), default_args=_OF_NOW),
    "hour": ElementwiseFunction(kernel=calendar.hour, values=always(0, 23), default_args=_OF_NOW),
    "day_of_week": ElementwiseFunction(kernel=calendar.day_of_week, values=always(0, 6), default_args=_OF_NOW),
    "day_of_month": ElementwiseFunction(kernel=calendar.day_of_month, values=always(1, 31), default_args=_OF_NOW),
    "day_of_year": ElementwiseFunction(kernel=calendar.day_of_year, values=always(1, 366), default_args=_OF_NOW),
    "days_in_month": ElementwiseFunction(kernel=calendar.days_in_month, values=always(28, 31), default_args=_OF_NOW),
    "month": ElementwiseFunction(kernel=calendar.month, values=always(1, 12), default_args=_OF_NOW),
    "year": ElementwiseFunction(kernel=calendar.year, default_args=_OF_NOW),
}

_SPECIAL_FUNCTIONS: dict[str, Function] = {
    "absent": SpecialFunction(evaluate=special_forms.absent, values=exactly_one, absence=True),
    "histogram_quantile": SpecialFunction(evaluate=histograms.evaluate_quantile, labels="changed", input=1),
    "histogram_fraction": SpecialFunction(evaluate=histograms.evaluate_fraction, labels="changed", input=2),
    "label_join": SpecialFunction(
        evaluate=label_functions.label_join,
        check_args=label_functions.check_label_join,
        values=within_input,
        labels="changed",
    ),
    "label_replace": SpecialFunction(
        evaluate=label_functions.label_replace,
        check_args=label_functions.check_label_replace,
        values=within_input,
        labels="changed",
    ),
    "pi": SpecialFunction(evaluate=special_forms.pi, compile=compiled_calls.compile_pi, returns_scalar=True),
    "scalar": SpecialFunction(
        evaluate=special_forms.scalar,
        compile=compiled_calls.compile_scalar,
        values=within_input,
        returns_scalar=True,
    ),
    "sort": SpecialFunction(evaluate=special_forms.sort, values=within_input),
    "sort_desc": SpecialFunction(evaluate=special_forms.sort_desc, values=within_input),
    "time": SpecialFunction(
        evaluate=special_forms.time, compile=compiled_calls.compile_time, values=non_negative, returns_scalar=True
    ),
    "timestamp": SpecialFunction(
        evaluate=special_forms.timestamp, compile=compiled_calls.compile_timestamp, values=non_negative
    ),
    "vector": SpecialFunction(
        evaluate=special_forms.vector, compile=compiled_calls.compile_vector, values=within_input, labels="none"
    ),
}

FUNCTIONS: dict[str, Function] = {
    **_RANGE_FUNCTIONS,
    **_ELEMENTWISE_FUNCTIONS,
    **_CALENDAR_FUNCTIONS,
    **_SPECIAL_FUNCTIONS,
}
"""By name."""


def range_function(name: str) -> RangeFunction:
    """The row of a function that the parser knows to read a range."""
    function = FUNCTIONS[name]
    assert isinstance(function, RangeFunction)
    return function
