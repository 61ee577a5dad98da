"""`check --probe`: what the sources deliver at the moment, to hold expressions against."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import NamedTuple

from watchdog.config.entries import Draft
from watchdog.config.identity_labels import lint_identity_labels
from watchdog.config.lint import entry_expressions, lint_warning, named_source, selectors
from watchdog.core.errors import SourceError
from watchdog.core.model import Labels, Millis
from watchdog.core.protocols import PulledSource, Source, SourceCache, SourceState
from watchdog.documents.problems import Problem, shorten, suggest
from watchdog.promql import PromqlError, expand_recordings, may_return_multiple_series, parse
from watchdog.promql.parse.nodes import VectorSelector
from watchdog.sources.relabel import Relabeling

Series = frozenset[tuple[str, Labels]]
"""Metric and labels of each."""


class ProbeResult(NamedTuple):
    """What each source said when it was asked."""

    series: Mapping[str, Series]
    """Source → metric and labels. A source that could not be read is missing here."""
    failed: Mapping[str, str]
    """Source → why it could not be read."""

    def metrics(self) -> dict[str, frozenset[str]]:
        return {source: frozenset(name for name, _ in series) for source, series in self.series.items()}


def probe_sources(
    sources: Mapping[str, Source],
    clock: Callable[[], Millis],
    pause: Callable[[], None],
    ask_about: Callable[[Sequence[str]], Mapping[str, Series | str]] = lambda _: {},
) -> ProbeResult:
    """Reads each source as often as it takes to see all its series, with `pause` in between.

    `ask_about`: what came to those that listen, by name, or why nobody knows; none is asked about where there is none.
    """
    pulled = {name: source for name, source in sources.items() if isinstance(source, PulledSource)}
    states: dict[str, SourceState] = {name: {} for name in pulled}
    caches: dict[str, SourceCache] = {name: {} for name in pulled}

    def read(name: str) -> set[tuple[str, Labels]] | str:
        try:
            found = pulled[name].read(states[name], caches[name], clock())
            return {(each.name, each.labels) for each in Relabeling.of(pulled[name]).apply(found)}
        except SourceError as error:
            return str(error)

    series: dict[str, set[tuple[str, Labels]]] = {}
    told = [name for name in sources if name not in pulled]
    failed = dict.fromkeys(told, "it listens to what others send — only the daemon can do that")
    for name, known in (ask_about(told) if told else {}).items():
        if isinstance(known, str):
            failed[name] = known
        else:
            series[name] = {("up", ()), *known}
    with ThreadPoolExecutor(len(pulled) or 1) as pool:
        for number in range(max((source.reads_needed for source in pulled.values()), default=0)):
            if number:
                pause()
            asked = [name for name, source in pulled.items() if number < source.reads_needed]
            reads = [pool.submit(copy_context().run, read, name) for name in asked]  # as whom: `owner_executor`
            for name, result in zip(asked, (each.result() for each in reads), strict=True):
                if isinstance(result, str):
                    failed[name] = result
                else:
                    series.setdefault(name, {("up", ())}).update(result)
    return ProbeResult(
        {name: frozenset(found) for name, found in series.items()},
        {name: failed[name] for name in sources if name in failed and name not in series},
    )


def lint_probe(draft: Draft, probe_result: ProbeResult) -> Iterator[Problem]:
    """Metrics that no source delivered, and rules whose KPI is one number only as long as nobody looks."""
    every = {name for series in probe_result.series.values() for name, _ in series}
    for entry, path, text in entry_expressions(draft):
        try:
            expr = expand_recordings(parse(text), draft.recordings)
        except PromqlError:
            continue  # reported as a mistake
        for name, source in dict.fromkeys((each.name, named_source(each)) for each in selectors(expr)):
            source_names = [source] if source is not None else list(draft.entries["sources"])
            if name is None or any(each not in probe_result.series for each in source_names):
                continue  # what cannot be read cannot be known
            if not any((name in {seen for seen, _ in probe_result.series[each]}) for each in source_names):
                who = f"the source {shorten(source)} does not deliver" if source is not None else "no source delivers"
                yield lint_warning(
                    entry.node, entry.node.value_position(*path), f"{who} {shorten(name)}", suggest(name, every)
                )
    for entry in draft.entries["rules"].values():
        rule = entry.model
        kpi = None if rule is None or rule.kpi is None else draft.model("kpis", rule.kpi)
        if kpi is None or rule.each is not None or entry.name in draft.prometheus_rules:
            continue
        expr = expand_recordings(parse(kpi.expr), draft.recordings)
        if (
            may_return_multiple_series(expr)
            and (most := max((_count_series(each, probe_result) for each in selectors(expr)), default=0)) > 1
        ):
            yield lint_warning(
                entry.node,
                entry.node.value_position("kpi"),
                f"{rule.kpi} reads {most} series and the rule has no each: every label "
                "then tells one state from another",
                "say each: with those that should",
            )

    yield from lint_identity_labels(
        draft, lambda selector: {name for labels in _series_of(selector, probe_result) for name, _ in labels}
    )


def _count_series(selector: VectorSelector, probe_result: ProbeResult) -> int:
    return sum(1 for _ in _series_of(selector, probe_result))


def _series_of(selector: VectorSelector, probe_result: ProbeResult) -> Iterator[Labels]:
    """The labels of each series that it finds."""
    for source, series in probe_result.series.items():
        for name, labels in series:
            known = {"source": source, **dict(labels)}
            if name == selector.name and all(each.matches(known.get(each.label, "")) for each in selector.matchers):
                yield labels
