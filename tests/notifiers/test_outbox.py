"""The outbox: at least once, in order, and no channel in the way of another."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from watchdog.core.errors import NotifyError
from watchdog.core.model import Message, Millis, Severity
from watchdog.core.offload import ThreadOffload
from watchdog.core.telemetry import Telemetry
from watchdog.journal.sqlite import SqliteJournal
from watchdog.notifiers.outbox import OutboxSender

LONG = 90.0
MINUTE = 60_000


class FakeClock:
    def __init__(self) -> None:
        self.now = 1_700_000_000_000

    def __call__(self) -> Millis:
        return self.now


class FakeChannel:
    """Notes what it is asked to say; each answer is a handle, or what is raised. When they are used up: handle 1, 2, …"""

    from_: Severity = "info"

    def __init__(self, *answers: str | Exception | None) -> None:
        self.answers = list(answers)
        self.sent: list[Message] = []

    def send(self, message: Message) -> str | None:
        self.sent.append(message)
        answer = self.answers.pop(0) if self.answers else str(len(self.sent))
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def titles(self) -> list[str]:
        return [message.title for message in self.sent]


class SlowChannel(FakeChannel):
    """A client library that is async, and a server that does not answer until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.called = asyncio.Event()
        self.release = asyncio.Event()

    async def send(self, message: Message) -> str | None:  # type: ignore[override]
        self.sent.append(message)
        self.called.set()
        await self.release.wait()
        return "slow"


class HungChannel(FakeChannel):
    """A blocking client that hangs in its thread."""

    def __init__(self) -> None:
        super().__init__()
        self.release = threading.Event()

    def send(self, message: Message) -> str | None:
        self.sent.append(message)
        assert self.release.wait(LONG)
        return None


class OutboxHarness:
    """An outbox over a real journal, with a clock that stands still."""

    def __init__(self, path: Path, **channels: Any) -> None:
        self.path = path
        self.clock = FakeClock()
        self.telemetry = Telemetry("test")
        self.pool = ThreadOffload(4, "sending")
        self.open(channels)

    def open(self, channels: dict[str, Any]) -> None:
        self.journal = SqliteJournal(self.path)
        self.outbox = OutboxSender(self.journal, self.telemetry, self.clock, self.pool, channels, pace=0)

    def open_incident(self, target: str = "bot") -> int:
        with self.journal.transaction() as tx:
            return tx.incidents.open_incident(target, "crit", "x", self.clock.now)

    def post_message(
        self, title: str, *channels: str, incident: int | None = None, severity: Severity = "info"
    ) -> None:
        with self.journal.transaction() as tx:
            tx.messages.enqueue(Message(severity, title, (f"{title}!",), incident), channels, self.clock.now)

    def unsent(self) -> list[str]:
        return [
            row[0]
            for row in self.journal.query("SELECT title FROM message WHERE sent IS NULL AND failed IS NULL ORDER BY id")
        ]

    def drain(self, after: Millis = 0) -> None:
        self.clock.now += after
        asyncio.run(with_timeout(self.outbox.drain()))

    def notification_count(self, channel: str, outcome: str) -> float:
        labels = {"channel": channel, "outcome": outcome}
        return self.telemetry.registry.get_sample_value("watchdog_notifications_total", labels) or 0

    def close(self) -> None:
        self.pool.close()
        self.journal.close()


@pytest.fixture
def make_outbox(tmp_path: Path) -> Iterator[Callable[..., OutboxHarness]]:
    posts: list[OutboxHarness] = []

    def make(**channels: Any) -> OutboxHarness:
        posts.append(OutboxHarness(tmp_path / "journal.db", **channels))
        return posts[-1]

    yield make
    for post in posts:
        post.close()


async def with_timeout(work: Awaitable[Any]) -> Any:
    async with asyncio.timeout(LONG):
        return await work


async def wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LONG):
        while not condition():
            await asyncio.sleep(0.001)


