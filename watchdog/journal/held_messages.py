"""What of the outbox waits because it is to: for the end of quiet hours, or for room under a limit."""

from __future__ import annotations

from collections.abc import Iterable

from watchdog.core.model import Millis
from watchdog.journal.sql import SqlRepository

WAITS_SINCE = "max(created, coalesce(held, 0))"
"""What waits because it is to is not late."""
_HOLDABLE = (
    "lane = 1 AND sent IS NULL AND failed IS NULL AND (relief = 0 OR ?)"
    " AND CASE WHEN ? > ? THEN held IS NOT ? ELSE held > ? END"
)
"""What is to be held until then, and is not; or is held on, though nothing holds it any more."""


def _hold_args(until: Millis, now: Millis, *, relief: bool) -> tuple[object, ...]:
    return relief, until, now, until, now


class SqlHeldMessageReader(SqlRepository):
    def count_waiting_incidents(self, channel: str, written_by: Millis) -> int:
        row = self._sql.query_one(
            "SELECT count(DISTINCT incident) FROM message WHERE channel = ? AND lane = 1 AND sent IS NULL"  # noqa: S608 - ours
            f" AND failed IS NULL AND {WAITS_SINCE} <= ?",
            *(channel, written_by),
        )
        return 0 if row is None else int(row[0])

    def find_counted(self, channel: str, n: int) -> Millis | None:
        row = self._sql.query_one(
            "SELECT counted FROM message WHERE channel = ? AND counted IS NOT NULL ORDER BY counted DESC LIMIT 1 OFFSET ?",
            *(channel, n - 1),
        )
        return None if row is None else int(row[0])

    def was_critical_since(self, channel: str, t: Millis) -> bool:
        row = self._sql.query_one(
            "SELECT 1 FROM message WHERE channel = ? AND severity = 'crit' AND sent >= ? LIMIT 1", channel, t
        )
        return row is not None

    def has_other_hold(self, channel: str, until: Millis, now: Millis, *, relief: bool) -> bool:
        row = self._sql.query_one(
            f"SELECT 1 FROM message WHERE channel = ? AND {_HOLDABLE} LIMIT 1",  # noqa: S608 – our own columns
            *(channel, *_hold_args(until, now, relief=relief)),
        )
        return row is not None


class SqlHeldMessageWriter(SqlRepository):
    def mark_folded(self, messages: Iterable[int], into: int, now: Millis) -> None:
        sql = "UPDATE message SET sent = ?, folded = ?, error = NULL WHERE id = ?"
        self._sql.execute_many(sql, [(now, into, each) for each in messages])

    def hold_channel(self, channel: str, until: Millis, now: Millis, *, relief: bool) -> None:
        self._sql.execute(
            f"UPDATE message SET held = max(?, ?) WHERE channel = ? AND {_HOLDABLE}",  # noqa: S608 – our own columns
            *(until, now, channel, *_hold_args(until, now, relief=relief)),
        )
