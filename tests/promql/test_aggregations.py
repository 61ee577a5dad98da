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
)

nan, inf = math.nan, math.inf
M = make_pages(
    {"m{x=1,y=a}": [(0, 1)], "m{x=2,y=a}": [(0, 2)], "m{x=3,y=b}": [(0, 6)]},
    {"m{x=1,y=b}": [(0, 11)], "n{y=b}": [(0, 5)]},
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sum(m)", {"": 20}),
        ("avg(m)", {"": 5}),
        ("min(m)", {"": 1}),
        ("max(m)", {"": 11}),
        ("count(m)", {"": 4}),
        ("sum by (y) (m)", {"y=a": 3, "y=b": 17}),
        ("sum by (x) (m)", {"x=1": 12, "x=2": 2, "x=3": 6}),
        ("sum without (x) (m)", {"y=a": 3, "y=b": 17}),
        ("count without () (m)", {"x=1,y=a": 1, "x=2,y=a": 1, "x=3,y=b": 1, "x=1,y=b": 1}),
        ("sum by () (m)", {"": 20}),
        ("sum by (nowhere) (m)", {"": 20}),
        ("sum(nobody)", {}),
        ("count(m > 1)", {"": 3}),
        ("max by (y) (m) - min by (y) (m)", {"y=a": 1, "y=b": 5}),
        ("sum(sum by (y) (m) > 5)", {"": 17}),
    ],
)
def test_groups(text: str, expected: dict[str, float]) -> None:
    assert instant_vector(text, M, 1) == {parse_labels(name): value for name, value in expected.items()}


def test_the_name_may_be_grouped_by() -> None:
    assert sorted(evaluate_times('sum by (__name__, y) ({y="b"})', M, 1).keys) == [
        series_key("m{y=b}"),
        series_key("n{y=b}"),
    ]
    assert evaluate_times('sum without (x) ({__name__=~"m|n", y="b"})', M, 1).keys == [parse_labels("y=b")]


@pytest.mark.parametrize(
    ("op", "values", "expected"),
    [
        ("sum", [1, nan], nan),
        ("min", [nan, 3, 2], 2),
        ("max", [nan, 3, 2], 3),
        ("max", [nan, nan], nan),
        ("sum", [inf, -inf, 1], nan),
        ("sum", [1e308, 1e308], inf),
        ("avg", [1e308, 1e308], 1e308),
        ("avg", [1e100, 1, -1e100, 1], 0.5),
        ("avg", [inf, 1, 2], inf),
        ("avg", [0.1] * 10, 0.1),
        ("sum", [0.1] * 10, 1.0),
        ("sum", [1e100, 1, -1e100, 1], 2),
        ("count", [nan, nan], 2),
    ],
)
def test_strange_members(op: str, values: list[float], expected: float) -> None:
    series = make_pages({f"m{{x={i}}}": [(0, value)] for i, value in enumerate(values)})

    assert instant_vector(f"{op}(m)", series, 1)[()] == pytest.approx(expected, rel=0, nan_ok=True)


def test_only_the_members_that_are_there_count() -> None:
    series = make_pages(
        {"m{x=1}": [(0, 1), (10, 1), (20, 1)], "m{x=2}": [(0, 2), (10, STALE_MARKER)], "m{x=3}": [(20, 3)]}
    )

    times = (5, 15, 25)
    assert evaluate_times("sum(m)", series, *times).values.tolist() == [[3, 1, 4]]
    assert evaluate_times("count(m)", series, *times).values.tolist() == [[2, 1, 2]]
    assert evaluate_times("avg(m)", series, *times).values.tolist() == [[1.5, 1, 2]]
    assert evaluate_times("min(m)", series, *times, 5_000).values.tolist() == [
        pytest.approx([1, 1, 1, nan], nan_ok=True)
    ]


def test_a_group_is_there_only_while_a_member_is() -> None:
    series = make_pages({"m{x=1}": [(0, 1), (10, STALE_MARKER)], "m{x=2}": [(20, 3)]})

    result = evaluate_times("sum by (x) (m)", series, 5, 15, 25)

    assert dict(zip(result.keys, result.present.tolist(), strict=True)) == {
        parse_labels("x=1"): [True, False, False],
        parse_labels("x=2"): [False, False, True],
    }
