"""What people said in chats, each once, how it was answered, and what they are asked once more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from watchdog.core.chat import ChatEvent
from watchdog.core.model import Millis
from watchdog.journal.serialization import from_json, to_json
from watchdog.journal.sql import SqlRepository


@dataclass(frozen=True, slots=True)
class ChatRecord:
    """One thing that was said."""

    id: int
    channel: str
    """Name of the configuration."""
    event: ChatEvent
    """As it was taken in; without `user_name` and `chat`, which say nothing any more."""
    received: Millis
    person: str | None
    """Who of `people:` said it; None: nobody of them."""
    request: int | None
    """What was asked of the watchdog by it; None: nothing yet, or nothing at all."""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What a person is asked once more."""

    id: int
    channel: str
    person: str
    kind: str
    """Of the request that it becomes, with its `args`."""
    args: dict[str, Any]
    t: Millis
    until: Millis
    used: Millis | None


class SqlChatReader(SqlRepository):
    def list_unanswered(self) -> list[ChatRecord]:
        rows = self._sql.query(
            "SELECT id, channel, key, t, received, user, person, text, is_button, message, reply_to, request"
            " FROM chat_event WHERE answered IS NULL ORDER BY id"
        )
        return [
            ChatRecord(
                row["id"],
                row["channel"],
                ChatEvent(
                    row["key"], row["user"], "", "", row["text"], row["t"], bool(row["is_button"]), row["message"],
                    row["reply_to"],
                ),
                row["received"],
                row["person"],
                row["request"],
            )
            for row in rows
        ]  # fmt: skip

    def find_confirmation(self, number: int) -> Confirmation | None:
        row = self._sql.query_one(
            "SELECT id, channel, person, kind, args, t, until, used FROM confirmation WHERE id = ?", number
        )
        return None if row is None else Confirmation(**{**dict(row), "args": from_json(row["args"])})

    def list_open_confirmations(self, now: Millis) -> list[Confirmation]:
        rows = self._sql.query(
            "SELECT id, channel, person, kind, args, t, until, used FROM confirmation"
            " WHERE used IS NULL AND until >= ? ORDER BY id",
            now,
        )
        return [Confirmation(**{**dict(row), "args": from_json(row["args"])}) for row in rows]


class SqlChatWriter(SqlRepository):
    def add_event(self, channel: str, event: ChatEvent, person: str | None, now: Millis) -> int | None:
        """Its number; None where it was taken in already."""
        return self._sql.insert_once(
            "INSERT INTO chat_event (channel, key, t, received, user, person, text, is_button, message, reply_to)"
            " VALUES (?,?,?,?,?,?,?,?,?,?) ON CONFLICT (channel, key) DO NOTHING RETURNING id",
            *(channel, event.key, event.t, now, event.user, person, event.text, event.is_button),
            *(event.message, event.reply_to),
        )

    def link_request(self, event: int, request: int) -> None:
        self._sql.execute("UPDATE chat_event SET request = ? WHERE id = ?", request, event)

    def answer_event(self, event: int, answer: str, now: Millis) -> None:
        self._sql.execute("UPDATE chat_event SET answered = ?, answer = ? WHERE id = ?", now, answer, event)

    def add_confirmation(
        self, channel: str, person: str, kind: str, args: dict[str, Any], until: Millis, now: Millis
    ) -> int:
        return self._sql.insert(
            "INSERT INTO confirmation (channel, person, kind, args, t, until) VALUES (?,?,?,?,?,?) RETURNING id",
            *(channel, person, kind, to_json(args), now, until),
        )

    def use_confirmation(self, number: int, by: str, now: Millis) -> None:
        self._sql.execute("UPDATE confirmation SET used = ?, used_by = ? WHERE id = ?", now, by, number)
