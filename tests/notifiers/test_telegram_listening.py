"""What people answer in Telegram: through the client library, by long polling, from a server that behaves as Telegram does."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_chats import CLOSE_CONNECTION, Response
from tests.support.fake_telegram_updates import ANN, DAY, FakeTelegramUpdates, direct, message, press
from tests.support.listeners import Receiver, listen_to_the_end, listening
from watchdog.core.chat import ChatEvent, ListeningNotifier
from watchdog.core.errors import NotifyError
from watchdog.notifiers import TelegramNotifier, telegram_polling
from watchdog.notifiers import listening as listening_module
from watchdog.notifiers.telegram_updates import read_update

CHAT = str(FakeTelegramUpdates.chat_id)


@pytest.fixture
def server() -> Iterator[FakeTelegramUpdates]:
    fake = FakeTelegramUpdates()
    yield fake
    fake.close()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long."""
    monkeypatch.setattr(listening_module, "PAUSES", (0.01,) * 6)
    monkeypatch.setattr(telegram_polling, "RECEIVE_PAUSE", 0.01)
    monkeypatch.setattr(telegram_polling, "CONFLICT_RETRY", 0.01)


def channel(server: FakeTelegramUpdates, **more: Any) -> TelegramNotifier:
    fields = {"token": server.token, "chat": server.chat_id, "api": server.api_url, **more}
    return TelegramNotifier.model_validate({"type": "telegram", **fields})


def waits(server: FakeTelegramUpdates, number: int = 1) -> Callable[[], bool]:
    """All was read, and a poll waits: the `number`th that does."""
    return lambda: sum(int(poll.get("timeout", 0)) > 0 for poll in server.polls) >= number


def read(update: dict[str, Any], pressed: int | None = 0) -> ChatEvent:
    heard = read_update({"update_id": 9, **update}, FakeTelegramUpdates.username, pressed)
    assert not isinstance(heard, str), heard
    return heard.event


def test_what_was_asked_while_nobody_listened_is_read_and_then_what_is_asked(server: FakeTelegramUpdates) -> None:
    async def talk() -> list[ChatEvent]:
        receiver = Receiver()
        server.say(message("/ack 17 on it", message_id=70))
        server.say(press("resume 3"))
        async with listening(channel(server), receiver):
            await asyncio.to_thread(server.wait_until, waits(server))
            server.say(press("ack 17"))
            server.say(direct("/help"))
            for _ in range(4):
                await receiver.next()
            await asyncio.to_thread(server.wait_until, lambda: not server.unconfirmed)
        return receiver.offered

    asked, missed, pressed, alone = asyncio.run(talk())

    assert asked == ChatEvent(
        "update:820000001", "4711", "Ann", CHAT, "ack 17 on it", (DAY - 60) * 1_000, reply_to="70"
    )
    # Telegram does not say when a button was pressed: one that may be from yesterday is as old as what it stood under.
    assert (missed.text, missed.t, missed.message, missed.is_button) == ("resume 3", (DAY - 3_600) * 1_000, "42", True)
    assert (pressed.text, pressed.t, pressed.message) == ("ack 17", DAY * 1_000, "42")
    assert (alone.chat, alone.text, alone.reply_to) == ("4711", "help", None)
    assert json.loads(server.polls[0]["allowed_updates"]) == ["message", "callback_query"]
    assert "offset" not in server.polls[0]


def test_an_update_is_confirmed_only_when_it_was_taken_in(server: FakeTelegramUpdates) -> None:
    first, second, third = (server.say(message(f"/ack {number}")) for number in (1, 2, 3))

    async def talk() -> Receiver:
        receiver = Receiver()

        async def receive(event: ChatEvent) -> None:
            receiver.is_available = not (event.text == "ack 2" and len(receiver.offered) < 4)
            await receiver(event)

        async with listening(channel(server), receive):
            for _ in range(4):
                await receiver.next()
                assert server.unconfirmed[-1] == third
            assert server.unconfirmed[0] in (first, second)
            await asyncio.to_thread(server.wait_until, lambda: not server.unconfirmed)
        return receiver

    receiver = asyncio.run(talk())

    assert [event.text for event in receiver.offered] == ["ack 1", "ack 2", "ack 2", "ack 2", "ack 2", "ack 3"]
    assert list(receiver.taken) == [f"update:{number}" for number in (first, second, third)]


