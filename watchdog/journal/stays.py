"""Holds and silences: what people ask to be left alone, by whom, why, and until when."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Literal

from watchdog.journal import Journal
from watchdog.model import Millis

Kind = Literal["hold", "silence"]


@dataclass(frozen=True, slots=True)
class Stay:
    id: int
    kind: Kind
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


_STAY = "id, kind, subject, t, until, who, halts, until_well"


def add(
    db: sqlite3.Connection,
    kind: Kind,
    subject: str,
    until: Millis,
    who: str,
    now: Millis,
    *,
    halts: bool = False,
    until_well: bool = False,
) -> None:
    """The newest one of a subject counts; what stood before is over."""
    end(db, kind, subject, now)
    db.execute(
        "INSERT INTO stay (kind, subject, t, until, who, halts, until_well) VALUES (?,?,?,?,?,?,?)",
        (kind, subject, now, until, who, halts, until_well),
    )


def end(db: sqlite3.Connection, kind: Kind, subject: str, now: Millis) -> None:
    db.execute("UPDATE stay SET ended = ? WHERE kind = ? AND subject = ? AND ended IS NULL", (now, kind, subject))


def unended(journal: Journal) -> list[Stay]:
    """All that nobody has ended; some may be past their time."""
    rows = journal.rows(f"SELECT {_STAY} FROM stay WHERE ended IS NULL ORDER BY id")  # noqa: S608 – our own columns
    return [Stay(**{**dict(row), "halts": bool(row["halts"]), "until_well": bool(row["until_well"])}) for row in rows]


def standing(journal: Journal, kind: Kind, subject: str, now: Millis) -> Stay | None:
    """The one that holds now."""
    mine = [stay for stay in unended(journal) if (stay.kind, stay.subject) == (kind, subject) and now < stay.until]
    return mine[-1] if mine else None
