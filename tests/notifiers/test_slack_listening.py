"""What people answer in Slack: through the client library, over a WebSocket, from a server that behaves as Slack does."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.support.fake_socket_mode import PING, PONG, FakeSocketMode, command, direct, mention, press
from tests.support.listeners import PATIENCE, Receiver, listen_to_the_end, listening
from watchdog.core.chat import ChatEvent, ListeningNotifier
from watchdog.core.errors import NotifyError
from watchdog.notifiers import SlackNotifier, slack_socket, slack_websocket
from watchdog.notifiers import listening as listening_module
from watchdog.notifiers.slack_events import read_envelope
from watchdog.notifiers.slack_websocket import FrameReader, _checked

ANN, CHANNEL = "U0123ABCD", FakeSocketMode.channel


@pytest.fixture
def server() -> Iterator[FakeSocketMode]:
    fake = FakeSocketMode()
    yield fake
    fake.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long."""
    monkeypatch.setattr(listening_module, "PAUSES", (0.01,) * 6)


def channel(server: FakeSocketMode, **more: Any) -> SlackNotifier:
    fields = {
        "token": server.token,
        "app_token": server.app_token,
        "channel": server.channel,
        "api": server.api_url,
        **more,
    }
    return SlackNotifier.model_validate({"type": "slack", **fields})


async def acknowledged(server: FakeSocketMode) -> str:
    return await asyncio.to_thread(server.acknowledged.get, timeout=PATIENCE)


def read(kind: str, payload: Any) -> ChatEvent:
    heard = read_envelope(kind, payload)
    assert not isinstance(heard, str), heard
    return heard.event


def test_a_pressed_button_a_command_a_mention_and_a_direct_message_are_heard(server: FakeSocketMode) -> None:
    async def talk() -> list[ChatEvent]:
        receiver = Receiver()
        async with listening(channel(server), receiver):
            await asyncio.to_thread(server.wait_for_link)
            for kind, payload in (
                ("interactive", press("ack 17")),
                ("slash_commands", command("silence drawdown 1h")),
                ("events_api", mention("<@U0BOT> incident 17")),
                ("events_api", direct("help")),
            ):
                envelope = server.deliver(kind, payload)
                assert await acknowledged(server) == envelope
        return receiver.offered

    button, typed, said, alone = asyncio.run(talk())

    assert button == ChatEvent(
        "action:1700000100.123456:U0123ABCD:1700000000.000100:answer-0",
        *(ANN, "ann", CHANNEL, "ack 17", 1_700_000_100_123),
        is_button=True,
        message="1700000000.000100",
    )
    assert typed[1:6] == (ANN, "ann", CHANNEL, "silence drawdown 1h", 0)
    assert said[1:6] == (ANN, "", CHANNEL, "incident 17", 1_700_000_050_000)
    assert (said.reply_to, said.message, said.is_button) == ("1700000050.000200", None, False)
    assert (alone.chat, alone.text, alone.reply_to) == ("D0001", "help", None)


def test_an_envelope_is_acknowledged_only_when_it_was_taken_in(server: FakeSocketMode) -> None:
    async def talk() -> Receiver:
        receiver = Receiver()
        receiver.is_available = False
        async with listening(channel(server), receiver):
            await asyncio.to_thread(server.wait_for_link)
            first = server.deliver("events_api", mention())
            await receiver.next()
            receiver.is_available = True
            other = server.deliver("interactive", press())
            assert await acknowledged(server) == other
            assert server.unacknowledged == {first}
            again = server.redeliver()
            assert [await acknowledged(server)] == again
        return receiver

    receiver = asyncio.run(talk())

    said = [event for event in receiver.offered if not event.is_button]
    assert len(said) == 2
    assert said[0] == said[1]
    assert len(receiver.taken) == 2


def test_the_acknowledgement_waits_for_whoever_takes_it_in(server: FakeSocketMode) -> None:
    async def talk() -> None:
        came, may_go = asyncio.Event(), asyncio.Event()

        async def receive(event: ChatEvent) -> None:
            came.set()
            await may_go.wait()

        async with listening(channel(server), receive):
            await asyncio.to_thread(server.wait_for_link)
            envelope = server.deliver("interactive", press())
            await came.wait()
            assert server.unacknowledged == {envelope}
            may_go.set()
            assert await acknowledged(server) == envelope

    asyncio.run(talk())


