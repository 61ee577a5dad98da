"""`evaluate`: walks the expression, and says what it read on the way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from watchdog.core.model import Labels, Millis
from watchdog.promql.errors import PromqlError
from watchdog.promql.eval.aggregations import aggregate
from watchdog.promql.eval.binary_operators import Operand, apply_binary_operator
from watchdog.promql.eval.context import EvaluationContext
from watchdog.promql.eval.cost import check_cost, describe_node
from watchdog.promql.eval.limits import EvaluationLimits
from watchdog.promql.eval.range_calls import evaluate_range_call
from watchdog.promql.eval.recording_rules import apply_recording
from watchdog.promql.eval.selectors import evaluate_selector
from watchdog.promql.eval.subqueries import evaluate_subquery
from watchdog.promql.eval.vectors import (
    Scalar,
    Vector,
    as_scalar,
    as_vector,
    constant_scalar,
    drop_metric_name,
    scalar_to_vector,
    strip_metric_names,
)
from watchdog.promql.functions.function import ElementwiseFunction, SpecialFunction
from watchdog.promql.functions.registry import FUNCTIONS, range_function
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
    UnaryMinus,
    VectorSelector,
)
from watchdog.tsdb.page import Bools, Floats, Ints, Querier


@dataclass(frozen=True, slots=True)
class QueryResult:
    """What an expression says at each of the times."""

    keys: list[Labels]
    """Label sets that are there at some time; with `__name__` where PromQL keeps it."""
    values: Floats
    """[keys, times]; NaN where the series is not there."""
    present: Bools
    """[keys, times]; tells "not there" from "there, and NaN"."""
    newest: Ints
    """[times] ms: oldest of the newest sample times, over all pages that selectors read; 0 = no sample was read.
    What is asked of the past (offset, @) counts as if its samples were that much newer, a subquery's until the next step."""
    covered_ms: Ints
    """[times] ms: how much of the window is covered that lacks the greatest share …"""
    window_ms: Ints
    """[times] ms: … and how long it is. Both 0 when no range was read."""
    newest_age: Millis | None = None
    """How old the newest … are at most, where that is known of all times at once."""

    def vector_at(self, i: int) -> dict[Labels, float]:
        """The instant vector at the i-th time; labels without `__name__`."""
        rows = np.flatnonzero(self.present[:, i])
        names = strip_metric_names(tuple(self.keys[row] for row in rows))
        return dict(zip(names, self.values[rows, i].tolist(), strict=True))


def evaluate(
    expr: Expr,
    series: Querier,
    times: Ints,
    samples_after: Millis | None = None,
    *,
    limits: EvaluationLimits | None = None,
) -> QueryResult:
    """Evaluates at each of `times` (ms). Pure: nothing but the arguments is read, and none of them is changed.

    `samples_after`: as if no sample up to that time, inclusive, had ever been taken.
    The arrays may be views of the pages: use them before the series change.
    What it says of one time does not depend on the other times, bit for bit.
    Raises PromqlError where Prometheus would fail too, such as when series match several times; and with `limits` before
    anything is evaluated when that would cost more, or from the part that becomes larger.
    """
    run = EvaluationContext(series, np.ascontiguousarray(times, np.int64), samples_after, limits)
    if limits is not None:
        check_cost(expr, run, limits)
    vector = evaluate_in_context(expr, run)
    need = run.covered_ms if run.window_ms is None else run.window_ms
    return QueryResult(
        list(vector.keys), vector.v, vector.present, run.newest_or_zero(), run.covered_ms, need, run.newest_age
    )


def evaluate_in_context(expr: Expr, run: EvaluationContext) -> Vector:
    """The expression at the times of a run: only series that are there at some time, and one NaN for all NaNs."""
    with np.errstate(all="ignore"):
        vector = scalar_to_vector(_evaluate_node(expr.node, run))
    if not (run.times.size and vector.present.all()):
        kept = np.flatnonzero(vector.present.any(axis=1))
        keys = tuple(vector.keys[row] for row in kept)
        # Whatever lies in the cells of a series that is not there does not leave the engine.
        vector = Vector(keys, np.where(vector.present[kept], vector.v[kept], np.nan), vector.present[kept])
    if np.isnan(np.minimum.reduce(vector.v, axis=None, initial=np.inf)):
        vector = Vector(
            vector.keys, np.where(np.isnan(vector.v), np.nan, vector.v), vector.present
        )  # one NaN, whatever its bits
    return vector


def _evaluate_node(node: Node, run: EvaluationContext) -> Operand:
    try:
        result = _dispatch_node(node, run)
    except MemoryError:
        raise PromqlError(
            f"there is not enough memory for {describe_node(node)} — select fewer series, or take a longer step"
        ) from None
    if run.limits is not None and isinstance(result, Vector):
        run.check_size(describe_node(node), len(result.keys))
    return result


def _dispatch_node(node: Node, run: EvaluationContext) -> Operand:
    match node:
        case NumberLiteral(value=value):
            return constant_scalar(value, run.times.size)
        case VectorSelector():
            return evaluate_selector(run, node)[0]
        case RangeFunctionCall():
            return _evaluate_range(node, run)
        case BinaryExpr(lhs=lhs, rhs=rhs):
            return apply_binary_operator(node, _evaluate_node(lhs, run), _evaluate_node(rhs, run), run.limits)
        case AggregateExpr(expr=inner, param=param):
            given = (
                None
                if param is None
                else param.value
                if isinstance(param, StringLiteral)
                else _evaluate_scalar(param, run)
            )
            return aggregate(node, _evaluate_vector(inner, run), given, run.limits)
        case UnaryMinus(expr=inner):
            got = _evaluate_node(inner, run)
            return (
                drop_metric_name(Vector(got.keys, -got.v, got.present), node.plan_cache)
                if isinstance(got, Vector)
                else -got
            )
        case FunctionCall():
            return _evaluate_call(node, run)
        case RecordedMetric(expr=inner):
            return apply_recording(node, scalar_to_vector(_evaluate_node(inner, run)))
        case StringLiteral():
            raise AssertionError("the parser lets strings stand only where they are looked at, not evaluated")


def _evaluate_range(node: RangeFunctionCall, run: EvaluationContext) -> Vector:
    function, args = range_function(node.func), [_evaluate_scalar(arg, run) for arg in node.args]
    named = function.keeps_name or function.conclude is not None
    if isinstance(node.selector, VectorSelector):
        found = evaluate_range_call(run, node, node.selector, function, args, named=named)
    else:
        found = evaluate_subquery(run, node, function, args, _evaluate_vector, named=named)
    return found if function.conclude is None else function.conclude(node, found)


def _evaluate_vector(node: Node, run: EvaluationContext) -> Vector:
    return as_vector(_evaluate_node(node, run))


def _evaluate_scalar(node: Node, run: EvaluationContext) -> Scalar:
    return as_scalar(_evaluate_node(node, run))


def _evaluate_call(node: FunctionCall, run: EvaluationContext) -> Operand:
    function = FUNCTIONS[node.func]
    if isinstance(function, SpecialFunction):
        return function.evaluate(node, run, _evaluate_node)
    assert isinstance(function, ElementwiseFunction)
    vector, rest = _evaluate_vector(node.args[0], run), [_evaluate_scalar(arg, run) for arg in node.args[1:]]
    there = vector.present if function.has_result is None else vector.present & function.has_result(*rest)
    return drop_metric_name(Vector(vector.keys, function.kernel(vector.v, *rest), there), node.plan_cache)
