"""What is heard of a run: the same words in the log, in the timeline and in the chat, where what happens at once is one message."""

from __future__ import annotations

from collections.abc import Sequence

from watchdog.core.model import Severity
from watchdog.core.target import Target
from watchdog.core.telemetry import log
from watchdog.journal import incidents
from watchdog.journal.runs import PlanRun
from watchdog.plans.models import Halt, Repair
from watchdog.rollback.context import RollbackContext
from watchdog.rollback.descriptions import describe_step
from watchdog.rules.state_machine import ProofResult

_LOG_LEVEL = {"info": 20, "warn": 30, "crit": 40}


def notify(context: RollbackContext, run: PlanRun, severity: Severity, title: str, lines: Sequence[str]) -> None:
    with context.journal.transaction():
        record_event(context, run, severity, title, lines)
        context.notify(severity, f"{run.target}: {title}", lines, incident=run.incident)


def record_event(context: RollbackContext, run: PlanRun, severity: Severity, title: str, lines: Sequence[str]) -> None:
    """Without the chat: another message says it."""
    text = f"{title}: {'; '.join(lines)}"
    log.log(_LOG_LEVEL[severity], "%s: %s", run.target, text)
    with context.journal.transaction() as db:
        incidents.add_event(db, "plan", text, context.clock(), incident=run.incident, run=run.id, target=run.target)


def notify_level_ended(
    context: RollbackContext, run: PlanRun, plan: Halt | Repair, number: int, finding: ProofResult
) -> None:
    """People hear of it together with what is done next: the next level, or the end of the run."""
    name, repair = plan.levels[number].name, isinstance(plan, Repair)
    context.telemetry.plan_runs.labels(run.plan, name, finding.outcome).inc()
    what = f"level {name} {finding.outcome}"
    if finding.outcome == "proven":
        (notify if repair else record_event)(context, run, "info", f"{run.plan}: {what}", [finding.reason])
    elif number + 1 == len(plan.levels) or (finding.outcome == "unknown" and repair):
        record_event(context, run, "warn", f"{run.plan}: {what}", [finding.reason])
    else:
        notify_next_level(context, run, plan, number + 1, "warn" if repair else "crit", what, finding.reason)


def notify_next_level(
    context: RollbackContext, run: PlanRun, plan: Halt | Repair, number: int, severity: Severity, what: str, why: str
) -> None:
    """What became of a level, and that the next one starts, if there is one: in the chat it is one message."""
    with context.journal.transaction():
        record_event(context, run, severity, f"{run.plan}: {what}", [why])
        lines = []
        if number < len(plan.levels):
            starts, location = f"level {plan.levels[number].name} starts", Target.model_validate_json(run.place)
            lines = [describe_step(step, location) for step in plan.levels[number].steps]
            record_event(context, run, "warn" if isinstance(plan, Repair) else "crit", f"{run.plan}: {starts}", lines)
            what = f"{what}, {starts}"
        context.notify(severity, f"{run.target}: {run.plan}: {what}", [why, *lines], incident=run.incident)