async def cancel_and_wait(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait({task}, timeout=LONG)
    assert task.cancelled()


# ─ delivery ─


def test_a_message_is_sent_once_and_marked(make_outbox: Callable[..., OutboxHarness]) -> None:
    chat = FakeChannel()
    post = make_outbox(chat=chat)
    number = post.open_incident()
    post.post_message("tripped", "chat", incident=number, severity="crit")

    post.drain()
    post.drain(24 * 60 * MINUTE)

    (message,) = chat.sent
    assert (message.severity, message.title, message.lines, message.incident) == (
        "crit",
        "tripped",
        ("tripped!",),
        number,
    )
    assert post.unsent() == []
    assert post.notification_count("chat", "sent") == 1


def test_a_message_whose_delivery_was_cut_off_is_sent_again_under_the_same_key(
    make_outbox: Callable[..., OutboxHarness],
) -> None:
    """It may have arrived; whether it did was never written down."""
    chat = FakeChannel()

    async def cut_off() -> None:
        slow = SlowChannel()
        post.outbox.channels = {"chat": slow}
        task = asyncio.create_task(post.outbox.drain())
        await with_timeout(slow.called.wait())
        await cancel_and_wait(task)
        chat.sent += slow.sent

    post = make_outbox()
    post.post_message("tripped", "chat")
    asyncio.run(cut_off())
    post.journal.close()
    post.open({"chat": chat})
    post.drain()

    assert chat.titles == ["tripped", "tripped"]
    assert len({message.key for message in chat.sent}) == 1
    assert post.unsent() == []


def test_different_messages_have_different_keys(make_outbox: Callable[..., OutboxHarness]) -> None:
    chat = FakeChannel()
    post = make_outbox(chat=chat)
    for _ in range(3):
        post.post_message("tripped", "chat")
    post.drain()

    assert len({message.key for message in chat.sent}) == 3


def test_the_first_messages_handle_is_the_thread_of_the_next(make_outbox: Callable[..., OutboxHarness]) -> None:
    slack, telegram = FakeChannel("1700.1", "1700.2"), FakeChannel(None, "77")
    post = make_outbox(slack=slack, telegram=telegram)
    one, two = post.open_incident(), post.open_incident("other")
    for title in ("tripped", "level feature", "proven"):
        post.post_message(title, "slack", "telegram", incident=one)
    post.post_message("tripped", "slack", incident=two)
    post.post_message("hello", "slack")

    post.drain()

    assert [m.thread for m in slack.sent if m.incident == one] == [None, "1700.1", "1700.1"]
    assert [m.thread for m in telegram.sent] == [None, None, "77"]
    assert [m.thread for m in slack.sent if m.incident != one] == [None, None]
    assert [m.title for m in slack.sent if m.incident == one] == ["tripped", "level feature", "proven"]


def test_messages_of_several_incidents_do_not_collide_on_one_channel(make_outbox: Callable[..., OutboxHarness]) -> None:
    """A channel is spoken to by one thread at a time; nobody is told that it hangs when it only is busy."""
    busy = threading.Lock()

    class Single(FakeChannel):
        def send(self, message: Message) -> str | None:
            assert busy.acquire(blocking=False)
            try:
                return super().send(message)
            finally:
                busy.release()

    chat = Single()
    post = make_outbox(chat=chat)
    for target in "abcdefgh":
        post.post_message(target, "chat", incident=post.open_incident(target))

    post.drain()

    assert sorted(chat.titles) == list("abcdefgh")
    assert (post.notification_count("chat", "sent"), post.notification_count("chat", "retried")) == (8, 0)


def test_without_a_channel_a_message_goes_to_the_log(
    make_outbox: Callable[..., OutboxHarness], caplog: pytest.LogCaptureFixture
) -> None:
    """So it does when a reload has taken its channel away."""
    post = make_outbox()
    post.post_message("bot: flapping tripped", "log", severity="crit")
    post.post_message("bot: recovered", "gone", severity="info")

    with caplog.at_level(logging.INFO, "watchdog"):
        post.drain()

    assert {(record.levelname, record.message) for record in caplog.records} == {
        ("ERROR", "message: bot: flapping tripped — bot: flapping tripped!"),
        ("INFO", "message: bot: recovered — bot: recovered!"),
    }
    assert post.unsent() == []


# ─ retries ─


def assert_retries(harness: OutboxHarness, chat: FakeChannel, pauses: Sequence[Millis]) -> None:
    """It is tried again after each of these pauses, and not a moment sooner."""
    for pause in pauses:
        before = len(chat.sent)
        harness.drain(pause - 1)
        assert len(chat.sent) == before
        harness.drain(1)
        assert len(chat.sent) == before + 1


def test_what_fails_is_tried_again_more_and_more_slowly_and_never_given_up(
    make_outbox: Callable[..., OutboxHarness],
) -> None:
    chat = FakeChannel(*[NotifyError("server error")] * 12)
    post = make_outbox(chat=chat)
    post.post_message("tripped", "chat")
    post.drain()

    assert_retries(
        post, chat, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 256_000, 5 * MINUTE, 5 * MINUTE]
    )
    assert post.unsent() == ["tripped"]
    assert_retries(post, chat, [5 * MINUTE])
    assert post.unsent() == []
    assert (post.notification_count("chat", "retried"), post.notification_count("chat", "sent")) == (12, 1)


