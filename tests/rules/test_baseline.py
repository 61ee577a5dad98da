"""What is learned from values, and when."""

from __future__ import annotations

import math

import pytest

from watchdog.core.model import Labels
from watchdog.rules import (
    BaselineState,
    Kpi,
    Learn,
    Reading,
    baseline_mismatch,
    learn_baseline,
    trusted_values,
    unit_mismatch,
)
from watchdog.rules.baseline import BaselinePoint

NOW = 1_700_000_000_000
HOUR = 3_600_000
DAY = 24 * HOUR
BTC: Labels = (("pair", "BTC"),)
ETH: Labels = (("pair", "ETH"),)
WEEK = Learn(learn=7 * DAY)


def make_points(first: int, last: int, value: float = 5.0) -> list[BaselinePoint]:
    """One each five minutes, from `first` to `last` days ago."""
    return [(t, value) for t in range(NOW - first * DAY, NOW - last * DAY + 1, 300_000)]


def test_until_the_window_is_full_it_says_how_far_it_is() -> None:
    assert learn_baseline(WEEK, [], NOW) == BaselineState(None, "learning 0 ms of 7 d")
    assert learn_baseline(WEEK, make_points(3, 0), NOW) == BaselineState(None, "learning 3 d of 7 d")
    assert learn_baseline(WEEK, make_points(7, 0), NOW) == BaselineState(5.0, "")


def test_a_window_with_too_few_values_says_how_many_there_are() -> None:
    assert learn_baseline(WEEK, make_points(7, 0)[::4], NOW) == BaselineState(None, "learning 505 of 1000 samples")


def test_a_few_odd_hours_do_not_move_a_median_and_do_move_a_mean() -> None:
    points = make_points(7, 1) + make_points(1, 0, 500.0)[1:]

    assert learn_baseline(WEEK, points, NOW).value == 5.0
    mean = learn_baseline(Learn(learn=7 * DAY, stat="mean"), points, NOW).value
    assert mean is not None
    assert 50 < mean < 100


def test_what_has_just_begun_to_drift_is_not_normal_yet() -> None:
    points = make_points(10, 3) + make_points(3, 0, 500.0)[1:]

    assert learn_baseline(WEEK.model_copy(update={"offset": 3 * DAY}), points, NOW) == BaselineState(5.0, "")
    assert learn_baseline(WEEK.model_copy(update={"offset": 4 * DAY}), points, NOW).reason == "learning 6 d of 7 d"


def test_values_are_believed_as_a_rule_would_judge_by_them() -> None:
    kpi = Kpi(expr="x", needs="y > 1")
    seen = Reading({BTC: 1.0, ETH: math.nan}, NOW, evidence={(): 1.0}, max_age=3_000)

    assert trusted_values("k", kpi, seen, NOW) == ([1.0], "")
    assert trusted_values("k", kpi, seen, NOW + 3_001) == (
        [],
        "newest sample of k is 3.001 s old, at most 3 s is believed",
    )
    assert trusted_values("k", kpi, Reading({BTC: 1.0}, NOW, evidence={}, max_age=3_000), NOW) == (
        [],
        "k lacks the evidence it needs",
    )


@pytest.mark.parametrize(
    ("value", "factor"), [(8.3, 100), (0.083, None), (0.004, 0.0482), (1.6, None), (0.0, None), (-9, None)]
)
def test_more_than_twenty_times_off_is_told(value: float, factor: float | None) -> None:
    found = baseline_mismatch([value], 0.083)

    assert found == (None if factor is None else pytest.approx(factor, rel=0.01))
    assert baseline_mismatch([value], None) is None


@pytest.mark.parametrize(
    ("value", "unit", "factor"),
    [
        (8.3, "ratio", 100),
        (5.0, "ratio", 60),
        (0.083 * 26, "ratio", None),
        (8.3, "bytes", None),
        (8.3, "count", None),
        (8.3, "percent", None),
        (0.00083, "percent", 0.01),
        (0.00083, "ratio", None),
    ],
)
def test_a_ratio_was_taken_for_a_percent_only_in_a_share_that_is_about_a_hundred_times_off(
    value: float, unit: str, factor: float | None
) -> None:
    expected = None if factor is None else pytest.approx(factor, rel=0.01)

    assert unit_mismatch([0.083, value], 0.083, unit) == expected
