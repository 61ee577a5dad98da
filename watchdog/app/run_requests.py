"""What people ask of plans: to run one, to make a target safe, to go on with the next level, to undo an incident."""

from __future__ import annotations

from collections.abc import Collection

from watchdog.config import Config
from watchdog.core.model import Message, Millis, Severity
from watchdog.core.telemetry import log
from watchdog.documents.problems import format_names, unknown_name
from watchdog.journal import incidents
from watchdog.journal.runs import NEXT_LEVEL_MARK
from watchdog.journal.serialization import to_json
from watchdog.journal.storage import Journal, Transaction
from watchdog.pipeline.pipeline import Pipeline
from watchdog.plans.models import Halt, Repair, parse_plan


def start_plan(
    pipeline: Pipeline, journal: Journal, plan: str, target: str | None, level: str | None, who: str, now: Millis
) -> tuple[bool, str]:
    """Queues a plan for a person: (True, number of the run) or (False, why not). A latch refuses repairs."""
    config = pipeline.config
    if plan not in config.plans:
        return False, unknown_name("plan", plan, config.plans)
    if target is None and len(config.targets) == 1:
        (target,) = config.targets
    if target is None:
        return False, f"say which target with --target: {format_names(config.targets)}"
    if target not in config.targets:
        return False, unknown_name("target", target, config.targets)
    known = config.plan(plan, target)
    if known is None:
        return False, f"{plan} needs a variable that {target} does not have — add it to the target's vars"
    names = [rung.name for rung in known.levels]
    if level is not None and level not in names:
        return False, f"plan {plan} has no level {level!r}: {', '.join(names)}"
    state = journal.targets.get_state(target, now)
    if known.kind == "repair" and state.latched is not None:
        return (
            False,
            f'{target} is latched ({state.latch_why}): trading-watchdog resume {target} --reason "…" first',
        )
    incident = journal.incidents.find_open(target)
    first = 0 if level is None else names.index(level)
    with journal.transaction() as tx:
        pipeline.incident_manager.notify_start(tx, target, plan, first, who, now)
        run = pipeline.incident_manager.queue_run(
            tx,
            target,
            plan,
            f"person {who}",
            now,
            incident=None if incident is None else incident.id,
            level=first,
        )
    return True, str(run)


def start_halt(pipeline: Pipeline, journal: Journal, target: str, who: str, now: Millis) -> tuple[bool, str]:
    """Makes a target safe by its halt: (True, number of the run) or (False, why not). One that is under way is the answer."""
    config = pipeline.config
    if target not in config.targets:
        return False, unknown_name("target", target, config.targets)
    plans = list_halts(config, target)
    if len(plans) != 1:
        return False, (
            f"{target} has several halts: {format_names(plans)} — say which as a plan: rollback {plans[0]}"
            if plans
            else f"{target} has no halt — write a plan of kind: halt, and name it in a rule's crit or as exhausted"
        )
    at_work = next((run for run in journal.runs.list_unfinished(target) if run.plan == plans[0]), None)
    if at_work is not None:
        return True, str(at_work.id)
    return start_plan(pipeline, journal, plans[0], target, None, who, now)


def list_halts(config: Config, target: str) -> list[str]:
    """The plans that make a target safe: the one that is called `halt`, or those that its rules and repairs name, or all."""
    able = [name for name in config.plans if isinstance(config.plan(name, target), Halt)]
    started = [config.plan(check.plan, target) for check in config.checks if check.target == target]
    named = {check.plan for check in config.checks if check.target == target}
    named |= {plan.exhausted for plan in started if isinstance(plan, Repair)}
    mine = [name for name in able if name in named] or able
    return ["halt"] if "halt" in mine else mine


