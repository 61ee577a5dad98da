"""The way back to work, stage by stage: the next one only when all is quiet; one that trips is taken back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from watchdog.core.model import Message, Millis
from watchdog.core.protocols import Action
from watchdog.core.target import Target
from watchdog.journal.runs import PlanRun, StepPhase
from watchdog.journal.storage import Journal
from watchdog.plans.after_halt import list_latched_runs, run_to_recover
from watchdog.plans.descriptions import describe_step
from watchdog.plans.models import Halt, Level, Repair, effective_verify, parse_plan, phase_steps
from watchdog.rollback.context import RollbackContext
from watchdog.rollback.executor import StepExecutor, StepFailedError, StepSource, StoppedError
from watchdog.rollback.notifications import notify, record_event
from watchdog.rollback.standing import StandingChange, cure_by
from watchdog.rollback.undo import UndoStep
from watchdog.rollback.verify import Verifier


class RecoveryRunner:
    """The stages of one run."""

    def __init__(self, run: PlanRun, context: RollbackContext, verifier: Verifier) -> None:
        self._run = run
        self._context = context
        self._verifier = verifier

    def _notify(self, message: Message) -> None:
        notify(self._context, self._run, message)

    async def recover(self, plan: Halt | Repair, executor: StepExecutor, proven_level: int = 0) -> str | None:
        """None when every stage is quiet; else why it went back. Of what the journal knows, only the last is proven anew.

        `proven_level`: the level that helped. Each has rows of its own: what was proven after another one proves nothing now.
        """
        rows = self._context.journal.runs.list_steps(self._run.id)
        first, count = proven_level * len(plan.recover), len(plan.recover)
        begun = max((row.level for row in rows if row.phase == "recover"), default=first)
        last_taken_back = max((row.level for row in rows if row.phase == "back"), default=-1)
        before, why = "", tuple[str, ...]()
        for number in range(max(begun, first), first + count):
            stage = plan.recover[number - first]
            if last_taken_back == number:
                return await self._take_back(stage.name, number, "it had tripped", executor)
            try:
                if not any(row.phase == "recover" and row.level == number for row in rows):
                    lines = tuple(describe_step(step, executor.location) for step in stage.steps)
                    message = Message("warn", f"{self._run.plan}: {before}stage {stage.name} starts", (*why, *lines))
                    self._notify(message)
                start_times = [
                    row.started
                    for row in rows
                    if (row.phase, row.level) == ("recover", number) and row.started is not None
                ]
                began = min([self._context.clock(), *start_times])  # what tripped ahead of a crash has tripped
                verify = effective_verify(plan, stage)
                executor.watch_log(verify.log, "recover", number)
                await executor.run_steps("recover", number, stage.steps)
                finding = await self._verifier.verify(verify, executor, partial(self._find_trip, began))
            except StepFailedError as failure:
                return await self._take_back(stage.name, number, str(failure), executor)
            if finding.outcome != "proven":
                return await self._take_back(stage.name, number, f"{finding.outcome}: {finding.reason}", executor)
            # People hear of it with what comes next: another stage, or the end of the run.
            proven = Message("info", f"{self._run.plan}: stage {stage.name} proven", (finding.reason,))
            record_event(self._context, self._run, proven)
            before, why = f"stage {stage.name} proven, ", proven.lines
        return None

    def _find_trip(self, since: int) -> str | None:
        rule = self._context.tripped_since(self._run.target, since)
        return None if rule is None else f"{rule} tripped"

    async def _take_back(self, name: str, number: int, why: str, executor: StepExecutor) -> str:
        """The files of the stage as they were before it, and its restarts and commands once more."""
        self._notify(Message("crit", f"{self._run.plan}: stage {name} goes back", (why,)))
        try:
            await executor.run_steps(
                "back", number, take_back_steps(self._context.journal, self._run)("back", number) or ()
            )
        except (StepFailedError, StoppedError) as failure:
            return f"stage {name}: {why}; it could not be taken back: {failure}"
        rows = self._context.journal.runs.list_steps(self._run.id)
        mine = [row for row in rows if (row.phase, row.level) == ("recover", number)]
        if all(row.status == "skipped" for row in mine):  # what it was to set was so already, and still is
            return f"stage {name}: {why}; it had changed nothing, so nothing was taken back"
        return f"stage {name}: {why}; it was taken back"


def find_way_back(
    journal: Journal, plan_of: Callable[[str, str], Halt | Repair | None], target: str, now: Millis
) -> tuple[str, Sequence[Level]] | None:
    """(plan, its stages) that start when a person says resume: those of the run that ended last, or of the halt that it was
    behind. None: it has none.

    `plan_of`: (plan, target) → what it is now.
    """
    ended = run_to_recover(list_latched_runs(journal, target, now), journal.runs.find_last_ended(target))
    plan = None if ended is None or ended.part == "undo" else plan_of(ended.plan, target)
    return None if ended is None or plan is None or not plan.recover else (ended.plan, plan.recover)


def find_cure(
    journal: Journal,
    plan_of: Callable[[str, str], Halt | Repair | None],
    name: str,
    target: Target | None,
    now: Millis,
) -> Callable[[StandingChange], str | None]:
    """What puts back what stands on a target: the run that is at it, the stages that a resume starts, or a person by hand."""
    recovering = next((run for run in journal.runs.list_unfinished(name) if run.part == "recover"), None)
    if recovering is not None:
        plan, words = plan_of(recovering.plan, name), f"run {recovering.id} is at it"
        stages: Sequence[Level] = () if plan is None else plan.recover
    else:
        _, stages = find_way_back(journal, plan_of, name, now) or ("", ())
        words = f'trading-watchdog resume {name} --reason "…"'
    return cure_by(words, [step for stage in stages for step in stage.steps], target)


def take_back_steps(journal: Journal, run: PlanRun) -> StepSource:
    """What takes a stage back: the same whenever it is asked, since the journal says what was saved ahead of it."""

    def steps(phase: StepPhase, level: int) -> Sequence[Action] | None:
        if phase != "back":
            return None
        files: list[Action] = [
            UndoStep(path=row.path, was=row.was, copy_of=row.copy, left=row.now or row.was, repo=None)
            for row in sorted(journal.backups.list_for_level(run.id, "recover", level), key=lambda row: row.path)
        ]
        stage = phase_steps(parse_plan(run.text), "recover", level)
        return [*files, *(step for step in stage if step.repeatable)]

    return steps


def is_level_proven(journal: Journal, run: PlanRun, plan: Halt | Repair) -> bool:
    """Whether steps after the proof of the level at work had begun: then it was proven, ahead of a crash."""
    return any(
        row.level == run.level
        if row.phase == "proven"
        else row.phase == "recover" and row.level // len(plan.recover) == run.level
        for row in journal.runs.list_steps(run.id)
    )
