"""Where in an incident a plan goes on."""

from __future__ import annotations

from collections.abc import Sequence

from watchdog.journal.runs import PlanRun
from watchdog.rules.state_machine import MachineState


def next_level(runs: Sequence[PlanRun], plan: str, count: int, machine: MachineState) -> int | None:
    """Where a plan of `count` levels that is wanted starts; None when it is at work, or has done for this trip what it can do.

    `runs`: all of the incident.
    """
    earlier = [run for run in runs if run.plan == plan and run.part == "ladder" and run.outcome != "not-needed"]
    if not earlier:
        return 0
    last = earlier[-1]
    if last.ended is None or any(run.ended is None for run in earlier):
        return None
    # What tripped after the last step of a repair that helped is a relapse, even when its watch did not see it.
    answered_until = last.acted if last.outcome == "proven" and last.kind == "repair" else last.ended
    if answered_until > machine.since:
        return None
    if last.kind == "halt":
        return 0
    # It helped, and then the rule tripped again: no level is repeated within an incident.
    following = max((run.level for run in earlier if run.outcome != "denied"), default=-1) + 1
    return following if following < count else None
