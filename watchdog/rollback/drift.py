"""Whether what our steps left behind is still so, or somebody else is at work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from watchdog.core.errors import ActionError
from watchdog.core.protocols import Action
from watchdog.journal.runs import Step
from watchdog.rollback.executor import StepExecutor, StoppedError


async def check_unchanged(executor: StepExecutor, halts: Sequence[StepExecutor] = ()) -> None:
    """Raises StoppedError when somebody else has changed what our steps left behind.

    Looked at are the lasting steps (files, commits) of the row that was done last, and the `before:` row with them
    while it stands. A commit is not looked at once a flag was set in one of its files: the flag is. `halts`: those that
    the run goes on behind; all that they have made so must still be so.
    """
    if undone := await find_undone(halts):
        raise StoppedError(f"somebody else is at work: {undone.reason}")
    rows = executor.step_rows()
    if any(row.status == "started" for row in rows):
        return  # cut off in the middle of a step: that step's own look at the world decides
    rows = [row for row in rows if row.status == "done" and row.before is not None]
    lasting = [
        (row, action) for row in rows if (action := executor.resolve_action(row)) is not None and action.persistent
    ]
    if not lasting:
        return
    last = lasting[-1][0]
    of_halts = [pair for halt in halts for pair in _lasting_rows(halt)]
    for n, (row, action) in enumerate(lasting):
        current = (row.phase, row.level) == (last.phase, last.level)
        persists = row.phase == "before" and last.phase == "level" and row.level <= last.level
        since = [pair for pair in of_halts if (pair[0].started or 0) >= (row.ended or 0)]
        covered = any(_overwrites(later, (row, action)) for later in [*lasting[n + 1 :], *since])
        if not persists and (not current or covered):
            continue
        state = await executor.probe_state(action, row.before or {})
        if covered and state == "other":
            continue  # the version underneath was changed by us since, and may not even have that flag
        if state != "after":
            what = "was undone" if state == "before" else "was changed" if state == "other" else "cannot be read"
            raise StoppedError(f"somebody else is at work: {row.say} {what}")


class Deviation(NamedTuple):
    """Of what the last row has made so: something is other where it is looked at anew, or nobody can say."""

    reason: str
    seen: bool
    """False: it could not be looked at."""


async def find_deviation(executor: StepExecutor) -> Deviation | None:
    """Whether what runs is what the last row's steps have made so: their files, commits and units by the names that the plan has.
    What a step captured says where it acted; a link may lead elsewhere since. None: it is."""
    rows = [row for row in executor.step_rows() if (row.phase, row.level) == executor.row and row.before is not None]
    done = [(row, executor.resolve_action(row)) for row in rows if row.status in ("done", "skipped")]
    made = [(row, action) for row, action in done if action is not None and _leaves_files_or_units(row, action)]
    for n, (row, action) in enumerate(made):
        later = made[n + 1 :]
        if any(_overwrites(each, (row, action)) for each in later):
            continue
        replaced = {change.thing for _, each in later for change in each.lasting_changes()}
        try:
            found = await executor.find_deviations(action, row.before or {})
        except ActionError as error:
            return Deviation(f"whether “{row.say}” is what runs cannot be told: {error}", seen=False)
        if other := [text for thing, text in found.items() if thing not in replaced]:
            return Deviation(f"{row.say}, and yet {'; '.join(other)}", seen=True)
    return None


def _leaves_files_or_units(row: Step, action: Action) -> bool:
    """What else a step has done is proven by what the plan says: its checks are programs and pages, not to be asked each second."""
    return (
        action.persistent or bool(action.touched_paths(row.before or {}) or action.unit_operations) or action.stops_bot
    )


class UndoneHalt(NamedTuple):
    halt: int
    """Its place among those that were looked at."""
    reason: str


async def find_undone(halts: Sequence[StepExecutor]) -> UndoneHalt | None:
    """What these halts have made so for good and is no longer so, or cannot be looked at; None: all of it is."""
    made = [(number, row, action) for number, halt in enumerate(halts) for row, action in _lasting_rows(halt)]
    for n, (number, row, action) in enumerate(made):
        replaced = any(_sets_same_values(later, action) for _, _, later in made[n + 1 :])
        if not replaced and await halts[number].probe_state(action, row.before or {}) != "after":
            return UndoneHalt(number, f"what the halt has made safe is no longer so: {row.say}")
    return None


async def find_not_running(executor: StepExecutor, kind: Literal["halt", "repair"]) -> str | None:
    """What the last level's restarts left not running. StoppedError in a repair when somebody stopped it meanwhile."""
    rows = [row for row in executor.step_rows() if row.phase == "level"]
    last = max((row.level for row in rows), default=-1)
    for row in rows:
        if row.level != last or row.status != "done" or row.before is None:
            continue
        action = executor.resolve_action(row)
        if action is None or action.persistent or action.stops_bot:
            continue
        state = await executor.probe_state(action, row.before)
        if state == "stopped" and kind == "repair":
            raise StoppedError(f"somebody else is at work: after {row.say} it was stopped, and did not crash")
        if state in ("before", "stopped"):
            return row.say
    return None


def _lasting_rows(halt: StepExecutor) -> list[tuple[Step, Action]]:
    """What a halt has set or found in files, in the level that was proven: the last one that it tried."""
    rows = [row for row in halt.step_rows() if row.phase == "level" and row.before is not None]
    last = max((row.level for row in rows), default=0)
    made = [(row, halt.resolve_action(row)) for row in rows if row.level == last and row.status in ("done", "skipped")]
    return [(row, action) for row, action in made if action is not None and action.persistent]


def _sets_same_values(one: Action, other: Action) -> bool:
    edits, others = one.value_edits(), other.value_edits()
    return any(edits[path].keys() & others[path].keys() for path in edits.keys() & others.keys())


def _overwrites(later: tuple[Step, Action], earlier: tuple[Step, Action]) -> bool:
    """Whether the later step changed a file of the earlier one. Single values stand side by side in a file."""
    (later_row, later_action), (row, action) = later, earlier
    shared = {*later_action.touched_paths(later_row.before or {})} & {*action.touched_paths(row.before or {})}
    return not shared <= later_action.value_edits().keys() & action.value_edits().keys()
