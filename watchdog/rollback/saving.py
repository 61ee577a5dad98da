"""Saves what a repair is about to change, and remembers what it made of it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import cast

from watchdog.journal import saved
from watchdog.journal.runs import Phase, Run
from watchdog.model import Action, ActionError, Json, Target
from watchdog.rollback import backup
from watchdog.rollback.hands import Hands
from watchdog.telemetry import log

SAVE = 300.0
"""Seconds that it may take."""
_LINES = 400
"""Of a change, so many lines are kept for the report."""


class Saving:
    """Of one run. A repair that cannot be undone is not done; a halt needs no undoing, and waits for nothing."""

    def __init__(self, run: Run, place: Target, hands: Hands, off: Callable[..., Awaitable[object]]) -> None:
        """`off`: (deadline seconds, call, *args) → result, in a thread; raises ActionError."""
        self._run = run
        self._place = place
        self._hands = hands
        self._off = off
        self._folder = None if run.kind == "halt" or run.part == "undo" else hands.backups

    async def save(self, phase: Phase, level: int, action: Action, before: Json) -> list[backup.Saved]:
        """What the step will touch, ahead of it. Raises ActionError when it cannot be saved."""
        if self._folder is None or not (touched := action.touches(before)):
            return []
        journal, run = self._hands.journal, self._run
        known = {row.path for row in saved.of_row(journal, run.id, phase, level)}
        wanted = [path for path in touched if str(path) not in known]
        old = [number for number in saved.old(journal, self._hands.clock()) if number != run.id]
        await self._off(SAVE, backup.forget, self._folder, old)
        place = self._folder / str(run.id) / f"{phase}-{level}"
        return cast(list[backup.Saved], await self._off(SAVE, backup.save, place, wanted, self._place.repo))

    def keep(self, db: sqlite3.Connection, phase: Phase, level: int, copies: Sequence[backup.Saved]) -> None:
        for copy in copies:
            saved.keep(db, self._run.id, phase, level, copy.path, copy.was, copy.copy)

    async def left(self, phase: Phase, level: int, action: Action, before: Json) -> None:
        """What the step made of it: what is there later is somebody else's."""
        if self._folder is None:
            return
        touched = action.touches(before)
        mine = {Path(row.path) for row in saved.of_row(self._hands.journal, self._run.id, phase, level)}
        now: dict[str, Json] = {}
        for path in {path for path in mine if any(path.is_relative_to(one) for one in touched)}:
            with contextlib.suppress(ActionError):
                now[str(path)] = cast(Json, await self._off(SAVE, backup.standing, path))
        with self._hands.journal.write() as db:
            saved.left(db, self._run.id, self._run.incident, now)

    async def diff(self, action: Action, before: Json) -> str:
        """What it will change, for the report; nothing depends on it."""
        if not action.lasting:
            return ""
        try:
            text = cast(str, await self._off(30.0, action.preview, before))
        except ActionError as error:
            log.debug("%s: no diff of %s: %s", self._run.target, action.say(), error)
            return ""
        lines = [line for line in text.splitlines() if line[:1] in ("+", "-")]
        return "\n".join(lines[:_LINES] + [f"… {len(lines) - _LINES} more lines"] * (len(lines) > _LINES))
