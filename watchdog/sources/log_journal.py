"""The log of a unit in systemd's journal. An entry is a line, or several; the journal's time is when it was written."""

from __future__ import annotations

import shutil
import time
from typing import NamedTuple

from watchdog.core.errors import ActionError
from watchdog.core.model import Millis
from watchdog.core.protocols import Match
from watchdog.host import journalctl, systemctl
from watchdog.host.journalctl import JournalPosition
from watchdog.sources.log_reader import LogReading, LogResult, LogState, NotedLine, assemble, explain_events
from watchdog.sources.log_rules import LogRules

_NEWEST_ENTRIES = 1_000
"""In which last values are looked for at the first read; what `explain` looks at."""
_EXPLAINED_BYTES = 4 << 20
_MATCHING_SHARE = 0.4
"""Of the time of a read, what is left for the expressions when journalctl takes all of its own."""


class Unit(NamedTuple):
    name: str
    user: str | None
    """Whose own manager has it; None: the machine's."""

    @property
    def matches(self) -> tuple[str, ...]:
        return journalctl.unit_matches(self.name, self.user)


def follow_unit(
    unit: Unit, reading: LogReading, before: LogState, rules: LogRules, now: Millis, max_bytes: int, deadline: float
) -> tuple[LogResult, float]:
    """What came of all entries so far, and by how many seconds that lags behind. The first read begins at the end.

    `reading`: begun from `before`. `deadline`: monotonic. Raises ActionError.
    """
    matches = unit.matches
    if not before.usec:
        end = journalctl.newest_position(matches, deadline=deadline)
        if end is None:
            _ensure_known(unit)
            end = JournalPosition(None, now * 1_000)
        newest = journalctl.newest_entries(matches, _NEWEST_ENTRIES, max_bytes=max_bytes, deadline=deadline)
        reading.seed(assemble(rules, _lines(newest.entries), now))
        return _moved(reading.end(), end), 0.0
    position = JournalPosition(before.cursor, before.usec)
    asked_until = deadline - _MATCHING_SHARE * (deadline - time.monotonic())
    part = journalctl.entries_after(position, matches, max_bytes=max_bytes, deadline=asked_until)
    more = part.more
    for entry in part.entries:
        if time.monotonic() >= deadline:
            more = True
            break
        if entry.message is None:
            reading.add_cut()
        else:
            reading.add(entry.message, min(entry.t, now))
        position = entry.position
    lag = max(0.0, (now - position.usec // 1_000) / 1_000) if more else 0.0
    return _moved(reading.end(behind=more), position), lag


def explain_newest(unit: Unit, rules: LogRules, now: Millis, deadline: float) -> tuple[Match, ...]:
    """What the expressions find in the newest entries. Raises ActionError."""
    newest = journalctl.newest_entries(unit.matches, _NEWEST_ENTRIES, max_bytes=_EXPLAINED_BYTES, deadline=deadline)
    if not newest.entries:
        _ensure_known(unit)
    return explain_events(rules, assemble(rules, _lines(newest.entries), now), now)


def _lines(entries: list[journalctl.JournalEntry]) -> list[NotedLine]:
    return [NotedLine(entry.message, entry.t) for entry in entries if entry.message is not None]


def _moved(result: LogResult, position: JournalPosition) -> LogResult:
    result.state.cursor, result.state.usec = position
    return result


def _ensure_known(unit: Unit) -> None:
    """Of a unit that has never said anything nobody can tell whether its name is misspelt, but systemd."""
    if unit.user is not None or shutil.which("systemctl") is None:
        return
    try:
        status = systemctl.unit_status(unit.name)
    except ActionError:
        return  # its silence is no word about the unit
    if status.load == "not-found":
        raise ActionError(f"the journal has nothing of {unit.name}, and systemd does not know it — mend unit")
