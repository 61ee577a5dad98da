"""Who may answer: those who are listed, by the id of the service that the channel speaks to, in its chat."""

from __future__ import annotations

import pytest

from tests.support.listening import FakeChat
from watchdog.chat.rights import PoliteNos, find_person, is_said_in_its_chat, may
from watchdog.core.chat import ChatEvent, Person, Right

PEOPLE = {"ann": Person(slack="U0000ANN", telegram=11, may="act"), "bob": Person(telegram=12)}
HOUR = 3_600_000


@pytest.mark.parametrize(
    ("service", "user", "person"),
    [
        ("slack", "U0000ANN", "ann"),
        ("telegram", "11", "ann"),
        ("telegram", "12", "bob"),
        ("slack", "11", None),
        ("telegram", "U0000ANN", None),
        ("slack", "None", None),
        ("telegram", "", None),
        ("telegram", "011", None),
        ("may", "act", None),
        ("email", "11", None),
    ],
)
def test_a_person_is_known_by_the_id_of_that_service_alone(service: str, user: str, person: str | None) -> None:
    assert find_person(PEOPLE, service, user) == person


@pytest.mark.parametrize(("has", "allowed"), [("see", "see"), ("ack", "see ack"), ("act", "see ack act")])
def test_each_right_includes_the_one_before(has: Right, allowed: str) -> None:
    person = Person(telegram=1, may=has)

    rights: list[Right] = ["see", "ack", "act"]
    assert [right for right in rights if may(person, right)] == allowed.split()
    assert not any(may(None, right) for right in rights)


@pytest.mark.parametrize(
    ("service", "configured", "said_in", "own"),
    [
        ("telegram", "-100", "-100", True),
        ("telegram", "-100", "11", False),
        ("telegram", "@news", "-100", True),
        ("slack", "C0123456", "C0123456", True),
        ("slack", "C0123456", "D0123456", False),
        ("slack", "alerts", "C0123456", True),
        ("slack", "C0123456", "", True),
    ],
)
def test_only_what_is_said_in_the_configured_chat_counts(
    service: str, configured: str, said_in: str, own: bool
) -> None:
    channel = FakeChat(service, configured)
    if service == "slack":
        channel.channel = configured  # type: ignore[attr-defined]

    assert is_said_in_its_chat(channel, ChatEvent("k", "11", "Ann", said_in, "status", 0)) is own


def test_a_stranger_is_told_no_once_an_hour_and_all_of_them_ten_times() -> None:
    nos = PoliteNos()

    assert [nos.may_tell("chat", "666", 0), nos.may_tell("chat", "666", HOUR - 1)] == [True, False]
    assert sum(nos.may_tell("chat", f"{number}", HOUR - 1) for number in range(100)) == 9
    assert nos.may_tell("other", "666", HOUR - 1)
    assert nos.may_tell("chat", "666", HOUR)
