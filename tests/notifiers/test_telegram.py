from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

import watchdog.notifiers
from tests.support.fake_chats import CLOSE_CONNECTION, HANG, MESSAGE, FakeTelegram, telegram_error
from watchdog.core.errors import NotifyError
from watchdog.core.model import Message
from watchdog.notifiers import TelegramNotifier, telegram


def make_channel(server: FakeTelegram, **fields: object) -> TelegramNotifier:
    known = {"type": "telegram", "token": server.token, "chat": server.chat_id, "api": server.api_url}
    return TelegramNotifier.model_validate(known | fields)


def send(part: TelegramNotifier, message: Message = MESSAGE) -> str | None:
    return asyncio.run(part.send(message))


def send_error(part: TelegramNotifier, message: Message = MESSAGE) -> NotifyError:
    with pytest.raises(NotifyError) as caught:
        send(part, message)
    return caught.value


def test_a_message_is_marked_up_and_shows_every_character(telegram_server: FakeTelegram) -> None:
    assert send(make_channel(telegram_server)) == "1"

    (sent,) = telegram_server.messages
    assert sent["text"].startswith("<b>🚨 Drawdown of &lt;hmm-bot&gt; &amp; co: 10 %</b>\n1 - equity")
    assert sent["shown"] == ("🚨 Drawdown of <hmm-bot> & co: 10 %\n1 - equity / max <above 7 %>\nhalt starts")
    assert sent["link_preview_options"] == '{"is_disabled": true}'


def test_one_message_is_one_request(telegram_server: FakeTelegram) -> None:
    send(make_channel(telegram_server))

    assert [request.path.rpartition("/")[2] for request in telegram_server.requests] == ["sendMessage"]


def test_later_messages_reply_to_the_first(telegram_server: FakeTelegram) -> None:
    first = send(make_channel(telegram_server))
    again = send(make_channel(telegram_server), Message("info", "proven", thread=first))

    assert again == first
    assert telegram_server.messages[1]["reply"]["message_id"] == 1


@pytest.mark.parametrize("thread", ["99", "not ours"])
def test_a_first_message_that_is_gone_does_not_lose_the_next(thread: str, telegram_server: FakeTelegram) -> None:
    assert send(make_channel(telegram_server), Message("crit", "worse", thread=thread))

    assert telegram_server.messages[0]["reply"] == {}


def test_a_title_alone_is_a_message(telegram_server: FakeTelegram) -> None:
    send(make_channel(telegram_server), Message("warn", ""))

    assert telegram_server.messages[0]["shown"] == "⚠️"


def test_a_long_message_is_cut_and_says_so(telegram_server: FakeTelegram) -> None:
    send(make_channel(telegram_server), Message("warn", "long", lines=("<&🚨>" * 100,) * 30))

    shown = telegram_server.messages[0]["shown"]
    assert shown.endswith("characters left out)")
    assert 4_000 < len(shown.encode("utf-16-le")) // 2 <= 4_096


def test_markup_that_telegram_objects_to_does_not_lose_the_message(telegram_server: FakeTelegram) -> None:
    telegram_server.responses.append(telegram_error(400, "Bad Request: can't parse entities: at byte 3"))

    assert send(make_channel(telegram_server)) == "1"

    (sent,) = telegram_server.messages
    assert "parse_mode" not in sent
    assert sent["shown"].startswith("🚨 Drawdown of <hmm-bot> & co")


def test_a_token_file_is_read_at_each_message(telegram_server: FakeTelegram, tmp_path: Path) -> None:
    file = tmp_path / "telegram.token"
    part = make_channel(telegram_server, token=None, token_file=str(file))

    missing = send_error(part)
    file.write_text("../../123:abc\n")
    malformed = send_error(part)
    file.write_text(f"\n{telegram_server.token}\n")

    assert send(part) == "1"
    assert (missing.permanent, malformed.permanent) == (False, False)
    assert "No such file" in str(missing)
    assert "holds no bot token" in str(malformed)
    assert "abc" not in str(malformed)


def test_a_chat_may_be_a_name(telegram_server: FakeTelegram) -> None:
    send_error(make_channel(telegram_server, chat="@somewhere"))

    assert b"chat_id=%40somewhere" in telegram_server.requests[0].body


