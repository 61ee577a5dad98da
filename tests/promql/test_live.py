"""The short way says what the long way says, bit for bit: of values, freshness and coverage, and until when it holds."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.promql.random_promql import Words
from tests.promql.test_properties import EXPRESSIONS, GENTLE, SAMPLES, Samples, bits, by_source
from tests.promql.written import key
from watchdog.model import Labels
from watchdog.promql import Expr, Live, Pages, PromqlError, Tick, evaluate, page_of, parse
from watchdog.promql.look import Common, Look
from watchdog.promql.pages import NEVER
from watchdog.promql.quick import Plan

ONE = [f'{name}{{x="{x}",source="{source}"}}' for source in "pq" for name in "ab" for x in "12"]
WHEN = ("", "", "", "", " offset 31s", " offset -40s", " @ 300.5", " @ end() offset 10s", " @ start()")
OVER = (
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
AROUND = (
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
BETWEEN = (
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


class OfOne(Words):
    """Expressions that read one series at a time, mostly."""

    def text(self, depth: int) -> str:
        if depth <= 0 or self.random.random() < 0.2:
            return self.random.choice(ONE) + self.random.choice(WHEN)
        if self.random.random() < 0.35:
            span = self.any("15s", "1m", "5m", "10m", "5m:30s")
            return self.random.choice(OVER).format(f"{self.random.choice(ONE)}[{span}]{self.random.choice(WHEN)}")
        if self.random.random() < 0.4:
            return self.random.choice(AROUND).format(self.text(depth - 1))
        return self.random.choice(BETWEEN).format(self.text(depth - 1), self.text(depth - 1))


def expressions(seed: int, number: int) -> list[Expr]:
    words = OfOne(Random(seed))
    found: list[Expr] = []
    while len(found) < number:
        try:
            found.append(parse(words.text(3)))
        except PromqlError:  # a scalar where a vector must stand
            continue
    return found


def long_way(expr: Expr, series: Pages, now: int, since: int | None) -> object:
    try:
        result = evaluate(expr, series, np.array([now], np.int64), since)
        values = [(labels, bits(v)) for labels, v in result.at(0).items()]
    except PromqlError as error:
        return str(error)
    return values, int(result.newest[0]), int(result.have[0]), int(result.need[0])


def short_way(tick: Tick, expr: Expr, since: int | None) -> object:
    try:
        got = tick.read(expr, since)
    except PromqlError as error:
        return str(error)
    return [(labels, bits(v)) for labels, v in got.values.items()], got.newest, got.have, got.need


SEEDS = st.integers(0, 1 << 32)
TIMES = st.lists(st.integers(-10_000, 1_300_000), min_size=1, max_size=4)
SINCE = st.none() | st.integers(0, 900_000)


@settings(GENTLE, max_examples=150)
@given(SAMPLES, SEEDS, TIMES, SINCE)
def test_many_expressions_at_one_time_say_what_each_says_alone(
    samples: Samples, seed: int, times: list[int], since: int | None
) -> None:
    series = by_source(samples)
    live, exprs = Live(series), expressions(seed, 12)
    for now in times:
        tick = live.at(now)
        for expr in [*exprs, *exprs[:4]]:
            assert short_way(tick, expr, since) == long_way(expr, series, now, since), expr.text
            assert short_way(tick, expr, None) == long_way(expr, series, now, None), expr.text


@settings(GENTLE, max_examples=30)
@given(SAMPLES, TIMES, SINCE)
def test_expressions_about_many_series_say_the_same(samples: Samples, times: list[int], since: int | None) -> None:
    series = by_source(samples)
    live = Live(series)
    parsed = [parse(text) for text in EXPRESSIONS]
    for now in times:
        tick = live.at(now)
        for expr in parsed:
            assert short_way(tick, expr, since) == long_way(expr, series, now, since), expr.text


@settings(GENTLE, max_examples=100)
@given(SAMPLES, SEEDS, st.integers(0, 900_000), st.data())
def test_until_then_nothing_changes_without_samples(samples: Samples, seed: int, now: int, data: st.DataObject) -> None:
    series = by_source(samples)
    live = Live(series)
    for expr in expressions(seed, 20):
        try:
            got = live.at(now).read(expr)
        except PromqlError:
            continue
        assert got.until >= now or not got.values
        if got.until > now and got.have == got.need:
            later = data.draw(st.integers(now, got.until - 1))
            assert short_way(live.at(later), expr, None) == long_way(expr, series, now, None), expr.text


def quiet(*names: str) -> dict[Labels, list[tuple[int, float]]]:
    return {key(name): [(t * 1_000, float(t % 7)) for t in range(1, 400)] for name in names}


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
    series = Pages([page_of(quiet("a{x=1}", "a{x=2}", "b"), 0)])
    plan = Plan(parse(text).node, series, Common())

    assert plan.value(Look(398_000, NEVER)) is not None


def test_series_that_come_and_go_are_noticed() -> None:
    series = Pages([page_of(quiet("a{x=1}"), 0)])
    live, expr = Live(series), parse("a")
    assert list(live.at(399_000).read(expr).values) == [(("x", "1"),)]

    series.pages.append(page_of(quiet("a{x=2}"), 0))
    series.changed()

    assert list(live.at(399_000).read(expr).values) == [(("x", "1"),), (("x", "2"),)]


def test_a_sample_holds_until_it_is_too_old_and_a_window_until_its_oldest_leaves() -> None:
    live = Live(Pages([page_of(quiet("a"), 0)]))

    assert live.at(399_500).read(parse("a")).until == 399_000 + 300_000
    assert live.at(399_500).read(parse("avg_over_time(a[1m])")).until == 340_000 + 60_000
    assert live.at(398_500).read(parse("a")).until == 398_500  # a newer one is known already
    assert live.at(399_500).read(parse("rate(a[1m])")).until == 399_500
    assert live.at(399_500).read(parse("a offset 5s")).until == 399_500
    assert live.at(399_500).read(parse("time() - a")).until == 399_500


@settings(GENTLE, max_examples=60)
@given(SAMPLES, SEEDS, TIMES, st.lists(st.integers(0, 900_000), min_size=2, max_size=6, unique=True))
def test_what_nobody_watched_lacks_in_both_ways(
    samples: Samples, seed: int, times: list[int], downs: list[int]
) -> None:
    series = by_source(samples)
    missed = np.array(sorted(downs)[: len(downs) // 2 * 2], np.int64).reshape(-1, 2)
    for page in series.pages:
        page.unwatched = missed
    live, exprs = Live(series), expressions(seed, 12)
    for now in times:
        tick = live.at(now)
        for expr in exprs:
            assert short_way(tick, expr, None) == long_way(expr, series, now, None), expr.text
