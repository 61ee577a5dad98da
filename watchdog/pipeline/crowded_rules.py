"""Tells people once of a rule that has had more label sets than are judged each for itself."""

from __future__ import annotations

from watchdog.core.model import Message, Millis
from watchdog.core.telemetry import log
from watchdog.journal.storage import Journal
from watchdog.pipeline.incident_manager import IncidentManager
from watchdog.rules import MAX_LABEL_SETS, Check

_LINES = (
    "those that are gone and ok make room for new ones; what finds no room is judged as one: bad if any of it is, else no data",
    "say each: with the labels that matter, or leave out the one that changes all the time (drop, max without)",
)


class CrowdedRules:
    """By rule and target."""

    def __init__(self) -> None:
        self._new: set[str] = set()
        self._told: set[str] = set()

    def note(self, check: Check) -> None:
        """This one has."""
        title = f"rule {check.rule} of {check.target} has had more than {MAX_LABEL_SETS:,} label sets"
        if title not in self._told:
            self._new.add(title)

    def tell_news(self, journal: Journal, manager: IncidentManager, now: Millis) -> None:
        """The log at each start, people once."""
        if not self._new:
            return
        with journal.transaction() as tx:
            for title in sorted(self._new):
                tx.on_commit(log.warning, "%s: %s", title, "; ".join(_LINES))
                if not journal.messages.was_enqueued_since(title, 0):
                    manager.notify(tx, Message("warn", title, _LINES), now)
        self._told |= self._new
        self._new = set()