def test_the_servers_own_waiting_time_is_respected(make_outbox: Callable[..., OutboxHarness]) -> None:
    chat = FakeChannel(NotifyError("slow down", retry_after=47.5), NotifyError("slow down", retry_after=0.1))
    post = make_outbox(chat=chat)
    post.post_message("tripped", "chat")
    post.drain()

    assert_retries(post, chat, [47_500, 2_000])  # less than our own pause it never is
    assert post.unsent() == []


def test_a_longer_waiting_time_than_our_longest_is_respected_too(make_outbox: Callable[..., OutboxHarness]) -> None:
    chat = FakeChannel(NotifyError("slow down", retry_after=3_600))
    post = make_outbox(chat=chat)
    post.post_message("tripped", "chat")
    post.drain()

    assert_retries(post, chat, [60 * MINUTE])


def test_while_a_message_waits_for_its_next_try_those_behind_it_wait_and_others_go(
    make_outbox: Callable[..., OutboxHarness],
) -> None:
    chat = FakeChannel(NotifyError("busy"))
    post = make_outbox(chat=chat)
    one, two = post.open_incident(), post.open_incident("other")
    for title in ("first", "second"):
        post.post_message(title, "chat", incident=one)
    post.post_message("elsewhere", "chat", incident=two)

    post.drain()
    assert chat.titles == ["first", "elsewhere"]
    post.drain(1_000)
    assert chat.titles == ["first", "elsewhere", "first", "second"]


# ─ refusals ─


def test_a_refusal_for_good_is_told_on_the_other_channels_once(make_outbox: Callable[..., OutboxHarness]) -> None:
    slack = FakeChannel(*[NotifyError("invalid token", permanent=True)] * 3)
    telegram, mail = FakeChannel(), FakeChannel()
    post = make_outbox(slack=slack, telegram=telegram, mail=mail)
    for title in ("one", "two", "three"):
        post.post_message(title, "slack")

    post.drain()

    assert slack.titles == ["one", "two", "three"]
    assert telegram.titles == mail.titles == ["channel slack does not deliver"]
    assert telegram.sent[0].lines == ("invalid token", "not delivered: one")
    assert telegram.sent[0].severity == "warn"
    assert post.unsent() == []
    assert post.notification_count("slack", "failed") == 3

    post.drain(24 * 60 * MINUTE)
    assert (len(slack.sent), len(telegram.sent)) == (3, 1)


def test_when_it_goes_on_refusing_it_is_told_again_after_a_quarter_of_an_hour(
    make_outbox: Callable[..., OutboxHarness],
) -> None:
    slack, telegram = FakeChannel(*[NotifyError("invalid token", permanent=True)] * 9), FakeChannel()
    post = make_outbox(slack=slack, telegram=telegram)
    for pause in (0, 15 * MINUTE - 1, 1):
        post.clock.now += pause
        post.post_message("tripped", "slack")
        post.drain()

    assert len(telegram.sent) == 2


def test_whoever_heard_that_a_channel_does_not_deliver_hears_that_it_does_again(
    make_outbox: Callable[..., OutboxHarness],
) -> None:
    slack, telegram = FakeChannel(NotifyError("invalid token", permanent=True)), FakeChannel()
    post = make_outbox(slack=slack, telegram=telegram)
    for title in ("one", "two", "three"):
        post.post_message(title, "slack")
        post.drain()

    assert slack.titles == ["one", "two", "three"]
    assert telegram.titles == ["channel slack does not deliver", "channel slack delivers again"]
    assert post.journal.messages.list_open_topics() == []


