"""The table of functions: what a row lacks is done the next slower way, and a row with a kernel alone is a function."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.offline.replay.test_equals_live import run_live, run_replay
from tests.offline.replay.test_equals_live import write_config as write_live_config
from tests.promql.test_properties import float_bits
from watchdog import config
from watchdog.core.model import Labels, Sample
from watchdog.offline.replay.engine import ReplayReport, replay
from watchdog.offline.ruletest.runner import run_tests
from watchdog.offline.ruletest.test_definition import load_test_file
from watchdog.promql import EmbeddedEvaluator, PromqlError, evaluate, parse, required_lookback, value_bounds
from watchdog.promql.functions.function import ElementwiseFunction, Function, RangeFunction, SpecialFunction
from watchdog.promql.functions.registry import FUNCTIONS
from watchdog.promql.functions.windows import Window
from watchdog.promql.parse.parser import UNSUPPORTED_HINTS, register_extensions
from watchdog.tsdb.head import Head
from watchdog.tsdb.page import ABSENT, STALE, Floats, PageList, SeriesPage

START = 1_767_225_600_000
SHORTCUTS: dict[type[Function], dict[str, Any]] = {
    RangeFunction: {"batch_kernel": None, "incremental": None, "span_bounds": None, "samples_only": False},
    ElementwiseFunction: {"monotone": False},
    SpecialFunction: {"compile": None},
}
"""Parts of a row that only make it faster; and what stands there when it lacks one."""
PARTS = [
    (name, part)
    for name, row in sorted(FUNCTIONS.items())
    for kind, parts in SHORTCUTS.items()
    if isinstance(row, kind)
    for part, lacking in parts.items()
    if getattr(row, part) is not lacking
]


def call(name: str, reads: str = "a", span: str = "[45s]") -> str:
    """A call of any function of the table."""
    row = FUNCTIONS[name]
    match name:
        case "pi" | "time":
            return f"{name}()"
        case "vector":
            return "vector(scalar(a))"
        case "label_join":
            return f'label_join({reads}, "y", "-", "x", "source")'
        case "label_replace":
            return f'label_replace({reads}, "y", "$1", "x", "(.*)")'
        case "histogram_quantile":
            return "histogram_quantile(0.5, h)"
        case "histogram_fraction":
            return "histogram_fraction(0.2, 0.6, h)"
        case "quantile_over_time":
            return f"quantile_over_time(0.3, {reads}{span})"
        case "predict_linear":
            return f"predict_linear({reads}{span}, 20)"
        case "clamp":
            return f"clamp({reads}, 9, 11)"
        case "clamp_min" | "clamp_max":
            return f"{name}({reads}, 10)"
    if isinstance(row, RangeFunction):
        return f"{name}({reads}{span}{', 10' * (row.extension_scalars or 0)})"
    return f"{name}({reads})"


def random_history(seed: int, size: int = 700) -> PageList:
    """A walk, a series with holes, and the buckets of a histogram; quiet and wild by turns."""
    dice = np.random.default_rng(seed)
    wild = np.repeat(dice.random(size // 50 + 1) < 0.3, 50)[:size]
    walk = 10 + np.cumsum(np.where(wild, dice.normal(0, 0.5, size), 0.0))
    holed = np.where(dice.random(size) < 0.05, np.nan, walk)
    holed[dice.random(size) < 0.05] = STALE
    holed[dice.random(size) < 0.05] = ABSENT
    counts = np.cumsum(dice.integers(0, 3, (3, size)), axis=1).cumsum(axis=0).astype(float)
    keys: list[Labels] = [(("__name__", "a"),), (("__name__", "b"),)]
    keys += [(("__name__", "h"), ("le", bound)) for bound in ("0.1", "0.5", "+Inf")]
    t = START + 1_000 * np.arange(size, dtype=np.int64)
    return PageList([SeriesPage(t, np.array([walk, holed, *counts]), keys, START)])


def evaluated_at_many_times(name: str, pages: PageList) -> list[object]:
    """Of the walk, of the series with holes, of a subquery, each at many times and at a few."""
    page = pages.pages[0]
    page.spacing_cache, page.lookup_cache = None, []
    found: list[object] = []
    for text in (call(name), call(name, "b"), call(name, "a", "[60s:7s]"), f"2 * {call(name)} > 0"):
        for times in (page.t[3:], page.t[5:500:97] + 333):
            try:
                result = evaluate(parse(text), pages, times)
            except PromqlError:  # a scalar where a vector must stand
                continue
            cells = [[float_bits(x) for x in row] for row in result.values.tolist()]
            found.append((result.keys, cells, result.present.tolist(), result.newest.tolist()))
    return found


def evaluated_live(name: str, pages: PageList) -> list[object]:
    """Round by round, as samples come in."""
    page, exprs = pages.pages[0], [parse(call(name)), parse(call(name, "b"))]
    store = Head({metric: reach for expr in exprs for metric, reach in required_lookback(expr).items()})
    evaluator = EmbeddedEvaluator(store)
    found: list[object] = []
    for column, now in enumerate(page.t[:120].tolist()):
        there = zip(page.keys, page.v[:, column].tolist(), strict=True)
        store.ingest("bot", now, [Sample(dict(key)["__name__"], key[1:], now, x) for key, x in there if x == x])
        for later in (now, now + 400):
            for expr in exprs:
                got = evaluator.at(later).evaluate(expr)
                values = [(labels, float_bits(x)) for labels, x in got.values.items()]
                found.append((values, got.newest, got.covered_ms, got.window_ms))
    return found


def replayed(name: str, folder: Path, pages: PageList) -> ReplayReport:
    """Rules around the middle of what the function says of the walk."""
    page, text = pages.pages[0], call(name)
    page.spacing_cache, page.lookup_cache = None, []
    values = evaluate(parse(text), pages, page.t[60:]).values
    limit = float(np.median(values[np.isfinite(values)])) if np.isfinite(values).any() else 0.0
    path = folder / "rules.yaml"
    path.write_text(
        "targets: {bot: {}}\ndefaults: {target: bot}\n"
        f"kpis: {{k: {{expr: {text!r}}}}}\n"
        "rules:\n"
        f"  - {{name: high, kpi: k, crit: {{above: {limit!r}, for: 5s}}, each: [x, y, le]}}\n"
        f"  - {{name: far, kpi: k, warn: {{below: {limit - 1e6!r}}}, each: [x, y, le]}}\n"
    )
    loaded, problems = config.check_files([path], environ={})
    assert loaded is not None, problems
    return replay(loaded, pages)


@pytest.mark.parametrize(("name", "part"), PARTS)
@pytest.mark.slow
def test_a_row_without_a_part_gives_the_same_bits(
    name: str, part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("watchdog.offline.replay.skip.ROUNDS_PER_STRETCH", 16)
    monkeypatch.setattr("watchdog.offline.replay.skip.MIN_STRETCHES", 1)
    pages = random_history(len(name) * 100 + len(part))
    whole = evaluated_at_many_times(name, pages), evaluated_live(name, pages), replayed(name, tmp_path, pages)

    lacking = next(parts[part] for kind, parts in SHORTCUTS.items() if part in parts)
    monkeypatch.setitem(FUNCTIONS, name, replace(FUNCTIONS[name], **{part: lacking}))
    poorer = evaluated_at_many_times(name, pages), evaluated_live(name, pages), replayed(name, tmp_path, pages)

    assert whole[0]
    assert poorer == whole


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_values_lie_within_what_is_known_ahead_of_the_samples(name: str) -> None:
    pages, expr = random_history(5), parse(call(name))
    low, high = value_bounds(expr, 1_000)

    t = pages.pages[0].t
    result = evaluate(expr, pages, np.concatenate((t, t[-1:] + 400_000)))  # in the end there is nothing any more

    values = result.values[result.present & ~np.isnan(result.values)]
    assert values.size or (low, high) == (-math.inf, math.inf)
    assert ((low <= values) & (values <= high)).all()


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_row_is_a_function_that_the_parser_reads(name: str) -> None:
    """One that Prometheus lacks reads a range, and its row says `extension_scalars`: how many numbers follow the range."""
    parse(call(name))  # raises


def test_no_function_is_both_known_and_refused() -> None:
    assert not FUNCTIONS.keys() & UNSUPPORTED_HINTS.keys()


def test_every_function_of_the_table_is_in_the_documentation() -> None:
    documented = set(re.findall(r"\b[a-z][a-z0-9_]+\b", (Path(__file__).parents[2] / "docs/promql.md").read_text()))

    assert not {
        name for name in FUNCTIONS if name not in documented and name.removesuffix("_over_time") not in documented
    }


# ─ a function that is nothing but a kernel ─


def spread(window: Window) -> Floats:
    """From the lowest to the highest sample."""
    return np.asarray(window.v.max(axis=1) - window.v.min(axis=1))


@pytest.fixture
def _with_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FUNCTIONS, "spread_over_time", RangeFunction(kernel=spread, extension_scalars=0))
    register_extensions()


SPREAD_RULES = """\
targets: {bot: {}}
defaults: {target: bot}
kpis: {k: {expr: "spread_over_time(a[5s])"}}
rules:
  - {name: wide, kpi: k, crit: {above: 3, for: 2s}}
