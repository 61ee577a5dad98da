"""Which lines of a log are one event."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchdog.core.pattern import search_pattern
from watchdog.sources.log_events import MAX_EVENT_BYTES, Event, EventAssembler

NOW = 1_700_000_000_000
TRACEBACK = """\
12:00 ERROR it failed
Traceback (most recent call last):
  File "bot.py", line 1, in run
    order()
KeyError: 'x'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "bot.py", line 3, in run
    raise MarginError
bot.MarginError: no margin"""


def assembler(start: str | None = None, time: str | None = None, timeout: int = 500) -> EventAssembler:
    patterns = [None if text is None else search_pattern(text) for text in (start, time)]
    return EventAssembler(patterns[0], patterns[1], timeout, None)


def events_of(text: str, start: str | None = None, time: str | None = None) -> list[str]:
    made = assembler(start, time)
    found = [made.add(line.encode(), NOW) for line in text.split("\n")]
    found.append(made.flush(NOW + 500))
    return [event.data.decode() for event in found if event is not None]


def test_each_line_that_goes_on_from_no_other_is_an_event() -> None:
    assert events_of("a\nb\n[c]\n{d") == ["a", "b", "[c]", "{d"]


def test_a_traceback_with_what_caused_it_belongs_to_the_line_before_it_and_ends_with_its_own_last_line() -> None:
    assert events_of(f"before\n{TRACEBACK}\nafter\nand after") == ["before", TRACEBACK, "after", "and after"]


@pytest.mark.parametrize("more", ["  indented", "\ttabbed", "", "Caused by: java.io.IOException: reset"])
def test_a_line_goes_on_from_the_one_before_it(more: str) -> None:
    assert events_of(f"a\n{more}\nb") == [f"a\n{more}", "b"]


def test_a_line_with_a_time_begins_an_event_however_it_begins() -> None:
    assert events_of(" 12:00 a\n 12:01 b\n  more", time="^ (?P<time>[0-9:]+) ") == [" 12:00 a", " 12:01 b\n  more"]
    assert events_of(f"{TRACEBACK.rsplit(chr(10), 1)[0]}\n12:01 on", time="^(?P<time>[0-9:]{5}) ")[-1] == "12:01 on"


def test_with_a_start_every_other_line_belongs_to_the_event_before_it() -> None:
    assert events_of("> a\nb\n  c\n> d", start="^> ") == ["> a\nb\n  c", "> d"]


def test_what_goes_on_from_nothing_is_an_event_all_the_same() -> None:
    assert events_of("  b\n> c", start="^> ") == ["  b", "> c"]


def test_where_each_line_is_an_event_none_is_waited_for() -> None:
    made = assembler("^")

    assert made.add(b"a", NOW) is None
    assert made.flush(NOW) == Event(b"a", None)
    assert events_of("a\n b\nTraceback (most recent call last):", start="^") == [
        "a",
        " b",
        "Traceback (most recent call last):",
    ]


def test_an_event_that_may_go_on_is_open_for_a_while_after_its_newest_line() -> None:
    made = assembler()
    made.add(b"a", NOW)
    assert made.flush(NOW + 499) is None
    made.add(b" b", NOW + 400)
    assert made.flush(NOW + 899) is None
    assert made.flush(NOW + 900) == Event(b"a\n b", None)
    assert made.flush(NOW + 9_000) is None
    assert made.keep() is None


def test_by_the_journals_own_times_it_need_not_be_waited_for() -> None:
    made = assembler()
    made.add(b"a", NOW, NOW - 700)

    assert made.flush(NOW) == Event(b"a", NOW - 700)


def test_of_an_event_that_is_too_long_the_beginning_is_one_event() -> None:
    made = assembler()
    made.add(b"a" * 60_000, NOW)
    for _ in range(3):
        assert made.add(b" " + "é".encode() * 5_000, NOW) is None

    event = made.add(b"b", NOW)

    assert event is not None
    assert event.cut
    assert MAX_EVENT_BYTES - 2 <= len(event.data) <= MAX_EVENT_BYTES
    event.data.decode()  # raises
    assert made.flush(NOW + 500) == Event(b"b", None)


def test_a_line_ends_without_its_carriage_return_and_is_utf8_whatever_it_was() -> None:
    made = assembler()
    made.add(b"caf\xe9\xff\x00\r", NOW)

    assert made.flush(NOW + 500) == Event("caf\ufffd\ufffd\0".encode(), None)


LINES = st.lists(
    st.one_of(
        st.binary(max_size=30).filter(lambda line: b"\n" not in line),
        st.sampled_from(
            [b"> a", b"  File x", b"", b"Traceback (most recent call last):", b"ValueError: x", b"x" * 40_000]
        ),
    ),
    max_size=20,
)


@settings(deadline=None)
@given(LINES, st.sampled_from([None, "^> ", "^"]), st.integers(0, 20))
def test_a_restart_between_any_two_lines_changes_no_event(lines: list[bytes], start: str | None, cut: int) -> None:
    pattern = None if start is None else search_pattern(start)
    whole, parts = EventAssembler(pattern, None, 500, None), EventAssembler(pattern, None, 500, None)
    expected, found = [], []
    for number, line in enumerate(lines):
        if number == cut:
            parts = EventAssembler(pattern, None, 500, json.loads(json.dumps(parts.keep())))
        expected.append(whole.add(line, NOW))
        found.append(parts.add(line, NOW))
    expected.append(whole.flush(NOW + 500))
    found.append(parts.flush(NOW + 500))

    assert found == expected
    assert sum(event is not None for event in found) <= len(lines)
