"""Carries plans out, one run per target at a time, and picks up at boot where a dead process left off.

The journal is the program counter: `carry` walks a plan from its start and passes over what is already written down as
done, so a run that was cut off by ``kill -9`` is resumed by carrying it out again.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

from watchdog.actions.plan import Halt, Repair, read_plan, verify_of
from watchdog.incidents import Finding, rest
from watchdog.journal import JournalError, incidents, runs
from watchdog.journal.runs import Outcome, Run
from watchdog.model import Millis, Target
from watchdog.rollback import undoing
from watchdog.rollback.hands import Hands
from watchdog.rollback.proof import Proof, jumped
from watchdog.rollback.recover import Stages, back_of, is_on_its_way_back
from watchdog.rollback.steps import Ladder, StepFailedError, StoppedError
from watchdog.rollback.telling import level_ended, next_starts, note, say
from watchdog.rollback.words import rows, said
from watchdog.telemetry import log
from watchdog.units import show_duration

__all__ = ["Hands", "Rollback"]


class _AbortedError(Exception):
    """A person ended the run."""


class _OvertakenError(Exception):
    """A halt waits and goes first, or the target was latched: no repair goes on."""


class Rollback:
    """One task per target tends its runs."""

    def __init__(self, hands: Hands) -> None:
        self._hands = hands
        self._stopping = False
        self._wake: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def tend(self, target: str) -> None:
        """Starts tending a target, once; unfinished runs are resumed first."""
        if target not in self._tasks:
            self._wake[target] = asyncio.Event()
            self._tasks[target] = asyncio.create_task(self._tend(target), name=f"rollback {target}")

    def wake(self, target: str | None = None) -> None:
        """There is news: a run was queued, or samples came in. A hint; the journal is the truth."""
        for name in self._wake if target is None else [target]:
            self._wake[name].set()

    @property
    def tasks(self) -> Collection[asyncio.Task[None]]:
        """One a target; none of them may end before `stop`."""
        return self._tasks.values()

    async def stop(self) -> None:
        """Ends at the next step boundary; what is started is finished and written down first."""
        self._stopping = True
        self.wake()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _tend(self, target: str) -> None:
        while not self._stopping:
            waiting = runs.unended(self._hands.journal, target)
            if waiting:
                try:
                    await self.carry(waiting[0])
                except sqlite3.OperationalError as full:
                    # Nothing was done that is not written down: the run goes on from there, as after a death.
                    log.critical("%s: %s waits: the journal cannot be written: %s", target, waiting[0].plan, full)
                    await self._news(target, 1.0)
            else:
                await self._news(target, 60.0)

    async def _news(self, target: str, timeout: float) -> None:
        """Until something happens. The clock serves patience: nothing may depend on a wake-up being delivered."""
        event = self._wake[target]
        try:
            await asyncio.wait_for(event.wait(), timeout)
        except TimeoutError:
            return
        event.clear()

    async def _pause(self, run: Run, wait: Millis) -> None:
        until = self._hands.clock() + wait
        while (left := until - self._hands.clock()) > 0:
            self._boundary(run)
            before = self._hands.clock()
            await self._news(run.target, min(1.0, left / 1_000))
            until += jumped(self._hands, before)

    def _stages(self, run: Run) -> Stages:
        return Stages(run, self._hands, self._proof(run), partial(say, self._hands, run))

    def _proof(self, run: Run) -> Proof:
        return Proof(run, self._hands, lambda: self._boundary(run), lambda seconds: self._news(run.target, seconds))

    def _ladder(self, run: Run, steps: Callable[[str, int], Sequence[Any] | None]) -> Ladder:
        return Ladder(
            run,
            Target.model_validate_json(run.place),
            self._hands,
            lambda: self._boundary(run),
            lambda wait: self._pause(run, wait),
            steps,
        )

    # ─ one run ─

    async def carry(self, run: Run) -> None:
        """Carries a run out to its end, or to where it must stop. Whatever happens is in the journal."""
        plan = ladder = None
        try:
            if run.part == "undo":
                outcome, reason = await undoing.carry_out(run, self._hands, self._latched(run.target), self._ladder)
                self._end(run, None, outcome, reason)
                return
            plan = self._read(run)
            ladder = self._ladder(run, back_of(self._hands.journal, run))
            if run.kind == "repair" and (why := self._latched(run.target)) is not None:
                raise _OvertakenError(f"latched meanwhile: {why}")
            if run.part == "recover":
                with self._hands.journal.write() as db:
                    runs.move(db, run.id, status="running")
                why = await self._stages(run).recover(plan, ladder)
                self._end(run, plan, "stopped" if why else "proven", why or "every stage is quiet")
                return
            if run.status == "queued" and not await self._begin(run, plan):
                return
            if isinstance(plan, Repair) and run.status != "watching":
                self._hands.mute(run.target, plan.disturbs)
            outcome, reason = await self._climb(run, plan, ladder)
        except _OvertakenError as overtaken:
            outcome, reason = "overtaken", str(overtaken)
            if ladder is not None and (unknown := await ladder.leave()):
                outcome, reason = "stopped", f"{overtaken}; {unknown}"
        except _AbortedError as abort:
            outcome, reason = "aborted", str(abort)
            if ladder is not None and (unknown := await ladder.leave()):
                reason = f"{abort}; {unknown}"
        except _PausedError:
            return  # the daemon stops; the next one goes on from here
        except StoppedError as stop:
            outcome, reason = "stopped", str(stop)
        except (JournalError, sqlite3.OperationalError):
            raise
        except Exception as bug:
            log.exception("%s: plan %s broke", run.target, run.plan)
            outcome, reason = "stopped", f"internal error: {bug!r}"
        self._end(run, plan, outcome, reason)

    def _read(self, run: Run) -> Halt | Repair:
        try:
            return read_plan(run.text)
        except ValueError:
            log.exception("%s: plan %s", run.target, run.plan)
            raise StoppedError("its text in the journal cannot be read: another version wrote it") from None

    async def _begin(self, run: Run, plan: Halt | Repair) -> bool:
        """Marks a queued run as running; False when there is nothing to run, or not yet."""
        hands, now = self._hands, self._hands.clock()
        self._boundary(run)
        wanted = hands.wanted(run) if isinstance(plan, Repair) else True
        if wanted is None:
            await self._news(run.target, 1.0)
            return False
        if not wanted:
            self._end(run, plan, "not-needed", "quiet before its turn came")
            return False
        if isinstance(plan, Repair) and not await self._may_begin(run, plan):
            return False
        if isinstance(plan, Repair) and plan.mode == "dry-run":
            place = Target.model_validate_json(run.place)
            say(self._hands, run, "info", f"{run.plan} would run (dry-run: nothing is changed)", rows(plan, place))
            self._end(run, plan, "dry-run", "nothing was changed")
            return False
        with hands.journal.write(soon=True) as db:  # flushed with `started` of the first step
            runs.move(db, run.id, status="running")
            # Written down before anything is touched: a halted bot stays halted. What latched it first stays said.
            if isinstance(plan, Halt) and self._latched(run.target) is None:
                incidents.stand(db, run.target, latched=now, latch_why=f"halt {run.plan}")
        return True

    async def _may_begin(self, run: Run, plan: Repair) -> bool:
        """Whether people let a rule's repair begin. A person's own was approved by asking for it."""
        if not run.by.startswith("rule "):
            return True
        hands, now = self._hands, self._hands.clock()
        if hands.held(run.target) is not None:
            if run.approve_by is not None and run.approval is None:
                with hands.journal.write() as db:  # nobody decides while it is held: people are asked anew after it
                    runs.move(db, run.id, approve_by=None)
            await self._news(run.target, 1.0)
            return False
        if plan.mode != "approve" or run.approval == "approved":
            return True
        if run.approval == "denied":
            self._end(run, plan, "denied", "a person denied it")
            return False
        if run.approve_by is None:
            until = now + plan.approve_within
            then = "the bot is left running" if plan.exhausted == "leave-running" else f"the halt {plan.exhausted} runs"
            with hands.journal.write() as db:
                runs.move(db, run.id, approve_by=until)
                say(
                    self._hands,
                    run,
                    "crit",
                    f"{run.plan} waits for approval",
                    [
                        f"trading-watchdog approve {run.id}",
                        f"trading-watchdog deny {run.id}",
                        f"without an answer within {show_duration(plan.approve_within)} {then}",
                        *rows(plan, Target.model_validate_json(run.place)),
                    ],
                )
        elif now >= run.approve_by:
            self._end(run, plan, "exhausted", f"nobody approved it within {show_duration(plan.approve_within)}")
            return False
        await self._news(run.target, 1.0)
        return False

    async def _climb(self, run: Run, plan: Halt | Repair, ladder: Ladder) -> tuple[Outcome, str]:
        run = runs.get(self._hands.journal, run.id)
        reason = "no level is left"
        for number in range(run.level, len(plan.levels)):
            level = plan.levels[number]
            helped = number == run.level and (
                run.status == "watching" or is_on_its_way_back(self._hands.journal, run, plan)
            )
            if not helped:
                with self._hands.journal.write(soon=True) as db:
                    runs.move(db, run.id, status="running", level=number)
                finding = await self._try_on(run, plan, number, ladder)
                level_ended(self._hands, run, plan, number, finding)
                reason = f"level {level.name}: {finding.reason}"
                if finding.outcome == "unknown" and isinstance(plan, Repair):
                    return "exhausted", reason
                if finding.outcome != "proven":
                    continue  # a halt goes on even when nobody can tell: what is safe is safe
                if isinstance(plan, Halt):
                    return "proven", reason
            assert isinstance(plan, Repair)
            again, reason = await self._celebrate(run, plan, number, ladder)
            if not again:
                return "proven", f"level {level.name} helped, and {reason}"
        return "exhausted", reason

    async def _try_on(self, run: Run, plan: Halt | Repair, number: int, ladder: Ladder) -> Finding:
        """As `_try`; a mistake of ours in one level of a halt must not keep the next one from being tried."""
        try:
            return await self._try(run, plan, number, ladder)
        except (_OvertakenError, _AbortedError, _PausedError, JournalError, sqlite3.OperationalError):
            raise
        except Exception as bug:
            if isinstance(plan, Repair):
                raise
            log.exception("%s: plan %s broke in level %s", run.target, run.plan, plan.levels[number].name)
            return Finding("unknown", f"internal error: {bug!r}")

    async def _try(self, run: Run, plan: Halt | Repair, number: int, ladder: Ladder) -> Finding:
        """One level: its steps, then the evidence."""
        level = plan.levels[number]
        try:
            if isinstance(plan, Repair):
                await ladder.unchanged()
            told = runs.steps(self._hands.journal, run.id)
            if isinstance(plan, Repair):
                # Once a run; again when a level had helped (and `proven:` undid the row) and then did not.
                undone = any(step.phase == "proven" and step.level == number - 1 for step in told)
                first = min((step.level for step in told if step.phase == "before"), default=number)
                await ladder.do("before", number if undone else first, plan.before)
            if not any(
                step.phase == "level" and step.level <= number for step in told
            ):  # after another level, it is said
                with self._hands.journal.write(soon=True):
                    say(
                        self._hands,
                        run,
                        "warn" if isinstance(plan, Repair) else "crit",
                        f"{run.plan}: level {level.name} starts",
                        [said(step, ladder.place) for step in level.steps],
                    )
            ladder.watch_log(verify_of(plan, level).log, "level", number)
            changed = await ladder.do("level", number, level.steps)
        except StepFailedError as failure:
            return Finding("disproven", str(failure))
        except StoppedError as stop:
            if isinstance(plan, Repair):
                raise
            return Finding("unknown", str(stop))  # a halt goes on: its next level must not wait for a person
        if not changed and isinstance(plan, Repair):
            failed = "; ".join(ladder.failed)
            return Finding(
                "disproven",
                f"nothing was changed: {failed}" if failed else "nothing to change: all of it was so already",
            )
        return await self._proof(run).verify(verify_of(plan, level), ladder, lambda: None)

    async def _celebrate(self, run: Run, plan: Repair, number: int, ladder: Ladder) -> tuple[bool, str]:
        """After proof: the `proven:` steps, then the watch. (False, how it went), or (True, why to go on one level up)."""
        watch = verify_of(plan, plan.levels[number]).watch
        known = runs.get(self._hands.journal, run.id)
        until = known.watch_until if known.status == "watching" else None
        if until is None:
            await ladder.unchanged()
            try:
                await ladder.do("proven", number, plan.proven)
            except StepFailedError as failure:
                raise StoppedError(f"it is repaired, but {failure}") from None
            if why := await self._stages(run).recover(plan, ladder, number):
                raise StoppedError(why)
            until = self._hands.clock() + watch
            with self._hands.journal.write() as db:
                runs.move(db, run.id, status="watching", watch_until=until)
                incidents.event(
                    db,
                    "watch",
                    f"watched for {show_duration(watch)}",
                    self._hands.clock(),
                    incident=run.incident,
                    run=run.id,
                    target=run.target,
                )
        proof = self._proof(run)
        self._hands.mute(run.target, ())
        trial = proof.trial()
        while (now := self._hands.clock()) < until:
            self._boundary(run)
            if other := next((one for one in runs.unended(self._hands.journal, run.target) if one.id != run.id), None):
                return False, f"{other.plan} is wanted before the watch is over"
            trial, finding = proof.look(trial, (), 2**62, now)
            if finding is not None and finding.outcome == "disproven":
                with self._hands.journal.write() as db:  # a restart must not take it for well again
                    runs.move(db, run.id, status="running", level=number + 1)
                    next_starts(
                        self._hands, run, plan, number + 1, "crit", "tripped again within the watch", finding.reason
                    )
                self._hands.mute(run.target, plan.disturbs)
                return True, f"tripped again within the watch: {finding.reason}"
            await self._news(run.target, min(1.0, (until - now) / 1_000))
            if jump := jumped(self._hands, now):
                until, trial = until + jump, rest(trial, now + jump)
                with self._hands.journal.write() as db:
                    runs.move(db, run.id, watch_until=until)
        return False, f"all stayed well for {show_duration(watch)}"

    # ─ boundaries and ends ─

    def _boundary(self, run: Run) -> None:
        """Between two steps, and while waiting: here a halt overtakes a repair, and here the daemon may stop."""
        if self._stopping:
            raise _PausedError
        if (abort := runs.get(self._hands.journal, run.id).abort) is not None:
            raise _AbortedError(f"aborted by {abort}")
        if run.kind == "repair" and any(
            other.kind == "halt" for other in runs.unended(self._hands.journal, run.target)
        ):
            raise _OvertakenError("a halt goes first")

    def _latched(self, target: str) -> str | None:
        """Why it is latched; None when it is not."""
        standing = incidents.standing(self._hands.journal, target, self._hands.clock())
        return None if standing.latched is None else standing.latch_why

    def _end(self, run: Run, plan: Halt | Repair | None, outcome: Outcome, reason: str) -> None:
        """Writes the end down, latches where that is due, and queues the halt of an exhausted repair.

        `plan` None: its text in the journal could not be read (an older version wrote it); nobody acts on that.
        """
        hands, now = self._hands, self._hands.clock()
        bad = outcome in ("exhausted", "stopped", "aborted")
        policy = plan.latch if isinstance(plan, Repair) else "always"
        policy = "never" if run.part == "undo" else "on_failure" if run.part == "recover" else policy
        latch = policy == "always" or (policy == "on_failure" and bad)
        latch = latch and outcome not in ("overtaken", "not-needed", "dry-run", "denied")
        latch = latch and not (outcome == "aborted" and not runs.steps(hands.journal, run.id))  # nothing was touched
        with hands.journal.write() as db:
            runs.move(db, run.id, status="ended", outcome=outcome, reason=reason, ended=now)
            for step in runs.steps(hands.journal, run.id):
                if step.status == "started":  # a plan that cannot be read, or a mistake of ours
                    runs.end_step(
                        db, run.id, step.phase, step.level, step.n, "unknown", "nobody looked what became of it", now
                    )
            if latch and self._latched(run.target) is None:
                incidents.stand(db, run.target, latched=now, latch_why=f"{run.plan} {outcome}: {reason}")
            lines = [reason]
            if outcome == "exhausted" and isinstance(plan, Repair) and plan.exhausted == "leave-running":
                lines.append("the bot is left running")
            if bad and isinstance(plan, Repair) and plan.exhausted != "leave-running" and outcome == "exhausted":
                there = hands.halt(run.target, plan.exhausted, f"{run.plan} exhausted", run.incident)
                lines.append(f"next: {plan.exhausted}" if there else f"{plan.exhausted} is not configured any more")
            if latch:
                lines.append(f'latched: repairs wait for trading-watchdog resume {run.target} --reason "…"')
            note(hands, run, "crit" if bad else "info", f"{run.plan} {outcome}", lines)
            if bad or not hands.over(run):  # the end of its incident says all of it
                hands.tell(
                    "crit" if bad else "info", f"{run.target}: {run.plan} {outcome}", lines, incident=run.incident
                )
        hands.telemetry.plan_duration.labels(run.plan).observe((now - run.queued) / 1_000)
        hands.mute(run.target, ())
        hands.ended(run.target)


class _PausedError(Exception):
    """The daemon stops: the run stays as it is in the journal."""
