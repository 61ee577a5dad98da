"""Time stamps of logs: their zone, their format, and what a format leaves out."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchdog.sources.log_times import LogClock, validate_time_format

BERLIN = ZoneInfo("Europe/Berlin")


def millis(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1_000)


NOW = millis("2026-12-01T12:00:00+00:00")


@pytest.mark.parametrize(
    ("time_format", "text", "expected"),
    [
        (None, "2026-12-01 10:00:00,123", "2026-12-01T10:00:00.123+01:00"),
        (None, "2026-07-01T10:00:00.5", "2026-07-01T10:00:00.5+02:00"),
        (None, "2026-12-01T10:00:00Z", "2026-12-01T10:00:00+00:00"),
        (None, "1796119200.5", "2026-12-01T10:00:00.5+00:00"),
        ("%d/%b/%Y:%H:%M:%S", "01/Dec/2026:10:00:00", "2026-12-01T10:00:00+01:00"),
        ("%d/%b/%Y:%H:%M:%S %z", "01/Dec/2026:10:00:00 -0100", "2026-12-01T10:00:00-01:00"),
        ("%Y-%m-%d %H:%M:%S.%f", "2026-12-01 10:00:00.250", "2026-12-01T10:00:00.25+01:00"),
        ("%d.%m. %I:%M:%S %p", "01.12. 01:00:00 PM", "2026-12-01T13:00:00+01:00"),
        ("%b %d %H:%M:%S", "Nov 30 10:00:00", "2026-11-30T10:00:00+01:00"),
        ("%b %d %H:%M:%S", "Dec 31 10:00:00", "2025-12-31T10:00:00+01:00"),
        ("%H:%M:%S", "12:59:00", "2026-12-01T12:59:00+01:00"),
        ("%H:%M:%S", "22:00:00", "2026-11-30T22:00:00+01:00"),
    ],
)
def test_a_time_is_read_in_the_logs_own_zone_and_format(time_format: str | None, text: str, expected: str) -> None:
    assert LogClock(time_format, BERLIN, NOW).parse(text) == millis(expected)


def test_what_lies_ahead_is_now() -> None:
    assert LogClock(None, BERLIN, NOW).parse("2026-12-01 13:00:10") == NOW
    assert LogClock("%H:%M:%S", BERLIN, NOW).parse("13:00:10") == NOW


def test_a_leap_day_without_a_year_is_that_of_the_last_leap_year_within_reach() -> None:
    clock = LogClock("%b %d %H:%M:%S", UTC, millis("2029-01-01T00:00:00+00:00"))

    assert clock.parse("Feb 29 10:00:00") == millis("2028-02-29T10:00:00+00:00")


@pytest.mark.parametrize("text", ["", "yesterday", "10:00", "x" * 70, "9" * 19 + ".1", "32/Dec/2026:10:00:00"])
def test_what_says_no_time_is_none(text: str) -> None:
    assert LogClock("%d/%b/%Y:%H:%M:%S", BERLIN, NOW).parse(text) is None


FIRST, SECOND = millis("2026-10-25T02:30:00+02:00"), millis("2026-10-25T02:30:00+01:00")
"""02:30 in the night in which the clocks go back, from 3 to 2."""


@pytest.mark.parametrize(
    ("now", "before", "expected"),
    [
        ("2026-10-25T02:30:01+02:00", None, FIRST),  # it is not yet half past two again
        ("2026-10-25T02:30:01+01:00", None, SECOND),
        ("2026-10-25T02:30:01+01:00", "2026-10-25T02:10:00+02:00", SECOND),  # just now, after a long silence
        ("2026-10-25T09:00:00+01:00", "2026-10-25T02:10:00+02:00", FIRST),  # read in the morning, in its order
        ("2026-10-25T09:00:00+01:00", "2026-10-25T02:30:00.2+02:00", FIRST),  # two threads, a little out of order
        ("2026-10-25T09:00:00+01:00", "2026-10-25T02:50:00+02:00", SECOND),
        ("2026-10-25T09:00:00+01:00", None, SECOND),
    ],
)
def test_an_hour_that_comes_twice_is_the_one_that_fits(now: str, before: str | None, expected: int) -> None:
    clock = LogClock(None, BERLIN, millis(now))

    assert clock.parse("2026-10-25 02:30:00", None if before is None else millis(before)) == expected


def test_a_time_that_names_its_zone_comes_once() -> None:
    clock = LogClock(None, BERLIN, millis("2026-10-25T02:30:01+01:00"))

    assert clock.parse("2026-10-25T02:30:00+02:00", SECOND) == FIRST
    assert LogClock("%Y-%m-%d %H:%M %z", BERLIN, SECOND + 1).parse("2026-10-25 02:30 +0200", SECOND) == FIRST


def test_an_hour_that_never_came_is_the_one_after_it() -> None:
    assert LogClock(None, BERLIN, NOW).parse("2026-03-29 02:30:00") == millis("2026-03-29T03:30:00+02:00")


@pytest.mark.parametrize(
    "text", ["%H:%M:%S", "%d/%b/%Y:%H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f%z", "%c", "%j %H:%M", "[%H:%M]"]
)
def test_a_format_that_says_a_time_is_taken(text: str) -> None:
    assert validate_time_format(text) == text


@pytest.mark.parametrize("text", ["", "%Q", "%", "%d/%m/%Y", "%H", "yyyy-mm-dd", "%H:%H:%M"])
def test_a_format_that_says_none_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r" — .*%d/%b/%Y"):
        validate_time_format(text)


@given(st.text(max_size=70), st.sampled_from([None, "%H:%M:%S", "%b %d %H:%M:%S", "%d/%b/%Y:%H:%M:%S"]))
def test_whatever_stands_there_is_a_time_up_to_now_or_none(text: str, time_format: str | None) -> None:
    found = LogClock(time_format, BERLIN, NOW).parse(text, NOW)

    assert found is None or found <= NOW
