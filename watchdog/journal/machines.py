"""The state machines of the thresholds, in the journal: which phase each stands in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from watchdog.core.model import Labels
from watchdog.journal.serialization import from_json, labels_from_json, to_json
from watchdog.journal.sql import SqlRepository

MachineKey = tuple[str, str, Labels]
"""(rule, level, labels)"""


class SqlMachineReader(SqlRepository):
    def list_machines(self) -> list[tuple[MachineKey, dict[str, Any]]]:
        rows = self._sql.query("SELECT rule, level, labels, state FROM machine")
        return [((rule, level, labels_from_json(labels)), from_json(state)) for rule, level, labels, state in rows]


class SqlMachineWriter(SqlRepository):
    def save_machines(self, states: Mapping[MachineKey, dict[str, Any] | None]) -> None:
        for (rule, level, labels), state in states.items():
            if state is None:
                self._sql.execute(
                    "DELETE FROM machine WHERE rule = ? AND level = ? AND labels = ?", rule, level, to_json(labels)
                )
            else:
                self._sql.execute(
                    "INSERT OR REPLACE INTO machine VALUES (?,?,?,?)", rule, level, to_json(labels), to_json(state)
                )
