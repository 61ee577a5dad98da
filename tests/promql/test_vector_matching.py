"""Matching of many to one, aggregations with a parameter, histograms, labels, dates, regressions."""

from __future__ import annotations

import math

import pytest

from tests.support.series_builders import (
    evaluate_times,
    evenly_spaced,
    instant_vector,
    make_pages,
    parse_labels,
    series_key,
    single_value,
)
from watchdog.promql import PromqlError, may_return_multiple_series, parse
from watchdog.tsdb.page import PageList

nan, inf = math.nan, math.inf
M = make_pages(
    {
        "m{x=1,y=a}": [(0, 1)],
        "m{x=2,y=a}": [(0, 2)],
        "m{x=3,y=b}": [(0, 6)],
        "n{y=a,z=q}": [(0, 10)],
        "n{y=b,z=r}": [(0, 3)],
    }
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("m * on (y) group_left n", {"x=1,y=a": 10, "x=2,y=a": 20, "x=3,y=b": 18}),
        ("m * on (y) group_left (z) n", {"x=1,y=a,z=q": 10, "x=2,y=a,z=q": 20, "x=3,y=b,z=r": 18}),
        ("n - on (y) group_right (x) m", {"y=a": None}),
        ("n - on (y) group_right m", {"x=1,y=a": 9, "x=2,y=a": 8, "x=3,y=b": -3}),
        ("n < on (y) group_right m", {"x=3,y=b": 3}),  # the value of the left side, whichever is the many
        ("m > on (y) group_left n", {"x=3,y=b": 6}),
        ("m > bool ignoring (x, z) group_left n", {"x=1,y=a": 0, "x=2,y=a": 0, "x=3,y=b": 1}),
        ("topk(1, m)", {"x=3,y=b": 6}),
        ("topk by (y) (1, m)", {"x=2,y=a": 2, "x=3,y=b": 6}),
        ("bottomk(2, m)", {"x=1,y=a": 1, "x=2,y=a": 2}),
        ("topk(0, m)", {}),
        ("quantile(0.5, m)", {"": 2}),
        ("quantile by (y) (0.25, m)", {"y=a": 1.25, "y=b": 6}),
        ("stdvar(m)", {"": 14 / 3}),
        ("group by (y) (m)", {"y=a": 1, "y=b": 1}),
        ('count_values("v", m)', {"v=1": 1, "v=2": 1, "v=6": 1}),
        ('count_values("v", m > bool 1)', {"v=0": 1, "v=1": 2}),
        ('count_values without (x) ("v", m / 4)', {"v=0.25,y=a": 1, "v=0.5,y=a": 1, "v=1.5,y=b": 1}),
        ('label_replace(n, "z", "$1-$2x", "y", "(.)(.?)")', {"y=a,z=a-": 10, "y=b,z=b-": 3}),  # there is no group 2x
        ('label_replace(n, "z", "${1}!$$", "y", "(.)")', {"y=a,z=a!$": 10, "y=b,z=b!$": 3}),
        ('label_replace(n, "z", "", "y", "a")', {"y=a": 10, "y=b,z=r": 3}),
        ('label_join(n, "w", "-", "y", "none", "z")', {"w=a--q,y=a,z=q": 10, "w=b--r,y=b,z=r": 3}),
    ],
)
def test_answers(text: str, expected: dict[str, float | None]) -> None:
    if None in expected.values():
        with pytest.raises(PromqlError, match="same labels"):
            instant_vector(text, M, 1)
        return
    assert instant_vector(text, M, 1) == {parse_labels(name): pytest.approx(value) for name, value in expected.items()}


def test_the_one_must_be_one() -> None:
    with pytest.raises(PromqlError, match="several series on the right of"):
        instant_vector("n * on (y) group_left m", M, 1)
    with pytest.raises(PromqlError, match="several series on the left of"):
        instant_vector("m * on (y) group_right n", M, 1)


def test_topk_of_nan_series_is_an_error_and_nan_values_come_last() -> None:
    series = make_pages({"m{x=1}": [(0, nan)], "m{x=2}": [(0, -inf)]})

    assert (
        instant_vector("topk(1, m)", series, 1)
        == instant_vector("bottomk(1, m)", series, 1)
        == {parse_labels("x=2"): -inf}
    )
    with pytest.raises(PromqlError, match="topk of nan series"):
        instant_vector("topk(NaN, m)", series, 1)


def test_one_time_has_an_order() -> None:
    assert evaluate_times("sort(m)", M, 1).values.tolist() == [[1], [2], [6]]
    assert evaluate_times("sort_desc(m)", M, 1).keys[0] == series_key("m{x=3,y=b}")


