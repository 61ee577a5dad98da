"""What must hold whatever the samples are: one time is answered alike, bit for bit, however one asks."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.property_settings import examples
from tests.support.series_builders import STALE_MARKER, series_key
from watchdog.core.model import Labels
from watchdog.promql import evaluate, parse
from watchdog.tsdb.labels import LOOKBACK_DELTA
from watchdog.tsdb.page import PageList, SeriesPage, is_missing, page_from_samples

EXPRESSIONS = [
    "a",
    "a offset 30s",
    "a > 0.5",
    '{__name__=~".+"}',
    "last_over_time(a[1m])",
    *(
        f"{name}_over_time(a[1m])"
        for name in ("avg", "sum", "min", "max", "count", "stddev", "stdvar", "present", "absent")
    ),
    *(f"{name}(a[90s])" for name in ("rate", "increase", "delta", "changes", "resets", "irate", "idelta")),
    "rate(a[10m]) / rate(b[10m])",
    "sum(a)",
    "avg(a)",
    "min(b)",
    "max(a)",
    "count(a)",
    "sum by (x) (a)",
    "avg without (x) (a)",
    "sum(rate(a[2m])) / sum(rate(b[2m]))",
    "1 - a / max_over_time(a[5m])",
    "a / on (x, source) b",
    "a and b",
    "a or b",
    "a unless b",
    "a ^ 2",
    "a ^ b",
    "2 ^ a",
    "exp(a)",
    "ln(b)",
    "sqrt(a)",
    "a % 0.3",
    "scalar(sum(a)) + b",
    "absent(a)",
    "clamp(a, 0, 1)",
    "sum(a) by (y) > bool 1",
    "avg(avg_over_time(a[3m] offset 1m))",
    "quantile_over_time(0.3, a[5m])",
    "mad_over_time(a[5m])",
    "deriv(a[5m])",
    "predict_linear(a[5m], 600)",
    "stddev(a)",
    "group(b)",
    "quantile(0.4, a)",
    "topk(1, a)",
    "bottomk by (x) (1, b)",
    'count_values("v", a)',
    'a * on (source) group_left b{x="1"}',
    'b{x="1"} < bool on (source) group_right (y) a',
    'label_replace(a, "z", "$1", "x", "(.)")',
    "hour(a)",
    "atan(a)",
    "sort(a)",
    'histogram_quantile(0.5, label_replace(label_replace(a, "le", "+Inf", "x", "2"), "le", "1", "x", "1"))',
    "quantile(scalar(b), a)",
    "max_drawdown_over_time(a[5m])",
    "streak_above_over_time(a[5m], 0.2)",
    "ewma_over_time(a[5m], 60)",
    "change_share_over_time(a[5m])",
    "ewm_volatility_over_time(a[5m], 60)",
    "max_over_time(a[5m:10s])",
    "rate(a[5m:30s] offset 1m)",
    "max_over_time(rate(a[1m])[5m:15s])",
    "absent_over_time(a[1m:])",
    "last_over_time((a > 0)[3m:20s] offset -1m)",
    "min_over_time(max_over_time(a[1m:5s])[5m:1m])",
    "sum_over_time(vector(time())[5m:1m])",
    "a @ 300",
    "rate(a[5m] @ 500)",
    "a - a @ end()",
    "sum(a @ start() offset 1m)",
    "count_over_time((a > a @ end())[3m:30s])",
    "avg_over_time(sum(a)[2m:7s] @ 600)",
    "max_over_time((a @ 100)[5m:1m] @ end())",
]
PARSED = [parse(text) for text in EXPRESSIONS]

SERIES = [f"{name}{{x={x},y={y},source={source}}}" for source in "pq" for name in "ab" for x in "12" for y in "1"]
FLOATS = st.one_of(
    st.sampled_from([0.0, -0.0, 0.1, 0.3, 1.0, 1e15, -1e15, 1e-300, math.nan, math.inf, -math.inf, STALE_MARKER]),
    st.floats(-1e6, 1e6, allow_subnormal=False),
)
POINTS = st.dictionaries(st.integers(0, 900_000).map(lambda t: t - t % 997), FLOATS, max_size=30)
DENSE = st.builds(lambda values: {15_000 * i + 7: v for i, v in enumerate(values)}, st.lists(FLOATS, max_size=60))
SAMPLES = st.dictionaries(st.sampled_from(SERIES).map(series_key), st.one_of(POINTS, DENSE), min_size=1)
TIMES = st.lists(st.integers(-10_000, 1_300_000), min_size=1, max_size=12).map(lambda found: np.array(found, np.int64))
Samples = Mapping[Labels, Mapping[int, float]]

SLOW_SETTINGS = settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.too_slow])
PER_EXPRESSION_SETTINGS = settings(SLOW_SETTINGS, max_examples=examples(6))
"""For tests that are repeated for every expression."""


def pages_by_source(samples: Samples) -> PageList:
    """A page for each source, as the store has them."""
    sources = dict.fromkeys(dict(name)["source"] for name in samples)
    return PageList(
        page_from_samples(
            {name: points.items() for name, points in samples.items() if dict(name)["source"] == source}, 0
        )
        for source in sources
    )


def float_bits(v: float) -> bytes:
    return struct.pack("<d", v)


def evaluate_bits(
    number: int, series: PageList, times: np.ndarray, since: int | None = None, *, read: bool = True
) -> list[object]:
    """Everything that is said of each time, as bits."""
    result = evaluate(PARSED[number], series, times, since)
    assert len(set(result.keys)) == len(result.keys)
    assert np.isnan(result.values[~result.present]).all()
    said: list[object] = []
    for i in range(times.size):
        rows = np.flatnonzero(result.present[:, i])
        values = {result.keys[row]: float_bits(result.values[row, i]) for row in rows}
        about = (result.newest[i], result.covered_ms[i], result.window_ms[i]) if read else ()
        said.append((values, *map(int, about)))
    return said


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(EXPRESSIONS)), ids=EXPRESSIONS)
def test_chunks_order_and_company_change_nothing(number: int) -> None:
    @PER_EXPRESSION_SETTINGS
    @given(SAMPLES, TIMES, st.data())
    def check(samples: Samples, times: np.ndarray, data: st.DataObject) -> None:
        since = data.draw(st.none() | st.integers(0, 900_000))
        series = pages_by_source(samples)
        whole = evaluate_bits(number, series, times, since)

        assert [evaluate_bits(number, series, times[i : i + 1], since)[0] for i in range(times.size)] == whole
        assert evaluate_bits(number, series, times[::-1], since) == whole[::-1]
        names = data.draw(st.permutations(list(samples)))
        assert evaluate_bits(number, pages_by_source({name: samples[name] for name in names}), times, since) == whole
        # Each series in a page of its own: nothing of the layout shows, but for what was read from which page.
        apart = PageList(page_from_samples({name: points.items()}, 0) for name, points in samples.items())
        assert evaluate_bits(number, apart, times, since, read=False) == [said[:1] for said in whole]  # type: ignore[index]

    check()


SHIFTABLE_EXPRESSIONS = [text for text in EXPRESSIONS if not re.search(r"@ \d|time\(\)", text)]
"""Those that speak of no absolute time."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "number", [EXPRESSIONS.index(text) for text in SHIFTABLE_EXPRESSIONS], ids=SHIFTABLE_EXPRESSIONS
)
def test_a_shift_in_time_changes_nothing(number: int) -> None:
    @PER_EXPRESSION_SETTINGS
    @given(SAMPLES, TIMES, st.integers(1, 1 << 41))
    def check(samples: Samples, times: np.ndarray, shift: int) -> None:
        if ":" in EXPRESSIONS[number]:
            shift += -shift % 420_000  # the steps of subqueries are aligned to absolute time
        moved = {name: {t + shift: v for t, v in points.items()} for name, points in samples.items()}
        there = pages_by_source(moved)
        for page in there.pages:
            page.watched_since += shift

        assert evaluate_bits(number, pages_by_source(samples), times, read=False) == evaluate_bits(
            number, there, times + shift, read=False
        )
        before = evaluate(PARSED[number], pages_by_source(samples), times)
        after = evaluate(PARSED[number], there, times + shift)
        assert (after.covered_ms == before.covered_ms).all()
        assert (after.newest == np.where(before.newest == 0, 0, before.newest + shift))[before.newest != 0].all()

    check()


