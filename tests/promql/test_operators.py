from __future__ import annotations

import math

import pytest

from tests.support.series_builders import (
    STALE_MARKER,
    evaluate_times,
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
    ("text", "expected"),
    [
        ("7 + 2", 9),
        ("7 - 2", 5),
        ("7 * 2", 14),
        ("7 / 2", 3.5),
        ("7 % 2", 1),
        ("2 ^ 3 ^ 2", 512),
        ("-2 ^ 2", -4),
        ("-7 % 3", -1),
        ("7 % -3", 1),
        ("7 % 0", nan),
        ("1 / 0", inf),
        ("-1 / 0", -inf),
        ("0 / 0", nan),
        ("NaN ^ 0", 1),
        ("1 ^ NaN", 1),
        ("2 == bool 2", 1),
        ("2 != bool 2", 0),
        ("NaN == bool NaN", 0),
        ("NaN != bool NaN", 1),
        ("1 < bool 2", 1),
        ("2 <= bool 1", 0),
        ("Inf >= bool Inf", 1),
        ("1 - 2 - 3", -4),
        ("1 + 2 * 3", 7),
    ],
)
def test_scalars(text: str, expected: float) -> None:
    assert single_value(text, PageList(), 1) == pytest.approx(expected, nan_ok=True)
    # the same between a vector and a scalar, and between two vectors
    if "^" not in text and "-7" not in text and text.count(" ") == 2:
        left, op, right = text.split(" ")
        assert single_value(f"vector({left}) {op} {right}", PageList(), 1) == pytest.approx(expected, nan_ok=True)
        assert single_value(f"vector({left}) {op} vector({right})", PageList(), 1) == pytest.approx(
            expected, nan_ok=True
        )


M = make_pages(
    {"m{x=1}": [(0, 1)], "m{x=2}": [(0, 2)], "m{x=3}": [(0, nan)]},
    {"n{x=1}": [(0, 10)], "n{x=2}": [(0, 0)], "n{x=9}": [(0, 9)]},
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("m * 10", {"x=1": 10, "x=2": 20, "x=3": nan}),
        ("10 - m", {"x=1": 9, "x=2": 8, "x=3": nan}),
        ("-m", {"x=1": -1, "x=2": -2, "x=3": nan}),
        ("m > 1", {"x=2": 2}),
        ("1 < m", {"x=2": 2}),  # the vector's value, whichever side it stands on
        ("m != 1", {"x=2": 2, "x=3": nan}),
        ("m == NaN", {}),
        ("m > bool 1", {"x=1": 0, "x=2": 1, "x=3": 0}),
        ("m + n", {"x=1": 11, "x=2": 2}),
        ("m / n", {"x=1": 0.1, "x=2": inf}),
        ("m > n", {"x=2": 2}),
        ("m < n", {"x=1": 1}),
        ("m < bool n", {"x=1": 1, "x=2": 0}),
        ("m and n", {"x=1": 1, "x=2": 2}),
        ("m unless n", {"x=3": nan}),
        ("m or n", {"x=1": 1, "x=2": 2, "x=3": nan, "x=9": 9}),
        ("m and n > 5", {"x=1": 1}),
        ("m and on () n", {"x=1": 1, "x=2": 2, "x=3": nan}),
        ("m unless on () nobody", {"x=1": 1, "x=2": 2, "x=3": nan}),
        ("m or on () n", {"x=1": 1, "x=2": 2, "x=3": nan}),
        ("nobody or m", {"x=1": 1, "x=2": 2, "x=3": nan}),
        ("m + nobody", {}),
        ("sum(n) or vector(0)", {"": 19}),
        ("sum(nobody) or vector(0)", {"": 0}),
        ("m / on () sum(n)", "several series on the left"),
        ("m / scalar(sum(n))", {"x=1": 1 / 19, "x=2": 2 / 19, "x=3": nan}),
    ],
)
def test_vectors(text: str, expected: dict[str, float] | str) -> None:
    if isinstance(expected, str):
        with pytest.raises(PromqlError, match=expected):
            instant_vector(text, M, 1)
        return
    assert instant_vector(text, M, 1) == {
        parse_labels(name): pytest.approx(value, nan_ok=True) for name, value in expected.items()
    }


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("m > 1", ["m{x=2}"]),
        ("m > bool 1", ["{x=1}", "{x=2}", "{x=3}"]),
        ("m * 1", ["{x=1}", "{x=2}", "{x=3}"]),
        ("m < n", ["m{x=1}"]),
        ("m < bool n", ["{x=1}", "{x=2}"]),
        ("m < on (x) n", ["{x=1}"]),
        ("m and n", ["m{x=1}", "m{x=2}"]),
        ('m{x="1"} or n', ["m{x=1}", "n{x=2}", "n{x=9}"]),
        ("-m", ["{x=1}", "{x=2}", "{x=3}"]),
    ],
)
def test_names_stay_where_a_series_is_only_chosen(text: str, keys: list[str]) -> None:
    expected = [tuple(pair for pair in series_key(name) if pair != ("__name__", "")) for name in keys]

    assert sorted(evaluate_times(text, M, 1).keys) == sorted(expected)


