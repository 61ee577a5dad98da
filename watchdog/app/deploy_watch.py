"""What of a target other people may change under us: its commit and its running instance."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from watchdog.actions.git.commit_refs import current_commit, record_good_commit, redeployed_commits
from watchdog.core.errors import ActionError
from watchdog.core.executor import Executor, call_deadline
from watchdog.core.model import Message, Millis, NotifyFunction
from watchdog.core.offload import DeadlineExceededError, StillBusyError, ThreadOffload
from watchdog.core.target import Target
from watchdog.core.telemetry import log
from watchdog.host.bot_process import find_process
from watchdog.host.process_table import parse_process
from watchdog.host.systemctl import unit_status
from watchdog.journal.storage import Journal

LAST_GOOD_AFTER = 86_400_000
"""ms that a commit must have been quiet under watch to be a last-good."""
_MAX_INSPECTION_GAP = 60_000
"""ms: inspections are seconds apart; what lies between two that are further apart nobody watched."""


_INSPECTION_TIMEOUT = 10.0
_MARK_TIMEOUT = 30.0
"""s that the inspection of a target may take, and the marking of its commit as good."""


class TargetSnapshot(NamedTuple):
    commit: str | None
    invocation: str | None
    """What tells one run of the bot from the next; None when it does not run or cannot be told."""
    restarts: int
    """Restarts by systemd itself: those are nobody's deployment."""
    healthy: bool = True
    """False: the bot does not run, or the place could not be read. Then nothing speaks for its commit."""
    redeployed: tuple[str, ...] = ()
    """What was rolled back and is part of a commit that is new here."""


def inspect_target(
    target: Target, last_commit: str | None, executor: Executor, last_invocation: str | None = None
) -> TargetSnapshot:
    """Reads where the target is; blocks. What cannot be read is None. `last_commit`, `last_invocation`: what was there before."""
    commit = None
    try:
        redeployed: tuple[str, ...] = ()
        if target.repo is not None:
            commit = executor.call(target, current_commit, target.repo)
            if last_commit is not None and commit != last_commit:
                again = executor.call(target, redeployed_commits, target.repo)
                redeployed = tuple(f"{bad[:10]} {subject}" for bad, subject in again)
        if target.unit is not None:
            unit = unit_status(target.unit)
            return TargetSnapshot(
                commit, unit.invocation or None, unit.restarts or 0, unit.active == "active", redeployed
            )
        if target.process is not None:
            known = parse_process(last_invocation or "")
            bot = executor.call(target, find_process, target.process.resolve(target.repo), known)
            one = None if bot is None else f"{bot.pid} {bot.begun}"
            return TargetSnapshot(commit, one, 0, bot is not None, redeployed)
    except ActionError as error:
        log.debug("%s", error)
        return TargetSnapshot(commit, None, 0, healthy=False)
    return TargetSnapshot(commit, None, 0, redeployed=redeployed)


