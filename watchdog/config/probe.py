"""`check --probe`: what the sources deliver at the moment, to hold expressions against."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from watchdog.config.doubts import expressions, said_source, selectors, warn
from watchdog.config.entries import Draft
from watchdog.config.problem import Problem, nearest, short
from watchdog.model import Labels, Memo, Millis, Source, SourceError
from watchdog.promql import PromqlError, can_be_many, expand, parse
from watchdog.promql.nodes import Selector


class Delivered(NamedTuple):
    """What each source said when it was asked."""

    series: Mapping[str, frozenset[tuple[str, Labels]]]
    """Source → metric and labels. A source that could not be read is missing here."""
    failed: Mapping[str, str]
    """Source → why it could not be read."""

    def metrics(self) -> dict[str, frozenset[str]]:
        return {source: frozenset(name for name, _ in series) for source, series in self.series.items()}


def ask(sources: Mapping[str, Source], clock: Callable[[], Millis], pause: Callable[[], None]) -> Delivered:
    """Reads each source twice, with `pause` in between: some figures are differences of two reads."""
    series: dict[str, frozenset[tuple[str, Labels]]] = {}
    failed: dict[str, str] = {}
    memos: dict[str, Memo] = {name: {} for name in sources}

    def read(name: str) -> set[tuple[str, Labels]] | str:
        try:
            return {(sample.name, sample.labels) for sample in sources[name].read(memos[name], clock())}
        except SourceError as error:
            return str(error)

    with ThreadPoolExecutor(min(8, len(sources)) or 1) as pool:
        first = dict(zip(sources, pool.map(read, sources), strict=True))
        if first:
            pause()
        second = dict(zip(sources, pool.map(read, sources), strict=True))
    for name in sources:
        seen = [each for each in (first[name], second[name]) if not isinstance(each, str)]
        if seen:
            series[name] = frozenset[tuple[str, Labels]]().union(*seen, {("up", ())})
        else:
            failed[name] = str(second[name])
    return Delivered(series, failed)


def unseen(draft: Draft, found: Delivered) -> Iterator[Problem]:
    """Metrics that no source delivered, and rules whose KPI is one number only as long as nobody looks."""
    every = {name for series in found.series.values() for name, _ in series}
    for entry, path, text in expressions(draft):
        try:
            expr = expand(parse(text), draft.recordings)
        except PromqlError:
            continue  # reported as a mistake
        for name, source in dict.fromkeys((each.name, said_source(each)) for each in selectors(expr)):
            asked = [source] if source is not None else list(draft.entries["sources"])
            if name is None or any(each not in found.series for each in asked):
                continue  # what cannot be read cannot be known
            if not any((name in {seen for seen, _ in found.series[each]}) for each in asked):
                who = f"the source {short(source)} does not deliver" if source is not None else "no source delivers"
                yield warn(entry.spot, entry.spot.value(*path), f"{who} {short(name)}", nearest(name, every))
    for entry in draft.entries["rules"].values():
        rule = entry.model
        kpi = None if rule is None or rule.kpi is None else draft.model("kpis", rule.kpi)
        if kpi is None or rule.each is not None or entry.name in draft.alerts:
            continue
        expr = expand(parse(kpi.expr), draft.recordings)
        if can_be_many(expr) and (most := max((_count(each, found) for each in selectors(expr)), default=0)) > 1:
            yield warn(
                entry.spot,
                entry.spot.value("kpi"),
                f"{rule.kpi} reads {most} series and the rule has no each: every label "
                "then tells one state from another",
                "say each: with those that should",
            )


def _count(selector: Selector, found: Delivered) -> int:
    return sum(
        name == selector.name
        and all(
            each.accepts(dict(labels).get(each.label, source if each.label == "source" else ""))
            for each in selector.matchers
        )
        for source, series in found.series.items()
        for name, labels in series
    )
