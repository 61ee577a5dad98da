"""The short way says what the long way says, bit for bit: of values, freshness and coverage, and until when it holds."""

from __future__ import annotations

import functools
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.promql.random_promql import ExpressionGenerator
from tests.promql.test_properties import EXPRESSIONS, SAMPLES, SLOW_SETTINGS, Samples, float_bits, pages_by_source
from tests.support.property_settings import examples
from tests.support.series_builders import series_key
from watchdog.core.model import Labels
from watchdog.promql import EmbeddedEvaluator, EvaluationRound, Expr, PromqlError, evaluate, parse
from watchdog.promql.fast.compiled import CompiledExpr
from watchdog.promql.fast.round_cache import PlanRegistry, RoundCache
from watchdog.tsdb.page import TIME_MIN, PageList, page_from_samples

SELECTORS = [f'{name}{{x="{x}",source="{source}"}}' for source in "pq" for name in "ab" for x in "12"]
MODIFIERS = ("", "", "", "", " offset 31s", " offset -40s", " @ 300.5", " @ end() offset 10s", " @ start()")
RANGE_FUNCTIONS = (
    "avg_over_time({})",
    "sum_over_time({})",
    "min_over_time({})",
    "max_over_time({})",
    "count_over_time({})",
    "rate({})",
    "last_over_time({})",
    "increase({})",
    "delta({})",
    "irate({})",
    "changes({})",
    "stddev_over_time({})",
    "deriv({})",
    "quantile_over_time(0.3, {})",
    "predict_linear({}, 60)",
    "max_drawdown_over_time({})",
    "ewma_over_time({}, 60)",
    "streak_above_over_time({}, 0.2)",
    "present_over_time({})",
    "absent_over_time({})",
    "mad_over_time({})",
)
WRAPPERS = (
    "-({})",
    "abs({})",
    "sqrt({})",
    "exp({})",
    "ln({})",
    "sin({})",
    "sgn({})",
    "round({}, 0.25)",
    "clamp({}, 0, 1)",
    "hour({})",
    "clamp_min({}, 0.5)",
    "scalar({})",
    "vector(scalar({}))",
    "timestamp({})",
    "sort({})",
    "absent({})",
    "sum({})",
    "({}) * time()",
    "2 ^ ({})",
    "({}) > 0.3",
    "0.3 < bool ({})",
    "({}) / 0",
    "({}) % 0.3",
    "({}) - pi()",
    "1 - ({})",
)
OPERATORS = (
    "({}) + ({})",
    "({}) - ({})",
    "({}) * ({})",
    "({}) / ({})",
    "({}) % ({})",
    "({}) ^ ({})",
    "({}) > ({})",
    "({}) == bool ({})",
    "({}) / on () ({})",
    "({}) - on (x) ({})",
    "({}) <= ignoring (source) ({})",
    "({}) and ({})",
    "({}) unless ({})",
    "({}) and on () ({})",
    "({}) or ({})",
    "({}) * on () group_left (x) ({})",
    "({}) != on () group_right ({})",
)


class SingleSeriesGenerator(ExpressionGenerator):
    """Expressions that read one series at a time, mostly."""

    def text(self, depth: int) -> str:
        if depth <= 0 or self.random.random() < 0.2:
            return self.random.choice(SELECTORS) + self.random.choice(MODIFIERS)
        if self.random.random() < 0.35:
            span = self.choose("15s", "1m", "5m", "10m", "5m:30s")
            return self.random.choice(RANGE_FUNCTIONS).format(
                f"{self.random.choice(SELECTORS)}[{span}]{self.random.choice(MODIFIERS)}"
            )
        if self.random.random() < 0.4:
            return self.random.choice(WRAPPERS).format(self.text(depth - 1))
        return self.random.choice(OPERATORS).format(self.text(depth - 1), self.text(depth - 1))


def random_expressions(seed: int, number: int) -> list[Expr]:
    words = SingleSeriesGenerator(Random(seed))
    found: list[Expr] = []
    while len(found) < number:
        try:
            found.append(parse(words.text(3)))
        except PromqlError:  # a scalar where a vector must stand
            continue
    return found


def evaluate_slow(expr: Expr, series: PageList, now: int, since: int | None) -> object:
    try:
        result = evaluate(expr, series, np.array([now], np.int64), since)
        values = [(labels, float_bits(v)) for labels, v in result.vector_at(0).items()]
    except PromqlError as error:
        return str(error)
    return values, int(result.newest[0]), int(result.covered_ms[0]), int(result.window_ms[0])


def evaluate_fast(tick: EvaluationRound, expr: Expr, since: int | None) -> object:
    try:
        got = tick.evaluate(expr, since)
    except PromqlError as error:
        return str(error)
    return [(labels, float_bits(v)) for labels, v in got.values.items()], got.newest, got.covered_ms, got.window_ms


SEEDS = st.integers(0, 1 << 32)
TIMES = st.lists(st.integers(-10_000, 1_300_000), min_size=1, max_size=4)
SINCE = st.none() | st.integers(0, 900_000)


