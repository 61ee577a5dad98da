"""Incidents, machines, targets and the timeline in the journal."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from watchdog.core.model import Labels, Millis, Severity
from watchdog.journal.sqlite import Journal, from_json, to_json


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


@dataclass(frozen=True, slots=True)
class TargetState:
    """What the journal knows of a target."""

    name: str
    epoch: Millis
    """Start of what `since: resume` KPIs remember."""
    latched: Millis | None = None
    latch_why: str | None = None
    head: str | None = None
    invocation: str | None = None
    unsettled: Millis | None = None
    """When somebody else last deployed or restarted."""
    quiet_for: Millis = 0
    """How long the commit at `head` has been quiet under watch."""
    place: str | None = None
    """Where the bot was when a file last named it: unit, process and repo, as JSON."""


@dataclass(frozen=True, slots=True)
class TimelineEvent:
    """What was seen, decided or done, and why: one line."""

    id: int
    t: Millis
    kind: str
    text: str


def open_incident(db: sqlite3.Connection, target: str, severity: Severity, title: str, now: Millis) -> int:
    row = db.execute(
        "INSERT INTO incident (target, opened, severity, title) VALUES (?,?,?,?) RETURNING id",
        (target, now, severity, title),
    ).fetchone()
    return int(row[0])


def find_open(journal: Journal, target: str) -> Incident | None:
    row = journal.query_one(
        "SELECT id, target, opened, closed, severity, title, acked, acked_by FROM incident"
        " WHERE target = ? AND closed IS NULL",
        target,
    )
    return None if row is None else Incident(*row)


def list_incidents(journal: Journal, incident: int | None = None, limit: int = 50) -> list[Incident]:
    """The newest first; only one when its id is given."""
    rows = journal.query(
        "SELECT id, target, opened, closed, severity, title, acked, acked_by FROM incident WHERE ? IS NULL OR id = ?"
        " ORDER BY id DESC LIMIT ?",
        incident,
        incident,
        limit,
    )
    return [Incident(*row) for row in rows]


def describe_unknown(journal: Journal, incident: int) -> str:
    """For a person who named one that there is not."""
    newest = ", ".join(str(one.id) for one in list_incidents(journal, limit=10)) or "none yet"
    return f"there is no incident {incident} — the newest: {newest}"


def raise_to_critical(db: sqlite3.Connection, incident: int) -> None:
    db.execute("UPDATE incident SET severity = 'crit' WHERE id = ?", (incident,))


def close_incident(db: sqlite3.Connection, incident: int, now: Millis) -> None:
    db.execute("UPDATE incident SET closed = ? WHERE id = ? AND closed IS NULL", (now, incident))


def acknowledge(db: sqlite3.Connection, incident: int, by: str, now: Millis) -> None:
    """The first who says that they are on it; what is said later stands in the timeline."""
    db.execute("UPDATE incident SET acked = ?, acked_by = ? WHERE id = ? AND acked IS NULL", (now, by, incident))


def add_trip(
    db: sqlite3.Connection,
    incident: int,
    rule: str,
    level: str,
    labels: Labels,
    reason: str,
    plan: str | None,
    t: Millis,
) -> None:
    db.execute(
        "INSERT INTO trip (incident, rule, level, labels, t, reason, plan) VALUES (?,?,?,?,?,?,?)",
        (incident, rule, level, to_json(labels), t, reason, plan),
    )


def clear_trip(db: sqlite3.Connection, incident: int, rule: str, level: str, labels: Labels, t: Millis) -> None:
    db.execute(
        "UPDATE trip SET cleared = ? WHERE incident = ? AND rule = ? AND level = ? AND labels = ? AND cleared IS NULL",
        (t, incident, rule, level, to_json(labels)),
    )


def list_trips(journal: Journal, incident: int) -> list[TripRecord]:
    rows = journal.query(
        "SELECT rule, level, labels, t, cleared, reason, plan FROM trip WHERE incident = ? ORDER BY t, rowid", incident
    )
    return [TripRecord(row[0], row[1], _labels(row[2]), *row[3:]) for row in rows]


def _labels(text: str) -> Labels:
    return tuple((name, value) for name, value in from_json(text))


def add_event(
    db: sqlite3.Connection,
    kind: str,
    text: str,
    now: Millis,
    *,
    incident: int | None = None,
    run: int | None = None,
    target: str | None = None,
) -> None:
    """One line of the timeline: what was seen, decided or done, and why."""
    db.execute(
        "INSERT INTO event (t, incident, run, target, kind, text) VALUES (?,?,?,?,?,?)",
        (now, incident, run, target, kind, text),
    )


def list_events(journal: Journal, incident: int) -> list[TimelineEvent]:
    """Oldest first."""
    rows = journal.query("SELECT id, t, kind, text FROM event WHERE incident = ? ORDER BY id", incident)
    return [TimelineEvent(*row) for row in rows]


def list_events_after(
    journal: Journal, event: int, *, run: int | None = None, kind: str | None = None
) -> list[TimelineEvent]:
    """What came after an event (0: all), of one run or of one kind; oldest first."""
    filters = {"run": run, "kind": kind}
    wanted = {column: value for column, value in filters.items() if value is not None}
    conditions = "".join(f" AND {column} = ?" for column in wanted)
    sql = f"SELECT id, t, kind, text FROM event WHERE id > ?{conditions} ORDER BY id"  # noqa: S608 – our own columns
    return [TimelineEvent(*row) for row in journal.query(sql, event, *wanted.values())]


def last_event_id(journal: Journal) -> int:
    """0 while there is none."""
    (row,) = journal.query("SELECT coalesce(max(id), 0) FROM event")
    return int(row[0])


def last_event_kind(journal: Journal, target: str, kinds: Collection[str]) -> str | None:
    """The kind of the newest event of a target that is one of these."""
    placeholders = ", ".join("?" * len(kinds))
    sql = f"SELECT kind FROM event WHERE target = ? AND kind IN ({placeholders}) ORDER BY id DESC LIMIT 1"  # noqa: S608 – marks only
    row = journal.query_one(sql, target, *kinds)
    return None if row is None else str(row[0])


def save_machines(db: sqlite3.Connection, states: Mapping[tuple[str, str, Labels], dict[str, Any] | None]) -> None:
    """States by (rule, level, labels); None forgets one."""
    for (rule, level, labels), state in states.items():
        if state is None:
            db.execute(
                "DELETE FROM machine WHERE rule = ? AND level = ? AND labels = ?", (rule, level, to_json(labels))
            )
        else:
            db.execute(
                "INSERT OR REPLACE INTO machine VALUES (?,?,?,?)", (rule, level, to_json(labels), to_json(state))
            )


def list_machines(journal: Journal) -> Iterable[tuple[tuple[str, str, Labels], dict[str, Any]]]:
    for rule, level, labels, state in journal.query("SELECT rule, level, labels, state FROM machine"):
        yield (rule, level, _labels(labels)), from_json(state)


_TARGET_COLUMNS = "name, epoch, latched, latch_why, head, invocation, unsettled, quiet_for, place"


def get_target_state(journal: Journal, target: str, now: Millis) -> TargetState:
    """What is known of a target; a new one starts its epoch now."""
    row = journal.query_one(f"SELECT {_TARGET_COLUMNS} FROM target WHERE name = ?", target)  # noqa: S608 – our own column list
    if row is not None:
        return TargetState(*row)
    with journal.transaction() as db:
        db.execute("INSERT INTO target (name, epoch) VALUES (?, ?)", (target, now))
    return TargetState(target, now)


def find_latch_reason(journal: Journal, target: str) -> str | None:
    """Why a target is latched; None when it is not, or is not known."""
    row = journal.query_one("SELECT latch_why FROM target WHERE name = ? AND latched IS NOT NULL", target)
    return None if row is None else row[0]


def list_latched(journal: Journal) -> list[TargetState]:
    """Targets whose latch is closed, whether a file still names them or not."""
    rows = journal.query(f"SELECT {_TARGET_COLUMNS} FROM target WHERE latched IS NOT NULL ORDER BY name")  # noqa: S608 – our own
    return [TargetState(*row) for row in rows]


def list_targets_with_open_incident(journal: Journal) -> list[str]:
    """Targets with an open incident, whether a file still names them or not."""
    return [
        row[0] for row in journal.query("SELECT DISTINCT target FROM incident WHERE closed IS NULL ORDER BY target")
    ]


def update_target(db: sqlite3.Connection, target: str, **fields: object) -> None:
    """Sets columns of a target."""
    names = ", ".join(f"{name} = ?" for name in fields)
    db.execute(f"UPDATE target SET {names} WHERE name = ?", (*fields.values(), target))  # noqa: S608 – our own names


HOUR = 3_600_000


def save_peak(db: sqlite3.Connection, series: str, side: str, t: Millis, v: float) -> None:
    """Remembers the highest (`max`) or lowest (`min`) sample of each hour of a series that money depends on."""
    db.execute(
        "INSERT INTO peak VALUES (?,?,?,?,?) ON CONFLICT DO UPDATE SET t = excluded.t, v = excluded.v"
        " WHERE CASE side WHEN 'max' THEN excluded.v > v ELSE excluded.v < v END",
        (series, side, t // HOUR, t, v),
    )


def delete_peaks(db: sqlite3.Connection, before: Millis) -> None:
    db.execute("DELETE FROM peak WHERE t < ?", (before,))


def list_peaks(journal: Journal) -> list[tuple[str, Millis, float]]:
    """(series as JSON, t, v), oldest first."""
    return [(row[0], row[1], row[2]) for row in journal.query("SELECT series, t, v FROM peak ORDER BY t")]
