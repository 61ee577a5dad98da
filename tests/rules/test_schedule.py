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

from watchdog.core.schedule import in_schedule, in_schedule_at, last_occurrence
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


# ─ once a day ─


def occurrences(at: str, day: str | None, zone: str, start: str, hours: int) -> list[str]:
    """Each time of `last_occurrence` within so many hours, as somebody who looks each ten minutes finds them, in UTC."""
    first = round(datetime.fromisoformat(start).replace(tzinfo=UTC).timestamp() * 1_000)
    found = [last_occurrence(at, day, zone, first + step * 600_000) for step in range(hours * 6)]
    return [f"{datetime.fromtimestamp(t / 1_000, UTC):%d %H:%M}" for t in dict.fromkeys(found) if t >= first]


def test_a_time_of_the_day_comes_once_a_day_whatever_is_done_to_the_clocks() -> None:
    summer, winter = "2026-03-28T12:00", "2026-10-24T12:00"

    assert occurrences("08:00", None, "Europe/Berlin", summer, 72) == ["29 06:00", "30 06:00", "31 06:00"]
    assert occurrences("02:30", None, "Europe/Berlin", summer, 48) == [
        "29 01:30",
        "30 00:30",
    ]  # left out: an hour later
    assert occurrences("02:30", None, "Europe/Berlin", winter, 48) == ["25 00:30", "26 01:30"]  # twice: the first
    assert occurrences("00:00", None, "America/Havana", "2026-03-07T12:00", 48) == ["08 05:00", "09 04:00"]


def test_a_day_of_the_week_comes_once_a_week() -> None:
    assert occurrences("08:00", "mon", "Europe/Berlin", "2026-10-19T12:00", 15 * 24) == ["26 07:00", "02 07:00"]
    assert occurrences("08:00", "sun", "Pacific/Auckland", "2026-10-19T12:00", 8 * 24) == ["24 19:00"]


@given(st.integers(0, 2**41), st.sampled_from(["Europe/Berlin", "Pacific/Apia", "Australia/Lord_Howe", "Africa/Cairo"]))
@settings(max_examples=100)
def test_the_last_time_is_never_ahead_and_no_more_than_a_day_and_an_hour_ago(now: int, zone: str) -> None:
    t = last_occurrence("02:30", None, zone, now)

    assert now - 50 * 3_600_000 < t <= now  # where the calendar has left out a day, that one