class DeployWatch:
    """Tells our own doing from other people's."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._snapshots: dict[str, tuple[Millis, TargetSnapshot, Millis]] = {}
        """When and what was seen last, and how long it had been quiet: the journal only knows the whole minutes."""

    def last_commit(self, target: str, now: Millis) -> str | None:
        """The commit that was there when somebody last looked."""
        return self._journal.targets.get_state(target, now).head

    def last_invocation(self, target: str, now: Millis) -> str | None:
        """The run of the bot that was there when somebody last looked."""
        return self._journal.targets.get_state(target, now).invocation

    def record(self, target: str, snapshot: TargetSnapshot, own_change: bool, now: Millis) -> bool:
        """Writes down what is so now, and `settling` when somebody else changed it.

        True when the commit has just been quiet under watch for long enough to be a last-good.
        """
        target_state = self._journal.targets.get_state(target, now)
        when, last, before = self._snapshots.get(target, (now, snapshot, target_state.quiet_for))
        deployed = snapshot.commit is not None and snapshot.commit != target_state.head
        restarted = snapshot.invocation is not None and snapshot.invocation != target_state.invocation
        by_systemd = snapshot.restarts > last.restarts
        disturbed = (
            deployed or target_state.latched is not None or self._journal.incidents.find_open(target) is not None
        )
        watched = now - when if snapshot.healthy and 0 <= now - when <= _MAX_INSPECTION_GAP else 0
        quiet = 0 if disturbed else before + watched
        self._snapshots[target] = (now, snapshot, quiet)
        if not (deployed or restarted) and quiet // 60_000 == target_state.quiet_for // 60_000:
            return False
        with self._journal.transaction() as tx:
            tx.targets.update_target(
                target,
                head=snapshot.commit or target_state.head,
                quiet_for=quiet,
                invocation=snapshot.invocation or target_state.invocation,
            )
            new_to_us = target_state.head is None and target_state.invocation is None
            if not own_change and not new_to_us and (deployed or (restarted and not by_systemd)):
                what = f"deployed {(snapshot.commit or '')[:10]} to" if deployed else "restarted"
                said = "%s: somebody else %s the bot: repairs wait, halts do not"
                tx.on_commit(log.info, said, target, what)
                tx.targets.update_target(target, unsettled=now)
                tx.timeline.add_event("settling", f"somebody else {what} the bot", now, target=target)
        return (
            quiet // LAST_GOOD_AFTER > before // LAST_GOOD_AFTER
        )  # a mark that could not be made is tried again a day later


class TargetInspector:
    """Inspects every target, each in a thread of its own: one whose repository or systemd hangs delays no other."""

    def __init__(
        self, journal: Journal, clock: Callable[[], Millis], notify: NotifyFunction, executor: Executor
    ) -> None:
        self._executor = executor
        self._watch = DeployWatch(journal)
        self._journal = journal
        self._clock = clock
        self._notify = notify
        self.offload = ThreadOffload(None, "inspecting")
        self._recently_acted: set[str] = set()

    def note_run_ended(self, target: str) -> None:
        """What is new there at the next inspection is our own doing."""
        self._recently_acted.add(target)

    async def inspect(self, targets: Mapping[str, Target]) -> None:
        """Notices what other people deploy or restart, and which commit has proved itself."""
        await asyncio.gather(*(self._inspect(name, target) for name, target in targets.items()))

    async def _inspect(self, name: str, target: Target) -> None:
        run_just_ended = name in self._recently_acted
        call_deadline.set(time.monotonic() + _INSPECTION_TIMEOUT)
        try:
            snapshot = await self.offload(
                name,
                _INSPECTION_TIMEOUT,
                inspect_target,
                target,
                self._watch.last_commit(name, self._clock()),
                self._executor,
                self._watch.last_invocation(name, self._clock()),
            )
        except (DeadlineExceededError, StillBusyError):
            return
        active = any(run.status == "running" for run in self._journal.runs.list_unfinished(name))
        caused_by_us = active or name in self._recently_acted
        if run_just_ended:  # an inspection that began ahead of a run's end says nothing of what that run did last
            self._recently_acted.discard(name)
        if snapshot.redeployed and not caused_by_us:
            self._notify(
                Message("warn", f"{name}: what was rolled back runs again", tuple(snapshot.redeployed), target=name)
            )
        call_deadline.set(time.monotonic() + _MARK_TIMEOUT)
        if self._watch.record(name, snapshot, caused_by_us, self._clock()) and target.repo is not None:
            try:
                await self.offload(
                    name, _MARK_TIMEOUT, self._executor.call, target, record_good_commit, target.repo, self._clock()
                )
            except ActionError as error:
                log.warning("%s: the last good commit is not marked: %s", name, error)
            except (DeadlineExceededError, StillBusyError):
                log.warning("%s: its repository is slow; the last good commit is marked at another time", name)

    def close(self) -> None:
        self.offload.close()