MATCHED = make_pages(
    {
        "hit{path=a,code=200}": [(0, 6)],
        "hit{path=a,code=500}": [(0, 3)],
        "hit{path=b,code=200}": [(0, 1)],
        "all{path=a}": [(0, 12)],
        "all{path=b}": [(0, 4)],
    }
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('hit{code="200"} / ignoring (code) all', {"path=a": 0.5, "path=b": 0.25}),
        ('hit{code="200"} / on (path) all', {"path=a": 0.5, "path=b": 0.25}),
        ('hit{code="500"} / on () all{path="a"}', {"": 0.25}),
        ('all / on (path) hit{code="200"}', {"path=a": 2, "path=b": 4}),
        ("hit / all", {}),
        # only one of the two series on the left stays after the comparison
        ("hit > ignoring (code) all - 9", {"path=a": 6, "path=b": 1}),
    ],
)
def test_matching_on_and_ignoring(text: str, expected: dict[str, float]) -> None:
    assert instant_vector(text, MATCHED, 1) == {parse_labels(name): value for name, value in expected.items()}


@pytest.mark.parametrize(
    ("text", "side"),
    [
        ("hit / on (path) all", "left of /"),
        ("hit > bool on (path) all", "left of >"),
        ("all / on (path) hit", "right of /"),
        ("all / on (nowhere) hit", "right of /"),
    ],
)
def test_several_partners_are_an_error_not_a_guess(text: str, side: str) -> None:
    with pytest.raises(
        PromqlError, match=f"several series on the {side} match .* — match on more labels, (or )?aggregate"
    ):
        instant_vector(text, MATCHED, 1)


def test_no_error_where_the_other_side_is_empty() -> None:
    assert instant_vector("nobody / on () hit", MATCHED, 1) == {}
    assert instant_vector("hit / on () nobody", MATCHED, 1) == {}


def test_partners_may_take_turns() -> None:
    series = make_pages({"a": [(0, 8), (20, 8)], "b{pid=1}": [(0, 2), (10, STALE_MARKER)], "b{pid=2}": [(15, 4)]})

    forth, back = evaluate_times("a / on () b", series, 5, 12, 20), evaluate_times("b / on () a", series, 5, 12, 20)

    assert forth.keys == back.keys == [()]
    assert forth.values.tolist() == [pytest.approx([4, nan, 2], nan_ok=True)]
    assert back.values.tolist() == [pytest.approx([0.25, nan, 0.5], nan_ok=True)]
    assert forth.present.tolist() == [[True, False, True]]


def test_one_series_from_either_side_of_or_is_one_series() -> None:
    series = make_pages({"a": [(0, 1), (10, STALE_MARKER)], "b": [(0, 5)]})

    result = evaluate_times("(a or a offset 5s)", series, 5, 12)

    assert result.keys == [series_key("a")]
    assert result.values.tolist() == [[1, 1]]


def test_thousands_of_partners_are_refused_before_they_fill_the_memory() -> None:
    crowd = make_pages({f"a{{x={i}}}": [(0, 1)] for i in range(400)} | {f"b{{x={i}}}": [(0, 1)] for i in range(400)})

    with pytest.raises(PromqlError, match="400 × 400 series"):
        instant_vector("a + on () b", crowd, 1)
