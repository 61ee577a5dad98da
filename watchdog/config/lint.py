"""What is allowed and probably not meant: the warnings of `check`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from watchdog.config.entries import Draft, Entry
from watchdog.config.model_errors import ConfigNode
from watchdog.core.model import Millis
from watchdog.core.protocols import PushedSource, Source
from watchdog.core.units import format_duration, format_value, is_relative
from watchdog.documents.document import KeyPath
from watchdog.documents.problems import Position, Problem, one_line, shorten, suggest
from watchdog.plans.models import Halt, Repair, Verify, effective_verify
from watchdog.promql import Expr, PromqlError, is_never_true, may_return_multiple_series, parse, value_bounds
from watchdog.promql.functions.registry import range_function
from watchdog.promql.functions.static_bounds import UNBOUNDED, ValueBounds
from watchdog.promql.parse.nodes import (
    AggregateExpr,
    Node,
    NumberLiteral,
    RangeFunctionCall,
    Subquery,
    VectorSelector,
    child_nodes,
)
from watchdog.rules import Check, Rule


def lint(draft: Draft, checks: Iterable[Check]) -> Iterator[Problem]:
    """Every warning about what was read without a mistake."""
    intervals = SourceIntervals(draft.models("sources"))
    for entry, path, text in entry_expressions(draft):
        if (expr := _try_parse(text)) is not None:
            yield from _lint_expression(entry, path, expr, intervals, is_condition=path[-1] != "expr")
    yield from _lint_checks(draft, checks, intervals)
    yield from _lint_plans(draft, intervals)
    if draft.main is None:
        return
    top = ConfigNode(draft.main, ())
    for section, what in (
        ("channels", "there is no channel: messages go to the log"),
        ("sources", "there is no source: nothing can be judged"),
    ):
        if not draft.entries[section] and draft.main.complete:
            yield lint_warning(top, top.key_position(section), what, f"add one under {section}:")
    if not draft.entries["people"] and draft.main.complete:
        for entry in _valid_entries(draft, "channels"):
            for key in ("answers", "app_token", "app_token_file"):
                if entry.raw.get(key):
                    what = f"{key} is for people's answers, and nobody may answer"
                    yield lint_warning(entry.node, entry.node.key_position(key), what, "say who under people:")


def lint_warning(node: ConfigNode, position: Position, what: str, cure: str) -> Problem:
    return Problem(node.document.file, position.line, position.column, one_line(what), one_line(cure))


def entry_expressions(draft: Draft) -> Iterator[tuple[Entry, KeyPath, str]]:
    """Every PromQL text with its place."""
    for entry in _valid_entries(draft, "kpis"):
        for kpi in entry.distinct_models():
            yield entry, ("expr",), kpi.expr
            if kpi.needs is not None:
                yield entry, ("needs",), kpi.needs
    for entry, rule in ((each, rule) for each in _valid_entries(draft, "rules") for rule in each.distinct_models()):
        if rule.only is not None and rule.only.when is not None:
            yield entry, ("only", "when"), rule.only.when
        for level, threshold in (("warn", rule.warn), ("crit", rule.crit)):
            if threshold is not None and threshold.expr is not None:
                yield entry, (level, "expr"), threshold.expr
    for entry in _valid_entries(draft, "plans"):
        for plan in entry.distinct_models():
            for path, verify in verify_blocks(plan):
                yield from ((entry, (*path, "that", index), text) for index, text in enumerate(verify.that))


def verify_blocks(plan: Halt | Repair) -> Iterator[tuple[KeyPath, Verify]]:
    yield ("verify",), plan.verify
    for index, level in enumerate(plan.levels):
        if level.verify is not None:
            yield ("levels", index, "verify"), level.verify
    for index, stage in enumerate(plan.recover):
        if stage.verify is not None:
            yield ("recover", index, "verify"), stage.verify


def _valid_entries(draft: Draft, section: str) -> list[Entry]:
    return [entry for entry in draft.entries[section].values() if entry.model is not None]


def _try_parse(text: str) -> Expr | None:
    try:
        return parse(text)
    except PromqlError:
        return None  # reported as a mistake


def walk_nodes(node: Node) -> Iterator[Node]:
    yield node
    for child in child_nodes(node):
        yield from walk_nodes(child)


def selectors(expr: Expr) -> Iterator[VectorSelector]:
    for node in walk_nodes(expr.node):
        if isinstance(node, VectorSelector):
            yield node
        elif isinstance(node, RangeFunctionCall) and isinstance(node.selector, VectorSelector):
            yield node.selector


def named_source(selector: VectorSelector) -> str | None:
    """The source that a selector asks for by name."""
    return next((each.value for each in selector.matchers if each.label == "source" and each.op == "="), None)


def may_read(selector: VectorSelector, source: str, target_by_source: Mapping[str, str] | None = None) -> bool:
    """Whether a selector's matchers let it read series of that source."""
    labels = {"source": source}
    if target_by_source is not None:
        labels["target"] = target_by_source.get(source, "")
    return all(each.matches(labels[each.label]) for each in selector.matchers if each.label in labels)