B = make_pages(
    {f"b{{le={le}}}": [(0, count)] for le, count in {"0.5": 2.0, "1": 6.0, "2": 8.0, "+Inf": 10.0, "odd": 99.0}.items()}
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("histogram_quantile(0.1, b)", 0.25),
        ("histogram_quantile(0.4, b)", 0.75),
        ("histogram_quantile(0.8, b)", 2),
        ("histogram_quantile(0.95, b)", 2),
        ("histogram_quantile(0, b)", 0),
        ("histogram_quantile(-1, b)", -inf),
        ("histogram_quantile(1.1, b)", inf),
        ("histogram_quantile(NaN, b)", nan),
        ('histogram_quantile(0.5, b{le!="+Inf"})', nan),
        ("histogram_quantile(0.5, b * 0)", nan),
        ('histogram_quantile(0.5, b{le="+Inf"})', nan),
        ("histogram_fraction(0, 0.25, b)", 0.1),
        ("histogram_fraction(0.5, 1, b)", 0.4),
        ("histogram_fraction(-Inf, +Inf, b)", 1),
        ("histogram_fraction(-Inf, 0, b)", 0),
        ("histogram_fraction(2, 9, b)", 0),
        ("histogram_fraction(0.75, +Inf, b)", 0.6),
        ("histogram_fraction(1, 1, b)", 0),
        ("histogram_fraction(NaN, 1, b)", nan),
        ('histogram_fraction(0, 1, b{le!="+Inf"})', nan),
        ("histogram_fraction(0, 1, b * 0)", nan),
    ],
)
def test_classic_histograms(text: str, expected: float) -> None:
    assert single_value(text, B, 1) == pytest.approx(expected, nan_ok=True)


def test_buckets_that_fall_are_lifted() -> None:
    falling = make_pages({"b{le=1}": [(0, 5)], "b{le=2}": [(0, 4)], "b{le=+Inf}": [(0, 5)]})

    assert single_value("histogram_quantile(1, b)", falling, 1) == 1


@pytest.mark.parametrize(
    ("func", "expected"),
    [
        ("minute", 26),
        ("hour", 14),
        ("day_of_week", 0),
        ("day_of_month", 29),
        ("day_of_year", 60),
        ("days_in_month", 29),
        ("month", 2),
        ("year", 2032),
    ],
)
def test_the_29th_of_february_2032_at_14_26_is_a_sunday(func: str, expected: float) -> None:
    seconds = 1_961_677_617.9

    assert single_value(f"{func}()", PageList(), seconds) == expected
    assert single_value(f"{func}(vector({seconds}))", PageList(), 0) == expected
    assert single_value(f"{func}(vector(NaN))", PageList(), 0) == pytest.approx(nan, nan_ok=True)


def test_regressions_and_quantiles_over_time() -> None:
    series = make_pages(
        {
            "m": evenly_spaced(10, [1, 3, 5, 7]),
            "flat": evenly_spaced(10, [0.1] * 4),
            "odd": evenly_spaced(10, [5, 1, 100, 3]),
        }
    )

    assert single_value("deriv(m[1m])", series, 35) == pytest.approx(0.2)
    assert single_value("predict_linear(m[1m], 15)", series, 35) == pytest.approx(11)
    assert single_value("predict_linear(m[1m] offset 1m, 15)", series, 95) == pytest.approx(23)
    assert single_value("deriv(flat[1m])", series, 35) == 0
    assert single_value("predict_linear(flat[1m], 1e6)", series, 35) == 0.1
    assert single_value("deriv(m[5s])", series, 30) is None
    assert single_value("quantile_over_time(0.5, odd[1m])", series, 35) == 4
    assert single_value("quantile_over_time(2, odd[1m])", series, 35) == inf
    assert single_value("mad_over_time(odd[1m])", series, 35) == 2


@pytest.mark.parametrize(
    "text",
    [
        "a * on (x) group_left sum(b)",
        "topk(2, a)",
        "topk(1, a) by (x)",
        'count_values("v", sum(a))',
        "histogram_quantile(0.9, a)",
        'label_replace(a, "x", "y", "z", ".*")',
    ],
)
def test_can_be_many(text: str) -> None:
    assert may_return_multiple_series(parse(text))


@pytest.mark.parametrize(
    "text",
    [
        "sum(a) * on () group_left sum(b)",
        "topk(1, a)",
        "quantile(0.9, a)",
        "hour()",
        "pi()",
        "group(a)",
        "sort(sum(a))",
        'label_replace(sum(a), "x", "y", "z", ".*")',
        "histogram_quantile(0.9, sum(a))",
    ],
)
def test_cannot_be_many(text: str) -> None:
    assert not may_return_multiple_series(parse(text))


@pytest.mark.parametrize(
    "step", ['label_replace({}, "z", "$0$0", "z", ".*")', 'label_join({}, "z", "", "z", "z")'], ids=["replace", "join"]
)
def test_a_label_that_is_doubled_again_and_again_has_an_end(step: str) -> None:
    text = 'label_replace(m, "z", "0123456789abcdef", "", "")'
    for _ in range(10):
        text = step.format(text)

    assert {len(dict(key)["z"]) for key in evaluate_times(text, M, 1).keys} == {16_384}
    with pytest.raises(PromqlError, match="longer than 16 kB"):
        evaluate_times(step.format(text), M, 1)
