"""`rollback --dry-run`: exactly what a plan would change now, row by row. Nothing is touched, not even a file time."""

from __future__ import annotations

import argparse
import os
from typing import Any

from watchdog import config
from watchdog.cli.common import open_executor
from watchdog.cli.output import print_json, print_line, print_lines
from watchdog.cli.root import let_go_of_root
from watchdog.core.errors import ActionError, WatchdogError
from watchdog.core.executor import Executor
from watchdog.core.protocols import Action
from watchdog.core.target import Target
from watchdog.documents.problems import format_names, unknown_name
from watchdog.plans.models import Halt, Repair, phase_steps


def plan_of(loaded: config.Config, name: str, target: str) -> Halt | Repair:
    """What a plan is for a target. Raises WatchdogError: the target lacks a variable that stands in it."""
    plan = loaded.plan(name, target)
    if plan is None:
        raise WatchdogError(f"{name} needs a variable that {target} does not have — add it to the target's vars")
    return plan


def dry_run(options: argparse.Namespace) -> int:
    """Every step is looked at as things are now: what an earlier step would change is not done for the later ones."""
    loaded = config.load(options.config, environ=os.environ, may_leave_out=True)
    if options.plan not in loaded.plans:
        raise WatchdogError(unknown_name("plan", options.plan, loaded.plans))
    name = options.target or (next(iter(loaded.targets)) if len(loaded.targets) == 1 else None)
    if name is None:
        raise WatchdogError(f"say which target with --target: {format_names(loaded.targets)}")
    if name not in loaded.targets:
        raise WatchdogError(unknown_name("target", name, loaded.targets))
    plan = plan_of(loaded, options.plan, name)
    names = [level.name for level in plan.levels]
    if options.level is not None and options.level not in names:
        raise WatchdogError(f"plan {options.plan} has no level {options.level!r}: {', '.join(names)}")
    first = 0 if options.level is None else names.index(options.level)
    let_go_of_root(options.config, loaded.state, acts=True, writes=False)
    with open_executor() as executor:
        previews = [
            _preview_step(row, step, loaded.targets[name], executor)
            for row, steps in _plan_rows(plan, first)
            for step in steps
        ]
    failed = any(step["error"] for step in previews)
    if options.json:
        print_json({"plan": options.plan, "target": name, "steps": previews})
        return 1 if failed else 0
    for step in previews:
        print_line(f"{step['row']}: {step['say']}")
        print_lines(step["error"] or step["change"] or _describe_nothing(step["nothing"]), indent="    ")
    return 1 if failed else 0


def _describe_nothing(reason: str | None) -> str:
    return "nothing to change" if reason is None else f"nothing to change: {reason}"


def _plan_rows(plan: Halt | Repair, first: int) -> list[tuple[str, tuple[Action, ...]]]:
    """In the order in which they would be done, were every level needed."""
    levels = [(plan.levels[n].name, phase_steps(plan, "level", n)) for n in range(first, len(plan.levels))]
    return [("before", phase_steps(plan, "before", 0)), *levels, ("proven", phase_steps(plan, "proven", 0))]


def _preview_step(row: str, template: Action, location: Target, executor: Executor) -> dict[str, Any]:
    known: dict[str, Any] = {"row": row, "say": template.describe(), "change": "", "nothing": None, "error": None}
    try:
        action = executor.act_as_owner(template.bind(location), location)
        known["say"] = action.describe()
        before = action.capture(())
        # A unit that runs now may be stopped by the time that a later level starts it: only what lasts is so already.
        if action.state(before) != "after" or not action.persistent:
            known["change"] = action.preview(before)
            action.rehearse(before)
        else:
            known["nothing"] = action.noop_reason(before)
    except ActionError as error:
        known["error"] = f"would fail: {error}"
    return known
