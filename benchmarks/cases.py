"""The samples that both sides judge: the same series, the same values, one a second."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from watchdog.core.model import Labels, Millis

Floats = npt.NDArray[np.float64]
SECOND: Millis = 1_000
HOUR = 3_600
DAY = 24 * HOUR
SHAPES = ("rising", "falling", "random")


class SeriesHistory(NamedTuple):
    name: str
    labels: Labels
    values: Floats
    """One a second; the last one belongs to the end of the history."""


def make_gauges(count: int, seconds: int) -> list[SeriesHistory]:
    """Quiet gauges around 1."""
    noise = np.random.default_rng(1).normal(1.0, 0.1, (count, seconds))
    return [SeriesHistory("gauge", (("i", str(i)),), noise[i]) for i in range(count)]


def make_wide_metric(seconds: int, count: int = 10_000) -> list[SeriesHistory]:
    """One metric, many series."""
    noise = np.random.default_rng(2).normal(1.0, 0.1, (count, seconds))
    return [SeriesHistory("wide", (("i", str(i)),), noise[i]) for i in range(count)]


def make_equities(seconds: int) -> list[SeriesHistory]:
    """An account that rises all the time, one that falls, and one that wanders; all of them stay positive."""
    step = np.arange(seconds, dtype=np.float64)
    walk = np.random.default_rng(3).normal(0.0, 1e-4, seconds).cumsum()
    curves = {"rising": 1_000.0 + step / 100, "falling": 10_000.0 - step / 100, "random": 1_000.0 * np.exp(walk)}
    return [SeriesHistory("equity", (("shape", shape),), curves[shape]) for shape in SHAPES]


class BenchmarkCase(NamedTuple):
    """What is judged: some expressions, each of which must not exceed a limit that it never exceeds."""

    title: str
    exprs: Sequence[str]
    """One rule each."""
    limit: float
    history: list[SeriesHistory]
    window: Millis
    """How far back the expressions read."""
    goal: float
    """Checks per CPU-second that we want."""
    prometheus_reference: float
    """What Prometheus did on the machine that the goal was set for."""
    competitor_rules: int
    """Rules that others are given, so that they are busy but keep up."""
    checks: int = 1
    """Values that are compared for each evaluation of a rule."""


def make_cases(*, day: bool) -> list[BenchmarkCase]:
    """The evaluator's rows. Without `day` nothing reads more than an hour."""
    few, many = make_gauges(50, 420), make_wide_metric(3)
    money = make_equities((DAY if day else HOUR) + 60)
    singles = [f'gauge{{i="{i}"}}' for i in range(50)]
    means = [f'avg_over_time(gauge{{i="{i}"}}[5m])' for i in range(50)]
    found = [
        BenchmarkCase("threshold rules on one series each", singles, 5.0, few, 0, 100_000, 13_000, 1_000),
        BenchmarkCase("one rule over 10,000 series, checks", ["wide"], 5.0, many, 0, 2_000_000, 73_000, 1, len(many)),
        BenchmarkCase("avg_over_time 5 min, one series alone", means[:1], 5.0, few, 300 * SECOND, 30_000, 5_200, 200),
        BenchmarkCase("avg_over_time 5 min, 50 rules share a page", means, 5.0, few, 300 * SECOND, 50_000, 5_200, 200),
    ]
    for span, hours, goal, prometheus, theirs in (("1h", 1, 40_000, 1_200, 50), ("24h", 24, 10_000, 48, 3))[: 1 + day]:
        for shape in SHAPES:
            equity = f'equity{{shape="{shape}"}}'
            expr = f"1 - {equity} / max_over_time({equity}[{span}])"
            found.append(
                BenchmarkCase(
                    f"drawdown {hours} h, {shape} equity",
                    [expr],
                    2.0,
                    money,
                    hours * HOUR * SECOND,
                    goal,
                    prometheus,
                    theirs,
                )
            )
    return found
