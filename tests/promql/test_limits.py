"""What an expression may take: refused before it is evaluated, or by the part that becomes too large; never a traceback."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from watchdog.promql import (
    EmbeddedEvaluator,
    EvaluationLimits,
    PromqlError,
    RecordingRule,
    evaluate,
    expand_recordings,
    metric_names,
    parse,
    required_lookback,
    value_bounds,
)
from watchdog.promql.parse.expand_recordings import MAX_EXPANDED_DEPTH
from watchdog.promql.parse.parser import MAX_CHARACTERS, MAX_DEPTH
from watchdog.tsdb.page import PageList, SeriesPage

T = 1_000_000
SERIES = PageList(
    [
        SeriesPage(
            T + 1_000 * np.arange(600, dtype=np.int64),
            np.random.default_rng(1).normal(size=(50, 600)),
            [(("__name__", "x"), ("i", str(i)), ("text", "abc" * 30)) for i in range(50)],
            T,
        )
    ]
)
MANY = T + 1_000 * np.arange(300, 600, dtype=np.int64)
LIMITS = EvaluationLimits(cost=2_000_000, cells=100_000, series=1_000, label_chars=100_000)


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "sum by (i) (rate(x[5m]))",
        "max_over_time(avg_over_time(x[1m])[5m:10s])",
        "x / on(i) x > bool 0 or x",
        'count_values("v", x > bool 0)',
        "topk by (i) (2, x)",
        'label_replace(x, "to", "$1-$1", "text", "(.*)")',
    ],
)
def test_what_is_within_the_limits_is_answered_as_without_them(text: str) -> None:
    free, bounded = evaluate(parse(text), SERIES, MANY), evaluate(parse(text), SERIES, MANY, limits=LIMITS)

    assert (free.keys, free.values.tobytes()) == (bounded.keys, bounded.values.tobytes())


@pytest.mark.parametrize(
    "text",
    [
        "x" + " + x" * 99 + " + sum(quantile_over_time(0.5, x[10m:1s]))",
        "max_over_time(x[10m:1ms])",
        "max_over_time(max_over_time(max_over_time(x[10m:1ms])[10m:1ms])[10m:1ms])",
        "max_over_time((x + start())[10m:1s])".replace("start()", "scalar(x @ start())"),
        "avg_over_time(sum(rate(x[1m]))[1h:10ms])",
    ],
)
def test_what_costs_too_much_is_refused_with_both_numbers_before_it_is_evaluated(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("watchdog.promql.eval.engine.evaluate_in_context", lambda *_: pytest.fail("evaluated"))

    with pytest.raises(PromqlError, match=r"would read and make [0-9,]{9,} values, more than 2,000,000 — ask for"):
        evaluate(parse(text), SERIES, MANY, limits=LIMITS)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('count_values("v", x)', r"count_values makes 15,000 series"),
        ('count_values by (i) ("v", x)', r"count_values makes 15,000 series"),
        ("x or " * 11 + 'label_replace(x, "j", "1", "", "")', None),
        (
            " or ".join(f'label_replace(x, "j", "{j}", "", "")' for j in range(8)),
            r"the operator or makes 350 series × 300 times, more than 100,000 values",
        ),
        (
            'x * on(a) group_left(j) label_replace(x, "j", "$1", "i", "(.*)")',
            r"the operator \* makes 2,500 series, more than 1,000",
        ),
        (
            'label_join(label_replace(x, "a", "$1$1$1$1$1$1$1$1", "text", "(.*)"), "b", "", "a", "a", "a")',
            r"label_join makes labels of more than 100,000 characters in all",
        ),
        (
            "sum(" + " or ".join(f'label_replace(x, "j", "{j}", "", "")' for j in range(8)) + ")",
            "the operator or makes",
        ),
    ],
)
def test_what_becomes_too_large_is_refused_by_name(text: str, part: str | None) -> None:
    if part is None:
        assert evaluate(parse(text), SERIES, MANY, limits=LIMITS).keys
        return
    with pytest.raises(PromqlError, match=part):
        evaluate(parse(text), SERIES, MANY, limits=LIMITS)


def test_where_memory_ends_the_part_that_wanted_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("watchdog.promql.eval.engine.aggregate", no_memory)

    with pytest.raises(PromqlError, match=r"not enough memory for quantile — select"):
        evaluate(parse("abs(quantile(0.5, x))"), SERIES, MANY)


def test_a_label_that_doubles_with_each_call_ends_in_one_error() -> None:
    chain = "x"
    for _ in range(60):
        chain = f'label_replace({chain}, "text", "$1$1", "text", "(.*)")'
    with pytest.raises(PromqlError, match="label text"):
        evaluate(parse(chain), SERIES, MANY[:1])

    with pytest.raises(PromqlError, match="label to"):
        evaluate(parse(f'label_replace(x, "to", "{"$1" * 4_500}", "text", "(.*)")'), SERIES, MANY[:1])
    with pytest.raises(PromqlError, match="label to"):
        evaluate(parse(f'label_join(x, "to", "{"-" * 9_000}", "text", "text", "text")'), SERIES, MANY[:1])


# ─ depth ─

DEEPEST = [
    "max_over_time(" * 99 + "x" + "[2s:1s])" * 99,
    "sum(" * 100 + "x" + ")" * 100,
    "-" * 100 + "x",
    " + ".join(["x"] * 101),
    "histogram_quantile(1, " * 99 + "x" + ")" * 99,
    "sort(" * 100 + "x" + ")" * 100,
    "vector(scalar(" * 49 + "x" + "))" * 49,
]


@pytest.mark.parametrize("text", DEEPEST)
def test_what_is_as_deep_as_may_be_is_read_and_evaluated_with_room_to_spare(text: str) -> None:
    """Whoever asks is deep in calls already: 250 of Python's 1,000 are his."""

    def deep(calls: int) -> None:
        if calls:
            return deep(calls - 1)
        expr = parse(text)
        for ask in (metric_names, required_lookback, value_bounds, repr, hash):
            ask(expr)
        with np.errstate(all="ignore"):
            EmbeddedEvaluator(SERIES).at(int(MANY[-1])).evaluate(expr)
            evaluate(expr, SERIES, MANY[-2:], limits=EvaluationLimits())
        return None

    deep(250)


