"""`histogram_quantile` and `histogram_fraction` over classic buckets: series with an upper bound in the label ``le``."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from watchdog.core.model import Labels
from watchdog.promql.eval.context import EvaluationContext
from watchdog.promql.eval.vectors import Keys, MergePlan, Vector, as_scalar, as_vector, make_merge_plan, merge_series
from watchdog.promql.functions.function import EvaluateNode
from watchdog.promql.parse.nodes import FunctionCall
from watchdog.tsdb.labels import labels_without_name

Buckets = list[tuple[float, float]]
"""(upper bound, count), ascending, one per bound; never empty."""

_COUNT_TOLERANCE = 1e-12
"""Counts that differ by less are the same: sums of rates are never exact."""


def histogram_quantile(buckets: Buckets, q: float) -> float:
    """Linear within a bucket; the lowest begins at 0 when its bound is positive."""
    if math.isnan(q):
        return math.nan
    if not 0 <= q <= 1:
        return math.copysign(math.inf, q - 0.5)
    if buckets[-1][0] != math.inf or len(buckets) < 2:
        return math.nan
    bounds, counts = [bound for bound, _ in buckets], _monotonic([count for _, count in buckets])
    if counts[-1] == 0:
        return math.nan
    rank = q * counts[-1]
    low, high = 0, len(counts) - 1  # the first bucket that reaches the rank, by halves: NaN goes where it goes there
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if counts[middle] >= rank else (middle + 1, high)
    if low == len(counts) - 1:
        return bounds[-2]
    if low == 0 and bounds[0] <= 0:
        return bounds[0]
    begin, before = (bounds[low - 1], counts[low - 1]) if low else (0.0, 0.0)
    return begin + (bounds[low] - begin) * float(np.divide(rank - before, counts[low] - before))


def histogram_fraction(buckets: Buckets, lower: float, upper: float) -> float:
    """Share of the observations between two values."""
    count = buckets[-1][1]
    if buckets[-1][0] != math.inf or count == 0 or math.isnan(lower) or math.isnan(upper):
        return math.nan
    if lower >= upper:
        return 0.0
    return (min(_count_below(buckets, upper), count) - min(_count_below(buckets, lower), count)) / count


def _count_below(buckets: Buckets, value: float) -> float:
    """How many observations are below it."""
    begin, rank = 0.0 if buckets[0][0] > 0 else -math.inf, 0.0
    for bound, count in buckets:
        if begin >= value:
            return rank
        if bound > value:
            if begin == -math.inf:
                return count
            return rank if bound == math.inf else rank + (count - rank) * (value - begin) / (bound - begin)
        begin, rank = bound, count
    return buckets[-1][1]


def _monotonic(counts: list[float]) -> list[float]:
    previous, rising = counts[0], counts[:1]
    for count in counts[1:]:
        close = abs(count - previous) < _COUNT_TOLERANCE * (abs(count) + abs(previous)) and count != 0 != previous
        if not (count < previous or close):
            previous = count
        rising.append(previous)
    return rising


_HistogramPlan = tuple[MergePlan, list[list[tuple[float, int]]]]
"""The results' keys; for each histogram its buckets' bounds, ascending, and rows."""


def evaluate_quantile(node: FunctionCall, run: EvaluationContext, evaluate: EvaluateNode) -> Vector:
    return _evaluate(histogram_quantile, node, run, evaluate)


def evaluate_fraction(node: FunctionCall, run: EvaluationContext, evaluate: EvaluateNode) -> Vector:
    return _evaluate(histogram_fraction, node, run, evaluate)


def _evaluate(
    kernel: Callable[..., float], node: FunctionCall, run: EvaluationContext, evaluate: EvaluateNode
) -> Vector:
    *scalars, buckets_of = node.args
    args = [as_scalar(evaluate(arg, run)) for arg in scalars]
    vector = as_vector(evaluate(buckets_of, run))
    plan, histograms = node.plan_cache.get(vector.keys, None, lambda: _plan_histograms(vector.keys))
    times = vector.v.shape[1]
    values = np.full((len(histograms), times), np.nan)
    there = np.zeros(values.shape, np.bool_)
    for number, rows in enumerate(histograms):
        for i in np.flatnonzero(vector.present[[row for _, row in rows]].any(axis=0)):
            buckets: Buckets = []
            for bound, row in rows:
                if not vector.present[row, i]:
                    continue
                count = float(vector.v[row, i])
                if buckets and buckets[-1][0] == bound:  # le="1" and le="1.0"
                    buckets[-1] = (bound, buckets[-1][1] + count)
                else:
                    buckets.append((bound, count))
            values[number, i] = kernel(buckets, *(float(arg[i]) for arg in args))
            there[number, i] = True
    return merge_series(plan, values, there)


def _plan_histograms(keys: Keys) -> _HistogramPlan:
    histograms: dict[Labels, list[tuple[float, int]]] = {}
    for row, key in enumerate(keys):
        bound = _parse_bound(dict(key).get("le", ""))
        if bound is not None:
            histograms.setdefault(tuple(pair for pair in key if pair[0] != "le"), []).append((bound, row))
    return make_merge_plan(tuple(map(labels_without_name, histograms))), [
        sorted(rows, key=lambda bucket: (bucket[0], keys[bucket[1]])) for rows in histograms.values()
    ]


def _parse_bound(text: str) -> float | None:
    try:
        bound = float(text)
    except ValueError:
        return None
    return None if math.isnan(bound) else bound