@pytest.mark.usefixtures("quick")
def test_a_connection_that_is_announced_to_end_is_followed_by_another_and_heard_to_its_end(
    server: FakeSocketMode,
) -> None:
    async def talk() -> None:
        receiver = Receiver()
        async with listening(channel(server), receiver):
            first = await asyncio.to_thread(server.wait_for_link)
            for reason in ("warning", "refresh_requested"):  # twice for one connection is one change
                server.warn(first, reason)
            second = await asyncio.to_thread(server.wait_for_link, 2)
            assert first.is_open
            for link in (first, second):
                envelope = server.deliver("interactive", press(f"ack {server.links.index(link)}"), link)
                assert await acknowledged(server) == envelope
            first.drop()
            await asyncio.to_thread(server.wait_until_closed, first)
            server.deliver("interactive", press("ack 2"))
            assert await acknowledged(server)
            assert len(server.links) == 2
        assert [event.text for event in receiver.offered] == ["ack 0", "ack 1", "ack 2"]

    asyncio.run(talk())


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("ending", ["drop", "close frame", "half a frame", "too long"])
def test_a_lost_connection_is_followed_by_another(server: FakeSocketMode, ending: str) -> None:
    async def talk() -> None:
        receiver = Receiver()
        async with listening(channel(server), receiver):
            first = await asyncio.to_thread(server.wait_for_link)
            if ending == "close frame":
                first.send_frame(8, b"\x03\xe8")
            elif ending == "too long":
                first.send_frame(1, b"x" * (slack_websocket.MAX_MESSAGE + 1))
            else:
                if ending == "half a frame":
                    first.send_frame(1, b"{", is_last=False)
                first.drop()
            await asyncio.to_thread(server.wait_until_closed, first)
            await asyncio.to_thread(server.wait_for_link, 2)
            server.deliver("interactive", press())
            assert await acknowledged(server)
        assert [event.text for event in receiver.offered] == ["ack 17"]

    asyncio.run(talk())