def test_an_end_is_shown_in_the_channel_of_those_who_heard_of_the_beginning(
    make_outbox: Callable[..., OutboxHarness],
) -> None:
    post = make_outbox(chat=FakeChannel(), desk=FakeChannel())
    with post.journal.transaction() as tx:
        tx.messages.enqueue(Message("warn", "bad", opens=("it",)), ["chat"], post.clock.now)
        tx.messages.enqueue(Message("info", "over", ends=("it",)), ["chat", "desk"], post.clock.now)
    post.drain()

    assert [(one.title, one.broadcast) for one in post.outbox.channels["chat"].sent] == [("bad", False), ("over", True)]
    assert [(one.title, one.broadcast) for one in post.outbox.channels["desk"].sent] == [("over", False)]


def test_the_only_channel_that_refuses_is_told_of_in_the_log(
    make_outbox: Callable[..., OutboxHarness], caplog: pytest.LogCaptureFixture
) -> None:
    post = make_outbox(slack=FakeChannel(NotifyError("invalid token", permanent=True)))
    post.post_message("tripped", "slack")

    with caplog.at_level(logging.WARNING, "watchdog"):
        post.drain()

    assert "message: channel slack does not deliver — invalid token — not delivered: tripped" in caplog.messages


def test_channels_that_all_refuse_do_not_complain_to_each_other_for_ever(
    make_outbox: Callable[..., OutboxHarness],
) -> None:
    refusal = NotifyError("invalid token", permanent=True)
    slack, telegram = FakeChannel(*[refusal] * 99), FakeChannel(*[refusal] * 99)
    post = make_outbox(slack=slack, telegram=telegram)
    post.post_message("tripped", "slack", "telegram")

    post.drain()

    assert slack.titles == ["tripped", "channel telegram does not deliver"]
    assert telegram.titles == ["tripped", "channel slack does not deliver"]
    assert post.unsent() == []


def test_after_a_refused_first_message_the_next_one_opens_the_thread(make_outbox: Callable[..., OutboxHarness]) -> None:
    chat = FakeChannel(NotifyError("too long", permanent=True), "7", "8")
    post = make_outbox(chat=chat)
    number = post.open_incident()
    for title in ("one", "two", "three"):
        post.post_message(title, "chat", incident=number)

    post.drain()

    assert [(m.title, m.thread) for m in chat.sent] == [("one", None), ("two", None), ("three", "7")]


# ─ nobody waits for a slow one ─


@pytest.fixture
def short_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("watchdog.notifiers.call.SEND_TIMEOUT", 0.02)


