"""The timeline in the journal: what was seen, decided or done, and why."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from watchdog.core.model import Millis
from watchdog.journal.sql import SqlRepository


@dataclass(frozen=True, slots=True)
class TimelineEvent:
    """What was seen, decided or done, and why: one line."""

    id: int
    t: Millis
    kind: str
    text: str


class SqlTimelineReader(SqlRepository):
    def list_events(self, incident: int) -> list[TimelineEvent]:
        rows = self._sql.query("SELECT id, t, kind, text FROM event WHERE incident = ? ORDER BY id", incident)
        return [TimelineEvent(*row) for row in rows]

    def list_events_after(self, event: int, *, run: int | None = None, kind: str | None = None) -> list[TimelineEvent]:
        filters = {"run": run, "kind": kind}
        wanted = {column: value for column, value in filters.items() if value is not None}
        conditions = "".join(f" AND {column} = ?" for column in wanted)
        sql = f"SELECT id, t, kind, text FROM event WHERE id > ?{conditions} ORDER BY id"  # noqa: S608 – our own columns
        return [TimelineEvent(*row) for row in self._sql.query(sql, event, *wanted.values())]

    def list_events_since(self, target: str, kind: str, since: Millis) -> list[TimelineEvent]:
        sql = "SELECT id, t, kind, text FROM event WHERE target = ? AND kind = ? AND t > ? ORDER BY id"
        return [TimelineEvent(*row) for row in self._sql.query(sql, target, kind, since)]

    def list_times(self, target: str, kind: str) -> list[Millis]:
        rows = self._sql.query("SELECT t FROM event WHERE target = ? AND kind = ? ORDER BY id", target, kind)
        return [row[0] for row in rows]

    def last_event_id(self) -> int:
        (row,) = self._sql.query("SELECT coalesce(max(id), 0) FROM event")
        return int(row[0])

    def last_event_kind(self, target: str, kinds: Collection[str]) -> str | None:
        placeholders = ", ".join("?" * len(kinds))
        sql = f"SELECT kind FROM event WHERE target = ? AND kind IN ({placeholders}) ORDER BY id DESC LIMIT 1"  # noqa: S608 – marks only
        row = self._sql.query_one(sql, target, *kinds)
        return None if row is None else str(row[0])


class SqlTimelineWriter(SqlRepository):
    def add_event(
        self,
        kind: str,
        text: str,
        now: Millis,
        *,
        incident: int | None = None,
        run: int | None = None,
        target: str | None = None,
    ) -> None:
        self._sql.execute(
            "INSERT INTO event (t, incident, run, target, kind, text) VALUES (?,?,?,?,?,?)",
            now,
            incident,
            run,
            target,
            kind,
            text,
        )
