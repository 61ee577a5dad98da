"""What the first message of an incident shows on each channel: it is edited until the incident is over."""

from __future__ import annotations

from dataclasses import dataclass

from watchdog.core.model import Millis
from watchdog.journal.sql import SqlRepository


@dataclass(frozen=True, slots=True)
class Head:
    """The first message of one incident on one channel, once it was sent."""

    channel: str
    incident: int
    shown: str
    """What it is known to show, as whoever edits it wrote it down; empty: what it was sent as."""
    t: Millis
    """When that was edited last, or the message sent."""
    tries: int
    """Failed tries of the edit that is due."""
    next_try: Millis
    error: str | None


class SqlHeadReader(SqlRepository):
    def list_heads(self, channel: str | None = None) -> list[Head]:
        """Those that may still change."""
        rows = self._sql.query(
            "SELECT channel, incident, shown, t, tries, next_try, error FROM head"
            " WHERE final = 0 AND (? IS NULL OR channel = ?) ORDER BY incident, channel",
            channel,
            channel,
        )
        return [Head(*tuple(row)) for row in rows]


class SqlHeadWriter(SqlRepository):
    def begin_head(self, channel: str, incident: int, now: Millis) -> None:
        self._sql.execute("INSERT OR IGNORE INTO head (channel, incident, t) VALUES (?,?,?)", channel, incident, now)

    def note_edit(self, channel: str, incident: int, shown: str, now: Millis, *, final: bool) -> None:
        self._sql.execute(
            "UPDATE head SET shown = ?, t = ?, tries = 0, next_try = 0, error = NULL, final = ? WHERE channel = ? AND incident = ?",
            *(shown, now, final, channel, incident),
        )

    def postpone_edit(self, channel: str, incident: int, until: Millis, error: str) -> None:
        self._sql.execute(
            "UPDATE head SET tries = tries + 1, next_try = ?, error = ? WHERE channel = ? AND incident = ?",
            *(until, error, channel, incident),
        )

    def retry_heads(self, channel: str | None, now: Millis) -> None:
        self._sql.execute(
            "UPDATE head SET final = 0, tries = 0, next_try = ? WHERE error IS NOT NULL AND (? IS NULL OR channel = ?)"
            " AND incident IN (SELECT id FROM incident WHERE closed IS NULL)",
            *(now, channel, channel),
        )

    def end_head(self, channel: str, incident: int, error: str | None = None) -> None:
        self._sql.execute(
            "UPDATE head SET final = 1, error = ? WHERE channel = ? AND incident = ?", error, channel, incident
        )
