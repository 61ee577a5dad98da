"""What a KPI is when all is well, told from its own values. Pure: the values and the time are arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from watchdog.model import Labels, Millis
from watchdog.rules.check import Check, Normal
from watchdog.rules.judge import Reading, judge
from watchdog.rules.models import Kpi, Learn, Missing, Patience
from watchdog.units import show_duration

Point = tuple[Millis, float]
"""A value that a KPI had at a time (ms)."""

_OFF = 20.0


def believed(name: str, kpi: Kpi, reading: Reading, now: Millis) -> tuple[list[float], str]:
    """The values that a rule would be judged by, one a series; without any, why there is none."""
    probe = Check(
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
        demands_cover=kpi.needs is None and kpi.since is None,
        each=None,
        plan=None,
    )
    verdicts = judge(probe, reading, now)
    values = [verdict.value for verdict in verdicts if verdict.outcome == "ok" and verdict.value is not None]
    return values, "" if values else verdicts[0].reason


def middle(values: Sequence[float], stat: Literal["median", "mean"] = "median") -> float:
    return float(np.median(values) if stat == "median" else np.mean(values))


def learned(learn: Learn, points: Sequence[Point], now: Millis) -> Normal:
    """The baseline over [now - offset - learn, now - offset]; or how far the learning is.

    `points`: values taken while all was well, oldest first, also from before the window.
    """
    end = now - learn.offset
    start = end - learn.learn
    inside = [v for t, v in points if start <= t <= end]
    covered = min(learn.learn, max(0, end - points[0][0])) if points else 0
    if covered < learn.learn - learn.step:
        return Normal(None, f"learning {show_duration(covered)} of {show_duration(learn.learn)}")
    if len(inside) < learn.min_samples:
        return Normal(None, f"learning {len(inside)} of {learn.min_samples} samples")
    return Normal(middle(inside, learn.stat), "")


def far_off(values: Mapping[Labels, float], baseline: float | None) -> float | None:
    """By which factor a value is off its baseline, when that is more than twenty, up or down; else None."""
    for value in values.values():
        if baseline and np.isfinite(value) and value and (value > 0) == (baseline > 0):
            factor = value / baseline
            if factor > _OFF or factor < 1 / _OFF:
                return float(factor)
    return None
