"""Holds and silences: what people ask to be left alone, by whom, why, and until when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from watchdog.core.model import Millis
from watchdog.journal.sql import SqlRepository

SuppressionKind = Literal["hold", "silence"]


@dataclass(frozen=True, slots=True)
class Suppression:
    id: int
    kind: SuppressionKind
    subject: str
    """The target that is held, or the rule that is silenced."""
    t: Millis
    until: Millis
    who: str
    """And why: ``ann: the exchange is migrating``."""
    halts: bool
    """A hold that halts keep to as well."""
    until_well: bool
    """A silence that ends as soon as the rule is well again."""


_COLUMNS = "id, kind, subject, t, until, who, halts, until_well"


class SqlSuppressionReader(SqlRepository):
    def list_unended(self) -> list[Suppression]:
        rows = self._sql.query(f"SELECT {_COLUMNS} FROM stay WHERE ended IS NULL ORDER BY id")  # noqa: S608 – our own columns
        return [
            Suppression(**{**dict(row), "halts": bool(row["halts"]), "until_well": bool(row["until_well"])})
            for row in rows
        ]

    def find_active(self, kind: SuppressionKind, subject: str, now: Millis) -> Suppression | None:
        matching = [
            suppression
            for suppression in self.list_unended()
            if (suppression.kind, suppression.subject) == (kind, subject) and now < suppression.until
        ]
        return matching[-1] if matching else None


class SqlSuppressionWriter(SqlRepository):
    def add_suppression(
        self,
        kind: SuppressionKind,
        subject: str,
        until: Millis,
        who: str,
        now: Millis,
        *,
        halts: bool = False,
        until_well: bool = False,
    ) -> None:
        self.end_suppression(kind, subject, now)
        self._sql.execute(
            "INSERT INTO stay (kind, subject, t, until, who, halts, until_well) VALUES (?,?,?,?,?,?,?)",
            kind,
            subject,
            now,
            until,
            who,
            halts,
            until_well,
        )

    def end_suppression(self, kind: SuppressionKind, subject: str, now: Millis) -> None:
        self._sql.execute(
            "UPDATE stay SET ended = ? WHERE kind = ? AND subject = ? AND ended IS NULL", now, kind, subject
        )
