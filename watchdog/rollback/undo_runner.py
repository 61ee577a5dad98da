"""Carries an undo out: all that an incident changed is put back, or, when somebody else changed it since, nothing."""

from __future__ import annotations

from collections.abc import Callable

from watchdog.core.errors import ActionError
from watchdog.journal.runs import PlanRun, RunOutcome
from watchdog.journal.serialization import from_json
from watchdog.rollback import undo
from watchdog.rollback.backup_recorder import BACKUP_TIMEOUT_S
from watchdog.rollback.context import RollbackContext
from watchdog.rollback.executor import StepExecutor, StepFailedError, StepSource


async def run_undo(
    run: PlanRun,
    context: RollbackContext,
    latched: str | None,
    executor_of: Callable[[PlanRun, StepSource], StepExecutor],
) -> tuple[RunOutcome, str]:
    """`latched`: why the target is, when it is; then nothing is undone."""
    incident = from_json(run.text)["incident"]
    if latched is not None:
        return "stopped", f"{run.target} is latched: {latched}"
    steps = undo.undo_steps(context.journal, incident)
    executor = executor_of(run, lambda *_: steps)
    if run.status == "queued":
        try:
            await executor.run_in_thread(
                BACKUP_TIMEOUT_S,
                undo.check_undoable,
                context.journal,
                incident,
                context.executor,
                executor.location,
            )
        except ActionError as error:
            return "stopped", f"nothing was touched: {error}"
        with context.journal.transaction() as tx:
            tx.runs.update_run(run.id, status="running")
    try:
        await executor.run_steps("level", 0, steps)
    except StepFailedError as failure:
        return "stopped", str(failure)
    with context.journal.transaction() as tx:
        tx.backups.mark_undone(incident, context.clock())
    count = "1 step" if len(steps) == 1 else f"{len(steps)} steps"
    return "proven", f"incident {incident} is undone in {count}; restart the bot so that it takes effect"
