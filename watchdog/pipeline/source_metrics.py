"""Which metrics each source delivers: what its samples touch, and how old a value may be."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from watchdog.core.model import Millis
from watchdog.core.protocols import Source


class SourceMetrics:
    """What was delivered last, and what was ever delivered."""

    def __init__(self, known: dict[str, set[str]]) -> None:
        """`known`: source → the metrics that are held of it already."""
        self._sources: Mapping[str, Source] = {}
        self._delivered: dict[str, set[str]] = {}
        self._known = known  # how old a metric may be does not change when it ceases

    def apply_config(self, sources: Mapping[str, Source]) -> set[str]:
        """Swaps the sources. Returns those that are there no more."""
        removed = self._delivered.keys() - sources.keys()
        self._sources = sources
        self._delivered = {source: self._delivered.get(source, {"up"}) for source in sources}
        return removed

    def note(self, source: str, names: set[str]) -> bool:
        """What a source delivers now, `up` included; whether it is something else than the last time."""
        if names == self._delivered.get(source):
            return False
        self._delivered[source] = names
        self._known.setdefault(source, set()).update(names)
        return True

    def touches(self, source: str, reads: Collection[str]) -> bool:
        """Whether a source's samples change what reads these metrics; ``""`` reads all."""
        return "" in reads or not self._delivered.get(source, set()).isdisjoint(reads)

    def staleness_limit(self, metrics: Collection[str]) -> Millis:
        """3 × the slowest source that delivers one of these; an age beyond which nothing is believed."""
        every = [
            source.every
            for name, source in self._sources.items()
            if "" in metrics or not self._known.get(name, set()).isdisjoint(metrics)
        ]
        return 3 * max(every or [source.every for source in self._sources.values()] or [60_000])