def begin_next_level(
    pipeline: Pipeline, journal: Journal, run_id: int, level: int | None, who: str, now: Millis
) -> tuple[bool, str]:
    """A repair gives its level up, at the next boundary, and goes on with the next one.

    `level`: number of the level that is meant; another one that is at work by now stays."""
    run = journal.runs.find_run(run_id)
    if run is None:
        return False, f"there is no plan run {run_id}"
    if run.status != "running" or run.kind != "repair" or run.part != "ladder":
        return False, f"run {run_id} ({run.plan} {run.outcome or run.status}) tries no level now"
    try:
        names = [one.name for one in parse_plan(run.text).levels]
    except ValueError:
        return False, f"run {run_id} ({run.plan}) cannot be read: another version wrote it"
    if level not in (None, run.level):
        return False, f"run {run_id} ({run.plan}) is at level {names[run.level]} by now: nothing changed"
    if run.level + 1 >= len(names):
        return False, f"run {run_id} ({run.plan}) is at its last level, {names[-1]}: abort {run_id} ends it"
    if (run.marks.get(NEXT_LEVEL_MARK) or {}).get("level") == run.level:
        return False, f"run {run_id} ({run.plan}) gives level {names[run.level]} up already"
    title = f"{run.plan} gives level {names[run.level]} up for {names[run.level + 1]}"
    with journal.transaction() as tx:
        tx.runs.update_run(run_id, marks={**run.marks, NEXT_LEVEL_MARK: {"level": run.level, "who": who}})
        record_and_notify(pipeline, tx, title, who, now, target=run.target, run=run_id, incident=run.incident)
    return True, f"run {run_id}: {title}"


def undo_incident(pipeline: Pipeline, journal: Journal, incident_id: int, who: str, now: Millis) -> tuple[bool, str]:
    """Queues the undoing of an incident: (True, number of the run) or (False, why not)."""
    incident = journal.incidents.find_incident(incident_id)
    if incident is None:
        return False, incidents.describe_unknown(incident_id, journal.incidents.list_incidents())
    state = journal.targets.get_state(incident.target, now)
    if state.latched is not None:
        cure = f'trading-watchdog resume {incident.target} --reason "…" first'
        return False, f"{incident.target} is latched ({state.latch_why}): {cure}"
    if at_work := journal.runs.list_unfinished(incident.target):
        return (
            False,
            f"{at_work[0].plan} is at work on {incident.target}: wait for its end, or abort {at_work[0].id}",
        )
    repairs = [
        run for run in journal.runs.list_for_incident(incident_id) if run.kind == "repair" and run.part != "undo"
    ]
    if not repairs and (halts := journal.runs.list_for_incident(incident_id)):
        return False, (
            f"incident {incident_id} has no repair to undo: what {halts[-1].plan} made safe goes back by its recover: "
            f"after a resume, or by hand — trading-watchdog status says what still is off"
        )
    if not repairs or not journal.backups.list_for_incident(incident_id):
        return False, f"there is nothing to undo of incident {incident_id}: nothing was changed, or it was undone"
    with journal.transaction() as tx:
        run = tx.runs.queue_run(
            incident=incident_id,
            target=incident.target,
            plan=f"undo {incident_id}",
            kind="repair",
            part="undo",
            text=to_json({"incident": incident_id}),
            place=repairs[-1].place,
            by=f"person {who}",
            now=now,
        )
        record_and_notify(
            pipeline,
            tx,
            f"incident {incident_id} is to be undone",
            who,
            now,
            target=incident.target,
            run=run,
            incident=incident_id,
        )
    return True, str(run)


def record_and_notify(
    pipeline: Pipeline,
    tx: Transaction,
    title: str,
    reason: str,
    now: Millis,
    *,
    target: str,
    run: int | None = None,
    incident: int | None = None,
    kind: str = "person",
    opens: tuple[str, ...] = (),
    ends: tuple[str, ...] = (),
    without: Collection[str] = (),
) -> None:
    """The same words in the log, in the timeline and in the chat."""
    if incident is None and (current := pipeline.journal.incidents.find_open(target)) is not None:
        incident = current.id
    about = f"{target}: {title}" if target else title
    tx.on_commit(log.warning, "%s (%s)", about, reason)
    tx.timeline.add_event(kind, f"{title}: {reason}", now, incident=incident, run=run, target=target)
    severity: Severity = "warn" if opens else "info"  # until it ends, less is done or told than the files say
    message = Message(severity, about, (reason,), incident, filter_severity="warn", opens=opens, ends=ends)
    pipeline.incident_manager.notify(tx, message, now, without=without)
