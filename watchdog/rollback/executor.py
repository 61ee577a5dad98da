"""Steps of one run: `started` in the journal, the act, the outcome; and the way back in after a crash."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import ParamSpec, TypeVar, cast

from watchdog.core.errors import ActionError
from watchdog.core.executor import call_deadline
from watchdog.core.model import JsonObject, Millis
from watchdog.core.offload import DeadlineExceededError, StillBusyError
from watchdog.core.protocols import Action, CompletedStep, StepState
from watchdog.core.target import Target
from watchdog.core.telemetry import log
from watchdog.core.units import format_duration
from watchdog.host import child_process
from watchdog.journal import runs
from watchdog.journal.runs import NEXT_LEVEL_MARK, SIBLINGS_MARK, PlanRun, Step, StepId, StepPhase
from watchdog.plans.after_halt import halts_in_force, list_latched_runs
from watchdog.plans.done_steps import done_steps
from watchdog.plans.models import LogCheck, parse_plan, phase_steps
from watchdog.rollback.backup_recorder import BackupRecorder
from watchdog.rollback.checks import LogFile, log_path, log_position
from watchdog.rollback.context import RollbackContext
from watchdog.rollback.incident_json import describe_incident

P = ParamSpec("P")
T = TypeVar("T")

PROBE_TIMEOUT_S = 30.0
"""Seconds that looking at the world may take."""
_KILL_TIME_S = 2.0
"""Seconds in which a worker that is over its time is ended."""
_CUT_OFF_REASONS: dict[StepState, str] = {
    "other": "the world is other than before or after it",
    "stopped": "what it started was stopped since",
}

StepSource = Callable[[StepPhase, int], Sequence[Action] | None]
"""(phase, level) → the steps of that row; None: the plan's."""


class StepFailedError(Exception):
    """A step did not happen. The level is disproven."""


class StoppedError(Exception):
    """The world is other than expected, or nobody can tell: no further step, a person must look."""


