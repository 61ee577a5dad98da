"""Channels are listened to, each by itself: one that cannot be heard is tried again, shown, and holds up no other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.support.listening import FakeChat
from watchdog.app import chat_listeners
from watchdog.app.chat_listeners import ChatListeners
from watchdog.core.chat import ChatEvent
from watchdog.core.errors import NotifyError
from watchdog.core.model import Message
from watchdog.core.telemetry import Telemetry

EVENT = ChatEvent("k1", "11", "Ann", "-100", "status", 0)


class Desk:
    """What was heard, and for how long it waited between two tries."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []
        self.pauses: list[float] = []
        self.telemetry = Telemetry("test")
        self.told: list[Message] = []
        self.listeners = ChatListeners(self.receive, self.telemetry, self.sleep, self.told.append)

    async def receive(self, channel: str, event: ChatEvent) -> None:
        self.heard.append((channel, event.key))

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)

    def is_listening(self, channel: str) -> float | None:
        return self.telemetry.registry.get_sample_value("watchdog_chat_listening", {"channel": channel})


def play(story: Callable[[Desk], Coroutine[Any, Any, None]]) -> Desk:
    async def run() -> Desk:
        desk = Desk()
        async with asyncio.timeout(60):
            await story(desk)
            await desk.listeners.stop()
        return desk

    return asyncio.run(run())


def test_what_one_channel_says_is_heard_while_another_fails_and_a_third_hangs() -> None:
    well, ill, deaf = FakeChat(), FakeChat(), FakeChat()
    ill.failures = [NotifyError("no network") for _ in range(6)]
    deaf.listen_to_people = False

    async def story(desk: Desk) -> None:
        desk.listeners.apply({"well": well, "ill": ill, "deaf": deaf, "other": object()})
        await well.is_listening.wait()
        await well.say(EVENT)
        await ill.is_listening.wait()
        await ill.say(EVENT)
        assert desk.listeners.errors() == {"well": None, "ill": None}

    desk = play(story)

    assert desk.heard == [("well", "k1"), ("ill", "k1")]
    assert desk.pauses == [1, 2, 4, 8, 16, 32]
    assert deaf.listens == 0


def test_people_are_told_once_that_a_channel_is_not_heard_and_once_that_it_is_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chat_listeners, "_TELL_AFTER", 0.0)
    chat = FakeChat()
    chat.failures = [NotifyError("no network — check it") for _ in range(4)]

    async def story(desk: Desk) -> None:
        desk.listeners.apply({"chat": chat})
        await chat.is_listening.wait()
        await chat.say(EVENT)

    first, last = play(story).told
    assert (first.title, first.lines) == ("channel chat: what people answer is not heard", ("no network", "check it"))
    assert (last.title, last.ends) == ("channel chat: what people answer is heard again", first.opens)


def test_what_was_told_as_not_heard_is_told_as_heard_by_whoever_listens_after_a_reload() -> None:
    chat, cured = FakeChat(), FakeChat()
    chat.failures = [NotifyError("bad token", permanent=True) for _ in range(2)]

    async def story(desk: Desk) -> None:
        desk.listeners.apply({"chat": chat})
        while desk.listeners.errors()["chat"] is None:
            await asyncio.sleep(0)
        desk.listeners.apply({"chat": chat})  # nothing is cured: it is not told a second time
        while desk.listeners.errors()["chat"] is None:
            await asyncio.sleep(0)
        desk.listeners.apply({"chat": cured})
        await cured.is_listening.wait()
        assert len(desk.told) == 1
        await cured.say(EVENT)

    first, last = play(story).told
    assert first.title == "channel chat: what people answer is not heard"
    assert (last.title, last.ends) == ("channel chat: what people answer is heard again", first.opens)


def test_a_refusal_for_good_is_told_at_once() -> None:
    chat = FakeChat()
    chat.failures = [NotifyError("refused", permanent=True)]

    async def story(desk: Desk) -> None:
        desk.listeners.apply({"chat": chat})
        while not desk.told:
            await asyncio.sleep(0)

    assert [message.title for message in play(story).told] == ["channel chat: what people answer is not heard"]


def test_a_service_that_says_when_is_asked_no_sooner_and_what_ends_by_itself_is_begun_anew() -> None:
    chat = FakeChat()
    chat.failures = [
        NotifyError("slow down", retry_after=30),
        NotifyError("for a day", retry_after=86_400),
        OSError("oh"),
    ]

    async def story(desk: Desk) -> None:
        desk.listeners.apply({"chat": chat})
        await chat.is_listening.wait()
        assert desk.listeners.errors() == {"chat": "OSError: oh"}  # until it is heard
        assert desk.is_listening("chat") == 0

    assert play(story).pauses == [30, 300, 4]


def test_what_cannot_work_waits_for_the_next_reload(caplog: pytest.LogCaptureFixture) -> None:
    chat = FakeChat()
    chat.failures = [NotifyError("bad token — make a new one", permanent=True)]

    async def story(desk: Desk) -> None:
        desk.listeners.apply({"chat": chat})
        while desk.listeners.errors()["chat"] is None:
            await asyncio.sleep(0)
        assert desk.is_listening("chat") == 0
        assert chat.listens == 1
        desk.listeners.apply({"chat": chat})  # the same: but somebody may have cured it elsewhere
        await chat.is_listening.wait()
        assert desk.listeners.errors() == {"chat": None}
        assert desk.is_listening("chat") == 1

    assert play(story).pauses == []
    assert "is not heard until the next reload: bad token — make a new one" in caplog.text


def test_a_reload_begins_anew_what_has_changed_and_leaves_the_rest() -> None:
    stays, changes, goes, comes = FakeChat(), FakeChat(), FakeChat(), FakeChat()

    async def story(desk: Desk) -> None:
        desk.listeners.apply({"stays": stays, "changes": changes, "goes": goes})
        for chat in (stays, changes, goes):
            await chat.is_listening.wait()
        after = FakeChat()
        desk.listeners.apply({"stays": stays, "changes": after, "comes": comes})
        for chat in (after, comes):
            await chat.is_listening.wait()
        assert [changes.is_listening.is_set(), goes.is_listening.is_set()] == [False, False]
        assert desk.is_listening("goes") is None
        assert set(desk.listeners.errors()) == {"stays", "changes", "comes"}

    play(story)

    assert (stays.listens, changes.listens, comes.listens) == (1, 1, 1)
