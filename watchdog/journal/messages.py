"""Messages to be sent, and requests that people left: rows first, deeds afterwards."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from watchdog.core.model import Message, Millis
from watchdog.journal.sqlite import Journal, from_json, to_json


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """A message to one channel that is not known to be delivered."""

    id: int
    channel: str
    message: Message
    """With its key, and without its thread: the first message may still be on its way."""
    created: Millis
    tries: int


def enqueue(db: sqlite3.Connection, message: Message, channels: Iterable[str], now: Millis) -> None:
    """One row a channel; part of the transaction that made it worth telling."""
    text = to_json(message.lines)
    for channel in channels:
        db.execute(
            "INSERT INTO message (incident, channel, severity, title, lines, created, next_try) VALUES (?,?,?,?,?,?,?)",
            (message.incident, channel, message.severity, message.title, text, now, now),
        )


_HEAD_OF_LINE = (
    " FROM message m WHERE sent IS NULL AND failed IS NULL AND NOT EXISTS"
    " (SELECT 1 FROM message e WHERE e.channel = m.channel AND e.incident IS m.incident AND e.id < m.id"
    "  AND e.sent IS NULL AND e.failed IS NULL)"
)
"""Unsent, and nothing unsent before it: of one channel and incident nothing overtakes an earlier message."""


def due(journal: Journal, now: Millis, channel: str | None = None) -> list[OutboxMessage]:
    """What is to be tried now, on one channel or on all: critical ones first, then the oldest."""
    rows = journal.query(
        f"SELECT id, incident, channel, severity, title, lines, created, tries{_HEAD_OF_LINE} AND next_try <= ?"
        " AND (? IS NULL OR channel = ?) ORDER BY severity != 'crit', id LIMIT 20",
        now,
        channel,
        channel,
    )
    return [
        OutboxMessage(
            row["id"],
            row["channel"],
            Message(row["severity"], row["title"], tuple(from_json(row["lines"])), row["incident"], key=str(row["id"])),
            row["created"],
            row["tries"],
        )
        for row in rows
    ]


def next_due(journal: Journal) -> dict[str, Millis]:
    """For each channel with something unsent: when it is to be tried."""
    rows = journal.query(f"SELECT channel, min(next_try){_HEAD_OF_LINE} GROUP BY channel")
    return {row[0]: row[1] for row in rows}


def thread_handle(journal: Journal, channel: str, incident: int | None) -> str | None:
    """Handle of the incident's first message on a channel."""
    row = journal.query_one(
        "SELECT handle FROM message WHERE channel = ? AND incident = ? AND handle IS NOT NULL ORDER BY id LIMIT 1",
        channel,
        incident,
    )
    return None if row is None else row[0]


def mark_sent(db: sqlite3.Connection, message: int, handle: str | None, now: Millis) -> None:
    db.execute("UPDATE message SET sent = ?, handle = ?, error = NULL WHERE id = ?", (now, handle, message))


def mark_postponed(db: sqlite3.Connection, message: int, until: Millis, error: str) -> None:
    db.execute("UPDATE message SET tries = tries + 1, next_try = ?, error = ? WHERE id = ?", (until, error, message))


def mark_failed(db: sqlite3.Connection, message: int, error: str, now: Millis) -> None:
    db.execute("UPDATE message SET tries = tries + 1, failed = ?, error = ? WHERE id = ?", (now, error, message))


def count_sent(journal: Journal, incident: int) -> int:
    """How many messages of an incident were delivered."""
    (row,) = journal.query("SELECT count(*) FROM message WHERE incident = ? AND sent IS NOT NULL", incident)
    return int(row[0])


def list_undelivered(journal: Journal, incident: int) -> list[tuple[str, str | None]]:
    """(channel, last error, if it was tried) of an incident's messages that did not arrive, or not yet."""
    rows = journal.query("SELECT channel, error FROM message WHERE incident = ? AND sent IS NULL ORDER BY id", incident)
    return [(row[0], row[1]) for row in rows]


def was_enqueued_since(journal: Journal, title: str, t: Millis) -> bool:
    """Whether a message of this title was written after `t`, on whatever channel."""
    return journal.query_one("SELECT 1 FROM message WHERE title = ? AND created > ? LIMIT 1", title, t) is not None


@dataclass(frozen=True, slots=True)
class Request:
    """What a person asked for on the command line."""

    id: int
    t: Millis
    kind: str
    args: dict[str, Any]
    by: str


def add_request(db: sqlite3.Connection, kind: str, args: dict[str, Any], by: str, now: Millis) -> int:
    row = db.execute(
        "INSERT INTO request (t, kind, args, by) VALUES (?,?,?,?) RETURNING id", (now, kind, to_json(args), by)
    ).fetchone()
    return int(row[0])


def list_unanswered(journal: Journal) -> list[Request]:
    rows = journal.query("SELECT id, t, kind, args, by FROM request WHERE answered IS NULL ORDER BY id")
    return [Request(row[0], row[1], row[2], from_json(row[3]), row[4]) for row in rows]


def answer_request(db: sqlite3.Connection, request: int, ok: bool, text: str, now: Millis) -> None:
    db.execute("UPDATE request SET answered = ?, ok = ?, answer = ? WHERE id = ?", (now, ok, text, request))


def find_answer(journal: Journal, request: int) -> tuple[bool, str] | None:
    row = journal.query_one("SELECT ok, answer FROM request WHERE id = ? AND answered IS NOT NULL", request)
    return None if row is None else (bool(row[0]), row[1])
