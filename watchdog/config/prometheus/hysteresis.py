"""A limit and a recovery threshold in one PromQL expression, as an export writes them, and read back from it.

PromQL knows no recovery threshold; an alert that asks whether it fires already comes near it:
``((x) > 15) or ((x) > 12 and ignoring (…) ALERTS{alertname="…", alertstate="firing"})``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from watchdog.promql import PromqlError, parse
from watchdog.promql.nodes import Binary, Expr, Matcher, Negate, Node, Number, Selector

_WORD = re.compile(r""" "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*' | `[^`]*` | [()] """, re.VERBOSE | re.DOTALL)
OPERATORS = {"above": ">", "below": "<", "at_least": ">=", "at_most": "<="}
_NEEDS = re.compile(r"\s*and (?:on \(\) )?(?=\()")


@dataclass(frozen=True, slots=True)
class Hysteresis:
    value: str
    operator: str
    limit: float
    clear: float
    needs: str | None


def split(text: str, alert: str) -> Hysteresis | None:
    """What an exported alert was made of; None when it is another expression."""
    text = text.strip()
    parts = _conjuncts(text)
    if parts is None:
        return None
    try:
        node = parse(parts[0]).node
    except PromqlError:
        return None
    match node:
        case Binary(op="or", lhs=Binary(op=op, lhs=value, rhs=limit), rhs=Binary(
            op="and", lhs=Binary(op=again, lhs=same, rhs=clear), rhs=Selector(name="ALERTS", matchers=matchers))
        ) if op == again and value == same and op in OPERATORS.values() and _is_own(matchers, alert):  # fmt: skip
            limits = _number(limit), _number(clear)
            inner = _first(parts[0])
            if limits[0] is None or limits[1] is None or inner is None:
                return None
            if _parsed(inner) != value:
                return None
            operator = next(name for name, sign in OPERATORS.items() if sign == op)
            needs = " and on () ".join(f"({part})" for part in parts[1:]) or None
            return Hysteresis(inner, operator, limits[0], limits[1], needs)
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


def _first(text: str) -> str | None:
    """``((x) > 15) or …`` → x"""
    text = text.strip()
    if not text.startswith("(("):
        return None
    end = closing(text, 1)
    return None if end is None else text[2:end]
