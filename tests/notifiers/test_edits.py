"""What a message says now, which buttons it has, and what is left of it where the service objects to its form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.notifiers.channels import (
    edit,
    edit_error,
    make_slack,
    make_telegram,
    make_webhook,
    send,
)
from tests.support.fake_chats import MESSAGE, FakeSlack, FakeTelegram, slack_error, telegram_error
from watchdog.core.chat import EditingNotifier
from watchdog.core.model import Button, Message
from watchdog.notifiers import slack

ACK, HALT = Button("Acknowledge", "ack 17"), Button("Halt", "halt 17", "danger")
OPEN = replace(MESSAGE, buttons=(ACK, HALT))
OVER = Message("info", "over & out <well>", ("after 3 m",))
SERVERS: dict[str, type[FakeSlack] | type[FakeTelegram]] = {"slack": FakeSlack, "telegram": FakeTelegram}


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[FakeSlack | FakeTelegram]:
    made = SERVERS[request.param]()
    yield made
    made.close()


def make_channel(server: FakeSlack | FakeTelegram) -> Any:
    return make_slack(server) if isinstance(server, FakeSlack) else make_telegram(server)


def answers(server: FakeSlack | FakeTelegram) -> list[str]:
    """What the buttons of the first message say."""
    return [button.get("value") or button["callback_data"] for button in server.buttons(server.messages[0])]


def test_both_can_edit(server: FakeSlack | FakeTelegram) -> None:
    assert isinstance(make_channel(server), EditingNotifier)


def test_an_edited_message_says_what_is_so_now_and_loses_its_buttons(server: FakeSlack | FakeTelegram) -> None:
    channel = make_channel(server)
    handle = send(channel, OPEN)
    assert handle is not None
    assert answers(server) == ["ack 17", "halt 17"]

    edit(channel, handle, OVER)

    (shown,) = server.messages
    assert "over" in shown["text"]
    assert "Drawdown" not in json.dumps(shown)
    assert answers(server) == []


def test_an_edit_brings_other_buttons(server: FakeSlack | FakeTelegram) -> None:
    channel = make_channel(server)
    handle = send(channel, OPEN) or ""

    edit(channel, handle, replace(OPEN, buttons=(HALT,)))

    assert answers(server) == ["halt 17"]


def test_an_edit_may_be_repeated(server: FakeSlack | FakeTelegram) -> None:
    channel = make_channel(server)
    handle = send(channel, OPEN) or ""

    for message in (OVER, OVER, OPEN, OPEN):
        edit(channel, handle, message)

    assert "Drawdown" in server.messages[0]["text"]
    assert answers(server) == ["ack 17", "halt 17"]
    assert len(server.messages) == 1


def test_what_a_message_says_already_is_well(server: FakeSlack | FakeTelegram) -> None:
    channel = make_channel(server)

    edit(channel, send(channel, OPEN) or "", OPEN)

    assert len(server.requests) == 2


def test_a_message_that_is_gone_is_not_edited_for_good(server: FakeSlack | FakeTelegram) -> None:
    channel = make_channel(server)
    handle = send(channel, OPEN) or ""
    server.delete(int(handle) if isinstance(server, FakeTelegram) else handle)  # type: ignore[arg-type]

    error = edit_error(channel, handle, OVER)

    assert error.permanent
    assert "it was deleted" in str(error)
    assert len(server.messages) == 1


@pytest.mark.parametrize("handle", ["", "x", "-5", "5@-4711", "１", "../1", "17.000001 "])
def test_a_handle_that_is_no_message_is_not_asked_for(handle: str, server: FakeSlack | FakeTelegram) -> None:
    error = edit_error(make_channel(server), handle, OVER)

    assert error.permanent
    assert server.requests == []


def test_a_busy_service_is_asked_for_the_edit_again(server: FakeSlack | FakeTelegram) -> None:
    channel = make_channel(server)
    handle = send(channel, OPEN) or ""
    is_slack = isinstance(server, FakeSlack)
    server.responses.append(slack_error("ratelimited") if is_slack else telegram_error(429, "Too Many", retry_after=7))

    error = edit_error(channel, handle, OVER)

    assert not error.permanent
    assert "rate limit" in str(error)


def test_a_webhook_cannot_edit_and_sends_no_buttons(slack_server: FakeSlack) -> None:
    channel = make_webhook(slack_server)
    send(channel, OPEN)

    assert slack_server.buttons(slack_server.messages[0]) == []
    error = edit_error(channel, "17.000001", OVER)
    assert error.permanent
    assert "bot's token" in str(error)


def test_a_message_that_is_not_the_bots_own_is_not_edited_for_good(slack_server: FakeSlack) -> None:
    slack_server.responses.append(slack_error("cant_update_message"))

    assert edit_error(make_slack(slack_server), "17.000001", OVER).permanent


def test_slack_edits_by_the_channels_id_though_the_configuration_has_its_name(
    slack_server: FakeSlack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slack, "_channel_ids", {})
    channel = make_slack(slack_server, channel=slack_server.channel_name)

    unknown = edit_error(channel, "1700000000.000001", OVER)
    edit(channel, send(channel, OPEN) or "", OVER)

    assert "channel: C0123456 instead of #alerts" in str(unknown)
    assert not unknown.permanent  # the next message tells the id
    assert slack_server.messages[0]["edits"] == 1


def test_buttons_of_slack_have_their_style_and_ids_of_their_own(slack_server: FakeSlack) -> None:
    send(make_slack(slack_server), replace(OPEN, buttons=(Button("Yes", "approve 1", "primary"), HALT, HALT)))

    shown = slack_server.buttons(slack_server.messages[0])
    assert [button.get("style") for button in shown] == ["primary", "danger", "danger"]
    assert len({button["action_id"] for button in shown}) == 3


@pytest.mark.parametrize(
    "button",
    [
        Button("x" * 200, "ack 17"),
        Button("🚨" * 60, "ack 17"),
        Button("<b>&amp;</b> *bold* :tada:", "ack 17"),
        Button("", "ack 17"),
        Button(" ", "ack 17"),
    ],
)
def test_a_button_fits_whatever_stands_on_it(button: Button, server: FakeSlack | FakeTelegram) -> None:
    send(make_channel(server), replace(OPEN, buttons=(button,)))

    assert answers(server) == ["ack 17"]
    assert len(server.requests) == 1


@pytest.mark.parametrize("answer", ["", "x" * 3_000])
def test_a_button_that_cannot_be_costs_itself_alone(answer: str, server: FakeSlack | FakeTelegram) -> None:
    send(make_channel(server), replace(OPEN, buttons=(Button("x", answer), ACK)))

    assert answers(server) == ["ack 17"]
    assert len(server.requests) == 1


@pytest.mark.parametrize("number", [26, 3_000])
def test_however_many_buttons_the_message_arrives(number: int, server: FakeSlack | FakeTelegram) -> None:
    send(make_channel(server), replace(OPEN, buttons=tuple(Button(f"{n}", f"ack {n}") for n in range(number))))

    assert len(answers(server)) >= 26
    assert len(server.requests) == 1


def test_buttons_that_the_service_objects_to_do_not_cost_the_message(server: FakeSlack | FakeTelegram) -> None:
    is_slack = isinstance(server, FakeSlack)
    refusal = slack_error("invalid_blocks") if is_slack else telegram_error(400, "Bad Request: BUTTON_DATA_INVALID")
    server.responses.append(refusal)

    send(make_channel(server), OPEN)

    assert answers(server) == []
    if is_slack:
        assert server.messages[0]["blocks"][0]["type"] == "rich_text"
    else:
        assert server.messages[0]["text"].startswith("<b>")


def test_an_edit_without_its_layout_does_not_keep_the_old_one(slack_server: FakeSlack) -> None:
    channel = make_slack(slack_server)
    handle = send(channel, OPEN) or ""
    for _ in range(2):
        slack_server.responses.append(slack_error("invalid_blocks"))

    edit(channel, handle, OPEN)

    assert slack_server.messages[0]["blocks"] == []
    assert "Drawdown" in slack_server.messages[0]["text"]


def test_markup_that_telegram_objects_to_does_not_cost_the_edit(telegram_server: FakeTelegram) -> None:
    channel = make_telegram(telegram_server)
    handle = send(channel, OPEN) or ""
    telegram_server.responses.append(telegram_error(400, "Bad Request: can't parse entities: at byte 3"))

    edit(channel, handle, OVER)

    assert telegram_server.messages[0]["text"] == "ℹ️ over & out <well>\nafter 3 m"


def test_a_long_edit_is_cut(server: FakeSlack | FakeTelegram) -> None:
    channel = make_channel(server)
    edit(channel, send(channel, OPEN) or "", Message("warn", "<&>" * 400, ("<&🚨>" * 100,) * 60, buttons=(ACK,)))

    assert server.messages[0]["text"].endswith("characters left out)")
    assert len(server.requests) == 2
