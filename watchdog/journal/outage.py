"""When the journal takes nothing for a while: since when, why, and what a person can do about it."""

from __future__ import annotations

import sqlite3

PATIENCE = 10.0
"""Seconds after which people are told, past the journal."""


def cure(error: Exception) -> str:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return "end the program that holds it, such as a sqlite3 shell"
    if code == sqlite3.SQLITE_FULL:
        return "make room on its disk"
    return "look at its disk: it may be broken, or mounted read-only"


class Outage:
    """Nothing is done that cannot be written down, so a long one is as bad as no watchdog at all."""

    def __init__(self) -> None:
        self.why: str | None = None
        self._since = 0.0
        self._told = False

    def meets(self, error: Exception, steady: float) -> bool:
        """A write failed; True when it is the first one. `steady`: seconds on a clock that nobody sets."""
        first = self.why is None
        if first:
            self._since = steady
        self.why = f"{error} — {cure(error)}"
        return first

    def lasts(self, steady: float) -> float:
        """Seconds; 0 when there is none."""
        return 0.0 if self.why is None else steady - self._since

    def due(self, steady: float) -> bool:
        """Whether people are to be told of it now; once an outage."""
        due = not self._told and self.lasts(steady) >= PATIENCE
        self._told |= due
        return due

    def ends(self) -> bool:
        """A write went through; True when people had been told that none does."""
        told, self.why, self._told = self._told, None, False
        return told