def test_a_connection_on_which_nobody_answers_is_given_up(
    server: FakeSocketMode, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    monkeypatch.setattr(slack_socket, "HELLO_TIMEOUT", 0.05)
    monkeypatch.setattr(slack_socket, "PING_PAUSE", 0.05)

    async def talk() -> None:
        server.is_deaf = True
        async with listening(channel(server), Receiver()):
            first = await asyncio.to_thread(server.wait_for_link)
            await asyncio.to_thread(server.wait_until_closed, first)
            await asyncio.to_thread(server.wait_for_link, 2)

    asyncio.run(talk())


def test_one_that_answers_is_kept(server: FakeSocketMode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slack_socket, "HELLO_TIMEOUT", 0.01)
    monkeypatch.setattr(slack_socket, "PING_PAUSE", 0.3)

    async def talk() -> None:
        async with listening(channel(server), Receiver()):
            link = await asyncio.to_thread(server.wait_for_link)
            link.send_frame(PING, b"are you there?")
            frames = [await asyncio.to_thread(server.frames.get, timeout=PATIENCE) for _ in range(6)]
            assert (PONG, b"are you there?") in frames
            assert [opcode for opcode, _ in frames].count(PING) == 5
            assert (link.is_open, len(server.links)) == (True, 1)

    asyncio.run(talk())


@pytest.mark.usefixtures("quick")
def test_one_that_is_never_greeted_is_given_up(server: FakeSocketMode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slack_socket, "HELLO_TIMEOUT", 0.05)
    server.greets = False

    with pytest.raises(NotifyError, match="check the network") as caught:
        asyncio.run(listen_to_the_end(channel(server), Receiver()))

    assert not caught.value.permanent
    assert len(server.links) > 1


def test_an_envelope_may_come_in_pieces_and_slowly(server: FakeSocketMode) -> None:
    async def talk() -> None:
        receiver = Receiver()
        async with listening(channel(server), receiver):
            await asyncio.to_thread(server.wait_for_link)
            ways: list[dict[str, Any]] = [{"pieces": 3}, {"dribble": 7}, {"pieces": 2, "dribble": 100}]
            for how in ways:
                server.deliver(
                    "interactive", press("ack 17", padding="ä" * 40_000 if how == {"pieces": 3} else ""), **how
                )
                assert await acknowledged(server)
        assert [event.text for event in receiver.offered] == ["ack 17"] * 3

    asyncio.run(talk())


def test_what_is_said_elsewhere_or_by_nobody_is_left_out_and_acknowledged(
    server: FakeSocketMode, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = {"id": "C0999999", "name": "other"}
    left_out = [
        ("interactive", press(channel=elsewhere, container={"message_ts": "1.2", "channel_id": "C0999999"})),
        ("interactive", press(type="view_submission")),
        ("interactive", press(actions=[])),
        ("interactive", press(user={})),
        ("slash_commands", command(channel_id="C0999999")),
        ("events_api", mention(bot_id="B1")),
        ("events_api", mention(channel="C0999999")),
        ("events_api", direct(subtype="message_changed")),
        ("events_api", direct(channel_type="channel", type="message")),
        ("events_api", {"type": "event_callback", "event": {"type": "what_comes_tomorrow"}}),
        ("what_comes_tomorrow", {}),
    ]
    caplog.set_level(logging.INFO)

    async def talk() -> None:
        receiver = Receiver()
        async with listening(channel(server), receiver):
            link = await asyncio.to_thread(server.wait_for_link)
            link.send_frame(1, b"no JSON")
            link.send_frame(1, b"[" * 100_000)
            link.send_json({"type": "what_comes_tomorrow"})
            link.send_json({"type": "interactive", "envelope_id": 7, "payload": []})
            for kind, payload in left_out:
                envelope = server.deliver(kind, payload)
                assert await acknowledged(server) == envelope, payload
            assert receiver.offered == []

    asyncio.run(talk())

    assert "said in another chat (1 so far)" in caplog.text
    assert caplog.text.count("said in another chat") == 1
    assert "said by no person" in caplog.text


def test_channels_of_one_app_share_a_connection_and_hear_each_its_own(server: FakeSocketMode) -> None:
    async def talk() -> None:
        first, second = Receiver(), Receiver()
        async with listening(channel(server), first), listening(channel(server, channel="C0777777"), second):
            await asyncio.to_thread(server.wait_for_link)
            for payload in (press("ack 1"), press("ack 2", channel={"id": "C0777777"})):
                server.deliver("interactive", payload)
                await acknowledged(server)
        assert [event.text for event in first.offered] == ["ack 1"]
        assert [event.text for event in second.offered] == ["ack 2"]
        assert len(server.links) == 1

    asyncio.run(talk())


def test_a_command_in_any_direct_message_is_answered_in_the_bots_own() -> None:
    heard = read_envelope("slash_commands", command(channel_id="D0999", channel_name="directmessage"))

    assert not isinstance(heard, str)
    assert (heard.is_direct, heard.event.chat) == (True, ANN)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("<@U0BOT> ack 17", "ack 17"),
        ("<@U0BOT|watchdog>:  ack 17 ", "ack 17"),
        ("<@U0BOT>", "help"),
        ("<@U0BOT> /ack 17", "ack 17"),
        ("<@U0BOT> silence <http://bot.py|bot.py> 1h", "silence bot.py 1h"),
        ("<@U0BOT> ack 17 a &lt; b &amp;&amp; c", "ack 17 a < b && c"),
        ("<@U0BOT> ack 17 <@U0OTHER> looks", "ack 17 <@U0OTHER> looks"),
        ("ack 17 " + "x" * 5_000, ("ack 17 " + "x" * 5_000)[:1_000]),
        ("ack 17 \ud83d", "ack 17 \ufffd"),
        ("a" * 999 + "\U0001f600", "a" * 999 + "\U0001f600"),
    ],
)
def test_a_command_is_heard_as_it_was_typed(typed: str, meant: str) -> None:
    said = read("events_api", mention(typed)).text

    assert said == meant
    said.encode()  # it can be stored


