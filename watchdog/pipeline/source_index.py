"""Which sources a metric may be read of, by what an expression says of ``source`` and ``target``.

Found once for each way to say it: a thousand rules about a thousand sources are a million questions otherwise, and they are
asked again whenever a source brings something new.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from watchdog.promql import SelectedMetric
from watchdog.tsdb.labels import SOURCE_LABEL, TARGET_LABEL, Matcher


class SourceIndex:
    """The sources of a configuration, and whose own they are."""

    def __init__(self, sources: Iterable[str] = (), target_by_source: Mapping[str, str] | None = None) -> None:
        """`target_by_source`: source → the target whose own it is; None: no target says so."""
        self._sources = frozenset(sources)
        self._target_by_source = target_by_source
        self._found: dict[tuple[Matcher, ...], frozenset[str]] = {(): self._sources}

    def labels_of(self, source: str) -> dict[str, str]:
        """What is known of the labels of its series, as the configuration has it."""
        if self._target_by_source is None:
            return {SOURCE_LABEL: source}
        return {SOURCE_LABEL: source, TARGET_LABEL: self._target_by_source.get(source, "")}

    def sources_of(self, metric: SelectedMetric) -> frozenset[str]:
        """Those of which its own matchers let it be read."""
        found = self._found.get(metric.matchers)
        if found is None:
            named = [each.value for each in metric.matchers if each.label == SOURCE_LABEL and each.op == "="]
            among = self._sources.intersection(named[:1]) if named else self._sources
            found = frozenset(each for each in among if metric.may_be_read_of(self.labels_of(each)))
            self._found[metric.matchers] = found
        return found

    def may_be_read_of(self, metric: SelectedMetric, source: str) -> bool:
        """The same of one source, also of one that is no longer configured."""
        if source in self._sources:
            return source in self.sources_of(metric)
        return metric.may_be_read_of(self.labels_of(source))
