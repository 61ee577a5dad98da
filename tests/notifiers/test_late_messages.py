"""What a chat does not take keeps nothing critical waiting, is told elsewhere, and is made up for once the chat is cured."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.notifiers.test_outbox import MINUTE, FakeChannel, OutboxHarness, with_timeout
from watchdog.core.errors import NotifyError
from watchdog.core.model import Message, Millis
from watchdog.notifiers.outbox import OutboxSender

HOUR = 60 * MINUTE
FLOOD = NotifyError("slow down", retry_after=35_000)
REFUSED = NotifyError("the bot was kicked out", permanent=True)
BROKEN = NotifyError("HTTP 500")


class PickyChannel(FakeChannel):
    """Does not take messages with certain titles; `address` is what an operator corrects."""

    def __init__(self, refuses: Callable[[str], Exception | None], address: str = "") -> None:
        super().__init__()
        self.refuses, self.address = refuses, address

    def send(self, message: Message) -> str | None:
        errors = [self.refuses(text) for text in (message.title, *message.lines)]
        if (error := next((each for each in errors if each is not None), None)) is not None:
            self.sent.append(message)
            raise error
        return super().send(message)


class Post(OutboxHarness):
    """An outbox that knows what an incident is like now."""

    def open(self, channels: dict[str, Any]) -> None:
        super().open(channels)
        self.outbox = OutboxSender(
            self.journal, self.telemetry, self.clock, self.pool, channels, describe_incident=self.describe, pace=0
        )

    def describe(self, incident: int, channel: str, now: Millis) -> Message | None:
        known = self.journal.incidents.find_incident(incident)
        if known is None or (known.closed and self.journal.messages.last_sent(channel, incident) is None):
            return None
        return Message("crit", f"{known.target} is {'well' if known.closed else 'bad'}", (), incident)

    def kill(self) -> None:
        """kill -9 and a new process."""
        channels = self.outbox.channels
        self.journal.close()
        self.open(dict(channels))
        self.outbox.resume(self.clock.now)


@pytest.fixture
def make_post(tmp_path: Path) -> Iterator[Callable[..., Post]]:
    posts: list[Post] = []

    def make(**channels: Any) -> Post:
        posts.append(Post(tmp_path / "journal.db", **channels))
        return posts[-1]

    yield make
    for post in posts:
        post.close()


# ─ what is critical overtakes ─


@pytest.mark.parametrize("error", [FLOOD, BROKEN])
def test_what_is_critical_does_not_wait_behind_a_warning_that_is_not_taken(
    make_post: Callable[..., Post], error: NotifyError
) -> None:
    chat = PickyChannel(lambda title: error if title == "warned" else None)
    post = make_post(chat=chat)
    one, two = post.open_incident(), post.open_incident("other")
    post.post_message("warned", "chat", incident=one, severity="warn")
    post.drain()
    post.post_message("bad", "chat", incident=one, severity="crit")
    post.post_message("worse", "chat", incident=two, severity="crit")
    post.drain(1)

    assert [title for title in chat.titles if title != "warned"] == ["bad", "worse"]


def test_what_is_critical_overtakes_what_waits_of_its_own_incident(make_post: Callable[..., Post]) -> None:
    chat = FakeChannel("1", "1", "1")
    post = make_post(chat=chat)
    incident = post.open_incident()
    for title, severity in (("warned", "warn"), ("bad", "crit"), ("over", "info")):
        post.post_message(title, "chat", incident=incident, severity=severity)  # type: ignore[arg-type]
    post.drain()

    assert chat.titles == ["bad", "warned", "over"]
    assert [message.thread for message in chat.sent] == [None, "1", "1"]


def test_no_end_overtakes_the_critical_message_that_it_belongs_to(make_post: Callable[..., Post]) -> None:
    chat = FakeChannel(BROKEN)
    post = make_post(chat=chat)
    incident = post.open_incident()
    post.post_message("bad", "chat", incident=incident, severity="crit")
    post.post_message("over", "chat", incident=incident)
    post.drain()
    assert chat.titles == ["bad"]
    post.drain(1_000)

    assert chat.titles == ["bad", "bad", "over"]


def test_a_chat_that_wants_to_be_left_alone_is_tried_by_what_is_critical_once_and_then_rarely(
    make_post: Callable[..., Post],
) -> None:
    chat = PickyChannel(lambda _: FLOOD)
    post = make_post(chat=chat)
    post.post_message("warned", "chat", severity="warn")
    post.drain()
    incidents = [post.open_incident(f"bot{n}") for n in range(20)]
    for incident in incidents:
        post.post_message("bad", "chat", incident=incident, severity="crit")
    post.drain()
    assert chat.titles == ["warned", "bad"]
    for _ in range(60):
        post.drain(MINUTE)

    assert chat.titles.count("warned") == 1
    assert 5 < chat.titles.count("bad") < 20


def test_a_chat_that_takes_something_all_the_same_is_left_alone_no_longer_also_over_a_kill(
    make_post: Callable[..., Post],
) -> None:
    chat = PickyChannel(lambda title: FLOOD if title == "warned" else None)
    post = make_post(chat=chat)
    post.post_message("warned", "chat", severity="warn")
    post.drain()
    post.kill()
    post.drain(HOUR)
    assert chat.titles == ["warned"], "the pause outlives us"
    chat.refuses = lambda _: None
    post.post_message("bad", "chat", incident=post.open_incident(), severity="crit")
    post.drain()

    assert chat.titles == ["warned", "bad", "warned"]


# ─ nobody waits for one that is not taken ─


def test_a_message_that_alone_is_not_taken_keeps_what_follows_for_minutes_at_most(
    make_post: Callable[..., Post],
) -> None:
    chat = PickyChannel(lambda text: BROKEN if "poison" in text else None)
    post = make_post(chat=chat)
    incident = post.open_incident()
    for title in ("poison", "level", "over"):
        post.post_message(title, "chat", incident=incident, severity="warn")
    for _ in range(60):
        post.drain(10_000)

    (told,) = (said for said in chat.sent if "poison" not in f"{said.title} {said.lines}")
    assert (told.title, "level" in str(told.lines)) == ("over (and 1 before it)", True)
    assert post.unsent() == ["poison"]


def test_after_an_outage_each_incident_is_told_in_order_and_as_one(make_post: Callable[..., Post]) -> None:
    works = [False]
    chat = PickyChannel(lambda _: None if works[0] else BROKEN)
    post = make_post(chat=chat)
    one, two = post.open_incident(), post.open_incident("other")
    for n in range(3):
        post.post_message(f"bot: one {n}", "chat", incident=one, severity="warn")
        post.post_message(f"bot: two {n}", "chat", incident=two, severity="warn")
    for _ in range(30):
        post.drain(MINUTE)
    works[0] = True
    chat.sent.clear()
    post.drain(5 * MINUTE)

    for name in ("one", "two"):
        (*alone, said) = [said for said in chat.sent if f"bot: {name}" in said.title]
        told = [each.title for each in alone] + [line.split(": ", 1)[1] for line in said.lines if " ago: " in line]
        assert len(alone) <= 1, "the first may go alone, the rest is one"
        assert [name in each for each in told] == [True] * 2
        assert said.title.startswith(f"bot: {name} 2 (and ")
    assert post.unsent() == []


def test_incidents_take_turns_and_what_is_critical_goes_first(make_post: Callable[..., Post]) -> None:
    chat = FakeChannel()
    post = make_post(chat=chat)
    one, two, three = (post.open_incident(name) for name in ("one", "two", "three"))
    for n in range(3):
        post.post_message(f"one {n}", "chat", incident=one, severity="warn")
    for n in range(2):
        post.post_message(f"two {n}", "chat", incident=two, severity="warn")
    for n in range(3):
        post.post_message(f"bad {n}", "chat", incident=one, severity="crit")
    post.post_message("three", "chat", incident=three, severity="crit")
    post.drain()

    assert chat.titles[:2] == ["bad 0", "three"]
    assert chat.titles[4:8] == ["one 0", "two 0", "one 1", "two 1"]


def test_a_chat_is_spoken_to_once_a_second_at_most_and_what_becomes_critical_meanwhile_goes_first(
    make_post: Callable[..., Post],
) -> None:
    times: list[float] = []

    class Timed(FakeChannel):
        def send(self, message: Message) -> str | None:
            times.append(time.monotonic())
            if len(times) == 1:
                post.post_message("bad", "chat", incident=post.open_incident(), severity="crit")
            return super().send(message)

    chat, pace = Timed(), 0.05
    post = make_post(chat=chat)
    post.outbox._pace = pace
    for title in ("one", "two"):
        post.post_message(title, "chat")

    async def act() -> None:
        await post.outbox.drain()
        post.post_message("three", "chat")  # a new worker keeps to it as well
        await post.outbox.drain()

    asyncio.run(with_timeout(act()))

    assert chat.titles == ["one", "bad", "two", "three"]
    assert all(later - earlier >= pace for earlier, later in itertools.pairwise(times))


# ─ what is late is told elsewhere ─


def test_what_is_late_by_a_minute_is_told_on_the_other_channels_once_and_with_what_it_is_about(
    make_post: Callable[..., Post],
) -> None:
    works = [False]
    telegram, slack = PickyChannel(lambda _: None if works[0] else BROKEN), FakeChannel()
    post = make_post(telegram=telegram, slack=slack)
    post.post_message("bot: high tripped", "telegram", incident=post.open_incident(), severity="warn")
    post.drain()
    post.drain(MINUTE - 1)
    assert slack.titles == []
    post.drain(1)
    post.kill()
    for _ in range(30):
        post.drain(MINUTE)
    assert slack.titles == ["channel telegram is late"]
    assert slack.sent[0].lines == ("HTTP 500", "waits for 1 m: bot: high tripped")
    works[0] = True
    post.drain(5 * MINUTE)

    assert slack.titles == ["channel telegram is late", "channel telegram delivers again"]
    assert telegram.sent[-1].lines[-1] == "36 m late"


def test_something_critical_that_is_late_is_told_though_a_warning_just_was(make_post: Callable[..., Post]) -> None:
    telegram, slack = PickyChannel(lambda _: BROKEN), FakeChannel()
    post = make_post(telegram=telegram, slack=slack)
    incident = post.open_incident()
    post.post_message("warned", "telegram", incident=incident, severity="warn")
    post.drain()
    post.clock.now += 5_000
    post.post_message("bad", "telegram", incident=incident, severity="crit")
    post.drain()
    post.drain(55_000)
    post.drain(5_000)

    assert [(one.severity, one.lines[1]) for one in slack.sent] == [
        ("warn", "waits for 1 m: warned"),
        ("crit", "waits for 1 m: bad"),
    ]


def test_many_that_are_late_are_one_report(make_post: Callable[..., Post]) -> None:
    telegram, slack = PickyChannel(lambda _: BROKEN), FakeChannel()
    post = make_post(telegram=telegram, slack=slack)
    for n in range(40):
        post.post_message(f"bad {n}", "telegram", incident=post.open_incident(f"bot{n}"), severity="crit")
    post.drain()
    for _ in range(5):
        post.drain(MINUTE)

    (report,) = slack.sent
    assert len(report.lines) == 7
    assert report.lines[-1] == "and 35 more"


def test_channels_that_are_all_late_do_not_complain_to_each_other_for_ever(make_post: Callable[..., Post]) -> None:
    post = make_post(telegram=PickyChannel(lambda _: BROKEN), slack=PickyChannel(lambda _: BROKEN))
    post.post_message("bad", "telegram", "slack", incident=post.open_incident(), severity="crit")
    post.drain()
    for _ in range(60):
        post.drain(MINUTE)

    assert sorted(post.unsent()) == ["bad", "bad", "channel slack is late", "channel telegram is late"]


def test_what_a_process_has_not_tried_yet_is_given_its_minute(make_post: Callable[..., Post]) -> None:
    telegram, slack = FakeChannel(), FakeChannel()
    post = make_post()
    post.post_message("left from before", "telegram", severity="crit")
    post.clock.now += HOUR
    post.kill()
    post.outbox.channels = {"telegram": telegram, "slack": slack}
    post.drain()

    assert (telegram.titles, slack.titles) == (["left from before"], [])


# ─ what is refused for good ─


@pytest.mark.parametrize("killed", [False, True])
def test_after_a_cure_the_open_incidents_present_state_is_sent_in_one_message(
    make_post: Callable[..., Post], killed: bool
) -> None:
    old, new = PickyChannel(lambda _: REFUSED), FakeChannel()
    post = make_post(chat=old)
    incident = post.open_incident()
    for title in ("tripped", "level", "worse"):
        post.post_message(title, "chat", incident=incident, severity="crit")
    post.drain()
    assert old.titles == ["tripped", "level", "worse"]
    if killed:
        post.kill()
    post.outbox.apply_channels({"chat": new}, (), post.clock.now)
    post.drain()
    post.drain(HOUR)

    assert new.titles == ["bot is bad"]
    assert (new.sent[0].incident, new.sent[0].broadcast) == (incident, True)
    assert post.unsent() == []


@pytest.mark.slow
def test_a_chat_that_is_cured_from_its_own_side_is_found_out_within_a_quarter_of_an_hour(
    make_post: Callable[..., Post],
) -> None:
    invited = [False]
    chat = PickyChannel(lambda _: None if invited[0] else REFUSED)
    post = make_post(chat=chat)
    post.post_message("tripped", "chat", incident=post.open_incident(), severity="crit")
    for _ in range(24 * 60):
        post.drain(MINUTE)
    assert len(chat.sent) < 110
    invited[0] = True
    chat.sent.clear()
    post.drain(15 * MINUTE)

    assert chat.titles == ["bot is bad"]


def test_a_message_of_another_incident_that_arrives_shows_that_the_chat_is_cured(
    make_post: Callable[..., Post],
) -> None:
    works = [False]
    chat = PickyChannel(lambda _: None if works[0] else REFUSED)
    post = make_post(chat=chat)
    post.post_message("tripped", "chat", incident=post.open_incident(), severity="crit")
    post.drain()
    works[0] = True
    post.post_message("other", "chat", incident=post.open_incident("other"), severity="warn")
    post.drain()

    assert chat.titles == ["tripped", "other", "bot is bad"]


def test_of_an_incident_that_is_over_by_then_a_chat_that_heard_nothing_of_it_hears_nothing(
    make_post: Callable[..., Post],
) -> None:
    chat = FakeChannel(REFUSED)
    post = make_post(chat=chat)
    incident = post.open_incident()
    post.post_message("tripped", "chat", incident=incident, severity="crit")
    post.drain()
    with post.journal.transaction() as tx:
        tx.incidents.close_incident(incident, post.clock.now)
    post.drain(HOUR)

    assert chat.titles == ["tripped"]
    assert post.unsent() == []


def test_a_chat_that_heard_the_beginning_hears_the_end_although_it_was_refused(make_post: Callable[..., Post]) -> None:
    chat = FakeChannel("1", REFUSED)
    post = make_post(chat=chat)
    incident = post.open_incident()
    post.post_message("tripped", "chat", incident=incident, severity="crit")
    post.drain()
    with post.journal.transaction() as tx:
        tx.incidents.close_incident(incident, post.clock.now)
    post.post_message("closed", "chat", incident=incident)
    post.drain()
    post.drain(MINUTE)

    assert chat.titles == ["tripped", "closed", "bot is well"]


def test_what_waited_for_a_channel_that_has_another_name_by_now_is_owed_to_the_new_one(
    make_post: Callable[..., Post],
) -> None:
    new = FakeChannel()
    post = make_post(chat=PickyChannel(lambda _: REFUSED))
    post.post_message("tripped", "chat", incident=post.open_incident(), severity="crit")
    post.drain()
    post.outbox.apply_channels({"desk": new}, (), post.clock.now)
    post.drain()
    post.outbox.apply_channels({"desk": new}, (), post.clock.now)
    post.drain()

    assert new.titles == ["bot is bad"]


def test_what_waits_for_a_channel_is_tried_at_once_when_it_has_changed(make_post: Callable[..., Post]) -> None:
    new = FakeChannel()
    post = make_post(chat=FakeChannel(FLOOD))
    post.post_message("warned", "chat", severity="warn")
    post.drain()
    post.outbox.apply_channels({"chat": new}, (), post.clock.now)
    post.drain()

    assert new.titles == ["warned"]


def test_something_critical_that_is_refused_is_told_elsewhere_though_a_warning_just_was(
    make_post: Callable[..., Post],
) -> None:
    slack = FakeChannel()
    post = make_post(chat=PickyChannel(lambda _: REFUSED), slack=slack)
    incident = post.open_incident()
    post.post_message("warned", "chat", incident=incident, severity="warn")
    post.drain()
    post.post_message("bad", "chat", incident=incident, severity="crit")
    post.drain(1)

    assert [one.lines[1] for one in slack.sent] == ["not delivered: warned", "not delivered: bad"]
