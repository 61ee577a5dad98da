"""What a latch holds is looked at all the while: whoever undoes it is told of at once, and what says `keep` is put back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from watchdog.core.executor import Executor, call_deadline
from watchdog.core.model import Message, Millis, NotifyFunction
from watchdog.core.offload import DeadlineExceededError, StillBusyError, ThreadOffload
from watchdog.core.telemetry import log
from watchdog.journal.errors import JournalError, JournalUnavailableError
from watchdog.journal.lock import StateLock
from watchdog.journal.runs import StepId
from watchdog.journal.storage import Transaction
from watchdog.journal.topics import held_topic
from watchdog.pipeline.pipeline import Pipeline
from watchdog.plans.after_halt import KEPT_BY
from watchdog.plans.models import Halt
from watchdog.rollback.held import HeldLook, HeldStep, find_cause, list_held, look_at_held

_LOOK_TIMEOUT = 10.0
"""s that looking at a target may take."""
_LOOKS_UNTIL_WELL = 3
"""Looks, one after the other, in which it is so again before that is told: what goes to and fro is told once."""
_LOOKS_UNTIL_UNSEEN = 12
"""Looks, a minute of them, that see nothing before that is told."""
MAX_KEPT = 3
"""How often within `_KEPT_WITHIN` a halt is carried out again because somebody has undone it."""
_KEPT_WITHIN: Millis = 3_600_000


class _Findings(NamedTuple):
    looks: Sequence[HeldLook]
    cause: Sequence[str]


class LatchWatch:
    """Lives in the daemon's loop; the looks are in threads, one a target. What it has told is in the journal."""

    def __init__(
        self,
        pipeline: Pipeline,
        executor: Executor,
        offload: ThreadOffload,
        clock: Callable[[], Millis],
        notify: NotifyFunction,
        lock: StateLock,
    ) -> None:
        """`lock`: it knows when the watchdog that was here before gave its last sign of life."""
        self._pipeline, self._journal = pipeline, pipeline.journal
        self._executor, self._offload = executor, offload
        self._clock, self._notify = clock, notify
        self._lock = lock
        self._well_at: dict[str, Millis] = {}
        """When all that a target's latch holds was last seen to be so."""
        self._well_again: dict[StepId, int] = {}
        """Looks in which what was undone has been so again."""
        self._unseen: dict[str, int] = {}
        """Looks at a target that saw nothing."""

    async def inspect(self, wake: Callable[[str], None]) -> None:
        """Looks at every latched target. `wake`: told of each for which a plan was queued."""
        names = [state.name for state in self._journal.targets.list_latched()]
        for name, queued in zip(names, await asyncio.gather(*map(self._inspect, names)), strict=True):
            if queued:
                wake(name)

    async def _inspect(self, name: str) -> bool:
        began, latched = self._clock(), self._latched(name)
        held = list_held(self._journal, name, began)
        if not held or self._is_at_work(name):
            return False
        call_deadline.set(time.monotonic() + _LOOK_TIMEOUT)
        since = self._well_at.get(name) or self._lock.last_heartbeat or latched or began
        try:
            found = await self._offload(f"latch of {name}", _LOOK_TIMEOUT + 1, _look, held, self._executor, since)
        except (DeadlineExceededError, StillBusyError):
            found = _Findings([HeldLook(one, (), "no answer in time") for one in held], ())
        except (JournalError, JournalUnavailableError):
            raise
        except Exception:
            log.exception("%s: looking at what its latch holds", name)
            return False
        if self._latched(name) != latched or self._is_at_work(name):  # a person was faster, or a plan
            return False
        return self._record(name, found, began)

    def _latched(self, name: str) -> Millis | None:
        return self._journal.targets.get_state(name, self._clock()).latched

    def _is_at_work(self, name: str) -> bool:
        """Whether a plan is at work or wanted: what changes meanwhile is its doing, and it looks at it itself."""
        return any(run.status != "watching" for run in self._journal.runs.list_unfinished(name))

    def _record(self, name: str, found: _Findings, began: Millis) -> bool:
        """Tells what is new, and puts back what is to be kept; True when a plan was queued."""
        undone = [look for look in found.looks if look.other]
        if all(not look.other and look.unseen is None for look in found.looks):
            self._well_at[name] = began
        self._record_unseen(name, found.looks)
        again = [look.held for look in found.looks if look.held.step.undone and not look.other and not look.unseen]
        for look in undone:
            self._well_again.pop(look.held.step.id, None)
        well = [held for held in again if self._count_well(held.step.id) >= _LOOKS_UNTIL_WELL]
        new = [look for look in undone if look.held.step.undone is None]
        with self._journal.transaction() as tx:
            queued, next_line = self._keep(tx, name, undone) if undone else (False, "")
            for look in new:
                tx.runs.mark_undone(look.held.step.id, self._clock())
            for held in well:
                tx.runs.mark_undone(held.step.id, None)
                del self._well_again[held.step.id]
            if new:
                self._tell_undone(tx, name, new, found.cause, next_line)
            elif well:
                self._tell_well(tx, name, well, is_all=not undone and len(well) == len(again))
        return queued

    def _count_well(self, step: StepId) -> int:
        self._well_again[step] = self._well_again.get(step, 0) + 1
        return self._well_again[step]

    def _tell_undone(
        self, tx: Transaction, name: str, new: Sequence[HeldLook], cause: Sequence[str], next_line: str
    ) -> None:
        plans = ", ".join(dict.fromkeys(look.held.run.plan for look in new))
        lines = [f"{look.held.step.say}: {_say_now(look.other)}" for look in new]
        for line in lines:
            self._add_event(tx, name, "undone", f"undone: {line}{f' ({cause[0]})' if cause else ''}")
        said = "; ".join([*lines, *cause])
        tx.on_commit(log.critical, "%s: what %s made safe is no longer so: %s", name, plans, said)
        title, topics = f"{name}: what {plans} made safe is no longer so", (held_topic(name),)
        self._notify(
            Message("crit", title, (*lines, *cause, next_line), self._incident(name), opens=topics, target=name)
        )

    def _tell_well(self, tx: Transaction, name: str, well: Sequence[HeldStep], *, is_all: bool) -> None:
        lines = tuple(held.step.say for held in well)
        for line in lines:
            self._add_event(tx, name, "undone", f"so again: {line}")
        tx.on_commit(log.warning, "%s: what its latch holds is so again: %s", name, "; ".join(lines))
        title, topics = f"{name}: what its latch holds is so again", (held_topic(name),) if is_all else ()
        message = Message("info", title, lines, self._incident(name), filter_severity="crit", ends=topics, target=name)
        self._notify(message)

    def _record_unseen(self, name: str, looks: Sequence[HeldLook]) -> None:
        lasting = [look for look in looks if look.held.action.persistent or look.held.action.stops_bot]
        why = next((look.unseen for look in lasting if look.unseen is not None), None)
        self._unseen[name] = 0 if why is None else self._unseen.get(name, 0) + 1
        if self._unseen[name] == _LOOKS_UNTIL_UNSEEN:
            lines = (str(why), "whether the bot still is safe, nobody knows — look at it")
            title = f"{name}: what its latch holds cannot be looked at"
            log.warning("%s: %s", title, why)
            self._notify(Message("warn", title, lines, self._incident(name), target=name))

    def _keep(self, tx: Transaction, name: str, undone: Sequence[HeldLook]) -> tuple[bool, str]:
        """(whether a halt was queued, what happens next in words)."""
        now, config = self._clock(), self._pipeline.config
        kept = [look for look in undone if self._is_kept(look.held, name)]
        plan = (kept or undone)[-1].held.run.plan
        by_hand = (
            f"put it back: trading-watchdog rollback {plan} --target {name}"
            if config.plan(plan, name)
            else "look at it"
        )
        meant = f'if it is meant: trading-watchdog resume {name} --reason "…"'
        if not kept or not self._pipeline.automatic_plans:
            return False, f"{by_hand}; {meant}"
        if hold := self._journal.suppressions.find_active("hold", name, now):
            return False, f"{plan} puts it back when the hold is over ({hold.who}); {meant}"
        recent = self._journal.runs.list_ended_since(name, now - _KEPT_WITHIN)
        if sum(run.by.startswith(KEPT_BY) and run.queued >= now - _KEPT_WITHIN for run in recent) >= MAX_KEPT:
            self._tell_given_up(tx, name, plan, kept)
            return False, f"it was put back {MAX_KEPT} times within the hour, and is not any more; {by_hand}; {meant}"
        what = "; ".join(text for look in kept for text in look.other)
        mine = [look.held for look in kept if look.held.run.plan == plan]
        run = self._pipeline.incident_manager.queue_run(
            tx,
            name,
            plan,
            f"{KEPT_BY}{what}",
            now,
            incident=self._incident(name),
            level=min(held.step.level for held in mine),
        )
        return True, f"{plan} puts it back now (keep: true; run {run}); {meant}"

    def _is_kept(self, held: HeldStep, name: str) -> bool:
        """By the plan as the files have it now: whoever takes `keep` out of it means what was halted before, too."""
        plan = self._pipeline.config.plan(held.run.plan, name) if name in self._pipeline.config.targets else None
        return held.run.kind == "halt" and isinstance(plan, Halt) and plan.keep and held.step.level < len(plan.levels)

    def _tell_given_up(self, tx: Transaction, name: str, plan: str, kept: Sequence[HeldLook]) -> None:
        """Once an hour."""
        now = self._clock()
        if self._journal.timeline.list_events_since(name, "given up", now - _KEPT_WITHIN):
            return
        title = f"{name}: {plan} does not put it back any more"
        lines = [f"it did {MAX_KEPT} times within the hour, and each time somebody undid it"]
        lines += [f"{look.held.step.say}: {_say_now(look.other)}" for look in kept]
        self._add_event(tx, name, "given up", f"{title}: {'; '.join(lines)}")
        tx.on_commit(log.critical, "%s: %s", title, "; ".join(lines))
        self._notify(Message("crit", title, tuple(lines), self._incident(name), opens=(held_topic(name),), target=name))

    def _incident(self, name: str) -> int | None:
        incident = self._journal.incidents.find_open(name)
        return None if incident is None else incident.id

    def _add_event(self, tx: Transaction, name: str, kind: str, text: str) -> None:
        tx.timeline.add_event(kind, text, self._clock(), incident=self._incident(name), target=name)


def _look(held: Sequence[HeldStep], executor: Executor, since: Millis) -> _Findings:
    looks = look_at_held(held, executor)
    new = [look.held for look in looks if look.other and look.held.step.undone is None]
    return _Findings(looks, find_cause(new, executor, since) if new else ())


def _say_now(other: Sequence[str]) -> str:
    """``now TRADING = True``; a text that says so itself is not told to."""
    return "; ".join(text if " now " in text else f"now {text}" for text in other)
