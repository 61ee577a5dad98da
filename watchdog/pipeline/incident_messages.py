"""What people are told when something is well again: what recovers at once in one message, and at an incident's end all of it."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import NamedTuple

from watchdog.core.model import Millis, Severity
from watchdog.core.units import format_duration
from watchdog.journal.incidents import Incident
from watchdog.journal.runs import PlanRun
from watchdog.journal.storage import Journal
from watchdog.plans.done_steps import redeploy_hints

_MAX_LINES = 20
"""Lines of recoveries in one message."""
_MAX_NAMES = 3


class Recovery(NamedTuple):
    rule: str
    level: Severity
    channels: Collection[str] | None
    """Who is told; None: everybody."""
    reason: str
    fired: Millis


def recovery_message(recoveries: Sequence[Recovery]) -> tuple[str, list[str]]:
    """(title, lines) of what recovered at once."""
    if len(recoveries) == 1:
        return f"{recoveries[0].rule} recovered", [
            recoveries[0].reason,
            f"fired for {format_duration(recoveries[0].fired)}",
        ]
    lines = [f"{one.rule}: {one.reason}, fired for {format_duration(one.fired)}" for one in recoveries]
    rest = [f"and {len(lines) - _MAX_LINES} more"] if len(lines) > _MAX_LINES else []
    return f"{_join_names(recoveries)} recovered", [*lines[:_MAX_LINES], *rest]


def closing_message(
    journal: Journal, incident: Incident, recoveries: Sequence[Recovery], now: Millis, *, configured: bool
) -> tuple[str, list[str]]:
    """(title, lines) of an incident's end: what recovered just now, what helped, how long it took, what is to be done."""
    plan_runs = journal.runs.list_for_incident(incident.id)
    title = f"incident {incident.id} closed after {format_duration(now - incident.opened)}"
    title = f"{_join_names(recoveries)} recovered, {title}" if recoveries else title
    if not configured:
        title += ": its target is no longer configured"
    elif helped := next((run for run in reversed(plan_runs) if run.part == "ladder" and run.outcome == "proven"), None):
        title += (
            f": level {_level_name(helped)} of {helped.plan} {'helped' if helped.kind == 'repair' else 'is in force'}"
        )
    lines = [incident.title, *dict.fromkeys(one.reason for one in recoveries[:_MAX_LINES])]
    lines += [
        f"{run.plan}: {run.outcome} after {format_duration((run.ended or now) - run.queued)} ({run.reason})"
        for run in plan_runs
    ]
    state = journal.targets.get_state(incident.target, now)
    if state.latched is not None:
        lines.append(f'latched: repairs wait for trading-watchdog resume {incident.target} --reason "…"')
    commits, file_changes = redeploy_hints((run, journal.runs.list_steps(run.id)) for run in plan_runs)
    lines += [f"to deploy it again, once its cause is fixed: {command}" for command in commits]
    lines += [f"still in force: {say}" for say in file_changes]
    return title, [*lines, f"all of it: trading-watchdog report {incident.id}"] if plan_runs else lines


def _join_names(recoveries: Sequence[Recovery]) -> str:
    names = list(dict.fromkeys(one.rule for one in recoveries))
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return f"{', '.join(names[:_MAX_NAMES])}{more}"


def _level_name(run: PlanRun) -> str:
    try:
        return str(json.loads(run.text)["levels"][run.level]["name"])
    except (ValueError, LookupError, TypeError):  # another version wrote it
        return str(run.level + 1)
