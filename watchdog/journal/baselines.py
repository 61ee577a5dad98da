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
    target: str = ""
    """Whose KPI it is; ``""``: of a journal from before each target had its own."""


class SqlBaselineReader(SqlRepository):
    def list_baselines(self) -> list[Baseline]:
        rows = self._sql.query(
            "SELECT kpi, kind, asked, value, t, samples, span, who, revision, target FROM baseline ORDER BY kpi, target, kind"
        )
        return [Baseline(*row) for row in rows]

    def list_points(self, kpi: str, asked: str, target: str) -> list[tuple[Millis, float]]:
        """Oldest first."""
        rows = self._sql.query(
            "SELECT t, v FROM baseline_point WHERE kpi = ? AND asked = ? AND target IN (?, '') ORDER BY t",
            kpi,
            asked,
            target,
        )
        return [(row[0], row[1]) for row in rows]

    def list_kpis_of_nobody(self) -> list[str]:
        """KPIs of which something stands there from before each target had its own."""
        rows = self._sql.query(
            "SELECT kpi FROM baseline WHERE target = '' UNION SELECT kpi FROM baseline_point WHERE target = '' ORDER BY kpi"
        )
        return [row[0] for row in rows]


class SqlBaselineWriter(SqlRepository):
    def save_baseline(self, baseline: Baseline) -> None:
        self._sql.execute(
            "INSERT OR REPLACE INTO baseline (kpi, kind, asked, value, t, samples, span, who, revision, target)"
            " VALUES (?,?,?,?,?,?,?,?,?,?)",
            baseline.kpi,
            baseline.kind,
            baseline.asked,
            baseline.value,
            baseline.t,
            baseline.samples,
            baseline.span,
            baseline.who,
            baseline.revision,
            baseline.target,
        )

    def rename_target(self, before: str, after: str, kpi: str | None = None) -> None:
        """What was a target's is another's now, which has none of its own. None: of all KPIs."""
        which = "target = ? AND (? IS NULL OR kpi = ?)"
        self._sql.execute(f"UPDATE OR IGNORE baseline SET target = ? WHERE {which}", after, before, kpi, kpi)  # noqa: S608 – our own
        self._sql.execute(f"UPDATE OR IGNORE baseline_point SET target = ? WHERE {which}", after, before, kpi, kpi)  # noqa: S608 – our own

    def save_points(
        self, kpi: str, asked: str, points: Iterable[tuple[Millis, float]], delete_before: Millis, target: str
    ) -> None:
        self._sql.execute(
            "DELETE FROM baseline_point WHERE kpi = ? AND target IN (?, '') AND (t < ? OR (asked != ? AND target = ?))",
            kpi,
            target,
            delete_before,
            asked,
            target,
        )
        self._sql.execute_many(
            "INSERT OR REPLACE INTO baseline_point VALUES (?,?,?,?,?)", [(kpi, target, t, asked, v) for t, v in points]
        )
