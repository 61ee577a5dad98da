"""What is heard of a run: the same words in the log, in the timeline and in the chat, where what happens at once is one message."""

from __future__ import annotations

from dataclasses import replace

from watchdog.core.model import Fact, Message, Severity
from watchdog.core.target import Target
from watchdog.core.telemetry import log
from watchdog.journal.runs import PlanRun
from watchdog.journal.topics import incident_topic, plan_topic
from watchdog.plans.descriptions import describe_step
from watchdog.plans.models import Halt, Repair
from watchdog.rollback.context import RollbackContext
from watchdog.rules.prove import ProofResult

_LOG_LEVEL = {"info": 20, "warn": 30, "crit": 40}


def notify(context: RollbackContext, run: PlanRun, message: Message) -> None:
    """`message` as it is said of the run: its target and incident are added here."""
    with context.journal.transaction():
        record_event(context, run, message)
        send_message(context, run, message)


def send_message(context: RollbackContext, run: PlanRun, message: Message) -> None:
    """In the chat alone: the log and the timeline have it in other words. Who hears of warnings hears of all of a run; who was
    told of something bad of it hears how that ended."""
    title, opens = f"{run.target}: {message.title}", list(message.opens)
    if message.severity != "info":
        incident = context.journal.incidents.find_open(run.target)
        if incident is not None and incident.id == run.incident:
            opens.append(incident_topic(incident.id))
        if (plan := plan_topic(run.target, run.plan)) not in message.ends:
            opens.append(plan)
    context.notify(
        replace(
            message,
            title=title,
            incident=run.incident,
            filter_severity="warn",
            opens=tuple(dict.fromkeys(opens)),
            target=run.target,
            facts=(Fact(run.target, message.title, message.severity, 1, next(iter(message.lines), "")),),
        )
    )


def record_event(context: RollbackContext, run: PlanRun, message: Message) -> None:
    """Without the chat: another message says it."""
    text = f"{message.title}: {'; '.join(message.lines)}"
    with context.journal.transaction() as tx:
        tx.on_commit(log.log, _LOG_LEVEL[message.severity], "%s: %s", run.target, text)
        tx.timeline.add_event("plan", text, context.clock(), incident=run.incident, run=run.id, target=run.target)


def notify_level_ended(
    context: RollbackContext, run: PlanRun, plan: Halt | Repair, number: int, finding: ProofResult
) -> None:
    """People hear of it together with what is done next: the next level, or the end of the run."""
    name, repair = plan.levels[number].name, isinstance(plan, Repair)
    context.telemetry.plan_runs.labels(run.plan, run.target, name, finding.outcome).inc()
    what = f"level {name} {finding.outcome}"
    title, lines = f"{run.plan}: {what}", (finding.reason,)
    if finding.outcome == "proven":
        record_event(context, run, Message("info", title, lines))
    elif number + 1 == len(plan.levels) or (finding.outcome == "unknown" and repair):
        record_event(context, run, Message("warn", title, lines))
    else:
        notify_next_level(context, run, plan, number + 1, "warn" if repair else "crit", what, finding.reason)


def notify_next_level(
    context: RollbackContext, run: PlanRun, plan: Halt | Repair, number: int, severity: Severity, what: str, why: str
) -> None:
    """What became of a level, and that the next one starts, if there is one: in the chat it is one message."""
    with context.journal.transaction():
        record_event(context, run, Message(severity, f"{run.plan}: {what}", (why,)))
        lines: tuple[str, ...] = ()
        if number < len(plan.levels):
            starts, location = f"level {plan.levels[number].name} starts", Target.model_validate_json(run.place)
            lines = tuple(describe_step(step, location) for step in plan.levels[number].steps)
            severity_of_start: Severity = "warn" if isinstance(plan, Repair) else "crit"
            record_event(context, run, Message(severity_of_start, f"{run.plan}: {starts}", lines))
            what = f"{what}, {starts}"
        send_message(context, run, Message(severity, f"{run.plan}: {what}", (why, *lines)))
