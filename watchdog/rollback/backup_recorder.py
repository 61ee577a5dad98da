"""Saves what a repair is about to change, and remembers what it made of it."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import cast

from watchdog.core.errors import ActionError
from watchdog.core.executor import CallOwner
from watchdog.core.model import JsonObject
from watchdog.core.protocols import Action
from watchdog.core.target import Target
from watchdog.core.telemetry import log
from watchdog.host import file_state
from watchdog.journal.runs import PlanRun, StepId
from watchdog.journal.storage import Transaction
from watchdog.rollback import backup
from watchdog.rollback.context import RollbackContext

BACKUP_TIMEOUT_S = 300.0
"""Seconds that it may take."""
_MAX_DIFF_LINES = 400
"""Of a change, so many lines are kept for the report."""


class BackupRecorder:
    """Of one run. A repair that cannot be undone is not done; a halt needs no undoing, and waits for nothing."""

    def __init__(
        self, run: PlanRun, location: Target, context: RollbackContext, offload: Callable[..., Awaitable[object]]
    ) -> None:
        """`offload`: (deadline seconds, call, *args) → result, in a thread; raises ActionError."""
        self._run = run
        self._location = location
        self._context = context
        self._offload = offload
        self._call_owner: CallOwner = partial(context.executor.call, location)
        self._folder = None if run.kind == "halt" or run.part == "undo" else context.backup_folder

    async def back_up(self, step: StepId, action: Action, before: JsonObject) -> list[backup.SavedFile]:
        """What the step will touch, ahead of it. Raises ActionError when it cannot be saved."""
        if self._folder is None or not (touched := action.touched_paths(before)):
            return []
        journal, run = self._context.journal, self._run
        known = {row.path for row in journal.backups.list_for_level(run.id, step.phase, step.level)}
        wanted = [path for path in touched if str(path) not in known]
        old = [number for number in journal.backups.list_expired_runs(self._context.clock()) if number != run.id]
        await self._offload(BACKUP_TIMEOUT_S, backup.delete_backups, self._folder, old)
        folder = self._folder / str(run.id) / f"{step.phase}-{step.level}"
        return cast(
            list[backup.SavedFile],
            await self._offload(
                BACKUP_TIMEOUT_S, backup.back_up, folder, wanted, self._location.repo, self._call_owner
            ),
        )

    def record(self, tx: Transaction, step: StepId, copies: Sequence[backup.SavedFile]) -> None:
        for copy in copies:
            tx.backups.add_backup(step, copy.path, copy.was, copy.copy)

    async def record_result(self, step: StepId, action: Action, before: JsonObject) -> None:
        """What the step made of it: what is there later is somebody else's."""
        if self._folder is None:
            return
        touched = action.touched_paths(before)
        recorded = {
            Path(row.path) for row in self._context.journal.backups.list_for_level(self._run.id, step.phase, step.level)
        }
        now: dict[str, JsonObject] = {}
        for path in {path for path in recorded if any(path.is_relative_to(one) for one in touched)}:
            with contextlib.suppress(ActionError):
                now[str(path)] = cast(
                    JsonObject, await self._offload(BACKUP_TIMEOUT_S, self._call_owner, file_state.file_state, path)
                )
        with self._context.journal.transaction() as tx:
            tx.backups.record_result(self._run.id, self._run.incident, now)

    async def diff(self, action: Action, before: JsonObject) -> str:
        """What it will change, for the report; nothing depends on it."""
        if not action.persistent:
            return ""
        try:
            text = cast(str, await self._offload(30.0, action.preview, before))
        except ActionError as error:
            log.debug("%s: no diff of %s: %s", self._run.target, action.describe(), error)
            return ""
        lines = [line for line in text.splitlines() if line[:1] in ("+", "-")]
        return "\n".join(
            lines[:_MAX_DIFF_LINES] + [f"… {len(lines) - _MAX_DIFF_LINES} more lines"] * (len(lines) > _MAX_DIFF_LINES)
        )
