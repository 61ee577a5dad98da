"""Where a plan run is, in the words of people."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

from watchdog.core.model import Millis
from watchdog.core.target import Target
from watchdog.journal.runs import PlanRun, Step
from watchdog.plans.descriptions import describe_start
from watchdog.plans.models import parse_plan


class RunState(NamedTuple):
    """A run that has not ended."""

    run: int
    plan: str
    rank: int
    """What people have to know first has the least."""
    symbol: str
    """Of `core.chat.STATE_SYMBOLS`; empty: that of what fires."""
    words: str
    """For the title."""
    lines: tuple[str, ...] = ()
    waits_for_approval: bool = False
    only_watches: bool = False
    """It has helped, and changes nothing any more."""
    next_level: str | None = None
    """Name of the level that would follow, where a person may ask for it now."""


class _Outline(NamedTuple):
    """What is needed of a plan's text; of one that another version wrote, as much as can be read."""

    levels: tuple[tuple[str, int], ...] = ()
    """(name, how many steps)"""
    stages: tuple[str, ...] = ()


@lru_cache(64)
def _outline(text: str) -> _Outline:
    try:
        plan = json.loads(text)
        levels = tuple((str(one["name"]), len(one["steps"])) for one in plan["levels"])
        return _Outline(levels, tuple(str(one["name"]) for one in plan.get("recover", ())))
    except (ValueError, LookupError, TypeError, AttributeError):
        return _Outline()


@lru_cache(64)
def _start(text: str, level: int, place: str) -> str | None:
    try:
        return describe_start(parse_plan(text), level, Target.model_validate_json(place))
    except (ValueError, LookupError):
        return None


def describe_run(run: PlanRun, steps: Sequence[Step], format_time: Callable[[Millis], str]) -> RunState:
    """`steps`: all of the run."""
    outline = _outline(run.text)
    if run.status == "queued":
        start = _start(run.text, run.level, run.place)
        lines = () if start is None else (f"{run.plan}: {start}",)
        if run.approve_by is not None and run.approval is None:
            words = f"{run.plan} waits for approval until {format_time(run.approve_by)}"
            return RunState(run.id, run.plan, 1, "✋", words, lines, waits_for_approval=True)
        return RunState(run.id, run.plan, 3, "", f"{run.plan} is about to start", lines)
    name = _level_name(outline, run.level)
    if run.status == "watching":
        until = "" if run.watch_until is None else f", watched until {format_time(run.watch_until)}"
        lines = (f"{run.plan}: level {name} helped",)
        return RunState(run.id, run.plan, 4, "🟡", f"level {name} helped{until}", lines, only_watches=True)
    if run.part == "undo":
        return RunState(run.id, run.plan, 2, "🟡", "is being undone", tuple(step.say for step in steps))
    newest = max(reversed(steps), key=lambda step: step.started or 0, default=None)  # of two at once, the later one
    if run.part == "recover" or (newest is not None and newest.phase in ("recover", "back")):
        return _describe_stage(run, outline, newest, steps)
    return _describe_level(run, outline, name, steps)


def _describe_level(run: PlanRun, outline: _Outline, name: str, steps: Sequence[Step]) -> RunState:
    rows = [step for step in steps if step.phase == "level" and step.level == run.level]
    count = len(outline.levels)
    needed = outline.levels[run.level][1] if run.level < count else 0
    is_done = bool(rows) and len(rows) >= needed and all(step.ended is not None for step in rows)
    helped = any(step.phase == "proven" and step.level == run.level for step in steps)
    doing = "verifying" if is_done else "making safe" if run.kind == "halt" else "rolling back"
    which = f", level {run.level + 1} of {count} ({name})" if count > 1 else f" ({name})"
    words = f"level {name} helped" if helped else f"{doing}{which}"
    done = "; ".join(step.say for step in rows)
    following = None if helped or run.level + 1 >= count else outline.levels[run.level + 1][0]
    return RunState(
        run.id,
        run.plan,
        0 if run.kind == "halt" else 2,
        "🟡" if is_done else "",
        words,
        (f"{run.plan}: {done}",) if done else (),
        next_level=following,
    )


def _describe_stage(run: PlanRun, outline: _Outline, newest: Step | None, steps: Sequence[Step]) -> RunState:
    count = len(outline.stages)
    if newest is None or not count:
        return RunState(run.id, run.plan, 2, "🟡", "going back to work")
    number = newest.level % count
    name = outline.stages[number]
    done = "; ".join(step.say for step in steps if (step.phase, step.level) == (newest.phase, newest.level))
    which = f", stage {number + 1} of {count} ({name})" if count > 1 else f" ({name})"
    words = f"stage {name} goes back" if newest.phase == "back" else f"going back to work{which}"
    return RunState(run.id, run.plan, 2, "🟡", words, (f"{run.plan}: {done}",))


def _level_name(outline: _Outline, level: int) -> str:
    return outline.levels[level][0] if level < len(outline.levels) else str(level + 1)


def describe_ended(run: PlanRun) -> str:
    """``level version of ladder helped``"""
    name = _level_name(_outline(run.text), run.level)
    return f"level {name} of {run.plan} {'helped' if run.kind == 'repair' else 'was proven'}"
