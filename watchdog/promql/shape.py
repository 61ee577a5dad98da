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
    Selector,
    is_scalar,
)  # fmt: skip


def windows(expr: Expr) -> dict[str, Millis]:
    """Metric name → how far back its samples may be read: range + offset + lookback, the longest of them.

    The key ``""`` stands for a selector without a name: every metric.
    """
    longest: dict[str, Millis] = {}
    for selector, span, _ in _reads(expr.node):
        name = selector.name or ""
        longest[name] = max(longest.get(name, 0), LOOKBACK + span + max(selector.offset, 0))
    return longest


def metric_names(expr: Expr) -> set[str]:
    """The metrics that are read; ``""`` for a selector without a name."""
    return {selector.name or "" for selector, _, _ in _reads(expr.node)}


def extremes(expr: Expr) -> set[tuple[str, Literal["max", "min"]]]:
    """The metrics of which the highest or the lowest sample of a window is read."""
    sides: dict[str, Literal["max", "min"]] = {"max_over_time": "max", "min_over_time": "min"}
    return {(selector.name or "", sides[func]) for selector, _, func in _reads(expr.node) if func in sides}


def can_be_many(expr: Expr) -> bool:
    """Whether it may return several series, judged by its shape alone: a selector may, an aggregation into one not."""
    return _many(expr.node)[0]


def _reads(node: Node) -> Iterator[tuple[Selector, Millis, str]]:
    """Each selector with its range (0: none) and the function around it."""
    match node:
        case Selector():
            yield node, 0, ""
        case RangeCall(func=func, selector=selector, span=span):
            yield selector, span, func
        case Call(args=args):
            for arg in args:
                yield from _reads(arg)
        case Negate(expr=inner) | Aggregate(expr=inner):
            yield from _reads(inner)
        case Binary(lhs=lhs, rhs=rhs):
            yield from _reads(lhs)
            yield from _reads(rhs)


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
            return False, not _labelled(selector)
        case Call(args=args):
            return _many(args[0])
        case Negate(expr=inner):
            return _many(inner)
        case Aggregate(expr=inner, without=without, labels=labels):
            many, bare = _many(inner)
            if bare or (not without and not labels):
                return False, True
            return many, False
        case Binary():
            return _many_of_two(node)
        case Selector() | RangeCall() | Number():
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
    if node.on and not node.labels:
        return False, True
    return many and others, bare


def _labelled(selector: Selector) -> bool:
    return any(matcher.op == "=" and matcher.label != NAME for matcher in selector.matchers)
