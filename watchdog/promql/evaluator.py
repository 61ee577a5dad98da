"""Many expressions at one time, as the daemon asks: what they share is worked out once.

`Tick.read` says what `evaluate` says of that time, bit for bit: `quick` for expressions about single series, and
`evaluate`'s own way for all others.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from watchdog.core.model import Labels, Millis
from watchdog.promql.eval.context import NO_SAMPLE, EvaluationContext
from watchdog.promql.eval.engine import evaluate_in_context
from watchdog.promql.eval.vectors import Keys, strip_metric_names
from watchdog.promql.fast.compiled import CompiledExpr
from watchdog.promql.fast.round_cache import FastPathUnavailable, PlanRegistry, RoundCache
from watchdog.promql.parse.nodes import Expr
from watchdog.tsdb.page import TIME_MIN, Floats, Querier


class InstantVector(Mapping[Labels, float]):
    """An instant vector: labels without `__name__` → value. Looks at single values cost a dictionary, made when one does."""

    __slots__ = ("_by_labels", "_values", "label_sets", "max_value", "min_value")

    label_sets: Keys
    """The same object as long as the same series are there."""
    min_value: float
    """Least value, NaN when there is none or one of them is NaN; `high` the greatest."""
    max_value: float

    def __init__(self, names: Keys, numbers: tuple[float, ...] | Floats, low: float, high: float) -> None:
        self.label_sets, self._values, self.min_value, self.max_value = names, numbers, low, high
        self._by_labels: dict[Labels, float] | None = None

    def _dict(self) -> dict[Labels, float]:
        if self._by_labels is None:
            self._by_labels = dict(zip(self.label_sets, np.asarray(self._values).tolist(), strict=True))
        return self._by_labels

    def __getitem__(self, labels: Labels) -> float:
        return self._dict()[labels]

    def __iter__(self) -> Iterator[Labels]:
        return iter(self.label_sets)

    def __len__(self) -> int:
        return len(self.label_sets)

    def __repr__(self) -> str:
        return repr(self._dict())


class InstantResult(NamedTuple):
    """What an expression says at one time."""

    values: InstantVector
    newest: Millis
    """As in `Result`; 0 = no sample was read."""
    covered_ms: Millis
    window_ms: Millis
    valid_until: Millis
    """As long as no samples come, the same is said up to this time, exclusively; the time itself: nothing is promised."""


_EMPTY_VECTOR = InstantVector((), (), math.nan, math.nan)


class Evaluator:
    """The plans of the expressions over some series, kept from one time to the next."""

    def __init__(self, series: Querier) -> None:
        self._series = series
        self._generation: object = None
        self._compiled: dict[int, tuple[Expr, CompiledExpr | None]] = {}
        self._registry = PlanRegistry()

    def start_round(self, now: Millis) -> EvaluationRound:
        """A look at `now`. Use it before the series change, and throw it away."""
        return EvaluationRound(self, now)

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
"""Plans that are remembered: whoever parses anew for each look must not fill the memory."""


class EvaluationRound:
    """All that is asked at one time."""

    def __init__(self, live: Evaluator, now: Millis) -> None:
        self._evaluator = live
        self._now = now
        self._caches: dict[Millis, RoundCache] = {}
        self._compiled = live.compiled_expressions()

    def evaluate(self, expr: Expr, samples_after: Millis | None = None) -> InstantResult:
        """`since`: as if no sample up to that time, inclusive, had ever been taken. Raises PromqlError as `evaluate` does."""
        known = self._compiled.get(id(expr))
        plan = self._evaluator.compile(expr) if known is None else known[1]
        if plan is None:
            return self._evaluate_by_arrays(expr, samples_after)
        after = TIME_MIN if samples_after is None else samples_after
        look = self._caches.get(after)
        if look is None:
            look = self._caches[after] = RoundCache(self._now, after)
        try:
            x = plan.evaluate(look)
            have, need = plan.coverage(look) if plan.coverage_windows else (0, 0)
        except FastPathUnavailable:
            return self._evaluate_by_arrays(expr, samples_after)
        if x is None:
            values = _EMPTY_VECTOR
        else:
            x = x if x == x else math.nan  # one NaN, whatever its bits
            values = InstantVector(plan.label_sets, (x,), x, x)
        newest, until = plan.freshness(look)
        return InstantResult(values, newest, have, need, until)

    def _evaluate_by_arrays(self, expr: Expr, since: Millis | None) -> InstantResult:
        run = EvaluationContext(self._evaluator.series, np.array([self._now], np.int64), since)
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
        return _EMPTY_VECTOR
    return InstantVector(
        expr.names_cache.get(keys, None, lambda: strip_metric_names(keys)), v, float(v.min()), float(v.max())
    )
