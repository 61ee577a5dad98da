"""What a KPI is when all is well, told from its own values. Pure: the values and the time are arguments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np

from watchdog.core.model import Millis
from watchdog.core.units import Unit, format_duration
from watchdog.rules.compile import BaselineState, Check
from watchdog.rules.judge import Reading, judge
from watchdog.rules.models import Kpi, Learn, Missing, Patience

BaselinePoint = tuple[Millis, float]
"""A value that a KPI had at a time (ms)."""

_MISMATCH_FACTOR = 20.0


def trusted_values(name: str, kpi: Kpi, reading: Reading, now: Millis) -> tuple[list[float], str]:
    """The values that a rule would be judged by, one a series; without any, why there is none."""
    check = Check(
        rule="",
        level="warn",
        target="",
        kpi=name,
        unit=kpi.unit,
        operator=None,
        limit=0.0,
        clear=0.0,
        baseline=None,
        patience=Patience(),
        clear_for=0,
        missing=Missing(),
        requires_full_window=kpi.needs is None and kpi.since is None,
        each=None,
        plan=None,
    )
    verdicts = judge(check, reading, now)
    values = [verdict.value for verdict in verdicts if verdict.outcome == "ok" and verdict.value is not None]
    return values, "" if values else verdicts[0].reason


def central_value(values: Sequence[float], stat: Literal["median", "mean"] = "median") -> float:
    return float(np.median(values) if stat == "median" else np.mean(values))


def learn_baseline(learn: Learn, points: Sequence[BaselinePoint], now: Millis) -> BaselineState:
    """The baseline over [now - offset - learn, now - offset]; or how far the learning is.

    `points`: values taken while all was well, oldest first, also from before the window.
    """
    end = now - learn.offset
    start = end - learn.learn
    window = [v for t, v in points if start <= t <= end]
    covered = min(learn.learn, max(0, end - points[0][0])) if points else 0
    if covered < learn.learn - learn.step:
        return BaselineState(None, f"learning {format_duration(covered)} of {format_duration(learn.learn)}")
    if len(window) < learn.min_samples:
        return BaselineState(None, f"learning {len(window)} of {learn.min_samples} samples")
    return BaselineState(central_value(window, learn.stat), "")


def baseline_mismatch(values: Iterable[float], baseline: float | None) -> float | None:
    """By which factor a value is off its baseline, when that is more than twenty, up or down; else None."""
    for value in values:
        if baseline and np.isfinite(value) and value and (value > 0) == (baseline > 0):
            factor = value / baseline
            if factor > _MISMATCH_FACTOR or factor < 1 / _MISMATCH_FACTOR:
                return float(factor)
    return None


def unit_mismatch(values: Iterable[float], baseline: float | None, unit: Unit) -> float | None:
    """By which factor a share is off its baseline, when that is about the hundred that lies between a ratio and a percent.

    Nothing else can be taken for the one or the other, and a share that is twenty times off has merely changed.
    """
    mistaken = {"ratio": 100.0, "percent": 0.01}.get(unit)
    if mistaken is None:
        return None
    factors = (baseline_mismatch([value], baseline) for value in values)
    return next((factor for factor in factors if factor and 1 / 3 < factor / mistaken < 3), None)
