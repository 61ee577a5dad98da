"""Subqueries: an expression asked at every multiple of its step, and a range function over the answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from watchdog.core.model import Labels
from watchdog.promql.errors import PromqlError
from watchdog.promql.eval.context import NO_SAMPLE, EvaluationContext
from watchdog.promql.eval.range_calls import apply_kernel
from watchdog.promql.eval.vectors import Scalar, Vector, make_merge_plan, merge_series
from watchdog.promql.eval.window_columns import WindowColumns, find_window_columns
from watchdog.promql.functions.function import RangeFunction
from watchdog.promql.functions.windows import to_array
from watchdog.promql.parse.nodes import Node, RangeFunctionCall, Subquery, VectorSelector, child_nodes
from watchdog.tsdb.labels import labels_without_name
from watchdog.tsdb.page import ABSENT, TIME_MIN, Ints, SeriesPage

_MAX_STEPS_AT_ONCE = 50_000
"""Steps that one subquery is asked for at once: many times come in chunks."""
MAX_STEPS = 2_000_000
"""Steps in one range: a mistake."""

EvaluateNode = Callable[[Node, EvaluationContext], Vector]


def evaluate_subquery(
    run: EvaluationContext,
    node: RangeFunctionCall,
    function: RangeFunction,
    args: Sequence[Scalar],
    evaluate_node: EvaluateNode,
    *,
    named: bool,
) -> Vector:
    """A function over the answers of a subquery, at each time. What is said of one time does not depend on the others."""
    sub = node.selector
    assert isinstance(sub, Subquery)
    steps = node.span // sub.step + 1
    if steps > MAX_STEPS:
        raise PromqlError(f"a subquery of {steps} steps — take a longer step, as in [1d:1m]")
    if uses_query_time(sub.expr):
        size = 1  # start() and end() are another time for each
    else:
        apart = int(np.abs(np.diff(run.times)).max()) if run.times.size > 1 else 0
        fresh = min(steps, apart // sub.step + 1)  # steps that one more time brings
        size = max(1, (_MAX_STEPS_AT_ONCE - steps) // fresh)
    if size >= run.times.size:
        return _evaluate_chunk(run, node, sub, function, args, evaluate_node, named=named)
    parts = []
    for start in range(0, run.times.size, size):
        some = slice(start, start + size)
        part = run.nested(run.times[some], run.query_times[some])
        parts.append(
            _evaluate_chunk(part, node, sub, function, [arg[some] for arg in args], evaluate_node, named=named)
        )
        np.minimum(run.newest[some], part.newest, out=run.newest[some])
        run.newest_age = None
    return _concatenate_times(parts)


def uses_query_time(node: Node) -> bool:
    """Whether ``start()`` or ``end()`` is written somewhere in it."""
    if isinstance(node, VectorSelector):
        return node.at == "query"
    if isinstance(node, RangeFunctionCall) and (node.selector.at == "query"):
        return True
    return any(map(uses_query_time, child_nodes(node)))


def _evaluate_chunk(
    run: EvaluationContext,
    node: RangeFunctionCall,
    sub: Subquery,
    function: RangeFunction,
    args: Sequence[Scalar],
    evaluate_node: EvaluateNode,
    *,
    named: bool,
) -> Vector:
    ends = run.window_ends(sub)
    times = _step_times(ends, node.span, sub.step)
    query = np.full_like(times, run.query_times[0]) if run.query_times.size == 1 else times
    inner = run.nested(times, query, within=(sub, node.span))
    found = evaluate_node(sub.expr, inner)
    names = node.plan_cache.get(
        found.keys, named, lambda: make_merge_plan(found.keys if named else tuple(map(labels_without_name, found.keys)))
    )
    answers = np.where(found.present, np.where(np.isnan(found.v), np.nan, found.v), ABSENT)
    page = SeriesPage(times, answers, found.keys, TIME_MIN)
    bounds = find_window_columns(page, ends, node.span)
    v, there, _ = apply_kernel(page, slice(0, len(found.keys)), bounds, run, ends, node.span, function, args)
    run.note_newest(_newest_per_window(inner.newest, bounds), sub, lateness=sub.step)
    return merge_series(names, v, there)


def _step_times(ends: Ints, span: int, step: int) -> Ints:
    """Every multiple of `step` that lies in one of the windows ``(end - span, end]``; ascending."""
    first, last = (ends - span) // step + 1, ends // step
    if ends.size == 1:
        return np.arange(first[0], last[0] + 1, dtype=np.int64) * step
    order = np.argsort(first, kind="stable")
    begin, end = first[order], last[order]
    known = np.maximum.accumulate(end)
    begin[1:] = np.maximum(begin[1:], known[:-1] + 1)
    pieces = [np.arange(a, b + 1, dtype=np.int64) for a, b in zip(begin, end, strict=True) if a <= b]
    return np.concatenate(pieces) * step if pieces else np.zeros(0, np.int64)


def _newest_per_window(inner: Ints, bounds: WindowColumns) -> Ints:
    """Newest sample time of the last step that read one, per window. An hourly step is not stale after a minute: it
    counts as fresh until the next one is due (`lateness`), and each step is one piece of evidence."""
    read = np.where(inner == NO_SAMPLE, -1, np.arange(inner.size))
    firsts, lasts = to_array(bounds.firsts), to_array(bounds.lasts)
    if not inner.size:
        return np.full(firsts.shape, NO_SAMPLE, np.int64)
    newest = np.maximum.accumulate(read)[np.maximum(lasts - 1, 0)]
    return np.where((newest >= firsts) & (lasts > firsts), inner[np.maximum(newest, 0)], NO_SAMPLE)


def _concatenate_times(parts: Sequence[Vector]) -> Vector:
    """The same vector over times that follow each other."""
    rows: dict[Labels, int] = {}
    for part in parts:
        for key in part.keys:
            rows.setdefault(key, len(rows))
    widths = [part.v.shape[1] for part in parts]
    values, there = np.full((len(rows), sum(widths)), np.nan), np.zeros((len(rows), sum(widths)), np.bool_)
    start = 0
    for part, width in zip(parts, widths, strict=True):
        mine = [rows[key] for key in part.keys]
        values[mine, start : start + width], there[mine, start : start + width] = part.v, part.present
        start += width
    return Vector(tuple(rows), values, there)
