"""A picture comes below its text, and never costs it."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace

import pytest

from tests.notifiers.channels import make_slack, make_telegram, make_webhook, send
from tests.support.fake_chats import (
    CLOSE_CONNECTION,
    HANG,
    MESSAGE,
    PNG,
    FakeSlack,
    FakeTelegram,
    Response,
    slack_error,
    telegram_error,
)
from watchdog.core.model import Message
from watchdog.notifiers import slack, telegram

WITH_PICTURE = replace(MESSAGE, picture=PNG)


def test_slack_shows_the_picture_in_the_thread_of_its_text(slack_server: FakeSlack) -> None:
    handle = send(make_slack(slack_server), WITH_PICTURE)

    (text,), (file,) = slack_server.messages, slack_server.files
    assert text["ts"] == handle
    assert (file["content"], file["thread_ts"], file["channel_id"]) == (PNG, handle, slack_server.channel)
    assert file["title"] == file["alt_txt"] == "🚨 Drawdown of <hmm-bot> & co: 10 %"


def test_slack_shows_the_picture_of_a_reply_in_its_thread(slack_server: FakeSlack) -> None:
    channel = make_slack(slack_server)
    first = send(channel, MESSAGE)

    assert send(channel, replace(WITH_PICTURE, thread=first)) == first
    assert slack_server.files[0]["thread_ts"] == first


def test_telegram_shows_the_picture_as_a_quiet_reply_to_its_text(telegram_server: FakeTelegram) -> None:
    handle = send(make_telegram(telegram_server), WITH_PICTURE)

    text, photo = telegram_server.messages
    assert (handle, text["shown"].startswith("🚨 Drawdown")) == ("1", True)
    assert (photo["picture"], photo["shown"]) == (PNG, "🚨 Drawdown of <hmm-bot> & co: 10 %")
    assert (photo["reply"]["message_id"], photo["disable_notification"]) == (1, "true")


def test_a_webhook_sends_the_text_alone(slack_server: FakeSlack) -> None:
    send(make_webhook(slack_server), WITH_PICTURE)

    assert (len(slack_server.messages), slack_server.files) == (1, [])


def test_a_title_of_any_length_is_a_caption(telegram_server: FakeTelegram) -> None:
    send(make_telegram(telegram_server), Message("crit", "<&🚨>" * 500, picture=PNG))

    assert len(telegram_server.messages) == 2


TELEGRAM_REFUSALS = [
    telegram_error(400, "Bad Request: IMAGE_PROCESS_FAILED"),
    telegram_error(400, "Bad Request: not enough rights to send photos to the chat"),
    telegram_error(413, "Request Entity Too Large"),
    telegram_error(429, "Too Many Requests: retry after 35", retry_after=35),
    Response(502, "<html>"),
    Response(200, "<html>"),
    HANG,
    CLOSE_CONNECTION,
]


@pytest.mark.parametrize("refusal", TELEGRAM_REFUSALS)
def test_a_picture_that_telegram_does_not_take_costs_nothing(
    refusal: Response,
    telegram_server: FakeTelegram,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    channel = make_telegram(telegram_server)
    if refusal is HANG:
        send(channel, MESSAGE)  # the library is loaded
        monkeypatch.setattr(telegram, "TIMEOUT", 0.5)
    telegram_server.responses.extend([Response(200, {"ok": True, "result": {"message_id": 1}}), refusal])
    caplog.set_level(logging.WARNING)

    assert send(channel, WITH_PICTURE) is not None
    assert "the picture of a message was not sent" in caplog.text
    assert "hush" not in caplog.text


def test_what_is_no_picture_costs_nothing(
    telegram_server: FakeTelegram, slack_server: FakeSlack, caplog: pytest.LogCaptureFixture
) -> None:
    for channel in (make_telegram(telegram_server), make_slack(slack_server)):
        assert send(channel, replace(MESSAGE, picture=b""))

    assert (len(telegram_server.messages), len(slack_server.messages)) == (1, 1)
    assert caplog.text.count("was not sent") == 2


OK = Response(200, {"ok": True, "channel": "C0123456", "ts": "17.000001"})


@pytest.mark.parametrize(
    "refusals",
    [
        [slack_error("missing_scope")],
        [slack_error("ratelimited")],
        [Response(200, {"ok": True})],
        [Response(200, {"ok": True, "upload_url": "file:///etc/passwd", "file_id": "F1"})],
        [Response(200, {"ok": True, "upload_url": 7, "file_id": "F1"})],
        [Response(502, "<html>")],
        [HANG],
        [CLOSE_CONNECTION],
    ],
)
def test_a_picture_that_slack_does_not_take_costs_nothing(
    refusals: list[Response],
    slack_server: FakeSlack,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if HANG in refusals:
        monkeypatch.setattr(slack, "TIMEOUT", 0.5)
    slack_server.responses.extend([OK, *refusals])

    assert send(make_slack(slack_server), WITH_PICTURE) == "17.000001"
    assert "the picture of a message" in caplog.text
    assert "hush" not in caplog.text
    assert [file for file in slack_server.files if "title" in file] == []


@pytest.mark.parametrize(("step", "refusal"), [(2, Response(500, "")), (3, slack_error("missing_scope"))])
def test_a_picture_that_fails_on_its_way_costs_nothing(
    step: int, refusal: Response, caplog: pytest.LogCaptureFixture
) -> None:
    class Refusing(FakeSlack):
        def respond(self, request):  # type: ignore[no-untyped-def]
            return refusal if len(self.requests) == step + 1 else super().respond(request)

    server = Refusing()
    handle = send(make_slack(server), WITH_PICTURE)
    server.close()

    assert (handle, len(server.messages), len(server.requests)) == ("1700000000.000001", 1, step + 1)
    assert "the picture of a message was not sent" in caplog.text


def test_a_picture_that_is_long_on_its_way_does_not_make_the_text_late(
    slack_server: FakeSlack, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from watchdog.notifiers.slack_client import SlackClient

    go_on, ended = threading.Event(), threading.Event()

    def upload(*_: object) -> None:
        go_on.wait(120)
        ended.set()

    monkeypatch.setattr(SlackClient, "upload", upload)
    monkeypatch.setattr(slack, "TIMEOUT", 0.5)

    assert send(make_slack(slack_server), WITH_PICTURE)
    assert "is not sent yet" in caplog.text
    go_on.set()
    assert ended.wait(60)


def test_a_scope_that_is_missing_for_pictures_says_so(
    slack_server: FakeSlack, caplog: pytest.LogCaptureFixture
) -> None:
    slack_server.responses.extend([OK, slack_error("missing_scope")])

    send(make_slack(slack_server), WITH_PICTURE)

    assert "files:write" in caplog.text


def test_the_picture_goes_without_the_token_to_where_slack_wants_it(slack_server: FakeSlack) -> None:
    send(make_slack(slack_server), WITH_PICTURE)

    (upload,) = [request for request in slack_server.requests if request.path.startswith("/upload/")]
    assert "hush" not in str(upload.headers)
