"""Carries plans out, one run per target at a time, and picks up at boot where a dead process left off.

The journal is the program counter: `execute` walks a plan from its start and passes over what is already written down as
done, so a run that was cut off by ``kill -9`` is resumed by carrying it out again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from watchdog.core.model import Message, Millis, Severity
from watchdog.core.target import Target
from watchdog.core.telemetry import log
from watchdog.core.units import format_duration
from watchdog.journal.errors import JournalError, JournalUnavailableError
from watchdog.journal.runs import SIBLINGS_MARK, PlanRun, RunOutcome
from watchdog.journal.topics import plan_topic
from watchdog.plans.descriptions import describe_start, describe_step
from watchdog.plans.models import Halt, Repair, effective_verify, kind_and_name, parse_plan
from watchdog.rollback import undo_runner
from watchdog.rollback.approval import decide_start
from watchdog.rollback.behind_halt import BehindHalt, HaltUndoneError, OvertakenError
from watchdog.rollback.context import RollbackContext
from watchdog.rollback.drift import check_unchanged
from watchdog.rollback.executor import StepExecutor, StepFailedError, StepSource, StoppedError
from watchdog.rollback.next_level import NextLevelError, check_next_level
from watchdog.rollback.notifications import notify_level_ended, notify_next_level, record_event, send_message
from watchdog.rollback.recover_stages import RecoveryRunner, is_level_proven, take_back_steps
from watchdog.rollback.run_end import end_run
from watchdog.rollback.verify import Verifier
from watchdog.rules.prove import ProofResult, skip_uncounted

__all__ = ["RollbackContext", "RollbackRunner"]


_FORETOLD: Millis = 10_000
"""ms: people were told what a plan does first when it was queued; they hear that it starts when it begins later than that."""
_LONG_WATCH: Millis = 60_000


class _AbortedError(Exception):
    """A person ended the run."""


class _PausedError(Exception):
    """The run stays as it is in the journal: the daemon stops."""


class _WaitsForHaltError(_PausedError):
    """The run stays as it is in the journal, and is gone on with behind a halt that lets it."""


class RollbackRunner:
    """One task per target tends its runs."""

    def __init__(self, context: RollbackContext) -> None:
        self._context = context
        self._behind_halt = BehindHalt(context)
        self._stopping = False
        self._wake: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._levels: dict[int, int] = {}
        """Run → the level that it tries at the moment."""

    def start_target(self, target: str) -> None:
        """Starts tending a target, once; unfinished runs are resumed first."""
        if target not in self._tasks:
            self._wake[target] = asyncio.Event()
            self._tasks[target] = asyncio.create_task(self._run_target(target), name=f"rollback {target}")

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

    async def _run_target(self, target: str) -> None:
        while not self._stopping:
            patience = 60.0
            try:
                waiting = self._context.journal.runs.list_unfinished(target)
                if waiting:
                    self._context.ensure_journaled()
                    await self.execute(waiting[0])
                    continue
            except JournalUnavailableError as error:
                # Nothing was done that is not written down: the run goes on from there, as after a death.
                self._context.note_outage(error)
                log.critical("%s: its plans wait: the journal cannot be used: %s", target, error)
                patience = 1.0
            await self._wait_for_wakeup(target, patience)

    async def _wait_for_wakeup(self, target: str, timeout: float) -> None:
        """Until something happens. The clock serves patience: nothing may depend on a wake-up being delivered."""
        event = self._wake[target]
        try:
            await asyncio.wait_for(event.wait(), timeout)
        except TimeoutError:
            return
        event.clear()

    async def _wait(self, run: PlanRun, wait: Millis) -> None:
        until = self._context.clock() + wait
        while (left := until - self._context.clock()) > 0:
            self._check_interrupted(run)
            counted = self._context.uncounted()
            await self._wait_for_wakeup(run.target, min(1.0, left / 1_000))
            until += self._context.uncounted().since(counted).total

    def _recovery(self, run: PlanRun) -> RecoveryRunner:
        return RecoveryRunner(run, self._context, self._verifier(run))

    def _verifier(self, run: PlanRun) -> Verifier:
        return Verifier(
            run,
            self._context,
            lambda: self._check_interrupted(run),
            lambda seconds: self._wait_for_wakeup(run.target, seconds),
        )

    def _executor(self, run: PlanRun, generated_steps: StepSource) -> StepExecutor:
        return StepExecutor(
            run,
            Target.model_validate_json(run.place),
            self._context,
            lambda: self._check_interrupted(run),
            lambda wait: self._wait(run, wait),
            generated_steps,
        )

    # ─ one run ─

    async def execute(self, run: PlanRun) -> None:
        """Carries a run out to its end, or to where it must stop. Whatever happens is in the journal."""
        plan = executor = halt_again = None
        try:
            if run.part == "undo":
                outcome, reason = await undo_runner.run_undo(
                    run, self._context, self._context.journal.targets.find_latch_reason(run.target), self._executor
                )
                await self._finish(run, None, outcome, reason)
                return
            plan = self._parse_plan(run)
            executor = self._executor(run, take_back_steps(self._context.journal, run))
            self._behind_halt.check_latch(run)
            if run.part == "recover":
                with self._context.journal.transaction() as tx:
                    tx.runs.update_run(run.id, status="running")
                why = await self._recovery(run).recover(plan, executor)
                await self._finish(run, plan, "stopped" if why else "proven", why or "every stage is quiet")
                return
            if run.status == "queued" and not await self._begin_run(run, plan):
                return
            if isinstance(plan, Repair) and run.status != "watching":
                self._context.mute_rules(run.target, plan.disturbs)
            outcome, reason = await self._run_levels(run, plan, executor)
        except OvertakenError as overtaken:
            outcome, reason = "overtaken", str(overtaken)
            if executor is not None and (unknown := await executor.close_interrupted_step()):
                outcome, reason = "stopped", f"{overtaken}; {unknown}"
        except _AbortedError as abort:
            outcome, reason = "aborted", str(abort)
            if executor is not None and (unknown := await executor.close_interrupted_step()):
                reason = f"{abort}; {unknown}"
        except _WaitsForHaltError as pause:
            self._context.mute_rules(run.target, ())
            record_event(self._context, run, Message("info", f"{run.plan} waits", (str(pause),)))
            return
        except _PausedError:
            return  # the daemon stops; the next one goes on from here
        except StoppedError as stop:
            outcome, reason = "stopped", str(stop)
        except HaltUndoneError as undone:
            outcome, reason, halt_again = "stopped", str(undone), undone.halt
        except (JournalError, JournalUnavailableError):
            raise
        except Exception as bug:
            log.exception("%s: plan %s broke", run.target, run.plan)
            outcome, reason = "stopped", f"internal error: {bug!r}"
        await self._finish(run, plan, outcome, reason, halt_again)

    async def _finish(
        self,
        run: PlanRun,
        plan: Halt | Repair | None,
        outcome: RunOutcome,
        reason: str,
        halt_again: str | None = None,
    ) -> None:
        await self._context.look_again(run.target)  # the end of its incident says what is still so
        end_run(self._context, run, plan, outcome, reason, halt_again=halt_again)

    def _parse_plan(self, run: PlanRun) -> Halt | Repair:
        try:
            return parse_plan(run.text)
        except ValueError:
            log.exception("%s: plan %s", run.target, run.plan)
            raise StoppedError("its text in the journal cannot be read: another version wrote it") from None

    async def _begin_run(self, run: PlanRun, plan: Halt | Repair) -> bool:
        """Marks a queued run as running; False when there is nothing to run, or not yet."""
        context, now = self._context, self._context.clock()
        self._check_interrupted(run)
        decision = decide_start(run, plan, context) if isinstance(plan, Repair) else None
        if decision is not None and not decision.begins:
            if decision.outcome is None:
                await self._wait_for_wakeup(run.target, 1.0)
            else:
                end_run(self._context, run, plan, decision.outcome, decision.reason)
            return False
        with context.journal.transaction(defer_sync=True) as tx:  # flushed with `started` of the first step
            tx.runs.update_run(run.id, status="running")
            if isinstance(plan, Repair):
                present = context.list_label_sets(run.target, plan.rules_to_prove())
                tx.runs.update_run(run.id, marks={SIBLINGS_MARK: present})
            if now - run.queued >= _FORETOLD and run.approval is None:
                start = describe_start(plan, run.level, Target.model_validate_json(run.place))
                severity: Severity = "warn" if isinstance(plan, Repair) else "crit"
                send_message(context, run, Message(severity, f"{run.plan} starts", (start,)))
            # Written down before anything is touched: a halted bot stays halted. What latched it first stays said.
            if isinstance(plan, Halt) and self._context.journal.targets.find_latch_reason(run.target) is None:
                tx.targets.update_target(run.target, latched=now, latch_why=kind_and_name("halt", run.plan))
        return True

    async def _run_levels(self, run: PlanRun, plan: Halt | Repair, executor: StepExecutor) -> tuple[RunOutcome, str]:
        run = self._context.journal.runs.get_run(run.id)
        reason = "no level is left"
        for number in range(run.level, len(plan.levels)):
            level = plan.levels[number]
            proven = number == run.level and (
                run.status == "watching" or is_level_proven(self._context.journal, run, plan)
            )
            if not proven:
                with self._context.journal.transaction(defer_sync=True) as tx:
                    tx.runs.update_run(run.id, status="running", level=number)
                finding = await self._try_level_guarded(run, plan, number, executor)
                notify_level_ended(self._context, run, plan, number, finding)
                reason = f"level {level.name}: {finding.reason}"
                if finding.outcome == "unknown" and isinstance(plan, Repair):
                    return "exhausted", reason
                if finding.outcome != "proven":
                    continue  # a halt goes on even when nobody can tell: what is safe is safe
                if isinstance(plan, Halt):
                    return "proven", reason
            assert isinstance(plan, Repair)
            tripped_again, reason = await self._confirm_repair(run, plan, number, executor, reason)
            if not tripped_again:
                return "proven", f"level {level.name} helped{reason}"
        return "exhausted", reason

    async def _try_level_guarded(
        self, run: PlanRun, plan: Halt | Repair, number: int, executor: StepExecutor
    ) -> ProofResult:
        """As `_try_level`; a mistake of ours in one level of a halt must not keep the next one from being tried."""
        self._levels[run.id] = number
        try:
            return await self._try_level(run, plan, number, executor)
        except NextLevelError as wanted:
            if unknown := await executor.close_interrupted_step():
                raise StoppedError(f"{wanted}; {unknown}") from None
            return ProofResult("disproven", str(wanted))
        except (OvertakenError, _AbortedError, _PausedError, JournalError, JournalUnavailableError):
            raise
        except Exception as bug:
            if isinstance(plan, Repair):
                raise
            log.exception("%s: plan %s broke in level %s", run.target, run.plan, plan.levels[number].name)
            return ProofResult("unknown", f"internal error: {bug!r}")
        finally:
            del self._levels[run.id]

    async def _try_level(self, run: PlanRun, plan: Halt | Repair, number: int, executor: StepExecutor) -> ProofResult:
        """One level: its steps, then the evidence."""
        level, failures = plan.levels[number], len(executor.failures)
        halts = [self._executor(halt, lambda *_: None) for halt in self._behind_halt.halts(run)]
        try:
            if isinstance(plan, Repair):
                await check_unchanged(executor, halts)
            step_rows = self._context.journal.runs.list_steps(run.id)
            if isinstance(plan, Repair):
                # Once a run; again when a level had helped (and `proven:` undid the row) and then did not.
                undone = any(step.phase == "proven" and step.level == number - 1 for step in step_rows)
                first = min((step.level for step in step_rows if step.phase == "before"), default=number)
                await executor.run_steps("before", number if undone else first, plan.before)
            if not any(
                step.phase == "level" and step.level <= number for step in step_rows
            ):  # people were told when the run was queued; after another level, it is said with that
                with self._context.journal.transaction(defer_sync=True):
                    lines = tuple(describe_step(step, executor.location) for step in level.steps)
                    severity: Severity = "warn" if isinstance(plan, Repair) else "crit"
                    record_event(self._context, run, Message(severity, f"{run.plan}: level {level.name} starts", lines))
            executor.watch_log(effective_verify(plan, level).log, "level", number)
            try:
                changed = await executor.run_steps("level", number, level.steps)
            except (StepFailedError, StoppedError):  # also what fails may have done that
                await self._behind_halt.check(run, halts)
                raise
            await self._behind_halt.check(run, halts)
        except StepFailedError as failure:
            return ProofResult("disproven", str(failure))
        except StoppedError as stop:
            if isinstance(plan, Repair):
                raise
            return ProofResult("unknown", str(stop))  # a halt goes on: its next level must not wait for a person
        failed = "; ".join(executor.failures[failures:])
        if not changed and isinstance(plan, Repair):
            why = f"nothing was changed: {failed}" if failed else "nothing to change: all of it was so already"
            return ProofResult("disproven", why)
        finding = await self._verifier(run).verify(effective_verify(plan, level), executor, lambda: None)
        return finding._replace(reason=f"{finding.reason}; passed over: {failed}") if failed else finding

    async def _confirm_repair(
        self, run: PlanRun, plan: Repair, number: int, executor: StepExecutor, proof: str
    ) -> tuple[bool, str]:
        """After proof: the `proven:` steps, then the watch. (False, what there is to add), or (True, why to go on one level up).

        Behind a halt nothing goes back to work by itself: there is the watch alone.
        """
        watch = effective_verify(plan, plan.levels[number]).watch
        known = self._context.journal.runs.get_run(run.id)
        until = known.watch_until if known.status == "watching" else None
        if until is None:
            halts = [self._executor(halt, lambda *_: None) for halt in self._behind_halt.halts(run)]
            await check_unchanged(executor, halts)
            if not halts:
                try:
                    await executor.run_steps("proven", number, plan.proven)
                except StepFailedError as failure:
                    raise StoppedError(f"it is repaired, but {failure}") from None
                if why := await self._recovery(run).recover(plan, executor, number):
                    raise StoppedError(why)
            until = self._context.clock() + watch
            with self._context.journal.transaction() as tx:
                tx.runs.update_run(run.id, status="watching", watch_until=until)
                tx.timeline.add_event(
                    "watch",
                    f"watched for {format_duration(watch)}" if watch else "proven, and no watch was asked for",
                    self._context.clock(),
                    incident=run.incident,
                    run=run.id,
                    target=run.target,
                )
                if halts and watch:  # without a watch the end of the run, which is now, says it
                    lines = tuple(self._behind_halt.repaired_lines(run))
                    topics = (plan_topic(run.target, run.plan),)
                    message = Message("warn", f"{run.plan}: repaired", lines, ends=topics, opens=topics)
                    record_event(self._context, run, message)
                    send_message(self._context, run, message)
                elif watch >= _LONG_WATCH:  # of a short one, its end says enough
                    helped = (
                        f"{run.plan}: level {plan.levels[number].name} helped, watched for {format_duration(watch)}"
                    )
                    topics = (plan_topic(run.target, run.plan),)
                    send_message(self._context, run, Message("info", helped, (proof,), ends=topics, opens=topics))
            self._context.run_ended(
                run.target
            )  # it changes nothing any more; what nobody has inspected yet was its doing
        verifier = self._verifier(run)
        self._context.mute_rules(run.target, ())
        trial = verifier.start_trial()
        while (now := self._context.clock()) < until:
            counted = self._context.uncounted()
            self._check_interrupted(run)
            if other := next(
                (one for one in self._context.journal.runs.list_unfinished(run.target) if one.id != run.id), None
            ):
                return False, f", and {other.plan} is wanted before the watch is over"
            if self._behind_halt.has_been_resumed(run):
                return False, ", and a person has resumed the bot before the watch is over"
            trial, finding = verifier.evaluate_evidence(trial, (), 2**62, now)
            if finding is not None and finding.outcome == "disproven":
                with self._context.journal.transaction() as tx:  # a restart must not take it for well again
                    tx.runs.update_run(run.id, status="running", level=number + 1)
                    notify_next_level(
                        self._context, run, plan, number + 1, "crit", "tripped again within the watch", finding.reason
                    )
                self._context.mute_rules(run.target, plan.disturbs)
                return True, f"tripped again within the watch: {finding.reason}"
            await self._wait_for_wakeup(run.target, min(1.0, (until - now) / 1_000))
            if any(uncounted := self._context.uncounted().since(counted)):
                until += uncounted.total
                trial = skip_uncounted(trial, uncounted, self._context.clock())
                with self._context.journal.transaction() as tx:
                    tx.runs.update_run(run.id, watch_until=until)
        return False, f", and all stayed well for {format_duration(watch)}" if watch else ""

    # ─ boundaries and ends ─

    def _check_interrupted(self, run: PlanRun) -> None:
        """Between two steps, and while waiting: here a halt overtakes a repair, and here the daemon may stop."""
        if self._stopping:
            raise _PausedError
        known = self._context.journal.runs.get_run(run.id)
        if known.abort is not None:
            raise _AbortedError(f"aborted by {known.abort}")
        waiting = [other for other in self._context.journal.runs.list_unfinished(run.target) if other.kind == "halt"]
        if run.kind == "repair" and waiting:
            if self._behind_halt.may_wait(run, waiting):
                raise _WaitsForHaltError(f"the halt {waiting[0].plan} goes first, and it goes on behind it")
            raise OvertakenError("a halt goes first")
        self._behind_halt.check_latch(run)
        check_next_level(known, self._levels.get(run.id))
