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

from watchdog.actions.plan import Halt, Repair, verify_of
from watchdog.drill.stage import Stage
from watchdog.model import ActionError, Done, Target

__all__ = ["Rehearsed", "Row", "drill"]


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What became of one step."""

    say: str
    how: str
    """`done`: carried out on a copy; `looked at`: it touches the outside and was not done; `so already`; `fails`."""
    detail: str = ""
    diff: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """The steps ahead of the levels, one level, or the steps after proof."""

    name: str
    steps: tuple[Rehearsed, ...]
    problems: tuple[str, ...]
    """Why it would fail tonight."""


def drill(plan: Halt | Repair, target: Target) -> list[Row]:
    """Rehearses every row of a plan in order, as one night would climb it. Nothing but a temporary folder is written."""
    with tempfile.TemporaryDirectory(prefix="trading-watchdog-drill-") as folder:
        stage = Stage(Path(folder).resolve())
        rows = [(level.name, level.steps, verify_of(plan, level).run) for level in plan.levels]
        if isinstance(plan, Repair):
            rows = [("before", plan.before, ()), *rows, ("proven", plan.proven, ())]
        done: list[Done] = []
        broken = _prepare(stage, [step for _, steps, _ in rows for step in steps], target)
        if broken is not None:
            return [Row("copies", (), (broken,))]
        return [_rehearse(name, steps, run, target, stage, done) for name, steps, run in rows if steps]


def _prepare(stage: Stage, steps: Sequence[Any], target: Target) -> str | None:
    try:
        stage.prepare([step.at(target) for step in steps if stage.takes(step)])
    except ActionError as error:
        return str(error)
    except OSError as error:
        return f"no copy could be made: {error}"
    return None


def _rehearse(
    name: str, steps: Sequence[Any], run: Sequence[str], target: Target, stage: Stage, done: list[Done]
) -> Row:
    shown = []
    problems = []
    for step in steps:
        try:
            seen = (
                _on_stage(step, target, stage, done, stands=name == "before")
                if stage.takes(step)
                else _look(step, target)
            )
        except ActionError as error:
            seen = Rehearsed(step.say(), "fails", stage.real(str(error)))
        except OSError as error:
            seen = Rehearsed(step.say(), "fails", f"no copy could be made: {error}")
        shown.append(seen)
        if seen.how == "fails":
            problems.append(f"{seen.say}: {seen.detail}")
            if step.on_error != "continue":
                break  # the night would not get any further in this row
        elif seen.how == "so already" and step.do == "git":
            problems.append(f"{seen.say} changes nothing: what it would take back is not part of what runs")
    if run and not _found(run[0], Path(target.repo or "/")):
        problems.append(f"verify: there is no program {run[0]}")
    return Row(name, tuple(shown), tuple(problems))


def _on_stage(step: Any, target: Target, stage: Stage, done: list[Done], *, stands: bool) -> Rehearsed:
    action = stage.moved(step.at(target))
    before = action.before(done)
    if action.state(before) == "after":
        return Rehearsed(step.say(), "so already")
    diff = stage.real(action.preview(before))
    detail = stage.real(action.apply(before, "drill"))
    if (state := action.state(before)) != "after":
        raise ActionError(f"it was done, and yet the files are {state}")
    done.append(Done(action, before, stands))
    return Rehearsed(step.say(), "done", detail, diff)


def _look(step: Any, target: Target) -> Rehearsed:
    """Read-only: what the step itself asks before it acts, and whether its program is there."""
    action = step.at(target)
    for argv in _programs(action):
        if argv and not _found(argv[0], Path(getattr(action, "cwd", None) or target.repo or "/")):
            raise ActionError(f"there is no program {argv[0]}")
    action.before()
    return Rehearsed(step.say(), "looked at", "touches the outside: not done")


def _programs(action: Any) -> Iterator[Sequence[str]]:
    if action.do == "command":
        yield action.run
        yield getattr(action, "check", None) or ()


def _found(program: str, folder: Path) -> bool:
    return shutil.which(program if "/" not in program else str(folder / program)) is not None
