"""Tells people once that a source is cut, that is brings more than its limits allow, and once that it is whole again."""

from __future__ import annotations

from collections.abc import Collection

from watchdog.core.model import Message, Millis
from watchdog.journal.topics import source_of, source_topic
from watchdog.sources.series_limits import Cut

WHOLE_AFTER: Millis = 300_000
"""ms without anything left out, after which a source counts as whole: one that is cut now and then is told once."""


class CutReports:
    """Of all sources."""

    def __init__(self, open_topics: Collection[str] = (), now: Millis = 0) -> None:
        """`open_topics`: what an earlier process has told. What was cut is whole once it has been so for long from `now` on."""
        told = [source for topic in open_topics if (source := source_of(topic)) is not None]
        self._last_cut: dict[str, Millis] = dict.fromkeys(told, now)
        self._texts: dict[str, str] = {}
        """What is left out by the last read; without those of which nothing is."""
        self._told: set[str] = set(told)
        self._removed: set[str] = set()
        """Told of, and no file names them any more."""

    def note(self, source: str, cut: Cut | None, now: Millis) -> None:
        """What of a read was left out."""
        if cut is not None:
            self._last_cut[source], self._texts[source] = now, cut.text
        else:
            self._texts.pop(source, None)

    def shift(self, step: Millis) -> None:
        """The clock was set."""
        self._last_cut = {source: at + step for source, at in self._last_cut.items()}

    def forget(self, sources: Collection[str]) -> None:
        """Those that no file names any more."""
        for source in sources:
            for known in (self._last_cut, self._texts):
                known.pop(source, None)
            if source in self._told:
                self._told.discard(source)
                self._removed.add(source)

    def known(self) -> set[str]:
        """Sources that are cut, or of which people were told that they are."""
        return {*self._last_cut, *self._told}

    def current(self) -> dict[str, str]:
        """Source → what of its last read was left out, and why."""
        return dict(self._texts)

    def due(self, now: Millis) -> dict[str, Message]:
        """What people should hear, by source; the same until it is `mark_told`."""
        found = {}
        for source, last in self._last_cut.items():
            if source not in self._told:
                consequence = "rules that read what is cut have no data; what was known before is still kept"
                lines = (self._texts.get(source, "it is whole by now"), consequence)
                found[source] = Message("warn", f"source {source} is cut", lines, opens=(source_topic(source),))
            elif now - last >= WHOLE_AFTER:
                found[source] = Message("info", f"source {source} is whole again", ends=(source_topic(source),))
        for source in self._removed - found.keys():
            title = f"source {source}, which was cut, is no longer configured"
            found[source] = Message("info", title, ends=(source_topic(source),))
        return found

    def mark_told(self, sources: Collection[str]) -> None:
        for source in sources:
            if source in self._removed and source not in self._last_cut:
                self._removed.discard(source)
            elif source in self._told:
                self._told.discard(source)
                del self._last_cut[source]
            else:
                self._told.add(source)
