"""What the end of a run brings about: a latch, a halt that runs next, and what people are told of that."""

from __future__ import annotations

from watchdog.core.model import Message
from watchdog.core.target import Target
from watchdog.journal.runs import PlanRun, RunOutcome
from watchdog.journal.topics import approval_topic, latch_topic, plan_topic, refusal_topic
from watchdog.plans.descriptions import describe_plan, describe_start
from watchdog.plans.models import Halt, Repair, parse_plan
from watchdog.rollback.behind_halt import BehindHalt
from watchdog.rollback.context import RollbackContext
from watchdog.rollback.notifications import record_event, send_message


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


def end_run(
    context: RollbackContext,
    run: PlanRun,
    plan: Halt | Repair | None,
    outcome: RunOutcome,
    reason: str,
    *,
    halt_again: str | None = None,
) -> None:
    """Writes the end down, latches where that is due, and queues the halt of an exhausted repair.

    `plan` None: its text in the journal could not be read (an older version wrote it); nobody acts on that.
    `halt_again`: a halt that ran ahead of it and must run once more.
    """
    now = context.clock()
    has_steps = bool(context.journal.runs.list_steps(run.id))
    bad, latch = is_bad(outcome), latches(run, plan, outcome, has_steps=has_steps)
    with context.journal.transaction() as tx:
        tx.runs.update_run(run.id, status="ended", outcome=outcome, reason=reason, ended=now)
        for step in context.journal.runs.list_steps(run.id):
            if step.status == "started":  # a plan that cannot be read, or a mistake of ours
                tx.runs.end_step(step.id, "unknown", "nobody looked what became of it", now)
        if latch and context.journal.targets.find_latch_reason(run.target) is None:
            tx.targets.update_target(run.target, latched=now, latch_why=f"{run.plan} {outcome}: {reason}")
        lines = [reason, *queue_next_halt(run, plan, outcome, halt_again, context)]
        lines += describe_latch(run, outcome, context, latch=latch)
        title = f"{run.plan} {outcome}"
        if outcome == "dry-run" and isinstance(plan, Repair):
            title = f"{run.plan} would run (dry-run: nothing is changed)"
            lines = describe_plan(plan, Target.model_validate_json(run.place))
        topics = (plan_topic(run.target, run.plan), refusal_topic(run.target, run.plan), approval_topic(run.id))
        opens = (latch_topic(run.target),) if latch else ()
        message = Message("crit" if bad else "info", title, tuple(lines), ends=topics, opens=opens)
        record_event(context, run, message)
        # The end of its incident says all of it; and of what a person denied people were told then.
        says_more = bad or outcome == "dry-run"
        if says_more or not (context.close_if_over(run) or outcome == "denied"):
            send_message(context, run, message)
    context.telemetry.plan_duration.labels(run.plan, run.target).observe((now - run.queued) / 1_000)
    context.mute_rules(run.target, ())
    context.run_ended(run.target)
