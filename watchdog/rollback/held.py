"""What a latch holds: the steps that have made the target safe, and what somebody has made of them since."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from watchdog.actions.git.head_moves import last_head_move
from watchdog.core.errors import ActionError
from watchdog.core.executor import Executor
from watchdog.core.model import JsonObject, Millis
from watchdog.core.protocols import Action
from watchdog.core.target import Target
from watchdog.host import file_state
from watchdog.journal.runs import PlanRun, Step, StepStatus
from watchdog.journal.storage import Journal
from watchdog.plans.after_halt import list_latched_runs
from watchdog.plans.done_steps import done_steps

_MADE_SO: Sequence[StepStatus] = ("done", "skipped")
"""A step that was skipped has found it so: that is held, too."""
_MAX_LISTED = 3


class HeldStep(NamedTuple):
    """One step of a run since the latch that must still be so."""

    run: PlanRun
    step: Step
    action: Action
    captured: JsonObject
    replaced: frozenset[str]
    """Things of it that a later step of ours has made other: those say nothing."""


class HeldLook(NamedTuple):
    """What a look at one of them has found."""

    held: HeldStep
    other: tuple[str, ...]
    """What is so instead, for people; none: it holds."""
    unseen: str | None = None
    """Why it could not be looked at; then nobody knows. What asks the bot itself has no answer where that was stopped."""


def list_held(journal: Journal, target: str, now: Millis) -> list[HeldStep]:
    """The steps that a target's latch holds, the oldest first; none: it is not latched. Looks at the journal alone.

    Files, commits, what was stopped or masked, and what says that it leaves something; of a restart nothing is left that could
    be undone.
    """
    if journal.targets.get_state(target, now).latched is None:
        return []
    runs = list_latched_runs(journal, target, now)
    made = [(run, *done) for run in runs for done in done_steps(run, journal.runs.list_steps(run.id), _MADE_SO)]
    held = []
    for n, (run, step, action, captured) in enumerate(made):
        if step.phase not in ("before", "level") or not _leaves_anything(action, captured):
            continue
        later = made[n + 1 :]
        if run.kind == "repair" and any(_writes_over(each, action, captured) for each in later):
            continue
        replaced = {change.thing for _, _, other, _ in later for change in other.lasting_changes()}
        held.append(HeldStep(run, step, action, captured, frozenset(replaced)))
    return held


def look_at_held(held: Iterable[HeldStep], executor: Executor) -> list[HeldLook]:
    """Each of them, looked at anew by its owner. Blocks."""
    looks = []
    for one in held:
        try:
            action = executor.act_as_owner(one.action, Target.model_validate_json(one.run.place))
            found = action.deviations(one.captured)
        except ActionError as error:
            looks.append(HeldLook(one, (), str(error)))
            continue
        looks.append(HeldLook(one, tuple(text for thing, text in found.items() if thing not in one.replaced)))
    return looks


def find_cause(undone: Iterable[HeldStep], executor: Executor, since: Millis) -> list[str]:
    """Who or what has changed it, as far as that can be seen: how HEAD moved since then, else who wrote the files. Blocks."""
    found: dict[str, None] = {}
    for one in undone:
        place = Target.model_validate_json(one.run.place)
        moved = None
        with contextlib.suppress(ActionError):
            moved = None if place.repo is None else executor.call(place, last_head_move, place.repo, since)
        if moved is not None:
            found[moved] = None
            continue
        with contextlib.suppress(ActionError):
            if executor.act_as_owner(one.action, place).state(one.captured) == "after":
                continue  # another file is meant by now: who wrote this one, we, tells nothing
        for path in one.action.touched_paths(one.captured)[:_MAX_LISTED]:
            with contextlib.suppress(ActionError):
                if (writer := executor.call(place, file_state.last_writer, Path(path))) is not None:
                    found[writer] = None
    return list(found)


def list_undone(journal: Journal, target: str, now: Millis) -> list[str]:
    """What a latch should hold and was last seen otherwise, a line each."""
    return [f"no longer so: {one.step.say}" for one in list_held(journal, target, now) if one.step.undone is not None]


def _leaves_anything(action: Action, captured: JsonObject) -> bool:
    return action.persistent or any(change.how is not None for change in action.lasting_changes(captured))


def _writes_over(later: tuple[PlanRun, Step, Action, JsonObject], action: Action, captured: JsonObject) -> bool:
    """Whether a later step of ours has written a whole file in which this one had set or replaced something."""
    _, _, other, noted = later
    shared = {*other.touched_paths(noted)} & {*action.touched_paths(captured)}
    return not shared <= other.value_edits().keys()
