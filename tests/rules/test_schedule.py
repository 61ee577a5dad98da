"""When `only` by hours, days and time zone is awake."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from watchdog.core.schedule import in_schedule, in_schedule_at
from watchdog.rules import Only


def is_active(only: Only, at: str, zone: str = "UTC") -> bool:
    t = datetime.fromisoformat(at).replace(tzinfo=ZoneInfo(zone))
    return in_schedule(only.between, only.days, only.timezone, round(t.timestamp() * 1_000))


def test_hours_are_those_of_the_place_in_summer_and_in_winter() -> None:
    only = Only(between="09:30-16:00", days=("mon-fri",), timezone="America/New_York")

    for day in ("2024-01-10", "2024-07-10"):
        assert [
            is_active(only, f"{day}T{hour}", "America/New_York") for hour in ("09:29:59", "09:30", "15:59:59", "16:00")
        ] == [
            False,
            True,
            True,
            False,
        ]
    assert is_active(only, "2024-01-10T14:30")  # 09:30 in winter
    assert not is_active(only, "2024-01-10T13:30")
    assert is_active(only, "2024-07-10T13:30")  # 09:30 in summer


def test_days_without_hours_are_whole_days_and_go_round_the_weekend() -> None:
    weekend = Only(days=("fri-mon",))

    assert [is_active(weekend, f"2024-01-{day:02}T23:59") for day in range(8, 15)] == [
        True,
        False,
        False,
        False,
        True,
        True,
        True,
    ]


def test_hours_over_midnight_belong_to_the_day_they_begin_on() -> None:
    only = Only(between="22:00-06:00", days=("fri",))

    assert [
        is_active(only, at) for at in ("2024-01-12T21:59", "2024-01-12T22:00", "2024-01-13T05:59", "2024-01-13T06:00")
    ] == [
        False,
        True,
        True,
        False,
    ]
    assert not is_active(only, "2024-01-12T05:00")
    assert is_active(Only(between="18:00-24:00"), "2024-01-12T23:59")


@settings(max_examples=50, deadline=None)
@given(
    times=st.lists(st.integers(0, 2_000_000_000_000), min_size=1, max_size=20),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"]),
    between=st.sampled_from([None, "09:30-16:00", "22:00-06:00", "00:00-24:00"]),
    days=st.sampled_from([None, ("mon-fri",), ("sat", "sun"), ("fri-mon",)]),
)
def test_many_times_at_once_are_as_each_for_itself_and_as_the_wall_clock_there(
    times: list[int], zone: str, between: str | None, days: tuple[str, ...] | None
) -> None:
    at_once = in_schedule_at(between, days, zone, np.array(times, np.int64))

    assert at_once.tolist() == [in_schedule(between, days, zone, t) for t in times]
    if between == "09:30-16:00" and days is None:
        clocks = [datetime.fromtimestamp(t / 1_000, UTC).astimezone(ZoneInfo(zone)) for t in times]
        assert at_once.tolist() == [(9, 30) <= (clock.hour, clock.minute) < (16, 0) for clock in clocks]


@pytest.mark.parametrize(
    ("only", "cure"),
    [
        ({}, "only needs when, between or days"),
        ({"timezone": "Europe/Berlin"}, "only needs when, between or days"),
        ({"between": "9-17"}, 'reads like "09:30-16:00"'),
        ({"between": "09:30-25:00"}, "hours go from 00:00 to 24:00"),
        ({"between": "09:60-10:00"}, "hours go from 00:00 to 24:00"),
        ({"between": "09:30-09:30"}, "no time at all"),
        ({"days": ["mon-fry"]}, "no day of the week"),
        ({"days": []}, "days is empty"),
        ({"days": ["mon"], "timezone": "Berlin"}, "no time zone"),
        ({"days": ["mon"], "timezone": "/etc/passwd"}, "no time zone"),
    ],
)
def test_what_is_no_time_is_refused_with_the_cure(only: dict[str, Any], cure: str) -> None:
    with pytest.raises(ValidationError, match=cure):
        Only.model_validate(only)
