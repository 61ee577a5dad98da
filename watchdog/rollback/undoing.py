"""Carries an undo out: all that an incident changed is put back, or, when somebody else changed it since, nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from watchdog.journal import load, runs, saved
from watchdog.journal.runs import Outcome, Run
from watchdog.model import ActionError
from watchdog.rollback import undo
from watchdog.rollback.hands import Hands
from watchdog.rollback.steps import Ladder, StepFailedError

Steps = Callable[[str, int], Sequence[Any] | None]


async def carry_out(
    run: Run, hands: Hands, latched: str | None, ladder_of: Callable[[Run, Steps], Ladder]
) -> tuple[Outcome, str]:
    """`latched`: why the target is, when it is; then nothing is undone."""
    incident = load(run.text)["incident"]
    if latched is not None:
        return "stopped", f"{run.target} is latched: {latched}"
    steps = undo.steps(hands.journal, incident)
    ladder = ladder_of(run, lambda *_: steps)
    if run.status == "queued":
        try:
            await ladder.blocking(undo.check, hands.journal, incident)
        except ActionError as error:
            return "stopped", f"nothing was touched: {error}"
        with hands.journal.write() as db:
            runs.move(db, run.id, status="running")
    try:
        await ladder.do("level", 0, steps)
    except StepFailedError as failure:
        return "stopped", str(failure)
    with hands.journal.write() as db:
        saved.undo(db, incident, hands.clock())
    return "proven", f"incident {incident} is undone: {len(steps)} steps; restart the bot so that it takes effect"
