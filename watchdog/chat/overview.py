"""How things are, in a few lines for a phone: from the journal and the configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from watchdog.config import Config
from watchdog.core.model import Message, Millis
from watchdog.core.text import quote_label
from watchdog.core.units import format_duration
from watchdog.journal.incidents import Incident, TripRecord
from watchdog.journal.runs import PlanRun
from watchdog.journal.storage import Journal
from watchdog.plans.models import parse_plan

_MAX_LINES = 12
_MAX_INCIDENTS = 8
_MAX_TRIPS = 4
_MAX_RUNS = 3
_MAX_EVENTS = 4
_SIGNS = {"info": "note", "warn": "warning", "crit": "critical"}


def describe_status(config: Config, journal: Journal, down: Mapping[str, str], now: Millis) -> Message:
    """What is not as it should be, the worst first. `down`: sources that cannot be read, each with the reason."""
    names = dict.fromkeys(
        [
            *config.targets,
            *(one.name for one in journal.targets.list_latched()),
            *journal.incidents.list_targets_with_open_incident(),
            *journal.runs.list_targets_with_unfinished_runs(),
        ]
    )
    busy = {name: text for name in names if (text := "; ".join(_target_parts(journal, name, now)))}
    lines = [f"{name}: {text}" for name, text in busy.items()]
    lines += [f"source {name} cannot be read: {why}" for name, why in down.items()]
    lines += [
        f"{one.subject} is silenced for another {format_duration(one.until - now)} ({one.who})"
        for one in journal.suppressions.list_unended()
        if one.kind == "silence" and now < one.until
    ]
    quiet = [name for name in names if name not in busy]
    if quiet and lines:
        lines.append(f"quiet: {', '.join(quiet[:_MAX_LINES])}{_more(len(quiet) - _MAX_LINES)}")
    opened = [one for name in names if (one := journal.incidents.find_open(name)) is not None]
    critical = sum(one.severity == "crit" for one in opened)
    title = f"{_count(len(opened), 'incident')} open" + (f", {critical} critical" if critical else "")
    if not opened:
        title = "no incident" if lines else f"all is quiet: {_count(len(quiet), 'target')}"
    return Message("info", title, _capped(lines))


def _target_parts(journal: Journal, name: str, now: Millis) -> Iterator[str]:
    if (incident := journal.incidents.find_open(name)) is not None:
        acked = f", {incident.acked_by} is on it" if incident.acked_by else ""
        age = format_duration(now - incident.opened)
        yield f"incident {incident.id} ({_SIGNS[incident.severity]}) for {age}{acked}: {_without_target(incident)}"
    if (latched := journal.targets.find_latch_reason(name)) is not None:
        yield f"latched: {latched}"
    if at_work := journal.runs.list_unfinished(name):
        yield describe_run(at_work[0], now)
    if (hold := journal.suppressions.find_active("hold", name, now)) is not None:
        yield f"held for another {format_duration(hold.until - now)} ({hold.who})"


def describe_run(run: PlanRun, now: Millis) -> str:
    """Which plan, how far it is, and what came of it."""
    name = run.plan if run.part != "recover" else f"{run.plan}, back to work"
    if run.status == "ended":
        return f"{name} {run.outcome}: {run.reason}"
    if run.status == "queued" and run.approve_by is not None and run.approval is None:
        left = format_duration(max(0, run.approve_by - now))
        return f"{name} waits for approval, for another {left}: approve {run.id} or deny {run.id}"
    if run.status == "queued":
        return f"{name} waits for its turn (run {run.id})"
    if run.status == "watching":
        return f"{name} has helped, and is watched (run {run.id})"
    return f"{name} is at work{_level_of(run)} (run {run.id})"


def _level_of(run: PlanRun) -> str:
    if run.part != "ladder":
        return ""
    try:
        levels = parse_plan(run.text).levels
    except ValueError:  # another version wrote it
        return ""
    return f", level {run.level + 1} of {len(levels)}: {levels[run.level].name}" if run.level < len(levels) else ""


def list_incidents(journal: Journal, now: Millis) -> Message:
    """The open ones, then the last that are over."""
    newest = journal.incidents.list_incidents(_MAX_INCIDENTS)
    known = [journal.incidents.find_open(name) for name in journal.incidents.list_targets_with_open_incident()]
    opened = [one for one in known if one is not None]
    over = [one for one in newest if one.closed is not None]
    lines = [_incident_line(one, now) for one in [*opened, *over]]
    title = f"{_count(len(opened), 'incident')} open" if opened else "no incident is open"
    if not lines:
        return Message("info", "there has been no incident yet")
    return Message("info", title, _capped(lines))


def _incident_line(incident: Incident, now: Millis) -> str:
    when = (
        f"for {format_duration(now - incident.opened)}"
        if incident.closed is None
        else f"over {format_duration(now - incident.closed)} ago, took {format_duration(incident.closed - incident.opened)}"
    )
    acked = f", {incident.acked_by} is on it" if incident.acked_by and incident.closed is None else ""
    return f"{incident.id} {incident.target} ({_SIGNS[incident.severity]}) {when}{acked}: {_without_target(incident)}"


def _without_target(incident: Incident) -> str:
    return incident.title.removeprefix(f"{incident.target}: ")


def describe_incident(journal: Journal, incident: Incident, now: Millis) -> Message:
    """What tripped, what was done, who is on it, and what happened last."""
    trips = journal.incidents.list_trips(incident.id)
    labels = {rule: {trip.labels for trip in trips if trip.rule == rule} for rule in {trip.rule for trip in trips}}
    lines = [_trip_line(trip, now, with_labels=len(labels[trip.rule]) > 1) for trip in _worst_first(trips)[:_MAX_TRIPS]]
    if len(trips) > _MAX_TRIPS:
        lines.append(f"and {len(trips) - _MAX_TRIPS} more trips")
    lines += [describe_run(run, now) for run in journal.runs.list_for_incident(incident.id)[-_MAX_RUNS:]]
    if incident.acked_by:
        lines.append(f"{incident.acked_by} is on it")
    if (latched := journal.targets.find_latch_reason(incident.target)) is not None:
        lines.append(f"latched: {latched}")
    events = [one for one in journal.timeline.list_events(incident.id) if one.kind not in ("tripped", "cleared")]
    lines += [f"{format_duration(now - one.t)} ago: {one.text}" for one in events[-_MAX_EVENTS:]]
    lasting = (
        f"for {format_duration(now - incident.opened)}"
        if incident.closed is None
        else f"over after {format_duration(incident.closed - incident.opened)}"
    )
    title = f"incident {incident.id}: {incident.target}, {_SIGNS[incident.severity]}, {lasting}"
    return Message("info", title, tuple(lines))


def summarize_report(journal: Journal, incident: Incident, now: Millis) -> Message:
    """What the report of an incident will say, and the command that writes it."""
    trips, plans = journal.incidents.list_trips(incident.id), journal.runs.list_for_incident(incident.id)
    took = format_duration((incident.closed or now) - incident.opened)
    lasting = f"over after {took}" if incident.closed is not None else f"for {took}, and not over"
    first = min((run.queued for run in plans), default=None)
    lines = [
        f"{_count(len(trips), 'trip')} of {', '.join(dict.fromkeys(trip.rule for trip in trips))}"
        if trips
        else "no trip",
        f"first plan after {format_duration(first - incident.opened)}" if first is not None else "no plan ran",
        *(describe_run(run, now) for run in plans),
        f"acknowledged by {incident.acked_by} after {format_duration(incident.acked - incident.opened)}"
        if incident.acked is not None
        else "nobody acknowledged it",
        f"the whole of it: trading-watchdog report {incident.id} -o incident-{incident.id}.md",
    ]
    return Message("info", f"report of incident {incident.id}: {incident.target}, {lasting}", _capped(lines))


def _worst_first(trips: Sequence[TripRecord]) -> list[TripRecord]:
    return sorted(trips, key=lambda one: (one.cleared is not None, one.level != "crit", one.t))


def _trip_line(trip: TripRecord, now: Millis, *, with_labels: bool) -> str:
    """`with_labels`: several of its rule's label sets tripped; of one nobody needs to know which."""
    labels = "".join(f" {name}={quote_label(value)}" for name, value in trip.labels) if with_labels else ""
    since = (
        f"for {format_duration(now - trip.t)}"
        if trip.cleared is None
        else f"well again after {format_duration(trip.cleared - trip.t)}"
    )
    return f"{trip.rule}{labels} ({trip.level}) {since}: {trip.reason}"


def _capped(lines: Sequence[str]) -> tuple[str, ...]:
    few = lines[:_MAX_LINES]
    return (*few, f"and {len(lines) - len(few)} more") if len(lines) > len(few) else tuple(few)


def _count(number: int, noun: str) -> str:
    return f"1 {noun}" if number == 1 else f"{number} {noun}s"


def _more(number: int) -> str:
    return f" and {number} more" if number > 0 else ""
