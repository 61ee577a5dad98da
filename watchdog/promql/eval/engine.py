"""`evaluate`: walks the expression, and says what it read on the way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from watchdog.core.model import Labels, Millis
from watchdog.promql.eval.aggregations import aggregate
from watchdog.promql.eval.binary_operators import Operand, apply_binary_operator
from watchdog.promql.eval.range_calls import evaluate_range_call
from watchdog.promql.eval.recording_rules import apply_recording
from watchdog.promql.eval.selectors import EvaluationContext, evaluate_selector
from watchdog.promql.eval.subqueries import evaluate_subquery
from watchdog.promql.eval.vectors import Scalar, Vector, constant_scalar, drop_metric_name, strip_metric_names
from watchdog.promql.functions.calendar import DATE_FUNCTIONS
from watchdog.promql.functions.histograms import evaluate_histogram
from watchdog.promql.functions.label_functions import apply_label_function
from watchdog.promql.functions.registry import INSTANT_FUNCTIONS, KEEPS_METRIC_NAME, RANGE_FUNCTIONS
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
)
from watchdog.tsdb.labels import METRIC_NAME_LABEL
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


def evaluate(expr: Expr, series: Querier, times: Ints, samples_after: Millis | None = None) -> QueryResult:
    """Evaluates at each of `times` (ms). Pure: nothing but the arguments is read, and none of them is changed.

    `since`: as if no sample up to that time, inclusive, had ever been taken.
    The arrays may be views of the pages: use them before the series change.
    What it says of one time does not depend on the other times, bit for bit.
    Raises PromqlError where Prometheus would fail too, such as when series match several times.
    """
    run = EvaluationContext(series, np.ascontiguousarray(times, np.int64), samples_after)
    vector = evaluate_in_context(expr, run)
    need = run.covered_ms if run.window_ms is None else run.window_ms
    return QueryResult(
        list(vector.keys), vector.v, vector.present, run.newest_or_zero(), run.covered_ms, need, run.newest_age
    )


def evaluate_in_context(expr: Expr, run: EvaluationContext) -> Vector:
    """The expression at the times of a run: only series that are there at some time, and one NaN for all NaNs."""
    with np.errstate(all="ignore"):
        got = _evaluate_node(expr.node, run)
    vector = got if isinstance(got, Vector) else _scalar_to_vector(got)
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
    match node:
        case NumberLiteral(value=value):
            return constant_scalar(value, run.times.size)
        case VectorSelector():
            return evaluate_selector(run, node)[0]
        case RangeFunctionCall(func="absent_over_time", selector=selector):
            return _absent_vector(selector, _evaluate_range(node, run, named=True))
        case RangeFunctionCall(func=func):
            return _evaluate_range(node, run, named=func in KEEPS_METRIC_NAME)
        case BinaryExpr(lhs=lhs, rhs=rhs):
            return apply_binary_operator(node, _evaluate_node(lhs, run), _evaluate_node(rhs, run))
        case AggregateExpr(expr=inner, param=param):
            given = (
                None
                if param is None
                else param.value
                if isinstance(param, StringLiteral)
                else _evaluate_scalar(param, run)
            )
            return aggregate(node, _evaluate_vector(inner, run), given)
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
            got = _evaluate_node(inner, run)
            return apply_recording(node, got if isinstance(got, Vector) else _scalar_to_vector(got))
        case StringLiteral():
            raise AssertionError("the parser lets strings stand only where they are looked at, not evaluated")


def _evaluate_range(node: RangeFunctionCall, run: EvaluationContext, *, named: bool) -> Vector:
    kernel, args = RANGE_FUNCTIONS[node.func], [_evaluate_scalar(arg, run) for arg in node.args]
    if isinstance(node.selector, VectorSelector):
        return evaluate_range_call(run, node, node.selector, kernel, args, named=named)
    return evaluate_subquery(run, node, kernel, args, _evaluate_vector, named=named)


def _evaluate_vector(node: Node, run: EvaluationContext) -> Vector:
    got = _evaluate_node(node, run)
    assert isinstance(got, Vector)  # the parser has checked the types of all arguments
    return got


def _evaluate_scalar(node: Node, run: EvaluationContext) -> Scalar:
    got = _evaluate_node(node, run)
    assert not isinstance(got, Vector)
    return got


def _scalar_to_vector(scalar: Scalar) -> Vector:
    return Vector(((),), scalar[None, :], np.ones((1, scalar.size), np.bool_))


def _evaluate_call(node: FunctionCall, run: EvaluationContext) -> Operand:
    first = node.args[0] if node.args else None
    if first is None:
        return run.times / 1_000 if node.func == "time" else np.full(run.times.size, np.pi)
    match node.func:
        case "label_replace" | "label_join":
            return apply_label_function(node, _evaluate_vector(first, run))
        case "histogram_quantile" | "histogram_fraction":
            *bounds, buckets = node.args
            return evaluate_histogram(
                node, _evaluate_vector(buckets, run), [_evaluate_scalar(bound, run) for bound in bounds]
            )
        case "sort" | "sort_desc":
            return _sort_vector(_evaluate_vector(first, run), node.func == "sort_desc")
        case "vector":
            return _scalar_to_vector(_evaluate_scalar(first, run))
        case "scalar":
            vector = _evaluate_vector(first, run)
            if not vector.keys:
                return np.full(run.times.size, np.nan)
            alone = vector.present.sum(axis=0) == 1
            which = vector.present.argmax(axis=0)
            return np.where(alone, np.take_along_axis(vector.v, which[None, :], axis=0)[0], np.nan)
        case "absent":
            return _absent_vector(first, _evaluate_vector(first, run))
        case "timestamp":
            if isinstance(first, VectorSelector):
                vector, at = evaluate_selector(run, first)
                stamped = Vector(vector.keys, np.broadcast_to(at / 1_000, vector.v.shape), vector.present)
            else:
                vector = _evaluate_vector(first, run)
                stamped = Vector(vector.keys, np.broadcast_to(run.times / 1_000, vector.v.shape), vector.present)
            return drop_metric_name(stamped, node.plan_cache)
    vector = _evaluate_vector(first, run)
    if node.func in DATE_FUNCTIONS:
        return drop_metric_name(
            Vector(vector.keys, DATE_FUNCTIONS[node.func](vector.v), vector.present), node.plan_cache
        )
    rest = [_evaluate_scalar(arg, run) for arg in node.args[1:]]
    there = vector.present & ~(rest[1] < rest[0]) if node.func == "clamp" else vector.present
    return drop_metric_name(Vector(vector.keys, INSTANT_FUNCTIONS[node.func](vector.v, *rest), there), node.plan_cache)


def _sort_vector(vector: Vector, descending: bool) -> Vector:
    """By value, NaN last. Only one time has an order, as in Prometheus."""
    if vector.v.shape[1] != 1:
        return vector
    order = np.argsort(-vector.v[:, 0] if descending else vector.v[:, 0], kind="stable")
    return Vector(tuple(vector.keys[row] for row in order), vector.v[order], vector.present[order])


def _absent_vector(node: Node | Subquery, found: Vector) -> Vector:
    """1 where nothing was found, labelled by what was asked for with ``=``, once per label."""
    asked: dict[str, str] = {}
    seen = set()
    for matcher in node.matchers if isinstance(node, VectorSelector | RecordedMetric) else ():
        if matcher.label == METRIC_NAME_LABEL:
            continue
        if matcher.op == "=" and matcher.label not in seen:
            asked[matcher.label] = matcher.value
            seen.add(matcher.label)
        else:
            asked.pop(matcher.label, None)
    key = tuple(sorted(pair for pair in asked.items() if pair[1]))
    nothing = ~np.logical_or.reduce(found.present, axis=0, keepdims=True)
    return Vector((key,), np.ones(nothing.shape), nothing)
