"""What runs have done, with the actions behind it."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from watchdog.core.errors import ActionError
from watchdog.core.model import JsonObject
from watchdog.core.protocols import Action
from watchdog.core.target import Target
from watchdog.journal.runs import PlanRun, Step, StepStatus
from watchdog.plans.models import parse_plan, phase_steps


def done_steps(
    run: PlanRun, steps: Iterable[Step], statuses: Collection[StepStatus] = frozenset({"done"})
) -> list[tuple[Step, Action, JsonObject]]:
    """Those steps of a plan that were done, in the order given: (row, its action for its target, what it captured).

    `statuses`: those of which more is known, or less.

    None of an undo, nor of a plan that another version wrote and this one cannot read.
    """
    try:
        plan = parse_plan(run.text)
    except ValueError:
        return []
    location = Target.model_validate_json(run.place)
    found: list[tuple[Step, Action, JsonObject]] = []
    for row in steps:
        actions = phase_steps(plan, row.phase, row.level)
        if row.status not in statuses or row.before is None or row.n >= len(actions):
            continue
        try:
            found.append((row, actions[row.n].bind(location), row.before))
        except ActionError:  # what it needs is not to be found from here, as the credentials of a request
            found.append((row, actions[row.n], row.before))
    return found
