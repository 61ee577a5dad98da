"""A limit and a recovery threshold in one PromQL expression, as an export writes them, and read back from it.

PromQL knows no recovery threshold; an alert that asks whether it fires already comes near it:
``((x) > 15) or ((x) > 12 and ignoring (…) ALERTS{alertname="…", alertstate="firing"})``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from watchdog.promql import PromqlError, parse
from watchdog.promql.nodes import Binary, Expr, Matcher, Negate, Node, Number, RangeCall, Selector, Subquery

_WORD = re.compile(r""" "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*' | `[^`]*` | [()] """, re.VERBOSE | re.DOTALL)
OPERATORS = {"above": ">", "below": "<", "at_least": ">=", "at_most": "<="}
_NEEDS = re.compile(r"\s*and (?:on \(\) )?(?=\()")


@dataclass(frozen=True, slots=True)
class Hysteresis:
    value: str
    operator: str
    limit: float | list[float]
    clear: float | list[float]
    needs: str | None
    counts: str | None
    """``3 of 5``"""


def split(text: str, alert: str) -> Hysteresis | None:
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
        case Binary(op="or", lhs=bad, rhs=Binary(op="and", lhs=still, rhs=Selector(name="ALERTS", matchers=matchers))):
            counts = _counts(bad)
            limits = _limits(bad if counts is None else bad.lhs if isinstance(bad, Binary) else bad)
            clear = _limits(still)
            inner = _inner(parts[0], 1 if counts is None else 2)
            if limits is None or clear is None or limits[:2] != clear[:2] or not _is_own(matchers, alert):
                return None
            if inner is None or _parsed(inner) != limits[1]:
                return None
            needs = " and on () ".join(f"({part})" for part in parts[1:]) or None
            return Hysteresis(inner, limits[0], limits[2], clear[2], needs, counts)
    return None


def _limits(node: Node) -> tuple[str, Node, float | list[float]] | None:
    """``x > 15`` → above, x, 15; ``x < 10 or x > 30`` → outside, x, [10, 30]"""
    match node:
        case Binary(op="or", lhs=Binary(op="<", lhs=value, rhs=low), rhs=Binary(op=">", lhs=same, rhs=high)) if (
            value == same
        ):
            pair = [each for each in (_number(low), _number(high)) if each is not None]
            return ("outside", value, pair) if len(pair) == 2 else None
        case Binary(op=op, lhs=value, rhs=limit) if op in OPERATORS.values() and (at := _number(limit)) is not None:
            return next(name for name, sign in OPERATORS.items() if sign == op), value, at
    return None


def _counts(node: Node) -> str | None:
    """``x > 5 and count_over_time((x > 5)[4s999ms:1s]) >= 3`` → 3 of 5"""
    match node:
        case Binary(
            op="and",
            lhs=bad,
            rhs=Binary(
                op=">=",
                lhs=RangeCall(func="count_over_time", selector=Subquery(expr=again, step=step), span=span),
                rhs=Number(n),
            ),
        ) if bad == again:
            return f"{n:g} of {(span + 1) // step}"
    return None


def _parsed(text: str) -> Node | None:
    try:
        expr: Expr = parse(text)
    except PromqlError:
        return None
    return expr.node


def _number(node: Node) -> float | None:
    if isinstance(node, Negate) and isinstance(node.expr, Number):
        return -node.expr.value
    return node.value if isinstance(node, Number) else None


def _is_own(matchers: tuple[Matcher, ...], alert: str) -> bool:
    said = {matcher.label: matcher.value for matcher in matchers if matcher.op == "="}
    return said.get("alertname") == alert and said.get("alertstate") == "firing"


def _conjuncts(text: str) -> list[str] | None:
    """``(a) and (b) and on () (c)`` → a, b, c. Anything else is one part."""
    parts, start = [], 0
    while text[start : start + 1] == "(":
        end = closing(text, start)
        if end is None:
            return None
        parts.append(text[start + 1 : end])
        if end == len(text) - 1:
            return parts
        joined = _NEEDS.match(text, end + 1)
        if joined is None:
            return [text]
        start = joined.end()
    return [text]


def closing(text: str, start: int) -> int | None:
    """Where the bracket that opens at `start` closes."""
    depth = 0
    for found in _WORD.finditer(text, start):
        if found[0] in "()":
            depth += 1 if found[0] == "(" else -1
            if depth == 0:
                return found.start()
    return None


def _inner(text: str, at: int) -> str | None:
    """``((x) > 15) or …`` → x: what the bracket at that place holds."""
    text = text.strip()
    end = closing(text, at) if text.startswith("(" * (at + 1)) else None
    return None if end is None else text[at + 1 : end]
