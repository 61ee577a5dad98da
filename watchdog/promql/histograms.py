"""`histogram_quantile` and `histogram_fraction` over classic buckets: series with an upper bound in the label ``le``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from watchdog.model import Labels
from watchdog.promql.nodes import Call
from watchdog.promql.pages import bare
from watchdog.promql.vectors import Keys, Merge, Scalar, Vector, merge, merge_plan

Buckets = list[tuple[float, float]]
"""(upper bound, count), ascending, one per bound; never empty."""

_SAME = 1e-12
"""Counts that differ by less are the same: sums of rates are never exact."""


def quantile(buckets: Buckets, q: float) -> float:
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


def fraction(buckets: Buckets, lower: float, upper: float) -> float:
    """Share of the observations between two values."""
    count = buckets[-1][1]
    if buckets[-1][0] != math.inf or count == 0 or math.isnan(lower) or math.isnan(upper):
        return math.nan
    if lower >= upper:
        return 0.0
    return (min(_rank(buckets, upper), count) - min(_rank(buckets, lower), count)) / count


def _rank(buckets: Buckets, value: float) -> float:
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
        close = abs(count - previous) < _SAME * (abs(count) + abs(previous)) and count != 0 != previous
        if not (count < previous or close):
            previous = count
        rising.append(previous)
    return rising


KERNELS: dict[str, Callable[..., float]] = {"histogram_quantile": quantile, "histogram_fraction": fraction}

_Plan = tuple[Merge, list[list[tuple[float, int]]]]
"""The results' keys; for each histogram its buckets' bounds, ascending, and rows."""


def over_buckets(node: Call, vector: Vector, args: Sequence[Scalar]) -> Vector:
    plan, histograms = node.memo.of(vector.keys, None, lambda: _group(vector.keys))
    times = vector.v.shape[1]
    values = np.full((len(histograms), times), np.nan)
    there = np.zeros(values.shape, np.bool_)
    kernel = KERNELS[node.func]
    for number, rows in enumerate(histograms):
        for i in np.flatnonzero(vector.there[[row for _, row in rows]].any(axis=0)):
            buckets: Buckets = []
            for bound, row in rows:
                if not vector.there[row, i]:
                    continue
                count = float(vector.v[row, i])
                if buckets and buckets[-1][0] == bound:  # le="1" and le="1.0"
                    buckets[-1] = (bound, buckets[-1][1] + count)
                else:
                    buckets.append((bound, count))
            values[number, i] = kernel(buckets, *(float(arg[i]) for arg in args))
            there[number, i] = True
    return merge(plan, values, there)


def _group(keys: Keys) -> _Plan:
    histograms: dict[Labels, list[tuple[float, int]]] = {}
    for row, key in enumerate(keys):
        bound = _bound(dict(key).get("le", ""))
        if bound is not None:
            histograms.setdefault(tuple(pair for pair in key if pair[0] != "le"), []).append((bound, row))
    return merge_plan(tuple(map(bare, histograms))), [
        sorted(rows, key=lambda bucket: (bucket[0], keys[bucket[1]])) for rows in histograms.values()
    ]


def _bound(text: str) -> float | None:
    try:
        bound = float(text)
    except ValueError:
        return None
    return None if math.isnan(bound) else bound