def test_what_was_taken_in_and_not_confirmed_comes_again_under_its_key(server: FakeTelegramUpdates) -> None:
    server.say(press())

    async def talk() -> list[ChatEvent]:
        receiver = Receiver()
        for _ in range(2):

            async def receive(event: ChatEvent) -> None:
                await receiver(event)
                raise ZeroDivisionError  # killed, as it were

            with pytest.raises(ZeroDivisionError):
                await listen_to_the_end(channel(server), receive)
        return receiver.offered

    first, second = asyncio.run(talk())

    assert first == second


def test_more_than_one_answer_holds_is_read_to_the_end(
    server: FakeTelegramUpdates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telegram_polling, "LIMIT", 2)
    for number in range(5):
        server.say(press(f"ack {number}"))

    async def talk() -> list[ChatEvent]:
        receiver = Receiver()
        async with listening(channel(server), receiver):
            await asyncio.to_thread(server.wait_until, waits(server))
        return receiver.offered

    heard = asyncio.run(talk())

    assert [event.text for event in heard] == [f"ack {number}" for number in range(5)]
    assert {event.t for event in heard} == {(DAY - 3_600) * 1_000}


@pytest.mark.parametrize(
    "fault", [CLOSE_CONNECTION, Response(502, "<html>"), Response(200, "<html>"), Response(200, "[")]
)
def test_after_an_outage_it_is_heard_on_and_a_button_is_new_only_if_that_was_short(
    server: FakeTelegramUpdates, fault: Response
) -> None:
    async def talk() -> list[ChatEvent]:
        receiver = Receiver()
        async with listening(channel(server), receiver):
            await asyncio.to_thread(server.wait_until, waits(server))
            for pause in (60, 600):
                # The poll that waits is answered, and the next one is not.
                server.responses.append(fault)
                server.say(message())
                await receiver.next()
                server.now += pause
                server.say(press(f"ack {pause}"))
                await receiver.next()
        return [event for event in receiver.offered if event.is_button]

    soon, late = asyncio.run(talk())

    assert (soon.text, soon.t) == ("ack 60", (DAY + 60) * 1_000)
    assert (late.text, late.t) == ("ack 600", (DAY - 3_600) * 1_000)


def test_where_the_server_shows_no_time_a_button_is_new_unless_a_poll_has_failed(server: FakeTelegramUpdates) -> None:
    server.shows_time = False

    async def talk() -> list[ChatEvent]:
        receiver = Receiver()
        async with listening(channel(server), receiver):
            await asyncio.to_thread(server.wait_until, waits(server))
            server.say(press("ack 1"))
            await receiver.next()
            await asyncio.to_thread(server.wait_until, lambda: not server.unconfirmed)
            server.responses.append(CLOSE_CONNECTION)
            server.say(message())
            await receiver.next()
            server.say(press("ack 2"))
            await receiver.next()
        return [event for event in receiver.offered if event.is_button]

    first, second = asyncio.run(talk())

    assert (first.t, second.t) == (0, (DAY - 3_600) * 1_000)


def test_a_second_poller_is_told_with_the_cure_once_it_is_sure(server: FakeTelegramUpdates) -> None:
    async def talk() -> BaseException | None:
        task = asyncio.create_task(channel(server).listen(Receiver()))
        for number in (1, 2):
            await asyncio.to_thread(server.wait_until, waits(server, number))
            assert not task.done()
            server.steal_poll()
        async with asyncio.timeout(60):
            await asyncio.wait({task})
        return task.exception()

    error = asyncio.run(talk())

    assert isinstance(error, NotifyError)
    assert "Give each a bot of its own" in str(error)
    assert (error.permanent, error.retry_after) == (False, telegram_polling.CONFLICT_PAUSE)


