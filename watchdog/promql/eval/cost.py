"""What an expression will cost, told from its shape, the times and the series that there are, before it is evaluated.

A cost is a number of values: those that selectors read and those that each part makes. Series are counted as many as
there may be; what only the samples tell (`count_values`) is looked at when it is evaluated.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from watchdog.core.model import Millis
from watchdog.promql.errors import PromqlError
from watchdog.promql.eval.context import EvaluationContext
from watchdog.promql.eval.limits import EvaluationLimits
from watchdog.promql.eval.subqueries import MAX_STEPS, uses_query_time
from watchdog.promql.eval.window_columns import MIN_VECTORIZED_TIMES
from watchdog.promql.functions.registry import range_function
from watchdog.promql.parse.nodes import (
    AggregateExpr,
    BinaryExpr,
    Expr,
    FunctionCall,
    Node,
    NumberLiteral,
    RangeFunctionCall,
    RecordedMetric,
    StringLiteral,
    Subquery,
    UnaryMinus,
    VectorSelector,
    child_nodes,
)


class Cost(NamedTuple):
    series: int
    """At most; 0: a scalar."""
    values: int
    """Read or made, all parts beneath included."""


class _Times(NamedTuple):
    """When a part is asked: so often, the first and the last of them, in ms."""

    size: int
    first: Millis
    last: Millis


def check_cost(expr: Expr, run: EvaluationContext, limits: EvaluationLimits) -> None:
    """Raises PromqlError, with both numbers, where it would cost more than the limits allow."""
    times = run.times
    if not times.size:
        return
    cost = _estimate(expr.node, run, _Times(times.size, int(times.min()), int(times.max()))).values
    if cost > limits.cost:
        raise PromqlError(
            f"it would read and make {cost:,} values, more than {limits.cost:,}"
            " — ask for fewer series, a shorter time, or a longer step"
        )


def describe_node(node: Node) -> str:
    """For people: which part of an expression."""
    match node:
        case VectorSelector(name=name):
            return f"the selector of {name}" if name else "a selector without a name"
        case RangeFunctionCall(func=func) | FunctionCall(func=func):
            return func
        case BinaryExpr(op=op):
            return f"the operator {op}"
        case AggregateExpr(op=op):
            return op
        case RecordedMetric(name=name):
            return f"the recorded metric {name}"
        case UnaryMinus():
            return "the operator -"
        case NumberLiteral() | StringLiteral():
            return "a number"


def _estimate(node: Node, run: EvaluationContext, times: _Times) -> Cost:
    match node:
        case VectorSelector():
            series = sum(len(one.keys) for one in run.select_pages(node))
            return Cost(series, series * times.size)
        case RangeFunctionCall(selector=Subquery() as sub):
            return _estimate_subquery(node, sub, run, times)
        case RangeFunctionCall(selector=VectorSelector() as selector):
            return _estimate_range(node, selector, run, times)
    below = [_estimate(child, run, times) for child in child_nodes(node)]
    series = max((one.series for one in below), default=0)
    if isinstance(node, BinaryExpr) and node.op == "or":
        series = sum(one.series for one in below)
    elif isinstance(node, AggregateExpr) and not (node.labels or node.without or node.op in _KEEPING_MEMBERS):
        series = min(series, 1)
    read = max((one.series for one in below), default=0)
    return Cost(series, sum(one.values for one in below) + max(series, read, 1) * times.size)


_KEEPING_MEMBERS = ("topk", "bottomk", "count_values")


def _estimate_range(node: RangeFunctionCall, selector: VectorSelector, run: EvaluationContext, times: _Times) -> Cost:
    by_window = range_function(node.func).batch_kernel is None or times.size < MIN_VECTORIZED_TIMES
    series = values = 0
    for one in run.select_pages(selector):
        first, last = times.first - selector.offset, times.last - selector.offset
        if selector.at is not None:
            first = last = (times.last if selector.at == "query" else selector.at) - selector.offset
        columns = int(np.diff(one.page.t.searchsorted([first - node.span, last], "right"))[0])
        if by_window:  # each window is looked at by itself
            columns = min(columns * times.size, _window_share(columns, node.span, last - first) * times.size)
        series += len(one.keys)
        values += len(one.keys) * (columns + times.size)
    return Cost(series, values + sum(_estimate(arg, run, times).values for arg in node.args))


def _window_share(columns: int, span: Millis, spread: Millis) -> int:
    """How many of the columns one window holds, were they spread evenly."""
    return columns * span // max(1, span + spread) + 1


def _estimate_subquery(node: RangeFunctionCall, sub: Subquery, run: EvaluationContext, times: _Times) -> Cost:
    in_window = node.span // sub.step + 1
    if in_window > MAX_STEPS:
        raise PromqlError(f"a subquery of {in_window:,} steps — take a longer step, as in [1d:1m]")
    first, last = times.first - node.span - sub.offset, times.last - sub.offset
    if sub.at is not None:
        at = times.last if sub.at == "query" else sub.at
        first, last = at - node.span - sub.offset, at - sub.offset
    steps = in_window * times.size
    if not uses_query_time(sub.expr):  # start() and end() are other times for each: nothing is shared
        steps = min(steps, (last - first) // sub.step + 1)
    inner = _estimate(sub.expr, run, _Times(max(1, steps), first, last))
    values = inner.values + max(1, inner.series) * (steps + times.size)
    if range_function(node.func).batch_kernel is None or times.size < MIN_VECTORIZED_TIMES:
        values += max(1, inner.series) * in_window * times.size
    return Cost(inner.series, values + sum(_estimate(arg, run, times).values for arg in node.args))
