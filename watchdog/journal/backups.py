"""What was saved ahead of changes: which file, what it was, where its bytes are, and what was made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from watchdog.core.model import JsonObject, Millis
from watchdog.journal.runs import StepId
from watchdog.journal.serialization import from_json, to_json
from watchdog.journal.sql import SqlRepository

RETENTION: Millis = 7 * 86_400_000
"""ms after a run's end for which its copies are kept."""


@dataclass(frozen=True, slots=True)
class FileBackup:
    run: int
    phase: str
    level: int
    path: str
    was: JsonObject
    copy: str | None
    now: JsonObject | None
    """What our last step left there; None while no step has ended that changed it."""


class SqlBackupReader(SqlRepository):
    def list_for_incident(self, incident: int) -> list[FileBackup]:
        rows = self._sql.query(
            "SELECT s.run, s.phase, s.level, s.path, s.was, s.copy, s.now FROM saved s JOIN run r ON r.id = s.run"
            " WHERE r.incident = ? AND s.undone IS NULL AND r.part != 'undo' AND s.now IS NOT NULL ORDER BY s.run,"
            " (SELECT min(t.started) FROM step t WHERE t.run = s.run AND t.phase = s.phase AND t.level = s.level), s.level,"
            " CASE s.phase WHEN 'before' THEN 0 WHEN 'level' THEN 1 WHEN 'proven' THEN 2 WHEN 'recover' THEN 3 ELSE 4 END",
            incident,
        )
        return [FileBackup(**{**dict(row), "was": from_json(row["was"]), "now": from_json(row["now"])}) for row in rows]

    def list_for_level(self, run: int, phase: str, level: int) -> list[FileBackup]:
        rows = self._sql.query(
            "SELECT run, phase, level, path, was, copy, now FROM saved WHERE run = ? AND phase = ? AND level = ?",
            run,
            phase,
            level,
        )
        return [FileBackup(**{**dict(row), "was": from_json(row["was"]), "now": from_json(row["now"])}) for row in rows]

    def list_expired_runs(self, now: Millis) -> list[int]:
        return [
            row[0]
            for row in self._sql.query(
                "SELECT DISTINCT s.run FROM saved s JOIN run r ON r.id = s.run WHERE r.ended < ?", now - RETENTION
            )
        ]


class SqlBackupWriter(SqlRepository):
    def add_backup(self, step: StepId, path: str, was: JsonObject, copy: str | None) -> None:
        self._sql.execute(
            "INSERT OR IGNORE INTO saved (run, phase, level, path, was, copy) VALUES (?,?,?,?,?,?)",
            step.run,
            step.phase,
            step.level,
            path,
            to_json(was),
            copy,
        )

    def record_result(self, run: int, incident: int | None, results: Mapping[str, JsonObject]) -> None:
        for path, state in results.items():
            self._sql.execute(
                "UPDATE saved SET now = ? WHERE path = ? AND undone IS NULL"
                " AND (run = ? OR run IN (SELECT id FROM run WHERE incident = ?))",
                to_json(state),
                path,
                run,
                incident,
            )

    def mark_undone(self, incident: int, now: Millis) -> None:
        self._sql.execute(
            "UPDATE saved SET undone = ? WHERE undone IS NULL AND run IN (SELECT id FROM run WHERE incident = ?)",
            now,
            incident,
        )
