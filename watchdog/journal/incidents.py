"""Incidents in the journal, and the thresholds that tripped within them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from watchdog.core.model import Labels, Millis, Severity
from watchdog.journal.serialization import labels_from_json, to_json
from watchdog.journal.sql import SqlRepository


@dataclass(frozen=True, slots=True)
class Incident:
    id: int
    target: str
    opened: Millis
    closed: Millis | None
    severity: Severity
    title: str
    acked: Millis | None = None
    acked_by: str | None = None
    reminded: Millis | None = None
    """When people were told last that it is still critical."""
    reminders: int = 0
    """How often."""
    escalated: Millis | None = None
    """When a further channel was told that nobody has acknowledged it."""


@dataclass(frozen=True, slots=True)
class TripRecord:
    """A threshold that tripped within an incident."""

    rule: str
    level: str
    labels: Labels
    t: Millis
    cleared: Millis | None
    reason: str
    plan: str | None
    silenced: bool = False
    """Nobody was told of it: its rule was silenced when it tripped, and is so still."""


def describe_unknown(incident: int, newest: Sequence[Incident]) -> str:
    """For a person who named one that there is not."""
    known = ", ".join(str(one.id) for one in newest[:10]) or "none yet"
    return f"there is no incident {incident} — the newest: {known}"


_COLUMNS = "id, target, opened, closed, severity, title, acked, acked_by, reminded, reminders, escalated"


class SqlIncidentReader(SqlRepository):
    def find_open(self, target: str) -> Incident | None:
        row = self._sql.query_one(f"SELECT {_COLUMNS} FROM incident WHERE target = ? AND closed IS NULL", target)  # noqa: S608 – our own columns
        return None if row is None else Incident(*row)

    def find_incident(self, incident: int) -> Incident | None:
        row = self._sql.query_one(f"SELECT {_COLUMNS} FROM incident WHERE id = ?", incident)  # noqa: S608 – our own columns
        return None if row is None else Incident(*row)

    def list_incidents(self, limit: int = 50) -> list[Incident]:
        rows = self._sql.query(f"SELECT {_COLUMNS} FROM incident ORDER BY id DESC LIMIT ?", limit)  # noqa: S608 – our own columns
        return [Incident(*row) for row in rows]

    def list_incidents_since(self, since: Millis) -> list[Incident]:
        rows = self._sql.query(
            f"SELECT {_COLUMNS} FROM incident WHERE closed IS NULL OR closed >= ? ORDER BY id",  # noqa: S608 – our own columns
            since,
        )
        return [Incident(*row) for row in rows]

    def list_trips(self, incident: int) -> list[TripRecord]:
        rows = self._sql.query(
            "SELECT rule, level, labels, t, cleared, reason, plan, silenced FROM trip WHERE incident = ? ORDER BY t, rowid",
            incident,
        )
        return [
            TripRecord(rule, level, labels_from_json(labels), t, cleared, reason, plan, bool(silenced))
            for rule, level, labels, t, cleared, reason, plan, silenced in rows
        ]

    def list_targets_with_open_incident(self) -> list[str]:
        return [
            row[0]
            for row in self._sql.query("SELECT DISTINCT target FROM incident WHERE closed IS NULL ORDER BY target")
        ]


class SqlIncidentWriter(SqlRepository):
    def open_incident(self, target: str, severity: Severity, title: str, now: Millis) -> int:
        return self._sql.insert(
            "INSERT INTO incident (target, opened, severity, title) VALUES (?,?,?,?) RETURNING id",
            target,
            now,
            severity,
            title,
        )

    def raise_to_critical(self, incident: int) -> None:
        self._sql.execute("UPDATE incident SET severity = 'crit' WHERE id = ?", incident)

    def rename_incident(self, incident: int, title: str) -> None:
        self._sql.execute("UPDATE incident SET title = ? WHERE id = ?", title, incident)

    def close_incident(self, incident: int, now: Millis) -> None:
        self._sql.execute("UPDATE incident SET closed = ? WHERE id = ? AND closed IS NULL", now, incident)

    def acknowledge(self, incident: int, by: str, now: Millis) -> None:
        self._sql.execute(
            "UPDATE incident SET acked = ?, acked_by = ? WHERE id = ? AND acked IS NULL", now, by, incident
        )

    def add_trip(
        self,
        incident: int,
        rule: str,
        level: str,
        labels: Labels,
        reason: str,
        plan: str | None,
        t: Millis,
        *,
        silenced: bool = False,
    ) -> None:
        self._sql.execute(
            "INSERT INTO trip (incident, rule, level, labels, t, reason, plan, silenced) VALUES (?,?,?,?,?,?,?,?)",
            incident,
            rule,
            level,
            to_json(labels),
            t,
            reason,
            plan,
            silenced,
        )

    def mark_trips_told(self, incident: int, rule: str) -> None:
        self._sql.execute(
            "UPDATE trip SET silenced = 0 WHERE incident = ? AND rule = ? AND cleared IS NULL", incident, rule
        )

    def note_escalation(self, incident: int, now: Millis) -> None:
        self._sql.execute("UPDATE incident SET escalated = ? WHERE id = ?", now, incident)

    def note_reminder(self, incident: int, now: Millis, *, counts: bool) -> None:
        self._sql.execute(
            "UPDATE incident SET reminded = ?, reminders = reminders + ? WHERE id = ?", now, counts, incident
        )

    def clear_trip(self, incident: int, rule: str, level: str, labels: Labels, t: Millis) -> None:
        self._sql.execute(
            "UPDATE trip SET cleared = ? WHERE incident = ? AND rule = ? AND level = ? AND labels = ? AND cleared IS NULL",
            t,
            incident,
            rule,
            level,
            to_json(labels),
        )
