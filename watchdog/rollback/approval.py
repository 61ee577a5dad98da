"""Whether a queued repair begins: it must be needed still, nothing may hold it, and people may have to approve of it."""

from __future__ import annotations

from typing import NamedTuple

from watchdog.core.model import Message
from watchdog.core.target import Target
from watchdog.core.units import format_duration
from watchdog.journal.runs import PlanRun, RunOutcome
from watchdog.journal.topics import approval_topic
from watchdog.plans.descriptions import describe_plan
from watchdog.plans.models import Repair, kind_and_name
from watchdog.rollback.context import RollbackContext
from watchdog.rollback.notifications import notify


class StartDecision(NamedTuple):
    begins: bool
    outcome: RunOutcome | None = None
    """How the run ends instead of beginning; None: it waits, and is asked about again."""
    reason: str = ""


_BEGINS, _WAITS = StartDecision(begins=True), StartDecision(begins=False)


def decide_start(run: PlanRun, plan: Repair, context: RollbackContext) -> StartDecision:
    """Asks people where the plan wants that, once."""
    needed = context.still_needed(run)
    if needed is None:
        return _WAITS
    if not needed:
        return _ends("not-needed", "quiet before its turn came")
    decision = _ask_people(run, plan, context) if run.by.startswith("rule ") else _BEGINS  # a person's own is approved
    if decision.begins and plan.mode == "dry-run":
        return _ends("dry-run", "nothing was changed")
    return decision


def _ask_people(run: PlanRun, plan: Repair, context: RollbackContext) -> StartDecision:
    if context.hold_reason(run.target) is not None:
        if run.approve_by is not None and run.approval is None:
            # Nobody decides while it is held: people are asked anew after it.
            with context.journal.transaction() as tx:
                tx.runs.update_run(run.id, approve_by=None)
        return _WAITS
    if plan.mode != "approve" or run.approval == "approved":
        return _BEGINS
    if run.approval == "denied":
        return _ends("denied", "a person denied it")
    now, within = context.clock(), format_duration(plan.approve_within)
    if run.approve_by is not None:
        return _WAITS if now < run.approve_by else _ends("exhausted", f"nobody approved it within {within}")
    then = (
        "the bot is left running"
        if plan.exhausted == "leave-running"
        else f"the {kind_and_name('halt', plan.exhausted)} runs"
    )
    lines = (
        f"trading-watchdog approve {run.id}",
        f"trading-watchdog deny {run.id}",
        f"without an answer within {within} {then}",
        *describe_plan(plan, Target.model_validate_json(run.place)),
    )
    with context.journal.transaction() as tx:
        tx.runs.update_run(run.id, approve_by=now + plan.approve_within)
        topics = (approval_topic(run.id),)
        notify(context, run, Message("crit", f"{run.plan} waits for approval", lines, opens=topics))
    return _WAITS


def _ends(outcome: RunOutcome, reason: str) -> StartDecision:
    return StartDecision(begins=False, outcome=outcome, reason=reason)
