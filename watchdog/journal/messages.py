"""The outbox in the journal: messages to be sent, rows first, deeds afterwards."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import asdict, astuple, dataclass
from typing import Any

from watchdog.core.model import Button, Chart, Fact, Message, Millis, Severity
from watchdog.journal.held_messages import WAITS_SINCE, SqlHeldMessageReader
from watchdog.journal.serialization import from_json, labels_from_list, to_json

LATE_AFTER: Millis = 60_000
"""ms from which on an unsent message is late."""
STUCK_TRIES = 6
"""Tries after which a message keeps nothing behind it any more: about a minute."""
OUTAGE_TRIES = 3
"""Tries from which on a message is tried again as soon as its channel takes another one."""


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """A message to one channel that is not known to be delivered."""

    id: int
    channel: str
    message: Message
    """With its key, and without its thread: the first message may still be on its way."""
    created: Millis
    tries: int
    is_urgent: bool = False
    """It goes ahead of what is not."""
    is_catch_up: bool = False
    """It stands for those of its incident that the channel refused: what it says is written when it is sent."""
    overtaken: int = 0
    """How often it had failed when its channel took another one; 0: it has taken none since."""
    held: Millis | None = None
    """It waits, or has waited, until then: for the end of quiet hours, or for room under the channel's limit."""
    is_relief: bool = False
    """It ends something critical."""


@dataclass(frozen=True, slots=True)
class UndeliveredMessage:
    """What a channel did not take, or not yet."""

    id: int
    channel: str
    incident: int | None
    severity: Severity
    title: str
    created: Millis
    tries: int
    error: str | None
    """What the last try said; None: it was not tried yet."""
    refused: bool
    """For good: it is not tried again."""


@dataclass(frozen=True, slots=True)
class ChannelQueue:
    """What waits for a channel."""

    unsent: int
    oldest: Millis
    """Since when the oldest of it waits for the channel; to come, where all of it waits for the end of quiet hours or for room
    under a limit."""
    error: str | None
    """What the last try of that said."""
    paused_until: Millis | None
    """The service asked to be left alone until then."""


@dataclass(frozen=True, slots=True)
class OpenedTopic:
    """What a channel was told is bad, and of which it hears the end."""

    topic: str
    message: Message
    """The newest that says so."""
    opened: Millis
    ended: Millis | None


_HEADS = f"""
 FROM message m LEFT JOIN channel_pause p ON p.channel = m.channel
 WHERE m.sent IS NULL AND m.failed IS NULL AND NOT EXISTS
 (SELECT 1 FROM message e WHERE e.channel = m.channel AND e.incident IS m.incident AND e.id < m.id
  AND e.sent IS NULL AND e.failed IS NULL AND e.lane <= m.lane
  AND e.tries < {STUCK_TRIES} AND e.overtaken = 0 AND e.catch_up = 0 AND NOT (e.held IS NOT NULL AND m.relief = 1))
"""  # noqa: S608 – a number of ours
"""Unsent, and nothing before it that it has to wait for: of one channel and incident nothing overtakes an earlier message, but
what is critical or ends it, and what stands behind one that alone is not taken."""
_TRY_AT = (
    "max(m.next_try, coalesce(m.held, 0),"
    " CASE m.lane WHEN 0 THEN coalesce(p.crit_until, 0) ELSE coalesce(p.until, 0) END)"
)
_OUTBOX = (
    "m.id, m.incident, m.channel, severity, title, lines, created, tries, broadcast, lane, catch_up, extra, overtaken,"
    " held, relief"
)

_UNDELIVERED = "id, channel, incident, severity, title, created, tries, error, failed IS NOT NULL"


