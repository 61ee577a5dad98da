"""What the guard is told of a target: all of it from the journal, and from the round that asks."""

from __future__ import annotations

from watchdog.core.model import Millis
from watchdog.core.target import Target
from watchdog.core.units import format_duration
from watchdog.journal.storage import Journal
from watchdog.pipeline.past_runs import list_past_runs
from watchdog.plans.after_halt import list_latched_runs, repairs_follow_until
from watchdog.rules.guard import GuardInputs


def gather_guard_inputs(
    journal: Journal,
    name: str,
    target: Target,
    incident: int,
    now: Millis,
    *,
    hold_reason: str | None,
    blind_reason: str | None,
    has_fresh_data: bool,
) -> GuardInputs:
    """Of the target `name`. `hold_reason`, `blind_reason`: why the target is held, or not seen, now; None when it is not."""
    state = journal.targets.get_state(name, now)
    latched = None
    if state.latched is not None:
        latched = f"{format_duration(now - state.latched)} ago ({state.latch_why})"
    hold = journal.suppressions.find_active("hold", name, now)
    return GuardInputs(
        suppression_reason=hold_reason,
        halts_suppressed=hold is not None and hold.halts,
        latch_reason=latched,
        blind_reason=blind_reason,
        has_fresh_data=has_fresh_data,
        last_external_change=state.unsettled,
        halt_ran=any(run.kind == "halt" for run in journal.runs.list_for_incident(incident)),
        repairs_follow_until=repairs_follow_until(list_latched_runs(journal, name, now)),
        past_runs=list_past_runs(journal, name, target, now),
    )


def find_hold_reason(journal: Journal, known: Target | None, target: str, now: Millis) -> str | None:
    """Why rules start no repair of this target now: a person's hold, or its maintenance. `known`: as the files have it."""
    hold = journal.suppressions.find_active("hold", target, now)
    if hold is not None:
        return f"{hold.who}, for another {format_duration(hold.until - now)}"
    windows = known.maintenance if known else ()
    return next((f"maintenance: {window.why}" for window in windows if window.active_at(now)), None)
