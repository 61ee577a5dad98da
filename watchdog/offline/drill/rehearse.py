"""A drill: a plan rehearsed level by level, so that what would fail tonight is known today.

Steps that change files and commits are carried out on copies. Steps that touch the outside (units, processes, web APIs,
commands) are looked at, and not done. Each by whom the night would have do it: the copies are made by the target's owner,
in a folder of its own, and what the watchdog itself does, as an HTTP request with a secret, it looks at itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from watchdog.core.errors import ActionError
from watchdog.core.executor import DirectExecutor, Executor
from watchdog.core.protocols import Action, CompletedStep
from watchdog.core.target import Target
from watchdog.host import child_process
from watchdog.offline.drill.sandbox import Sandbox
from watchdog.plans.models import Halt, Repair, effective_verify, parse_plan, serialize_plan

_PREFIX = "trading-watchdog-drill-"
_REMOVAL_TIMEOUT = 5.0
"""Seconds: what was ended in the middle may write for a moment more."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """What became of one step."""

    say: str
    how: str
    """`done`: carried out on a copy; `looked at`: it touches the outside and was not done; `so already`; `not deployed now`:
    what it takes back is there, and not part of what runs; `fails`."""
    detail: str = ""
    diff: str = ""


@dataclass(frozen=True, slots=True)
class RowResult:
    """The steps ahead of the levels, one level, or the steps after proof."""

    name: str
    steps: tuple[StepResult, ...]
    problems: tuple[str, ...]
    """Why it would fail tonight."""


def rehearse_plan(
    plan: Halt | Repair,
    target: Target,
    executor: Executor = DirectExecutor(),  # noqa: B008 - it holds nothing
) -> list[RowResult]:
    """Rehearses every row of a plan in order, as one night would climb it. Nothing but a temporary folder is written."""
    steps = [step for _, steps, _ in _plan_rows(plan) for step in steps]
    seen = tuple(None if step.runs_as_owner else _inspect_step(step, target) for step in steps)
    try:
        folder = executor.call(target, make_folder)
        try:
            return executor.call(
                target,
                rehearse_rows,
                folder,
                serialize_plan(plan),
                target.location(),
                seen,
                _inherited_variables(steps, target),
            )
        finally:  # also when it is ended in the middle
            executor.call(target, remove_folder, folder)
    except ActionError as error:
        return [RowResult("copies", (), (str(error),))]


def make_folder() -> str:
    """For the copies: nobody else may look into it."""
    return tempfile.mkdtemp(prefix=_PREFIX)


def remove_folder(folder: str) -> None:
    """One of `make_folder`'s."""
    path = Path(folder)
    if path.parent != Path(tempfile.gettempdir()) or not path.name.startswith(_PREFIX):
        raise ActionError(f"{folder} is no folder of a drill's")
    for _ in child_process.poll_until(time.monotonic() + _REMOVAL_TIMEOUT, every=0.1):
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            break


def rehearse_rows(
    folder: str, plan: str, target: str, seen: tuple[StepResult | None, ...], given: dict[str, str]
) -> list[RowResult]:
    """The owner's part: on copies in `folder`. `plan`, `target`: as JSON; `seen`: what was seen of each step already;
    `given`: variables of the watchdog's that programs of the plan inherit."""
    known, location, sandbox = (
        parse_plan(plan),
        Target.model_validate_json(target),
        Sandbox(Path(folder).resolve()),
    )
    rows = _plan_rows(known)
    broken = _prepare_sandbox(sandbox, [step for _, steps, _ in rows for step in steps], location)
    if broken is not None:
        return [RowResult("copies", (), (broken,))]
    done: list[CompletedStep] = []
    looked_at = iter(seen)
    with child_process.variables(given):
        return [
            _rehearse_row(name, steps, run, location, sandbox, done, looked_at) for name, steps, run in rows if steps
        ]


def _plan_rows(plan: Halt | Repair) -> list[tuple[str, Sequence[Action], Sequence[str]]]:
    """(name, steps, what its verify runs), in the order of a night."""
    rows: list[tuple[str, Sequence[Action], Sequence[str]]] = [
        (level.name, level.steps, effective_verify(plan, level).run) for level in plan.levels
    ]
    return [("before", plan.before, ()), *rows, ("proven", plan.proven, ())] if isinstance(plan, Repair) else rows


def _inspect_step(step: Action, target: Target) -> StepResult:
    """Read-only: what it asks itself before it acts."""
    try:
        action = step.bind(target)
        action.rehearse(action.capture())
    except ActionError as error:
        return StepResult(step.describe(), "fails", str(error))
    return StepResult(step.describe(), "looked at", "touches the outside: not done")


def _inherited_variables(steps: Sequence[Action], target: Target) -> dict[str, str]:
    """Of those that are not set, each step says so itself."""
    names: set[str] = set()
    for step in _bound(steps, target):
        if step.runs_as_owner:
            names |= {name for program in step.programs() for name in program.inherit}
    return {name: os.environ[name] for name in names if name in os.environ}


def _bound(steps: Sequence[Action], target: Target) -> Iterator[Action]:
    for step in steps:
        with contextlib.suppress(ActionError):  # one that does not fit the target says so in its own row
            yield step.bind(target)


def _prepare_sandbox(sandbox: Sandbox, steps: Sequence[Action], target: Target) -> str | None:
    try:
        sandbox.prepare(step for step in _bound(steps, target) if step.runs_as_owner)
    except ActionError as error:
        return str(error)
    except OSError as error:
        return f"no copy could be made: {error}"
    return None


def _rehearse_row(
    name: str,
    steps: Sequence[Action],
    run: Sequence[str],
    target: Target,
    sandbox: Sandbox,
    done: list[CompletedStep],
    seen: Iterator[StepResult | None],
) -> RowResult:
    results = []
    problems = []
    for step, known in [(step, next(seen)) for step in steps]:
        try:
            result = known or _rehearse_step(step, target, sandbox, done, persists=name == "before")
        except ActionError as error:
            result = StepResult(step.describe(), "fails", sandbox.original_paths(str(error)))
        except OSError as error:
            result = StepResult(step.describe(), "fails", f"no copy could be made: {error}")
        results.append(result)
        if result.how == "fails":
            problems.append(f"{result.say}: {result.detail}")
            if step.on_error != "continue":
                break  # the night would not get any further in this row
    if run and child_process.find_program(run[0], target.repo or "/") is None:
        problems.append(f"verify: there is no program {run[0]}")
    return RowResult(name, tuple(results), tuple(problems))


def _rehearse_step(
    step: Action, target: Target, sandbox: Sandbox, done: list[CompletedStep], *, persists: bool
) -> StepResult:
    """On copies, or looked at."""
    action = step.bind(target).redirect(sandbox)
    if action is None:
        return _inspect_step(step, target)
    before = action.capture(done)
    if action.state(before) == "after":
        return StepResult(step.describe(), action.noop_reason(before))
    original = json.loads(sandbox.original_paths(json.dumps(before, ensure_ascii=False)))
    step.bind(target).rehearse(original)  # a copy is a plain file on a disk with room
    diff = sandbox.original_paths(action.preview(before))
    detail = sandbox.original_paths(action.apply(before, "drill"))
    if (state := action.state(before)) != "after":
        raise ActionError(f"it was done, and yet the files are {state}")
    done.append(CompletedStep(action, before, persists))
    return StepResult(step.describe(), "done", detail, diff)
