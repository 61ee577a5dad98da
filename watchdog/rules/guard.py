"""Whether a plan may start now. Pure; the answer says why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from watchdog.core.model import Millis
from watchdog.core.target import Budget, Target
from watchdog.core.units import format_duration


class PastRun(NamedTuple):
    """A plan run of this target that a rule started."""

    kind: Literal["halt", "repair"]
    started: Millis
    ended: Millis | None
    incident: int | None


class GuardInputs(NamedTuple):
    """What the guard must know; all of it from the journal and the last tick."""

    latch_reason: str | None
    """Why the target is latched; None when it is not."""
    blind_reason: str | None
    """What is not seen at the moment: a freshness rule that fires, or no source at all."""
    has_fresh_data: bool
    """This daemon has itself seen data for the rule since it started."""
    last_external_change: Millis | None
    """When somebody else last deployed or restarted the bot."""
    halt_ran: bool
    """A halt has already run in this incident."""
    past_runs: Sequence[PastRun]
    suppression_reason: str | None = None
    """Why a person, or a maintenance window, wants no repair to start."""
    halts_suppressed: bool = False
    """A person wants no halt to start either, and said so by ``hold --all``."""


class Allowed(NamedTuple):
    pass


class Refused(NamedTuple):
    code: str
    """Stable word for the reason: people are told when it changes, not when its numbers do."""
    reason: str


def may_start_plan(
    kind: Literal["halt", "repair"], target: Target, inputs: GuardInputs, now: Millis
) -> Allowed | Refused:
    """A halt is refused by nothing but a person's ``hold --all``. A repair is, by the first of these reasons that holds."""
    if inputs.suppression_reason is not None and (kind == "repair" or inputs.halts_suppressed):
        return Refused("held", f"held by {inputs.suppression_reason}")
    if kind == "halt":
        return Allowed()
    if inputs.latch_reason is not None:
        return Refused("latched", f"latched {inputs.latch_reason}: a person must resume it")
    if inputs.halt_ran:
        return Refused("halted", "a halt has already made this incident safe")
    if not inputs.has_fresh_data:
        return Refused("cold", "no fresh samples since the watchdog started")
    if inputs.blind_reason is not None:
        return Refused("blind", f"blind: {inputs.blind_reason}")
    if inputs.last_external_change is not None and now - inputs.last_external_change < target.settling:
        left = format_duration(target.settling - (now - inputs.last_external_change))
        return Refused("settling", f"somebody deployed or restarted the bot; settling for another {left}")
    end_times = [past.ended for past in inputs.past_runs if past.kind == "repair" and past.ended is not None]
    if end_times and now - max(end_times) < target.cooldown:
        return Refused(
            "cooldown",
            f"the last repair ended {format_duration(now - max(end_times))} ago, cooldown is {format_duration(target.cooldown)}",
        )
    for use in budget_uses(target, inputs.past_runs, now):
        if not use.left:
            wait = f" for another {format_duration(use.frees - now)}" if use.frees is not None else ""
            return Refused("budget", f"the budget of {use.budget.text} is used up{wait}")
    return Allowed()


class BudgetUse(NamedTuple):
    budget: Budget
    left: int
    """Repairs that rules may start now."""
    frees: Millis | None
    """When there is one more; None: all are left."""


def budget_uses(target: Target, past_runs: Sequence[PastRun], now: Millis) -> list[BudgetUse]:
    """What is left of each of the target's budgets: only repairs that rules started count."""
    found = []
    for budget in target.budget:
        starts = sorted(past.started for past in past_runs if past.kind == "repair" and now - past.started < budget.per)
        left = max(0, budget.runs - len(starts))
        # Where a smaller budget was set meanwhile, more than one has to be past its time.
        frees = starts[max(0, len(starts) - budget.runs)] + budget.per if starts else None
        found.append(BudgetUse(budget, left, frees))
    return found
