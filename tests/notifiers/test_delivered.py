"""Delivered is what the service says is ok, whatever else its answer holds: then it was one request, and stays one message."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from tests.notifiers.channels import edit, make_slack, make_telegram, make_webhook, send, send_error
from tests.support.fake_chats import MESSAGE, FakeServer, FakeSlack, FakeTelegram, Response
from watchdog.core.model import Message
from watchdog.notifiers import slack, telegram

SENT = {"message_id": 57, "date": 1, "chat": {"id": -1001, "type": "supergroup"}, "text": "x"}
CUT = {"Content-Length": "9999", "Connection": "close"}
STALLED = {"Content-Length": "9999"}


def telegram_says(**result: Any) -> Response:
    return Response(200, {"ok": True, "result": SENT | result})


TELEGRAM_ANSWERS: dict[str, tuple[Response, str | None]] = {
    "echo of another type": (telegram_says(link_preview_options='{"is_disabled": true}'), "57"),
    "echo of a reply": (telegram_says(reply_parameters="{}", reply_markup="[]", reply_to_message=[7]), "57"),
    "entities that are none": (telegram_says(entities={"a": 1}, caption_entities="b"), "57"),
    "no chat and date": (Response(200, {"ok": True, "result": {"message_id": 57}}), "57"),
    "a date in words": (telegram_says(date="2026-01-01T00:00:00Z", edit_date=None), "57"),
    "a chat of tomorrow": (telegram_says(chat={"id": "new", "type": "sphere", "more": {}}), "57"),
    "a sender of another shape": (telegram_says(**{"from": "bot", "via_bot": 7, "sender_chat": []}), "57"),
    "fields of tomorrow": (telegram_says(hologram={"x": [1, {"y": None}]}, quality=1e400), "57"),
    "an id in quotes": (telegram_says(message_id="57"), "57"),
    "an id that is none": (telegram_says(message_id=[57]), None),
    "no id": (Response(200, {"ok": True, "result": {}}), None),
    "no result": (Response(200, {"ok": True}), None),
    "a result of another shape": (Response(200, {"ok": True, "result": 7}), None),
    "a result that is a list": (Response(200, {"ok": True, "result": [SENT]}), None),
    "true": (Response(200, {"ok": True, "result": True}), None),
    "an ok in quotes": (Response(200, {"ok": "true", "result": SENT}), "57"),
    "an ok of one": (Response(200, {"ok": 1, "result": SENT}), "57"),
    "created": (Response(201, {"ok": True, "result": SENT}), "57"),
    "sent, and then trouble": (Response(502, {"ok": True, "result": SENT}), "57"),
    "a parameter too many": (Response(200, {"ok": True, "result": SENT, "parameters": 7, "error_code": 0}), "57"),
    "cut": (Response(200, '{"ok":true,"result":{"message_id":57,"from":{"id', CUT), "57"),
    "cut after ok": (Response(200, '{"ok":true,', CUT), None),
    "cut, and nobody says so": (Response(200, '{"ok":true,"result":{"message_id":57,"da'), "57"),
    "stalled": (Response(200, '{"ok":true,"result":{"message_id":57,"da', STALLED), "57"),
    "chunks that are none": (
        Response(200, b'2\r\n{"\r\nzz\r\n', {"Transfer-Encoding": "chunked", "Connection": "close"}),
        "refused",
    ),
    "a comment of a proxy": (Response(200, json.dumps({"ok": True, "result": SENT}) + "<!-- seen -->"), "57"),
    "a byte order mark": (Response(200, b"\xef\xbb\xbf" + json.dumps({"ok": True, "result": SENT}).encode()), "57"),
    "bytes that are no text": (Response(200, b'{"ok":true,"result":{"message_id":57,"text":"\xff\xfe"}}'), "57"),
    "packed unasked": (Response(200, gzip.compress(b'{"ok":true,"result":{"message_id":57}}')), "57"),
    "packed, it says": (Response(200, {"ok": True, "result": SENT}, {"Content-Encoding": "gzip"}), "57"),
    "another type": (Response(200, {"ok": True, "result": SENT}, {"Content-Type": "text/html; charset=klingon"}), "57"),
    "depths": (Response(200, '{"ok":true,"result":{"message_id":57,"x":' + "[" * 100_000), "57"),
    "a number that is too long": (
        Response(200, '{"ok":true,"result":{"message_id":57,"x":' + "9" * 10_000 + "}}"),
        "57",
    ),
    "two megabytes": (telegram_says(text="x" * 2_000_000), "57"),
}


@pytest.mark.parametrize("name", [name for name, (_, handle) in TELEGRAM_ANSWERS.items() if handle != "refused"])
def test_what_telegram_says_is_ok_is_sent(
    name: str, telegram_server: FakeTelegram, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, handle = TELEGRAM_ANSWERS[name]
    if name == "stalled":
        monkeypatch.setattr(telegram, "TIMEOUT", 0.5)
    telegram_server.responses.append(answer)

    assert send(make_telegram(telegram_server), MESSAGE) == handle
    assert len(telegram_server.requests) == 1


@pytest.mark.parametrize(
    "name", ["echo of another type", "true", "no result", "cut after ok", "a result that is a list"]
)
def test_what_telegram_says_is_ok_is_edited(name: str, telegram_server: FakeTelegram) -> None:
    telegram_server.responses.append(TELEGRAM_ANSWERS[name][0])

    edit(make_telegram(telegram_server), "57", MESSAGE)
    assert len(telegram_server.requests) == 1


def slack_says(**more: Any) -> Response:
    return Response(200, {"ok": True, "channel": "C0123456", "ts": "17.000001", **more})


SLACK_ANSWERS: dict[str, tuple[Response, str | None]] = {
    "an echo of another type": (slack_says(message="posted", response_metadata=[7]), "17.000001"),
    "a warning": (slack_says(warning="superfluous_charset", response_metadata={"warnings": 7}), "17.000001"),
    "an error beside it": (slack_says(error="", errors=None), "17.000001"),
    "fields of tomorrow": (slack_says(hologram={"x": 1e400}), "17.000001"),
    "a ts as number": (Response(200, '{"ok":true,"ts":1700000000.000010}'), "1700000000.000010"),
    "a ts of another type": (Response(200, {"ok": True, "ts": ["17.000001"]}), None),
    "a ts that is none": (Response(200, {"ok": True, "ts": "yesterday"}), None),
    "no ts": (Response(200, {"ok": True}), None),
    "an ok in quotes": (Response(200, {"ok": "true", "ts": "17.000001"}), "17.000001"),
    "created": (Response(201, {"ok": True, "ts": "17.000001"}), "17.000001"),
    "sent, and then trouble": (Response(503, {"ok": True, "ts": "17.000001"}), "17.000001"),
    "cut": (Response(200, '{"ok":true,"channel":"C0123456","ts":"17.000001","mess', CUT), "17.000001"),
    "cut after ok": (Response(200, '{"ok":true', CUT), None),
    "cut, and nobody says so": (Response(200, '{"ok":true,"ts":"17.000001","mess'), "17.000001"),
    "stalled": (Response(200, '{"ok":true,"ts":"17.000001","mess', STALLED), "17.000001"),
    "a comment of a proxy": (Response(200, '{"ok":true,"ts":"17.000001"}<!-- seen -->'), "17.000001"),
    "bytes that are no text": (Response(200, b'{"ok":true,"ts":"17.000001","text":"\xff"}'), "17.000001"),
    "an unknown charset": (
        Response(200, {"ok": True, "ts": "17.000001"}, {"Content-Type": "text/plain; charset=klingon"}),
        "17.000001",
    ),
    "packed unasked": (Response(200, gzip.compress(b'{"ok":true,"ts":"17.000001"}')), "17.000001"),
    "packed, it says": (
        Response(200, {"ok": True, "ts": "17.000001"}, {"Content-Type": "application/gzip"}),
        "17.000001",
    ),
    "depths": (Response(200, '{"ok":true,"ts":"17.000001","x":' + "[" * 100_000), "17.000001"),
    "two megabytes": (slack_says(text="x" * 2_000_000), "17.000001"),
}


@pytest.mark.parametrize("name", SLACK_ANSWERS)
def test_what_slack_says_is_ok_is_sent(name: str, slack_server: FakeSlack, monkeypatch: pytest.MonkeyPatch) -> None:
    answer, handle = SLACK_ANSWERS[name]
    if name == "stalled":
        monkeypatch.setattr(slack, "TIMEOUT", 0.5)
    slack_server.responses.append(answer)

    assert send(make_slack(slack_server), MESSAGE) == handle
    assert len(slack_server.requests) == 1


def test_a_reply_that_slack_says_is_ok_keeps_its_thread(slack_server: FakeSlack) -> None:
    slack_server.responses.append(SLACK_ANSWERS["no ts"][0])

    assert send(make_slack(slack_server), Message("info", "proven", thread="17.000001")) == "17.000001"


@pytest.mark.parametrize("name", ["an echo of another type", "no ts", "cut after ok", "packed, it says"])
def test_what_slack_says_is_ok_is_edited(name: str, slack_server: FakeSlack) -> None:
    slack_server.responses.append(SLACK_ANSWERS[name][0])

    edit(make_slack(slack_server), "17.000001", MESSAGE)
    assert len(slack_server.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        Response(200, "ok"),
        Response(200, "OK\n"),
        Response(200, "ok, posted"),
        Response(200, "o", {"Content-Length": "2", "Connection": "close"}),
        Response(200, ""),
        Response(204, ""),
        Response(200, {"ok": True}),
        Response(200, {"success": True}),
        Response(200, b"ok\xff", {"Content-Type": "text/html; charset=klingon"}),
    ],
)
def test_what_a_webhook_says_is_ok_is_sent(answer: Response, slack_server: FakeSlack) -> None:
    slack_server.responses.append(answer)

    assert send(make_webhook(slack_server), MESSAGE) is None
    assert len(slack_server.requests) == 1


BROKEN_OFF = "broke off before its answer was there"
NOT_ITS_OWN = "came instead of"
FAULTS: dict[str, tuple[Response, str]] = {
    "a page": (Response(200, "<html>sign in</html>"), NOT_ITS_OWN),
    "a page at another status": (Response(302, "", {"Location": "https://example.com/"}), "HTTP 302 came instead of"),
    "nothing": (Response(200, ""), NOT_ITS_OWN),
    "not ok": (Response(200, {"ok": False}), NOT_ITS_OWN),
    "not ok in quotes": (Response(200, {"ok": "false"}), NOT_ITS_OWN),
    "an ok that is another's": (Response(404, {"ok": True}), "HTTP 404 came instead of"),
    "cut before ok": (Response(200, '{"ok', CUT), BROKEN_OFF),
    "closed": (Response(status=-2), BROKEN_OFF),
    "chunks that are none": (TELEGRAM_ANSWERS["chunks that are none"][0], BROKEN_OFF),
}


@pytest.mark.parametrize("service", ["slack", "telegram"])
@pytest.mark.parametrize("name", FAULTS)
def test_an_error_says_what_happened_and_not_what_it_might_have_been(
    name: str, service: str, slack_server: FakeSlack, telegram_server: FakeTelegram
) -> None:
    answer, said = FAULTS[name]
    server: FakeServer = slack_server if service == "slack" else telegram_server
    server.responses.append(answer)

    error = send_error(make_slack(slack_server) if service == "slack" else make_telegram(telegram_server), MESSAGE)

    assert said in str(error)
    assert "reached" not in str(error)
    assert error.permanent == (answer.status in (302, 404))


@pytest.mark.parametrize("service", ["slack", "telegram"])
def test_where_nobody_listens_it_cannot_be_reached(
    service: str, slack_server: FakeSlack, telegram_server: FakeTelegram
) -> None:
    channel = make_slack(slack_server) if service == "slack" else make_telegram(telegram_server)
    for server in (slack_server, telegram_server):
        server.close()

    error = send_error(channel, MESSAGE)

    assert "cannot be reached (" in str(error)
    assert not error.permanent


def test_a_mistake_of_the_library_is_called_one(telegram_server: FakeTelegram, monkeypatch: pytest.MonkeyPatch) -> None:
    from watchdog.notifiers import telegram_client

    def fail(*_: object) -> None:
        raise KeyError("chat")

    monkeypatch.setattr(telegram_client, "_markup", fail)

    assert "the client library failed (KeyError" in str(send_error(make_telegram(telegram_server), MESSAGE))


def test_a_webhook_that_answers_with_a_page_has_not_taken_the_message(slack_server: FakeSlack) -> None:
    slack_server.queue_response(200, "<html>sign in</html>")

    error = send_error(make_webhook(slack_server), MESSAGE)

    assert (error.permanent, NOT_ITS_OWN in str(error)) == (False, True)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_token_follows_a_redirect(status: int, slack_server: FakeSlack, telegram_server: FakeTelegram) -> None:
    aside = FakeTelegram()
    for server, channel in (
        (slack_server, make_slack(slack_server)),
        (slack_server, make_webhook(slack_server)),
        (telegram_server, make_telegram(telegram_server)),
    ):
        server.queue_response(status, "", {"Location": f"{aside.url}/"})
        send_error(channel, MESSAGE)
    aside.close()

    assert aside.requests == []


def test_an_answer_that_says_no_with_a_status_of_200_is_a_no(telegram_server: FakeTelegram) -> None:
    telegram_server.queue_response(200, {"ok": False, "error_code": 403, "description": "Forbidden: bot was kicked"})

    error = send_error(make_telegram(telegram_server), MESSAGE)

    assert (error.permanent, "add it to the chat again" in str(error)) == (True, True)
