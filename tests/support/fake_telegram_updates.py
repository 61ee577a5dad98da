"""Telegram's getUpdates at its HTTP border, as https://core.telegram.org/bots/api#getupdates says it is.

An update is kept until a poll asks for one behind it. A poll waits for as long as it says; another one ends it with 409.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qs

from tests.support.fake_chats import FakeServer, Request, Response, telegram_error

Json = dict[str, Any]
DAY = 1_700_000_000
"""Seconds; when what is said here was said."""


class FakeTelegramUpdates(FakeServer):
    """One bot."""

    token = "123456:AAhush-hush_hush"
    username = "our_watchdog_bot"
    chat_id = -1001234567890

    def __init__(self) -> None:
        self.now = DAY
        """Seconds, by Telegram's clock."""
        self.shows_time = True
        self.webhook = ""
        self.polls: list[Json] = []
        """Parameters of each."""
        self.answers: list[tuple[str, Json]] = []
        """(method, parameters) of what was answered."""
        self._updates: dict[int, Json] = {}
        self._numbers = itertools.count(820_000_001)
        self._changed = threading.Condition()
        self._poll = 0
        self._closing = False
        super().__init__()
        self._server.RequestHandlerClass.date_time_string = lambda *_: (  # type: ignore[attr-defined]
            formatdate(self.now, usegmt=True) if self.shows_time else ""
        )

    @property
    def api_url(self) -> str:
        return f"{self.url}/bot"

    def say(self, update: Json, number: int | None = None) -> int:
        """Somebody has; the update's number."""
        with self._changed:
            number = next(self._numbers) if number is None else number
            self._updates[number] = {"update_id": number, **update}
            self._changed.notify_all()
            return number

    @property
    def unconfirmed(self) -> list[int]:
        return sorted(self._updates)

    def wait_until(self, condition: Any) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, 60)

    def steal_poll(self) -> None:
        """Somebody else polls with the same token."""
        with self._changed:
            self._poll += 1
            self._changed.notify_all()

    def respond(self, request: Request) -> Response:
        place, _, method = request.path.rpartition("/")
        if place != f"/bot{self.token}":
            return telegram_error(401, "Unauthorized")
        fields = {name: values[-1] for name, values in parse_qs(request.body.decode()).items()}
        if method == "getMe":
            me = {"id": 123456, "is_bot": True, "first_name": "Watchdog", "username": self.username, "can_dance": [1]}
            return _ok(me)
        if method == "getUpdates":
            return self._get_updates(fields)
        if method == "answerCallbackQuery":
            if not fields.get("callback_query_id", "").startswith("4382"):
                return telegram_error(
                    400, "Bad Request: query is too old and response timeout expired or query ID is invalid"
                )
            if len(fields.get("text", "")) > 200:
                return telegram_error(400, "Bad Request: MESSAGE_TOO_LONG")
            self.answers.append((method, fields))
            return _ok(True)
        if method == "sendMessage":
            self.answers.append((method, fields))
            return _ok({"message_id": 1, "date": self.now, "chat": {"id": int(fields["chat_id"])}, "new": "text"})
        return telegram_error(404, "Not Found")

    def close(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        super().close()

    def _get_updates(self, fields: Json) -> Response:
        offset, limit = int(fields.get("offset", 0)), int(fields.get("limit", 100))
        assert 1 <= limit <= 100
        with self._changed:
            self.polls.append(fields)
            self._poll += 1
            mine = self._poll
            self._changed.notify_all()
            if self.webhook:
                return telegram_error(
                    409,
                    "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first",
                )
            self._updates = {number: each for number, each in self._updates.items() if number >= offset}
            self._changed.notify_all()
            until = time.monotonic() + float(fields.get("timeout", 0))
            while not self._updates and mine == self._poll and not self._closing:
                if not self._changed.wait(max(0, until - time.monotonic())):
                    break
            if mine != self._poll:
                return telegram_error(
                    409,
                    "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running",
                )
            return _ok([self._updates[number] for number in sorted(self._updates)][:limit])


def _ok(result: object) -> Response:
    return Response(200, json.dumps({"ok": True, "result": result}))


ANN = {"id": 4711, "is_bot": False, "first_name": "Ann", "username": "ann", "language_code": "en"}


def message(text: Any = "/status", **more: Any) -> Json:
    chat = {"id": FakeTelegramUpdates.chat_id, "type": "supergroup", "title": "Alerts"}
    said = {"message_id": 77, "from": ANN, "chat": chat, "date": DAY - 60, "text": text}
    return {"message": {**said, **more}}


def direct(text: Any = "/status", **more: Any) -> Json:
    return message(text, **{"chat": {"id": ANN["id"], "type": "private", "first_name": "Ann"}, **more})


def press(data: Any = "ack 17", **more: Any) -> Json:
    """A button under a message of the bot's."""
    bot = {"id": 123456, "is_bot": True, "first_name": "Watchdog"}
    chat = {"id": FakeTelegramUpdates.chat_id, "type": "supergroup", "title": "Alerts"}
    shown = {"message_id": 42, "from": bot, "chat": chat, "date": DAY - 7_200, "edit_date": DAY - 3_600, "text": "…"}
    query = {"id": "4382bfdwdsb323b2d9", "from": ANN, "message": shown, "chat_instance": "-99", "data": data}
    return {"callback_query": {**query, **more}}
