"""python-telegram-bot behind one function. Imported when the first message goes out: 24 MB and a quarter second."""

from __future__ import annotations

import json
import logging
from typing import Any

import httpx
from telegram import Bot, LinkPreviewOptions, ReplyParameters
from telegram.error import TelegramError
from telegram.request import HTTPXRequest

from watchdog.net.errors import parse_retry_after

TIMEOUT = 10.0
"""Seconds for each step of a request; the caller limits the whole."""

# The token is part of the address, and these log addresses, also at INFO. What there is to say is in NotifyError.
for _name in ("httpx", "httpcore", "telegram"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)

_TLS_CONTEXT = httpx.create_ssl_context()  # 70 ms each: one for all


class TelegramApiError(TelegramError):
    """An answer that is no success, with what the library drops: the status, and seconds as a plain number."""

    def __init__(self, code: int, payload: bytes) -> None:
        try:
            answer = json.loads(payload)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            answer = {}
        parameters = answer.get("parameters")
        if not isinstance(parameters, dict):
            parameters = {}
        self.code = code
        self.description = str(answer.get("description") or f"HTTP {code}")
        self.retry_after = parse_retry_after(parameters.get("retry_after"))
        new_chat = parameters.get("migrate_to_chat_id")
        self.new_chat = new_chat if isinstance(new_chat, int) else None
        super().__init__(self.description)


class _Request(HTTPXRequest):
    async def do_request(self, *args: Any, **kwargs: Any) -> tuple[int, bytes]:
        code, payload = await super().do_request(*args, **kwargs)
        if not 200 <= code <= 299:
            raise TelegramApiError(code, payload)
        return code, payload


async def send_message(
    api: str, token: str, chat: int | str, text: str, parse_mode: str | None, reply_to: int | None
) -> int:
    """Send; return the message's id. Raises AnswerError, and TelegramError when there is no answer.

    Only the request is opened, not the Bot: opening that asks Telegram who we are before every message.
    """
    request = _Request(
        connect_timeout=TIMEOUT,
        read_timeout=TIMEOUT,
        write_timeout=TIMEOUT,
        pool_timeout=TIMEOUT,
        httpx_kwargs={"verify": _TLS_CONTEXT},
    )
    async with request:
        bot = Bot(token, base_url=api, request=request, get_updates_request=request)
        reply = None if reply_to is None else ReplyParameters(reply_to, allow_sending_without_reply=True)
        sent = await bot.send_message(
            chat,
            text,
            parse_mode=parse_mode,
            reply_parameters=reply,
            link_preview_options=LinkPreviewOptions(is_disabled=True),
        )
        return sent.message_id
