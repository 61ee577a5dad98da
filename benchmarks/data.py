"""The samples that both sides judge: the same series, the same values, one a second."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from watchdog.model import Labels, Millis

Floats = npt.NDArray[np.float64]
SECOND: Millis = 1_000
HOUR = 3_600
DAY = 24 * HOUR
SHAPES = ("rising", "falling", "random")


class Series(NamedTuple):
    name: str
    labels: Labels
    values: Floats
    """One a second; the last one belongs to the end of the history."""


def gauges(count: int, seconds: int) -> list[Series]:
    """Quiet gauges around 1."""
    noise = np.random.default_rng(1).normal(1.0, 0.1, (count, seconds))
    return [Series("gauge", (("i", str(i)),), noise[i]) for i in range(count)]


def wide(seconds: int, count: int = 10_000) -> list[Series]:
    """One metric, many series."""
    noise = np.random.default_rng(2).normal(1.0, 0.1, (count, seconds))
    return [Series("wide", (("i", str(i)),), noise[i]) for i in range(count)]


def equities(seconds: int) -> list[Series]:
    """An account that rises all the time, one that falls, and one that wanders; all of them stay positive."""
    step = np.arange(seconds, dtype=np.float64)
    walk = np.random.default_rng(3).normal(0.0, 1e-4, seconds).cumsum()
    curves = {"rising": 1_000.0 + step / 100, "falling": 10_000.0 - step / 100, "random": 1_000.0 * np.exp(walk)}
    return [Series("equity", (("shape", shape),), curves[shape]) for shape in SHAPES]


class Case(NamedTuple):
    """What is judged: some expressions, each of which must not exceed a limit that it never exceeds."""

    what: str
    exprs: Sequence[str]
    """One rule each."""
    limit: float
    history: list[Series]
    window: Millis
    """How far back the expressions read."""
    goal: float
    """Checks per CPU-second that we want."""
    prometheus: float
    """What Prometheus did on the machine that the goal was set for."""
    theirs: int
    """Rules that others are given, so that they are busy but keep up."""
    checks: int = 1
    """Values that are compared for each evaluation of a rule."""


def cases(*, day: bool) -> list[Case]:
    """The evaluator's rows. Without `day` nothing reads more than an hour."""
    few, many = gauges(50, 420), wide(3)
    money = equities((DAY if day else HOUR) + 60)
    singles = [f'gauge{{i="{i}"}}' for i in range(50)]
    means = [f'avg_over_time(gauge{{i="{i}"}}[5m])' for i in range(50)]
    found = [
        Case("threshold rules on one series each", singles, 5.0, few, 0, 100_000, 13_000, 1_000),
        Case("one rule over 10,000 series, checks", ["wide"], 5.0, many, 0, 2_000_000, 73_000, 1, len(many)),
        Case("avg_over_time 5 min, one series alone", means[:1], 5.0, few, 300 * SECOND, 30_000, 5_200, 200),
        Case("avg_over_time 5 min, 50 rules share a page", means, 5.0, few, 300 * SECOND, 50_000, 5_200, 200),
    ]
    for span, hours, goal, prometheus, theirs in (("1h", 1, 40_000, 1_200, 50), ("24h", 24, 10_000, 48, 3))[: 1 + day]:
        for shape in SHAPES:
            equity = f'equity{{shape="{shape}"}}'
            expr = f"1 - {equity} / max_over_time({equity}[{span}])"
            found.append(
                Case(
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
