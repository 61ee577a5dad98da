"""Steps of one run: `started` in the journal, the act, the outcome; and the way back in after a crash."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, cast

from watchdog.actions import Systemd, child
from watchdog.actions.plan import LogCheck, read_plan, steps_of
from watchdog.journal import dump, incidents, runs
from watchdog.journal.runs import Phase, Run, Step
from watchdog.model import Action, ActionError, Done, Json, Millis, State, Target
from watchdog.offload import DeadlineError, StillBusyError
from watchdog.rollback.checks import Lines, LogReader, log_of, mark
from watchdog.rollback.hands import Hands
from watchdog.rollback.saving import SAVE, Saving
from watchdog.telemetry import log
from watchdog.units import show_duration

_READ = 30.0
"""Seconds that looking at the world may take."""


class StepFailedError(Exception):
    """A step did not happen. The level is disproven."""


class StoppedError(Exception):
    """The world is other than expected, or nobody can tell: no further step, a person must look."""


class Ladder:
    """Does the steps of a run, each at most once where it cannot be told whether it happened."""

    def __init__(
        self,
        run: Run,
        place: Target,
        hands: Hands,
        boundary: Callable[[], None],
        pause: Callable[[Millis], Awaitable[None]],
        steps: Callable[[str, int], Sequence[Any] | None] = lambda *_: None,
    ) -> None:
        """`boundary` raises when the run must not go on; `pause` waits for so many ms and looks at it meanwhile.

        `steps`: (phase, level) → what is done there and stands in no plan, as when an incident is undone.
        """
        self.place = place
        self.failed: list[str] = []
        """Steps that failed and were passed over (`on_error: continue`)."""
        self._run = run
        self._hands = hands
        self._boundary = boundary
        self._pause = pause
        self._steps = steps
        self._saving = Saving(run, place, hands, self._off)
        self._log: tuple[Path, str] | None = None
        """The log that the row at work is proven by, and which row that is."""
        self._key = f"{run.kind} {run.target}"
        """Under which one thing is done at a time."""

    async def do(self, phase: Phase, level: int, actions: Sequence[Any]) -> bool:
        """Steps in order; what the journal says is done is passed over. True when any of them changed something.

        Raises StepFailedError at the first that failed, StoppedError when nobody can tell.
        """
        changed = False
        if self._run.kind == "halt":  # its next level does not wait for what hangs in this one, or in an earlier halt
            self._key = f"halt {self._run.target} {self._run.id} {level}"
        for n, template in enumerate(actions):
            try:
                changed |= await self._step(phase, level, n, template)
            except StepFailedError as failure:
                if template.on_error == "stop":
                    raise StoppedError(str(failure)) from None
                if template.on_error == "escalate":
                    raise
                self.failed.append(str(failure))
        return changed

    def watch_log(self, check: LogCheck | None, phase: Phase, level: int) -> None:
        """From now on each step notes how far that log was written when it began and ended."""
        self._log = None if check is None else (log_of(check, self.place), f"{phase} {level}")

    def marks(self) -> Json:
        """What the steps of this row have noted: empty when none has begun. A level and a stage may have the same number."""
        marks = runs.get(self._hands.journal, self._run.id).marks
        return marks if self._log is not None and marks.get("row") == self._log[1] else {}

    async def read(self, reader: LogReader) -> Lines:
        """One look at a log; one that hangs tells nothing new."""
        try:
            return cast(Lines, await self._off(_READ, reader.look))
        except ActionError:
            return Lines(None, good=False)

    async def blocking(self, call: Callable[..., object], *args: object) -> object:
        """In a thread, as steps are. Raises ActionError."""
        return await self._off(SAVE, call, *args)

    async def _step(self, phase: Phase, level: int, n: int, template: Any) -> bool:
        """One step, with its retries."""
        try:
            action = cast(Action, template).at(self.place)
        except ActionError as error:
            raise StepFailedError(str(error)) from None
        while True:
            try:
                return await self._attempt(phase, level, n, action, template.retries)
            except StepFailedError:
                row = self._row(phase, level, n)
                if row is None or row.tries > template.retries:
                    raise
                log.info("%s: %s is tried again in %s", self._run.target, row.say, show_duration(template.retry_after))
                await self._pause(template.retry_after)

    async def _attempt(self, phase: Phase, level: int, n: int, action: Action, retries: int) -> bool:
        known, tries = self._row(phase, level, n), 1
        if known is not None and known.status == "failed" and known.tries <= retries:
            tries = known.tries + 1
            known = None
        if known is not None and known.status != "started":
            if known.status == "unknown":
                raise StoppedError(f"{known.say}: {known.detail}")
            if known.status == "failed":
                raise StepFailedError(f"{known.say}: {known.detail}")
            return known.status == "done"
        self._boundary()
        if known is None:
            # What comes to nothing is written down at once: `started` stands for what may have touched the world.
            try:
                before = cast(Json, await self._off(_READ, action.before, self._done()))
                state = await self._state(action, before)
            except ActionError as error:
                with self._hands.journal.write():
                    self._start(phase, level, n, action, None, tries)
                    self._finish(phase, level, n, "failed", str(error))
                raise StepFailedError(f"{action.say()}: {error}") from None
            if state == "after":
                with self._hands.journal.write():
                    self._start(phase, level, n, action, before, tries)
                    self._finish(phase, level, n, "skipped", "was so already")
                return False
            try:
                copies = await self._saving.save(phase, level, action, before)
            except ActionError as error:
                with self._hands.journal.write():
                    self._start(phase, level, n, action, before, tries)
                    self._finish(phase, level, n, "failed", f"not saved: {error}")
                raise StepFailedError(f"{action.say()}: what it changes cannot be saved: {error}") from None
            diff = await self._saving.diff(action, before)
            self._boundary()  # looking takes its time: a halt that came meanwhile goes first
            with self._hands.journal.write() as db:
                self._saving.keep(db, phase, level, copies)
                self._start(phase, level, n, action, before, tries, diff)
        else:
            before, settled = await self._found(known, action)
            if settled:
                return True
        return await self._apply(phase, level, n, action, before)

    async def _found(self, step: Step, action: Action) -> tuple[Json, bool]:
        """A step that an earlier process started: asks the world what became of it. True = it is done."""
        state = await self._became(step, action)
        if state == "after":
            await self._saving.left(step.phase, step.level, action, step.before or {})
            self._finish(step.phase, step.level, step.n, "done", "was done when the watchdog came back")
            return step.before or {}, True
        if state == "before":
            return step.before or {}, False
        self._finish(step.phase, step.level, step.n, "unknown", f"the world is {state} after a crash")
        raise StoppedError(
            f"{step.say} was cut off by a crash, and the world is {state} than before or after it"
            if state == "other"
            else f"{step.say} was cut off by a crash, and it cannot be told whether it happened"
        )

    async def leave(self) -> str | None:
        """The run does not go on: what an earlier process started is looked at, and left as it is.

        Returns what people must know: a step of which it is not known that it happened as a whole, or not at all.
        """
        row = next((row for row in self._rows() if row.status == "started"), None)
        if row is None:
            return None
        try:
            action = self._action_of(row)
            state = "unknown" if action is None else await self._became(row, action)
        except ActionError:
            state = "unknown"
        became: dict[str, runs.StepStatus] = {"after": "done", "before": "failed"}
        self._finish(
            row.phase, row.level, row.n, became.get(state, "unknown"), f"cut off by a crash: the world is {state}"
        )
        return None if state in became else f"{row.say} was cut off by a crash, and the world is {state}"

    async def _became(self, step: Step, action: Action) -> State:
        """What the world says of a step that an earlier process started; its child, if one is left, is ended first."""
        if step.before is None:
            return "unknown"
        try:
            if step.child_pid is not None and step.child_started is not None:
                await self._off(_READ, child.leftover, step.child_pid, step.child_started, _READ / 2)
        except ActionError as error:
            log.warning("%s: %s", self._run.target, error)
            return "unknown"
        state = await self._state(action, step.before)
        log.warning("%s: %s was under way when the watchdog died; the world says %s", self._run.target, step.say, state)
        return state

    async def _apply(self, phase: Phase, level: int, n: int, action: Action, before: Json) -> bool:
        run = self._run.id
        key = f"run {run} {phase} {level}.{n}"
        token = child.on_child.set(lambda pid, started: self._note_child((run, phase, level, n), pid, started))
        deadline = cast(Any, action).timeout / 1_000 + _READ
        try:
            detail = cast(str, await self._off(deadline, action.apply, before, key, self._incident()))
        except ActionError as error:
            if not error.may_have_happened:
                return self._failed(phase, level, n, action, str(error))
            return await self._doubtful(phase, level, n, action, before, str(error))
        finally:
            child.on_child.reset(token)
        await self._saving.left(phase, level, action, before)
        self._finish(phase, level, n, "done", detail, ended=True)
        return True

    async def _doubtful(self, phase: Phase, level: int, n: int, action: Action, before: Json, why: str) -> bool:
        """It may have happened: the world is asked."""
        state = await self._state(action, before)
        if state == "after":
            await self._saving.left(phase, level, action, before)
            self._finish(phase, level, n, "done", f"{why}; yet it is so")
            return True
        if state == "before":
            return self._failed(phase, level, n, action, why)
        self._finish(phase, level, n, "unknown", why)
        raise StoppedError(f"{action.say()}: {why}, and the world is {state}")

    def _failed(self, phase: Phase, level: int, n: int, action: Action, why: str) -> bool:
        self._finish(phase, level, n, "failed", why)
        raise StepFailedError(f"{action.say()}: {why}")

    # ─ looking ─

    async def unchanged(self) -> None:
        """Raises StoppedError when somebody else has changed what our steps left behind.

        Looked at are the lasting steps (files, commits) of the row that was done last, and the `before:` row with them
        while it stands. A commit is not looked at once a flag was set on top of it: the flag is.
        """
        rows = self._rows()
        if any(row.status == "started" for row in rows):
            return  # cut off in the middle of a step: that step's own look at the world decides
        rows = [row for row in rows if row.status == "done" and row.before is not None]
        lasting = [(row, action) for row in rows if (action := self._action_of(row)) is not None and action.lasting]
        if not lasting:
            return
        last = lasting[-1][0]
        for n, (row, action) in enumerate(lasting):
            current = (row.phase, row.level) == (last.phase, last.level)
            stands = row.phase == "before" and last.phase == "level" and row.level <= last.level
            covered = any(type(later) is not type(action) for _, later in lasting[n + 1 :])
            if not stands and (not current or covered):
                continue
            state = await self._state(action, row.before or {})
            if covered and state == "other":
                continue  # the version underneath was changed by us since, and may not even have that flag
            if state != "after":
                what = "was undone" if state == "before" else "was changed" if state == "other" else "cannot be read"
                raise StoppedError(f"somebody else is at work: {row.say} {what}")

    async def undone(self) -> str | None:
        """What the last level's restarts left not running. StoppedError in a repair when somebody stopped it meanwhile."""
        rows = [row for row in self._rows() if row.phase == "level"]
        last = max((row.level for row in rows), default=-1)
        for row in rows:
            action = (
                self._action_of(row) if row.level == last and row.status == "done" and row.before is not None else None
            )
            if action is None or action.lasting:
                continue
            state = await self._state(action, row.before or {})
            stopped = state == "other" and isinstance(action, Systemd)
            if stopped and self._run.kind == "repair":
                raise StoppedError(f"somebody else is at work: after {row.say} it was stopped, and did not crash")
            if state == "before" or stopped:
                return row.say
        return None

    async def command(self, argv: Sequence[str], within: Millis) -> str | None:
        """Runs a verify command: None when it ended with 0, else what it said. A halt does not wait for its end.

        Raises ActionError when it could not be started or did not end in time: then nobody can tell.
        """
        started: list[tuple[int, float]] = []
        token = child.on_child.set(lambda pid, at: started.append((pid, at)))
        run = self._off(
            within / 1_000 + _READ, child.run, list(argv), cwd=self.place.repo, timeout_ms=max(within, 1_000)
        )
        running = asyncio.ensure_future(run)
        child.on_child.reset(token)
        try:
            while not running.done():
                await asyncio.wait({running}, timeout=1.0)
                if not running.done():
                    self._boundary()
        except BaseException:
            running.cancel()
            for pid, at in started:
                with contextlib.suppress(ActionError):
                    await asyncio.to_thread(child.leftover, pid, at, 0.0)
            raise
        ran = cast(child.Ran, running.result())
        if ran.code == 0:
            return None
        return f"{' '.join(argv)} ended with {ran.code}: {(ran.err or ran.out).strip()[-300:]}"

    def _action_of(self, row: Step) -> Action | None:
        """The action behind a row, from the plan as the run keeps it."""
        made = self._steps(row.phase, row.level)
        steps = steps_of(read_plan(self._run.text), row.phase, row.level) if made is None else made
        return cast(Action, steps[row.n]).at(self.place) if row.n < len(steps) else None

    async def _state(self, action: Action, before: Json) -> State:
        try:
            return cast(State, await self._off(_READ, action.state, before))
        except ActionError:
            return "unknown"

    async def _off(self, deadline: float, call: Callable[..., object], *args: object, **kwargs: object) -> object:
        """In a thread. Raises ActionError when it does not end in time, or an earlier one still has not."""
        try:
            # A key of their own for halts: they do not wait for what hangs in a repair.
            return await self._hands.offload(self._key, deadline, call, *args, **kwargs)
        except DeadlineError:
            raise ActionError(f"it did not end within {deadline:g} s", may_have_happened=True) from None
        except StillBusyError:
            raise ActionError("an earlier step still has not ended") from None

    # ─ the journal ─

    def _rows(self) -> list[Step]:
        return runs.steps(self._hands.journal, self._run.id)

    def _row(self, phase: Phase, level: int, n: int) -> Step | None:
        return next((row for row in self._rows() if (row.phase, row.level, row.n) == (phase, level, n)), None)

    def _done(self) -> list[Done]:
        """What this incident has changed so far, for an action that must tell our edits from other people's."""
        incident, done = self._run.incident, []
        for run in [self._run] if incident is None else runs.of_incident(self._hands.journal, incident):
            try:
                plan = read_plan(run.text)
            except ValueError:
                continue  # another version wrote it; what it did counts as other people's
            for row in runs.steps(self._hands.journal, run.id):
                steps = steps_of(plan, row.phase, row.level)
                if row.status == "done" and row.before is not None and row.n < len(steps):
                    stands = run.id == self._run.id and row.phase == "before"
                    done.append(Done(cast(Action, steps[row.n]).at(self.place), row.before, stands))
        return done

    def _incident(self) -> Json | None:
        """What tripped, for actions that hand it on."""
        number = self._run.incident
        known = None if number is None else next(iter(incidents.listing(self._hands.journal, number)), None)
        if known is None:
            return None
        trips = [
            {"rule": trip.rule, "level": trip.level, "labels": dict(trip.labels), "reason": trip.reason, "t": trip.t}
            for trip in incidents.trips(self._hands.journal, known.id)
        ]
        return {
            "id": known.id,
            "target": known.target,
            "opened": known.opened,
            "severity": known.severity,
            "title": known.title,
            "run": self._run.id,
            "plan": self._run.plan,
            "trips": trips,
        }

    def _start(
        self, phase: Phase, level: int, n: int, action: Action, before: Json | None, tries: int, diff: str = ""
    ) -> None:
        now = self._hands.clock()
        step = Step(
            self._run.id, phase, level, n, action.say(), "started", before, "", now, None, None, None, tries, diff
        )
        with self._hands.journal.write() as db:
            runs.start_step(db, step)
            if self._log is not None:
                path, mine = self._log
                runs.move(db, self._run.id, marks=dump({"row": mine, "began": mark(path)}))

    def _finish(
        self, phase: Phase, level: int, n: int, status: runs.StepStatus, detail: str, *, ended: bool = False
    ) -> None:
        """`ended`: just now, and not some time before a restart."""
        now = self._hands.clock()
        with self._hands.journal.write() as db:
            if ended and self._log is not None:
                runs.move(db, self._run.id, marks=dump({**self.marks(), "ended": mark(self._log[0])}))
            runs.end_step(db, self._run.id, phase, level, n, status, detail, now)
            if status == "done":
                runs.move(db, self._run.id, acted=now)
            row = self._row(phase, level, n)
            if row is not None:
                text = f"{row.say}: {detail}" if status == "done" else f"{row.say}: {status} ({detail})"
                incidents.event(
                    db, "step", text, now, incident=self._run.incident, run=self._run.id, target=self._run.target
                )
                log.info("%s: %s", self._run.target, text)

    def _note_child(self, step: tuple[int, Phase, int, int], pid: int, started: float) -> None:
        with self._hands.journal.write() as db:
            runs.note_child(db, step, pid, started)
