"""When a source is read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from watchdog.app.read_schedule import ReadSchedule

NOW = 1_767_268_800.123_456


def test_few_sources_are_read_at_once_at_a_start() -> None:
    for name in ("bot", "process", "host"):
        assert NOW <= ReadSchedule(name, 3_600_000, 3).next_time(None, NOW) <= NOW + 0.03


def test_a_thousand_sources_are_spread_over_their_interval() -> None:
    schedules = [ReadSchedule(f"bot-{number}", 1_000, 1_000) for number in range(1_000)]
    firsts = [schedule.next_time(None, NOW) for schedule in schedules]
    places = [schedule.next_time(first, NOW) % 1 for schedule, first in zip(schedules, firsts, strict=True)]

    for times in ([first - NOW for first in firsts], places):
        tenths = [sum(int(time * 10) == tenth for time in times) for tenth in range(10)]
        assert sum(tenths) == 1_000
        assert max(tenths) < 150


@given(every=st.integers(50, 86_400_000), name=st.text(max_size=9), late=st.floats(0, 100_000))
def test_the_next_read_is_ahead_and_an_interval_away(every: int, name: str, late: float) -> None:
    schedule, period, slack = ReadSchedule(name, every, 5), every / 1_000, 1e-3
    first = schedule.next_time(None, NOW)
    second = schedule.next_time(first, first)
    third = schedule.next_time(second, second)

    assert period / 2 - slack <= second - first <= period * 1.5 + slack
    assert abs((third - second) - period) <= slack
    after_sleep = second + late
    assert after_sleep < schedule.next_time(second, after_sleep) <= after_sleep + period * 1.5


@given(every=st.integers(50, 86_400_000), name=st.text(max_size=9), back=st.floats(0, 1e8))
def test_a_clock_that_is_set_back_stops_no_reads(every: int, name: str, back: float) -> None:
    schedule, period = ReadSchedule(name, every, 5), every / 1_000
    previous = schedule.next_time(schedule.next_time(None, NOW), NOW)
    now = previous - back

    assert now < schedule.next_time(previous, now) <= now + period * 1.5 + 1e-3


@given(every=st.integers(50, 86_400_000), name=st.text(max_size=9))
def test_a_timer_that_fires_a_little_early_reads_once(every: int, name: str) -> None:
    schedule, period = ReadSchedule(name, every, 5), every / 1_000
    due = schedule.next_time(schedule.next_time(None, NOW), NOW)

    assert abs(schedule.next_time(due, due - 0.001) - due - period) <= 1e-3
