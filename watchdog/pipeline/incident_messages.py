"""What an incident is called, and what people are told at its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from watchdog.config import Config
from watchdog.core.model import Chart, Labels, Millis
from watchdog.core.units import format_duration
from watchdog.journal.incidents import Incident, TripRecord
from watchdog.journal.runs import NO_EFFECT_OUTCOMES, PlanRun, level_names
from watchdog.journal.storage import Journal
from watchdog.journal.topics import approval_topic, escalation_topic, incident_topic, plan_topic, refusal_topic
from watchdog.pipeline.incident_news import IncidentNews, join_names, recovery_lines
from watchdog.pipeline.removed_rules import describe_end, find_removed_rules

DescribeLeft = Callable[[Incident], Sequence[str]]
"""What still is as the plans of an incident have left it, a line each; somebody has looked."""

_BY_RULE = "rule "

_LEAST_SPAN, _AHEAD = 3_600_000, 600_000
"""ms that the chart of an incident shows at least, and at least ahead of its beginning."""
_MAX_OTHER_TRIPS = 5
"""Rules beside the one that an incident is named after, of which its end says what they saw."""


def incident_title(journal: Journal, incident: Incident) -> str:
    """What an incident is called: the rule whose plan ran and what it saw; else the worst that tripped, and of these the first.

    A halt says more of a bot than a repair; a plan that touched nothing says nothing.
    """
    named = next(iter(_by_importance(journal, incident)), None)
    return incident.title if named is None else _trip_text(named)


def outcome_chart(journal: Journal, incident: Incident, config: Config, now: Millis) -> Chart | None:
    """What shows an incident from before its beginning to its end, by the rule that it is named after; else by the next one
    that has a KPI. None: none has."""
    for trip in _by_importance(journal, incident):
        rule = config.rules_by_target.get((trip.rule, incident.target))
        if rule is not None and rule.kpi is not None:
            lasted = now - incident.opened
            span = max(_LEAST_SPAN, lasted + max(lasted // 4, _AHEAD))
            return Chart(rule.kpi, incident.target, trip.labels, incident.id, span, now)
    return None


def _by_importance(journal: Journal, incident: Incident) -> list[TripRecord]:
    trips = journal.incidents.list_trips(incident.id)
    runs = [run for run in journal.runs.list_for_incident(incident.id) if run.by.startswith(_BY_RULE)]
    ran = [run for run in runs if run.part == "ladder" and run.outcome not in NO_EFFECT_OUTCOMES]
    ran.sort(key=lambda run: run.kind != "halt")
    rule = ran[0].by.removeprefix(_BY_RULE) if ran else None
    return sorted(trips, key=lambda trip: (trip.rule != rule, trip.level != "crit"))


def topics_of(journal: Journal, incident: Incident) -> tuple[str, ...]:
    """All that is over with an incident."""
    plan_runs = journal.runs.list_for_incident(incident.id)
    asked_for = [trip.plan for trip in journal.incidents.list_trips(incident.id) if trip.plan]
    plans = dict.fromkeys([*(run.plan for run in plan_runs), *asked_for])
    return (
        incident_topic(incident.id),
        escalation_topic(incident.id),
        *(topic(incident.target, plan) for plan in plans for topic in (plan_topic, refusal_topic)),
        *(approval_topic(run.id) for run in plan_runs),
    )


def _trip_text(trip: TripRecord) -> str:
    return f"{trip.rule}: {trip.reason}"


def closing_message(
    journal: Journal, incident: Incident, news: IncidentNews, left: Sequence[str], now: Millis, *, configured: bool
) -> tuple[str, list[str]]:
    """(title, lines) of an incident's end: what recovered just now, what helped, how long it took, what is to be done.

    `left`: what is still as its plans have left it, a line each; somebody has looked.
    """
    plan_runs = journal.runs.list_for_incident(incident.id)
    title = f"incident {incident.id} closed after {format_duration(now - incident.opened)}"
    if news.departures:
        title = f"{join_names([one.rule for one in news.departures])} is no longer judged for what is gone, {title}"
    if news.recoveries:
        title = f"{join_names([one.rule for one in news.recoveries])} recovered, {title}"
    removals = find_removed_rules(journal, incident)
    if end := describe_end(journal, incident, configured=configured):
        title += end
    elif helped := next((run for run in reversed(plan_runs) if run.part == "ladder" and run.outcome == "proven"), None):
        title += (
            f": level {_level_name(helped)} of {helped.plan} {'helped' if helped.kind == 'repair' else 'was proven'}"
        )
    trips = journal.incidents.list_trips(incident.id)
    others = {trip.rule: _trip_text(trip) for trip in trips if not trip.silenced}
    beside = [text for rule, text in others.items() if not incident.title.startswith(f"{rule}: ")]
    lines = recovery_lines(news.recoveries, alone=True)  # what is so now comes first
    lines += [incident.title, *removals, *(f"beside it {text}" for text in beside[:_MAX_OTHER_TRIPS])]
    lines += [f"and {len(beside) - _MAX_OTHER_TRIPS} more rules"] if len(beside) > _MAX_OTHER_TRIPS else []
    lines += [line for one in news.departures for line in one.lines]
    lines += [
        f"{run.plan}: {run.outcome} after {format_duration((run.ended or now) - run.queued)} ({run.reason})"
        for run in plan_runs
    ]
    lines += [*describe_latch(journal, incident.target, now), *left]
    return title, [*lines, f"all of it: trading-watchdog report {incident.id}"] if plan_runs else lines


def _level_name(run: PlanRun) -> str:
    names = level_names(run)
    return names[run.level] if run.level < len(names) else str(run.level + 1)


def list_open_trips(journal: Journal, incident: int) -> dict[tuple[str, str, Labels], TripRecord]:
    """(rule, level, labels) → what the journal says of a trip that is not over."""
    listed = journal.incidents.list_trips(incident)
    return {(trip.rule, trip.level, trip.labels): trip for trip in listed if trip.cleared is None}


def describe_plans_at_work(journal: Journal, target: str) -> list[str]:
    return [f"{run.plan} is {run.status}" for run in journal.runs.list_unfinished(target)]


def describe_latch(journal: Journal, target: str, now: Millis) -> list[str]:
    """Empty: it has none."""
    is_latched = journal.targets.get_state(target, now).latched is not None
    return [f'latched: repairs wait for trading-watchdog resume {target} --reason "…"'] if is_latched else []
