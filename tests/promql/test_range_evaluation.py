"""Many times at once are answered by other code than one time: the answers are the same bits, and right."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.promql.test_properties import float_bits, pages_by_source
from tests.support.property_settings import examples
from tests.support.series_builders import STALE_MARKER, series_key
from watchdog.promql import QueryResult, evaluate, parse
from watchdog.promql.eval.window_columns import BucketSearch
from watchdog.tsdb.page import ABSENT_BITS, PageList, SeriesPage, is_missing, page_from_samples

FUNCTIONS = [
    *(
        f"{name}_over_time(a[RANGE])"
        for name in (
            "avg",
            "sum",
            "min",
            "max",
            "count",
            "last",
            "stddev",
            "stdvar",
            "present",
            "mad",
            "max_drawdown",
            "change_share",
        )
    ),
    *(f"{name}(a[RANGE])" for name in ("rate", "increase", "delta", "irate", "idelta", "changes", "resets", "deriv")),
    "quantile_over_time(0.3, a[RANGE])",
    "predict_linear(a[RANGE], 60)",
    "streak_above_over_time(a[RANGE], 0.5)",
    "streak_below_over_time(a[RANGE], 0.5)",
    "ewma_over_time(a[RANGE], 20)",
    "ewm_volatility_over_time(a[RANGE], 20)",
    "a",
    "1 - a / max_over_time(a[RANGE])",
    "a + (a offset 5s) - avg_over_time(a[RANGE])",
]
ABSENT = float(np.array(ABSENT_BITS, np.int64).view(np.float64))

SHAPES = ("walk", "constant", "counter", "returns", "wild", "holes", "steps", "debt")


def random_values(rng: np.random.Generator, shape: str, n: int) -> np.ndarray:
    walk = np.abs(100 + np.cumsum(rng.normal(0, 1, n)))
    match shape:
        case "constant":
            return np.full(n, 0.967)
        case "counter":
            v = np.cumsum(rng.integers(0, 3, n)).astype(float)
            for at in rng.integers(0, n, 1 + n // 50):
                v[at:] -= v[at]
            return v
        case "returns":
            return rng.normal(0, 0.01, n)
        case "wild":
            return rng.choice(
                [0.0, -0.0, 0.1, 1e15, -1e15, 1e308, -1e308, 1e-300, math.nan, math.inf, -math.inf, 3.0], n
            )
        case "holes":
            v = walk.copy()
            v[rng.random(n) < 0.2] = STALE_MARKER
            v.view(np.int64)[rng.random(n) < 0.2] = ABSENT_BITS
            return v
        case "steps":
            return np.round(walk / 3)
        case "debt":
            return walk - 101
    return walk


@st.composite
def random_pages(draw: st.DrawFn) -> PageList:
    rng = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    n = draw(st.one_of(st.integers(1, 220), st.integers(100, 300)))
    step = draw(st.sampled_from([250, 1_000, 1_700, 5_000]))
    t = 1_767_225_600_000 + draw(st.integers(0, 9_000)) + step * np.arange(n, dtype=np.int64)
    match draw(st.sampled_from(["even", "even", "jitter", "gaps", "bursts"])):
        case "jitter":
            t += rng.integers(0, step, n)
        case "gaps":
            t += np.cumsum(rng.choice([0, 0, 0, 0, 0, 0, 0, 40_000], n))
        case "bursts":
            t = t[0] + np.cumsum(rng.choice([1, 10, 100, 9_000], n))
    shapes = draw(st.lists(st.sampled_from(SHAPES), min_size=1, max_size=3))
    v = np.array([random_values(rng, shape, n) for shape in shapes])
    if draw(st.booleans()):
        drop = draw(st.integers(0, n - 1))
        page = SeriesPage(
            t[drop:], v[:, drop:].copy(), [series_key(f"a{{x={i}}}") for i in range(len(shapes))], int(t[0]) - 1
        )
        page.trimmed_until = int(t[drop]) - 1
    else:
        page = SeriesPage(t, v, [series_key(f"a{{x={i}}}") for i in range(len(shapes))], int(t[0]) - 1)
    return PageList([page])


@st.composite
def random_times(draw: st.DrawFn, series: PageList) -> np.ndarray:
    t = series.pages[0].t
    if t.size > 60 and draw(st.booleans()):  # among the samples: that is where windows slide
        start, stop = (int(t[draw(st.integers(*places))]) for places in ((0, 30), (50, t.size - 1)))
        return np.arange(start, stop, draw(st.sampled_from([250, max(250, int(t[1] - t[0]))])), dtype=np.int64)[:400]
    start = int(t[0]) - draw(st.sampled_from([0, 0, 700, 20_000]))
    step = draw(st.sampled_from([250, 1_000, 1_000, 5_000, 7_000]))
    times = start + step * np.arange(draw(st.integers(17, 90)), dtype=np.int64)
    if draw(st.integers(0, 3)) == 0:
        times = np.unique(np.concatenate((times, t[: draw(st.integers(1, 90))])))
    return times


def answer_at(result: QueryResult, i: int) -> list[object]:
    rows = np.flatnonzero(result.present[:, i])
    return [
        {result.keys[row]: float_bits(result.values[row, i]) for row in rows},
        *(int(x[i]) for x in (result.newest, result.covered_ms, result.window_ms)),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("text", FUNCTIONS)
def test_many_times_are_answered_like_one(text: str) -> None:
    @settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.data())
    def check(data: st.DataObject) -> None:
        series = data.draw(random_pages())
        times = data.draw(random_times(series))
        since = data.draw(st.none() | st.sampled_from(times.tolist()))
        expr = parse(text.replace("RANGE", data.draw(st.sampled_from(["1s", "5s", "30s", "17s", "2m"]))))
        whole = evaluate(expr, series, times, since)
        # Some of the times, each alone.
        for i in range(0, times.size, data.draw(st.integers(1, 5))):
            assert answer_at(evaluate(expr, series, times[i : i + 1], since), 0) == answer_at(whole, i)
        # In chunks, cut anywhere.
        cut = data.draw(st.integers(1, times.size - 1))
        parts = [evaluate(expr, series, part, since) for part in (times[:cut], times[cut:])]
        assert [
            answer_at(part, i) for part, size in zip(parts, (cut, times.size - cut), strict=True) for i in range(size)
        ] == [answer_at(whole, i) for i in range(times.size)]

    check()


@pytest.mark.slow
@pytest.mark.parametrize("jitter", [0, 400], ids=["evenly", "unevenly"])
@pytest.mark.parametrize("text", FUNCTIONS)
def test_looks_at_each_second_and_each_sample_are_answered_like_one(text: str, jitter: int) -> None:
    rng = np.random.default_rng(1)
    t = 1_767_225_600_000 + 1_000 * np.arange(400, dtype=np.int64) + rng.integers(-jitter, jitter + 1, 400)
    for shape in ("walk", "wild", "holes"):
        series = PageList([SeriesPage(t, random_values(rng, shape, 400)[None], [series_key("a")], int(t[0]) - 1)])
        times = np.union1d(np.arange(int(t[0]) + 150, int(t[-1]), 1_000), t if jitter else t[:0])
        times.flags.writeable = False
        for some in (times[40:], times):  # windows begin among the samples, and before them
            expr = parse(text.replace("RANGE", "70s"))
            whole = evaluate(expr, series, some)
            assert whole.newest_age is None or whole.newest_age == (some - whole.newest).max()
            if shape == "walk" and not jitter and some is not times:
                assert whole.newest_age == 150
            for i in range(0, some.size, 47):
                assert answer_at(evaluate(expr, series, some[i : i + 1]), 0) == answer_at(whole, i)


GAPS = st.lists(st.sampled_from([1, 2, 300, 1_000, 1_001, 90_000, 40_000_000]), min_size=1, max_size=80)


@given(GAPS, GAPS, st.integers(-50_000_000, 50_000_000))
def test_a_search_in_buckets_finds_what_halving_finds(apart: list[int], asked: list[int], off: int) -> None:
    t, times = np.cumsum(apart), np.cumsum(asked) + off

    assert BucketSearch(t).searchsorted(times).tolist() == t.searchsorted(times, "right").tolist()


@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_sums_and_means_are_what_exact_arithmetic_says(data: st.DataObject) -> None:
    series = data.draw(random_pages())
    page = series.pages[0]
    times = data.draw(random_times(series))
    span = 30_000
    found = {
        name: evaluate(parse(f"{name}_over_time(a[{span}ms])"), series, times) for name in ("sum", "avg", "stdvar")
    }
    for row in range(len(page.keys)):
        for i in range(0, times.size, 7):
            inside = (page.t > times[i] - span) & (page.t <= times[i]) & ~is_missing(page.v[row])
            window = page.v[row, inside]
            if not window.size or not np.isfinite(window).all() or np.abs(window).max() > 1e100:
                continue
            exact = [Fraction(v) for v in window.tolist()]
            mean = sum(exact) / len(exact)
            variance = sum((v - mean) ** 2 for v in exact) / len(exact)
            for name, value in (("sum", sum(exact)), ("avg", mean), ("stdvar", variance)):
                result = found[name]
                mine = result.values[result.keys.index(page.keys[row][1:]), i]
                assert mine == pytest.approx(
                    float(value), rel=1e-12, abs=1e-300 if name != "stdvar" else float(mean**2) * 1e-15
                )


def test_a_great_outlier_does_not_spoil_the_windows_beside_it() -> None:
    v = np.full(4_000, 0.1)
    v[1_500] = 1e15
    t = np.arange(4_000, dtype=np.int64) * 1_000
    result = evaluate(parse("avg_over_time(a[5m])"), PageList([SeriesPage(t, v[None], [series_key("a")], 0)]), t[300:])
    clear = np.abs(np.arange(300, 4_000) - 1_650) > 151

    assert (result.values[0, clear] == 0.1).all()


@pytest.mark.parametrize("text", ["avg_over_time(a[5m])", "max_over_time(a[1h])", "max_drawdown_over_time(a[1h])"])
def test_long_stretches_are_answered_like_single_times(text: str) -> None:
    rng = np.random.default_rng(3)
    t = np.arange(60_000, dtype=np.int64) * 1_000
    v = 1e4 + np.cumsum(rng.normal(0, 1, t.size))
    series = PageList([SeriesPage(t, v[None], [series_key("a")], 0)])
    whole = evaluate(parse(text), series, t)
    for i in rng.integers(0, t.size, 60).tolist():
        alone = evaluate(parse(text), series, t[i : i + 1])
        assert answer_at(whole, i) == answer_at(alone, 0)


def test_pages_of_the_same_samples_answer_alike() -> None:
    """A hole that another series of the page brings changes nothing."""
    rng = np.random.default_rng(4)
    samples = {
        series_key("a{x=1,source=p}"): {1_000 * i: v for i, v in enumerate(rng.normal(5, 1, 600))},
        series_key("a{x=2,source=p}"): {1_300 * i + 7: v for i, v in enumerate(rng.normal(5, 1, 400))},
    }
    times = np.arange(100, 500, dtype=np.int64) * 1_000
    together = evaluate(parse("avg_over_time(a[1m])"), pages_by_source(samples), times)
    apart = evaluate(
        parse("avg_over_time(a[1m])"), PageList(page_from_samples({k: p.items()}, 0) for k, p in samples.items()), times
    )

    assert together.keys == apart.keys
    assert together.values.tobytes() == apart.values.tobytes()


@pytest.mark.parametrize("shape", ["walk", "rises", "falls", "steps", "holes"])
@pytest.mark.parametrize("n", [63, 64, 65, 127, 128, 300, 511, 1_024, 1_100, 9_000])
def test_windows_in_blocks_are_answered_like_single_times(shape: str, n: int) -> None:
    rng = np.random.default_rng(n)
    size = 2 * n + 700
    walk = np.exp(rng.normal(0, 1e-3, size).cumsum())
    v = {
        "walk": walk,
        "rises": np.arange(1.0, size + 1),
        "falls": np.arange(size, 0.0, -1),
        "steps": np.round(3 * walk),
        "holes": np.where(rng.random(size) < 0.3, np.nan, walk),
    }[shape]
    t = np.arange(size, dtype=np.int64) * 1_000
    series = PageList([SeriesPage(t, v[None], [series_key("a")], 0)])
    for name in ("max", "min", "max_drawdown"):
        expr = parse(f"{name}_over_time(a[{n}s])")
        whole = evaluate(expr, series, t)
        for i in rng.integers(0, size, 12).tolist():
            assert answer_at(whole, i) == answer_at(evaluate(expr, series, t[i : i + 1]), 0)


def test_a_maximum_drawdown_is_the_greatest_that_plain_promql_says_of_its_samples() -> None:
    v = 1e4 + np.random.default_rng(5).normal(0, 1, 3_000).cumsum()
    t = np.arange(3_000, dtype=np.int64) * 1_000
    series = PageList([SeriesPage(t, v[None], [series_key("a")], 0)])
    now = evaluate(parse("1 - a / max_over_time(a[1h])"), series, t)
    greatest = evaluate(parse("max_drawdown_over_time(a[1h])"), series, t)

    assert np.maximum.accumulate(now.values[0]).tobytes() == greatest.values[0].tobytes()