def test_what_differs_has_another_key() -> None:
    action = press()["actions"][0]
    events = [
        read("interactive", press()),
        read("interactive", press(actions=[{**action, "action_ts": "1700000100.123457"}])),
        read("interactive", press(actions=[{**action, "action_id": "answer-1"}])),
        read("interactive", press(user={"id": "U0OTHER"})),
        read("interactive", press(container={"message_ts": "1700000000.000200"})),
        read("slash_commands", command()),
        read("slash_commands", command(trigger_id="1.2.3")),
        read("events_api", mention()),
        read("events_api", mention(ts="1700000050.000201")),
        read("events_api", direct()),
    ]

    assert len({event.key for event in events}) == len(events)
    assert read("interactive", press(response_url="https://another")).key == events[0].key


def test_a_button_in_a_thread_is_answered_in_it() -> None:
    event = read("interactive", press(container={"message_ts": "1700000001.000100", "thread_ts": "1700000000.000100"}))

    assert (event.message, event.reply_to) == ("1700000001.000100", "1700000000.000100")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "said", "permanent"),
    [
        (lambda server: setattr(server, "app_token", "xapp-another"), "make a new app-level token", True),
        (lambda server: setattr(server, "is_enabled", False), "turn it on in the app's settings", True),
        (lambda server: setattr(server, "limit", 0), "give each an app of its own", False),
        (lambda server: server.close(), "cannot be reached", False),
        (lambda server: [server.queue_response(500) for _ in range(9)], "in trouble (HTTP 500)", False),
        (lambda server: [server.queue_response(200, "<html>") for _ in range(9)], "Slack", False),
        (lambda server: [server.queue_response(200, {"ok": True}) for _ in range(9)], "names no address", False),
        (
            lambda server: [
                server.queue_response(200, {"ok": True, "url": "wss://a.example:8443/?hush"}) for _ in range(9)
            ],
            "none of wss://host/",
            False,
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_who_cannot_listen_says_why_with_the_cure(
    server: FakeSocketMode,
    quick: None,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[FakeSocketMode], object],
    said: str,
    permanent: bool,
) -> None:
    caplog.set_level(logging.DEBUG)
    entry = channel(server)
    spoil(server)

    with pytest.raises(NotifyError) as caught:
        asyncio.run(listen_to_the_end(entry, Receiver()))
    gc.collect()

    assert said in str(caught.value)
    assert caught.value.permanent == permanent
    assert "hush" not in f"{caught.value!r} {caplog.text}"


@pytest.mark.usefixtures("quick")
def test_a_rate_limit_is_waited_for_as_long_as_slack_says(
    server: FakeSocketMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.queue_response(429, "", {"Retry-After": "7"})
    pauses: list[float] = []
    next_pause = listening_module.Patience.next_pause

    def note(self: listening_module.Patience, error: NotifyError) -> float:
        pauses.append(next_pause(self, error))
        return 0

    monkeypatch.setattr(listening_module.Patience, "next_pause", note)

    async def talk() -> None:
        async with listening(channel(server), Receiver()):
            await asyncio.to_thread(server.wait_for_link)

    asyncio.run(talk())
    assert pauses == [7]


def test_a_token_that_was_renewed_in_its_file_is_taken(server: FakeSocketMode, tmp_path: Path) -> None:
    file = tmp_path / "app.token"
    file.write_text("xapp-1-outdated")
    file.chmod(0o600)
    respond = server.respond

    def renew(request: Any) -> Any:
        file.write_text(server.app_token)
        return respond(request)

    server.respond = renew  # type: ignore[method-assign]

    async def talk() -> None:
        async with listening(channel(server, app_token=None, app_token_file=str(file)), Receiver()):
            await asyncio.to_thread(server.wait_for_link)

    asyncio.run(talk())


def test_who_asked_is_answered_where_nobody_else_sees_it(server: FakeSocketMode) -> None:
    event = ChatEvent("k", ANN, "", CHANNEL, "ack", 1, is_button=True, message="1700000000.000100")

    async def talk() -> None:
        await channel(server).acknowledge(event, "done, <you> & all")
        await channel(server).acknowledge(event._replace(chat="", reply_to="1700000000.000100"), "done")
        await channel(server).acknowledge(event._replace(chat="D0001"), "done")

    asyncio.run(talk())
    (first, one), (second, two), (third, three) = server.posted

    assert (first, second, third) == ("chat.postEphemeral", "chat.postEphemeral", "chat.postMessage")
    assert (one["channel"], one["user"], one["text"]) == (CHANNEL, ANN, "done, &lt;you&gt; &amp; all")
    assert one["blocks"][0]["text"]["text"] == "done, <you> & all"
    assert (two["channel"], two["thread_ts"]) == (CHANNEL, "1700000000.000100")
    assert three["channel"] == "D0001"


def test_an_answer_that_slack_refuses_is_an_error_of_ours(server: FakeSocketMode) -> None:
    event = ChatEvent("k", ANN, "", "C0999999", "ack", 1)

    with pytest.raises(NotifyError, match="channel_not_found"):
        asyncio.run(channel(server).acknowledge(event, "done"))


def test_a_bot_token_that_slack_refuses_is_what_is_to_be_renewed(server: FakeSocketMode) -> None:
    event = ChatEvent("k", ANN, "", CHANNEL, "ack", 1)

    with pytest.raises(NotifyError, match="invalid_auth — make a new bot token"):
        asyncio.run(channel(server, token="xoxb-outdated-hush").acknowledge(event, "done"))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"webhook": "https://hooks.slack.com/services/T/B/hush"}, "nobody answers a webhook"),
        ({"token": "xoxb-12345678", "channel": "#alerts"}, "say channel: C0123456"),
        ({"token": "xoxb-12345678", "channel": "C0123456", "app_token_file": "/x"}, "only one of app_token"),
        ({"token": "xoxb-12345678", "channel": "C0123456", "app_token": "xoxb-hushhush"}, "this is no app-level token"),
    ],
)
def test_what_cannot_be_answered_is_refused_at_load(fields: dict[str, str], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        SlackNotifier.model_validate({"type": "slack", "app_token": "xapp-1-hushhush", **fields})

    assert said in str(caught.value)
    assert "hush" not in str(caught.value)


def test_without_an_app_token_nobody_listens(server: FakeSocketMode) -> None:
    webhook = SlackNotifier.model_validate({"type": "slack", "webhook": "https://hooks.slack.com/services/T/B/x"})

    assert isinstance(webhook, ListeningNotifier)
    assert not webhook.listen_to_people
    assert not channel(server, app_token=None).listen_to_people
    assert channel(server).listen_to_people


@pytest.mark.parametrize(
    ("url", "fine"),
    [
        ("wss://wss-primary.slack.com/link/?ticket=1", True),
        ("wss://wss-primary.slack.com:443/link/?ticket=1", True),
        ("wss://wss-primary.slack.com:8443/link/", False),  # the library would speak plainly there
        ("ws://wss-primary.slack.com/link/", False),
        ("https://wss-primary.slack.com/", False),
        ("wss://", False),
        ("wss://[::1/", False),
    ],
)
def test_a_websocket_is_never_spoken_to_plainly(url: str, fine: bool) -> None:
    if fine:
        assert _checked(url, is_test=False) == url
    else:
        with pytest.raises(NotifyError):
            _checked(url, is_test=False)


def test_what_was_read_before_a_pause_is_not_lost() -> None:
    pieces: list[bytes | None] = [
        b"\x81",
        None,
        b"\x7e\x00",
        None,
        b"\x80" + b"a" * 100,
        None,
        b"a" * 28 + b"\x89",
        b"\x00",
        b"",
    ]

    def receive(_: int) -> bytes:
        piece = pieces.pop(0)
        if piece is None:
            raise TimeoutError
        return piece

    reader = FrameReader(receive)

    assert [reader.read() for _ in range(3)] == [None, None, None]
    assert reader.read() == (1, b"a" * 128)
    assert reader.read() == (9, b"")
    with pytest.raises(OSError, match="closed"):
        reader.read()
