"""The way back to work, stage by stage: the next one only when all is quiet; one that trips is taken back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from watchdog.actions.plan import Halt, Repair, read_plan, steps_of, verify_of
from watchdog.journal import Journal, runs, saved
from watchdog.journal.runs import Run
from watchdog.model import Severity
from watchdog.rollback.hands import Hands
from watchdog.rollback.proof import Proof
from watchdog.rollback.steps import Ladder, StepFailedError, StoppedError
from watchdog.rollback.undo import PutBack
from watchdog.rollback.words import said

Say = Callable[[Severity, str, Sequence[str]], None]


class Stages:
    """The stages of one run."""

    def __init__(self, run: Run, hands: Hands, proof: Proof, say: Say) -> None:
        self._run = run
        self._hands = hands
        self._proof = proof
        self._say = say

    async def recover(self, plan: Halt | Repair, ladder: Ladder, after: int = 0) -> str | None:
        """None when every stage is quiet; else why it went back. Of what the journal knows, only the last is proven anew.

        `after`: the level that helped. Each has rows of its own: what was proven after another one proves nothing now.
        """
        rows = runs.steps(self._hands.journal, self._run.id)
        first, count = after * len(plan.recover), len(plan.recover)
        begun = max((row.level for row in rows if row.phase == "recover"), default=first)
        gone_back = max((row.level for row in rows if row.phase == "back"), default=-1)
        for number in range(max(begun, first), first + count):
            stage = plan.recover[number - first]
            if gone_back == number:
                return await self._back(stage.name, number, "it had tripped", ladder)
            try:
                if not any(row.phase == "recover" and row.level == number for row in rows):
                    self._say(
                        "warn",
                        f"{self._run.plan}: stage {stage.name} starts",
                        [said(step, ladder.place) for step in stage.steps],
                    )
                mine = [
                    row.started
                    for row in rows
                    if (row.phase, row.level) == ("recover", number) and row.started is not None
                ]
                began = min([self._hands.clock(), *mine])  # what tripped ahead of a crash has tripped
                verify = verify_of(plan, stage)
                ladder.watch_log(verify.log, "recover", number)
                await ladder.do("recover", number, stage.steps)
                finding = await self._proof.verify(verify, ladder, partial(self._trips, began))
            except StepFailedError as failure:
                return await self._back(stage.name, number, str(failure), ladder)
            if finding.outcome != "proven":
                return await self._back(stage.name, number, f"{finding.outcome}: {finding.reason}", ladder)
            self._say("info", f"{self._run.plan}: stage {stage.name} proven", [finding.reason])
        return None

    def _trips(self, since: int) -> str | None:
        rule = self._hands.trips(self._run.target, since)
        return None if rule is None else f"{rule} tripped"

    async def _back(self, name: str, number: int, why: str, ladder: Ladder) -> str:
        """The files of the stage as they were before it, and its restarts once more."""
        self._say("crit", f"{self._run.plan}: stage {name} goes back", [why])
        try:
            await ladder.do("back", number, back_of(self._hands.journal, self._run)("back", number) or ())
        except (StepFailedError, StoppedError) as failure:
            return f"stage {name}: {why}; it could not be taken back: {failure}"
        return f"stage {name}: {why}; it was taken back"


def back_of(journal: Journal, run: Run) -> Callable[[str, int], Sequence[Any] | None]:
    """What takes a stage back: the same whenever it is asked, since the journal says what was saved ahead of it."""

    def steps(phase: str, level: int) -> Sequence[Any] | None:
        if phase != "back":
            return None
        files = [
            PutBack(path=row.path, was=row.was, copy_of=row.copy, left=row.now or row.was, repo=None)
            for row in sorted(saved.of_row(journal, run.id, "recover", level), key=lambda row: row.path)
        ]
        stage = steps_of(read_plan(run.text), "recover", level)
        return [*files, *(step for step in stage if not step.lasting)]

    return steps


def is_on_its_way_back(journal: Journal, run: Run, plan: Halt | Repair) -> bool:
    """Whether steps after the proof of the level at work had begun: then it was proven, ahead of a crash."""
    return any(
        row.level == run.level
        if row.phase == "proven"
        else row.phase == "recover" and row.level // len(plan.recover) == run.level
        for row in runs.steps(journal, run.id)
    )
