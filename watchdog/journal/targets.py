"""Targets in the journal: their latches, and what is remembered of the bot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict, Unpack

from watchdog.core.model import Millis
from watchdog.journal.sql import SqlRepository, SqlSession


@dataclass(frozen=True, slots=True)
class TargetState:
    """What the journal knows of a target."""

    name: str
    epoch: Millis
    """Start of what `since: resume` KPIs remember."""
    latched: Millis | None = None
    latch_why: str | None = None
    head: str | None = None
    invocation: str | None = None
    unsettled: Millis | None = None
    """When somebody else last deployed or restarted."""
    quiet_for: Millis = 0
    """How long the commit at `head` has been quiet under watch."""
    place: str | None = None
    """Where the bot was when a file last named it: unit, process and repo, as JSON."""


class TargetChanges(TypedDict, total=False):
    """Columns of a target that are set; the others stay."""

    epoch: Millis
    latched: Millis | None
    latch_why: str | None
    head: str | None
    invocation: str | None
    unsettled: Millis | None
    quiet_for: Millis
    place: str | None


_COLUMNS = "name, epoch, latched, latch_why, head, invocation, unsettled, quiet_for, place"


class SqlTargetReader(SqlRepository):
    def __init__(self, sql: SqlSession, add_target: Callable[[str, Millis], None]) -> None:
        super().__init__(sql)
        self._add_target = add_target

    def get_state(self, target: str, now: Millis) -> TargetState:
        row = self._sql.query_one(f"SELECT {_COLUMNS} FROM target WHERE name = ?", target)  # noqa: S608 – our own column list
        if row is not None:
            return TargetState(*row)
        self._add_target(target, now)
        return TargetState(target, now)

    def find_latch_reason(self, target: str) -> str | None:
        row = self._sql.query_one("SELECT latch_why FROM target WHERE name = ? AND latched IS NOT NULL", target)
        return None if row is None else row[0]

    def list_states(self) -> list[TargetState]:
        """All that were ever configured, or had something done to them."""
        rows = self._sql.query(f"SELECT {_COLUMNS} FROM target ORDER BY name")  # noqa: S608 – our own columns
        return [TargetState(*row) for row in rows]

    def list_latched(self) -> list[TargetState]:
        rows = self._sql.query(f"SELECT {_COLUMNS} FROM target WHERE latched IS NOT NULL ORDER BY name")  # noqa: S608 – our own
        return [TargetState(*row) for row in rows]


class SqlTargetWriter(SqlRepository):
    def add_target(self, target: str, epoch: Millis) -> None:
        self._sql.execute("INSERT INTO target (name, epoch) VALUES (?, ?)", target, epoch)

    def update_target(self, target: str, **changes: Unpack[TargetChanges]) -> None:
        names = ", ".join(f"{name} = ?" for name in changes)
        self._sql.execute(f"UPDATE target SET {names} WHERE name = ?", *changes.values(), target)  # noqa: S608 – our own names
