"""Between which numbers an expression's values lie, as far as its shape tells: no limit beyond them is ever crossed."""

from __future__ import annotations

import math
from typing import NamedTuple

from watchdog.core.model import Millis
from watchdog.promql.parse.nodes import (
    COMPARISON_OPERATORS,
    SET_OPERATORS,
    AggregateExpr,
    BinaryExpr,
    Expr,
    FunctionCall,
    Node,
    NumberLiteral,
    RangeFunctionCall,
    StringLiteral,
    Subquery,
    UnaryMinus,
    VectorSelector,
    is_scalar,
)

INF = math.inf


class ValueBounds(NamedTuple):
    """The lowest and the highest value; NaN is beyond telling."""

    low: float = -INF
    high: float = INF

    def union(self, other: ValueBounds) -> ValueBounds:
        return ValueBounds(min(self.low, other.low), max(self.high, other.high))


UNBOUNDED, NON_NEGATIVE, ZERO_TO_ONE, EXACTLY_ONE = (
    ValueBounds(),
    ValueBounds(0.0),
    ValueBounds(0.0, 1.0),
    ValueBounds(1.0, 1.0),
)
_RANGE_FUNCTION_BOUNDS = {
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
        NON_NEGATIVE,
    ),
    "change_share_over_time": ZERO_TO_ONE,
    "present_over_time": EXACTLY_ONE,
    "absent_over_time": EXACTLY_ONE,
}
_COUNTING_FUNCTIONS = {
    "count_over_time": 0,
    "changes": 1,
    "resets": 1,
    "streak_below_over_time": 0,
    "streak_above_over_time": 0,
}
"""Functions that count samples, or the gaps between them: how many fewer than samples."""
_FUNCTIONS_WITHIN_INPUT = (
    "avg_over_time",
    "min_over_time",
    "max_over_time",
    "last_over_time",
    "quantile_over_time",
    "ewma_over_time",
)
_CALENDAR_BOUNDS = {
    "minute": ValueBounds(0, 59),
    "hour": ValueBounds(0, 23),
    "day_of_week": ValueBounds(0, 6),
    "day_of_month": ValueBounds(1, 31),
    "day_of_year": ValueBounds(1, 366),
    "days_in_month": ValueBounds(28, 31),
    "month": ValueBounds(1, 12),
}
_VALUE_PRESERVING_FUNCTIONS = ("sort", "sort_desc", "scalar", "vector", "label_replace", "label_join")
_FUNCTION_BOUNDS = {
    "abs": NON_NEGATIVE,
    "sqrt": NON_NEGATIVE,
    "exp": NON_NEGATIVE,
    "sgn": ValueBounds(-1, 1),
    "sin": ValueBounds(-1, 1),
    "cos": ValueBounds(-1, 1),
    "absent": EXACTLY_ONE,
    "time": NON_NEGATIVE,
    "timestamp": NON_NEGATIVE,
}


def value_bounds(expr: Expr, min_interval: Millis = 0) -> ValueBounds:
    """`every`: the least time between two samples, 0 when it is not known: a window holds no more than it has room for."""
    return _node_bounds(expr.node, min_interval)


def is_never_true(expr: Expr, min_interval: Millis = 0) -> bool:
    """Whether a condition cannot be true: a comparison with a number that its other side does not reach."""
    node = expr.node
    if isinstance(node, BinaryExpr) and node.op == "and":
        return any(is_never_true(Expr("", side), min_interval) for side in (node.lhs, node.rhs))
    if not (isinstance(node, BinaryExpr) and node.op in COMPARISON_OPERATORS and not node.return_bool):
        return False
    left, right = _node_bounds(node.lhs, min_interval), _node_bounds(node.rhs, min_interval)
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


def _node_bounds(node: Node, min_interval: Millis) -> ValueBounds:
    match node:
        case NumberLiteral(value=value):
            return UNBOUNDED if math.isnan(value) else ValueBounds(value, value)
        case VectorSelector(name=name):
            return ZERO_TO_ONE if name == "up" else UNBOUNDED
        case RangeFunctionCall():
            return _range_call_bounds(node, min_interval)
        case FunctionCall(func=func, args=args):
            return _call_bounds(func, args, min_interval)
        case UnaryMinus(expr=inner):
            of = _node_bounds(inner, min_interval)
            return ValueBounds(-of.high, -of.low)
        case AggregateExpr(op=op, expr=inner):
            return _aggregate_bounds(op, _node_bounds(inner, min_interval))
        case BinaryExpr():
            return _binary_bounds(node, min_interval)
        case StringLiteral():
            pass
    return UNBOUNDED