class StepExecutor:
    """Does the steps of a run, each at most once where it cannot be told whether it happened."""

    def __init__(
        self,
        run: PlanRun,
        location: Target,
        context: RollbackContext,
        check_interrupted: Callable[[], None],
        wait: Callable[[Millis], Awaitable[None]],
        generated_steps: StepSource = lambda *_: None,
    ) -> None:
        """`check_interrupted` raises when the run must not go on; `wait` waits for so many ms and looks at it meanwhile.

        `generated_steps`: what is done in a row and stands in no plan, as when an incident is undone.
        """
        self._run = run
        self.location = location
        self.failures: list[str] = []
        """Steps that failed and were passed over (`on_error: continue`)."""
        self.row: tuple[StepPhase, int] | None = None
        """The row whose steps were done last."""
        self._context = context
        self._check_interrupted = check_interrupted
        self._wait = wait
        self._generated_steps = generated_steps
        self._backup_recorder = BackupRecorder(run, location, context, self.run_in_thread)
        self._watched_log: tuple[LogFile, str] | None = None
        """The log that the row at work is proven by, and which row that is."""
        self._offload_key = f"{run.kind} {run.target}"
        """Under which one thing is done at a time."""

    async def run_steps(self, phase: StepPhase, level: int, actions: Sequence[Action]) -> bool:
        """Steps in order; what the journal says is done is passed over. True when any of them changed something.

        Raises StepFailedError at the first that failed, StoppedError when nobody can tell.
        """
        changed, self.row = False, (phase, level)
        lacking: list[str] = []
        if self._run.kind == "halt":  # its next level does not wait for what hangs in this one, or in an earlier halt
            self._offload_key = f"halt {self._run.target} {self._run.id} {level}"
        for n, template in enumerate(actions):
            try:
                changed |= await self._run_step(StepId(self._run.id, phase, level, n), template)
            except StepFailedError as failure:
                if template.on_error == "stop":
                    raise StoppedError(str(failure)) from None
                if template.on_error == "escalate":
                    raise
                self.failures.append(str(failure))
            lacking += self._not_deployed(StepId(self._run.id, phase, level, n), template)
            if lacking and not any(not later.repeatable for later in actions[n + 1 :]):
                self._ensure_something_was_mended(phase, level, actions, lacking)
        return changed

    def _not_deployed(self, step: StepId, template: Action) -> list[str]:
        """That step, in words, when what it takes back is no part of what runs."""
        row = self._step_row(step)
        if row is None or row.status != "skipped" or row.before is None:
            return []
        reason = template.noop_reason(row.before)
        return [f"{row.say}: {reason}"] if reason == "not deployed now" else []

    def _ensure_something_was_mended(
        self, phase: StepPhase, level: int, actions: Sequence[Action], lacking: Sequence[str]
    ) -> None:
        """StepFailedError for a repair's level of which nothing is left but what takes nothing back, such as a restart: were the
        bot well after it, the level had not helped. `lacking`: what was passed over, since it is not deployed."""
        if self._run.kind != "repair" or phase != "level":
            return
        rows = [row for row in self.step_rows() if (row.phase, row.level) == (phase, level)]
        if not any(row.status == "done" and not actions[row.n].repeatable for row in rows):
            raise StepFailedError(f"{'; '.join(lacking)}, so there is nothing to take back")

    def watch_log(self, check: LogCheck | None, phase: StepPhase, level: int) -> None:
        """From now on each step notes how far that log was written when it began and ended."""
        self._watched_log = None if check is None else (log_path(check, self.location), f"{phase} {level}")

    def log_positions(self) -> JsonObject:
        """What the steps of this row have noted: empty when none has begun. A level and a stage may have the same number."""
        positions = self._context.journal.runs.get_run(self._run.id).marks
        return positions if self._watched_log is not None and positions.get("row") == self._watched_log[1] else {}

    def _marks_of_run(self) -> JsonObject:
        """Those that stand for all of its rows."""
        marks = self._context.journal.runs.get_run(self._run.id).marks
        return {name: marks[name] for name in (SIBLINGS_MARK, NEXT_LEVEL_MARK) if name in marks}

    async def run_in_thread(
        self, deadline: float, call: Callable[..., object], *args: object, **kwargs: object
    ) -> object:
        """In a thread. Raises ActionError when it does not end in time, or an earlier one still has not."""
        token = call_deadline.set(time.monotonic() + deadline)
        try:
            # A key of their own for halts: they do not wait for what hangs in a repair.
            return await self._context.offload(self._offload_key, deadline + _KILL_TIME_S, call, *args, **kwargs)
        except DeadlineExceededError:
            raise ActionError(f"it did not end within {deadline:g} s", may_have_happened=True) from None
        except StillBusyError:
            raise ActionError("an earlier step still has not ended") from None
        finally:
            call_deadline.reset(token)

    async def call_owner(self, deadline: float, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `function` says when the target's owner calls it. `deadline` in seconds. Raises ActionError."""
        call: Callable[..., T] = self._context.executor.call
        return cast(T, await self.run_in_thread(deadline, call, self.location, function, *args, **kwargs))

    async def terminate_child(self, pid: int, started: float, wait_s: float = 0.0, *, owners: bool = True) -> None:
        """Ends a program that the target's owner has started, or we ourselves. Raises ActionError when it cannot be ended.

        Asked beside everything else: what hangs is what it shall end.
        """
        end: Callable[..., None] = child_process.terminate_leftover
        if owners:
            end = partial(self._context.executor.call, self.location, end)
        try:
            await self._context.offload(f"ending {pid}", wait_s + PROBE_TIMEOUT_S, end, pid, started, wait_s)
        except (DeadlineExceededError, StillBusyError):
            raise ActionError(f"process {pid}, left over, does not end", may_have_happened=True) from None

    async def _run_step(self, step: StepId, template: Action) -> bool:
        """One step, with its retries."""
        try:
            action = self._bind(template)
        except ActionError as error:
            raise StepFailedError(str(error)) from None
        while True:
            try:
                return await self._attempt(step, action, template.retries)
            except StepFailedError:
                row = self._step_row(step)
                if row is None or row.tries > template.retries:
                    raise
                log.info(
                    "%s: %s is tried again in %s", self._run.target, row.say, format_duration(template.retry_after)
                )
                await self._wait(template.retry_after)

    async def _attempt(self, step: StepId, action: Action, retries: int) -> bool:
        known, tries = self._step_row(step), 1
        if known is not None and known.status == "failed" and known.tries <= retries:
            tries = known.tries + 1
            known = None
        if known is not None and known.status != "started":
            if known.status == "unknown":
                raise StoppedError(f"{known.say}: {known.detail}")
            if known.status == "failed":
                raise StepFailedError(f"{known.say}: {known.detail}")
            return known.status == "done"
        self._check_interrupted()
        self._context.ensure_journaled()
        if known is None:
            # What comes to nothing is written down at once: `started` stands for what may have touched the world.
            try:
                before = cast(JsonObject, await self.run_in_thread(PROBE_TIMEOUT_S, action.capture, self._done_steps()))
                state = await self.probe_state(action, before)
            except ActionError as error:
                with self._context.journal.transaction():
                    self._record_start(step, action, None, tries)
                    self._record_end(step, "failed", str(error))
                raise StepFailedError(f"{action.describe()}: {error}") from None
            if state == "after":
                with self._context.journal.transaction():
                    self._record_start(step, action, before, tries)
                    self._record_end(step, "skipped", f"nothing to do: {action.noop_reason(before)}")
                return False
            try:
                copies = await self._backup_recorder.back_up(step, action, before)
            except ActionError as error:
                with self._context.journal.transaction():
                    self._record_start(step, action, before, tries)
                    self._record_end(step, "failed", f"not saved: {error}")
                raise StepFailedError(f"{action.describe()}: what it changes cannot be saved: {error}") from None
            diff = await self._backup_recorder.diff(action, before)
            position = await self.log_position()
            self._check_interrupted()  # looking takes its time: a halt that came meanwhile goes first
            with self._context.journal.transaction() as tx:
                self._backup_recorder.record(tx, step, copies)
                self._record_start(step, action, before, tries, diff, position)
        else:
            before, settled = await self._resume_step(known, action)
            if settled:
                return True
        return await self._apply(step, action, before)

    async def _resume_step(self, step: Step, action: Action) -> tuple[JsonObject, bool]:
        """A step that an earlier process started: asks the world what became of it. True = it is done."""
        state = await self._interrupted_state(step, action)
        if state == "after":
            await self._backup_recorder.record_result(step.id, action, step.before or {})
            self._record_end(step.id, "done", "was done when the watchdog came back")
            return step.before or {}, True
        if state == "before":
            return step.before or {}, False
        self._record_end(step.id, "unknown", f"the world is {state} after a crash")
        reason = _CUT_OFF_REASONS.get(state, "it cannot be told whether it happened")
        raise StoppedError(f"{step.say} was cut off by a crash, and {reason}")

    async def close_interrupted_step(self) -> str | None:
        """The run does not go on: what an earlier process started is looked at, and left as it is.

        Returns what people must know: a step of which it is not known that it happened as a whole, or not at all.
        """
        row = next((row for row in self.step_rows() if row.status == "started"), None)
        if row is None:
            return None
        try:
            action = self.resolve_action(row)
            state = "unknown" if action is None else await self._interrupted_state(row, action)
        except ActionError:
            state = "unknown"
        status_by_state: dict[str, runs.StepStatus] = {"after": "done", "before": "failed"}
        self._record_end(
            row.id,
            status_by_state.get(state, "unknown"),
            f"cut off by a crash: the world is {state}",
        )
        return None if state in status_by_state else f"{row.say} was cut off by a crash, and the world is {state}"

    async def _interrupted_state(self, step: Step, action: Action) -> StepState:
        """What the world says of a step that an earlier process started; its child, if one is left, is ended first."""
        if step.before is None:
            return "unknown"
        try:
            if step.child_pid is not None and step.child_started is not None:
                await self.terminate_child(
                    step.child_pid, step.child_started, PROBE_TIMEOUT_S / 2, owners=action.runs_as_owner
                )
        except ActionError as error:
            log.warning("%s: %s", self._run.target, error)
            return "unknown"
        state = await self.probe_state(action, step.before)
        log.warning("%s: %s was under way when the watchdog died; the world says %s", self._run.target, step.say, state)
        return state

    async def _apply(self, step: StepId, action: Action, before: JsonObject) -> bool:
        token = child_process.on_child_started.set(lambda pid, started: self._record_child(step, pid, started))
        deadline = action.timeout / 1_000 + PROBE_TIMEOUT_S
        try:
            detail = cast(
                str,
                await self.run_in_thread(
                    deadline, action.apply, before, str(step), describe_incident(self._context.journal, self._run)
                ),
            )
        except ActionError as error:
            if not error.may_have_happened:
                return self._fail_step(step, action, str(error))
            return await self._resolve_uncertain(step, action, before, str(error))
        finally:
            child_process.on_child_started.reset(token)
        await self._backup_recorder.record_result(step, action, before)
        self._record_end(step, "done", detail, await self.log_position())
        return True

    async def _resolve_uncertain(self, step: StepId, action: Action, before: JsonObject, why: str) -> bool:
        """It may have happened: the world is asked."""
        state = await self.probe_state(action, before)
        if state == "after":
            await self._backup_recorder.record_result(step, action, before)
            self._record_end(step, "done", f"{why}; yet it is so")
            return True
        if state == "before":
            return self._fail_step(step, action, why)
        self._record_end(step, "unknown", why)
        raise StoppedError(f"{action.describe()}: {why}, and the world is {state}")

    def _fail_step(self, step: StepId, action: Action, why: str) -> bool:
        self._record_end(step, "failed", why)
        raise StepFailedError(f"{action.describe()}: {why}")

    # ─ looking ─

    def resolve_action(self, row: Step) -> Action | None:
        """The action behind a row, from the plan as the run keeps it."""
        steps = self._generated_steps(row.phase, row.level)
        if steps is None:
            steps = phase_steps(parse_plan(self._run.text), row.phase, row.level)
        return self._bind(steps[row.n]) if row.n < len(steps) else None

    def _bind(self, template: Action) -> Action:
        return self._context.executor.act_as_owner(template.bind(self.location), self.location)

    async def probe_state(self, action: Action, before: JsonObject) -> StepState:
        try:
            return cast(StepState, await self.run_in_thread(PROBE_TIMEOUT_S, action.state, before))
        except ActionError:
            return "unknown"

    async def find_deviations(self, action: Action, before: JsonObject) -> Mapping[str, str]:
        """What is other than the step has made it, looked at anew: see `Action.deviations`. Raises ActionError."""
        found = await self.run_in_thread(PROBE_TIMEOUT_S, action.deviations, before)
        return cast(Mapping[str, str], found)

    # ─ the journal ─

    def step_rows(self) -> list[Step]:
        return self._context.journal.runs.list_steps(self._run.id)

    def _step_row(self, step: StepId) -> Step | None:
        return next((row for row in self.step_rows() if row.id == step), None)

    def _done_steps(self) -> list[CompletedStep]:
        """What this incident has changed so far, for an action that must tell our edits from other people's.

        What a halt has switched off stays off while a repair goes on behind it, also where its incident is over."""
        journal, incident = self._context.journal, self._run.incident
        runs = [self._run] if incident is None else journal.runs.list_for_incident(incident)
        halts = halts_in_force(list_latched_runs(journal, self._run.target, self._context.clock()))
        in_order = sorted({run.id: run for run in [*halts, *runs]}.items())
        return [
            CompletedStep(action, captured, run.kind == "halt" or (run.id == self._run.id and row.phase == "before"))
            for _, run in in_order
            for row, action, captured in done_steps(run, journal.runs.list_steps(run.id))
        ]

    async def log_position(self) -> list[int] | None:
        """``[inode, size]`` of the log that this row is proven by, zeros when there is none yet; None: there is none to watch."""
        if self._watched_log is None:
            return None
        try:
            return [*await self.call_owner(PROBE_TIMEOUT_S, log_position, self._watched_log[0])]
        except ActionError:
            return [0, 0]

    def _record_start(
        self,
        step: StepId,
        action: Action,
        before: JsonObject | None,
        tries: int,
        diff: str = "",
        position: list[int] | None = None,
    ) -> None:
        now = self._context.clock()
        row = Step(*step, action.describe(), "started", before, "", now, None, None, None, tries, diff)
        with self._context.journal.transaction() as tx:
            tx.runs.start_step(row)
            if position is not None and self._watched_log is not None:
                kept = self._marks_of_run()
                tx.runs.update_run(self._run.id, marks={**kept, "row": self._watched_log[1], "began": position})

    def _record_end(
        self, step: StepId, status: runs.StepStatus, detail: str, position: list[int] | None = None
    ) -> None:
        """`position`: where the watched log ends, of a step that has ended just now, and not some time before a restart."""
        now = self._context.clock()
        with self._context.journal.transaction() as tx:
            if position is not None:
                tx.runs.update_run(
                    self._run.id, marks={**self._marks_of_run(), **self.log_positions(), "ended": position}
                )
            tx.runs.end_step(step, status, detail, now)
            if status == "done":
                tx.runs.update_run(self._run.id, acted=now)
            row = self._step_row(step)
            if row is not None:
                text = f"{row.say}: {detail}" if status == "done" else f"{row.say}: {status} ({detail})"
                tx.timeline.add_event(
                    "step", text, now, incident=self._run.incident, run=self._run.id, target=self._run.target
                )
                log.info("%s: %s", self._run.target, text)

    def _record_child(self, step: StepId, pid: int, started: float) -> None:
        with self._context.journal.transaction() as tx:
            tx.runs.record_child(step, pid, started)
