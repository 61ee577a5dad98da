"""The channels of the tests, against their servers."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest

from tests.support.fake_chats import FakeSlack, FakeTelegram
from watchdog.core.errors import NotifyError
from watchdog.core.model import Message
from watchdog.notifiers import SlackNotifier, TelegramNotifier


def make_slack(server: FakeSlack, **fields: object) -> SlackNotifier:
    known = {"type": "slack", "token": server.token, "channel": server.channel, "api": server.api_url}
    return SlackNotifier.model_validate(known | fields)


def make_webhook(server: FakeSlack) -> SlackNotifier:
    return SlackNotifier.model_validate({"type": "slack", "webhook": server.webhook_url})


def make_telegram(server: FakeTelegram, **fields: object) -> TelegramNotifier:
    known = {"type": "telegram", "token": server.token, "chat": server.chat_id, "api": server.api_url}
    return TelegramNotifier.model_validate(known | fields)


def send(channel: Any, message: Message) -> str | None:
    """As the outbox does: awaited where it is a coroutine."""
    sent = channel.send(message)
    handle: str | None = asyncio.run(sent) if inspect.iscoroutine(sent) else sent
    return handle


def edit(channel: Any, handle: str, message: Message) -> None:
    done = channel.edit(handle, message)
    if inspect.iscoroutine(done):
        asyncio.run(done)


def send_error(channel: Any, message: Message) -> NotifyError:
    with pytest.raises(NotifyError) as caught:
        send(channel, message)
    return caught.value


def edit_error(channel: Any, handle: str, message: Message) -> NotifyError:
    with pytest.raises(NotifyError) as caught:
        edit(channel, handle, message)
    return caught.value
