"""What people answer in Telegram, by long polling. An update is confirmed by the next poll, after it was taken in.

The library makes the requests; the answers are read here, so that what tomorrow's API adds stops nobody.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import httpx
from telegram import Bot, ReplyParameters
from telegram.error import TelegramError
from telegram.request import HTTPXRequest

from watchdog.core.chat import ChatEvent
from watchdog.core.errors import NotifyError
from watchdog.core.model import Millis
from watchdog.net.errors import is_transient_status, parse_retry_after
from watchdog.net.secrets import redact
from watchdog.notifiers import telegram_client
from watchdog.notifiers.listening import Patience, Routes, clean_text, listen_with_token
from watchdog.notifiers.telegram_chats import find_current, note_successor, parse_handle
from watchdog.notifiers.telegram_updates import (
    UPDATE_TYPES,
    callback_id,
    read_migration,
    read_update,
    read_update_id,
)

POLL_SECONDS = 25
"""How long Telegram lets a poll wait for something to be said."""
STEP_TIMEOUT = 10.0
"""Seconds for each step of a request, beside that."""
LIMIT = 50
"""Updates that come at once."""
FRESH = 120_000
"""ms from one poll to the next within which a button is believed to have been pressed just now."""
RECEIVE_PAUSE = 1.0
"""Seconds until what could not be taken in is asked for once more."""
CONFLICT_RETRY = 2.0
"""Seconds until somebody else's poll may be over that was our own, before a restart."""
CONFLICT_PAUSE = 60.0
"""Seconds between tries while somebody else polls with the same token."""
MAX_TOAST = 200
"""Characters of an answer to a button."""

_STAND_IN_MESSAGE = {"message_id": 1, "date": 0, "chat": {"id": 1, "type": "private"}}
_STAND_INS: Mapping[str, object] = {
    "getMe": {"id": 1, "is_bot": True, "first_name": "-"},
    "getUpdates": [],
    "answerCallbackQuery": True,
    "sendMessage": _STAND_IN_MESSAGE,
}
"""Method → what the library is given to read, instead of what Telegram answered."""


class Answer(NamedTuple):
    status: int
    body: bytes
    date: Millis | None
    """By Telegram's clock."""


class _ConflictError(NotifyError):
    """Somebody else polls with the same token."""


class _Request(HTTPXRequest):
    """Keeps the last answer as it came."""

    def __init__(self) -> None:
        self.answer = Answer(0, b"", None)
        super().__init__(
            connect_timeout=STEP_TIMEOUT,
            read_timeout=STEP_TIMEOUT,
            write_timeout=STEP_TIMEOUT,
            pool_timeout=STEP_TIMEOUT,
            httpx_kwargs={"verify": telegram_client.TLS_CONTEXT, "event_hooks": {"response": [self._note_date]}},
        )
        self._date: Millis | None = None

    async def _note_date(self, response: httpx.Response) -> None:
        try:
            self._date = round(parsedate_to_datetime(response.headers.get("Date", "")).timestamp() * 1_000)
        except (ValueError, OverflowError):
            self._date = None

    async def do_request(self, url: str, *args: Any, **kwargs: Any) -> tuple[int, bytes]:
        self.answer = Answer(0, b"", None)
        status, body = await super().do_request(url, *args, **kwargs)
        self.answer = Answer(status, body, self._date)
        method = url.rpartition("/")[2]
        return 200, json.dumps({"ok": True, "result": _STAND_INS[method]}).encode()


class _Client:
    """The Bot API as far as it is needed here. Its methods raise NotifyError only."""

    def __init__(self, api: str, token: str, request: _Request) -> None:
        self.api = api
        self._token = token
        self._request = request
        self._bot = Bot(token, base_url=api, request=request, get_updates_request=request)

    async def get_username(self) -> str:
        user = await self._ask(lambda bot: bot.get_me())
        return clean_text(user.get("username")) if isinstance(user, dict) else ""

    async def get_updates(self, offset: int | None, wait: int) -> tuple[list[Any], Millis | None]:
        """What was said from there on, and when that was answered."""
        updates = await self._ask(
            lambda bot: bot.get_updates(
                offset, LIMIT, wait, UPDATE_TYPES, read_timeout=STEP_TIMEOUT
            )  # the library adds `wait` to that
        )
        if not isinstance(updates, list):
            raise NotifyError(
                "what came instead of Telegram's updates is no list — is a proxy in between, and api right?"
            )
        return updates, self._request.answer.date

    async def answer_button(self, query: str, text: str) -> None:
        await self._ask(lambda bot: bot.answer_callback_query(query, text[:MAX_TOAST]))

    async def answer_message(self, chat: int | str, text: str, reply_to: int | None) -> None:
        reply = None if reply_to is None else ReplyParameters(reply_to, allow_sending_without_reply=True)
        await self._ask(lambda bot: bot.send_message(chat, text, reply_parameters=reply))

    async def _ask(self, call: Callable[[Bot], Any]) -> Any:
        try:
            async with asyncio.timeout(POLL_SECONDS + 2 * STEP_TIMEOUT):
                await call(self._bot)
        except TimeoutError:
            raise NotifyError("Telegram does not come to the end of its answer — it is tried again") from None
        except TelegramError as fault:
            cause = fault.__cause__ or fault
            why = redact(str(cause) or type(cause).__name__, self._token, self._token.partition(":")[2])
            raise NotifyError(f"Telegram cannot be reached ({why}) — check the network, and api") from None
        return _read_answer(self._request.answer, self._token)


