"""What is written fits how often the bot says something: a value is believed for three reads of its source."""

from __future__ import annotations

import pytest

from watchdog.offline.init.pace import line_times, reading, round_up, silence_limit, usual_gap


@pytest.mark.parametrize(
    ("gap", "max_age"), [(None, "5m"), (0.1, "5m"), (60, "5m"), (300, "30m"), (3_000, "6h"), (90_000, "5m")]
)
def test_what_is_read_is_never_too_old_before_the_next_of_it_comes(gap: float | None, max_age: str) -> None:
    assert reading(gap, 1) == {"every": "1s", "max_age": max_age}


def test_a_bot_is_silent_after_five_times_its_pace_and_a_minute_at_least() -> None:
    assert [silence_limit(gap) for gap in (None, 1, 60, 300)] == ["1m", "1m", "5m", "30m"]
    assert round_up(1e9) == "7d"


def test_a_night_without_the_bot_is_no_gap_and_two_times_say_nothing() -> None:
    day = [60.0 * minute for minute in range(100)]

    assert usual_gap([*day, *(86_400 + at for at in day)]) == 60
    assert usual_gap([0, 60]) is None


def test_times_are_those_of_the_lines_that_have_the_value() -> None:
    lines: list[dict[str, object]] = [
        {"t": 1_790_000_000, "k": "a", "x": 1},
        {"t": 1_790_000_001, "k": "b", "x": 1},
        {"t": "?"},
    ]

    assert line_times(lines, "t") == [1_790_000_000, 1_790_000_001]
    assert line_times(lines, "t", {"last": "x", "where": "k == 'b'"}) == [1_790_000_001]
