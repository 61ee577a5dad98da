"""What can be told of an expression without a single sample."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from watchdog.model import Millis
from watchdog.promql.nodes import (
    LOOKBACK,
    NAME,
    SETS,
    Aggregate,
    Binary,
    Call,
    Expr,
    Negate,
    Node,
    Number,
    RangeCall,
    Recorded,
    Selector,
    Subquery,
    Text,
    children,
    is_scalar,
)

FOREVER: Millis = 100 * 365 * 86_400_000
"""How far back ``@`` with a fixed time reads: nothing of the metric may be forgotten."""


def windows(expr: Expr) -> dict[str, Millis]:
    """Metric name → how far back its samples may be read: range + offset + lookback, the longest of them.

    A subquery adds its own range and offset to what it asks. The key ``""`` stands for a selector without a name:
    every metric.
    """
    longest: dict[str, Millis] = {}
    for selector, reach, _ in _reads(expr.node, 0):
        name = selector.name or ""
        longest[name] = max(longest.get(name, 0), LOOKBACK + max(reach, 0))
    return longest


def metric_names(expr: Expr) -> set[str]:
    """The metrics that are read; ``""`` for a selector without a name."""
    return {selector.name or "" for selector, _, _ in _reads(expr.node, 0)}


def extremes(expr: Expr) -> set[tuple[str, Literal["max", "min"]]]:
    """The metrics of which the highest or the lowest sample of a window is read.

    Not those that a subquery reads: it sees what is there at its steps, and one remembered sample is not.
    """
    sides: dict[str, Literal["max", "min"]] = {
        "max_over_time": "max",
        "min_over_time": "min",
        "max_drawdown_over_time": "max",
    }
    return {(selector.name or "", sides[func]) for selector, _, func in _reads(expr.node, 0) if func in sides}


def tells_absence(expr: Expr) -> bool:
    """Whether it may return something because there are no samples."""

    def within(node: Node) -> bool:
        is_absence = isinstance(node, Call | RangeCall) and node.func in ("absent", "absent_over_time")
        return is_absence or any(map(within, children(node)))

    return within(expr.node)


def has_labels(expr: Expr) -> bool:
    """Whether its series may have labels, judged by its shape alone."""
    return not _many(expr.node)[1]


def can_be_many(expr: Expr) -> bool:
    """Whether it may return several series, judged by its shape alone: a selector may, an aggregation into one not."""
    return _many(expr.node)[0]


def _reads(node: Node, behind: Millis) -> Iterator[tuple[Selector, Millis, str]]:
    """Each selector, how long before the evaluation its oldest sample may lie, and the function on its range.

    `behind`: how much earlier than the evaluation the node itself may be asked.
    """
    match node:
        case Selector():
            yield node, _back(node, behind), ""
        case RangeCall(func=func, selector=Selector() as selector, span=span):
            yield selector, _back(selector, behind) + span, func
        case RangeCall(selector=Subquery(expr=inner) as sub, span=span):
            yield from _reads(inner, _back(sub, behind) + span)
    for child in () if isinstance(node, RangeCall) else children(node):
        yield from _reads(child, behind)
    for arg in node.args if isinstance(node, RangeCall) else ():
        yield from _reads(arg, behind)


def _back(node: Selector | Subquery, behind: Millis) -> Millis:
    if node.at is None:
        return behind + node.offset
    return node.offset if node.at == "query" else FOREVER


def _many(node: Node) -> tuple[bool, bool]:
    """Whether there may be several series, and whether none of them has a label."""
    if is_scalar(node):
        return False, True
    match node:
        case Call(func="vector"):
            return False, True
        case Call(func="absent", args=args):
            return False, not (isinstance(args[0], Selector) and _labelled(args[0]))
        case RangeCall(func="absent_over_time", selector=selector):
            return False, not (isinstance(selector, Selector) and _labelled(selector))
        case Call(func=func) if func in ("histogram_quantile", "histogram_fraction"):
            return _many(node.args[-1])[0], False
        case Call(func="label_replace" | "label_join", args=args):
            return _many(args[0])[0], False
        case Call(args=args):
            return _many(args[0])
        case Negate(expr=inner):
            return _many(inner)
        case Aggregate(op="count_values"):
            return True, False
        case Aggregate(op="topk" | "bottomk", expr=inner, without=without, labels=labels, param=param):
            many, bare = _many(inner)
            alone = param == Number(1.0) and ((not without and not labels) or bare)
            return many and not alone, bare
        case Aggregate(expr=inner, without=without, labels=labels):
            many, bare = _many(inner)
            if bare or (not without and not labels):
                return False, True
            return many, False
        case Binary():
            return _many_of_two(node)
        case Recorded(expr=inner):
            return _many(inner)[0], False
        case RangeCall(selector=Subquery(expr=inner)):
            return _many(inner)
        case Selector() | RangeCall() | Number() | Text():
            pass
    return True, False


def _many_of_two(node: Binary) -> tuple[bool, bool]:
    if is_scalar(node.lhs) or is_scalar(node.rhs):
        return _many(node.rhs if is_scalar(node.lhs) else node.lhs)
    (many, bare), (others, bare_too) = _many(node.lhs), _many(node.rhs)
    if node.op == "or":
        one_signature = (bare and bare_too) or (node.on and not node.labels)
        return (many or others) if one_signature else True, bare and bare_too
    if node.op in SETS:
        return many, bare
    if node.many is not None:
        return (many, False) if node.many == "left" else (others, False)
    if node.on and not node.labels:
        return False, True
    return many and others, bare


def _labelled(selector: Selector) -> bool:
    return any(matcher.op == "=" and matcher.label != NAME for matcher in selector.matchers)
