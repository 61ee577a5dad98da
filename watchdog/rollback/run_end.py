"""What the end of a run brings about: a latch, a halt that runs next, and what people are told of that."""

from __future__ import annotations

from watchdog.core.target import Target
from watchdog.journal.runs import PlanRun, RunOutcome
from watchdog.plans.descriptions import describe_start
from watchdog.plans.models import Halt, Repair, parse_plan
from watchdog.rollback.behind_halt import BehindHalt
from watchdog.rollback.context import RollbackContext


def is_bad(outcome: RunOutcome) -> bool:
    """Whether people have to look."""
    return outcome in ("exhausted", "stopped", "aborted")


def latches(run: PlanRun, plan: Halt | Repair | None, outcome: RunOutcome, *, has_steps: bool) -> bool:
    """Whether the target stays latched. `plan` None: it could not be read. `has_steps`: something may have been touched."""
    if outcome in ("overtaken", "not-needed", "dry-run", "denied") or (outcome == "aborted" and not has_steps):
        return False
    policy = plan.latch if isinstance(plan, Repair) else "always"
    policy = "never" if run.part == "undo" else "on_failure" if run.part == "recover" else policy
    return policy == "always" or (policy == "on_failure" and is_bad(outcome))


def queue_next_halt(
    run: PlanRun, plan: Halt | Repair | None, outcome: RunOutcome, halt_again: str | None, context: RollbackContext
) -> list[str]:
    """The halt of a repair that is exhausted, or `halt_again`, is queued within the caller's transaction; in words."""
    exhausted = plan.exhausted if isinstance(plan, Repair) and outcome == "exhausted" else None
    halt = halt_again or exhausted
    if halt is None:
        return []
    if halt == "leave-running":
        return ["the bot is left running"]
    if halt_again is None and BehindHalt(context).is_in_force(run.target, halt):
        return [f"{halt} ran ahead of it and stays in force"]
    if not context.queue_halt(run.target, halt, f"{run.plan} {outcome}", run.incident):
        return [f"{halt} is not configured any more"]
    queued = next((one for one in context.journal.runs.list_unfinished(run.target) if one.plan == halt), None)
    if queued is None:
        return [f"next: {halt}"]
    return [f"next: {halt}: {describe_start(parse_plan(queued.text), 0, Target.model_validate_json(queued.place))}"]


def describe_latch(run: PlanRun, outcome: RunOutcome, context: RollbackContext, *, latch: bool) -> list[str]:
    """What waits for a person, and what does not. `latch`: whether this run latches its target."""
    behind_halt = BehindHalt(context)
    if outcome == "proven" and run.kind == "halt" and (lines := behind_halt.following_lines(run)):
        return lines
    if latch:
        return [f'latched: repairs wait for trading-watchdog resume {run.target} --reason "…"']
    return behind_halt.repaired_lines(run) if outcome == "proven" and run.part == "ladder" else []
