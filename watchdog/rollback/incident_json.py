"""What tripped, for actions that hand it on."""

from __future__ import annotations

from watchdog.core.model import JsonObject
from watchdog.journal.runs import PlanRun
from watchdog.journal.storage import Journal


def describe_incident(journal: Journal, run: PlanRun) -> JsonObject | None:
    """Of a run; None: it answers no incident."""
    known = None if run.incident is None else journal.incidents.find_incident(run.incident)
    if known is None:
        return None
    trips = [
        {"rule": trip.rule, "level": trip.level, "labels": dict(trip.labels), "reason": trip.reason, "t": trip.t}
        for trip in journal.incidents.list_trips(known.id)
    ]
    return {
        "id": known.id,
        "target": known.target,
        "opened": known.opened,
        "severity": known.severity,
        "title": known.title,
        "run": run.id,
        "plan": run.plan,
        "trips": trips,
    }
