"""A drill: a plan rehearsed level by level, so that what would fail tonight is known today.

Steps that change files and commits are carried out on copies. Steps that touch the outside (units, processes, web APIs,
commands) are looked at, and not done.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from watchdog.core.errors import ActionError
from watchdog.core.protocols import CompletedStep
from watchdog.core.target import Target
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


def _prepare_sandbox(sandbox: Sandbox, steps: Sequence[Any], target: Target) -> str | None:
    try:
        sandbox.prepare([step.bind(target) for step in steps if sandbox.supports(step)])
    except ActionError as error:
        return str(error)
    except OSError as error:
        return f"no copy could be made: {error}"
    return None


def _rehearse_row(
    name: str, steps: Sequence[Any], run: Sequence[str], target: Target, sandbox: Sandbox, done: list[CompletedStep]
) -> RowResult:
    results = []
    problems = []
    for step in steps:
        try:
            result = (
                _run_in_sandbox(step, target, sandbox, done, persists=name == "before")
                if sandbox.supports(step)
                else _inspect_step(step, target)
            )
        except ActionError as error:
            result = StepResult(step.describe(), "fails", sandbox.original_paths(str(error)))
        except OSError as error:
            result = StepResult(step.describe(), "fails", f"no copy could be made: {error}")
        results.append(result)
        if result.how == "fails":
            problems.append(f"{result.say}: {result.detail}")
            if step.on_error != "continue":
                break  # the night would not get any further in this row
        elif result.how == "so already" and step.do == "git":
            problems.append(f"{result.say} changes nothing: what it would take back is not part of what runs")
    if run and not _program_exists(run[0], Path(target.repo or "/")):
        problems.append(f"verify: there is no program {run[0]}")
    return RowResult(name, tuple(results), tuple(problems))


def _run_in_sandbox(
    step: Any, target: Target, sandbox: Sandbox, done: list[CompletedStep], *, persists: bool
) -> StepResult:
    action = sandbox.redirected(step.bind(target))
    before = action.capture(done)
    if action.state(before) == "after":
        return StepResult(step.describe(), "so already")
    diff = sandbox.original_paths(action.preview(before))
    detail = sandbox.original_paths(action.apply(before, "drill"))
    if (state := action.state(before)) != "after":
        raise ActionError(f"it was done, and yet the files are {state}")
    done.append(CompletedStep(action, before, persists))
    return StepResult(step.describe(), "done", detail, diff)


def _inspect_step(step: Any, target: Target) -> StepResult:
    """Read-only: what the step itself asks before it acts, and whether its program is there."""
    action = step.bind(target)
    for argv in _programs_of(action):
        if argv and not _program_exists(argv[0], Path(getattr(action, "cwd", None) or target.repo or "/")):
            raise ActionError(f"there is no program {argv[0]}")
    action.capture()
    return StepResult(step.describe(), "looked at", "touches the outside: not done")


def _programs_of(action: Any) -> Iterator[Sequence[str]]:
    if action.do == "command":
        yield action.run
        yield getattr(action, "check", None) or ()


def _program_exists(program: str, folder: Path) -> bool:
    return shutil.which(program if "/" not in program else str(folder / program)) is not None