"""
LEVELS = [1.0] * 8 + [6.0] + [1.0] * 30 + [9.0] * 20


@pytest.mark.usefixtures("_with_spread")
def test_a_function_with_a_kernel_alone_is_evaluated_at_many_times_and_live() -> None:
    expr = parse("spread_over_time(a[5s])")
    t = START + 1_000 * np.arange(len(LEVELS), dtype=np.int64)
    key = (("__name__", "a"), ("source", "bot"))
    expected = [max(LEVELS[max(0, i - 4) : i + 1]) - min(LEVELS[max(0, i - 4) : i + 1]) for i in range(len(LEVELS))]

    result = evaluate(expr, PageList([SeriesPage(t, np.array([LEVELS]), [key], START)]), t)
    store = Head(required_lookback(expr))
    evaluator = EmbeddedEvaluator(store)
    live: list[float] = []
    for now, x in zip(t.tolist(), LEVELS, strict=True):
        store.ingest("bot", now, [Sample("a", (), now, x)])
        live += evaluator.at(now).evaluate(expr).values.values()

    assert result.values[0].tolist() == live == expected


@pytest.mark.usefixtures("_with_spread")
def test_a_function_with_a_kernel_alone_trips_live_as_in_replay(tmp_path: Path) -> None:
    loaded = write_live_config(tmp_path, 1_000, SPREAD_RULES)
    rows: list[Any] = [(START + 1_000 * i, {"a": x}) for i, x in enumerate(LEVELS)]

    told, _ = run_live(tmp_path, loaded, rows)
    again, report = run_replay(loaded, tmp_path / "h.csv", rows)

    assert [(one[0] - START, one[2]) for one in told if one[2] == "tripped"] == [
        (10_000, "tripped"),
        (41_000, "tripped"),
    ]
    assert sorted(again) == sorted(told)
    assert len(report.trips) == 2


@pytest.mark.usefixtures("_with_spread")
def test_a_function_with_a_kernel_alone_stands_in_a_rule_test(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(SPREAD_RULES)
    path = tmp_path / "test.yml"
    path.write_text(
        "rule_files: [rules.yaml]\nevaluation_interval: 1s\ntests:\n"
        "  - interval: 1s\n    input_series: [{series: a, values: '1x8 6 1x30'}]\n"
        "    promql_expr_test: [{expr: 'spread_over_time(a[5s])', eval_time: 10s,"
        " exp_samples: [{labels: '{}', value: 5}]}]\n"
        "    watchdog_rule_test:\n"
        "      - {rule: wide, eval_time: 8s, state: ok}\n      - {rule: wide, eval_time: 12s, state: crit}\n"
    )

    file, problems = load_test_file(path, {})

    assert file is not None, problems
    cases = list(run_tests(file))
    assert len(cases) == 3
    assert all(case.passed for case in cases), cases
