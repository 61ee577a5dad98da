"""Which metrics each source delivers: what its samples touch, and how old a value may be."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from watchdog.core.model import Millis
from watchdog.core.protocols import Source
from watchdog.promql import Expr, metric_names
from watchdog.sources.max_age import max_age_of
from watchdog.sources.series_limits import ALL_METRICS, Cut
from watchdog.tsdb.labels import SOURCE_LABEL, TARGET_LABEL

_MAX_KNOWN = 20_000
"""Metrics of a source that are remembered after they have ceased."""
_MAX_AGE_WITHOUT_SOURCES: Millis = 180_000


class SourceMetrics:
    """What was delivered last, and what was ever delivered."""

    def __init__(self, known: dict[str, set[str]]) -> None:
        """`known`: source → the metrics that are held of it already."""
        self._sources: Mapping[str, Source] = {}
        self._max_ages: dict[str, Millis] = {}
        self._target_by_source: Mapping[str, str] | None = None
        self._delivered: dict[str, set[str]] = {}
        self._cuts: dict[str, Cut] = {}
        self._down: set[str] = set()
        self._known = known  # how old a metric may be does not change when it ceases

    def apply_config(
        self, sources: Mapping[str, Source], target_by_source: Mapping[str, str] | None = None
    ) -> set[str]:
        """Swaps the sources, and whose own they are. Returns those that are there no more."""
        self._target_by_source = target_by_source
        removed = self._delivered.keys() - sources.keys()
        self._cuts = {source: cut for source, cut in self._cuts.items() if source in sources}
        self._sources = sources
        self._max_ages = {name: max_age_of(source) for name, source in sources.items()}
        self._delivered = {source: self._delivered.get(source, {"up"}) for source in sources}
        return removed

    def mark_down(self, source: str) -> None:
        """It could not be read."""
        self._down.add(source)

    def removed_sources(self, expressions: Collection[Expr]) -> set[str]:
        """Of those that hold what these read: the ones that are no longer configured."""
        return self._holding(expressions) - self._sources.keys()

    def down_sources(self, expressions: Collection[Expr]) -> set[str]:
        """Of those that hold what these read: the ones that could not be read the last time."""
        return self._holding(expressions) & self._down & self._sources.keys()

    def _holding(self, expressions: Collection[Expr]) -> set[str]:
        return {
            source
            for source, known in self._known.items()
            if "" in (reads := self._reads(expressions, source)) or not known.isdisjoint(reads)
        }

    def note(self, source: str, names: set[str]) -> bool:
        """What a source delivers now, `up` included; whether it is something else than the last time."""
        self._down.discard(source)
        if names == self._delivered.get(source):
            return False
        self._delivered[source] = names
        known = self._known.setdefault(source, set())
        if len(known) > _MAX_KNOWN:  # a source that makes up names all the time
            known.clear()
        known.update(names)
        return True

    def note_cut(self, source: str, cut: Cut | None) -> bool:
        """What of a source's last samples is missing; whether that is of other metrics than before."""
        before = self._cuts.pop(source, None)
        if cut is not None:
            self._cuts[source] = cut
        return (before and before.metrics) != (cut and cut.metrics)

    def cut_reason(self, expressions: Collection[Expr]) -> str | None:
        """Why these do not see all there is; None: they do."""
        for source, cut in self._cuts.items():
            reads = self._reads(expressions, source)
            if ALL_METRICS in cut.metrics:
                elsewhere: set[str] = set().union(*(known for name, known in self._known.items() if name != source))
                affected = self.touches(source, reads) or not elsewhere.issuperset(reads)
            else:
                affected = "" in reads or not cut.metrics.isdisjoint(reads)
            if affected and reads:
                return f"the source {source} is cut: {cut.text}"
        return None

    def touches(self, source: str, reads: Collection[str]) -> bool:
        """Whether a source's samples change what reads these metrics; ``""`` reads all."""
        return "" in reads or not self._delivered.get(source, set()).isdisjoint(reads)

    def staleness_limit(self, expressions: Collection[Expr]) -> Millis:
        """The longest `max_age` of the sources that deliver what these read; an age beyond which nothing is believed."""
        ages = [
            age
            for name, age in self._max_ages.items()
            if "" in (reads := self._reads(expressions, name)) or not self._known.get(name, set()).isdisjoint(reads)
        ]
        return max(ages or self._max_ages.values() or [_MAX_AGE_WITHOUT_SOURCES])

    def touched_by(self, source: str, expressions: Collection[Expr]) -> bool:
        """Whether a source's samples change what one of these says."""
        return self.touches(source, self._reads(expressions, source))

    def _reads(self, expressions: Collection[Expr], source: str) -> set[str]:
        """The metrics of a source that they may read; ``""``: all of them."""
        having = {SOURCE_LABEL: source}
        if self._target_by_source is not None:
            having[TARGET_LABEL] = self._target_by_source.get(source, "")
        return set[str]().union(*(metric_names(expr, having) for expr in expressions))
