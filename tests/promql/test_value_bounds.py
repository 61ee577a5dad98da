"""Bounds are never narrower than what the evaluator says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.property_settings import examples
from watchdog.promql import evaluate, is_never_true, parse, value_bounds
from watchdog.tsdb.page import PageList, page_from_samples

SECOND = 1_000
LEAF_EXPRESSIONS = [
    "a",
    "up",
    "rate(total[10s])",
    "increase(up[10s])",
    "changes(a[10s])",
    "count_over_time(a[10s])",
    "avg_over_time(up[10s])",
    "max_over_time(a[10s])",
    "vector(3)",
    "vector(-2)",
    "sum_over_time(a[10s])",
    "quantile_over_time(0.5, up[10s])",
    "change_share_over_time(a[10s])",
    "stddev_over_time(a[10s])",
    "max_over_time(rate(total[5s])[10s:1s])",
    "hour()",
]
WRAPPERS = [
    "-({0})",
    "abs({0})",
    "sum({0})",
    "avg({0})",
    "count({0})",
    "clamp({0}, -1, 2)",
    "clamp_min({0}, 1)",
    "ceil({0})",
    "floor({0})",
    "sgn({0})",
    "sqrt({0})",
    "clamp_max({0}, 1)",
]
OPERATORS = [
    "{0} + on() {1}",
    "{0} - on() {1}",
    "{0} * on() {1}",
    "{0} / on() {1}",
    "{0} > on() {1}",
    "{0} == bool on() {1}",
    "{0} or on() {1}",
    "{0} and on() {1}",
]


def expressions() -> st.SearchStrategy[str]:
    """Vectors, each of one series at most."""
    return st.recursive(
        st.sampled_from(LEAF_EXPRESSIONS),
        lambda inner: st.one_of(
            st.builds(str.format, st.sampled_from(WRAPPERS), inner),
            st.builds(
                lambda join, one, other: f"({join.format(one, other)})", st.sampled_from(OPERATORS), inner, inner
            ),
        ),
        max_leaves=4,
    )


@settings(max_examples=examples(30), deadline=None)
@given(
    expressions(),
    st.lists(st.floats(-10, 10), min_size=12, max_size=12),
    st.lists(st.booleans(), min_size=12, max_size=12),
)
def test_no_value_lies_beyond_the_bounds(text: str, a: list[float], up: list[bool]) -> None:
    expr = parse(text)
    times = [number * SECOND for number in range(1, 13)]
    # total: a counter is never below zero
    points = {"a": a, "up": [float(each) for each in up], "total": [abs(each) for each in a]}
    series = PageList(
        [page_from_samples({(("__name__", name),): zip(times, v, strict=True) for name, v in points.items()}, 0)]
    )
    can = value_bounds(expr, SECOND)
    for value in evaluate(expr, series, np.array([12 * SECOND])).vector_at(0).values():
        if math.isfinite(value):
            assert can.low - 1e-9 <= value <= can.high + 1e-9, (text, can)


@pytest.mark.parametrize(
    ("text", "is_never"),
    [
        ("count_over_time(a[10s]) >= 11", True),
        ("count_over_time(a[10s]) >= 10", False),
        ("up > 1", True),
        ("up >= 1", False),
        ("up == 2", True),
        ("rate(a[1m]) < 0", True),
        ("rate(a[1m]) <= 0", False),
        ("5 < up", True),
        ("a > 1 and up > 1", True),
        ("a > 1 or up > 1", False),
        ("up > bool 1", False),
        ("a", False),
        ("up != 2", False),
    ],
)
def test_what_can_never_be_true_is_known(text: str, is_never: bool) -> None:
    assert is_never_true(parse(text), SECOND) is is_never
