"""Slack and Telegram at their HTTP border, with the state of their messages. The real client libraries talk to these."""

from __future__ import annotations

from tests.support.fake_chats.server import (
    CLOSE_CONNECTION,
    HANG,
    MESSAGE,
    PNG,
    FakeServer,
    Json,
    Request,
    Response,
)
from tests.support.fake_chats.slack import FakeSlack, slack_error
from tests.support.fake_chats.telegram import FakeTelegram, telegram_error

__all__ = [
    "CLOSE_CONNECTION",
    "HANG",
    "MESSAGE",
    "PNG",
    "FakeServer",
    "FakeSlack",
    "FakeTelegram",
    "Json",
    "Request",
    "Response",
    "slack_error",
    "telegram_error",
]