def test_what_is_left_of_our_own_last_poll_is_no_second_poller(
    server: FakeTelegramUpdates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telegram_polling, "POLL_SECONDS", 1)

    async def talk() -> None:
        receiver = Receiver()
        async with listening(channel(server), receiver) as task:
            for number in (1, 2):
                polls = len(server.polls)
                await asyncio.to_thread(server.wait_until, lambda polls=polls: len(server.polls) > polls + 1)
                server.steal_poll()
                polls = len(server.polls)
                await asyncio.to_thread(server.wait_until, lambda polls=polls: len(server.polls) > polls + 2)
                server.say(message(f"/ack {number}"))
                await receiver.next()
            assert not task.done()

    asyncio.run(talk())


def _refuse(server: FakeTelegramUpdates) -> None:
    server.token = "123456:another"


def _spoil(*responses: Response) -> Callable[[FakeTelegramUpdates], None]:
    return lambda server: server.responses.extend(responses)


@pytest.mark.parametrize(
    ("spoil", "said", "permanent"),
    [
        (_refuse, "ask @BotFather", True),
        (lambda server: setattr(server, "webhook", "https://a.example/"), "remove it there (deleteWebhook)", True),
        (lambda server: server.close(), "cannot be reached", False),
        (_spoil(*[Response(500)] * 9), "in trouble (HTTP 500)", False),
        (_spoil(*[Response(200, "hush")] * 9), "is a proxy in between", False),
        (_spoil(*[Response(200, {"ok": True, "result": {}})] * 9), "no list", False),
        (_spoil(*[Response(200, {"ok": False, "error_code": 401, "description": "hush"})] * 9), "ask @BotFather", True),
        (_spoil(Response(200, "[" * 100_000), *[CLOSE_CONNECTION] * 9), "cannot be reached", False),
    ],
)
def test_who_cannot_listen_says_why_with_the_cure(
    server: FakeTelegramUpdates,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[FakeTelegramUpdates], None],
    said: str,
    permanent: bool,
) -> None:
    caplog.set_level(logging.DEBUG)
    entry = channel(server)
    spoil(server)

    with pytest.raises(NotifyError) as caught:
        asyncio.run(listen_to_the_end(entry, Receiver()))

    assert said in str(caught.value)
    assert caught.value.permanent == permanent
    assert "AAhush" not in f"{caught.value!r} {caplog.text}"