def with_running_outbox(harness: OutboxHarness, callback: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Does something while the outbox runs."""

    async def main() -> None:
        task = asyncio.create_task(harness.outbox.run())
        try:
            await with_timeout(callback())
        finally:
            await cancel_and_wait(task)

    asyncio.run(main())


@pytest.mark.parametrize("kind", [SlowChannel, HungChannel])
def test_a_slow_channel_does_not_hold_back_another(
    make_outbox: Callable[..., OutboxHarness], kind: type[SlowChannel | HungChannel]
) -> None:
    """Neither what was waiting, nor what is said while the slow one hangs."""
    slow, fast = kind(), FakeChannel()
    post = make_outbox(slow=slow, fast=fast)
    number = post.open_incident()
    for title in ("one", "two", "three"):
        post.post_message(title, "slow", "fast", incident=number)

    async def act() -> None:
        await wait_until(lambda: len(fast.sent) == 3 and len(slow.sent) == 1)
        post.post_message("halted", "fast", incident=number, severity="crit")
        post.outbox.notify_pending()
        await wait_until(lambda: len(fast.sent) == 4)
        assert slow.titles == ["one"]
        slow.release.set()
        await wait_until(lambda: not post.unsent())

    with_running_outbox(post, act)

    assert fast.titles == ["one", "two", "three", "halted"]
    assert slow.titles == ["one", "two", "three"]


def test_ever_so_many_hung_channels_hold_back_no_other(make_outbox: Callable[..., OutboxHarness]) -> None:
    """Not even where each of them hangs in a thread."""
    hung, fast = {f"hung{n}": HungChannel() for n in range(12)}, FakeChannel()
    post = make_outbox(**hung, zfast=fast)
    post.outbox._offload = pool = ThreadOffload(None, "sending")
    post.post_message("tripped", *hung, "zfast")

    async def act() -> None:
        await wait_until(lambda: len(fast.sent) == 1 and all(len(one.sent) == 1 for one in hung.values()))
        post.post_message("halted", "zfast", severity="crit")
        post.outbox.notify_pending()
        await wait_until(lambda: len(fast.sent) == 2)
        for one in hung.values():
            one.release.set()
        await wait_until(lambda: not post.unsent())

    with_running_outbox(post, act)
    pool.close()


@pytest.mark.usefixtures("short_deadline")
def test_a_channel_that_does_not_answer_is_given_up_for_now(
    make_outbox: Callable[..., OutboxHarness], caplog: pytest.LogCaptureFixture
) -> None:
    async def act() -> None:
        post.outbox.channels = {"slow": SlowChannel()}
        await with_timeout(post.outbox.drain())

    post = make_outbox()
    post.post_message("tripped", "slow")
    asyncio.run(act())

    assert post.unsent() == ["tripped"]
    assert post.notification_count("slow", "retried") == 1
    assert caplog.messages == ["channel slow: no answer within 0 s (will try again)"]


@pytest.mark.usefixtures("short_deadline")
def test_a_hung_client_costs_one_thread_and_says_so(
    make_outbox: Callable[..., OutboxHarness], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    hung, fast = HungChannel(), FakeChannel()
    post = make_outbox(hung=hung, fast=fast)
    post.post_message("tripped", "hung", "fast")

    async def act() -> None:
        while not hung.sent:  # on a busy machine even the beginning may come too late
            post.clock.now += MINUTE
            await post.outbox.drain()
        post.clock.now += MINUTE * 5
        await post.outbox.drain()
        monkeypatch.setattr("watchdog.notifiers.call.SEND_TIMEOUT", LONG)
        hung.release.set()
        while post.unsent():
            post.clock.now += MINUTE * 5
            await post.outbox.drain()
            await asyncio.sleep(0.001)

    asyncio.run(with_timeout(act()))

    assert "channel hung: the last delivery still hangs (will try again)" in caplog.messages
    assert fast.titles[:2] == ["tripped", "channel hung is late"]
    assert hung.titles == ["tripped", "tripped"]


def test_a_mistake_in_one_notifier_silences_no_other_and_loses_no_message(
    make_outbox: Callable[..., OutboxHarness], caplog: pytest.LogCaptureFixture
) -> None:
    odd, fast = FakeChannel(KeyError("ts")), FakeChannel()
    post = make_outbox(odd=odd, fast=fast)
    for title in ("one", "two"):
        post.post_message(title, "odd", "fast")

    post.drain()
    assert fast.titles == ["one", "two"]
    assert post.unsent() == ["one", "two"]
    assert "KeyError" in caplog.text
    post.drain(1_000)
    assert odd.titles == ["one", "one", "two"]
    assert post.unsent() == []


# ─ running ─


def test_it_sends_what_was_left_from_before_and_what_it_is_woken_for(make_outbox: Callable[..., OutboxHarness]) -> None:
    chat = FakeChannel()
    post = make_outbox(chat=chat)
    post.post_message("left from before", "chat")

    async def act() -> None:
        await wait_until(lambda: len(chat.sent) == 1)
        post.post_message("news", "chat")
        post.outbox.notify_pending()
        await wait_until(lambda: not post.unsent())

    with_running_outbox(post, act)

    assert chat.titles == ["left from before", "news"]


def test_it_wakes_up_for_the_next_try_by_itself(make_outbox: Callable[..., OutboxHarness]) -> None:
    chat = FakeChannel(NotifyError("busy"))
    post = make_outbox(chat=chat)
    post.post_message("tripped", "chat")

    async def act() -> None:
        await wait_until(lambda: len(chat.sent) == 1)
        await wait_until(lambda: post.notification_count("chat", "retried") == 1)
        post.clock.now += 999
        post.outbox.notify_pending()
        await asyncio.sleep(0)
        post.clock.now += 1
        await wait_until(lambda: not post.unsent())

    with_running_outbox(post, act)

    assert chat.titles == ["tripped", "tripped"]


@pytest.mark.parametrize("steps", range(6))
def test_it_stops_when_it_is_told_to_even_as_news_come(make_outbox: Callable[..., OutboxHarness], steps: int) -> None:
    """Else the daemon would wait for it for ever, whichever of the two is noticed first."""
    post = make_outbox()

    async def main() -> None:
        task = asyncio.create_task(post.outbox.run())
        for _ in range(5):
            await asyncio.sleep(0)
        post.outbox.notify_pending()
        for _ in range(steps):
            await asyncio.sleep(0)
        await cancel_and_wait(task)

    asyncio.run(main())


def test_when_it_stops_nothing_goes_on_sending_behind_its_back(make_outbox: Callable[..., OutboxHarness]) -> None:
    post = make_outbox()
    post.post_message("tripped", "slow")

    async def main() -> None:
        slow = SlowChannel()
        post.outbox.channels = {"slow": slow}
        task = asyncio.create_task(post.outbox.run())
        await with_timeout(slow.called.wait())
        await cancel_and_wait(task)
        await wait_until(lambda: asyncio.all_tasks() == {asyncio.current_task()})

    asyncio.run(main())

    assert post.unsent() == ["tripped"]


def test_a_drain_beside_a_running_outbox_sends_nothing_twice(make_outbox: Callable[..., OutboxHarness]) -> None:
    """That is how the daemon stops."""

    async def act() -> None:
        slow = SlowChannel()
        post.outbox.channels = {"chat": slow}
        post.outbox.notify_pending()
        await slow.called.wait()
        drain = asyncio.create_task(post.outbox.drain())
        await asyncio.sleep(0)
        slow.release.set()
        await drain
        said.extend(slow.titles)

    said: list[str] = []
    post = make_outbox()
    post.outbox.channels = {"chat": FakeChannel(NotifyError("busy"))}
    post.post_message("tripped", "chat")
    post.drain()
    post.clock.now += MINUTE
    with_running_outbox(post, act)

    assert said == ["tripped"]
    assert post.unsent() == []


def test_a_journal_that_cannot_be_used_stops_the_outbox_loudly(make_outbox: Callable[..., OutboxHarness]) -> None:
    """Sending without being able to mark it as sent would go on and on."""
    chat = FakeChannel()
    post = make_outbox(chat=chat)
    post.post_message("tripped", "chat")
    post.journal.query(
        "CREATE TRIGGER broken BEFORE UPDATE ON message BEGIN SELECT RAISE(ABORT, 'the disk is broken'); END"
    )

    async def main() -> None:
        with pytest.raises(Exception, match="the disk is broken"):
            await with_timeout(post.outbox.run())

    asyncio.run(main())

    assert chat.titles == ["tripped"]


class NoticedChannel(FakeChannel):
    """Delivers, and wants something put right."""

    notice = "the group -1 became the supergroup -2 — say chat: -2"


def test_what_is_to_be_put_right_though_it_delivers_is_told_once_on_all_channels(
    make_outbox: Callable[..., OutboxHarness],
) -> None:
    channels = {"moved": NoticedChannel(), "slack": FakeChannel()}
    harness = make_outbox(**channels)
    for title in ("one", "two"):
        harness.post_message(title, "moved", "slack")
        harness.drain()
    harness.journal.close()
    harness.open(channels)  # another process
    harness.post_message("three", "moved", "slack")
    harness.drain()

    notice = "channel moved: the group -1 became the supergroup -2"
    for channel in channels.values():
        assert sorted(channel.titles) == sorted(["one", "two", "three", notice])
    assert [message.lines for message in channels["slack"].sent if message.title == notice] == [("say chat: -2",)]


class StandbyChannel(FakeChannel):
    standby = True


def test_what_is_to_be_put_right_wakes_nobody_who_stands_by(make_outbox: Callable[..., OutboxHarness]) -> None:
    pager, slack = StandbyChannel(), FakeChannel()
    harness = make_outbox(moved=NoticedChannel(), pager=pager, slack=slack)
    harness.post_message("one", "moved")
    harness.drain()

    assert len(slack.sent) == 1
    assert pager.sent == []