def points_within(points: Mapping[int, float], start: int, end: int) -> list[float]:
    """The samples of a window, read one by one."""
    return [v for t, v in sorted(points.items()) if start < t <= end and not is_missing(np.array([v]))[0]]


@SLOW_SETTINGS
@given(SAMPLES, TIMES, st.sampled_from([1, 15_000, 60_000, 300_000]), st.none() | st.integers(0, 900_000))
def test_windows_hold_what_a_plain_loop_finds(
    samples: Samples, times: np.ndarray, span: int, since: int | None
) -> None:
    series = pages_by_source(samples)
    folds: dict[str, Callable[[list[float]], float]] = {
        "count": len,
        "last": lambda w: w[-1],
        "min": lambda w: min((v for v in w if v == v), default=math.nan),
        "max": lambda w: max((v for v in w if v == v), default=math.nan),
    }
    for name, fold in folds.items():
        result = evaluate(parse(f"{name}_over_time(a[{span}ms])"), series, times, since)
        found = {pair: result.values[pair] for pair in zip(*np.nonzero(result.present), strict=True)}
        expected = {}
        for full, points in samples.items():
            for i, t in enumerate(times):
                window = points_within(points, max(int(t) - span, -1 if since is None else since), int(t))
                if dict(full)["__name__"] == "a" and window:
                    expected[full, i] = fold(window)
        assert len(found) == len(expected)
        for (row, i), value in found.items():
            full = next(k for k in samples if {**dict(result.keys[row]), "__name__": "a"} == dict(k))
            assert value == pytest.approx(expected[full, i], rel=0, abs=0, nan_ok=True)


