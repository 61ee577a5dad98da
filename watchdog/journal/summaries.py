"""Which daily and weekly summaries were told: none is told twice, and none is forgotten over a restart."""

from __future__ import annotations

from typing import NamedTuple

from watchdog.core.model import Millis
from watchdog.journal.sql import SqlRepository


class SummaryRecord(NamedTuple):
    """Of one kind, the last one that was due and is dealt with."""

    due: Millis
    told: Millis | None
    """Until when the last one that was told reaches; None: none was told yet."""


class SqlSummaryReader(SqlRepository):
    def find_last(self, kind: str) -> SummaryRecord | None:
        row = self._sql.query_one("SELECT due, told FROM summary WHERE kind = ?", kind)
        return None if row is None else SummaryRecord(row["due"], row["told"])


class SqlSummaryWriter(SqlRepository):
    def save_last(self, kind: str, record: SummaryRecord) -> None:
        self._sql.execute("INSERT OR REPLACE INTO summary (kind, due, told) VALUES (?,?,?)", kind, *record)
