from __future__ import annotations

import math

import pytest

from tests.support.series_builders import (
    STALE_MARKER,
    evaluate_times,
    evenly_spaced,
    instant_vector,
    make_pages,
    parse_labels,
    series_key,
    single_value,
)
from watchdog.promql import PromqlError
from watchdog.tsdb.page import PageList

nan, inf = math.nan, math.inf


@pytest.mark.parametrize(
    ("function", "values", "expected"),
    [
        ("avg", [1, 2, 3, 6], 3),
        ("sum", [1, 2, 3, 6], 12),
        ("min", [3, -1, 6], -1),
        ("max", [3, -1, 6], 6),
        ("count", [3, nan, 6], 3),
        ("last", [3, -1, 6], 6),
        ("present", [nan], 1),
        ("stdvar", [1, 2, 3, 6], 3.5),
        ("stddev", [1, 1, 3, 3], 1),
        ("max", [nan, 2, nan], 2),  # NaN only when there is nothing else
        ("min", [nan, nan], nan),
        ("avg", [1, nan], nan),
        ("sum", [1, inf], inf),
        ("avg", [1, inf], inf),
        ("sum", [inf, -inf], nan),
        ("avg", [inf, -inf, 1], nan),
        ("avg", [1e308] * 4, 1e308),  # the sum would overflow, the mean must not
        ("avg", [1e308, 1e308, -1e308, -1e308], 0),
        ("sum", [1e308] * 4, inf),
        ("sum", [1.7e308] * 8 + [-1.7e308] * 8, 0),
        ("sum", [1e100, 1, -1e100, 1], 2),
        ("avg", [1e100, 1, -1e100, 1], 0.5),
        ("stddev", [1, inf], nan),
    ],
)
def test_over_time(function: str, values: list[float], expected: float) -> None:
    series = make_pages({"m": evenly_spaced(1, values)})

    assert single_value(f"{function}_over_time(m[1m])", series, 30) == pytest.approx(expected, rel=1e-15, nan_ok=True)


@pytest.mark.parametrize("value", [0.1, 1 / 3, 0.15, 1e-300, 123456.789, -0.7])
@pytest.mark.parametrize("count", [3, 7, 64, 300, 1_001])
def test_a_constant_at_its_limit_stays_exactly_there(value: float, count: int) -> None:
    series = make_pages({"m": evenly_spaced(1, [value] * count)})

    assert single_value("avg_over_time(m[1h])", series, 3_000) == value
    assert single_value("stddev_over_time(m[1h])", series, 3_000) == 0
    assert single_value("sum_over_time(m[1h])", series, 3_000) == math.fsum([value] * count)


def test_one_outlier_does_not_spoil_a_sum() -> None:
    values = [1e15, *[0.1] * 999, -1e15]

    assert single_value("sum_over_time(m[1h])", make_pages({"m": evenly_spaced(1, values)}), 3_000) == math.fsum(values)
    assert (
        single_value("avg_over_time(m[1h])", make_pages({"m": evenly_spaced(1, values)}), 3_000)
        == math.fsum(values) / 1_001
    )


def test_last_over_time_keeps_the_name_and_the_others_drop_it() -> None:
    series = make_pages({"m{x=1}": [(0, 1)]})

    assert evaluate_times("last_over_time(m[1m])", series, 1).keys == [series_key("m{x=1}")]
    assert evaluate_times("max_over_time(m[1m])", series, 1).keys == [parse_labels("x=1")]


