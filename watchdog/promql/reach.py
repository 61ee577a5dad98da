"""Between which numbers an expression's values lie, as far as its shape tells: no limit beyond them is ever crossed."""

from __future__ import annotations

import math
from typing import NamedTuple

from watchdog.model import Millis
from watchdog.promql.nodes import (
    COMPARISONS,
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
    Subquery,
    Text,
    is_scalar,
)

INF = math.inf


class Bounds(NamedTuple):
    """The lowest and the highest value; NaN is beyond telling."""

    low: float = -INF
    high: float = INF

    def join(self, other: Bounds) -> Bounds:
        return Bounds(min(self.low, other.low), max(self.high, other.high))


ANY, POSITIVE, SHARE, ONE = Bounds(), Bounds(0.0), Bounds(0.0, 1.0), Bounds(1.0, 1.0)
_RANGE = {
    **dict.fromkeys(
        (
            "rate",
            "increase",
            "irate",
            "stddev_over_time",
            "stdvar_over_time",
            "mad_over_time",
            "max_drawdown_over_time",
            "ewm_volatility_over_time",
        ),
        POSITIVE,
    ),
    "change_share_over_time": SHARE,
    "present_over_time": ONE,
    "absent_over_time": ONE,
}
_COUNTS = {"count_over_time": 0, "changes": 1, "resets": 1, "streak_below_over_time": 0, "streak_above_over_time": 0}
"""Functions that count samples, or the gaps between them: how many fewer than samples."""
_WITHIN = ("avg_over_time", "min_over_time", "max_over_time", "last_over_time", "quantile_over_time", "ewma_over_time")
_CALENDAR = {
    "minute": Bounds(0, 59),
    "hour": Bounds(0, 23),
    "day_of_week": Bounds(0, 6),
    "day_of_month": Bounds(1, 31),
    "day_of_year": Bounds(1, 366),
    "days_in_month": Bounds(28, 31),
    "month": Bounds(1, 12),
}
_SAME = ("sort", "sort_desc", "scalar", "vector", "label_replace", "label_join")
_FALLING = {
    "abs": POSITIVE,
    "sqrt": POSITIVE,
    "exp": POSITIVE,
    "sgn": Bounds(-1, 1),
    "sin": Bounds(-1, 1),
    "cos": Bounds(-1, 1),
    "absent": ONE,
    "time": POSITIVE,
    "timestamp": POSITIVE,
}


def bounds(expr: Expr, every: Millis = 0) -> Bounds:
    """`every`: the least time between two samples, 0 when it is not known: a window holds no more than it has room for."""
    return _of(expr.node, every)


def never(expr: Expr, every: Millis = 0) -> bool:
    """Whether a condition cannot be true: a comparison with a number that its other side does not reach."""
    node = expr.node
    if isinstance(node, Binary) and node.op == "and":
        return any(never(Expr("", side), every) for side in (node.lhs, node.rhs))
    if not (isinstance(node, Binary) and node.op in COMPARISONS and not node.as_bool):
        return False
    left, right = _of(node.lhs, every), _of(node.rhs, every)
    match node.op:
        case ">":
            return left.high <= right.low
        case ">=":
            return left.high < right.low
        case "<":
            return left.low >= right.high
        case "<=":
            return left.low > right.high
        case "==":
            return left.low > right.high or left.high < right.low
    return False


def _of(node: Node, every: Millis) -> Bounds:
    match node:
        case Number(value=value):
            return ANY if math.isnan(value) else Bounds(value, value)
        case Selector(name=name):
            return SHARE if name == "up" else ANY
        case RangeCall():
            return _range(node, every)
        case Call(func=func, args=args):
            return _call(func, args, every)
        case Negate(expr=inner):
            of = _of(inner, every)
            return Bounds(-of.high, -of.low)
        case Aggregate(op=op, expr=inner):
            return _aggregate(op, _of(inner, every))
        case Binary():
            return _binary(node, every)
        case Text():
            pass
    return ANY


def _range(node: RangeCall, every: Millis) -> Bounds:
    if node.func in _COUNTS:
        step = node.selector.step if isinstance(node.selector, Subquery) else every
        room = math.ceil(node.span / step) if step else INF
        return Bounds(0.0, max(0.0, room - _COUNTS[node.func]))
    if node.func in _WITHIN or node.func == "sum_over_time":
        inner = _of(node.selector.expr if isinstance(node.selector, Subquery) else node.selector, every)
        return (
            inner if node.func in _WITHIN else Bounds(0.0 if inner.low >= 0 else -INF, 0.0 if inner.high <= 0 else INF)
        )
    return _RANGE.get(node.func, ANY)


def _call(func: str, args: tuple[Node, ...], every: Millis) -> Bounds:
    if func in _CALENDAR:
        return _CALENDAR[func]
    if func in _FALLING:
        return _FALLING[func]
    if not args:
        return ANY
    inner = _of(args[0], every)
    if func in _SAME:
        return inner
    rest = [each.value if isinstance(each, Number) else math.nan for each in args[1:]]
    if func == "clamp" and len(rest) == 2 and rest[0] <= rest[1]:
        return Bounds(min(max(inner.low, rest[0]), rest[1]), max(min(inner.high, rest[1]), rest[0]))
    if func == "clamp_min" and rest and not math.isnan(rest[0]):
        return Bounds(max(inner.low, rest[0]), max(inner.high, rest[0]))
    if func == "clamp_max" and rest and not math.isnan(rest[0]):
        return Bounds(min(inner.low, rest[0]), min(inner.high, rest[0]))
    if func in ("ceil", "floor") and all(map(math.isfinite, inner)):
        return Bounds(math.floor(inner.low), math.ceil(inner.high))
    return ANY


def _aggregate(op: str, inner: Bounds) -> Bounds:
    if op in ("avg", "min", "max", "topk", "bottomk", "quantile", "limitk"):
        return inner
    if op in ("count", "count_values"):
        return Bounds(1.0)
    if op == "group":
        return ONE
    if op in ("stddev", "stdvar"):
        return POSITIVE
    if op == "sum":
        return Bounds(inner.low if inner.low >= 0 else -INF, inner.high if inner.high <= 0 else INF)
    return ANY


def _binary(node: Binary, every: Millis) -> Bounds:
    left, right = _of(node.lhs, every), _of(node.rhs, every)
    if node.op in COMPARISONS:
        if node.as_bool or (is_scalar(node.lhs) and is_scalar(node.rhs)):
            return SHARE
        return right if is_scalar(node.lhs) else left
    if node.op in SETS:
        return left.join(right) if node.op == "or" else left
    match node.op:
        case "+":
            return _bounds(left.low + right.low, left.high + right.high)
        case "-":
            return _bounds(left.low - right.high, left.high - right.low)
        case "*":
            return _hull([_product(a, b) for a in left for b in right])
        case "/" if right.low > 0 or right.high < 0:
            return _hull([_product(a, 1 / b) for a in left for b in right])
        case "/" | "^" if left.low >= 0 and right.low >= 0:
            return POSITIVE
    return ANY


def _product(a: float, b: float) -> float:
    return 0.0 if a == 0 or b == 0 else a * b


def _hull(corners: list[float]) -> Bounds:
    return ANY if any(map(math.isnan, corners)) else Bounds(min(corners), max(corners))


def _bounds(low: float, high: float) -> Bounds:
    return Bounds(-INF if math.isnan(low) else low, INF if math.isnan(high) else high)
