"""A repair behind a halt that lets it follow: whether it goes on, and whether what the halt has made safe is still so."""

from __future__ import annotations

from collections.abc import Sequence

from watchdog.core.units import format_duration
from watchdog.journal.runs import PlanRun
from watchdog.plans.after_halt import (
    halts_in_force,
    list_latched_runs,
    repair_window,
    repairs_follow_until,
)
from watchdog.plans.models import parse_plan
from watchdog.rollback.context import RollbackContext
from watchdog.rollback.drift import find_undone
from watchdog.rollback.executor import StepExecutor
from watchdog.rollback.recover_stages import is_level_proven


class HaltUndoneError(Exception):
    """A step of ours has undone what the halt ahead of it has made safe: that halt must run again."""

    def __init__(self, halt: str, reason: str) -> None:
        super().__init__(f"{reason}; {halt} runs again")
        self.halt = halt


class OvertakenError(Exception):
    """A halt waits and goes first, or the target was latched: no repair goes on."""


class BehindHalt:
    """What the journal and the world say of the halts that a repair goes on behind. It remembers nothing."""

    def __init__(self, context: RollbackContext) -> None:
        self._context = context

    def may_wait(self, run: PlanRun, halts: Sequence[PlanRun]) -> bool:
        """Whether a repair waits for these halts instead of ending: all of them let it follow, and it has not begun to
        put the bot back to work."""
        if run.part != "ladder" or any(repair_window(halt) is None for halt in halts):
            return False
        known = self._context.journal.runs.get_run(run.id)
        return not is_level_proven(self._context.journal, known, parse_plan(run.text))

    def may_go_on(self, run: PlanRun) -> bool:
        """Whether a repair goes on although its target is latched. When it was queued, the guard has looked at."""
        return run.part == "ladder" and repairs_follow_until(self._latched_runs(run.target)) is not None

    def check_latch(self, run: PlanRun) -> None:
        """Raises OvertakenError. Also asked in the middle of a repair: a halt off the record comes into the journal when it has
        ended."""
        if run.kind != "repair" or self.may_go_on(run):
            return
        if why := self._context.journal.targets.find_latch_reason(run.target):
            raise OvertakenError(f"latched meanwhile: {why}")

    def halts(self, run: PlanRun) -> list[PlanRun]:
        """What has made the target safe that this run goes on behind, the oldest first; none: it goes on behind none."""
        return self._halts(run.target) if run.kind == "repair" else []

    def is_in_force(self, target: str, plan: str) -> bool:
        """Whether a halt of that plan has made the target safe and stands."""
        return any(halt.plan == plan for halt in self._halts(target))

    async def check(self, run: PlanRun, halts: Sequence[StepExecutor]) -> None:
        """After steps of `run`. Raises HaltUndoneError when what one of its halts has made safe is no longer so.

        `halts`: who looks at what those have done.
        """
        if undone := await find_undone(halts):
            raise HaltUndoneError(self.halts(run)[undone.halt].plan, undone.reason)

    def has_been_resumed(self, run: PlanRun) -> bool:
        """While it watches: nothing but a person's resume closes the incident of a run that is not over."""
        incident = None if run.incident is None else self._context.journal.incidents.find_incident(run.incident)
        return incident is not None and incident.closed is not None

    def following_lines(self, halt: PlanRun) -> list[str]:
        """What people must know of a halt that is proven and lets repairs follow: which one goes on, or until when one
        may begin; none: it, or another one, lets none."""
        runs = self._latched_runs(halt.target)
        if (until := repairs_follow_until(runs)) is None:
            return []
        following = [run.plan for run in runs if run.ended is None and run.kind == "repair"]
        within = format_duration(until - self._context.clock())
        return [
            f"next: {', '.join(following)}" if following else f"a repair that begins within {within} goes on behind it",
            f'what is off stays off: latched until trading-watchdog resume {halt.target} --reason "…"',
        ]

    def repaired_lines(self, run: PlanRun) -> list[str]:
        """What people must know of a repair that has helped behind a halt; none: there was no halt."""
        names = dict.fromkeys(halt.plan for halt in self._halts(run.target))
        return (
            [
                f"what {' and '.join(names)} switched off stays off",
                f'latched: trading-watchdog resume {run.target} --reason "…"',
            ]
            if names
            else []
        )

    def _latched_runs(self, target: str) -> list[PlanRun]:
        return list_latched_runs(self._context.journal, target, self._context.clock())

    def _halts(self, target: str) -> list[PlanRun]:
        return halts_in_force(self._latched_runs(target))
