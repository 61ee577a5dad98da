"""Hearing goes on, whatever fails."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress

import pytest

from tests.support.listeners import PATIENCE
from watchdog.core.chat import ChatEvent, ReceiveFunction
from watchdog.core.errors import NotifyError
from watchdog.journal.errors import JournalError
from watchdog.notifiers import listening as module
from watchdog.notifiers.listening import NO_OTHERS, Patience, clean_text, keep_listening

EVENT = ChatEvent("k", "U1", "ann", "C1", "ack 17", 5)
NOW = 1_700_000_000_000


class Channel:
    """Does what its script says next, each time that it listens: an error is raised, an event is delivered, None waits."""

    def __init__(self, *script: Exception | ChatEvent | None, identity: str = "a", chat: str = "C1") -> None:
        self.script = list(script)
        self.listen_to_people = True
        self.listening_identity, self.listening_chat = identity, chat
        self.others: list[Mapping[str, ReceiveFunction]] = []

    async def listen(self, receive: ReceiveFunction, others: Mapping[str, ReceiveFunction] = NO_OTHERS) -> None:
        self.others.append(others)
        while self.script:
            step = self.script.pop(0)
            if isinstance(step, Exception):
                raise step
            if step is None:
                break
            await receive(step)
        await asyncio.Event().wait()


class Desk:
    """Who is behind the channels."""

    def __init__(self, **channels: Channel) -> None:
        self.channels = channels
        self.heard: list[tuple[str, ChatEvent]] = []
        self.reports: list[tuple[tuple[str, ...], str | None]] = []
        self.news = asyncio.Event()

    async def receive(self, name: str, event: ChatEvent) -> None:
        self.heard.append((name, event))
        self.news.set()

    def report(self, names: Sequence[str], error: NotifyError | None) -> None:
        self.reports.append((tuple(names), None if error is None else str(error)))
        self.news.set()

    async def run_until(self, count: int) -> None:
        """Until so much was heard and reported."""
        task = asyncio.create_task(keep_listening(self.channels, self.receive, lambda: NOW, self.report))
        try:
            async with asyncio.timeout(PATIENCE):
                while len(self.heard) + len(self.reports) < count:
                    self.news.clear()
                    news = asyncio.ensure_future(self.news.wait())
                    await asyncio.wait({news, task}, return_when=asyncio.FIRST_COMPLETED)
                    news.cancel()
                    if task.done():
                        task.result()
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONG_PAUSES", (0.01, 0.01))
    monkeypatch.setattr(module, "PERMANENT_PAUSE", 0.01)
    monkeypatch.setattr(module, "SETTLED", 0.05)


def test_why_nothing_is_heard_is_told_once_and_so_is_that_it_is_over() -> None:
    same = [NotifyError("no network", retry_after=0.01) for _ in range(3)]
    desk = Desk(chat=Channel(*same, NotifyError("no token", permanent=True), None))

    asyncio.run(desk.run_until(3))

    assert desk.reports == [(("chat",), "no network"), (("chat",), "no token"), (("chat",), None)]


def test_what_never_failed_is_not_told_to_be_over() -> None:
    channel = Channel(EVENT)

    async def wait() -> None:
        desk = Desk(chat=channel)
        await desk.run_until(1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await desk.run_until(2)
        assert desk.reports == []

    asyncio.run(wait())


def test_what_the_service_does_not_say_the_time_of_was_said_when_it_came() -> None:
    desk = Desk(chat=Channel(EVENT, EVENT._replace(t=0)))

    asyncio.run(desk.run_until(2))

    assert [event.t for _, event in desk.heard] == [5, NOW]


def test_one_of_several_channels_with_one_credential_listens_for_all() -> None:
    first, second, third = Channel(EVENT), Channel(EVENT, chat="C2"), Channel(EVENT, identity="b")
    silent = Channel(EVENT, identity="c")
    silent.listen_to_people = False
    desk = Desk(first=first, second=second, third=third, silent=silent)

    asyncio.run(desk.run_until(2))

    assert sorted(name for name, _ in desk.heard) == ["first", "third"]
    assert (second.others, silent.others, list(first.others[0])) == ([], [], ["C2"])
    asyncio.run(first.others[0]["C2"](EVENT))  # type: ignore[arg-type]  # a coroutine it is
    assert desk.heard[-1] == ("second", EVENT)


def test_a_journal_that_cannot_be_used_ends_it() -> None:
    desk = Desk(bad=Channel(EVENT), good=Channel(None, identity="b"))

    async def fail(name: str, event: ChatEvent) -> None:
        raise JournalError("damaged")

    desk.receive = fail  # type: ignore[method-assign]
    with pytest.raises(JournalError, match="damaged"):
        asyncio.run(desk.run_until(1))


def test_where_nobody_listens_it_waits() -> None:
    async def wait() -> None:
        async with asyncio.timeout(0.1):
            await keep_listening({}, Desk().receive, lambda: NOW, Desk().report)

    with pytest.raises(TimeoutError):
        asyncio.run(wait())


def test_pauses_grow_until_it_is_told_and_a_service_that_asks_for_more_gets_it() -> None:
    patience = Patience()
    error, slow = NotifyError("no network"), NotifyError("slow down", retry_after=40)

    assert [patience.next_pause(error) for _ in range(3)] == [1, 2, 4]
    patience.renew()
    assert patience.next_pause(slow) == 40
    assert [patience.next_pause(error) for _ in range(5)] == [2, 4, 8, 15, 30]
    with pytest.raises(NotifyError, match="no network"):
        patience.next_pause(error)
    patience.renew()
    with pytest.raises(NotifyError, match="no token"):
        patience.next_pause(NotifyError("no token", permanent=True))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (" a ", "a"),
        (7, "7"),
        (True, ""),
        (None, ""),
        ([], ""),
        ("\ud800", "\ufffd"),
        ("😀", "😀"),
        (1 << 80, ""),
        ("x" * 2_000, "x" * 1_000),
    ],
)
def test_text_of_others_is_bounded_and_whole(value: object, shown: str) -> None:
    assert clean_text(value) == shown
