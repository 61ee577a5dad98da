"""Functions of whole vectors and of the time: `absent`, `scalar`, `sort`, `timestamp` and their relatives."""

from __future__ import annotations

import numpy as np

from watchdog.promql.eval.binary_operators import Operand
from watchdog.promql.eval.context import EvaluationContext
from watchdog.promql.eval.selectors import evaluate_selector
from watchdog.promql.eval.vectors import Scalar, Vector, as_vector, drop_metric_name, scalar_to_vector
from watchdog.promql.functions.function import EvaluateNode
from watchdog.promql.parse.nodes import FunctionCall, Node, RangeFunctionCall, RecordedMetric, Subquery, VectorSelector
from watchdog.tsdb.labels import METRIC_NAME_LABEL


def time(_: FunctionCall, run: EvaluationContext, __: EvaluateNode) -> Scalar:
    return run.times / 1_000


def pi(_: FunctionCall, run: EvaluationContext, __: EvaluateNode) -> Scalar:
    return np.full(run.times.size, np.pi)


def vector(node: FunctionCall, run: EvaluationContext, evaluate: EvaluateNode) -> Vector:
    return scalar_to_vector(evaluate(node.args[0], run))


def scalar(node: FunctionCall, run: EvaluationContext, evaluate: EvaluateNode) -> Scalar:
    """The value of the one series; NaN where there is none, or several."""
    found = as_vector(evaluate(node.args[0], run))
    if not found.keys:
        return np.full(run.times.size, np.nan)
    alone = found.present.sum(axis=0) == 1
    which = found.present.argmax(axis=0)
    return np.where(alone, np.take_along_axis(found.v, which[None, :], axis=0)[0], np.nan)


def timestamp(node: FunctionCall, run: EvaluationContext, evaluate: EvaluateNode) -> Vector:
    """When each value was sampled, in seconds; of what is not a selector, the time of evaluation."""
    (of,) = node.args
    if isinstance(of, VectorSelector):
        found, at = evaluate_selector(run, of)
        stamps = at / 1_000
    else:
        found = as_vector(evaluate(of, run))
        stamps = run.times / 1_000
    return drop_metric_name(Vector(found.keys, np.broadcast_to(stamps, found.v.shape), found.present), node.plan_cache)


def sort(node: FunctionCall, run: EvaluationContext, evaluate: EvaluateNode) -> Vector:
    return _sort(as_vector(evaluate(node.args[0], run)), descending=False)


def sort_desc(node: FunctionCall, run: EvaluationContext, evaluate: EvaluateNode) -> Vector:
    return _sort(as_vector(evaluate(node.args[0], run)), descending=True)


def _sort(found: Vector, *, descending: bool) -> Vector:
    """By value, NaN last. Only one time has an order, as in Prometheus."""
    if found.v.shape[1] != 1:
        return found
    order = np.argsort(-found.v[:, 0] if descending else found.v[:, 0], kind="stable")
    return Vector(tuple(found.keys[row] for row in order), found.v[order], found.present[order])


def absent(node: FunctionCall, run: EvaluationContext, evaluate: EvaluateNode) -> Operand:
    return _where_absent(node.args[0], as_vector(evaluate(node.args[0], run)))


def absent_over_time(node: RangeFunctionCall, found: Vector) -> Vector:
    return _where_absent(node.selector, found)


def _where_absent(node: Node | Subquery, found: Vector) -> Vector:
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
