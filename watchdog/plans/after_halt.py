"""Which repairs go on, or begin, behind a halt that says `after: repair`: told from the runs in the journal alone.

The runs that are asked about are those of one target that have not ended, or have ended since it was latched: a latch
opens by a person's hand only, so nothing that came before it has a say.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from watchdog.core.model import Millis
from watchdog.journal.incidents import TripRecord
from watchdog.journal.runs import PlanRun
from watchdog.journal.storage import Journal
from watchdog.plans.models import Halt, Repair, parse_plan

KEPT_BY = "keep: "
"""How what started a run begins when it is a halt that puts back what somebody has undone under the latch."""
_NO_END: Millis = 2**62


def list_latched_runs(journal: Journal, target: str, now: Millis) -> list[PlanRun]:
    """The runs of a target that have not ended, or have ended since it was latched."""
    latched = journal.targets.get_state(target, now).latched
    return journal.runs.list_unfinished(target) if latched is None else journal.runs.list_ended_since(target, latched)


def repair_window(run: PlanRun) -> Millis | None:
    """How long (ms) after its proof a repair may begin behind a halt; None: none may.

    Behind one that a person has started, or that a repair has ended in, none may, whatever its plan says.
    """
    plan = _plan_of(run) if run.kind == "halt" and run.by.startswith("rule ") else None
    return plan.repair_within if isinstance(plan, Halt) and plan.after == "repair" else None


def repairs_follow_until(runs: Iterable[PlanRun]) -> Millis | None:
    """Until when (ms) a repair may begin behind these runs' halts; None: none may go on or begin.

    Each halt must let it: one that makes the bot safe for good does so whatever another one says. One that is not proven
    has not made it safe, and a repair that has failed, or latches by itself, leaves the rest to a person.
    """
    until: Millis | None = None
    for run in runs:
        if run.kind == "halt" and run.by.startswith(KEPT_BY) and run.outcome in (None, "proven"):
            continue  # it makes nothing so that the halt ahead of it had not
        if run.kind == "halt":
            window = repair_window(run)
            if window is None or run.outcome not in (None, "proven"):
                return None
            until = min(_NO_END if until is None else until, _NO_END if run.ended is None else run.ended + window)
        elif run.outcome in ("exhausted", "stopped", "aborted") or _latches(run):
            return None
    return until


def halts_in_force(runs: Iterable[PlanRun]) -> list[PlanRun]:
    """Those of the runs that have made the bot safe."""
    return [run for run in runs if run.kind == "halt" and run.outcome == "proven"]


def trips_to_repair(trips: Iterable[TripRecord], runs: Iterable[PlanRun]) -> list[TripRecord]:
    """Trips that a repair is proven by. Not those that a halt has answered which it follows: a streak of losses does not
    end while nothing is traded."""
    answered = {run.plan for run in runs if repair_window(run) is not None}
    return [trip for trip in trips if trip.plan not in answered]


def run_to_recover(runs: Sequence[PlanRun], last_ended: PlanRun | None) -> PlanRun | None:
    """Whose plan's `recover:` a person's resume starts: that of the run that ended last; but behind a halt it is the
    halt's, since what is off is what that has switched off."""
    halts = [run for run in halts_in_force(runs) if (plan := _plan_of(run)) is not None and plan.recover]
    follows = last_ended is not None and last_ended.kind == "repair" and last_ended.part == "ladder"
    return halts[-1] if follows and halts else last_ended


def _latches(run: PlanRun) -> bool:
    """Whether a repair that has helped wants a person all the same."""
    plan = _plan_of(run) if run.outcome == "proven" and run.part == "ladder" else None
    return isinstance(plan, Repair) and plan.latch == "always"


def _plan_of(run: PlanRun) -> Halt | Repair | None:
    try:
        return parse_plan(run.text)
    except ValueError:  # an undo, or another version wrote it
        return None
