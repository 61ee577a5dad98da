"""What an expression is at least and at most over a whole stretch of time, told from blocks of samples.

Replay asks it where no verdict can change: nothing need be evaluated there. Every bound holds for the very floats that
`evaluate` gives, rounding included. What cannot be told is not said: of a function that is not known here, nothing at all;
of a stretch in which samples are missing, or a comparison goes both ways, that it is not `certain`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from watchdog.core.model import Labels, Millis
from watchdog.promql.errors import PromqlError
from watchdog.promql.eval.aggregations import aggregate
from watchdog.promql.eval.binary_operators import Operand, apply_binary_operator
from watchdog.promql.eval.recording_rules import apply_recording
from watchdog.promql.eval.selectors import plan_union
from watchdog.promql.eval.vectors import Vector, constant_scalar, drop_metric_name, merge_series
from watchdog.promql.fast.block_summaries import BlockSummary, extreme_of_blocks
from watchdog.promql.fast.range_bounds import BoundFunction, RowWindows, SpanColumns, newest_bounds, widen_for_rounding
from watchdog.promql.functions.function import ElementwiseFunction
from watchdog.promql.functions.registry import FUNCTIONS, range_function
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
    RecordedMetric,
    UnaryMinus,
    VectorSelector,
)
from watchdog.tsdb.labels import LOOKBACK_DELTA
from watchdog.tsdb.page import Bools, Floats, Ints, PageSelection, Querier, SeriesPage


class TimeSpans(NamedTuple):
    """Stretches of time, ascending."""

    starts: Ints
    """[n] ms, inclusive …"""
    ends: Ints
    """… and so are these."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """What is true at all times of a stretch. Where it is not `certain`, the rest says nothing."""

    keys: tuple[Labels, ...]
    low: Floats
    """[keys, n]"""
    high: Floats
    present: Bools
    """[keys, n]: whether the series is there, at all of its times or at none."""
    certain: Bools
    """[n]"""
    newest_age: Ints
    """[n] ms: how old what is read is at most."""
    covered: Bools
    """[n]: whether all windows are covered, …"""
    uncovered: Bools
    """[n]: … or none of the windows of some range is."""


class UnknownEnvelope(Exception):  # noqa: N818 - no error: it is evaluated instead
    """Nothing is known of such an expression."""


def compute_envelope(
    expr: Expr, series: Querier, spans: TimeSpans, summaries: dict[int, BlockSummary]
) -> Envelope | None:
    """Bounds of `evaluate` at any times within the stretches; None where it has none to say.

    `summaries`: by the id of a page; filled in here, and good for as long as the pages do not change.
    """
    ask = _EnvelopeEvaluation(series, spans, summaries)
    try:
        with np.errstate(all="ignore"):
            low, high = ask.evaluate(expr.node)
    except (UnknownEnvelope, PromqlError):  # what is an error at some times is met again when those are evaluated
        return None
    if not (isinstance(low, Vector) and isinstance(high, Vector)) or not ask.has_samples:
        return None
    finite = (np.isfinite(low.v) & np.isfinite(high.v)) | ~low.present
    return Envelope(
        low.keys,
        low.v,
        high.v,
        low.present,
        ask.certain & finite.all(axis=0),
        ask.newest_age,
        ask.covered,
        ask.uncovered,
    )


BoundPair = tuple[Operand, Operand]
"""Least and greatest: two scalars, or two vectors of the same series that are there at the same times."""


class _EnvelopeEvaluation:
    """One evaluation."""

    def __init__(self, series: Querier, over: TimeSpans, summaries: dict[int, BlockSummary]) -> None:
        self.series, self.spans, self.summaries = series, over, summaries
        size = over.starts.size
        self.has_samples = False
        self.certain: Bools = np.ones(size, np.bool_)
        self.covered: Bools = np.ones(size, np.bool_)
        self.uncovered: Bools = np.zeros(size, np.bool_)
        self.newest_age: Ints = np.zeros(size, np.int64)
        self._columns: dict[tuple[int, Millis, Millis], SpanColumns] = {}

    def evaluate(self, node: Node) -> BoundPair:
        match node:
            case NumberLiteral(value=number):
                number_ = constant_scalar(number, self.certain.size)
                return number_, number_
            case VectorSelector(at=None):
                return self._bound_rows(node, LOOKBACK_DELTA, newest_bounds, named=True)
            case RangeFunctionCall(selector=VectorSelector(at=None) as selector):
                return self._evaluate_range_call(node, selector)
            case UnaryMinus(expr=inner):
                low, high = self.evaluate(inner)
                return _negate(node, high), _negate(node, low)
            case BinaryExpr(lhs=lhs, rhs=rhs):
                return self._evaluate_binary(node, self.evaluate(lhs), self.evaluate(rhs))
            case AggregateExpr(op=op, expr=inner, param=param) if op in _MONOTONE_AGGREGATIONS and isinstance(
                param, NumberLiteral | None
            ):
                given_ = None if param is None else constant_scalar(param.value, self.certain.size)
                low, high = self._evaluate_vectors(inner)
                low, high = aggregate(node, low, given_), aggregate(node, high, given_)
                return _widen_vectors(low, high) if op in ("sum", "avg", "quantile") else (low, high)
            case FunctionCall():
                return self._evaluate_call(node)
            case RecordedMetric(expr=inner):
                low, high = self._evaluate_vectors(inner)
                return apply_recording(node, low), apply_recording(node, high)
        raise UnknownEnvelope

    def _evaluate_range_call(self, node: RangeFunctionCall, selector: VectorSelector) -> BoundPair:
        function, numbers = range_function(node.func), _numbers(node.args)
        if function.span_bounds is None:
            raise UnknownEnvelope
        bound: BoundFunction = partial(function.span_bounds, args=numbers) if numbers else function.span_bounds
        return self._bound_rows(selector, node.span, bound, named=function.keeps_name, ranged=True)

    def _evaluate_call(self, node: FunctionCall) -> BoundPair:
        function = FUNCTIONS[node.func]
        if not isinstance(function, ElementwiseFunction) or not function.monotone:
            raise UnknownEnvelope
        limits = _numbers(node.args[1:])
        low, high = (
            drop_metric_name(Vector(end.keys, function.kernel(end.v, *limits), end.present), node.plan_cache)
            for end in self._evaluate_vectors(node.args[0])
        )
        return low, high

    def _evaluate_vectors(self, node: Node) -> tuple[Vector, Vector]:
        low, high = self.evaluate(node)
        if not (isinstance(low, Vector) and isinstance(high, Vector)):
            raise UnknownEnvelope
        return low, high

    def _evaluate_binary(self, node: BinaryExpr, left: BoundPair, right: BoundPair) -> BoundPair:
        if node.op in SET_OPERATORS:
            return apply_binary_operator(node, left[0], right[0]), apply_binary_operator(node, left[1], right[1])
        if node.op in ("==", "!="):
            self._require_constant(left)
            self._require_constant(right)
        elif node.op == "/":
            self._require_sign(right)
        elif node.op not in ("+", "-", "*", *COMPARISON_OPERATORS):
            raise UnknownEnvelope
        corners = [apply_binary_operator(node, a, b) for a, b in itertools.product(left, right)]
        there = [corner.present for corner in corners if isinstance(corner, Vector)]
        for other in there[1:]:
            self.certain &= (other == there[0]).all(axis=0)
        values = [corner.v if isinstance(corner, Vector) else corner for corner in corners]
        low, high = np.minimum.reduce(values), np.maximum.reduce(values)
        first = corners[0]
        if isinstance(first, Vector):
            return Vector(first.keys, low, first.present), Vector(first.keys, high, first.present)
        return low, high

    def _require_constant(self, pair: BoundPair) -> None:
        """An equality may hold somewhere between two ends at which it does not."""
        for low, high, there in _row_bounds(pair):
            self.certain &= (low == high) | ~there

    def _require_sign(self, divisor: BoundPair) -> None:
        for low, high, there in _row_bounds(divisor):
            self.certain &= (low > 0) | (high < 0) | ~there

    def _bound_rows(
        self, selector: VectorSelector, span: Millis, of: BoundFunction, *, named: bool, ranged: bool = False
    ) -> BoundPair:
        """`of` every row that is selected."""
        picked = self.series.select(selector.name, selector.matchers)
        if not picked:
            raise UnknownEnvelope
        lows, highs = [], []
        for one in picked:
            if not one.page.t.size:
                raise UnknownEnvelope
            self.has_samples = True
            at = self._columns_of(one.page, selector.offset, span)
            if ranged:
                self._note_coverage(one, selector.offset, span)
            summary = self._summary(one.page)
            for row in np.arange(one.page.v.shape[0])[one.rows].tolist():
                read = RowWindows(
                    summary,
                    row,
                    at,
                    *summary.column_min_max(row, at.newest if of is newest_bounds else at.first_min, at.after_max),
                )
                low, high = of(read, span)
                # A sample that is missing, or no number, counts for more than the others.
                self.certain &= np.isfinite(low) & np.isfinite(high) & np.isfinite(read.low) & np.isfinite(read.high)
                lows.append(low)
                highs.append(high)
        plan = plan_union([one.keys if named else one.keys_without_name for one in picked])
        there = np.ones((len(lows), self.certain.size), np.bool_)
        return merge_series(plan, np.array(lows), there), merge_series(plan, np.array(highs), there)

    def _summary(self, page: SeriesPage) -> BlockSummary:
        if (known := self.summaries.get(id(page))) is None:
            known = self.summaries[id(page)] = BlockSummary(page)
        return known

    def _columns_of(self, page: SeriesPage, offset: Millis, span: Millis) -> SpanColumns:
        known = self._columns.get((id(page), offset, span))
        if known is not None:
            return known
        t, (firsts, lasts) = page.t, self.spans
        starts, ends = firsts - offset, lasts - offset
        summary = self._summary(page)
        first, first_late, after_early, after = (
            summary.count_until(x) for x in (starts - span, ends - span, starts, ends)
        )
        least, greatest = summary.min_max_distances()
        newest = np.maximum(after_early - 1, 0)
        age = np.maximum(extreme_of_blocks(greatest, newest, after, np.maximum) - 1, ends - t[np.maximum(after - 1, 0)])
        self.certain &= (after_early > 0) & (age < span)
        self.newest_age = np.maximum(self.newest_age, age.astype(np.int64))
        apart = np.maximum(extreme_of_blocks(greatest, first, after, np.maximum), 1)
        close = np.maximum(extreme_of_blocks(least, first, after, np.minimum), 1)
        fewest = np.maximum(after_early - first_late, np.minimum(np.ceil((span - age) / apart), after_early))
        most = np.minimum(after - first, (span - 1) // close + 1)
        found = self._columns[id(page), offset, span] = SpanColumns(
            first, first_late, newest, after_early, after, fewest, most
        )
        return found

    def _note_coverage(self, picked: PageSelection, offset: Millis, span: Millis) -> None:
        page, (firsts, lasts) = picked.page, self.spans
        begin = max(picked.watched_since, page.trimmed_until)
        self.covered &= firsts - offset - begin >= span
        self.uncovered |= lasts - offset - begin < span
        downs = page.downtimes
        if downs.size:
            next_ = downs[:, 1].searchsorted(firsts - offset - span, "right")
            self.certain &= (next_ == len(downs)) | (downs[np.minimum(next_, len(downs) - 1), 0] >= lasts - offset)


_MONOTONE_AGGREGATIONS = frozenset({"sum", "avg", "min", "max", "count", "group", "quantile"})
"""Aggregations that do not fall when one of their members rises."""


def _numbers(args: tuple[Node, ...]) -> list[float]:
    """Arguments that are written as numbers; of others nothing is known."""
    numbers = [arg.value for arg in args if isinstance(arg, NumberLiteral)]
    if len(numbers) < len(args):
        raise UnknownEnvelope
    return numbers


def _row_bounds(pair: BoundPair) -> Iterator[tuple[Floats, Floats, Bools]]:
    low, high = pair
    if isinstance(low, Vector) and isinstance(high, Vector):
        yield from zip(low.v, high.v, low.present, strict=True)
    elif not isinstance(low, Vector) and not isinstance(high, Vector):
        yield low, high, np.ones(low.size, np.bool_)


def _negate(node: UnaryMinus, x: Operand) -> Operand:
    return drop_metric_name(Vector(x.keys, -x.v, x.present), node.plan_cache) if isinstance(x, Vector) else -x


def _widen_vectors(low: Vector, high: Vector) -> tuple[Vector, Vector]:
    least, greatest = widen_for_rounding(low.v, high.v)
    return Vector(low.keys, least, low.present), Vector(high.keys, greatest, high.present)