def _read_answer(answer: Answer, token: str) -> Any:
    """The result. Raises NotifyError."""
    try:
        body = json.loads(answer.body)
    except (ValueError, RecursionError):
        body = None
    if isinstance(body, dict) and body.get("ok") is True and 200 <= answer.status <= 299:
        return body.get("result")
    if not isinstance(body, dict):
        if 200 <= answer.status <= 299:
            return _raise(
                NotifyError("what came instead of Telegram's answer is none — is a proxy in between, and api right?")
            )
        body = {}
    parameters = body.get("parameters")
    code = body.get("error_code")
    code = code if 200 <= answer.status <= 299 and isinstance(code, int) else answer.status
    said = redact(str(body.get("description") or f"HTTP {code}"), token, token.partition(":")[2])
    if code == 429:
        retry_after = parse_retry_after(parameters.get("retry_after")) if isinstance(parameters, dict) else None
        return _raise(NotifyError("Telegram asks to slow down (rate limit)", retry_after=retry_after))
    if code == 409 and "webhook" in said.lower():
        cure = "another program has set a webhook for this bot: remove it there (deleteWebhook), or make a bot for us"
        return _raise(NotifyError(f"Telegram tells us nothing of what people answer: {cure}", permanent=True))
    if code == 409:
        what = "somebody else asks Telegram with the same token what people answer, and each takes it from the other"
        cure = "is a second watchdog running with it? Give each a bot of its own"
        return _raise(_ConflictError(f"{what} — {cure}", retry_after=CONFLICT_PAUSE))
    if code in (401, 404):
        cure = "ask @BotFather for the token and put it in token or token_file; check api"
        return _raise(NotifyError(f"Telegram refused: {said} — {cure}", permanent=True))
    if is_transient_status(code) or 200 <= code <= 299:
        return _raise(NotifyError(f"Telegram is in trouble (HTTP {answer.status}) — it is tried again"))
    return _raise(NotifyError(f"Telegram refused: {said} — check api", permanent=True))


def _raise(error: NotifyError) -> Any:
    raise error from None


async def listen(api: str, load_token: Callable[[], str], routes: Routes) -> None:
    """Until cancelled. Raises NotifyError when nothing is heard, and what a receiver raises."""

    async def poll(token: str) -> None:
        async with _Request() as request:
            await _Poller(_Client(api, token, request), routes).run()

    await listen_with_token(load_token, poll)


class _Poller:
    """One run of polls."""

    def __init__(self, client: _Client, routes: Routes) -> None:
        self._client = client
        self._routes = routes
        self._username: str | None = None
        self._offset: int | None = None
        """None: from the oldest that nobody has confirmed."""
        self._has_all = False
        """The last answer held all that there was."""
        self._failed = False
        """A poll has failed since."""
        self._answered: Millis | None = None
        """When that was, by Telegram's clock."""

    async def run(self) -> None:
        patience, conflicts = Patience(), 0
        while True:
            wait = POLL_SECONDS if self._has_all and not self._failed else 0
            try:
                if self._username is None:
                    self._username = await self._client.get_username()
                updates, date = await self._client.get_updates(self._offset, wait)
            except NotifyError as error:
                self._failed = True
                if isinstance(error, _ConflictError):
                    # One alone may be what is left of our own last poll, before a restart.
                    conflicts += 1
                    if conflicts > 1:
                        raise
                    error = NotifyError(str(error), retry_after=CONFLICT_RETRY)
                await asyncio.sleep(patience.next_pause(error))
                continue
            patience.renew()
            if wait and not updates:
                conflicts = 0  # nobody has cut it short
            if not updates:
                # All is confirmed. After a quiet week Telegram counts on from any number, perhaps a lower one.
                self._offset = None
            if not await self._take(updates, self._pressed(date)):
                self._has_all = False
                await asyncio.sleep(RECEIVE_PAUSE)
                continue
            self._has_all, self._failed, self._answered = len(updates) < LIMIT, False, date

    def _pressed(self, date: Millis | None) -> Millis | None:
        """When a button of this answer was pressed at the earliest; None: nobody knows. 0: just now."""
        if not self._has_all:
            return None
        if date is None or self._answered is None:
            return None if self._failed else 0
        return date if date - self._answered <= FRESH else None

    async def _take(self, updates: list[Any], pressed: Millis | None) -> bool:
        """Whether all of it was taken in; if not, the rest is asked for once more."""
        before = self._offset
        for update in updates:
            number = read_update_id(update) if isinstance(update, dict) else None
            if number is None:
                await self._routes.take("Telegram", "an update without a number")
                continue
            if (moved := read_migration(update)) is not None:
                old, new = moved
                self._routes.move(old, new)
                note_successor(self._client.api, int(old), int(new))
            if not await self._routes.take("Telegram", read_update(update, self._username or "", pressed)):
                return False
            self._offset = number + 1
        return not updates or self._offset != before


async def acknowledge(api: str, token: str, chat: int | str, event: ChatEvent, text: str) -> None:
    """A note over the button that only who pressed it sees; to a command, a reply. Raises NotifyError only."""
    query = callback_id(event.key)
    async with _Request() as request:
        client = _Client(api, token, request)
        if query is not None:
            await client.answer_button(query, text)
            return
        where = find_current(api, event.chat or chat)
        await client.answer_message(where, text, parse_handle(event.reply_to, where))
