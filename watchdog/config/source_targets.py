"""Whose each source is: that the names exist, that none is the own of two targets, and that no two targets are judged by the same
series without anybody having said whose they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from watchdog.config.entries import Draft
from watchdog.config.lint import may_read, named_source, selectors
from watchdog.documents.problems import format_names, shorten, suggest
from watchdog.promql import PromqlError, parse
from watchdog.promql.parse.nodes import VectorSelector
from watchdog.rules import Rule

_HOST_PREFIX = "host_"
"""What the machine says of itself is everybody's, also where no source is known."""


def validate_source_targets(draft: Draft) -> None:
    """Reports what is wrong with the `sources` of targets; what is not said, where it must be."""
    target_by_source: dict[str, str] = {}
    for name, entry in draft.entries["targets"].items():
        for index, source in enumerate((entry.model and entry.model.sources) or ()):
            at = entry.node.value_position("sources", index)
            if draft.main is not None and draft.complete and source not in draft.entries["sources"]:
                entry.node.report(
                    at,
                    f"there is no source {shorten(source)}",
                    suggest(source, draft.entries["sources"]) or "define it under sources:",
                )
            if target_by_source.setdefault(source, name) != name:
                entry.node.report(
                    at,
                    f"the source {shorten(source)} is {shorten(target_by_source[source])}'s own already",
                    "name it in one target, or in none: then all see it",
                )
    _report_shared(draft, target_by_source)


class _Read(NamedTuple):
    """What a selector may read of sources that are nobody's own."""

    sources: frozenset[str]
    """``""``: any."""
    equal: frozenset[tuple[str, str]]
    """(label, value) pairs that it asks for."""

    def may_meet(self, other: _Read) -> bool:
        """Whether some series may be read by both."""
        theirs = dict(other.equal)
        if any(theirs.get(label, value) != value for label, value in self.equal):
            return False
        return "" in self.sources | other.sources or bool(self.sources & other.sources)


def _report_shared(draft: Draft, target_by_source: dict[str, str]) -> None:
    """Two targets that read the same metric of a source that may be either's, where one of them says nothing of its own."""
    silent = [name for name, target in draft.models("targets").items() if target.sources is None]
    if not silent or not draft.complete:
        return
    reads: dict[str, dict[str, set[_Read]]] = {}
    for target, selector in _selectors(draft):
        if selector.name:
            candidates = _shared_sources(draft, target_by_source, selector)
            equal = frozenset((each.label, each.value) for each in selector.matchers if each.op == "=")
            if candidates:
                reads.setdefault(selector.name, {}).setdefault(target, set()).add(_Read(frozenset(candidates), equal))
    for name in silent:
        shared: dict[str, set[str]] = {}
        for metric, by_target in reads.items():
            for other, theirs in by_target.items():
                mine = by_target.get(name, set())
                if other != name and any(one.may_meet(another) for one in mine for another in theirs):
                    shared.setdefault(metric, set()).add(other)
        if shared:
            metrics = sorted(shared)
            few = ", ".join(map(shorten, metrics[:3])) + (f" and {len(metrics) - 3} more" if len(metrics) > 3 else "")
            others = sorted(set().union(*shared.values()))
            node = draft.entries["targets"][name].node
            node.report(
                node.key_position(),
                f"{shorten(name)} and {format_names(others)} are judged by the same {few}, and nothing says "
                "whose they are",
                "say sources: [those that are its own] in each target; what no target names is seen by all, and one that has "
                "none of its own says sources: []",
            )


def _shared_sources(draft: Draft, target_by_source: dict[str, str], selector: VectorSelector) -> set[str]:
    """The sources that are nobody's and that a selector may read; ``""``: any. The machine's own are everybody's."""
    pinned = named_source(selector)
    if str(selector.name).startswith(_HOST_PREFIX):
        return set()
    if draft.main is None:
        return set() if pinned in target_by_source else {pinned or ""}
    return {
        name
        for name, source in draft.models("sources").items()
        if name not in target_by_source and source.type != "host" and may_read(selector, name)
    }


def _selectors(draft: Draft) -> Iterator[tuple[str, VectorSelector]]:
    """Each selector of what a target is judged by."""
    for entry in draft.entries["rules"].values():
        for target, rule in entry.variants.items():
            if target not in draft.entries["targets"]:
                continue  # reported where it stands
            for text in _texts(draft, rule, target):
                try:
                    yield from ((target, each) for each in selectors(parse(text)))
                except PromqlError:
                    continue  # reported where it stands


def _texts(draft: Draft, rule: Rule, target: str) -> Iterator[str]:
    kpi = draft.model_for("kpis", rule.kpi, target) if rule.kpi else None
    if kpi is not None:
        yield from (text for text in (kpi.expr, kpi.needs) if text is not None)
    for threshold in (rule.warn, rule.crit):
        if threshold is not None and threshold.expr is not None:
            yield threshold.expr
    if rule.only is not None and rule.only.when is not None:
        yield rule.only.when
