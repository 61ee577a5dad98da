"""Whose journal it is, what it watches, and which metrics have ever come."""

from __future__ import annotations

from collections.abc import Iterable

from watchdog.core.model import JsonObject, Millis
from watchdog.journal.serialization import from_json, to_json
from watchdog.journal.sql import SqlRepository


class SqlProvenanceReader(SqlRepository):
    def find_configuration(self) -> str | None:
        row = self._sql.query_one("SELECT path FROM configuration")
        return None if row is None else row[0]

    def find_inventory(self) -> JsonObject | None:
        row = self._sql.query_one("SELECT inventory FROM watched")
        return None if row is None else from_json(row[0])

    def list_delivered(self) -> list[tuple[str, str]]:
        return [(row[0], row[1]) for row in self._sql.query("SELECT source, metric FROM delivered ORDER BY 1, 2")]


class SqlProvenanceWriter(SqlRepository):
    def save_configuration(self, path: str, now: Millis) -> None:
        self._sql.execute("INSERT OR REPLACE INTO configuration VALUES (1, ?, ?)", path, now)

    def save_inventory(self, inventory: JsonObject, now: Millis) -> None:
        self._sql.execute("INSERT OR REPLACE INTO watched VALUES (1, ?, ?)", to_json(inventory), now)

    def add_delivered(self, metrics: Iterable[tuple[str, str]], now: Millis) -> None:
        self._sql.execute_many(
            "INSERT OR IGNORE INTO delivered VALUES (?, ?, ?)", [(source, metric, now) for source, metric in metrics]
        )
