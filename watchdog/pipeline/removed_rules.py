"""Rules that fired until they were taken out of the files: their incident does not end because it is well."""

from __future__ import annotations

from watchdog.core.model import Millis
from watchdog.core.telemetry import log
from watchdog.journal.incidents import Incident
from watchdog.journal.storage import Journal, Transaction
from watchdog.pipeline.incident_news import join_names

_KIND = "removed"
_WAS_REMOVED = " was removed"


def record_removed(
    tx: Transaction, journal: Journal, target: str, rule: str, level: str, how: str, now: Millis
) -> None:
    """A threshold that fires stands in no file any more. `how` it was taken away, as in ``by ana``."""
    if (incident := journal.incidents.find_open(target)) is not None:
        text = f"{rule} ({level}){_WAS_REMOVED}{f' {how}' if how else ''}"
        tx.on_commit(log.warning, "%s: %s while it fires", target, text)
        tx.timeline.add_event(_KIND, text, now, incident=incident.id, target=target)


def find_removed_rules(journal: Journal, incident: Incident) -> list[str]:
    """``errors (crit) was removed by ana``, of those that did not trip again since."""
    trips = journal.incidents.list_trips(incident.id)
    return [
        event.text
        for event in journal.timeline.list_events(incident.id)
        if event.kind == _KIND
        and not any(trip.t > event.t and event.text.startswith(f"{trip.rule} ({trip.level}) ") for trip in trips)
    ]


def describe_end(journal: Journal, incident: Incident, *, configured: bool) -> str:
    """Why an incident ended, when it was not because all is well; else empty. `configured`: its target is."""
    removals = find_removed_rules(journal, incident)
    hows = list(dict.fromkeys(text.partition(_WAS_REMOVED)[2] for text in removals))
    if not configured:
        return f": its target is no longer configured{f', it was removed{hows[-1]}' if hows and hows[-1] else ''}"
    if not removals:
        return ""
    names = [text.partition(" ")[0] for text in removals]
    alone = {trip.rule for trip in journal.incidents.list_trips(incident.id)} == set(names)
    what = "its rule" if alone and len(set(names)) == 1 else join_names(names)
    return f": {what}{_WAS_REMOVED}{','.join(hows)}"
