"""The functions that only the embedded engine knows."""

from __future__ import annotations

import math

import pytest

from tests.support.series_builders import evenly_spaced, instant_vector, make_pages, single_value
from watchdog.promql import metrics_read_for_extremes, parse

nan, inf = math.nan, math.inf


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("max_drawdown_over_time(m[1m])", [100, 120, 90, 110, 99], 0.25),
        ("max_drawdown_over_time(m[1m])", [1, 2, 3], 0),
        ("max_drawdown_over_time(m[1m])", [100, nan, 50, nan], 0.5),
        ("max_drawdown_over_time(m[1m])", [-5, 0, -1], nan),  # no peak above zero
        ("max_drawdown_over_time(m[1m])", [-5, 10, -10], 2),  # more than everything is lost
        ("max_drawdown_over_time(m[1m])", [nan], nan),
        ("change_share_over_time(m[1m])", [1, 1, 2, 2, 1], 0.5),
        ("change_share_over_time(m[1m])", [nan, nan, 2], 0.5),
        ("change_share_over_time(m[1m])", [1], None),
        ("streak_below_over_time(m[1m], 0)", [-1, 1, -1, -2], 2),
        ("streak_below_over_time(m[1m], 0)", [-1, -1, 0], 0),  # strictly below
        ("streak_below_over_time(m[1m], 0)", [-1, -1, -1], 3),
        ("streak_below_over_time(m[1m], 0)", [-1, nan, -1], 1),
        ("streak_above_over_time(m[1m], 1)", [2, 1, 2, 3, 4], 3),
        ("streak_above_over_time(m[1m], NaN)", [2, 1], 0),
        ("ewma_over_time(m[1m], 1)", [0, 3], 2),
        ("ewma_over_time(m[1m], 1)", [0, nan, 5], 4),
        ("ewma_over_time(m[1m], 0)", [0, 3], nan),
        ("ewma_over_time(m[1m], 10)", [nan], nan),
        ("ewma_over_time(m[1m], 1e9)", [1, 2, 3], 2),
        ("ewm_volatility_over_time(m[1m], 1)", [0, 3], math.sqrt(2)),
        ("ewm_volatility_over_time(m[1m], 1)", [7, 7, 7], 0),
    ],
)
def test_values(text: str, values: list[float], expected: float | None) -> None:
    assert single_value(text, make_pages({"m": evenly_spaced(1, values)}), 30) == (
        None if expected is None else pytest.approx(expected, rel=1e-7, nan_ok=True)
    )


@pytest.mark.parametrize("value", [0.1, 1 / 3, 123456.789])
def test_the_weighted_mean_of_a_constant_is_that_constant(value: float) -> None:
    assert single_value("ewma_over_time(m[5m], 7)", make_pages({"m": evenly_spaced(1, [value] * 100)}), 100) == value


def test_what_can_be_said_in_plain_promql_is_the_same() -> None:
    series = make_pages({"m": evenly_spaced(10, [5, 3, 3, 8, 1, 1, 9, 2, 2, 4])})

    for t in (45, 62, 90):
        share, plain = "change_share_over_time(m[1m])", "changes(m[1m]) / (count_over_time(m[1m]) - 1)"
        assert single_value(share, series, t) == single_value(plain, series, t)
        assert instant_vector("max_drawdown_over_time((m)[1m:10s])", series, t) == instant_vector(
            "max_drawdown_over_time(m[1m])", series, t - t % 10
        )


def test_a_restart_must_not_forget_the_peak_of_a_drawdown() -> None:
    assert metrics_read_for_extremes(parse("max_drawdown_over_time(equity[30d])")) == {("equity", "max")}