@SLOW_SETTINGS
@given(SAMPLES, TIMES)
def test_an_instant_selector_finds_what_a_plain_loop_finds(samples: Samples, times: np.ndarray) -> None:
    result = evaluate(parse('{source!=""}'), pages_by_source(samples), times)
    found = {
        (result.keys[row], i): float_bits(result.values[row, i])
        for row, i in zip(*np.nonzero(result.present), strict=True)
    }

    expected = {}
    for name, points in samples.items():
        for i, at in enumerate(times):
            seen = [v for t, v in sorted(points.items()) if at - LOOKBACK_DELTA < t <= at]
            if seen and not is_missing(np.array(seen[-1:]))[0]:
                expected[name, i] = float_bits(seen[-1] if seen[-1] == seen[-1] else math.nan)
    assert found == expected


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=400), st.integers(0, 2))
@settings(deadline=None)
def test_sums_and_means_are_right_to_the_last_places(values: list[float], exponent: int) -> None:
    values = [v * 10.0 ** (100 * exponent) for v in values]
    series = PageList([page_from_samples({series_key("a"): enumerate(values, 1)}, 0)])
    exact = math.fsum(values)

    def ask(name: str) -> float:
        return evaluate(parse(f"{name}_over_time(a[1h])"), series, np.array([1_000])).vector_at(0)[()]

    assert ask("sum") == pytest.approx(exact, rel=1e-9, abs=0)
    assert ask("avg") == pytest.approx(exact / len(values), rel=1e-9, abs=0)


def test_a_window_is_summed_alike_wherever_it_lies_in_memory() -> None:
    rng = np.random.default_rng(7)
    v = rng.normal(size=(5, 1_000))
    t = np.arange(1_000, dtype=np.int64) * 1_000
    names = [series_key(f"a{{x={row}}}") for row in range(5)]
    series = PageList([SeriesPage(t, v, names, 0)])
    for text in (
        "sum_over_time(a[333s])",
        "avg_over_time(a[333s])",
        "stddev_over_time(a[333s])",
        "rate(a[333s])",
        "sum(a)",
    ):
        for end in range(340, 999, 7):
            here = evaluate(parse(text), series, np.array([end * 1_000]))
            copy = SeriesPage(t[end - 332 : end + 1].copy(), v[:, end - 332 : end + 1].copy(), names, 0)
            there = evaluate(parse(text), PageList([copy]), np.array([end * 1_000]))
            assert here.values.tobytes() == there.values.tobytes()
