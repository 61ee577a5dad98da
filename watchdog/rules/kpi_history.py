"""What a KPI was at many times of the past."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from watchdog.core.model import Labels, Millis
from watchdog.core.units import describe_not_finite
from watchdog.promql import EvaluationLimits, Expr, evaluate
from watchdog.rules.models import Kpi
from watchdog.tsdb.page import Floats, Ints, Querier


class KpiHistory(NamedTuple):
    keys: list[Labels]
    values: Floats
    """[keys, times]; NaN where there was none."""
    left_out: list[str]
    """What some values were that are no numbers: ``infinite``, ``no number (0/0)``."""


def evaluate_history(
    kpi: Kpi,
    expr: Expr,
    series: Querier,
    times: Ints,
    epochs: Sequence[Millis],
    limits: EvaluationLimits | None = None,
    *,
    only_covered: bool = False,
) -> KpiHistory:
    """The KPI, whose expression is `expr`, as it was read at these times, which ascend: one with `since: resume` has forgotten
    what was before its epoch; `epochs`, oldest first, are those of its target. `only_covered`: nothing where a
    window has not been watched in full. Raises PromqlError."""
    parts: list[tuple[Millis | None, Ints]] = [(None, times)]
    if kpi.since == "resume":
        bounds = times.searchsorted(np.asarray(epochs, np.int64), "right")
        parts = list(zip([None, *epochs], np.split(times, bounds), strict=True))
    results = [evaluate(expr, series, part, epoch, limits=limits) for epoch, part in parts]
    keys = list(dict.fromkeys(key for result in results for key in result.keys))
    values = np.full((len(keys), times.size), np.nan)
    first, odd = 0, dict[str, None]()
    for result, (_, part) in zip(results, parts, strict=True):
        rows = [keys.index(key) for key in result.keys]
        is_number = np.isfinite(result.values)
        values[rows, first : first + part.size] = np.where(result.present & is_number, result.values, np.nan)
        odd |= dict.fromkeys(map(describe_not_finite, result.values[result.present & ~is_number]))
        if only_covered:
            values[:, first : first + part.size][:, result.covered_ms < result.window_ms] = np.nan
        first += part.size
    return KpiHistory(keys, values, list(odd))


def farthest_from_baseline(values: Floats, baseline: float | None) -> Floats:
    """[keys, times] → one value a time: the one that is farthest from the baseline, or from zero."""
    if not len(values):
        return np.full(values.shape[1], np.nan)
    distance = np.where(np.isnan(values), -1.0, np.abs(values - (baseline or 0.0)))
    return np.asarray(np.take_along_axis(values, distance.argmax(axis=0)[None, :], axis=0)[0])


def value_range(values: Floats) -> tuple[Floats, Floats]:
    """[keys, times] → the least and the greatest at each time; NaN where there is none."""
    known = ~np.isnan(values)
    low, high = (
        np.where(known.any(axis=0), find(values, axis=0, initial=edge, where=known), np.nan)
        for find, edge in ((np.min, np.inf), (np.max, -np.inf))
    )
    return low, high
