"""What is allowed and probably not meant: the warnings of `check`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from watchdog.actions.plan import Halt, Repair, Verify, verify_of
from watchdog.config.document import Loc
from watchdog.config.entries import Draft, Entry
from watchdog.config.explain import Spot
from watchdog.config.problem import Place, Problem, nearest, one_line, short
from watchdog.model import Millis
from watchdog.promql import Expr, PromqlError, bounds, can_be_many, never, parse
from watchdog.promql.nodes import Aggregate, Node, Number, RangeCall, Selector, Subquery, children
from watchdog.promql.reach import ANY, Bounds
from watchdog.rules import Check, Rule
from watchdog.units import is_relative, show, show_duration

TWO = ("rate", "increase", "delta", "irate", "idelta", "deriv", "predict_linear")
"""Functions that need two samples in their window."""


def doubts(draft: Draft, checks: Iterable[Check]) -> Iterator[Problem]:
    """Every warning about what was read without a mistake."""
    known = Intervals(draft.models("sources"))
    for entry, path, text in expressions(draft):
        if (expr := _parsed(text)) is not None:
            yield from _expression(entry, path, expr, known, is_condition=path[-1] != "expr")
    yield from _checks(draft, checks, known)
    yield from _plans(draft, known)
    if draft.main is None:
        return
    top = Spot(draft.main, ())
    for section, what in (
        ("channels", "there is no channel: messages go to the log"),
        ("sources", "there is no source: nothing can be judged"),
    ):
        if not draft.entries[section] and draft.main.whole:
            yield warn(top, top.key(section), what, f"add one under {section}:")


def warn(spot: Spot, place: Place, what: str, cure: str) -> Problem:
    return Problem(spot.document.file, place.line, place.column, one_line(what), one_line(cure))


def expressions(draft: Draft) -> Iterator[tuple[Entry, Loc, str]]:
    """Every PromQL text with its place."""
    for entry in _well(draft, "kpis"):
        yield entry, ("expr",), entry.model.expr
        if entry.model.needs is not None:
            yield entry, ("needs",), entry.model.needs
    for entry in _well(draft, "rules"):
        rule: Rule = entry.model
        if rule.only is not None and rule.only.when is not None:
            yield entry, ("only", "when"), rule.only.when
        for level, threshold in (("warn", rule.warn), ("crit", rule.crit)):
            if threshold is not None and threshold.expr is not None:
                yield entry, (level, "expr"), threshold.expr
    for entry in _well(draft, "plans"):
        for path, verify in verifies(entry.model):
            yield from ((entry, (*path, "that", index), text) for index, text in enumerate(verify.that))


def verifies(plan: Halt | Repair) -> Iterator[tuple[Loc, Verify]]:
    yield ("verify",), plan.verify
    for index, level in enumerate(plan.levels):
        if level.verify is not None:
            yield ("levels", index, "verify"), level.verify
    for index, stage in enumerate(plan.recover):
        if stage.verify is not None:
            yield ("recover", index, "verify"), stage.verify


def _well(draft: Draft, section: str) -> list[Entry]:
    return [entry for entry in draft.entries[section].values() if entry.model is not None]


def _parsed(text: str) -> Expr | None:
    try:
        return parse(text)
    except PromqlError:
        return None  # reported as a mistake


def nodes(node: Node) -> Iterator[Node]:
    yield node
    for child in children(node):
        yield from nodes(child)


def selectors(expr: Expr) -> Iterator[Selector]:
    for node in nodes(expr.node):
        if isinstance(node, Selector):
            yield node
        elif isinstance(node, RangeCall) and isinstance(node.selector, Selector):
            yield node.selector


def said_source(selector: Selector) -> str | None:
    """The source that a selector asks for by name."""
    return next((each.value for each in selector.matchers if each.label == "source" and each.op == "="), None)


class Intervals:
    """How often what an expression reads can be new. Which source delivers a metric no file says, so where the expression
    does not say it either the fastest source counts: a warning must be true whoever delivers."""

    def __init__(self, sources: Mapping[str, Any]) -> None:
        self.every: dict[str, Millis] = {
            name: every for name, source in sources.items() if (every := getattr(source, "every", None)) is not None
        }
        self.whole = len(self.every) == len(sources)

    def of(self, selector: Selector) -> Millis:
        """0 when it cannot be told."""
        name = said_source(selector)
        if name is not None:
            return self.every.get(name, 0)
        return min(self.every.values(), default=0) if self.whole else 0

    def least(self, expr: Expr) -> Millis:
        """The interval of the fastest that is read."""
        return min((self.of(each) for each in selectors(expr)), default=0)

    def slowest(self, expr: Expr) -> Millis:
        """What an evaluation waits for: the slowest that is read."""
        return max((self.of(each) for each in selectors(expr)), default=0)


# ─ expressions ─


def _expression(entry: Entry, path: Loc, expr: Expr, known: Intervals, *, is_condition: bool) -> Iterator[Problem]:
    spot, place = entry.spot, entry.spot.value(*path)
    for selector in dict.fromkeys(selectors(expr)):
        name = said_source(selector)
        if name is not None and known.every and name not in known.every and known.whole:
            yield warn(
                spot,
                place,
                f"{selector.name or 'a selector'} is asked of the source {short(name)}, which there is not",
                nearest(name, known.every),
            )
    fixed = [each for each in nodes(expr.node) if _at(each) not in (None, "query")]
    if fixed:
        yield warn(spot, place, "@ reads from a fixed time: what it says never changes", "use offset, or leave @ away")
    for node in nodes(expr.node):
        if isinstance(node, RangeCall) and node.func in TWO:
            every = node.selector.step if isinstance(node.selector, Subquery) else known.of(node.selector)
            if every and node.span < 2 * every:
                what = (
                    f"{node.func} needs two samples, and its window of {show_duration(node.span)} has no room for two"
                )
                what += f" that are {show_duration(every)} apart"
                yield warn(spot, place, what, f"read over {show_duration(4 * every)} or more")
    if is_condition and never(expr, known.least(expr)):
        yield warn(spot, place, "this can never be true" + _room(expr, known), "lengthen the window, or ask for less")


def _room(expr: Expr, known: Intervals) -> str:
    every = known.least(expr)
    spans = [node.span for node in nodes(expr.node) if isinstance(node, RangeCall)]
    if not every or not spans:
        return ""
    return f": a window of {show_duration(max(spans))} holds at most {max(spans) // every} samples {show_duration(every)} apart"


def _at(node: Node) -> object:
    if isinstance(node, RangeCall):
        return node.selector.at
    return node.at if isinstance(node, Selector) else None


# ─ rules ─


def _checks(draft: Draft, checks: Iterable[Check], known: Intervals) -> Iterator[Problem]:
    levels: dict[str, dict[str, Check]] = {}
    for check in checks:
        levels.setdefault(check.rule, {})[check.level] = check
    for name, mine in levels.items():
        entry = draft.entries["rules"].get(name)
        if entry is None or entry.model is None:
            continue
        rule: Rule = entry.model
        exprs = {level: _parsed(_text(draft, rule, level) or "") for level in mine}
        for level, check in mine.items():
            expr = exprs[level]
            if expr is not None:
                yield from _check(entry, rule, check, expr, known)
            if level == rule.if_missing.then and expr is not None:
                yield from _cold(draft, entry, rule, expr)
        if len(mine) == 2:
            yield from _far_side(entry, mine["warn"], mine["crit"])
        first = next((expr for expr in exprs.values() if expr is not None), None)
        if name in draft.alerts:
            continue  # in Prometheus's format each label set has a state of its own, always
        if rule.each is None and first is not None and can_be_many(first) and _grouped(first):
            place = entry.spot.value("kpi" if rule.kpi else "name")
            yield warn(
                entry.spot,
                place,
                "the expression makes several series and the rule has no each: every label then "
                "tells one state from another",
                "say each: with those that should",
            )


def _cold(draft: Draft, entry: Entry, rule: Rule, expr: Expr) -> Iterator[Problem]:
    """Missing data that trips, over a window that is missing data itself until it is covered."""
    kpi = draft.model("kpis", rule.kpi) if rule.kpi else None
    span = max((node.span for node in nodes(expr.node) if isinstance(node, RangeCall)), default=0)
    if span > rule.if_missing.after and (kpi is None or (kpi.needs is None and kpi.since is None)):
        yield warn(
            entry.spot,
            entry.spot.value("if_missing", "then"),
            f"it trips {show_duration(rule.if_missing.after)} after "
            f"the first start: a window of {show_duration(span)} is not covered until then",
            f"judge freshness by a KPI without a window, or say after: {show_duration(span).replace(' ', '')} or more",
        )


def _text(draft: Draft, rule: Rule, level: str) -> str | None:
    threshold = rule.warn if level == "warn" else rule.crit
    if threshold is not None and threshold.expr is not None:
        return threshold.expr
    kpi = draft.model("kpis", rule.kpi) if rule.kpi else None
    return None if kpi is None else str(kpi.expr)


def _grouped(expr: Expr) -> bool:
    """Whether the expression itself asks for several series; a bare selector mostly finds one."""
    return any(
        isinstance(node, Aggregate)
        and (
            node.labels
            or node.without
            or node.op == "count_values"
            or (node.op in ("topk", "bottomk") and node.param != Number(1.0))
        )
        for node in nodes(expr.node)
    )


def _check(entry: Entry, rule: Rule, check: Check, expr: Expr, known: Intervals) -> Iterator[Problem]:
    threshold = rule.threshold(check.level)
    if threshold is None or check.operator is None:
        return
    spot, every = entry.spot, known.least(expr)
    if 0 < check.patience.hold < every:
        yield warn(
            spot,
            spot.value(check.level, "for"),
            f"for is shorter than the {show_duration(every)} from one sample to the next",
            f"say for: {show_duration(2 * every).replace(' ', '')} or more, or 2 of 3",
        )
    if check.operator == "expr" or check.waits is not None:
        return
    can = bounds(expr, every)
    place = spot.value(check.level, check.operator)
    values = () if can == ANY else (can.low, can.high, *_between(check, can))
    if values and not any(map(check.bad, values)):
        yield warn(
            spot,
            place,
            f"this is never so: {check.kpi} lies between {_show(can, check)}",
            "say a limit that it can cross",
        )
    elif values and all(map(check.bad, values)):
        yield warn(
            spot, place, f"this is always so: {check.kpi} lies between {_show(can, check)}", "say a limit within that"
        )
    elif values and all(map(check.uncleared, values)):
        yield warn(
            spot,
            spot.value(check.level, "clear"),
            f"it can never clear: {check.kpi} lies between {_show(can, check)}",
            _cure_of_clear(check),
        )
    elif check.unit in ("ratio", "percent") and check.operator in ("above", "at_least"):
        full = 1.0 if check.unit == "ratio" else 100.0
        if check.limit > full and can.high > full and not is_relative(getattr(threshold, check.operator)):
            yield warn(
                spot,
                place,
                f"{show(check.limit, check.unit)} is more than the whole: a share is seldom more than 100 %",
                "check the limit and the KPI's unit",
            )


def _between(check: Check, can: Bounds) -> list[float]:
    """Values that the KPI can have, beside, at and within the limits."""
    marks = [mark for mark in (check.limit, check.clear, check.low, check.clear_low) if abs(mark) < float("inf")]
    near = [value for mark in marks for value in (mark, mark - abs(mark) / 1e6 - 1e-9, mark + abs(mark) / 1e6 + 1e-9)]
    near += [(one + other) / 2 for one in marks for other in marks]
    return [value for value in near if can.low <= value <= can.high]


def _show(can: Bounds, check: Check) -> str:
    return f"{show(can.low, check.unit)} and {show(can.high, check.unit)}"


def _cure_of_clear(check: Check) -> str:
    if check.operator in ("at_least", "at_most"):
        return f"{check.operator} clears beyond the limit itself, not at it: say a clear that it can reach"
    return "say a clear that it can reach"


def _far_side(entry: Entry, mild: Check, hard: Check) -> Iterator[Problem]:
    up, down = ("above", "at_least"), ("below", "at_most")
    if mild.waits is not None or hard.waits is not None:
        return
    far = (
        (mild.operator in up and hard.operator in up and mild.limit > hard.limit)
        or (mild.operator in down and hard.operator in down and mild.limit < hard.limit)
        or (mild.operator == hard.operator == "outside" and (mild.limit > hard.limit or mild.low < hard.low))
    )
    if far:
        yield warn(
            entry.spot,
            entry.spot.value("warn", mild.operator or ""),
            f"warn is on the far side of crit: crit always comes first, at {show(hard.limit, hard.unit)}",
            "swap the two limits",
        )


# ─ plans ─


def _plans(draft: Draft, known: Intervals) -> Iterator[Problem]:
    started = _started(draft)
    for name, entry in draft.entries["plans"].items():
        if name not in started:
            yield warn(
                entry.spot,
                entry.spot.key(),
                f"nothing starts the plan {short(name)}",
                "name it in a rule's crit or as a plan's exhausted, or delete it",
            )
        if entry.model is not None:
            yield from _hurried(entry, known)


def _hurried(entry: Entry, known: Intervals) -> Iterator[Problem]:
    """Levels that end before they can be proven."""
    for index, level in enumerate(entry.model.levels):
        verify = verify_of(entry.model, level)
        place = entry.spot.key("levels", index, "verify")
        least = verify.settle + verify.quiet
        slow = max((known.slowest(expr) for text in verify.that if (expr := _parsed(text)) is not None), default=0)
        if isinstance(entry.model, Repair) and verify.give_up < least:
            yield warn(
                entry.spot,
                place,
                f"level {short(level.name)} gives up before it can be proven: settle and quiet take "
                f"{show_duration(least)}",
                f"raise give_up above {show_duration(least)}",
            )
        elif verify.that and verify.give_up < verify.settle + slow:
            yield warn(
                entry.spot,
                place,
                f"level {short(level.name)} gives up before what it is proven by is read again: that "
                f"takes {show_duration(verify.settle + slow)}",
                f"raise give_up above {show_duration(verify.settle + 2 * slow)}",
            )


def _started(draft: Draft) -> Collection[str]:
    """Plans that something names, also something that is not well."""
    named: set[object] = set()
    for entry in draft.entries["rules"].values():
        crit = entry.said.get("crit") if isinstance(entry.said, dict) else None
        named.add(crit.get("plan") if isinstance(crit, dict) and isinstance(crit.get("plan"), str) else None)
    for entry in draft.entries["plans"].values():
        last = entry.said.get("exhausted") if isinstance(entry.said, dict) else None
        named.add(last if isinstance(last, str) else None)
    return [name for name in draft.entries["plans"] if name in named]
