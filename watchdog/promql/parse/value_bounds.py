"""Between which numbers an expression's values lie, as far as its shape tells: no limit beyond them is ever crossed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from watchdog.core.model import Millis
from watchdog.promql.functions.registry import FUNCTIONS
from watchdog.promql.functions.static_bounds import (
    EXACTLY_ONE,
    INF,
    NON_NEGATIVE,
    UNBOUNDED,
    ZERO_TO_ONE,
    CallFacts,
    ValueBounds,
)
from watchdog.promql.parse.analysis import is_scalar
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
)


def value_bounds(expr: Expr, min_interval: Millis = 0) -> ValueBounds:
    """`min_interval`: the least time between two samples, 0 when it is not known: a window holds no more than it has room for."""
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
        case FunctionCall():
            return _call_bounds(node, min_interval)
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
    sub = node.selector
    step, inner = (sub.step, sub.expr) if isinstance(sub, Subquery) else (min_interval, sub)
    room = math.ceil(node.span / step) if step else INF
    call = CallFacts(_node_bounds(inner, min_interval), _numbers(node.args), room)
    return FUNCTIONS[node.func].values(call)


def _call_bounds(node: FunctionCall, min_interval: Millis) -> ValueBounds:
    function, args = FUNCTIONS[node.func], list(node.args)
    of = _node_bounds(args.pop(function.input), min_interval) if args else UNBOUNDED
    return function.values(CallFacts(of, _numbers(args), INF))


def _numbers(args: Sequence[Node]) -> list[float]:
    return [arg.value if isinstance(arg, NumberLiteral) else math.nan for arg in args]


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
