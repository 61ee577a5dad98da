"""What the journal knows of a period: incidents, runs, latches, questions that wait, and how each target is."""

from __future__ import annotations

from collections.abc import Iterator

from watchdog.config import Config
from watchdog.core.model import Millis
from watchdog.core.units import format_duration
from watchdog.journal.incidents import Incident
from watchdog.journal.runs import NO_EFFECT_OUTCOMES, PlanRun
from watchdog.journal.storage import Journal
from watchdog.offline.report import build
from watchdog.offline.summary.data import IncidentFacts, JournalFacts, TargetState
from watchdog.plans.models import name_and_kind

WEEK: Millis = 7 * 86_400_000
MAX_INCIDENTS = 500
"""That are looked at one by one; of more, the newest."""


def read_journal(config: Config, journal: Journal, since: Millis, until: Millis) -> JournalFacts:
    """Of the period, and of the week before its end, by which noisy rules are told."""
    known = [one for one in journal.incidents.list_incidents_since(min(since, until - WEEK)) if one.opened <= until]
    open_ = {one.target: one for one in known if one.closed is None}
    latched = [
        (one.name, one.latched, one.latch_why or "")
        for one in journal.targets.list_latched()
        if one.latched is not None
    ]
    at_work = {
        target: journal.runs.list_unfinished(target) for target in journal.runs.list_targets_with_unfinished_runs()
    }
    suppressions = [one for one in journal.suppressions.list_unended() if until < one.until]
    held = {one.subject for one in suppressions if one.kind == "hold"}
    names = dict.fromkeys([*config.targets, *(name for name, _, _ in latched), *open_, *at_work])
    approvals = [run for runs in at_work.values() for run in runs if _waits_for_approval(run)]
    why = {name: (t, reason) for name, t, reason in latched}
    return JournalFacts(
        targets=[_target_state(name, open_.get(name), at_work.get(name, []), why, held, until) for name in names],
        incidents=[_incident_facts(config, journal, one, until) for one in known[-MAX_INCIDENTS:]],
        began=sum(since <= one.opened for one in known),
        other_runs=list(_runs_of_people(journal, list(names), since, until)),
        approvals=approvals,
        suppressions=suppressions,
    )


def _waits_for_approval(run: PlanRun) -> bool:
    return run.status == "queued" and run.approve_by is not None and run.approval is None


def _target_state(
    name: str,
    incident: Incident | None,
    runs: list[PlanRun],
    latched: dict[str, tuple[Millis, str]],
    held: set[str],
    now: Millis,
) -> TargetState:
    parts = []
    for run in runs[:1]:
        plan = name_and_kind(run.plan, run.kind)
        if _waits_for_approval(run):
            parts.append(f"{plan} waits for approval")
        elif run.status == "watching":
            parts.append(f"{plan} has helped, and is watched")
        else:
            parts.append(f"{plan} is at work" if run.status == "running" else f"{plan} waits for its turn")
    if name in latched:
        since, why = latched[name]
        parts.append(
            f"latched for {format_duration(now - since)}, until somebody says resume" + (f" ({why})" if why else "")
        )
    if incident is not None:
        acked = f", {incident.acked_by} is on it" if incident.acked_by else ""
        parts.append(f"incident {incident.id} for {format_duration(now - incident.opened)}: {incident.title}{acked}")
    is_well = not parts
    if name in held:
        parts.append("held")
    return TargetState(name, "; ".join(parts if not is_well else ["well", *parts]), is_well)


def _incident_facts(config: Config, journal: Journal, incident: Incident, now: Millis) -> IncidentFacts:
    data = build.collect_data(journal, incident, config, None, now)
    runs = [ran.run for ran in data.runs]
    started = [
        step.started
        for ran in data.runs
        if ran.run.outcome not in NO_EFFECT_OUTCOMES
        for step in ran.steps
        if step.started is not None
    ]
    return IncidentFacts(incident, data.trips, runs, min(started, default=None), build.durations(data))


def _runs_of_people(journal: Journal, targets: list[str], since: Millis, until: Millis) -> Iterator[PlanRun]:
    for target in targets:
        for run in journal.runs.list_ended_since(target, since):
            if run.incident is None and run.queued <= until and not _waits_for_approval(run):
                yield run
