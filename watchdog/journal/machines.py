"""The state machines of the thresholds, in the journal: which phase each stands in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from watchdog.core.model import Labels
from watchdog.journal.serialization import from_json, labels_from_json, to_json
from watchdog.journal.sql import SqlRepository

MachineKey = tuple[str, str, Labels, str]
"""(rule, level, labels, target)"""


class SqlMachineReader(SqlRepository):
    def list_machines(self) -> list[tuple[MachineKey, dict[str, Any]]]:
        rows = self._sql.query("SELECT rule, level, labels, target, state FROM machine")
        return [
            ((rule, level, labels_from_json(labels), target), from_json(state))
            for rule, level, labels, target, state in rows
        ]


class SqlMachineWriter(SqlRepository):
    def save_machines(self, states: Mapping[MachineKey, dict[str, Any] | None]) -> None:
        for (rule, level, labels, target), state in states.items():
            key = (rule, level, to_json(labels), target)
            if state is None:
                self._sql.execute(
                    "DELETE FROM machine WHERE rule = ? AND level = ? AND labels = ? AND target = ?", *key
                )
            else:
                self._sql.execute("INSERT OR REPLACE INTO machine VALUES (?,?,?,?,?)", *key, to_json(state))
