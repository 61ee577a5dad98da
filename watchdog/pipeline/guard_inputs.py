"""What the guard is told of a target: all of it from the journal, and from the round that asks."""

from __future__ import annotations

from watchdog.core.model import Millis
from watchdog.core.units import format_duration
from watchdog.journal.storage import Journal
from watchdog.plans.after_halt import list_latched_runs, repairs_follow_until
from watchdog.rules.guard import GuardInputs, PastRun

_WEEK = 7 * 86_400_000


def gather_guard_inputs(
    journal: Journal,
    target: str,
    incident: int,
    now: Millis,
    *,
    hold_reason: str | None,
    blind_reason: str | None,
    has_fresh_data: bool,
) -> GuardInputs:
    """`hold_reason`, `blind_reason`: why the target is held, or not seen, now; None when it is not."""
    state = journal.targets.get_state(target, now)
    latched = None
    if state.latched is not None:
        latched = f"{format_duration(now - state.latched)} ago ({state.latch_why})"
    hold = journal.suppressions.find_active("hold", target, now)
    return GuardInputs(
        suppression_reason=hold_reason,
        halts_suppressed=hold is not None and hold.halts,
        latch_reason=latched,
        blind_reason=blind_reason,
        has_fresh_data=has_fresh_data,
        last_external_change=state.unsettled,
        halt_ran=any(run.kind == "halt" for run in journal.runs.list_for_incident(incident)),
        repairs_follow_until=repairs_follow_until(list_latched_runs(journal, target, now)),
        past_runs=[
            PastRun(run.kind, run.queued, run.ended, run.incident)
            for run in journal.runs.list_recent_automatic(target, now - _WEEK)
        ],
    )
