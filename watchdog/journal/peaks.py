"""Peaks of series that money depends on, in the journal."""

from __future__ import annotations

from watchdog.core.model import Millis
from watchdog.journal.sql import SqlRepository

HOUR: Millis = 3_600_000


class SqlPeakReader(SqlRepository):
    def list_peaks(self) -> list[tuple[str, Millis, float]]:
        return [(row[0], row[1], row[2]) for row in self._sql.query("SELECT series, t, v FROM peak ORDER BY t")]


class SqlPeakWriter(SqlRepository):
    def save_peak(self, series: str, side: str, t: Millis, v: float) -> None:
        self._sql.execute(
            "INSERT INTO peak VALUES (?,?,?,?,?) ON CONFLICT DO UPDATE SET t = excluded.t, v = excluded.v"
            " WHERE CASE side WHEN 'max' THEN excluded.v > v ELSE excluded.v < v END",
            series,
            side,
            t // HOUR,
            t,
            v,
        )
