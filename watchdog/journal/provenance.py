"""Whose journal it is, and which metrics have ever come."""

from __future__ import annotations

from collections.abc import Iterable

from watchdog.core.model import Millis
from watchdog.journal.sql import SqlRepository


class SqlProvenanceReader(SqlRepository):
    def find_configuration(self) -> str | None:
        row = self._sql.query_one("SELECT path FROM configuration")
        return None if row is None else row[0]

    def list_delivered(self) -> list[tuple[str, str]]:
        return [(row[0], row[1]) for row in self._sql.query("SELECT source, metric FROM delivered ORDER BY 1, 2")]


class SqlProvenanceWriter(SqlRepository):
    def save_configuration(self, path: str, now: Millis) -> None:
        self._sql.execute("INSERT OR REPLACE INTO configuration VALUES (1, ?, ?)", path, now)

    def add_delivered(self, metrics: Iterable[tuple[str, str]], now: Millis) -> None:
        self._sql.execute_many(
            "INSERT OR IGNORE INTO delivered VALUES (?, ?, ?)", [(source, metric, now) for source, metric in metrics]
        )