def _range_call_bounds(node: RangeFunctionCall, min_interval: Millis) -> ValueBounds:
    if node.func in _COUNTING_FUNCTIONS:
        step = node.selector.step if isinstance(node.selector, Subquery) else min_interval
        room = math.ceil(node.span / step) if step else INF
        return ValueBounds(0.0, max(0.0, room - _COUNTING_FUNCTIONS[node.func]))
    if node.func in _FUNCTIONS_WITHIN_INPUT or node.func == "sum_over_time":
        inner = _node_bounds(node.selector.expr if isinstance(node.selector, Subquery) else node.selector, min_interval)
        return (
            inner
            if node.func in _FUNCTIONS_WITHIN_INPUT
            else ValueBounds(0.0 if inner.low >= 0 else -INF, 0.0 if inner.high <= 0 else INF)
        )
    return _RANGE_FUNCTION_BOUNDS.get(node.func, UNBOUNDED)


def _call_bounds(func: str, args: tuple[Node, ...], min_interval: Millis) -> ValueBounds:
    if func in _CALENDAR_BOUNDS:
        return _CALENDAR_BOUNDS[func]
    if func in _FUNCTION_BOUNDS:
        return _FUNCTION_BOUNDS[func]
    if not args:
        return UNBOUNDED
    inner = _node_bounds(args[0], min_interval)
    if func in _VALUE_PRESERVING_FUNCTIONS:
        return inner
    rest = [each.value if isinstance(each, NumberLiteral) else math.nan for each in args[1:]]
    if func == "clamp" and len(rest) == 2 and rest[0] <= rest[1]:
        return ValueBounds(min(max(inner.low, rest[0]), rest[1]), max(min(inner.high, rest[1]), rest[0]))
    if func == "clamp_min" and rest and not math.isnan(rest[0]):
        return ValueBounds(max(inner.low, rest[0]), max(inner.high, rest[0]))
    if func == "clamp_max" and rest and not math.isnan(rest[0]):
        return ValueBounds(min(inner.low, rest[0]), min(inner.high, rest[0]))
    if func in ("ceil", "floor") and all(map(math.isfinite, inner)):
        return ValueBounds(math.floor(inner.low), math.ceil(inner.high))
    return UNBOUNDED


def _aggregate_bounds(op: str, inner: ValueBounds) -> ValueBounds:
    if op in ("avg", "min", "max", "topk", "bottomk", "quantile", "limitk"):
        return inner
    if op in ("count", "count_values"):
        return ValueBounds(1.0)
    if op == "group":
        return EXACTLY_ONE
    if op in ("stddev", "stdvar"):
        return NON_NEGATIVE
    if op == "sum":
        return ValueBounds(inner.low if inner.low >= 0 else -INF, inner.high if inner.high <= 0 else INF)
    return UNBOUNDED


def _binary_bounds(node: BinaryExpr, min_interval: Millis) -> ValueBounds:
    left, right = _node_bounds(node.lhs, min_interval), _node_bounds(node.rhs, min_interval)
    if node.op in COMPARISON_OPERATORS:
        if node.return_bool or (is_scalar(node.lhs) and is_scalar(node.rhs)):
            return ZERO_TO_ONE
        return right if is_scalar(node.lhs) else left
    if node.op in SET_OPERATORS:
        return left.union(right) if node.op == "or" else left
    match node.op:
        case "+":
            return _bounds_without_nan(left.low + right.low, left.high + right.high)
        case "-":
            return _bounds_without_nan(left.low - right.high, left.high - right.low)
        case "*":
            return _enclosing_bounds([_product(a, b) for a in left for b in right])
        case "/" if right.low > 0 or right.high < 0:
            return _enclosing_bounds([_product(a, 1 / b) for a in left for b in right])
        case "/" | "^" if left.low >= 0 and right.low >= 0:
            return NON_NEGATIVE
    return UNBOUNDED


def _product(a: float, b: float) -> float:
    return 0.0 if a == 0 or b == 0 else a * b


def _enclosing_bounds(corners: list[float]) -> ValueBounds:
    return UNBOUNDED if any(map(math.isnan, corners)) else ValueBounds(min(corners), max(corners))


def _bounds_without_nan(low: float, high: float) -> ValueBounds:
    return ValueBounds(-INF if math.isnan(low) else low, INF if math.isnan(high) else high)
