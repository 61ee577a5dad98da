"""What is said in a chat is one of the commands there are, or is told how they are said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchdog.chat.commands import COMMANDS, Command, Misunderstood, parse_command

HOUR = 3_600_000


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("status", Command("status")),
        ("/status", Command("status")),
        ("/STATUS@my_bot", Command("status")),
        ("", Command("help")),
        ("/watchdog", Command("help")),
        ("/start", Command("help")),
        ("/watchdog ack 17 on it", Command("ack", "17", 17, note="on it")),
        ("<@U012AB> ack #17", Command("ack", "#17", 17)),
        ("/ack@botname 17", Command("ack", "17", 17)),
        ("  ack\t17\n\non  it ", Command("ack", "17", 17, note="on it")),
        ("incident 3", Command("incident", "3", 3)),
        ("chart errors", Command("chart", "errors")),
        ("chart errors 6h", Command("chart", "errors", span=6 * HOUR)),
        ("chart errors bot 6h", Command("chart", "errors", place="bot", span=6 * HOUR)),
        ("chart 17", Command("chart", "17", 17)),
        ("silence errors", Command("silence", "errors")),
        ("silence errors@bot for 1h known", Command("silence", "errors@bot", span=HOUR, note="known")),
        ("silence 17 1h", Command("silence", "17", 17, span=HOUR)),
        ("silence errors off", Command("silence", "errors", off=True)),
        ("hold 17 2h", Command("hold", "17", 17, span=2 * HOUR)),
        ("hold", Command("hold")),
        ("hold 2h", Command("hold", span=2 * HOUR)),
        ("hold off", Command("hold", off=True)),
        ("hold bot 1h30m moving house", Command("hold", "bot", span=HOUR * 3 // 2, note="moving house")),
        ("rollback ladder", Command("rollback", "ladder")),
        ("rollback ladder bot it is bad", Command("rollback", "ladder", place="bot", note="it is bad")),
        ("halt bot now!", Command("halt", "bot", note="now!")),
        ("halt", Command("halt")),
        ("next 42", Command("next", "42", 42)),
        ("confirm 5", Command("confirm", "5", 5)),
    ],
)
def test_a_command_is_read_however_the_service_writes_it(text: str, command: Command) -> None:
    assert parse_command(text) == command


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("stats", "there is no command 'stats' — did you mean status?"),
        ("ack", "ack of what? — ack N [note]"),
        ("ack toy", "'toy' is no number — ack N [note]"),
        ("ack ٣", "'٣' is no number — ack N [note]"),
        ("ack -3", "'-3' is no number — ack N [note]"),
        ("ack 99999999999999999999", "'99999999999999999999' is no number — ack N [note]"),
        ("status now", "what is 'now'? — status"),
        ("report 3 please", "what is 'please'? — report N"),
        ("chart errors bot 1h 2h", "what is '2h'? — chart KPI|N [TARGET] [1h]"),
    ],
)
def test_what_is_no_command_is_told_how_it_is_said(text: str, why: str) -> None:
    assert parse_command(text) == Misunderstood(why)


def test_a_reason_is_one_bounded_line_in_which_nothing_hides() -> None:
    command = parse_command("ack 17 fine\u202e\x1b[2J" + "x" * 900)

    assert isinstance(command, Command)
    assert command.note.startswith("fine\\u202e\\x1b[2J")
    assert len(command.note) <= 300
    assert command.note.isprintable()


@given(st.text(max_size=200) | st.tuples(st.sampled_from(sorted(COMMANDS)), st.text(max_size=60)).map(" ".join))
def test_whatever_is_said_comes_to_a_command_or_a_printable_answer(text: str) -> None:
    found = parse_command(text)

    assert (found.text if isinstance(found, Misunderstood) else found.note).isprintable()
