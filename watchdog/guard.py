"""Whether a plan may start now. Pure; the answer says why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from watchdog.model import Millis, Target
from watchdog.units import show_duration


class Past(NamedTuple):
    """A plan run of this target that a rule started."""

    kind: Literal["halt", "repair"]
    started: Millis
    ended: Millis | None
    incident: int | None


class Facts(NamedTuple):
    """What the guard must know; all of it from the journal and the last tick."""

    latched: str | None
    """Why the target is latched; None when it is not."""
    blind: str | None
    """What is not seen at the moment: a freshness rule that fires, or no source at all."""
    fresh: bool
    """This daemon has itself seen data for the rule since it started."""
    unsettled: Millis | None
    """When somebody else last deployed or restarted the bot."""
    halted: bool
    """A halt has already run in this incident."""
    past: Sequence[Past]
    held: str | None = None
    """Why a person, or a maintenance window, wants no repair to start."""
    halts_held: bool = False
    """A person wants no halt to start either, and said so by ``hold --all``."""


class Allowed(NamedTuple):
    pass


class Refused(NamedTuple):
    code: str
    """Stable word for the reason: people are told when it changes, not when its numbers do."""
    why: str


def may_act(kind: Literal["halt", "repair"], target: Target, facts: Facts, now: Millis) -> Allowed | Refused:
    """A halt is refused by nothing but a person's ``hold --all``. A repair is, by the first of these reasons that holds."""
    if facts.held is not None and (kind == "repair" or facts.halts_held):
        return Refused("held", f"held by {facts.held}")
    if kind == "halt":
        return Allowed()
    if facts.latched is not None:
        return Refused("latched", f"latched {facts.latched}: a person must resume it")
    if facts.halted:
        return Refused("halted", "a halt has already made this incident safe")
    if not facts.fresh:
        return Refused("cold", "no fresh samples since the watchdog started")
    if facts.blind is not None:
        return Refused("blind", f"blind: {facts.blind}")
    if facts.unsettled is not None and now - facts.unsettled < target.settling:
        left = show_duration(target.settling - (now - facts.unsettled))
        return Refused("settling", f"somebody deployed or restarted the bot; settling for another {left}")
    ends = [past.ended for past in facts.past if past.kind == "repair" and past.ended is not None]
    if ends and now - max(ends) < target.cooldown:
        return Refused(
            "cooldown",
            f"the last repair ended {show_duration(now - max(ends))} ago, cooldown is {show_duration(target.cooldown)}",
        )
    for budget in target.budget:
        if sum(now - past.started < budget.per for past in facts.past) >= budget.runs:
            return Refused("budget", f"the budget of {budget.text} is used up")
    return Allowed()