class SourceIntervals:
    """How often what an expression reads can be new. Which source delivers a metric no file says, so where the expression
    does not say it either the fastest source counts: a warning must be true whoever delivers."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self.by_source: dict[str, Millis] = {
            name: 0 if isinstance(source, PushedSource) else source.every for name, source in sources.items()
        }
        """0: it is told, and nobody knows how soon it will be again."""

    def of_selector(self, selector: VectorSelector) -> Millis:
        """0 when it cannot be told."""
        return min((every for name, every in self.by_source.items() if may_read(selector, name)), default=0)

    def fastest(self, expr: Expr) -> Millis:
        """The interval of the fastest that is read."""
        return min((self.of_selector(each) for each in selectors(expr)), default=0)

    def slowest(self, expr: Expr) -> Millis:
        """What an evaluation waits for: the slowest that is read."""
        return max((self.of_selector(each) for each in selectors(expr)), default=0)


# ─ expressions ─


def _lint_expression(
    entry: Entry, path: KeyPath, expr: Expr, intervals: SourceIntervals, *, is_condition: bool
) -> Iterator[Problem]:
    config_node, position = entry.node, entry.node.value_position(*path)
    for selector in dict.fromkeys(selectors(expr)):
        name = named_source(selector)
        if name is not None and intervals.by_source and name not in intervals.by_source:
            yield lint_warning(
                config_node,
                position,
                f"{selector.name or 'a selector'} is asked of the source {shorten(name)}, which there is not",
                suggest(name, intervals.by_source),
            )
    fixed = [each for each in walk_nodes(expr.node) if _at_modifier(each) not in (None, "query")]
    if fixed:
        yield lint_warning(
            config_node,
            position,
            "@ reads from a fixed time: what it says never changes",
            "use offset, or leave @ away",
        )
    for node in walk_nodes(expr.node):
        if isinstance(node, RangeFunctionCall) and range_function(node.func).min_samples == 2:
            every = node.selector.step if isinstance(node.selector, Subquery) else intervals.of_selector(node.selector)
            if every and node.span < 2 * every:
                what = (
                    f"{node.func} needs two samples, and its window of {format_duration(node.span)} has no room for two"
                )
                what += f" that are {format_duration(every)} apart"
                yield lint_warning(config_node, position, what, f"read over {format_duration(4 * every)} or more")
    if is_condition and is_never_true(expr, intervals.fastest(expr)):
        yield lint_warning(
            config_node,
            position,
            "this can never be true" + _window_hint(expr, intervals),
            "lengthen the window, or ask for less",
        )


def _window_hint(expr: Expr, intervals: SourceIntervals) -> str:
    every = intervals.fastest(expr)
    spans = [node.span for node in walk_nodes(expr.node) if isinstance(node, RangeFunctionCall)]
    if not every or not spans:
        return ""
    return f": a window of {format_duration(max(spans))} holds at most {max(spans) // every} samples {format_duration(every)} apart"


def _at_modifier(node: Node) -> object:
    if isinstance(node, RangeFunctionCall):
        return node.selector.at
    return node.at if isinstance(node, VectorSelector) else None


# ─ rules ─


def _lint_checks(draft: Draft, checks: Iterable[Check], intervals: SourceIntervals) -> Iterator[Problem]:
    levels: dict[tuple[str, str], dict[str, Check]] = {}
    for check in checks:
        levels.setdefault((check.rule, check.target), {})[check.level] = check
    for (name, target), by_level in levels.items():
        entry = draft.entries["rules"].get(name)
        if entry is None or target not in entry.variants:
            continue
        rule: Rule = entry.variants[target]
        exprs = {level: _try_parse(level_expr(draft, rule, level) or "") for level in by_level}
        for level, check in by_level.items():
            expr = exprs[level]
            if expr is not None:
                yield from _lint_check(entry, rule, check, expr, intervals)
            if level == rule.if_missing.then and expr is not None:
                yield from _lint_cold_start(draft, entry, rule, expr)
        if len(by_level) == 2:
            yield from _lint_level_order(entry, by_level["warn"], by_level["crit"])
        first = next((expr for expr in exprs.values() if expr is not None), None)
        if name in draft.prometheus_rules:
            continue  # in Prometheus's format each label set has a state of its own, always
        if rule.each is None and first is not None and may_return_multiple_series(first) and _is_grouped(first):
            position = entry.node.value_position("kpi" if rule.kpi else "name")
            yield lint_warning(
                entry.node,
                position,
                "the expression makes several series and the rule has no each: every label then "
                "tells one state from another",
                "say each: with those that should",
            )


def _lint_cold_start(draft: Draft, entry: Entry, rule: Rule, expr: Expr) -> Iterator[Problem]:
    """Missing data that trips, over a window that is missing data itself until it is covered."""
    kpi = draft.model_for("kpis", rule.kpi, rule.target) if rule.kpi else None
    span = max((node.span for node in walk_nodes(expr.node) if isinstance(node, RangeFunctionCall)), default=0)
    if span > rule.if_missing.after and (kpi is None or (kpi.needs is None and kpi.since is None)):
        yield lint_warning(
            entry.node,
            entry.node.value_position("if_missing", "then"),
            f"it trips {format_duration(rule.if_missing.after)} after "
            f"the first start: a window of {format_duration(span)} is not covered until then",
            f"judge freshness by a KPI without a window, or say after: {format_duration(span).replace(' ', '')} or more",
        )


def level_expr(draft: Draft, rule: Rule, level: str) -> str | None:
    threshold = rule.warn if level == "warn" else rule.crit
    if threshold is not None and threshold.expr is not None:
        return threshold.expr
    kpi = draft.model_for("kpis", rule.kpi, rule.target) if rule.kpi else None
    return None if kpi is None else str(kpi.expr)


def _is_grouped(expr: Expr) -> bool:
    """Whether the expression itself asks for several series; a bare selector mostly finds one."""
    return any(
        isinstance(node, AggregateExpr)
        and (
            node.labels
            or node.without
            or node.op == "count_values"
            or (node.op in ("topk", "bottomk") and node.param != NumberLiteral(1.0))
        )
        for node in walk_nodes(expr.node)
    )


def _lint_check(entry: Entry, rule: Rule, check: Check, expr: Expr, intervals: SourceIntervals) -> Iterator[Problem]:
    threshold = rule.threshold(check.level)
    if threshold is None or check.operator is None:
        return
    node, every = entry.node, intervals.fastest(expr)
    if 0 < check.patience.duration < every:
        yield lint_warning(
            node,
            node.value_position(check.level, "for"),
            f"for is shorter than the {format_duration(every)} from one sample to the next",
            f"say for: {format_duration(2 * every).replace(' ', '')} or more, or 2 of 3",
        )
    if check.operator == "expr" or check.limit_unknown is not None:
        return
    value_range = value_bounds(expr, every)
    position = node.value_position(check.level, check.operator)
    values = (
        () if value_range == UNBOUNDED else (value_range.low, value_range.high, *_values_around(check, value_range))
    )
    if values and not any(map(check.is_bad, values)):
        yield lint_warning(
            node,
            position,
            f"this is never so: {check.kpi} lies between {_format_range(value_range, check)}",
            "say a limit that it can cross",
        )
    elif values and all(map(check.is_bad, values)):
        yield lint_warning(
            node,
            position,
            f"this is always so: {check.kpi} lies between {_format_range(value_range, check)}",
            "say a limit within that",
        )
    elif values and all(map(check.is_uncleared, values)):
        yield lint_warning(
            node,
            node.value_position(check.level, "clear"),
            f"it can never clear: {check.kpi} lies between {_format_range(value_range, check)}",
            _clear_hint(check),
        )
    elif check.unit in ("ratio", "percent") and check.operator in ("above", "at_least"):
        full = 1.0 if check.unit == "ratio" else 100.0
        if check.limit > full and value_range.high > full and not is_relative(getattr(threshold, check.operator)):
            yield lint_warning(
                node,
                position,
                f"{format_value(check.limit, check.unit)} is more than the whole: a share is seldom more than 100 %",
                "check the limit and the KPI's unit",
            )


def _values_around(check: Check, value_range: ValueBounds) -> list[float]:
    """Values that the KPI can have, beside, at and within the limits."""
    limits = [mark for mark in (check.limit, check.clear, check.low_limit, check.clear_low) if abs(mark) < float("inf")]
    near = [value for mark in limits for value in (mark, mark - abs(mark) / 1e6 - 1e-9, mark + abs(mark) / 1e6 + 1e-9)]
    near += [(one + other) / 2 for one in limits for other in limits]
    return [value for value in near if value_range.low <= value <= value_range.high]


def _format_range(value_range: ValueBounds, check: Check) -> str:
    return f"{format_value(value_range.low, check.unit)} and {format_value(value_range.high, check.unit)}"


def _clear_hint(check: Check) -> str:
    if check.operator in ("at_least", "at_most"):
        return f"{check.operator} clears beyond the limit itself, not at it: say a clear that it can reach"
    return "say a clear that it can reach"


def _lint_level_order(entry: Entry, warn_check: Check, crit_check: Check) -> Iterator[Problem]:
    up, down = ("above", "at_least"), ("below", "at_most")
    if warn_check.limit_unknown is not None or crit_check.limit_unknown is not None:
        return
    far = (
        (warn_check.operator in up and crit_check.operator in up and warn_check.limit > crit_check.limit)
        or (warn_check.operator in down and crit_check.operator in down and warn_check.limit < crit_check.limit)
        or (
            warn_check.operator == crit_check.operator == "outside"
            and (warn_check.limit > crit_check.limit or warn_check.low_limit < crit_check.low_limit)
        )
    )
    if far:
        yield lint_warning(
            entry.node,
            entry.node.value_position("warn", warn_check.operator or ""),
            f"warn is on the far side of crit: crit always comes first, at {format_value(crit_check.limit, crit_check.unit)}",
            "swap the two limits",
        )


# ─ plans ─


def _lint_plans(draft: Draft, intervals: SourceIntervals) -> Iterator[Problem]:
    started = _referenced_plans(draft)
    for name, entry in draft.entries["plans"].items():
        if name not in started:
            yield lint_warning(
                entry.node,
                entry.node.key_position(),
                f"nothing starts the plan {shorten(name)}",
                "name it in a rule's crit or as a plan's exhausted, or delete it",
            )
        for plan in entry.distinct_models():
            yield from _lint_give_up(entry, plan, intervals)


def _lint_give_up(entry: Entry, plan: Halt | Repair, intervals: SourceIntervals) -> Iterator[Problem]:
    """Levels that end before they can be proven."""
    for index, level in enumerate(plan.levels):
        verify = effective_verify(plan, level)
        position = entry.node.key_position("levels", index, "verify")
        least = verify.settle + verify.quiet
        slow = max(
            (intervals.slowest(expr) for text in verify.that if (expr := _try_parse(text)) is not None), default=0
        )
        if isinstance(plan, Repair) and verify.give_up < least:
            yield lint_warning(
                entry.node,
                position,
                f"level {shorten(level.name)} gives up before it can be proven: settle and quiet take "
                f"{format_duration(least)}",
                f"raise give_up above {format_duration(least)}",
            )
        elif verify.that and verify.give_up < verify.settle + slow:
            yield lint_warning(
                entry.node,
                position,
                f"level {shorten(level.name)} gives up before what it is proven by is read again: that "
                f"takes {format_duration(verify.settle + slow)}",
                f"raise give_up above {format_duration(verify.settle + 2 * slow)}",
            )


def _referenced_plans(draft: Draft) -> Collection[str]:
    """Plans that something names, also something that is not well."""
    named: set[object] = set()
    for entry in draft.entries["rules"].values():
        crit = entry.raw.get("crit") if isinstance(entry.raw, dict) else None
        named.add(crit.get("plan") if isinstance(crit, dict) and isinstance(crit.get("plan"), str) else None)
    for entry in draft.entries["plans"].values():
        last = entry.raw.get("exhausted") if isinstance(entry.raw, dict) else None
        named.add(last if isinstance(last, str) else None)
    return [name for name in draft.entries["plans"] if name in named]
