"""What plans have left switched off, stopped, masked or reverted, and what of it still is so: the world is asked."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from watchdog.core.errors import ActionError
from watchdog.core.executor import Executor
from watchdog.core.model import JsonObject, Millis
from watchdog.core.protocols import Action, LastingChange, StepState
from watchdog.core.target import Target
from watchdog.journal.runs import PlanRun, Step, StepId, StepStatus
from watchdog.journal.storage import Journal
from watchdog.plans.done_steps import done_steps

_MAY_HAVE_ACTED: Sequence[StepStatus] = ("done", "unknown", "started", "failed")
"""A step that failed may have done a part of it; one that was skipped has found it so."""


class Touch(NamedTuple):
    """One step that has changed a thing, or may have."""

    run: PlanRun
    step: Step
    action: Action
    captured: JsonObject
    change: LastingChange
    position: int
    """Which of the step's lasting changes that is."""

    @property
    def leads_back(self) -> bool:
        return self.step.phase in ("proven", "recover")

    @property
    def leaves_nothing(self) -> bool:
        return self.change.how is None or (self.change.how == "on" and self.leads_back)


class Trace(NamedTuple):
    """What plans have done to one thing since they last left it at work, the oldest first."""

    touches: Sequence[Touch]

    @property
    def deciding(self) -> Sequence[Touch]:
        """The newest step that surely was done, and those after it that may have been; the newest first."""
        done = next((n for n, touch in enumerate(reversed(self.touches)) if touch.step.status == "done"), None)
        return self.touches[::-1][: None if done is None else done + 1]


class StandingChange(NamedTuple):
    """One thing that a plan has left so, and that nobody has put back."""

    run: int
    incident: int | None
    """In which it was done; None: a person ran the plan while there was none."""
    plan: str
    step: str
    """The step in words, as the journal has it."""
    since: Millis
    thing: str
    """See `LastingChange`, as the next three."""
    how: str
    what: str
    by_hand: str | None
    unseen: str | None = None
    """Why it could not be looked at: nobody knows whether it still is so. None: it was seen."""


def find_standing(
    journal: Journal, name: str, target: Target | None, executor: Executor, incident: int | None = None
) -> list[StandingChange]:
    """What stands of the target `name`, the oldest first. Blocks: it looks at the target, by `call_deadline`.

    `target`: as it is configured now; what was done elsewhere, before it was moved, is not its own any more. None: it is
    no longer configured, and is looked at where it was. `incident`: only what the plan runs of that one have left.
    """
    standing = look_at_traces(list_traces(journal, name, target), executor)
    return [one for one in standing if incident is None or one.incident == incident]


def list_traces(journal: Journal, name: str, target: Target | None) -> list[Trace]:
    """What plans have done to it that may still be so, by the journal alone: for `look_at_traces`. Looks at nothing."""
    traces: dict[str, list[Touch]] = {}
    for run in journal.runs.list_that_acted(name, None if target is None else target.location()):
        for touch in _touches_of(run, journal.runs.list_steps(run.id), target):
            trace = traces.setdefault(touch.change.thing, [])
            if touch.leaves_nothing:
                if touch.step.status == "done":
                    trace.clear()
                continue
            # It was as ahead of an earlier step: what lies between the two has been put back.
            again = next((n for n, one in enumerate(trace) if one.change.was == touch.change.was), len(trace))
            trace[again:] = [touch]
    return [Trace(touches) for touches in traces.values() if touches]


def look_at_traces(traces: Iterable[Trace], executor: Executor) -> list[StandingChange]:
    """Of each thing that still is as a plan left it, or cannot be seen: the step that left it so. Blocks."""
    seen: dict[StepId, Sequence[StepState] | ActionError] = {}

    def look(touch: Touch) -> StepState | ActionError:
        """Each step is asked once, whatever it changed."""
        if touch.step.id not in seen:
            location = Target.model_validate_json(touch.run.place)
            try:
                seen[touch.step.id] = executor.act_as_owner(touch.action, location).lasting_states(touch.captured)
            except ActionError as error:
                seen[touch.step.id] = error
        states = seen[touch.step.id]
        return states if isinstance(states, ActionError) else states[touch.position]

    found = []
    for trace in traces:
        first = trace.touches[0]
        for touch in trace.deciding:
            state = look(touch)
            if isinstance(state, ActionError):
                found.append(_standing_change(touch, str(state)))
                break
            if state == "after" and not (touch.leads_back and touch is not first and look(first) == "before"):
                found.append(_standing_change(touch))
                break
    return _sorted(found)


def unseen_changes(traces: Iterable[Trace], why: str) -> list[StandingChange]:
    """All that may still stand, where nobody could look."""
    return _sorted(_standing_change(trace.deciding[0], why) for trace in traces)


def describe_standing(
    standing: Iterable[StandingChange], cure: Callable[[StandingChange], str | None] = lambda _: None
) -> list[str]:
    """A line for each way in which something stands: ``off: GLOBAL_TRADING, FEATURE_HMM_V2``.

    `cure`: what puts it back, in words that go behind the line.
    """
    lines: dict[tuple[str, str | None, str | None], list[str]] = {}
    for one in standing:
        lines.setdefault((one.how, one.unseen, cure(one)), []).append(one.what)
    return [
        (f"{how}: " if unseen is None else f"left {how}, and cannot be looked at: ")
        + ", ".join(dict.fromkeys(names))
        + ("" if unseen is None else f" ({unseen})")
        + ("" if back is None else f" — {back}")
        for (how, unseen, back), names in lines.items()
    ]


def cure_by(words: str, steps: Iterable[Action], target: Target | None) -> Callable[[StandingChange], str | None]:
    """What puts it back: `words` where one of these steps would put it back, else what a person does by hand."""
    covered = set() if target is None else touched_things(steps, target)
    return lambda one: words if one.thing in covered else one.by_hand


def touched_things(steps: Iterable[Action], target: Target) -> set[str]:
    """What steps of a plan would change on that target, under the names that `StandingChange.thing` has."""
    found: set[str] = set()
    for step in steps:
        with contextlib.suppress(ActionError):  # one that does not fit the target
            found |= {change.thing for change in step.bind(target).lasting_changes()}
    return found


def _touches_of(run: PlanRun, steps: Sequence[Step], target: Target | None) -> Iterator[Touch]:
    """`target`: where it is now; what was done elsewhere is left out."""
    now_at = run if target is None else replace(run, place=target.location())
    there, here = (done_steps(each, steps, _MAY_HAVE_ACTED) for each in (run, now_at))
    taken_back = {step.level for step in steps if step.phase == "back"}
    for (step, action, captured), (_, moved, _) in zip(there, here, strict=True):
        if step.phase == "recover" and step.level in taken_back:
            continue
        own = {change.thing for change in moved.lasting_changes(captured)}
        for position, change in enumerate(action.lasting_changes(captured)):
            if change.thing in own:
                yield Touch(run, step, action, captured, change, position)


def _standing_change(touch: Touch, unseen: str | None = None) -> StandingChange:
    run, step, change = touch.run, touch.step, touch.change
    since = step.ended or step.started or run.queued
    return StandingChange(
        run.id,
        run.incident,
        run.plan,
        step.say,
        since,
        change.thing,
        change.how or "",
        change.what,
        change.by_hand,
        unseen,
    )


def _sorted(found: Iterable[StandingChange]) -> list[StandingChange]:
    return sorted(found, key=lambda one: (one.since, one.run))
