"""What people are told when something is well again: what recovers at once in one message, and at an incident's end all of it."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import NamedTuple

from watchdog.journal import Journal, incidents, runs
from watchdog.journal.again import redeploy
from watchdog.journal.incidents import Incident
from watchdog.journal.runs import Run
from watchdog.model import Millis, Severity
from watchdog.units import show_duration

_MOST = 20
"""Lines of recoveries in one message."""
_NAMES = 3


class Recovery(NamedTuple):
    rule: str
    level: Severity
    channels: Collection[str] | None
    """Who is told; None: everybody."""
    reason: str
    fired: Millis


def recovered(those: Sequence[Recovery]) -> tuple[str, list[str]]:
    """(title, lines) of what recovered at once."""
    if len(those) == 1:
        return f"{those[0].rule} recovered", [those[0].reason, f"fired for {show_duration(those[0].fired)}"]
    lines = [f"{one.rule}: {one.reason}, fired for {show_duration(one.fired)}" for one in those]
    more = [f"and {len(lines) - _MOST} more"] if len(lines) > _MOST else []
    return f"{_named(those)} recovered", [*lines[:_MOST], *more]


def closed(
    journal: Journal, incident: Incident, those: Sequence[Recovery], now: Millis, *, configured: bool
) -> tuple[str, list[str]]:
    """(title, lines) of an incident's end: what recovered just now, what helped, how long it took, what is to be done."""
    ran = runs.of_incident(journal, incident.id)
    title = f"incident {incident.id} closed after {show_duration(now - incident.opened)}"
    title = f"{_named(those)} recovered, {title}" if those else title
    if not configured:
        title += ": its target is no longer configured"
    elif helped := next((run for run in reversed(ran) if run.part == "ladder" and run.outcome == "proven"), None):
        title += f": level {_level(helped)} of {helped.plan} {'helped' if helped.kind == 'repair' else 'is in force'}"
    lines = [incident.title, *dict.fromkeys(one.reason for one in those[:_MOST])]
    lines += [
        f"{run.plan}: {run.outcome} after {show_duration((run.ended or now) - run.queued)} ({run.reason})"
        for run in ran
    ]
    standing = incidents.standing(journal, incident.target, now)
    if standing.latched is not None:
        lines.append(f'latched: repairs wait for trading-watchdog resume {incident.target} --reason "…"')
    commits, left = redeploy((run, runs.steps(journal, run.id)) for run in ran)
    lines += [f"to deploy it again, once its cause is fixed: {command}" for command in commits]
    lines += [f"still in force: {say}" for say in left]
    return title, [*lines, f"all of it: trading-watchdog report {incident.id}"] if ran else lines


def _named(those: Sequence[Recovery]) -> str:
    names = list(dict.fromkeys(one.rule for one in those))
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return f"{', '.join(names[:_NAMES])}{more}"


def _level(run: Run) -> str:
    try:
        return str(json.loads(run.text)["levels"][run.level]["name"])
    except (ValueError, LookupError, TypeError):  # another version wrote it
        return str(run.level + 1)
