"""What is heard of a run: the same words in the log, in the timeline and in the chat, where what happens at once is one message."""

from __future__ import annotations

from collections.abc import Sequence

from watchdog.actions.plan import Halt, Repair
from watchdog.incidents import Finding
from watchdog.journal import incidents
from watchdog.journal.runs import Run
from watchdog.model import Severity, Target
from watchdog.rollback.hands import Hands
from watchdog.rollback.words import said
from watchdog.telemetry import log

_LOG_LEVEL = {"info": 20, "warn": 30, "crit": 40}


def say(hands: Hands, run: Run, severity: Severity, title: str, lines: Sequence[str]) -> None:
    with hands.journal.write():
        note(hands, run, severity, title, lines)
        hands.tell(severity, f"{run.target}: {title}", lines, incident=run.incident)


def note(hands: Hands, run: Run, severity: Severity, title: str, lines: Sequence[str]) -> None:
    """Without the chat: another message says it."""
    text = f"{title}: {'; '.join(lines)}"
    log.log(_LOG_LEVEL[severity], "%s: %s", run.target, text)
    with hands.journal.write() as db:
        incidents.event(db, "plan", text, hands.clock(), incident=run.incident, run=run.id, target=run.target)


def level_ended(hands: Hands, run: Run, plan: Halt | Repair, number: int, finding: Finding) -> None:
    """People hear of it together with what is done next: the next level, or the end of the run."""
    name, repair = plan.levels[number].name, isinstance(plan, Repair)
    hands.telemetry.plan_runs.labels(run.plan, name, finding.outcome).inc()
    what = f"level {name} {finding.outcome}"
    if finding.outcome == "proven":
        (say if repair else note)(hands, run, "info", f"{run.plan}: {what}", [finding.reason])
    elif number + 1 == len(plan.levels) or (finding.outcome == "unknown" and repair):
        note(hands, run, "warn", f"{run.plan}: {what}", [finding.reason])
    else:
        next_starts(hands, run, plan, number + 1, "warn" if repair else "crit", what, finding.reason)


def next_starts(
    hands: Hands, run: Run, plan: Halt | Repair, number: int, severity: Severity, what: str, why: str
) -> None:
    """What became of a level, and that the next one starts, if there is one: in the chat it is one message."""
    with hands.journal.write():
        note(hands, run, severity, f"{run.plan}: {what}", [why])
        lines = []
        if number < len(plan.levels):
            starts, place = f"level {plan.levels[number].name} starts", Target.model_validate_json(run.place)
            lines = [said(step, place) for step in plan.levels[number].steps]
            note(hands, run, "warn" if isinstance(plan, Repair) else "crit", f"{run.plan}: {starts}", lines)
            what = f"{what}, {starts}"
        hands.tell(severity, f"{run.target}: {run.plan}: {what}", [why, *lines], incident=run.incident)
