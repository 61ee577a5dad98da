"""Telegram, by a bot."""

from __future__ import annotations

import asyncio
import html
import re
from typing import TYPE_CHECKING, Literal

from pydantic import ConfigDict, field_validator, model_validator

from watchdog.core.errors import NotifyError, install_command
from watchdog.core.model import Message, Secret, SecretFile
from watchdog.net.address import validate_url
from watchdog.net.errors import is_transient_status
from watchdog.net.secrets import redact
from watchdog.notifiers.channel import Channel
from watchdog.notifiers.text import title_line, truncate, utf16_length
from watchdog.notifiers.token import load_token, validate_token

if TYPE_CHECKING:
    from watchdog.notifiers.telegram_client import TelegramApiError

TIMEOUT = 10.0
"""Seconds for one message in all."""
MAX_MESSAGE_CHARACTERS = 4_096
"""Characters that Telegram takes in one message, markup not counted."""

_TOKEN_PATTERN = re.compile(r"[0-9]{1,20}:[A-Za-z0-9_-]{3,}")
CREDENTIAL_DESCRIPTION = "bot token (123456:ABC…)"


class TelegramNotifier(Channel):
    """Messages in a Telegram chat, one chain of replies per incident."""

    model_config = ConfigDict(hide_input_in_errors=True)

    type: Literal["telegram"]
    token: Secret | None = None
    """The bot's token, as @BotFather gave it."""
    token_file: SecretFile | None = None
    """File with that token; read anew for each message."""
    chat: int | str
    """Number of the chat (a group's is negative), or the @name of a public channel."""
    api: str = "https://api.telegram.org/bot"
    """Where the Bot API is, up to the token; for a Bot API server of your own."""

    @field_validator("api")
    @classmethod
    def _validate_api(cls, api: str) -> str:
        if "{" in api:  # the library would fill in the token there
            raise ValueError("an address reads like https://api.telegram.org/bot, up to the token and without it")
        cure = "leave name and password out: Telegram takes the token only"
        return validate_url(api, "https://api.telegram.org/bot", credentials_cure=cure)

    @field_validator("token")
    @classmethod
    def _validate_token(cls, token: Secret | None) -> Secret | None:
        return validate_token(token, _TOKEN_PATTERN, CREDENTIAL_DESCRIPTION)

    @field_validator("chat")
    @classmethod
    def _validate_chat(cls, chat: int | str) -> int | str:
        if isinstance(chat, str) and not re.fullmatch(r"@[A-Za-z0-9_]+|-?[0-9]+", chat):
            raise ValueError("a chat is a number such as -1001234, or the @name of a public channel")
        return chat

    @model_validator(mode="after")
    def _validate_credentials(self) -> TelegramNotifier:
        if (self.token is None) == (self.token_file is None):
            raise ValueError("say exactly one of token and token_file")
        return self

    async def send(self, message: Message) -> str | None:
        """Post it; return the thread's handle (id of its first message). Raises NotifyError only."""
        # Importing the library and reading the certificates takes 250 ms, once: not on the loop.
        await asyncio.to_thread(_load_client)
        from watchdog.notifiers import telegram_client as client

        token = load_token(self.token, self.token_file, _TOKEN_PATTERN, CREDENTIAL_DESCRIPTION)
        title, lines = render_message(message)
        marked_up = f"<b>{html.escape(title, quote=False)}</b>\n{html.escape(lines, quote=False)}".rstrip()
        reply_to = int(message.thread) if message.thread is not None and message.thread.isdecimal() else None
        try:
            async with asyncio.timeout(TIMEOUT):
                try:
                    sent = await client.send_message(self.api, token, self.chat, marked_up, "HTML", reply_to)
                except client.TelegramApiError as fault:
                    if fault.code != 400 or "parse entities" not in fault.description:
                        raise
                    sent = await client.send_message(self.api, token, self.chat, f"{title}\n{lines}", None, reply_to)
        except TimeoutError:
            raise NotifyError(f"Telegram gave no answer within {TIMEOUT:g} s — it is tried again") from None
        except client.TelegramApiError as fault:
            raise _refusal_error(fault, token) from None
        except Exception as fault:  # whatever the client lets through of httpx, ssl and json
            why = redact(str(fault) or type(fault).__name__, token, token.partition(":")[2])
            raise NotifyError(f"Telegram cannot be reached ({why}) — check the network, and api") from None
        return message.thread if reply_to is not None else str(sent)


def render_message(message: Message) -> tuple[str, str]:
    """Title and the lines below it: plain text that fits once Telegram has taken the markup out."""
    title = truncate(title_line(message), 300, utf16_length)
    lines = "\n".join(message.lines)
    return title, truncate(lines, MAX_MESSAGE_CHARACTERS - utf16_length(title) - 1, utf16_length)


def _load_client() -> None:
    try:
        from watchdog.notifiers import telegram_client  # noqa: F401
    except ImportError:
        raise NotifyError(
            f"the package python-telegram-bot is missing — {install_command('python-telegram-bot')}", permanent=True
        ) from None


def _refusal_error(fault: TelegramApiError, token: str) -> NotifyError:
    said = redact(fault.description, token, token.partition(":")[2])
    if fault.code == 429:
        return NotifyError("Telegram asks to slow down (rate limit)", retry_after=fault.retry_after)
    if is_transient_status(fault.code):
        return NotifyError(f"Telegram is in trouble (HTTP {fault.code}) — it is tried again")
    if fault.new_chat is not None:
        cure = f"the group became a supergroup: say chat: {fault.new_chat}"
    elif fault.code in (401, 404):
        cure = "ask @BotFather for the token and put it in token or token_file; check api"
    elif fault.code == 403:
        cure = "unblock the bot, or add it to the chat again and let it write"
    elif "chat not found" in said.lower():
        cure = "check chat; add the bot to it, or write to the bot first"
    else:
        cure = f"check chat and api (HTTP {fault.code})"
    return NotifyError(f"Telegram refused: {said} — {cure}", permanent=True)