def test_a_rate_limit_is_waited_for_as_long_as_telegram_says(
    server: FakeTelegramUpdates, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.queue_response(429, {"ok": False, "error_code": 429, "parameters": {"retry_after": 7}})
    pauses: list[float] = []
    next_pause = listening_module.Patience.next_pause

    def note(self: listening_module.Patience, error: NotifyError) -> float:
        pauses.append(next_pause(self, error))
        return 0

    monkeypatch.setattr(listening_module.Patience, "next_pause", note)

    async def talk() -> None:
        async with listening(channel(server), Receiver()):
            await asyncio.to_thread(server.wait_until, waits(server))

    asyncio.run(talk())
    assert pauses == [7]


def test_a_token_that_was_renewed_in_its_file_is_taken(server: FakeTelegramUpdates, tmp_path: Path) -> None:
    file = tmp_path / "bot.token"
    file.write_text("123456:outdated")
    file.chmod(0o600)
    respond = server.respond

    def renew(request: Any) -> Response:
        file.write_text(server.token)
        return respond(request)

    server.respond = renew  # type: ignore[method-assign]

    async def talk() -> None:
        async with listening(channel(server, token=None, token_file=str(file)), Receiver()):
            await asyncio.to_thread(server.wait_until, waits(server))

    asyncio.run(talk())


LEFT_OUT: list[dict[str, Any]] = [
    message(chat={"id": -1009999, "type": "supergroup"}),
    message("what do you think?"),
    message("/ack@another_bot 17"),
    message("@our_watchdog_botany status"),
    message(text=None, photo=[]),
    message(**{"from": {"id": 1087968824, "is_bot": True, "username": "GroupAnonymousBot"}}),
    message(sender_chat={"id": FakeTelegramUpdates.chat_id, "type": "supergroup"}),
    message(forward_origin={"type": "user"}),
    message(**{"from": {**ANN, "id": True}}),
    message(date="yesterday"),
    press(**{"from": {**ANN, "is_bot": True}}),
    press(message=None, inline_message_id="7"),
    press(data=None, game_short_name="x"),
    press(id="4382 <b>"),
    {"edited_message": message()["message"]},
    {"channel_post": message()["message"]},
    {"message": 7, "callback_query": []},
    {"what_comes_tomorrow": {}},
]


def test_what_is_said_elsewhere_or_by_nobody_is_left_out_and_confirmed(
    server: FakeTelegramUpdates, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for update in LEFT_OUT:
        server.say(update)
    server.say(message("/status", entities=[7], link_preview_options="text", what_comes_tomorrow={"a": None}))

    async def talk() -> list[ChatEvent]:
        receiver = Receiver()
        async with listening(channel(server), receiver):
            await receiver.next()
            await asyncio.to_thread(server.wait_until, lambda: not server.unconfirmed)
        return receiver.offered

    (heard,) = asyncio.run(talk())

    assert heard.text == "status"
    assert "said in another chat (1 so far)" in caplog.text
    assert "said by no person" in caplog.text


def test_updates_that_are_none_are_not_asked_for_at_full_speed(
    server: FakeTelegramUpdates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telegram_polling, "RECEIVE_PAUSE", 3_600)
    me = {"id": 1, "is_bot": True, "first_name": "w", "username": "our_watchdog_bot"}
    server.responses += [Response(200, {"ok": True, "result": me}), Response(200, {"ok": True, "result": [7, {}]})]
    server.responses += [Response(200, {"ok": True, "result": [7, {}]})] * 99

    async def talk() -> None:
        async with listening(channel(server), Receiver()):
            while len(server.requests) < 2:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)
            assert len(server.requests) == 2

    asyncio.run(talk())


def test_after_a_quiet_week_updates_may_count_on_from_a_lower_number(server: FakeTelegramUpdates) -> None:
    async def talk() -> list[ChatEvent]:
        receiver = Receiver()
        server.say(message("/ack 1"))
        async with listening(channel(server), receiver):
            await receiver.next()
            await asyncio.to_thread(server.wait_until, waits(server))
            server.steal_poll()  # the poll ends, as after its time
            await asyncio.to_thread(server.wait_until, waits(server, 2))
            server.say(message("/ack 2"), number=5)
            await receiver.next()
        return receiver.offered

    assert [event.text for event in asyncio.run(talk())] == ["ack 1", "ack 2"]


def test_channels_of_one_bot_share_a_poll_and_hear_each_its_own(server: FakeTelegramUpdates) -> None:
    async def talk() -> None:
        first, second = Receiver(), Receiver()
        server.say(message("/ack 1"))
        server.say(message("/ack 2", chat={"id": -1000000000077, "type": "channel", "username": "Our_Channel"}))
        server.say(direct("/ack 3"))
        async with listening(channel(server), first), listening(channel(server, chat="@our_channel"), second):
            await asyncio.to_thread(server.wait_until, lambda: server.polls and not server.unconfirmed)
        assert [event.text for event in first.offered] == ["ack 1", "ack 3"]
        assert [(event.text, event.chat) for event in second.offered] == [("ack 2", "@our_channel")]
        assert sum(request.path.endswith("getMe") for request in server.requests) == 1

    asyncio.run(talk())


def test_a_group_that_became_a_supergroup_is_heard_on(server: FakeTelegramUpdates) -> None:
    async def talk() -> list[ChatEvent]:
        receiver = Receiver()
        server.say(message(None, migrate_to_chat_id=-1000000000088))
        server.say(message("/ack 1", chat={"id": -1000000000088, "type": "supergroup"}))
        async with listening(channel(server), receiver):
            await receiver.next()
        return receiver.offered

    assert [event.chat for event in asyncio.run(talk())] == [CHAT]


def test_who_types_in_a_group_that_became_a_supergroup_is_answered_there(server: FakeTelegramUpdates) -> None:
    entry, group = channel(server, chat=-4711), {"id": -4711, "type": "group"}

    async def talk() -> None:
        receiver = Receiver()
        server.say(message("/ack 1", chat=group, message_id=70))
        server.say(message(None, chat=group, migrate_to_chat_id=-1000000000088))
        server.say(message("/ack 2", chat={"id": -1000000000088, "type": "supergroup"}, message_id=5))
        async with listening(entry, receiver):
            for _ in range(2):
                await receiver.next()
        for event in receiver.offered:
            await entry.acknowledge(event, "done")

    asyncio.run(talk())
    (_, before), (_, after) = server.answers

    assert before["chat_id"] == after["chat_id"] == "-1000000000088"
    assert "reply_parameters" not in before  # what is number 70 there is another message
    assert json.loads(after["reply_parameters"])["message_id"] == 5


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("/ack 17 on it", "ack 17 on it"),
        ("/ack@Our_Watchdog_Bot 17", "ack 17"),
        ("@our_watchdog_bot: ack 17", "ack 17"),
        ("@our_watchdog_bot", "help"),
        ("  /status  ", "status"),
        ("/", "help"),
        ("/ack\n17", "ack\n17"),
        ("/ack 17 " + "x" * 5_000, ("ack 17 " + "x" * 5_000)[:1_000]),
        ("/ack 17 \ud83d", "ack 17 \ufffd"),
    ],
)
def test_a_command_is_heard_as_it_was_typed(typed: str, meant: str) -> None:
    said = read(message(typed)).text

    assert said == meant
    said.encode()  # it can be stored