class SqlMessageReader(SqlHeldMessageReader):
    def due(self, now: Millis, channel: str | None = None) -> list[OutboxMessage]:
        rows = self._sql.query(
            f"SELECT {_OUTBOX}{_HEADS} AND {_TRY_AT} <= ? AND (? IS NULL OR m.channel = ?) ORDER BY m.lane, m.id LIMIT 500",
            now,
            channel,
            channel,
        )
        return [_outbox_message(row) for row in rows]

    def list_waiting(
        self,
        channel: str,
        lane: int,
        now: Millis,
        *,
        incident: int | None = None,
        behind: int = 0,
        after: int = 0,
        limit: int = 500,
    ) -> list[OutboxMessage]:
        rows = self._sql.query(
            f"SELECT {_OUTBOX} FROM message m"  # noqa: S608 – our own columns
            " WHERE channel = ? AND lane = ? AND id > ? AND sent IS NULL AND failed IS NULL"
            " AND ((? IS NULL AND coalesce(held, 0) <= ?)"
            " OR (incident = ? AND catch_up = 0 AND (id >= ? OR held IS NOT NULL))) ORDER BY id LIMIT ?",
            *(channel, lane, after, incident, now, incident, behind, limit),
        )
        return [_outbox_message(row) for row in rows]

    def next_due(self) -> dict[str, Millis]:
        rows = self._sql.query(f"SELECT m.channel, min({_TRY_AT}){_HEADS} GROUP BY m.channel")
        return {row[0]: row[1] for row in rows}

    def thread_handle(self, channel: str, incident: int | None) -> str | None:
        row = self._sql.query_one(
            "SELECT handle FROM message WHERE channel = ? AND incident = ? AND handle IS NOT NULL"
            " ORDER BY sent, id LIMIT 1",
            channel,
            incident,
        )
        return None if row is None else row[0]

    def find_first_sent(self, channel: str, incident: int) -> tuple[str, Message] | None:
        row = self._sql.query_one(
            "SELECT handle, severity, title, lines, broadcast, extra FROM message"
            " WHERE channel = ? AND incident = ? AND handle IS NOT NULL ORDER BY sent, id LIMIT 1",
            channel,
            incident,
        )
        if row is None:
            return None
        lines, broadcast, extra = tuple(from_json(row["lines"])), bool(row["broadcast"]), _extra_from_text(row["extra"])
        return row["handle"], Message(row["severity"], row["title"], lines, incident, broadcast=broadcast, **extra)

    def find_about(self, channel: str, incident: int) -> tuple[str, ...] | None:
        rows = self._sql.query(
            "SELECT extra FROM message WHERE channel = ? AND incident = ? AND extra IS NOT NULL ORDER BY id",
            channel,
            incident,
        )
        found = (_extra_from_text(row["extra"])["about"] for row in rows)
        return next((about for about in found if about is not None), None)

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

    def last_message_id(self) -> int:
        (row,) = self._sql.query("SELECT coalesce(max(id), 0) FROM message")
        return int(row[0])

    def list_channels_after(self, message: int) -> set[str]:
        return {row[0] for row in self._sql.query("SELECT DISTINCT channel FROM message WHERE id > ?", message)}

    def list_opened_topics(self, channel: str, ended_since: Millis) -> list[OpenedTopic]:
        ended = (
            "SELECT e.value, m.created, m.id FROM message m, json_each(m.extra, '$.ends') e"
            " WHERE m.channel = ?1 AND m.created >= ?2"
        )
        opened = (
            "SELECT e.value, m.* FROM message m, json_each(m.extra, '$.opens') e WHERE m.channel = ?1 ORDER BY m.id"
        )
        known = {row[0] for row in self._sql.query("SELECT topic FROM told WHERE channel = ?", channel)}
        over = {row[0]: (row[1], row[2]) for row in self._sql.query(f"{ended} ORDER BY m.id", channel, ended_since)}
        over = {topic: end for topic, end in over.items() if topic not in known}
        if not known and not over:
            return []
        found: dict[str, OpenedTopic] = {}
        for row in self._sql.query(opened, channel):
            topic = row[0]
            end, number = over.get(topic, (None, row["id"]))
            if (topic in known or topic in over) and row["id"] <= number:
                lines = tuple(from_json(row["lines"]))
                message = Message(row["severity"], row["title"], lines, row["incident"], key=str(row["id"]))
                found[topic] = OpenedTopic(topic, message, row["created"], end)
        return list(found.values())

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

    def last_sent(self, channel: str, incident: int) -> Millis | None:
        row = self._sql.query_one(
            "SELECT max(created) FROM message WHERE channel = ? AND incident = ? AND sent IS NOT NULL",
            channel,
            incident,
        )
        return None if row is None else row[0]

    def list_undelivered(self, incident: int) -> list[UndeliveredMessage]:
        rows = self._sql.query(
            f"SELECT {_UNDELIVERED} FROM message WHERE incident = ? AND sent IS NULL ORDER BY id",  # noqa: S608 – our own columns
            incident,
        )
        return [_undelivered(row) for row in rows]

    def list_unreported(self, until: Millis) -> list[UndeliveredMessage]:
        rows = self._sql.query(
            f"SELECT {_UNDELIVERED} FROM message WHERE sent IS NULL AND reported IS NULL"  # noqa: S608 – our own columns
            f" AND (failed IS NOT NULL OR {WAITS_SINCE} <= ?) ORDER BY lane, id",
            until,
        )
        return [_undelivered(row) for row in rows]

    def next_late(self, now: Millis) -> Millis | None:
        row = self._sql.query_one(
            f"SELECT min({WAITS_SINCE}) FROM message WHERE sent IS NULL AND reported IS NULL AND failed IS NULL"  # noqa: S608 – our own columns
            f" AND {WAITS_SINCE} > ?",
            now - LATE_AFTER,
        )
        return None if row is None or row[0] is None else row[0] + LATE_AFTER

    def list_queues(self) -> dict[str, ChannelQueue]:
        rows = self._sql.query(
            f"SELECT m.channel, count(*) AS unsent, min({WAITS_SINCE}) AS oldest, m.error, p.until FROM message m"  # noqa: S608 – our own columns
            " LEFT JOIN channel_pause p ON p.channel = m.channel"
            " WHERE m.sent IS NULL AND m.failed IS NULL GROUP BY m.channel"
        )  # SQLite takes the other columns from the row of the minimum
        return {row[0]: ChannelQueue(*tuple(row)[1:]) for row in rows}

    def paused_until(self, channel: str) -> Millis:
        row = self._sql.query_one("SELECT until FROM channel_pause WHERE channel = ?", channel)
        return 0 if row is None else int(row[0])

    def count_refusals(self, channel: str) -> int:
        row = self._sql.query_one("SELECT refusals FROM channel_pause WHERE channel = ?", channel)
        return 0 if row is None else int(row[0])

    def was_enqueued_since(self, title: str, t: Millis, severity: Severity | None = None) -> bool:
        row = self._sql.query_one(
            "SELECT 1 FROM message WHERE title = ? AND created > ? AND (? IS NULL OR severity = ?) LIMIT 1",
            *(title, t, severity, severity),
        )
        return row is not None


