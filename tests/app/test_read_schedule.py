"""When a source is read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from watchdog.app.read_schedule import ReadSchedule

NOW = datetime(2026, 1, 1, 12, 0, 0, 123_456, UTC)


def test_few_sources_are_read_at_once_at_a_start() -> None:
    for name in ("bot", "process", "host"):
        first = ReadSchedule(name, 3_600_000, 3).get_next_fire_time(None, NOW)

        assert NOW <= first <= NOW + timedelta(milliseconds=30)


def test_a_thousand_sources_are_spread_over_their_interval() -> None:
    schedules = [ReadSchedule(f"bot-{number}", 1_000, 1_000) for number in range(1_000)]
    firsts = [schedule.get_next_fire_time(None, NOW) for schedule in schedules]
    places = [
        schedule.get_next_fire_time(first, NOW).timestamp() % 1
        for schedule, first in zip(schedules, firsts, strict=True)
    ]

    for times in ([(first - NOW).total_seconds() for first in firsts], places):
        tenths = [sum(int(time * 10) == tenth for time in times) for tenth in range(10)]
        assert sum(tenths) == 1_000
        assert max(tenths) < 150


@given(
    every=st.integers(50, 86_400_000),
    name=st.text(max_size=9),
    late=st.floats(0, 100_000),
)
def test_the_next_read_is_ahead_and_an_interval_away(every: int, name: str, late: float) -> None:
    schedule = ReadSchedule(name, every, 5)
    first = schedule.get_next_fire_time(None, NOW)
    second = schedule.get_next_fire_time(first, first)
    third = schedule.get_next_fire_time(second, second)
    slack = timedelta(milliseconds=1)

    assert timedelta(milliseconds=every / 2) - slack <= second - first <= timedelta(milliseconds=every * 1.5) + slack
    assert abs((third - second) - timedelta(milliseconds=every)) <= slack
    after_sleep = second + timedelta(seconds=late)
    assert (
        after_sleep
        < schedule.get_next_fire_time(second, after_sleep)
        <= after_sleep + timedelta(milliseconds=every * 1.5)
    )
