"""Telegram, by a bot."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from watchdog.core.chat import ChatEvent, ReceiveFunction
from watchdog.core.errors import NotifyError, install_command
from watchdog.core.model import Message, Secret, SecretFile
from watchdog.core.telemetry import log
from watchdog.net.address import validate_url
from watchdog.net.deadline import Deadline
from watchdog.net.errors import is_transient_status
from watchdog.net.secrets import redact
from watchdog.notifiers.channel import MessageChannel
from watchdog.notifiers.listening import listen_together
from watchdog.notifiers.telegram_chats import find_current, format_handle, note_successor, parse_handle
from watchdog.notifiers.telegram_layout import Draft, draft_message, render_caption, simplify
from watchdog.notifiers.token import load_token, validate_token

if TYPE_CHECKING:
    from watchdog.notifiers.telegram_client import Access, TelegramApiError

TIMEOUT = 10.0
"""Seconds for one message in all, and as many for its picture."""

_TOKEN_PATTERN = re.compile(r"[0-9]{1,20}:[A-Za-z0-9_-]{3,}")
CREDENTIAL_DESCRIPTION = "bot token (123456:ABC…)"


class TelegramNotifier(MessageChannel):
    """Messages in a Telegram chat, one chain of replies per incident."""

    model_config = ConfigDict(hide_input_in_errors=True)

    type: Literal["telegram"]
    token: Secret | None = None
    """The bot's token, as @BotFather gave it."""
    token_file: SecretFile | None = None
    """File with that token; read anew for each message."""
    chat: int | str
    """Number of the chat (a group's is negative), or the @name of a public channel."""
    thread: int | None = Field(None, ge=1)
    """Number of the topic in a forum group; when not said: *General*."""
    answers: bool | None = None
    """Whether people may answer here; when not said, where the configuration has ``people:``. A bot's answers go to one
    program alone: ``false`` where another asks for them."""
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

    @property
    def shows_pictures(self) -> bool:
        return True

    @property
    def current_chat(self) -> int | str:
        """The chat that is meant: with its new number, once Telegram has said that in this process."""
        return find_current(self.api, self.chat)

    @property
    def notice(self) -> str | None:
        """What is to be put right although messages arrive; None: nothing."""
        current = self.current_chat
        if str(current) == str(self.chat):
            return None
        return f"the group {self.chat} became the supergroup {current}, and messages go there — say chat: {current}"

    @property
    def listen_to_people(self) -> bool:
        return self.answers is not False

    async def listen(self, receive: ReceiveFunction) -> None:
        """See `core.chat.ListeningNotifier`."""
        await asyncio.to_thread(_load_client)
        from watchdog.notifiers import telegram_polling

        credential = ("telegram", self.api, self._load_token())
        await listen_together(
            credential,
            str(self.chat),
            receive,
            lambda routes: telegram_polling.listen(self.api, self._load_token, routes),
        )

    async def acknowledge(self, event: ChatEvent, text: str) -> None:
        """See `core.chat.ListeningNotifier`."""
        await asyncio.to_thread(_load_client)
        from watchdog.notifiers import telegram_polling

        await telegram_polling.acknowledge(self.api, self._load_token(), self.chat, event, text)

    def _load_token(self) -> str:
        return load_token(self.token, self.token_file, _TOKEN_PATTERN, CREDENTIAL_DESCRIPTION)

    async def send(self, message: Message) -> str | None:
        """Post it; return the thread's handle (of its first message). Raises NotifyError only.

        None: Telegram has taken it, and its answer does not say as what.
        """
        access = await self._open()
        from watchdog.notifiers import telegram_client as client

        handle: str | None = None
        topic: int | None = None

        async def post(chat: int | str, draft: Draft) -> None:
            nonlocal handle, topic
            reply_to = parse_handle(message.thread, chat) if draft.is_reply else None
            sent = await client.send_message(access, chat, draft, reply_to)
            own_handle = None if sent is None else format_handle(sent, chat)
            handle, topic = message.thread if reply_to is not None else own_handle, draft.topic

        await self._deliver(access, draft_message(message, self.thread), post)
        if message.picture is not None:
            await self._send_picture(message, message.picture, handle, topic)
        return handle

    async def edit(self, handle: str, message: Message) -> None:
        """That message says this now, with these buttons and no others. Raises NotifyError only: permanent when it is gone.

        A picture stays what it was: it is a message of its own.
        """
        access = await self._open()
        from watchdog.notifiers import telegram_client as client

        async def rewrite(chat: int | str, draft: Draft) -> None:
            number = parse_handle(handle, chat)
            if number is None:
                raise NotifyError("the message to edit is not in this chat — a new one says what is so", permanent=True)
            try:
                await client.edit_message(access, chat, number, draft)
            except client.TelegramApiError as fault:
                if "message is not modified" not in fault.description.lower():
                    raise

        await self._deliver(access, draft_message(message, None), rewrite)

    async def _send_picture(self, message: Message, picture: bytes, handle: str | None, topic: int | None) -> None:
        """Below the text, which is sent: a picture that fails is only told to the log."""
        try:
            access = await self._open()
            from watchdog.notifiers import telegram_client as client

            async def post(chat: int | str, draft: Draft) -> None:
                reply_to = parse_handle(handle, chat) if draft.is_reply else None
                await client.send_photo(access, chat, draft.topic, reply_to, picture, draft.title)

            await self._deliver(access, Draft(render_caption(message), "", topic=topic), post)
        except NotifyError as error:
            log.warning("Telegram: the picture of a message was not sent: %s", error)

    async def _open(self) -> Access:
        # Importing the library and reading the certificates takes 250 ms, once: not on the loop.
        await asyncio.to_thread(_load_client)
        from watchdog.notifiers import telegram_client as client

        token = self._load_token()
        return client.Access(self.api, token, Deadline.after(round(TIMEOUT * 1_000)))

    async def _deliver(
        self, access: Access, draft: Draft, deliver: Callable[[int | str, Draft], Awaitable[None]]
    ) -> None:
        """With as much of it as Telegram takes, in the chat that is meant by now."""
        from watchdog.notifiers import telegram_client as client

        while True:
            chat = self.current_chat
            try:
                return await deliver(chat, draft)
            except NotifyError:
                raise
            except TimeoutError:
                raise NotifyError(f"Telegram gave no answer within {TIMEOUT:g} s — it is tried again") from None
            except client.TelegramApiError as fault:
                if fault.new_chat is not None and note_successor(self.api, chat, fault.new_chat):
                    log.warning("Telegram: the group %s became the supergroup %s", chat, fault.new_chat)
                    continue
                simpler = simplify(draft, fault.description) if fault.code == 400 else None
                if simpler is None:
                    raise _refusal_error(fault, access.token) from None
                if simpler.topic != draft.topic:
                    log.warning(
                        "Telegram: topic %s is gone or closed (thread): the message goes to General", draft.topic
                    )
                draft = simpler
            except Exception as fault:  # whatever the client lets through of httpx, ssl and json
                raise NotifyError(client.describe_fault(fault, access.token)) from None


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
    if not said:
        what = "what Telegram never answers" if 200 <= fault.code <= 299 else f"HTTP {fault.code}"
        cure = "check token and token_file, and api" if fault.code in (401, 404) else "is api right?"
        return NotifyError(
            f"{what} came instead of Telegram's answer — is a proxy in between? {cure}",
            permanent=not 200 <= fault.code <= 299,
        )
    if fault.new_chat is not None:
        cure = f"the group became a supergroup: say chat: {fault.new_chat}"
    elif fault.code in (401, 404):
        cure = "ask @BotFather for the token and put it in token or token_file; check api"
    elif fault.code == 403:
        cure = "unblock the bot, or add it to the chat again and let it write"
    elif "chat not found" in said.lower():
        cure = "check chat; add the bot to it, or write to the bot first"
    elif "message" in said.lower() and ("not found" in said.lower() or "edited" in said.lower()):
        cure = "it was deleted, or is not the bot's: a new message says what is so"
    else:
        cure = f"check chat and api (HTTP {fault.code})"
    return NotifyError(f"Telegram refused: {said} — {cure}", permanent=True)
