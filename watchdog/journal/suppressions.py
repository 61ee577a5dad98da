"""Holds and silences: what people ask to be left alone, by whom, why, and until when."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Literal

from watchdog.core.model import Millis
from watchdog.journal.sqlite import Journal

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


def add_suppression(
    db: sqlite3.Connection,
    kind: SuppressionKind,
    subject: str,
    until: Millis,
    who: str,
    now: Millis,
    *,
    halts: bool = False,
    until_well: bool = False,
) -> None:
    """The newest one of a subject counts; what stood before is over."""
    end_suppression(db, kind, subject, now)
    db.execute(
        "INSERT INTO stay (kind, subject, t, until, who, halts, until_well) VALUES (?,?,?,?,?,?,?)",
        (kind, subject, now, until, who, halts, until_well),
    )


def end_suppression(db: sqlite3.Connection, kind: SuppressionKind, subject: str, now: Millis) -> None:
    db.execute("UPDATE stay SET ended = ? WHERE kind = ? AND subject = ? AND ended IS NULL", (now, kind, subject))


def list_unended(journal: Journal) -> list[Suppression]:
    """All that nobody has ended; some may be past their time."""
    rows = journal.query(f"SELECT {_COLUMNS} FROM stay WHERE ended IS NULL ORDER BY id")  # noqa: S608 – our own columns
    return [
        Suppression(**{**dict(row), "halts": bool(row["halts"]), "until_well": bool(row["until_well"])}) for row in rows
    ]


def find_active(journal: Journal, kind: SuppressionKind, subject: str, now: Millis) -> Suppression | None:
    """The one that holds now."""
    matching = [
        suppression
        for suppression in list_unended(journal)
        if (suppression.kind, suppression.subject) == (kind, subject) and now < suppression.until
    ]
    return matching[-1] if matching else None
