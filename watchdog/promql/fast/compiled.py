"""Expressions about single series, at one time: closures over plain floats.

Most rules read one series of each metric. For them arrays of one number cost ten times what the number does, so such an
expression is turned into closures once, and again when series come or go. Every float operation is the one that the
arrays make: the answers are the same bits. Whatever is not simple (a cell without a value, a window with a gap) raises
`FastPathUnavailable`, and the caller asks the arrays.
"""

from __future__ import annotations

import operator
from typing import NamedTuple

from watchdog.core.model import Labels, Millis
from watchdog.promql.eval import binary_operators
from watchdog.promql.eval.context import DOWNTIME_TOLERANCE, NO_SAMPLE, unwatched_between
from watchdog.promql.fast.closures import apply_function, apply_numpy_function, apply_operator
from watchdog.promql.fast.round_cache import FastPathUnavailable, PlanRegistry, RoundCache, SharedRangeCall, WindowKey
from watchdog.promql.functions.function import CompiledNode, ElementwiseFunction, SpecialFunction
from watchdog.promql.functions.registry import FUNCTIONS, range_function
from watchdog.promql.parse.nodes import (
    SET_OPERATORS,
    AtModifier,
    BinaryExpr,
    FunctionCall,
    Node,
    NumberLiteral,
    RangeFunctionCall,
    UnaryMinus,
    VectorSelector,
)
from watchdog.tsdb.labels import LOOKBACK_DELTA, labels_without_name
from watchdog.tsdb.page import PageSelection, Querier, SeriesPage


class CoverageWindow(NamedTuple):
    """A window whose coverage is minded."""

    page: SeriesPage
    watched_since: Millis
    window_number: int
    span: Millis


