"""A limit and a recovery threshold in one PromQL expression, as an export writes them, and read back from it.

PromQL knows no recovery threshold; an alert that asks whether it fires already comes near it:
``((x) > 15) or ((x) > 12 and ignoring (…) ALERTS{alertname="…", alertstate="firing"})``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from watchdog.promql import PromqlError, parse
from watchdog.promql.parse.nodes import (
    BinaryExpr,
    Expr,
    Node,
    NumberLiteral,
    RangeFunctionCall,
    Subquery,
    UnaryMinus,
    VectorSelector,
)
from watchdog.tsdb.labels import Matcher

_QUOTE_OR_BRACKET = re.compile(
    r""" "(?:\\.|[^"\\])*"? | '(?:\\.|[^'\\])*'? | `[^`]*`? | [()] """, re.VERBOSE | re.DOTALL
)
COMPARISONS = {"above": ">", "below": "<", "at_least": ">=", "at_most": "<="}
_AND_OPERATOR = re.compile(r"\s*and (?:on \(\) )?(?=\()")


@dataclass(frozen=True, slots=True)
class Hysteresis:
    value: str
    operator: str
    limit: float | list[float]
    clear: float | list[float]
    needs: str | None
    n_of_m: str | None
    """``3 of 5``"""


def parse_hysteresis(text: str, alert: str) -> Hysteresis | None:
    """What an exported alert was made of; None when it is another expression."""
    text = text.strip()
    parts = _conjuncts(text) if "ALERTS" in text else None
    if parts is None:
        return None
    try:
        node = parse(parts[0]).node
    except PromqlError:
        return None
    match node:
        case BinaryExpr(
            op="or", lhs=bad, rhs=BinaryExpr(op="and", lhs=still, rhs=VectorSelector(name="ALERTS", matchers=matchers))
        ):
            counts = _parse_n_of_m(bad)
            limits = _parse_limits(bad if counts is None else bad.lhs if isinstance(bad, BinaryExpr) else bad)
            clear = _parse_limits(still)
            inner = _bracket_content(parts[0], 1 if counts is None else 2)
            if limits is None or clear is None or limits[:2] != clear[:2] or not _is_own_alert(matchers, alert):
                return None
            if inner is None or _try_parse(inner) != limits[1]:
                return None
            needs = " and on () ".join(f"({part})" for part in parts[1:]) or None
            return Hysteresis(inner, limits[0], limits[2], clear[2], needs, counts)
    return None


def _parse_limits(node: Node) -> tuple[str, Node, float | list[float]] | None:
    """``x > 15`` → above, x, 15; ``x < 10 or x > 30`` → outside, x, [10, 30]"""
    match node:
        case BinaryExpr(
            op="or", lhs=BinaryExpr(op="<", lhs=value, rhs=low), rhs=BinaryExpr(op=">", lhs=same, rhs=high)
        ) if value == same:
            pair = [each for each in (_number(low), _number(high)) if each is not None]
            return ("outside", value, pair) if len(pair) == 2 else None
        case BinaryExpr(op=op, lhs=value, rhs=limit) if (
            op in COMPARISONS.values() and (at := _number(limit)) is not None
        ):
            return next(name for name, sign in COMPARISONS.items() if sign == op), value, at
    return None


def _parse_n_of_m(node: Node) -> str | None:
    """``x > 5 and count_over_time((x > 5)[4s999ms:1s]) >= 3`` → 3 of 5"""
    match node:
        case BinaryExpr(
            op="and",
            lhs=bad,
            rhs=BinaryExpr(
                op=">=",
                lhs=RangeFunctionCall(func="count_over_time", selector=Subquery(expr=again, step=step), span=span),
                rhs=NumberLiteral(n),
            ),
        ) if bad == again:
            return f"{n:g} of {(span + 1) // step}"
    return None


def _try_parse(text: str) -> Node | None:
    try:
        expr: Expr = parse(text)
    except PromqlError:
        return None
    return expr.node


def _number(node: Node) -> float | None:
    if isinstance(node, UnaryMinus) and isinstance(node.expr, NumberLiteral):
        return -node.expr.value
    return node.value if isinstance(node, NumberLiteral) else None


def _is_own_alert(matchers: tuple[Matcher, ...], alert: str) -> bool:
    values = {matcher.label: matcher.value for matcher in matchers if matcher.op == "="}
    return values.get("alertname") == alert and values.get("alertstate") == "firing"


def _conjuncts(text: str) -> list[str] | None:
    """``(a) and (b) and on () (c)`` → a, b, c. Anything else is one part."""
    parts, start = [], 0
    while text[start : start + 1] == "(":
        end = closing_bracket(text, start)
        if end is None:
            return None
        parts.append(text[start + 1 : end])
        if end == len(text) - 1:
            return parts
        joined = _AND_OPERATOR.match(text, end + 1)
        if joined is None:
            return [text]
        start = joined.end()
    return [text]


def closing_bracket(text: str, start: int) -> int | None:
    """Where the bracket that opens at `start` closes."""
    depth = 0
    for found in _QUOTE_OR_BRACKET.finditer(text, start):
        if found[0] in "()":
            depth += 1 if found[0] == "(" else -1
            if depth == 0:
                return found.start()
    return None


def _bracket_content(text: str, at: int) -> str | None:
    """``((x) > 15) or …`` → x: what the bracket at that place holds."""
    text = text.strip()
    end = closing_bracket(text, at) if text.startswith("(" * (at + 1)) else None
    return None if end is None else text[at + 1 : end]
