"""What is written into the outbox: rows first, deeds afterwards."""

from __future__ import annotations

from collections.abc import Iterable

from watchdog.core.model import Message, Millis, Severity
from watchdog.journal.held_messages import SqlHeldMessageWriter
from watchdog.journal.messages import OUTAGE_TRIES, extra_text
from watchdog.journal.serialization import to_json
from watchdog.journal.topics import channel_of, incident_of


class SqlMessageWriter(SqlHeldMessageWriter):
    def enqueue(self, message: Message, channels: Iterable[str], now: Millis) -> None:
        text, extra = to_json(message.lines), extra_text(message)
        # What is said of a channel is no news of another that is late with it: they would complain to each other for ever.
        is_report = any(channel_of(topic) is not None for topic in (*message.opens, *message.ends))
        for channel in channels:
            ended = [self._end_topic(topic, channel) for topic in message.ends]
            self._sql.execute(
                "INSERT INTO message"
                " (incident, channel, severity, title, lines, created, next_try, broadcast, lane, reported, extra, relief)"
                " VALUES (?,?,?,?,?,?,?,?,?,?,?,?)",
                message.incident,
                channel,
                message.severity,
                message.title,
                text,
                now,
                now,
                message.severity == "crit" or any(ended),
                not (message.severity == "crit" or message.urgent),
                now if is_report else None,
                extra,
                any(known and self._is_critical(topic) for known, topic in zip(ended, message.ends, strict=True)),
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

    def _is_critical(self, topic: str) -> bool:
        incident = incident_of(topic)
        return incident is not None and (
            self._sql.query_one("SELECT 1 FROM incident WHERE id = ? AND severity = 'crit'", incident) is not None
        )

    def forget_topics(self, topics: Iterable[str]) -> None:
        for topic in topics:
            self._sql.execute("DELETE FROM told WHERE topic = ?", topic)

    def enqueue_catch_up(
        self, channel: str, incident: int, severity: Severity, next_try: Millis, error: str | None, now: Millis
    ) -> None:
        waiting = self._sql.query_one(
            "SELECT id FROM message WHERE channel = ? AND incident = ? AND catch_up = 1"
            " AND sent IS NULL AND failed IS NULL",
            channel,
            incident,
        )
        if waiting is not None:
            return
        self._sql.execute(
            "INSERT INTO message"
            " (incident, channel, severity, title, lines, created, next_try, broadcast, lane, catch_up, reported, error)"
            " VALUES (?,?,?,?,'[]',?,?,1,?,1,?,?)",
            incident,
            channel,
            severity,
            f"incident {incident}: what is so now",
            now,
            next_try,
            severity != "crit",
            now,
            error,
        )

    def rewrite(self, message: int, said: Message) -> None:
        self._sql.execute(
            "UPDATE message SET severity = ?, title = ?, lines = ?, extra = ? WHERE id = ?",
            *(said.severity, said.title, to_json(said.lines), extra_text(said), message),
        )
        for topic in said.opens:
            self._sql.execute("INSERT OR IGNORE INTO told SELECT channel, ? FROM message WHERE id = ?", topic, message)

    def drop(self, message: int) -> None:
        self._sql.execute("DELETE FROM message WHERE id = ?", message)

    def mark_sent(self, message: int, handle: str | None, now: Millis, *, counted: bool = False) -> None:
        self._sql.execute(
            "UPDATE message SET sent = ?, handle = ?, error = NULL, counted = ? WHERE id = ?",
            *(now, handle, now if counted else None, message),
        )

    def mark_postponed(self, message: int, until: Millis, error: str) -> None:
        self._sql.execute(
            "UPDATE message SET tries = tries + 1, next_try = ?, error = ? WHERE id = ?", until, error, message
        )

    def mark_failed(self, message: int, error: str, now: Millis) -> None:
        self._sql.execute(
            "UPDATE message SET tries = tries + 1, failed = ?, error = ? WHERE id = ?", now, error, message
        )

    def mark_reported(self, message: int, now: Millis) -> None:
        self._sql.execute("UPDATE message SET reported = ? WHERE id = ?", now, message)

    def pause_channel(self, channel: str, until: Millis, crit_until: Millis, now: Millis) -> None:
        self._sql.execute(
            "INSERT INTO channel_pause VALUES (?,?,?,?,1) ON CONFLICT (channel) DO UPDATE SET"
            " t = excluded.t, until = excluded.until, crit_until = excluded.crit_until, refusals = refusals + 1",
            *(channel, now, until, crit_until),
        )

    def note_delivery(self, channel: str, now: Millis) -> None:
        self._sql.execute("DELETE FROM channel_pause WHERE channel = ?", channel)
        self._sql.execute(
            "UPDATE message SET next_try = min(next_try, ?), overtaken = max(1, tries) WHERE channel = ?"
            " AND sent IS NULL AND failed IS NULL AND overtaken = 0 AND (tries >= ? OR catch_up = 1)",
            now,
            channel,
            OUTAGE_TRIES,
        )

    def retry_channel(self, channel: str, now: Millis) -> None:
        self._sql.execute("DELETE FROM channel_pause WHERE channel = ?", channel)
        self._sql.execute(
            "UPDATE message SET next_try = min(next_try, ?), tries = 0, overtaken = 0 WHERE channel = ?"
            " AND sent IS NULL AND failed IS NULL",
            now,
            channel,
        )

    def retry_catch_ups(self, now: Millis) -> None:
        self._sql.execute(
            "UPDATE message SET next_try = min(next_try, ?) WHERE catch_up = 1 AND sent IS NULL AND failed IS NULL", now
        )
