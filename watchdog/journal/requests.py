"""What people asked for on the command line, in the journal, and how it was answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from watchdog.core.model import Millis
from watchdog.journal.serialization import from_json, to_json
from watchdog.journal.sql import SqlRepository

RELOAD = "reload"
"""Kind of a request: the files are read now. `yes` among its args: also where something is taken away that a reload keeps."""
SAVE_HISTORY = "save_history"
"""Kind of a request: what is in memory alone is wanted in series.db. Answered with the time (ms) up to which it is."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a person asked for on the command line."""

    id: int
    t: Millis
    kind: str
    args: dict[str, Any]
    by: str


class SqlRequestReader(SqlRepository):
    def list_unanswered(self) -> list[Request]:
        rows = self._sql.query("SELECT id, t, kind, args, by FROM request WHERE answered IS NULL ORDER BY id")
        return [Request(row[0], row[1], row[2], from_json(row[3]), row[4]) for row in rows]

    def find_answer(self, request: int) -> tuple[bool, str] | None:
        row = self._sql.query_one("SELECT ok, answer FROM request WHERE id = ? AND answered IS NOT NULL", request)
        return None if row is None else (bool(row[0]), row[1])


class SqlRequestWriter(SqlRepository):
    def add_request(self, kind: str, args: dict[str, Any], by: str, now: Millis) -> int:
        return self._sql.insert(
            "INSERT INTO request (t, kind, args, by) VALUES (?,?,?,?) RETURNING id", now, kind, to_json(args), by
        )

    def answer_request(self, request: int, ok: bool, text: str, now: Millis) -> None:
        self._sql.execute("UPDATE request SET answered = ?, ok = ?, answer = ? WHERE id = ?", now, ok, text, request)
