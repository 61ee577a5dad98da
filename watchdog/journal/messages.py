"""The outbox in the journal: messages to be sent, rows first, deeds afterwards."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from watchdog.core.model import Message, Millis
from watchdog.journal.serialization import from_json, to_json
from watchdog.journal.sql import SqlRepository


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """A message to one channel that is not known to be delivered."""

    id: int
    channel: str
    message: Message
    """With its key, and without its thread: the first message may still be on its way."""
    created: Millis
    tries: int


_HEAD_OF_LINE = (
    " FROM message m WHERE sent IS NULL AND failed IS NULL AND NOT EXISTS"
    " (SELECT 1 FROM message e WHERE e.channel = m.channel AND e.incident IS m.incident AND e.id < m.id"
    "  AND e.sent IS NULL AND e.failed IS NULL)"
)
"""Unsent, and nothing unsent before it: of one channel and incident nothing overtakes an earlier message."""


class SqlMessageReader(SqlRepository):
    def due(self, now: Millis, channel: str | None = None) -> list[OutboxMessage]:
        rows = self._sql.query(
            f"SELECT id, incident, channel, severity, title, lines, created, tries, broadcast{_HEAD_OF_LINE}"
            " AND next_try <= ?"
            " AND (? IS NULL OR channel = ?) ORDER BY severity != 'crit', id LIMIT 20",
            now,
            channel,
            channel,
        )
        return [
            OutboxMessage(
                row["id"],
                row["channel"],
                Message(
                    row["severity"],
                    row["title"],
                    tuple(from_json(row["lines"])),
                    row["incident"],
                    broadcast=bool(row["broadcast"]),
                    key=str(row["id"]),
                ),
                row["created"],
                row["tries"],
            )
            for row in rows
        ]

    def next_due(self) -> dict[str, Millis]:
        rows = self._sql.query(f"SELECT channel, min(next_try){_HEAD_OF_LINE} GROUP BY channel")
        return {row[0]: row[1] for row in rows}

    def thread_handle(self, channel: str, incident: int | None) -> str | None:
        row = self._sql.query_one(
            "SELECT handle FROM message WHERE channel = ? AND incident = ? AND handle IS NOT NULL ORDER BY id LIMIT 1",
            channel,
            incident,
        )
        return None if row is None else row[0]

    def begins_thread(self, channel: str, incident: int | None) -> bool:
        return incident is None or (
            self._sql.query_one("SELECT 1 FROM message WHERE channel = ? AND incident = ? LIMIT 1", channel, incident)
            is None
        )

    def list_told(self, topics: Collection[str]) -> set[str]:
        placeholders = ", ".join("?" * len(topics))
        sql = f"SELECT DISTINCT channel FROM told WHERE topic IN ({placeholders})"  # noqa: S608 – marks only
        return {row[0] for row in self._sql.query(sql, *topics)}

    def list_open_topics(self) -> list[str]:
        return [row[0] for row in self._sql.query("SELECT DISTINCT topic FROM told ORDER BY topic")]

    def list_open(self) -> list[tuple[str, str]]:
        return [(row[0], row[1]) for row in self._sql.query("SELECT channel, topic FROM told ORDER BY channel, topic")]

    def list_unsent(self) -> list[tuple[str, Message]]:
        rows = self._sql.query(
            "SELECT channel, severity, title, lines, broadcast FROM message WHERE sent IS NULL AND failed IS NULL ORDER BY id"
        )
        return [
            (
                row["channel"],
                Message(
                    row["severity"], row["title"], tuple(from_json(row["lines"])), broadcast=bool(row["broadcast"])
                ),
            )
            for row in rows
        ]

    def count_sent(self, incident: int) -> int:
        (row,) = self._sql.query("SELECT count(*) FROM message WHERE incident = ? AND sent IS NOT NULL", incident)
        return int(row[0])

    def list_undelivered(self, incident: int) -> list[tuple[str, str | None]]:
        rows = self._sql.query(
            "SELECT channel, error FROM message WHERE incident = ? AND sent IS NULL ORDER BY id", incident
        )
        return [(row[0], row[1]) for row in rows]

    def was_enqueued_since(self, title: str, t: Millis) -> bool:
        return (
            self._sql.query_one("SELECT 1 FROM message WHERE title = ? AND created > ? LIMIT 1", title, t) is not None
        )


class SqlMessageWriter(SqlRepository):
    def enqueue(self, message: Message, channels: Iterable[str], now: Millis) -> None:
        text = to_json(message.lines)
        for channel in channels:
            ended = [self._end_topic(topic, channel) for topic in message.ends]
            self._sql.execute(
                "INSERT INTO message (incident, channel, severity, title, lines, created, next_try, broadcast)"
                " VALUES (?,?,?,?,?,?,?,?)",
                message.incident,
                channel,
                message.severity,
                message.title,
                text,
                now,
                now,
                message.severity == "crit" or any(ended),
            )
            for topic in message.opens:
                self.open_topic(topic, channel)

    def open_topic(self, topic: str, channel: str) -> None:
        self._sql.execute("INSERT OR IGNORE INTO told VALUES (?,?)", channel, topic)

    def _end_topic(self, topic: str, channel: str) -> bool:
        """True when the channel had been told of it."""
        where = "FROM told WHERE topic = ? AND channel = ?"
        known = self._sql.query_one(f"SELECT 1 {where}", topic, channel) is not None
        if known:
            self._sql.execute(f"DELETE {where}", topic, channel)
        return known

    def forget_topics(self, topics: Iterable[str]) -> None:
        for topic in topics:
            self._sql.execute("DELETE FROM told WHERE topic = ?", topic)

    def mark_sent(self, message: int, handle: str | None, now: Millis) -> None:
        self._sql.execute("UPDATE message SET sent = ?, handle = ?, error = NULL WHERE id = ?", now, handle, message)

    def mark_postponed(self, message: int, until: Millis, error: str) -> None:
        self._sql.execute(
            "UPDATE message SET tries = tries + 1, next_try = ?, error = ? WHERE id = ?", until, error, message
        )

    def mark_failed(self, message: int, error: str, now: Millis) -> None:
        self._sql.execute(
            "UPDATE message SET tries = tries + 1, failed = ?, error = ? WHERE id = ?", now, error, message
        )
