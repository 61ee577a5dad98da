"""python-telegram-bot behind a few functions. Imported when the first message goes out: 24 MB and a quarter second.

The library makes the requests; what Telegram answered is read here, and its reading decides nothing: a message that was sent is
sent, whatever else the answer holds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import httpx
from telegram import Bot, InlineKeyboardButton, InlineKeyboardMarkup, InputFile, LinkPreviewOptions, ReplyParameters
from telegram.error import TelegramError
from telegram.request import HTTPXRequest

from watchdog.net.deadline import Deadline
from watchdog.net.errors import parse_retry_after
from watchdog.net.secrets import redact
from watchdog.notifiers.answer import MAX_BYTES, read_answer, says_ok
from watchdog.notifiers.telegram_layout import Draft

STEP_TIMEOUT = 10.0
"""Seconds for each step of a request; the caller limits the whole."""

# The token is part of the address, and these log addresses, also at INFO. What there is to say is in NotifyError.
for _name in ("httpx", "httpcore", "telegram"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)

TLS_CONTEXT = httpx.create_ssl_context()  # 70 ms each: one for all

_SENT = b'{"ok":true,"result":{"message_id":1,"date":0,"chat":{"id":1,"type":"private"}}}'
"""What the library is given to read of what was sent."""


class Access(NamedTuple):
    """Where to ask, as whom, and until when."""

    api: str
    token: str
    deadline: Deadline


class TelegramApiError(TelegramError):
    """An answer that is no success, with what the library drops: the status, and seconds as a plain number."""

    def __init__(self, status: int, answer: dict[str, Any]) -> None:
        parameters = answer.get("parameters")
        if not isinstance(parameters, dict):
            parameters = {}
        code = answer.get("error_code")
        self.code = code if 200 <= status <= 299 and isinstance(code, int) else status
        self.description = str(answer.get("description") or "")
        """Telegram's own words; empty: what came is not Telegram's."""
        self.retry_after = parse_retry_after(parameters.get("retry_after"))
        new_chat = parameters.get("migrate_to_chat_id")
        self.new_chat = new_chat if isinstance(new_chat, int) and not isinstance(new_chat, bool) else None
        super().__init__(self.description)


async def send_message(access: Access, chat: int | str, draft: Draft, reply_to: int | None) -> int | None:
    """Send; return the message's id, None when the answer does not hold it. Raises TelegramApiError, TimeoutError, and whatever
    the library raises when there is no answer: see `describe_fault`."""
    return await _ask(
        access,
        lambda bot: bot.send_message(
            chat,
            draft.text,
            parse_mode=_parse_mode(draft),
            message_thread_id=draft.topic,
            reply_parameters=_reply(reply_to),
            reply_markup=_markup(draft),
            link_preview_options=LinkPreviewOptions(is_disabled=True),
        ),
    )


async def edit_message(access: Access, chat: int | str, message: int, draft: Draft) -> None:
    """The message shows that, and no other buttons. Raises as `send_message` does."""
    await _ask(
        access,
        lambda bot: bot.edit_message_text(
            draft.text,
            chat,
            message,
            parse_mode=_parse_mode(draft),
            reply_markup=_markup(draft),
            link_preview_options=LinkPreviewOptions(is_disabled=True),
        ),
    )


async def send_photo(
    access: Access, chat: int | str, topic: int | None, reply_to: int | None, picture: bytes, caption: str
) -> None:
    """A PNG with plain text below it, without a sound. Raises as `send_message` does."""
    await _ask(
        access,
        lambda bot: bot.send_photo(
            chat,
            InputFile(picture, filename="chart.png"),
            caption,
            disable_notification=True,
            message_thread_id=topic,
            reply_parameters=_reply(reply_to),
        ),
    )


def describe_fault(fault: Exception, token: str) -> str:
    """What kept an answer from coming, in one line without the token."""
    cause = fault.__cause__ if isinstance(fault, TelegramError) and fault.__cause__ is not None else fault
    why = redact(str(cause) or type(cause).__name__, token, token.partition(":")[2])
    if isinstance(cause, httpx.TimeoutException):
        return f"Telegram gave no answer within {STEP_TIMEOUT:g} s — it is tried again"
    if isinstance(cause, httpx.ConnectError | httpx.ProxyError | httpx.UnsupportedProtocol | httpx.InvalidURL):
        return f"Telegram cannot be reached ({why}) — check the network, and api"
    if isinstance(cause, httpx.TransportError):
        return f"the connection to Telegram broke off before its answer was there ({why}) — it is tried again"
    return f"the client library failed ({type(cause).__name__}: {why}) — it is tried again"


class _Request(HTTPXRequest):
    """Reads the answer itself, as far as it comes."""

    def __init__(self) -> None:
        self._status = 0
        self._received = b""
        super().__init__(
            connect_timeout=STEP_TIMEOUT,
            read_timeout=STEP_TIMEOUT,
            write_timeout=STEP_TIMEOUT,
            pool_timeout=STEP_TIMEOUT,
            media_write_timeout=STEP_TIMEOUT,
            httpx_kwargs={
                "verify": TLS_CONTEXT,
                "headers": {"Accept-Encoding": "identity"},
                "event_hooks": {"response": [self._receive]},
            },
        )

    @property
    def answer(self) -> dict[str, Any]:
        return read_answer(self._received)

    @property
    def message_id(self) -> int | None:
        result = self.answer.get("result")
        found = result.get("message_id") if isinstance(result, dict) else None
        if isinstance(found, str) and found.isdecimal() and len(found) < 20:
            found = int(found)
        return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else None

    @property
    def is_done(self) -> bool:
        """Telegram says so; behind a status that says otherwise, the message's id proves it."""
        return says_ok(self.answer) and (200 <= self._status <= 299 or self.message_id is not None)

    async def _receive(self, response: httpx.Response) -> None:
        self._status, self._received = response.status_code, b""
        stream = response.stream
        assert isinstance(stream, httpx.AsyncByteStream)
        try:
            async for chunk in stream:
                self._received += chunk
                if len(self._received) >= MAX_BYTES:
                    break
        except httpx.HTTPError:
            if not self.is_done:
                raise
        finally:
            await stream.aclose()
        response.headers.pop("Content-Encoding", None)
        response.stream = httpx.ByteStream(b"")  # there is nothing more for the library to read, and to fail at

    async def do_request(self, *args: Any, **kwargs: Any) -> tuple[int, bytes]:
        await super().do_request(*args, **kwargs)
        if not self.is_done:
            raise TelegramApiError(self._status, self.answer)
        return 200, _SENT


async def _ask(access: Access, call: Callable[[Bot], Awaitable[object]]) -> int | None:
    """Only the request is opened, not the Bot: opening that asks Telegram who we are before every message."""
    request = _Request()
    try:
        async with asyncio.timeout(access.deadline.remaining()), request:
            await call(Bot(access.token, base_url=access.api, request=request, get_updates_request=request))
    except Exception:
        if not request.is_done:
            raise
    return request.message_id


def _parse_mode(draft: Draft) -> str | None:
    return "HTML" if draft.is_marked_up else None


def _reply(message: int | None) -> ReplyParameters | None:
    return None if message is None else ReplyParameters(message, allow_sending_without_reply=True)


def _markup(draft: Draft) -> InlineKeyboardMarkup | None:
    rows = [[InlineKeyboardButton(text, callback_data=answer) for text, answer in row] for row in draft.keyboard]
    return InlineKeyboardMarkup(rows) if rows else None