@pytest.mark.parametrize(
    ("status", "description", "parameters", "said"),
    [
        (401, "Unauthorized", {}, "ask @BotFather"),
        (404, "Not Found", {}, "ask @BotFather"),
        (403, "Forbidden: bot was kicked from the supergroup chat", {}, "add it to the chat again"),
        (400, "Bad Request: chat not found", {}, "add the bot to it"),
        (400, "Bad Request: TOPIC_CLOSED", {}, "TOPIC_CLOSED — check chat"),
        (409, "Conflict", {}, "HTTP 409"),
    ],
)
def test_what_telegram_refuses_for_good_says_the_cure(
    status: int, description: str, parameters: dict[str, int], said: str, telegram_server: FakeTelegram
) -> None:
    telegram_server.responses.append(telegram_error(status, description, **parameters))

    error = send_error(make_channel(telegram_server))

    assert error.permanent
    assert said in str(error)
    assert len(telegram_server.requests) == 1


def test_a_rate_limit_says_when_to_come_back(telegram_server: FakeTelegram) -> None:
    telegram_server.responses.append(telegram_error(429, "Too Many Requests: retry after 35", retry_after=35))

    error = send_error(make_channel(telegram_server))

    assert (error.permanent, error.retry_after) == (False, 35.0)


@pytest.mark.parametrize(
    "body", ["<html>sign in</html>", "[1]", "null", b"\xff\xfe", '{"ok": false}', '{"result": {"message_id": 7}}']
)
def test_an_answer_that_is_not_telegrams_is_tried_again(body: str | bytes, telegram_server: FakeTelegram) -> None:
    telegram_server.queue_response(200, body)

    assert not send_error(make_channel(telegram_server)).permanent


@pytest.mark.parametrize("body", ["null", "[1]", '{"parameters": 1}', '{"parameters": {"retry_after": "soon"}}'])
def test_an_error_that_is_not_telegrams_is_still_classified(body: str, telegram_server: FakeTelegram) -> None:
    telegram_server.queue_response(429, body)

    error = send_error(make_channel(telegram_server))

    assert (error.permanent, error.retry_after) == (False, None)


def test_a_telegram_that_hangs_is_reported_not_awaited(
    telegram_server: FakeTelegram, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(make_channel(telegram_server))  # the library is loaded
    monkeypatch.setattr(telegram, "TIMEOUT", 0.1)
    telegram_server.responses.append(HANG)

    error = send_error(make_channel(telegram_server))

    assert not error.permanent
    assert "no answer within 0.1 s" in str(error)


def test_a_lost_connection_is_tried_again(telegram_server: FakeTelegram) -> None:
    telegram_server.responses.append(CLOSE_CONNECTION)

    assert not send_error(make_channel(telegram_server)).permanent
    assert len(telegram_server.requests) == 1


def test_sending_may_be_cancelled(telegram_server: FakeTelegram) -> None:
    telegram_server.responses.append(HANG)

    async def cancelled() -> None:
        task = asyncio.create_task(make_channel(telegram_server).send(MESSAGE))
        while not telegram_server.requests:
            await asyncio.sleep(0.005)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(asyncio.wait_for(cancelled(), 20))


def test_a_missing_package_says_how_to_get_it(telegram_server: FakeTelegram, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "telegram", None)
    monkeypatch.delitem(sys.modules, "watchdog.notifiers.telegram_client", raising=False)
    monkeypatch.delattr(watchdog.notifiers, "telegram_client", raising=False)

    error = send_error(make_channel(telegram_server))

    assert error.permanent
    assert f"{sys.executable} -m pip install python-telegram-bot" in str(error)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"chat": 1}, "exactly one of token and token_file"),
        ({"chat": 1, "token": "123:abc", "token_file": "f"}, "exactly one of token and token_file"),
        ({"chat": 1, "token": "abc"}, "this is no bot token"),
        ({"chat": "my group", "token_file": "f"}, "a chat is a number"),
        ({"token_file": "f"}, "Field required"),
        ({"chat": 1, "token_file": "f", "api": "https://x/{token}"}, "an address reads like https://api.telegram"),
    ],
)
def test_what_cannot_post_is_refused_at_load(fields: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TelegramNotifier.model_validate({"type": "telegram", **fields})
