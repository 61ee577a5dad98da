"""Baselines that no file says, in the journal: captured and learned ones, and the values they are learned from.

`asked` is a digest of what was evaluated: a baseline of another expression is none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from watchdog.core.model import Millis
from watchdog.journal.sql import SqlRepository

BaselineKind = Literal["captured", "learned"]


@dataclass(frozen=True, slots=True)
class Baseline:
    kpi: str
    kind: BaselineKind
    asked: str
    value: float
    t: Millis
    samples: int
    span: Millis
    """How long it was gathered for."""
    who: str
    revision: str | None
    """HEAD of the target's repository at that time."""


class SqlBaselineReader(SqlRepository):
    def list_baselines(self) -> list[Baseline]:
        rows = self._sql.query(
            "SELECT kpi, kind, asked, value, t, samples, span, who, revision FROM baseline ORDER BY kpi, kind"
        )
        return [Baseline(*row) for row in rows]

    def list_points(self, kpi: str, asked: str) -> list[tuple[Millis, float]]:
        rows = self._sql.query("SELECT t, v FROM baseline_point WHERE kpi = ? AND asked = ? ORDER BY t", kpi, asked)
        return [(row[0], row[1]) for row in rows]


class SqlBaselineWriter(SqlRepository):
    def save_baseline(self, baseline: Baseline) -> None:
        self._sql.execute(
            "INSERT OR REPLACE INTO baseline (kpi, kind, asked, value, t, samples, span, who, revision) VALUES (?,?,?,?,?,?,?,?,?)",
            baseline.kpi,
            baseline.kind,
            baseline.asked,
            baseline.value,
            baseline.t,
            baseline.samples,
            baseline.span,
            baseline.who,
            baseline.revision,
        )

    def save_points(self, kpi: str, asked: str, points: Iterable[tuple[Millis, float]], delete_before: Millis) -> None:
        self._sql.execute(
            "DELETE FROM baseline_point WHERE kpi = ? AND (t < ? OR asked != ?)", kpi, delete_before, asked
        )
        self._sql.execute_many(
            "INSERT OR REPLACE INTO baseline_point VALUES (?,?,?,?)", [(kpi, asked, t, v) for t, v in points]
        )
