"""Topics of a forum, and a group that becomes a supergroup."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest
from pydantic import ValidationError

from tests.notifiers.channels import edit, edit_error, make_telegram, send, send_error
from tests.support.fake_chats import MESSAGE, PNG, FakeTelegram, telegram_error
from watchdog.core.model import Message
from watchdog.notifiers import telegram_chats
from watchdog.notifiers.telegram_chats import format_handle, parse_handle

BASIC, SUPER = -4711, -1009876543210
OVER = Message("info", "over")


@pytest.fixture(autouse=True)
def _new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telegram_chats, "_successors", {})


@pytest.fixture
def forum(telegram_server: FakeTelegram) -> FakeTelegram:
    telegram_server.topics = {42}
    return telegram_server


@pytest.fixture
def group() -> Iterator[FakeTelegram]:
    made = FakeTelegram(BASIC)
    yield made
    made.close()


def test_messages_replies_and_pictures_go_to_the_topic(forum: FakeTelegram) -> None:
    channel = make_telegram(forum, thread=42)
    first = send(channel, replace(MESSAGE, picture=PNG))
    send(channel, replace(OVER, thread=first))

    assert [message["message_thread_id"] for message in forum.messages] == ["42"] * 3
    assert [bool(message["reply"]) for message in forum.messages] == [False, True, True]


@pytest.mark.parametrize("thread", [None, 1])
def test_the_general_topic_is_not_named(thread: int | None, forum: FakeTelegram) -> None:
    send(make_telegram(forum, thread=thread), replace(MESSAGE, picture=PNG))

    assert ["message_thread_id" in message for message in forum.messages] == [False, False]


@pytest.mark.parametrize("refusal", ["message thread not found", "TOPIC_CLOSED", "TOPIC_DELETED", "TOPIC_ID_INVALID"])
def test_a_topic_that_is_gone_does_not_cost_the_message(
    refusal: str, telegram_server: FakeTelegram, caplog: pytest.LogCaptureFixture
) -> None:
    telegram_server.responses.append(telegram_error(400, f"Bad Request: {refusal}"))

    send(make_telegram(telegram_server, thread=42), replace(MESSAGE, picture=PNG))

    assert ["message_thread_id" in message for message in telegram_server.messages] == [False, False]
    assert caplog.text.count("topic 42 is gone or closed") == 1


def test_a_topic_does_not_matter_to_an_edit(forum: FakeTelegram) -> None:
    channel = make_telegram(forum, thread=42)
    handle = send(channel, MESSAGE) or ""
    forum.topics.clear()

    edit(channel, handle, OVER)

    assert forum.messages[0]["shown"] == "ℹ️ over"


@pytest.mark.parametrize("thread", [0, -5, "news", 1.5])
def test_a_topic_is_a_number(thread: object, telegram_server: FakeTelegram) -> None:
    with pytest.raises(ValidationError, match="thread"):
        make_telegram(telegram_server, thread=thread)


def test_a_message_is_sent_to_what_the_group_became(group: FakeTelegram, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    channel = make_telegram(group)
    send(channel, MESSAGE)
    group.migrate(SUPER)
    assert channel.notice is None

    for _ in range(2):
        assert send(channel, MESSAGE)

    assert [message["chat_id"] for message in group.messages] == [str(BASIC), str(SUPER), str(SUPER)]
    assert len(group.requests) == 4  # it is asked for the new number once
    assert channel.notice == (
        f"the group {BASIC} became the supergroup {SUPER}, and messages go there — say chat: {SUPER}"
    )
    assert caplog.text.count("became the supergroup") == 1


def test_another_process_learns_the_new_number_anew(group: FakeTelegram, monkeypatch: pytest.MonkeyPatch) -> None:
    group.migrate(SUPER)
    old = BASIC
    for _ in range(2):
        monkeypatch.setattr(telegram_chats, "_successors", {})
        channel = make_telegram(group, chat=old)
        assert (channel.notice, channel.current_chat) == (None, old)
        send(channel, MESSAGE)
        assert (channel.notice is not None, channel.current_chat) == (True, SUPER)

    assert len(group.messages) == 2


@pytest.mark.parametrize("chat", [SUPER, str(SUPER)])
def test_a_corrected_configuration_has_nothing_to_put_right(chat: int | str, group: FakeTelegram) -> None:
    channel = make_telegram(group)
    group.migrate(SUPER)
    send(channel, MESSAGE)

    assert make_telegram(group, chat=chat).notice is None


def test_a_channel_that_was_not_changed_is_the_same_channel(group: FakeTelegram) -> None:
    channel = make_telegram(group)
    group.migrate(SUPER)
    send(channel, MESSAGE)

    assert make_telegram(group, chat=BASIC) == channel


def test_a_number_in_quotes_moves_too(group: FakeTelegram) -> None:
    channel = make_telegram(group, chat=str(BASIC))
    group.migrate(SUPER)

    assert send(channel, MESSAGE)
    assert channel.notice is not None


def test_pictures_and_edits_follow_the_group(group: FakeTelegram) -> None:
    channel = make_telegram(group)
    group.migrate(SUPER)
    handle = send(channel, replace(MESSAGE, picture=PNG)) or ""
    edit(channel, handle, OVER)

    assert [message["shown"] for message in group.messages] == ["ℹ️ over", "🚨 Drawdown of <hmm-bot> & co: 10 %"]
    assert group.messages[1]["reply"]["message_id"] == 1


def test_no_message_of_the_new_group_is_taken_for_one_of_the_old(group: FakeTelegram) -> None:
    channel = make_telegram(group)
    before = send(channel, MESSAGE) or ""
    group.migrate(SUPER)
    after = send(channel, replace(MESSAGE, thread=before)) or ""

    assert (before, after) == (f"1@{BASIC}", "1")
    assert group.messages[1]["reply"] == {}
    for channel in (make_telegram(group, chat=BASIC), make_telegram(group, chat=SUPER)):
        assert edit_error(channel, before, OVER).permanent
    assert group.messages[1]["edits"] == 0
    edit(channel, after, OVER)
    assert group.messages[1]["edits"] == 1


def test_a_group_that_led_back_to_itself_would_not_be_followed_for_ever(telegram_server: FakeTelegram) -> None:
    for new in (SUPER, telegram_server.chat_id):
        telegram_server.responses.append(telegram_error(400, "Bad Request: upgraded", migrate_to_chat_id=new))

    error = send_error(make_telegram(telegram_server), MESSAGE)

    assert error.permanent
    assert len(telegram_server.requests) == 2


@pytest.mark.parametrize("new", ["x", None, True, [], {}])
def test_a_new_number_that_is_none_is_a_refusal(new: object, telegram_server: FakeTelegram) -> None:
    telegram_server.responses.append(telegram_error(400, "Bad Request: upgraded", migrate_to_chat_id=new))

    assert send_error(make_telegram(telegram_server), MESSAGE).permanent


def test_two_messages_at_once_move_together(group: FakeTelegram) -> None:
    channel = make_telegram(group)
    group.migrate(SUPER)

    async def both() -> None:
        await asyncio.gather(channel.send(MESSAGE), channel.send(OVER))

    asyncio.run(both())
    assert len(group.messages) == 2


@pytest.mark.parametrize("chat", [BASIC, SUPER, 4711, "@news"])
def test_a_handle_is_read_back_in_its_chat(chat: int | str) -> None:
    assert parse_handle(format_handle(57, chat), chat) == 57


@pytest.mark.parametrize("handle", [None, "", "x", "-5", "5@", "5@x", "5@-4712", "５", "5 ", "5@-4711\n"])
def test_what_is_no_handle_of_the_chat_is_none(handle: str | None) -> None:
    assert parse_handle(handle, BASIC) is None
