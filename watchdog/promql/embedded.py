"""The embedded engine: many expressions at one time, as the daemon asks; what they share is worked out once.

A round says what `engine.evaluate` says of that time, bit for bit: expressions about single series are compiled, all
others go the way of the arrays.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np

from watchdog.core.model import Labels, Millis
from watchdog.promql.eval.context import NO_SAMPLE, EvaluationContext
from watchdog.promql.eval.engine import evaluate_in_context
from watchdog.promql.eval.vectors import Keys, strip_metric_names
from watchdog.promql.evaluator import EMPTY_VECTOR, InstantResult, InstantVector
from watchdog.promql.fast.compiled import CompiledExpr
from watchdog.promql.fast.round_cache import FastPathUnavailable, PlanRegistry, RoundCache
from watchdog.promql.parse.nodes import Expr
from watchdog.tsdb.page import TIME_MIN, Floats, Querier


class EmbeddedEvaluator:
    """The plans of the expressions over some series, kept from one time to the next."""

    def __init__(self, series: Querier) -> None:
        self._series = series
        self._generation: object = None
        self._compiled: dict[int, tuple[Expr, CompiledExpr | None]] = {}
        self._registry = PlanRegistry()

    def at(self, now: Millis) -> EmbeddedRound:
        """A round at `now`. Use it before the series change, and throw it away."""
        return EmbeddedRound(self, now)

    async def prefetch(self, expressions: Collection[Expr], now: Millis) -> None:
        """Everything is here already."""

    @property
    def series(self) -> Querier:
        return self._series

    def compiled_expressions(self) -> dict[int, tuple[Expr, CompiledExpr | None]]:
        """Those of the series that there are now, by the id of the expression, which they hold so that it stays its own.
        None: the expression is not for the short way."""
        if self._generation is not self._series.generation:
            self._generation = self._series.generation
            self._compiled, self._registry = {}, PlanRegistry()
        return self._compiled

    def compile(self, expr: Expr) -> CompiledExpr | None:
        """A new plan."""
        try:
            plan = CompiledExpr(expr.node, self._series, self._registry)
        except FastPathUnavailable:
            plan = None
        if len(self._compiled) >= _MAX_COMPILED:
            self._compiled.clear()
        self._compiled[id(expr)] = expr, plan
        return plan


_MAX_COMPILED = 100_000
"""Plans that are remembered: whoever parses anew for each round must not fill the memory."""


class EmbeddedRound:
    """All that is asked at one time."""

    def __init__(self, evaluator: EmbeddedEvaluator, now: Millis) -> None:
        self._evaluator = evaluator
        self._now = now
        self._caches: dict[Millis, RoundCache] = {}
        self._compiled = evaluator.compiled_expressions()

    def evaluate(self, expr: Expr, samples_after: Millis | None = None) -> InstantResult:
        """`samples_after`: as if no sample up to that time, inclusive, had ever been taken. Raises PromqlError as
        `engine.evaluate` does."""
        known = self._compiled.get(id(expr))
        plan = self._evaluator.compile(expr) if known is None else known[1]
        if plan is None:
            return self._evaluate_by_arrays(expr, samples_after)
        after = TIME_MIN if samples_after is None else samples_after
        cache = self._caches.get(after)
        if cache is None:
            cache = self._caches[after] = RoundCache(self._now, after)
        try:
            x = plan.evaluate(cache)
            have, need = plan.coverage(cache) if plan.coverage_windows else (0, 0)
        except FastPathUnavailable:
            return self._evaluate_by_arrays(expr, samples_after)
        if x is None:
            values = EMPTY_VECTOR
        else:
            x = x if x == x else math.nan  # one NaN, whatever its bits
            values = InstantVector(plan.label_sets, (x,), x, x)
        newest, until = plan.freshness(cache)
        return InstantResult(values, newest, have, need, until)

    def query(self, expr: Expr) -> dict[Labels, float]:
        """The instant vector with its names. Raises PromqlError."""
        vector = evaluate_in_context(expr, self._context(None))
        return dict(zip(vector.keys, vector.v[:, 0].tolist(), strict=True))

    def _context(self, samples_after: Millis | None) -> EvaluationContext:
        return EvaluationContext(self._evaluator.series, np.array([self._now], np.int64), samples_after)

    def _evaluate_by_arrays(self, expr: Expr, samples_after: Millis | None) -> InstantResult:
        run = self._context(samples_after)
        vector = evaluate_in_context(expr, run)
        newest = int(run.newest[0])
        have = int(run.covered_ms[0])
        return InstantResult(
            _instant_vector(expr, vector.keys, vector.v[:, 0]),
            0 if newest == NO_SAMPLE else newest,
            have,
            have if run.window_ms is None else int(run.window_ms[0]),
            self._now,
        )


def _instant_vector(expr: Expr, keys: Keys, v: Floats) -> InstantVector:
    if not keys:
        return EMPTY_VECTOR
    return InstantVector(
        expr.names_cache.get(keys, None, lambda: strip_metric_names(keys)), v, float(v.min()), float(v.max())
    )