def extra_text(message: Message) -> str | None:
    """What else there is of a message, as JSON; None: nothing."""
    extra: dict[str, Any] = {
        "buttons": [astuple(button) for button in message.buttons],
        "chart": None if message.chart is None else asdict(message.chart),
        "opens": message.opens,
        "ends": message.ends,
        "facts": message.facts,
    }
    extra = {name: value for name, value in extra.items() if value}
    if message.about is not None:
        extra["about"] = message.about
    return to_json(extra) if extra else None


def _extra_from_text(text: str | None) -> dict[str, Any]:
    known = {} if text is None else from_json(text)
    chart, about = known.get("chart"), known.get("about")
    return {
        "buttons": tuple(Button(*button) for button in known.get("buttons", ())),
        "chart": chart and Chart(**chart | {"labels": labels_from_list(chart["labels"])}),
        "opens": tuple(known.get("opens", ())),
        "ends": tuple(known.get("ends", ())),
        "facts": tuple(Fact(*fact) for fact in known.get("facts", ())),
        "about": None if about is None else tuple(about),
    }


def _outbox_message(row: Any) -> OutboxMessage:
    return OutboxMessage(
        row["id"],
        row["channel"],
        Message(
            row["severity"],
            row["title"],
            tuple(from_json(row["lines"])),
            row["incident"],
            broadcast=bool(row["broadcast"]),
            key=str(row["id"]),
            **_extra_from_text(row["extra"]),
        ),
        row["created"],
        row["tries"],
        row["lane"] == 0,
        bool(row["catch_up"]),
        row["overtaken"],
        row["held"],
        bool(row["relief"]),
    )


def _undelivered(row: Iterable[Any]) -> UndeliveredMessage:
    number, channel, incident, severity, title, created, tries, error, refused = row
    return UndeliveredMessage(number, channel, incident, severity, title, created, tries, error, bool(refused))
