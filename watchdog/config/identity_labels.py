"""Labels that a plan itself changes (`version`, `pid`): what tripped is not seen again, and cannot be seen to be well."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

from watchdog.config.entries import Draft
from watchdog.config.lint import level_expr, lint_warning, selectors
from watchdog.documents.problems import Problem, format_names, shorten
from watchdog.promql import Expr, PromqlError, expand_recordings, parse, result_labels
from watchdog.promql.parse.nodes import VectorSelector
from watchdog.rules import Rule, is_identity_label
from watchdog.tsdb.labels import METRIC_NAME_LABEL

LabelsOf = Callable[[VectorSelector], Collection[str]]


def lint_identity_labels(draft: Draft, labels_of: LabelsOf | None = None) -> Iterator[Problem]:
    """Of rules that start a plan: labels that tell their states apart, or choose what they see, and change with a deployment.

    `labels_of`: what a selector's series have, if that is known; only what the files do not say is then told.
    """
    for entry in draft.entries["rules"].values():
        if entry.model is None or entry.name in draft.prometheus_rules:
            continue
        for rule in entry.variants.values():
            if (found := _doubt(draft, rule, labels_of)) is not None:
                path = ("each",) if rule.each is not None else ("kpi",) if rule.kpi is not None else ("crit", "expr")
                yield lint_warning(entry.node, entry.node.value_position(*path), *found)
                break


def _doubt(draft: Draft, rule: Rule, labels_of: LabelsOf | None) -> tuple[str, str] | None:
    """(what, cure). With `labels_of`: only what the files do not say themselves."""
    if rule.crit is None or rule.crit.plan is None or (expr := _expression(draft, rule)) is None:
        return None
    changes = (
        f"that changes when {shorten(rule.crit.plan)} deploys or restarts the bot: what tripped is then not seen again"
    )
    fixed = _identities(name for each in selectors(expr) for name in _fixed_labels(each))
    told = [] if rule.crit.expr is not None else _identities(rule.each or result_labels(expr.node, _matched_labels))
    if labels_of is not None:
        if fixed or told or rule.each is not None or rule.crit.expr is not None:
            return None
        told = _identities(result_labels(expr.node, labels_of))
    if fixed:
        return f"it sees nothing but a certain {format_names(fixed)}, and {changes}", "leave it out of the selector"
    if not told:
        return None
    what = f"{format_names(told)} {'tells' if len(told) == 1 else 'tell'} one state from another, and {changes}"
    return what, "say each: with the labels that stay, or each: [] for none"


def _expression(draft: Draft, rule: Rule) -> Expr | None:
    text = level_expr(draft, rule, "crit")
    try:
        return None if text is None else expand_recordings(parse(text), draft.recordings)
    except PromqlError:
        return None  # reported as a mistake


def _identities(names: Iterable[str]) -> list[str]:
    return sorted({name for name in names if is_identity_label(name)})


def _fixed_labels(selector: VectorSelector) -> Iterator[str]:
    return (each.label for each in selector.matchers if each.op == "=" and each.value)


def _matched_labels(selector: VectorSelector) -> Collection[str]:
    return {each.label for each in selector.matchers if each.label != METRIC_NAME_LABEL and not each.matches("")}
