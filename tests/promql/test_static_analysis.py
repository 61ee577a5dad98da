"""What can be told of an expression without samples."""

from __future__ import annotations

import pytest

from watchdog.promql import (
    may_return_multiple_series,
    metric_names,
    metrics_read_for_extremes,
    parse,
    required_lookback,
)
from watchdog.promql.parse.analysis import UNBOUNDED_LOOKBACK

M, H = 60_000, 3_600_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", {"a": 5 * M}),
        ("a offset 1h", {"a": H + 5 * M}),
        ("a offset -1h", {"a": 5 * M}),
        ("rate(a[1h])", {"a": H + 5 * M}),
        ("rate(a[1h] offset 1h)", {"a": 2 * H + 5 * M}),
        ("1 - a / max_over_time(a[24h])", {"a": 24 * H + 5 * M}),
        ("rate(a[1h]) / rate(b[2h]) > c", {"a": H + 5 * M, "b": 2 * H + 5 * M, "c": 5 * M}),
        ('rate({job="x"}[1h])', {"": H + 5 * M}),
        ('{__name__="a"}', {"a": 5 * M}),
        ("clamp_min(-sum(rate(a[1h])), scalar(b))", {"a": H + 5 * M, "b": 5 * M}),
        ("time() + vector(1)", {}),
        ("rate(a[1h] offset -90m)", {"a": 5 * M}),
        ("max_over_time(rate(a[5m] offset 1m)[1h:] offset 2h)", {"a": 3 * H + 11 * M}),
        ("max_over_time(min_over_time(a[1h:])[1h:] offset -30m)", {"a": 90 * M + 5 * M}),
        ("sum_over_time((a + b offset 1h)[1h:1m])", {"a": H + 5 * M, "b": 2 * H + 5 * M}),
        ("max_over_time((a @ end())[1h:])", {"a": 5 * M}),
        ("rate(a[1h] @ end() offset 1h)", {"a": 2 * H + 5 * M}),
        ("a @ 1700000000", {"a": UNBOUNDED_LOOKBACK + 5 * M}),
        ("max_over_time(a[1h:] @ 1700000000)", {"a": UNBOUNDED_LOOKBACK + H + 5 * M}),
        ("sum_over_time(vector(time())[1h:])", {}),
    ],
)
def test_windows_say_how_far_back_each_metric_is_read(text: str, expected: dict[str, int]) -> None:
    assert required_lookback(parse(text)) == expected
    assert metric_names(parse(text)) == set(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", set()),
        ("1 - a / max_over_time(a[24h])", {("a", "max")}),
        ("max_over_time(a[1h]) - min_over_time(b[1h]) + avg_over_time(c[1h])", {("a", "max"), ("b", "min")}),
        ("max(a)", set()),
        ('min_over_time({x="1"}[1h])', {("", "min")}),
        ("max_over_time(a[1h:1m]) + sum_over_time(min_over_time(b[1h])[1d:])", {("b", "min")}),
    ],
)
def test_extremes_name_what_must_outlive_a_restart(text: str, expected: set[tuple[str, str]]) -> None:
    assert metrics_read_for_extremes(parse(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "a",
        'a{x="1"}',
        "a / b",
        "rate(a[5m])",
        "abs(a)",
        "-a",
        "a > 5",
        "1 + a",
        "sum by (x) (a)",
        "sum without (x) (a)",
        "a and sum(b)",
        "sum(a) or b",
        "a or sum(b)",
        'sum(a) or absent(b{x="1"})',
        "timestamp(a)",
        "max_over_time(a[1h:])",
        "sum by (x) (a) / sum by (x) (b)",
        "a unless sum(b)",
        "a or on () b",
        "max by (x) (a / b)",
    ],
)
def test_can_be_many(text: str) -> None:
    assert may_return_multiple_series(parse(text))


@pytest.mark.parametrize(
    "text",
    [
        "1",
        "time()",
        "scalar(a)",
        "-scalar(a)",
        "vector(1)",
        "sum(a)",
        "sum(a) / sum(b)",
        "sum(a) / 2",
        "abs(sum(a))",
        "-sum(a)",
        "absent(a)",
        'absent(a{x="1"})',
        "absent_over_time(a[5m])",
        "sum(a) or vector(0)",
        "sum(a) and b",
        "sum(a) unless b",
        "a / sum(b)",
        "a + on () b",
        "sum by (x) (sum(a))",
        "sum(a) or on () sum(b)",
        "sum(a) or absent(b)",
        "sum by () (a)",
        "sum(a) > 5",
        "max(a / b)",
        "2 * scalar(a)",
        "absent_over_time(a[1h:])",
        "max_over_time(sum(a)[1h:])",
    ],
)
def test_cannot_be_many(text: str) -> None:
    assert not may_return_multiple_series(parse(text))
