"""What a plan would do, in words."""

from __future__ import annotations

from typing import Any, cast

from watchdog.actions.plan import Repair
from watchdog.model import Action, ActionError, Target


def said(template: Any, place: Target) -> str:
    """A step in words, for its target; of one that does not fit that target, why."""
    try:
        return cast(Action, template).at(place).say()
    except ActionError as error:
        return f"{template.say()} ({error})"


def rows(plan: Repair, place: Target) -> list[str]:
    """What a repair would do, a line a step."""
    found = [("before", plan.before), *((level.name, level.steps) for level in plan.levels), ("proven", plan.proven)]
    return [f"{name}: {said(step, place)}" for name, steps in found for step in steps]