def test_to_the_bot_alone_nobody_needs_a_slash() -> None:
    assert read(direct("status")).text == "status"


def test_who_pressed_a_button_is_told_over_it_and_who_typed_below_it(server: FakeTelegramUpdates) -> None:
    pressed = read(press(), None)
    typed = read(message("/ack", message_id=70))

    async def talk() -> None:
        await channel(server).acknowledge(pressed._replace(chat="", user_name=""), "done " * 60)  # out of the journal
        await channel(server).acknowledge(typed, "no, <b>")
        await channel(server).acknowledge(read(direct("/ack")), "no")

    asyncio.run(talk())
    (first, one), (second, two), (third, three) = server.answers

    assert (first, one["callback_query_id"], len(one["text"])) == ("answerCallbackQuery", "4382bfdwdsb323b2d9", 200)
    assert (second, two["chat_id"], two["text"]) == ("sendMessage", CHAT, "no, <b>")
    assert json.loads(two["reply_parameters"])["message_id"] == 70
    assert (third, three["chat_id"], "reply_parameters" in three) == ("sendMessage", "4711", False)


def test_an_answer_that_comes_too_late_is_an_error_of_ours(server: FakeTelegramUpdates) -> None:
    event = read(press(id="9999"))

    with pytest.raises(NotifyError, match="query is too old"):
        asyncio.run(channel(server).acknowledge(event, "done"))


@pytest.mark.parametrize(("answers", "listens"), [(None, True), (True, True), (False, False)])
def test_a_bot_listens_unless_it_is_told_not_to(
    server: FakeTelegramUpdates, answers: bool | None, listens: bool
) -> None:
    entry = channel(server, answers=answers)

    assert isinstance(entry, ListeningNotifier)
    assert entry.listen_to_people is listens