@settings(SLOW_SETTINGS, max_examples=examples(150))
@given(SAMPLES, SEEDS, TIMES, SINCE)
def test_many_expressions_at_one_time_say_what_each_says_alone(
    samples: Samples, seed: int, times: list[int], since: int | None
) -> None:
    series = pages_by_source(samples)
    live, exprs = EmbeddedEvaluator(series), random_expressions(seed, 12)
    for now in times:
        tick = live.at(now)
        slow = functools.cache(lambda expr, since, now=now: evaluate_slow(expr, series, now, since))
        for expr in [*exprs, *exprs[:4]]:
            assert evaluate_fast(tick, expr, since) == slow(expr, since), expr.text
            assert evaluate_fast(tick, expr, None) == slow(expr, None), expr.text


@settings(SLOW_SETTINGS, max_examples=examples(30))
@given(SAMPLES, TIMES, SINCE)
def test_expressions_about_many_series_say_the_same(samples: Samples, times: list[int], since: int | None) -> None:
    series = pages_by_source(samples)
    live = EmbeddedEvaluator(series)
    parsed = [parse(text) for text in EXPRESSIONS]
    for now in times:
        tick = live.at(now)
        for expr in parsed:
            assert evaluate_fast(tick, expr, since) == evaluate_slow(expr, series, now, since), expr.text


@settings(SLOW_SETTINGS, max_examples=examples(100))
@given(SAMPLES, SEEDS, st.integers(0, 900_000), st.data())
def test_until_then_nothing_changes_without_samples(samples: Samples, seed: int, now: int, data: st.DataObject) -> None:
    series = pages_by_source(samples)
    live = EmbeddedEvaluator(series)
    for expr in random_expressions(seed, 20):
        try:
            got = live.at(now).evaluate(expr)
        except PromqlError:
            continue
        assert got.valid_until >= now or not got.values
        if got.valid_until > now and got.covered_ms == got.window_ms:
            later = data.draw(st.integers(now, got.valid_until - 1))
            assert evaluate_fast(live.at(later), expr, None) == evaluate_slow(expr, series, now, None), expr.text


def constant_series(*names: str) -> dict[Labels, list[tuple[int, float]]]:
    return {series_key(name): [(t * 1_000, float(t % 7)) for t in range(1, 400)] for name in names}


@pytest.mark.parametrize(
    "text",
    [
        'a{x="1"}',
        'a{x="1"} / on () b',
        "1 - b / max_over_time(b[1m])",
        "avg_over_time(b[5m])",
        "abs(b) > bool 2",
        "b and b > 1",
        "rate(b[1m] offset 10s)",
        "timestamp(b)",
        "time() - b",
        "clamp_min(b, 3)",
    ],
)
def test_what_rules_mostly_say_goes_the_short_way(text: str) -> None:
    series = PageList([page_from_samples(constant_series("a{x=1}", "a{x=2}", "b"), 0)])
    plan = CompiledExpr(parse(text).node, series, PlanRegistry())

    assert plan.evaluate(RoundCache(398_000, TIME_MIN)) is not None


def test_series_that_come_and_go_are_noticed() -> None:
    series = PageList([page_from_samples(constant_series("a{x=1}"), 0)])
    live, expr = EmbeddedEvaluator(series), parse("a")
    assert list(live.at(399_000).evaluate(expr).values) == [(("x", "1"),)]

    series.pages.append(page_from_samples(constant_series("a{x=2}"), 0))
    series.invalidate()

    assert list(live.at(399_000).evaluate(expr).values) == [(("x", "1"),), (("x", "2"),)]


def test_a_sample_holds_until_it_is_too_old_and_a_window_until_its_oldest_leaves() -> None:
    live = EmbeddedEvaluator(PageList([page_from_samples(constant_series("a"), 0)]))

    assert live.at(399_500).evaluate(parse("a")).valid_until == 399_000 + 300_000
    assert live.at(399_500).evaluate(parse("avg_over_time(a[1m])")).valid_until == 340_000 + 60_000
    assert live.at(398_500).evaluate(parse("a")).valid_until == 398_500  # a newer one is known already
    assert live.at(399_500).evaluate(parse("rate(a[1m])")).valid_until == 399_500
    assert live.at(399_500).evaluate(parse("a offset 5s")).valid_until == 399_500
    assert live.at(399_500).evaluate(parse("time() - a")).valid_until == 399_500


@settings(SLOW_SETTINGS, max_examples=examples(60))
@given(SAMPLES, SEEDS, TIMES, st.lists(st.integers(0, 900_000), min_size=2, max_size=6, unique=True))
def test_what_nobody_watched_lacks_in_both_ways(
    samples: Samples, seed: int, times: list[int], downs: list[int]
) -> None:
    series = pages_by_source(samples)
    missed = np.array(sorted(downs)[: len(downs) // 2 * 2], np.int64).reshape(-1, 2)
    for page in series.pages:
        page.downtimes = missed
    live, exprs = EmbeddedEvaluator(series), random_expressions(seed, 12)
    for now in times:
        tick = live.at(now)
        for expr in exprs:
            assert evaluate_fast(tick, expr, None) == evaluate_slow(expr, series, now, None), expr.text
