"""What channels that hear people share."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from tests.support.listeners import PATIENCE, Receiver
from watchdog.core.chat import ChatEvent
from watchdog.core.errors import NotifyError
from watchdog.journal.errors import JournalError
from watchdog.notifiers import listening as module
from watchdog.notifiers.listening import Heard, Patience, Routes, clean_text, listen_together

EVENT = ChatEvent("k", "U1", "ann", "C1", "ack 17", 5)
BOT = ("slack", "https://slack.com/api/", "xapp-1")


def heard(chat: str = "C1", *, is_direct: bool = False) -> Heard:
    return Heard(EVENT._replace(chat=chat), (chat,), is_direct)


class Service:
    """Says what it is told to, to one listener for each credential."""

    def __init__(self) -> None:
        self.runs: list[Routes] = []
        self.error: Exception | None = None
        self.fails = asyncio.Event()

    async def run(self, routes: Routes) -> None:
        self.runs.append(routes)
        await self.fails.wait()
        assert self.error is not None
        raise self.error


async def end(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task


def test_channels_of_one_credential_listen_once_and_each_hears_its_own_chat() -> None:
    async def talk() -> None:
        service, first, second, other = Service(), Receiver(), Receiver(), Receiver()
        tasks = [
            asyncio.create_task(listen_together(credential, chat, receiver, service.run))
            for credential, chat, receiver in ((BOT, "C1", first), (BOT, "C2", second), (("telegram",), "C1", other))
        ]
        while len(service.runs) < 2:
            await asyncio.sleep(0)
        for said in (heard("C1"), heard("C2"), heard("D1", is_direct=True), heard("C3")):
            assert await service.runs[0].take("Slack", said)
        assert [event.chat for event in first.offered] == ["C1", "D1"]
        assert [event.chat for event in second.offered] == ["C2"]
        assert other.offered == []
        await end(*tasks)
        assert module._shared == {}

    asyncio.run(talk())


def test_a_channel_that_ceases_to_listen_leaves_the_others_their_connection() -> None:
    async def talk() -> None:
        service, second = Service(), Receiver()
        first_task = asyncio.create_task(listen_together(BOT, "C1", Receiver(), service.run))
        second_task = asyncio.create_task(listen_together(BOT, "C2", second, service.run))
        while not service.runs:
            await asyncio.sleep(0)
        await end(first_task)
        (routes,) = service.runs
        assert await routes.take("Slack", heard("C2"))
        assert len(second.offered) == 1
        await end(second_task)

    asyncio.run(talk())


def test_what_is_said_to_a_channel_that_comes_back_in_a_moment_waits_for_it_and_not_for_ever() -> None:
    async def talk() -> None:
        routes, receiver = Routes(), Receiver()
        routes.join("C1", receiver)
        routes.leave("C1", receiver)
        assert not await routes.take("Slack", heard())
        routes.join("C1", receiver)
        assert await routes.take("Slack", heard())
        routes.leave("C1", receiver)
        assert [await routes.take("Slack", heard()) for _ in range(module.MAX_WAITS + 1)].count(
            False
        ) == module.MAX_WAITS
        assert len(receiver.offered) == 1

    asyncio.run(talk())


def test_what_the_journal_did_not_take_is_to_come_again() -> None:
    async def talk() -> None:
        routes, receiver = Routes(), Receiver()
        routes.join("C1", receiver)
        receiver.is_available = False
        assert not await routes.take("Slack", heard())
        receiver.is_available = True
        assert await routes.take("Slack", heard())

    asyncio.run(talk())


@pytest.mark.parametrize(
    "error", [NotifyError("no network", retry_after=7), NotifyError("no token", permanent=True), JournalError("x")]
)
def test_why_nothing_is_heard_is_heard_by_each_channel_and_the_next_try_is_a_new_one(error: Exception) -> None:
    async def talk() -> None:
        service = Service()
        service.error = error
        tasks = [asyncio.create_task(listen_together(BOT, chat, Receiver(), service.run)) for chat in ("C1", "C2")]
        while not service.runs:
            await asyncio.sleep(0)
        service.fails.set()
        async with asyncio.timeout(PATIENCE):
            raised = await asyncio.gather(*tasks, return_exceptions=True)
        assert [(type(each), str(each)) for each in raised] == [(type(error), str(error))] * 2
        assert {(getattr(each, "retry_after", None), getattr(each, "permanent", None)) for each in raised} == {
            (getattr(error, "retry_after", None), getattr(error, "permanent", None))
        }
        service.fails.clear()
        again = asyncio.create_task(listen_together(BOT, "C1", Receiver(), service.run))
        while len(service.runs) < 2:
            await asyncio.sleep(0)
        await end(again)

    asyncio.run(talk())


def test_what_the_service_does_not_say_the_time_of_was_said_when_it_came() -> None:
    assert EVENT.with_time(9).t == 5
    assert EVENT._replace(t=0).with_time(9).t == 9


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
