from __future__ import annotations

import math

import pytest

from watchdog.offline.ruletest.notation import parse_series, parse_values
from watchdog.prometheus_rules.syntax import parse_prometheus_duration


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", []),
        ("1 2.5 -3", [1, 2.5, -3]),
        ("0+1x3", [0, 1, 2, 3]),
        ("10-2x3", [10, 8, 6, 4]),
        ("-2-4x2", [-2, -6, -10]),
        ("-1+.5x2", [-1, -0.5, 0]),
        ("7x2", [7, 7, 7]),
        ("-7x1", [-7, -7]),
        ("1+0x0", [1]),
        ("_", [None]),
        ("_x3", [None, None, None]),
        ("0+1x1 _x3 stale", [0, 1, None, None, None, "stale"]),
        ("1e3 1.5e-1x1", [1000, 0.15, 0.15]),
        ("Inf -inf +Inf", [math.inf, -math.inf, math.inf]),
        ("1\n2\t 3", [1, 2, 3]),
    ],
)
def test_values_are_written_as_promtool_writes_them(text: str, values: list[float | str | None]) -> None:
    assert parse_values(text) == values


def test_nan_is_a_value() -> None:
    (value,) = parse_values("NaN")

    assert isinstance(value, float)
    assert math.isnan(value)


def test_a_step_is_added_again_and_again_as_promtool_does() -> None:
    assert parse_values("0+0.1x8")[-1] == 0.7999999999999999 != 8 * 0.1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1+2", "say how often the step is added"),
        ("stalex3", "write it out"),
        ("NaNx2", "write it out"),
        ("1x", "is no value"),
        ("one", "is no value"),
        ("0+1x99999999", "more than 1000000 values"),
        ("{{schema:1}}", "native histograms are not supported"),
    ],
)
def test_what_is_no_value_is_refused_with_a_cure(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_values(text)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("up", {"__name__": "up"}),
        ("up{}", {"__name__": "up"}),
        ("{}", {}),
        ("", {}),
        ("up{a=\"1\", b='2',c=`3`,}", {"__name__": "up", "a": "1", "b": "2", "c": "3"}),
        ('{__name__="up",a="\\"\\n\\u00e4"}', {"__name__": "up", "a": '"\nä'}),
        ('{"a.b", "c d"="e"}', {"__name__": "a.b", "c d": "e"}),
        ('job:rate{empty=""}', {"__name__": "job:rate"}),
    ],
)
def test_series_are_read(text: str, labels: dict[str, str]) -> None:
    assert dict(parse_series(text)) == labels


@pytest.mark.parametrize(
    "text", ["up{a=b}", 'up{a="b"', 'up{a="b"} x', 'up{a=~"b"}', 'up{a!="b"}', 'up{a="",a="2"}', "9"]
)
def test_what_is_no_series_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"up|9"):
        parse_series(text)


@pytest.mark.parametrize(
    ("text", "millis"), [("0", 0), ("5m", 300_000), ("1h30m", 5_400_000), ("1d12h", 129_600_000), ("9ms", 9)]
)
def test_durations_are_those_of_prometheus(text: str, millis: int) -> None:
    assert parse_prometheus_duration(text) == millis


@pytest.mark.parametrize("text", ["", "5", "m", "30m1h", "1.5h", "-5m"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        parse_prometheus_duration(text)
