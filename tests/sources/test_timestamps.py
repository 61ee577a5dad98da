"""When something was, as bots write it."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchdog.sources.timestamps import parse_timestamp

NOW = 1_800_000_000_000
T = 1_700_000_000_500


@pytest.mark.parametrize(
    "written",
    [
        1_700_000_000.5,
        "1700000000.5",
        T,
        str(T),
        T * 1_000,
        T * 1_000_000,
        "2023-11-14T22:13:20.5Z",
        "2023-11-14 22:13:20,500",
    ],
)
def test_one_moment_in_every_way_that_bots_write_it(written: object) -> None:
    assert parse_timestamp(written, NOW) == T


def test_a_text_without_a_zone_is_read_in_the_zone_that_is_said() -> None:
    assert parse_timestamp("2023-11-14T23:13:20.5", NOW, ZoneInfo("Europe/Berlin")) == T
    assert parse_timestamp("2023-11-14T22:13:20.5+00:00", NOW, ZoneInfo("Europe/Berlin")) == T


def test_what_lies_ahead_is_now() -> None:
    assert parse_timestamp(NOW + 3_600_000, NOW) == NOW


@pytest.mark.parametrize(
    "written", [None, True, 0, "", "never", "NaN", float("nan"), float("inf"), [], {}, "9" * 70, 10**400]
)
def test_what_says_no_time_is_none(written: object) -> None:
    assert parse_timestamp(written, NOW) is None


@given(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers()))
def test_whatever_it_is_it_is_a_time_not_after_now_or_none(written: object) -> None:
    found = parse_timestamp(written, NOW)

    assert found is None or (type(found) is int and found <= NOW)
