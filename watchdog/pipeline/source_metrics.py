"""Which metrics each source delivers: what its samples touch, and how old a value may be."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from watchdog.core.model import Millis, Sample
from watchdog.core.protocols import Source
from watchdog.core.units import format_duration
from watchdog.pipeline.source_index import SourceIndex
from watchdog.promql import Expr, SelectedMetric, selected_metrics
from watchdog.sources.max_age import max_age_of
from watchdog.sources.series_limits import ALL_METRICS, Cut

_MAX_KNOWN = 20_000
"""Metrics of a source that are remembered after they have ceased."""
_MAX_EXPRESSIONS = 100_000
"""Of which it is remembered what they read."""
_AT_ONCE: Millis = 1_000
"""How far ahead a time may lie that is of now."""
_MAX_AGE_WITHOUT_SOURCES: Millis = 180_000


class SourceMetrics:
    """What was delivered last, and what was ever delivered."""

    def __init__(self, known: dict[str, set[str]]) -> None:
        """`known`: source → the metrics that are held of it already."""
        self._sources: Mapping[str, Source] = {}
        self._max_ages: dict[str, Millis] = {}
        self._index = SourceIndex()
        self._selected: dict[int, tuple[Expr, frozenset[SelectedMetric]]] = {}
        """By the id of an expression, which is held so that it stays its own."""
        self._delivered: dict[str, set[str]] = {}
        self._cuts: dict[str, Cut] = {}
        self._down: set[str] = set()
        self._ahead: dict[str, dict[str, Millis]] = {}
        """Source → metrics of its last samples of which all are of a time ahead, and by how much."""
        self._known = known  # how old a metric may be does not change when it ceases

    def apply_config(
        self, sources: Mapping[str, Source], target_by_source: Mapping[str, str] | None = None
    ) -> set[str]:
        """Swaps the sources, and whose own they are. Returns those that are there no more."""
        self._index, self._selected = SourceIndex(sources, target_by_source), {}
        removed = self._delivered.keys() - sources.keys()
        self._ahead = {source: ahead for source, ahead in self._ahead.items() if source in sources}
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
        return self._holding(expressions, self._known.keys() - self._sources.keys())

    def down_sources(self, expressions: Collection[Expr]) -> set[str]:
        """Of those that hold what these read: the ones that could not be read the last time."""
        return self._holding(expressions, self._down & self._sources.keys())

    def _holding(self, expressions: Collection[Expr], among: Collection[str]) -> set[str]:
        return {
            source
            for source in among
            if (known := self._known.get(source)) is not None
            and ("" in (reads := self._reads(expressions, source)) or not known.isdisjoint(reads))
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

    def note_times(self, source: str, samples: Collection[Sample], now: Millis) -> None:
        """Which of the metrics that a source has just delivered are of a time that has not come yet, all of each."""
        self._ahead.pop(source, None)
        if max((sample.t for sample in samples), default=now) <= now + _AT_ONCE:
            return
        least: dict[str, Millis] = {}
        for name, _, t, _ in samples:
            least[name] = min(t, least.get(name, t))
        self._ahead[source] = {name: t - now for name, t in least.items() if t > now + _AT_ONCE}

    def ahead_reason(self, expressions: Collection[Expr], max_age: Millis) -> str | None:
        """Why what these read is not of now: whoever delivers one of its metrics says that it is of a time ahead, by more than
        `max_age`. What is seen of it is as old as that."""
        for source, metrics in self._ahead.items():
            for name in self._reads(expressions, source) & metrics.keys():
                others = [other for other, known in self._delivered.items() if name in known and other in self._sources]
                if all(self._ahead.get(other, {}).get(name, 0) > max_age for other in others):
                    far = format_duration(metrics[name])
                    return (
                        f"its time is {far} ahead of this machine's clock ({name} of the source {source}) — "
                        "compare the clocks of both, and look at the unit of its time stamps"
                    )
        return None

    def touches(self, source: str, reads: Collection[str]) -> bool:
        """Whether a source's samples change what reads these metrics; ``""`` reads all."""
        return "" in reads or not self._delivered.get(source, set()).isdisjoint(reads)

    def staleness_limit(self, expressions: Collection[Expr]) -> Millis:
        """The longest `max_age` of the sources that deliver what these read; an age beyond which nothing is believed."""
        ages = [
            self._max_ages[name]
            for name in self.sources_of(self._selected_by(expressions))
            if "" in (reads := self._reads(expressions, name)) or not self._known.get(name, set()).isdisjoint(reads)
        ]
        return max(ages or self._max_ages.values() or [_MAX_AGE_WITHOUT_SOURCES])

    def touched_by(self, source: str, expressions: Collection[Expr]) -> bool:
        """Whether a source's samples change what one of these says."""
        return self.touches(source, self._reads(expressions, source))

    def touches_any(self, source: str, metrics: Collection[SelectedMetric]) -> bool:
        """The same of the metrics that an expression reads."""
        delivered = self._delivered.get(source, set())
        return any(
            (not each.name or each.name in delivered) and self._index.may_be_read_of(each, source) for each in metrics
        )

    def sources_of(self, metrics: Collection[SelectedMetric]) -> frozenset[str]:
        """Those of the configuration of which one of these may be read, whatever they deliver."""
        return frozenset[str]().union(*map(self._index.sources_of, metrics))

    def _reads(self, expressions: Collection[Expr], source: str) -> set[str]:
        """The metrics of a source that they may read; ``""``: all of them."""
        return {each.name for each in self._selected_by(expressions) if self._index.may_be_read_of(each, source)}

    def _selected_by(self, expressions: Collection[Expr]) -> frozenset[SelectedMetric]:
        return frozenset[SelectedMetric]().union(*map(self._selected_of, expressions))

    def _selected_of(self, expr: Expr) -> frozenset[SelectedMetric]:
        known = self._selected.get(id(expr))
        if known is None:
            if len(self._selected) >= _MAX_EXPRESSIONS:
                self._selected.clear()
            known = self._selected[id(expr)] = expr, selected_metrics(expr)
        return known[1]
