"""What is remembered from look to look changes no bit of any answer, whatever the samples are and however they come."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.promql.test_properties import float_bits
from tests.support.property_settings import examples
from watchdog.core.model import Sample
from watchdog.promql import EmbeddedEvaluator, Expr, evaluate, parse
from watchdog.promql.fast import incremental
from watchdog.promql.fast.compiled import CompiledExpr
from watchdog.promql.fast.round_cache import PlanRegistry, RoundCache
from watchdog.promql.functions.function import RangeFunction
from watchdog.promql.functions.registry import FUNCTIONS
from watchdog.tsdb.head import Head
from watchdog.tsdb.page import TIME_MIN

INCREMENTAL_FUNCTIONS = sorted(
    name for name, row in FUNCTIONS.items() if isinstance(row, RangeFunction) and row.incremental is not None
)
SPANS = ("5s", "33s", "64s", "5m")
START = 1_700_000_000_000


def evaluate_incremental(live: EmbeddedEvaluator, expr: Expr, now: int, since: int | None) -> list[object]:
    return [float_bits(v) for v in live.at(now).evaluate(expr, since).values.values()]


def evaluate_fresh(expr: Expr, store: Head, now: int, since: int | None) -> list[object]:
    return [float_bits(v) for v in evaluate(expr, store, np.array([now], np.int64), since).vector_at(0).values()]


def random_values(rng: np.random.Generator, shape: str, n: int) -> np.ndarray:
    """Values as they come in practice, and as they should not."""
    match shape:
        case "even":
            return rng.normal(100.0, 5.0, n)
        case "money":
            return np.asarray(1_000 * np.exp(rng.normal(0, 0.01, n).cumsum()))
        case "constant":
            return np.full(n, float(rng.integers(-1, 3)))
        case "around zero":
            return rng.normal(0.0, 1.0, n)
        case "far off":
            return 1e9 + rng.normal(0.0, 1e-3, n)
        case "whole":
            return rng.integers(0, 3, n).astype(np.float64)
    return rng.choice([math.nan, math.inf, -math.inf, 1e308, -1e308, -0.0, 0.0, 1.0, -5.0, 1e-300], n)


STRETCHES = st.lists(
    st.tuples(
        st.sampled_from(["even", "money", "constant", "around zero", "far off", "whole", "odd"]),
        st.integers(1, 70),
        st.sampled_from([1, 1, 1, 1, 3, 70]),  # so many samples between two looks
        st.sampled_from([0, 0, 0, 0.1, 0.4]),  # how often none comes
    ),
    min_size=2,
    max_size=6,
)


@settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STRETCHES, st.integers(0, 1 << 32), st.sampled_from(SPANS), st.booleans(), st.sampled_from(["", " offset 7s"]))
def test_each_look_says_what_a_first_look_says(
    stretches: list[tuple[str, int, int, float]], seed: int, span: str, jitters: bool, offset: str
) -> None:
    rng = np.random.default_rng(seed)
    store = Head({"a": 400_000})
    live = EmbeddedEvaluator(store)
    exprs = [parse(f"{func}(a[{span}]{offset})") for func in rng.permutation(INCREMENTAL_FUNCTIONS)[:3]]
    since = START + 40_000
    now = START
    for shape, n, every, lacks in stretches:
        for i, x in enumerate(random_values(rng, shape, n).tolist()):
            now += 1_000
            at = now - int(rng.integers(0, 400)) if jitters else now
            if rng.random() >= lacks:
                store.ingest("bot", now, [Sample("a", (), at, x)])
            elif rng.random() < 0.3:
                store.mark_source_down("bot", now)
            if i % every == 0:
                for expr in exprs:
                    assert evaluate_incremental(live, expr, now, None) == evaluate_fresh(expr, store, now, None), (
                        expr.text
                    )
                    assert evaluate_incremental(live, expr, now, since) == evaluate_fresh(expr, store, now, since), (
                        expr.text
                    )
    for back in (3_000, 1_000, 0):  # a look into the past, and from there on
        for expr in exprs:
            assert evaluate_incremental(live, expr, now - back, None) == evaluate_fresh(
                expr, store, now - back, None
            ), expr.text


def make_filled_store(values: list[float]) -> tuple[Head, int]:
    store = Head({"a": 400_000})
    for i, x in enumerate(values, 1):
        store.ingest("bot", START + i * 1_000, [Sample("a", (), START + i * 1_000, x)])
    return store, START + len(values) * 1_000


@pytest.mark.parametrize("func", INCREMENTAL_FUNCTIONS)
def test_samples_that_come_late_between_others_are_seen(func: str) -> None:
    store, now = make_filled_store([float(x) for x in range(1, 60)])
    live, expr = EmbeddedEvaluator(store), parse(f'{func}(a{{i=""}}[1m])')
    evaluate_incremental(live, expr, now, None)
    store.ingest("bot", now + 1_000, [Sample("a", (), now + 1_000, 7.0), Sample("a", (("i", "2"),), now + 1_000, 1.0)])
    evaluate_incremental(live, expr, now + 1_000, None)

    store.ingest("bot", now + 2_000, [Sample("a", (), now + 2_000, 70.0), Sample("a", (("i", "2"),), now + 500, 1.0)])

    assert evaluate_incremental(live, expr, now + 2_000, None) == evaluate_fresh(expr, store, now + 2_000, None)


@pytest.mark.parametrize("func", INCREMENTAL_FUNCTIONS)
def test_old_columns_may_go_while_a_window_moves_on(func: str) -> None:
    store, now = make_filled_store([100.0 + math.sin(x) for x in range(700)])
    live, expr = EmbeddedEvaluator(store), parse(f"{func}(a[5m])")
    page = store.select("a", ())[0].page
    before = page.trimmed_columns
    for i in range(700):
        now += 1_000
        store.ingest("bot", now, [Sample("a", (), now, 100.0 + math.cos(i))])
        assert evaluate_incremental(live, expr, now, None) == evaluate_fresh(expr, store, now, None)
    assert page.trimmed_columns > before


@pytest.mark.parametrize("func", INCREMENTAL_FUNCTIONS)
def test_the_usual_window_is_remembered(func: str) -> None:
    store, now = make_filled_store([100.0 + math.sin(x) for x in range(400)])
    common = PlanRegistry()
    plan = CompiledExpr(parse(f"{func}(a[5m])").node, store, common)
    (shared,) = common.shared_calls.values()
    shared.kernel = lambda *_: pytest.fail("the kernel was asked")
    for _ in range(700):
        assert plan.evaluate(RoundCache(now, TIME_MIN)) is not None
        now += 1_000
        store.ingest("bot", now, [Sample("a", (), now, 100.0 + math.sin(now))])


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incremental, "_MAX_NUMBERS", 700)
    store, now = make_filled_store([100.0 + math.sin(x) for x in range(400)])
    live = EmbeddedEvaluator(store)
    exprs = [parse(f"{func}(a[5m])") for func in INCREMENTAL_FUNCTIONS]
    for _ in range(3):
        for expr in exprs:
            assert evaluate_incremental(live, expr, now, None) == evaluate_fresh(expr, store, now, None), expr.text
        now += 1_000
        store.ingest("bot", now, [Sample("a", (), now, 101.0)])
    common = live._registry  # what the plans of one set of series share
    assert 0 < common.memory_budget.used <= 700