class CompiledExpr:
    """An expression as closures, for as long as the series stay the same."""

    __slots__ = (
        "_registry",
        "_series",
        "coverage_windows",
        "depends_on_samples_only",
        "evaluate",
        "label_sets",
        "window_numbers",
    )

    def __init__(self, node: Node, series: Querier, common: PlanRegistry) -> None:
        """Raises FastPathUnavailable when the expression is not about single series."""
        self._series, self._registry = series, common
        self.window_numbers: list[int] = []
        """Of the spots where it reads."""
        self.coverage_windows: list[CoverageWindow] = []
        self.depends_on_samples_only = True
        """Whether the answer depends on nothing but the samples that are read."""
        key, self.evaluate = self.compile(node)
        self.label_sets: tuple[Labels, ...] = (() if key is None else labels_without_name(key),)

    # ─ the compiler: what the closures are made of ─

    def compile(self, node: Node) -> tuple[Labels | None, CompiledNode]:
        """The labels, with the name where PromQL keeps it, None for a scalar; and the closure."""
        match node:
            case NumberLiteral(value=value):
                return None, lambda _: value
            case VectorSelector():
                return self.compile_selector(node)
            case RangeFunctionCall():
                return self._compile_range_call(node)
            case BinaryExpr():
                return self._compile_binary(node)
            case UnaryMinus(expr=inner):
                key, step = self.compile(inner)
                return None if key is None else labels_without_name(key), apply_function(step, operator.neg)
            case FunctionCall():
                return self._compile_call(node)
        raise FastPathUnavailable

    def _select_single_series(self, selector: VectorSelector) -> PageSelection:
        picked = selector.plan_cache.get(
            self._series.generation, None, lambda: self._series.select(selector.name, selector.matchers)
        )
        if len(picked) != 1 or len(picked[0].keys) != 1:
            raise FastPathUnavailable
        return picked[0]

    def _register_window(
        self, page: SeriesPage, selector: VectorSelector, span: Millis, *, whole: bool
    ) -> tuple[int, WindowKey]:
        at: AtModifier = selector.at
        if at is not None or selector.offset:
            self.depends_on_samples_only = False
        spot = WindowKey(id(page), at if isinstance(at, int) else None, selector.offset, span, whole)
        number = self._registry.window_numbers.setdefault(spot, len(self._registry.window_numbers))
        if number not in self.window_numbers:
            self.window_numbers.append(number)
        return number, spot

    def compile_selector(self, selector: VectorSelector, *, timestamps: bool = False) -> tuple[Labels, CompiledNode]:
        picked = self._select_single_series(selector)
        page, row = picked.page, _row_index(picked)
        number, spot = self._register_window(page, selector, LOOKBACK_DELTA, whole=False)

        def cell(cache: RoundCache) -> float | None:
            view = cache.window_views.get(number) or cache.window_view(number, page, spot)
            last = view.last
            if view.first >= last:
                return None
            x = view.read_cell(row, last - 1)
            if x != x:
                raise FastPathUnavailable  # a NaN that was measured, or a cell without a value
            return x

        def sampled(cache: RoundCache) -> float | None:
            return None if cell(cache) is None else cache.window_views[number].newest_sample_time / 1_000

        return picked.keys[0], sampled if timestamps else cell

    def _compile_range_call(self, node: RangeFunctionCall) -> tuple[Labels, CompiledNode]:
        selector, function = node.selector, range_function(node.func)
        if not isinstance(selector, VectorSelector) or function.conclude is not None:
            raise FastPathUnavailable
        args = []
        for arg in node.args:
            if not isinstance(arg, NumberLiteral):
                raise FastPathUnavailable
            args.append(arg.value)
        picked = self._select_single_series(selector)
        row, (number, spot) = _row_index(picked), self._register_window(picked.page, selector, node.span, whole=True)
        self.coverage_windows.append(CoverageWindow(picked.page, picked.watched_since, number, node.span))
        self.depends_on_samples_only = self.depends_on_samples_only and function.samples_only
        what = (node.func, tuple(map(repr, args)), spot)
        shared = self._registry.shared_calls.get(what)
        if shared is None:
            shared = self._registry.shared_calls[what] = SharedRangeCall(
                function, picked.page, number, spot, tuple(args), self._registry.memory_budget
            )
        if row not in shared.rows:
            shared.rows.append(row)
            shared.rows.sort()

        def over(cache: RoundCache) -> float | None:
            known = cache.call_results.get(shared)
            if known is None:
                known = cache.call_results[shared] = shared.evaluate(cache, row)
            elif row not in known:
                known.update(shared.evaluate(cache, row))
            return known[row]

        return picked.keys[0] if function.keeps_name else picked.keys_without_name[0], over

    def _compile_binary(self, node: BinaryExpr) -> tuple[Labels | None, CompiledNode]:
        (mine, left), (theirs, right) = self.compile(node.lhs), self.compile(node.rhs)
        if node.op in SET_OPERATORS:
            return self._compile_set_operator(node, mine, left, theirs, right)
        if mine is None or theirs is None:
            key = mine if theirs is None else theirs
            nameless = key is not None and (node.op in binary_operators.ARITHMETIC_FUNCTIONS or node.return_bool)
            # What a comparison keeps is the value of the vector, wherever it stands.
            keeps = "left" if theirs is None else "right"
            return labels_without_name(key) if key is not None and nameless else key, apply_operator(
                node, left, right, keeps, scalar=key is None
            )
        pairs = binary_operators.match_series(node, (mine,), (theirs,))
        if not pairs.many.size:
            raise FastPathUnavailable
        return pairs.result.keys[0], apply_operator(node, left, right, "left", scalar=False)

    def _compile_set_operator(
        self, node: BinaryExpr, mine: Labels | None, left: CompiledNode, theirs: Labels | None, right: CompiledNode
    ) -> tuple[Labels, CompiledNode]:
        if mine is None or theirs is None or node.op == "or":  # what `or` is labelled by depends on who is there
            raise FastPathUnavailable
        met = binary_operators.signature(node, mine) == binary_operators.signature(node, theirs)
        wanted = node.op == "and"

        def step(cache: RoundCache) -> float | None:
            x, y = left(cache), right(cache)
            return x if (met and y is not None) == wanted else None

        return mine, step

    def _compile_call(self, node: FunctionCall) -> tuple[Labels | None, CompiledNode]:
        function = FUNCTIONS[node.func]
        if isinstance(function, SpecialFunction):
            if function.compile is None:
                raise FastPathUnavailable
            return function.compile(self, node)
        if not isinstance(function, ElementwiseFunction) or function.has_result is not None:
            raise FastPathUnavailable
        labels, step = self.compile(node.args[0])
        if labels is None:
            raise FastPathUnavailable
        rest = [self.compile(arg)[1] for arg in node.args[1:]]
        return labels_without_name(labels), apply_numpy_function(function.kernel, step, rest)

    # ─ at one time, after `evaluate` ─

    def freshness(self, cache: RoundCache) -> tuple[Millis, Millis]:
        """How old the answer is (as `QueryResult.newest`), and until when it stays as it is, exclusively, as long as no samples
        come; the time of the round where that is not known."""
        views, newest, until = cache.window_views, NO_SAMPLE, NO_SAMPLE
        for number in self.window_numbers:
            view = views[number]
            if view.newest < newest:
                newest = view.newest
            if view.valid_until < until:
                until = view.valid_until
        return (0 if newest == NO_SAMPLE else newest), (
            until if self.depends_on_samples_only and until != NO_SAMPLE else cache.now
        )

    def coverage(self, cache: RoundCache) -> tuple[Millis, Millis]:
        """How much of the window is covered that lacks the greatest share, and how long it is."""
        worst_have = worst_span = 0
        for page, begin, number, span in self.coverage_windows:
            end = cache.window_views[number].end
            begin = max(begin, page.trimmed_until, cache.samples_after)
            have = end - begin
            have = span if have > span else max(have, 0)
            if page.downtimes.size and page.downtimes[-1, 1] > end - span:  # some of the window may have been missed
                if page.downtimes[-1, 1] > end:
                    raise FastPathUnavailable  # it goes on, and less is covered with each millisecond
                lost = unwatched_between(page.downtimes, max(end - span, begin), end)
                have -= lost if lost * DOWNTIME_TOLERANCE > span else 0
            if worst_span:
                share, before = have / span, worst_have / worst_span
                if share > before or (share == before and span <= worst_span):
                    continue
            worst_have, worst_span = have, span
        return worst_have, worst_span


def _row_index(picked: PageSelection) -> int:
    rows = picked.rows
    return int(rows.start) if isinstance(rows, slice) else int(rows[0])
