"""What a plan would do, in words."""

from __future__ import annotations

from watchdog.core.errors import ActionError
from watchdog.core.protocols import Action
from watchdog.core.target import Target
from watchdog.plans.models import Halt, Repair


def describe_step(template: Action, location: Target) -> str:
    """A step in words, for its target; of one that does not fit that target, why."""
    try:
        return template.bind(location).describe()
    except ActionError as error:
        return f"{template.describe()} ({error})"


def describe_plan(plan: Halt | Repair, location: Target) -> list[str]:
    """What a plan would do, a line a step."""
    before, proven = (plan.before, plan.proven) if isinstance(plan, Repair) else ((), ())
    found = [("before", before), *((level.name, level.steps) for level in plan.levels), ("proven", proven)]
    return [f"{name}: {describe_step(step, location)}" for name, steps in found for step in steps]


def describe_start(plan: Halt | Repair, level: int, location: Target) -> str:
    """What is done first: ``set TRADING = false in config.py; level feature: set FEATURE = false in config.py``."""
    before = plan.before if isinstance(plan, Repair) else ()
    steps = "; ".join(describe_step(step, location) for step in plan.levels[level].steps)
    first = (describe_step(step, location) for step in before)
    return "; ".join([*first, f"level {plan.levels[level].name}: {steps}"])