def test_metrics_that_differ_by_name_only_clash_once_names_are_dropped() -> None:
    both = make_pages({"a": [(0, 1)], "b": [(0, 2)]})
    in_turns = make_pages({"a": [(0, 1), (10, STALE_MARKER)], "b": [(20, 2)]})

    for text in (
        '-{__name__=~"a|b"}',
        'abs({__name__=~"a|b"})',
        '{__name__=~"a|b"} + 1',
        'max_over_time({__name__=~"a|b"}[5s])',
    ):
        with pytest.raises(PromqlError, match="same labels"):
            evaluate_times(text, both, 1)
        assert evaluate_times(text, in_turns, 1, 21).keys == [()]
    assert evaluate_times('max_over_time({__name__=~"a|b"}[5s])', in_turns, 1, 21).values.tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("call", "value", "expected"),
    [
        ("abs(m)", -2.5, 2.5),
        ("ceil(m)", 1.2, 2),
        ("floor(m)", -1.2, -2),
        ("sqrt(m)", 9, 3),
        ("sqrt(m)", -1, nan),
        ("exp(m)", 0, 1),
        ("ln(m)", math.e, 1),
        ("ln(m)", 0, -inf),
        ("log2(m)", 8, 3),
        ("log10(m)", 1000, 3),
        ("sgn(m)", -7, -1),
        ("sgn(m)", 0, 0),
        ("round(m)", 2.5, 3),  # ties go up
        ("round(m)", -2.5, -2),
        ("round(m, 0.25)", 0.3, 0.25),
        ("round(m, 10)", 17, 20),
        ("clamp(m, 0, 10)", 11, 10),
        ("clamp(m, 0, 10)", -1, 0),
        ("clamp(m, 0, 10)", 5, 5),
        ("clamp(m, 10, 0)", 5, None),
        ("clamp_min(m, 3)", 1, 3),
        ("clamp_max(m, 3)", 4, 3),
        ("clamp_max(m, 3)", nan, nan),
        ("clamp_min(m, NaN)", inf, inf),
        ("clamp_min(m, NaN)", 1, nan),
    ],
)
def test_instant_functions(call: str, value: float, expected: float | None) -> None:
    found = single_value(call, make_pages({"m": [(0, value)]}), 1)

    assert found == (None if expected is None else pytest.approx(expected, rel=1e-15, nan_ok=True))


def test_instant_functions_drop_the_name() -> None:
    assert evaluate_times("abs(m)", make_pages({"m{x=1}": [(0, -1)]}), 1).keys == [parse_labels("x=1")]


def test_time_is_in_seconds() -> None:
    assert evaluate_times("time()", PageList(), 1.5, 2).values.tolist() == [[1.5, 2]]


def test_timestamp_is_that_of_the_sample_or_of_the_evaluation() -> None:
    series = make_pages({"slow{x=1}": [(1.25, 5)], "fast": evenly_spaced(1, range(9))}, {"slow{x=2}": [(2.5, 5)]})

    assert instant_vector("timestamp(slow)", series, 8) == {parse_labels("x=1"): 1.25, parse_labels("x=2"): 2.5}
    assert instant_vector("timestamp((slow))", series, 8) == {parse_labels("x=1"): 1.25, parse_labels("x=2"): 2.5}
    assert instant_vector("timestamp(slow + 1)", series, 8) == {parse_labels("x=1"): 8, parse_labels("x=2"): 8}
    assert evaluate_times("timestamp(fast)", series, 3, 4.5).keys == [()]
    assert evaluate_times("timestamp(fast)", series, 3, 4.5).values.tolist() == [[3, 4]]


def test_vector_and_scalar() -> None:
    series = make_pages({"one{x=1}": [(0, 7)], "two{x=1}": [(0, 1)], "two{x=2}": [(0, 2), (10, STALE_MARKER)]})

    assert instant_vector("vector(3)", series, 1) == {(): 3}
    assert single_value("scalar(one) + 1", series, 1) == 8
    assert single_value("scalar(nobody)", series, 1) == pytest.approx(nan, nan_ok=True)
    assert evaluate_times("scalar(two)", series, 1, 10).values.tolist() == [pytest.approx([nan, 1], nan_ok=True)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("absent(m)", {}),
        ("absent(nobody)", {(): 1}),
        ('absent(nobody{x="1", y!="2", z=~"3"})', {parse_labels("x=1"): 1}),
        ('absent(nobody{x="1", x="2"})', {(): 1}),
        ('absent((nobody{x="1"}))', {parse_labels("x=1"): 1}),
        ("absent(m > 5)", {(): 1}),
        ("absent(sum(nobody))", {(): 1}),
        ('absent_over_time(nobody{x="1"}[5m])', {parse_labels("x=1"): 1}),
        ("absent_over_time(m[5m])", {}),
        ("absent_over_time(m[5s])", {(): 1}),
    ],
)
def test_absent(text: str, expected: dict[object, float]) -> None:
    assert instant_vector(text, make_pages({"m{x=1}": [(0, 1)]}), 10) == expected


def test_absent_turns_with_time() -> None:
    series = make_pages({"m": [(10, 1), (20, STALE_MARKER)]})

    assert evaluate_times("absent(m)", series, 5, 15, 25).present.tolist() == [[True, False, True]]


def test_a_number_is_a_result_too() -> None:
    assert instant_vector("2 * 3", PageList(), 1) == {(): 6}
    assert instant_vector("-(2)", PageList(), 1) == {(): -2}
