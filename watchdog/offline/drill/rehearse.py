"""A drill: a plan rehearsed level by level, so that what would fail tonight is known today.

Steps that change files and commits are carried out on copies. Steps that touch the outside (units, processes, web APIs,
commands) are looked at, and not done.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from watchdog.core.errors import ActionError
from watchdog.core.protocols import Action, CompletedStep
from watchdog.core.target import Target
from watchdog.host import child_process
from watchdog.offline.drill.sandbox import Sandbox
from watchdog.plans.models import Halt, Repair, effective_verify

__all__ = ["RowResult", "StepResult", "rehearse_plan"]


@dataclass(frozen=True, slots=True)
class StepResult:
    """What became of one step."""

    say: str
    how: str
    """`done`: carried out on a copy; `looked at`: it touches the outside and was not done; `so already`; `fails`."""
    detail: str = ""
    diff: str = ""


@dataclass(frozen=True, slots=True)
class RowResult:
    """The steps ahead of the levels, one level, or the steps after proof."""

    name: str
    steps: tuple[StepResult, ...]
    problems: tuple[str, ...]
    """Why it would fail tonight."""


def rehearse_plan(plan: Halt | Repair, target: Target) -> list[RowResult]:
    """Rehearses every row of a plan in order, as one night would climb it. Nothing but a temporary folder is written."""
    with tempfile.TemporaryDirectory(prefix="trading-watchdog-drill-") as folder:
        sandbox = Sandbox(Path(folder).resolve())
        rows = [(level.name, level.steps, effective_verify(plan, level).run) for level in plan.levels]
        if isinstance(plan, Repair):
            rows = [("before", plan.before, ()), *rows, ("proven", plan.proven, ())]
        done: list[CompletedStep] = []
        broken = _prepare_sandbox(sandbox, [step for _, steps, _ in rows for step in steps], target)
        if broken is not None:
            return [RowResult("copies", (), (broken,))]
        return [_rehearse_row(name, steps, run, target, sandbox, done) for name, steps, run in rows if steps]


def _prepare_sandbox(sandbox: Sandbox, steps: Sequence[Action], target: Target) -> str | None:
    bound = []
    for step in steps:
        with contextlib.suppress(ActionError):  # one that does not fit the target says so in its own row
            bound.append(step.bind(target))
    try:
        sandbox.prepare(bound)
    except ActionError as error:
        return str(error)
    except OSError as error:
        return f"no copy could be made: {error}"
    return None


def _rehearse_row(
    name: str, steps: Sequence[Action], run: Sequence[str], target: Target, sandbox: Sandbox, done: list[CompletedStep]
) -> RowResult:
    results = []
    problems = []
    for step in steps:
        try:
            result = _rehearse_step(step, target, sandbox, done, persists=name == "before")
        except ActionError as error:
            result = StepResult(step.describe(), "fails", sandbox.original_paths(str(error)))
        except OSError as error:
            result = StepResult(step.describe(), "fails", f"no copy could be made: {error}")
        results.append(result)
        if result.how == "fails":
            problems.append(f"{result.say}: {result.detail}")
            if step.on_error != "continue":
                break  # the night would not get any further in this row
        elif result.how == "so already" and step.noop_problem is not None:
            problems.append(f"{result.say} changes nothing: {step.noop_problem}")
    if run and child_process.find_program(run[0], target.repo or "/") is None:
        problems.append(f"verify: there is no program {run[0]}")
    return RowResult(name, tuple(results), tuple(problems))


def _rehearse_step(
    step: Action, target: Target, sandbox: Sandbox, done: list[CompletedStep], *, persists: bool
) -> StepResult:
    """On copies; or, read-only, what it asks itself before it acts."""
    bound = step.bind(target)
    action = bound.redirect(sandbox)
    if action is None:
        bound.capture()
        return StepResult(step.describe(), "looked at", "touches the outside: not done")
    before = action.capture(done)
    if action.state(before) == "after":
        return StepResult(step.describe(), "so already")
    diff = sandbox.original_paths(action.preview(before))
    detail = sandbox.original_paths(action.apply(before, "drill"))
    if (state := action.state(before)) != "after":
        raise ActionError(f"it was done, and yet the files are {state}")
    done.append(CompletedStep(action, before, persists))
    return StepResult(step.describe(), "done", detail, diff)