@pytest.mark.parametrize(
    "text", ["-" * 900 + "x", " ^ ".join(["x"] * 400), "(" * 5_000, "sum(" * 300 + "x", "x" * (MAX_CHARACTERS + 1)]
)
def test_what_is_deeper_or_longer_is_one_error(text: str) -> None:
    with pytest.raises(PromqlError, match=f"{MAX_DEPTH}|{MAX_CHARACTERS}") as refused:
        parse(text)
    assert len(str(refused.value)) < 300


def test_recordings_that_are_made_of_each_other_without_end_are_one_error() -> None:
    chain = {"m0": [RecordingRule("m0", parse("x"))]}
    for i in range(1, 1_000):
        chain[f"m{i}"] = [RecordingRule(f"m{i}", parse(f"abs(m{i - 1})"))]
    with pytest.raises(PromqlError, match=f"nested more than {MAX_EXPANDED_DEPTH} deep"):
        expand_recordings(parse("m999"), chain)

    deep = {"m0": [RecordingRule("m0", parse("x"))]}
    for i in range(1, 40):
        deep[f"m{i}"] = [RecordingRule(f"m{i}", parse("abs(" * 80 + f"m{i - 1}" + ")" * 80))]
    with pytest.raises(PromqlError, match=f"nested more than {MAX_EXPANDED_DEPTH} deep"):
        expand_recordings(parse(" + ".join(f"m{i}" for i in range(40))), deep)


PANICS = [
    "x @ -1",
    "x @ + -9e9",
    "x offset 1e30",
    "x offset -Inf",
    "x offset nan",
    "x offset\n1e+400",
    "max_over_time(x[1e30])",
    "max_over_time(x[5m:1e30])",
    "max_over_time(x[NaN:1])",
    "max_over_time(x[1:1e30])",
    "max_over_time(x[5m] offset - 0xffffffffffffffffffff)",
]


def test_no_expression_makes_the_library_beneath_write_a_panic() -> None:
    """It writes to stderr by itself, past Python: so it is asked in a process of its own."""
    program = (
        "import sys\nfrom watchdog.promql import parse, PromqlError\n"
        "for text in sys.argv[1:]:\n    try: parse(text)\n    except PromqlError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, *PANICS], capture_output=True, text=True, timeout=60)

    assert (done.stderr, done.returncode) == ("", 0)
    assert [" — " in line for line in done.stdout.splitlines()] == [True] * len(PANICS)


@pytest.mark.parametrize(
    "text", ["x offset 1e6", "max_over_time(x[1e3:10])", 'x{a="offset 1e400"}', "x @ 5", "x # @ -1", "job:1e400"]
)
def test_what_only_looks_like_it_is_read(text: str) -> None:
    assert metric_names(parse(text))
