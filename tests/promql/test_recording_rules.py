from __future__ import annotations

import numpy as np
import pytest

from tests.support.series_builders import evenly_spaced, instant_vector, make_pages, parse_labels, single_value
from watchdog.promql import (
    Expr,
    PromqlError,
    RecordingRule,
    evaluate,
    expand_recordings,
    may_return_multiple_series,
    metric_names,
    own_or_shared,
    parse,
    required_lookback,
    restrict_selectors,
)
from watchdog.tsdb.page import PageList

STEP = 30_000


def make_recording(name: str, text: str, step: int = STEP, **said: str) -> RecordingRule:
    return RecordingRule(name, parse(text), tuple(sorted(said.items())), step)


def parse_with_recordings(text: str, *recorded: RecordingRule) -> Expr:
    listed: dict[str, list[RecordingRule]] = {}
    for each in recorded:
        listed.setdefault(each.name, []).append(each)
    return expand_recordings(parse(text), listed)


def evaluate_values(expr: Expr, series: PageList, t: float) -> dict[tuple[tuple[str, str], ...], float]:
    return evaluate(expr, series, np.array([round(t * 1_000)])).vector_at(0)


RISING = make_pages({"m{job=a}": evenly_spaced(10, range(100)), "m{job=b}": evenly_spaced(10, range(0, 200, 2))})
SUM = make_recording("job:m:sum", "sum by (job) (m)", team="x")


@pytest.mark.parametrize(
    ("recorded", "written"),
    [
        ("job:m:sum", 'label_replace(sum by (job) (m), "team", "x", "", "")'),
        ('job:m:sum{job="a"} > 5', 'label_replace(sum by (job) (m{job="a"}), "team", "x", "", "") > 5'),
        ('job:m:sum{job=~"b|c", team!="y"}', 'label_replace(sum by (job) (m{job="b"}), "team", "x", "", "")'),
        ('job:m:sum{team="y"}', 'm{job="nobody"}'),
        ("max_over_time(job:m:sum[2m])", 'label_replace(max_over_time(sum by (job) (m)[2m:30s]), "team", "x", "", "")'),
        (
            "max_over_time(job:m:sum[2m] offset 1m)",
            'label_replace(max_over_time(sum by (job) (m)[2m:30s] offset 1m), "team", "x", "", "")',
        ),
        (
            "job:m:sum offset 1m",
            'label_replace(last_over_time(sum by (job) (m)[30s:30s] offset 1m), "team", "x", "", "")',
        ),
        ("sum(job:m:sum) + 1", "sum(m) + 1"),
        ("-job:m:sum", '-label_replace(sum by (job) (m), "team", "x", "", "")'),
        ("max_over_time(sum(job:m:sum)[2m:1m])", "max_over_time(sum(m)[2m:1m])"),
        ("absent(job:m:sum)", "absent(m)"),
        ('absent(job:m:sum{job="z"})', 'absent(m{job="z"})'),
        (
            "clamp_max(job:m:sum, scalar(sum(job:m:sum)))",
            'label_replace(clamp_max(sum by (job) (m), scalar(sum(m))), "team", "x", "", "")',
        ),
    ],
)
def test_a_recorded_metric_is_what_its_expression_says_at_that_time(recorded: str, written: str) -> None:
    for t in (605, 630, 901):
        assert evaluate_values(parse_with_recordings(recorded, SUM), RISING, t) == instant_vector(written, RISING, t)


def test_a_recording_may_read_another_whatever_their_order() -> None:
    twice = make_recording("m:twice", "job:m:sum * 2")

    assert evaluate_values(parse_with_recordings("sum(m:twice)", twice, SUM), RISING, 600) == {(): 2 * (60 + 120)}


def test_recordings_of_one_name_are_joined() -> None:
    parts = make_recording("m:part", 'm{job="a"}', part="one"), make_recording("m:part", 'm{job="b"}', part="two")

    assert evaluate_values(parse_with_recordings("m:part", *parts), RISING, 600) == {
        parse_labels("job=a,part=one"): 60,
        parse_labels("job=b,part=two"): 120,
    }
    assert evaluate_values(parse_with_recordings('m:part{part="two"}', *parts), RISING, 600) == {
        parse_labels("job=b,part=two"): 120
    }


def test_an_empty_label_is_taken_away_and_a_scalar_becomes_a_series() -> None:
    assert evaluate_values(
        parse_with_recordings("m:one", make_recording("m:one", 'm{job="a"}', job="")), RISING, 600
    ) == {(): 60}
    assert evaluate_values(
        parse_with_recordings("answer", make_recording("answer", "42", unit="none")), RISING, 600
    ) == {parse_labels("unit=none"): 42}


def test_the_age_and_the_cover_of_what_is_recorded_are_those_of_the_samples_beneath() -> None:
    late = make_pages({"m": evenly_spaced(10, range(10))}, begin=0)
    expr = parse_with_recordings("avg_over_time(m:rate[1h])", make_recording("m:rate", "rate(m[1m])"))

    result = evaluate(expr, late, np.array([200_000]))

    assert result.newest[0] < 200_000
    assert result.covered_ms[0] < result.window_ms[0]
    assert metric_names(expr) == {"m"}
    assert required_lookback(expr)["m"] >= 3_660_000


@pytest.mark.parametrize(
    ("recorded", "said"),
    [
        ([("a", "a + 1")], "a is recorded from itself (a → a)"),
        ([("a", "b"), ("b", "sum(c)"), ("c", "rate(a[5m])")], "(a → b → c → a)"),
    ],
)
def test_what_is_recorded_from_itself_is_refused(recorded: list[tuple[str, str]], said: str) -> None:
    with pytest.raises(PromqlError, match=said.replace("(", r"\(").replace(")", r"\)")):
        parse_with_recordings("a", *(make_recording(name, text) for name, text in recorded))


def test_recordings_that_multiply_each_other_are_refused() -> None:
    doubled = [make_recording(f"r{i}", f"r{i - 1} + r{i - 1}") for i in range(1, 40)]

    with pytest.raises(PromqlError, match="more than 5000 parts"):
        parse_with_recordings("r39", *doubled)


def test_two_series_under_one_label_set_are_an_error_as_in_prometheus() -> None:
    with pytest.raises(PromqlError, match="same labels"):
        evaluate_values(parse_with_recordings("m:bare", make_recording("m:bare", "m", job="")), RISING, 600)


def test_an_expression_that_reads_nothing_recorded_stays_the_same_object() -> None:
    expr = parse("sum(rate(m[5m])) > 1 and max_over_time(m[1h:1m]) < -m")

    assert expand_recordings(expr, {"other": [SUM]}) is expr


def test_the_shape_of_what_is_recorded_is_known() -> None:
    assert not may_return_multiple_series(parse_with_recordings("m:all", make_recording("m:all", "sum(m)")))
    assert may_return_multiple_series(parse_with_recordings("job:m:sum", SUM))
    assert single_value("sum(m)", RISING, 600) == 180


TWO_BOTS = make_pages(
    {
        "m{target=alpha,job=x}": evenly_spaced(10, [1] * 10),
        "m{target=beta,job=x}": evenly_spaced(10, [20] * 10),
        "m{job=shared}": evenly_spaced(10, [300] * 10),
    }
)


@pytest.mark.parametrize(
    "recorded",
    [
        [make_recording("all", "sum(m)")],
        [make_recording("all", "sum by (job) (m)"), make_recording("all", 'sum(m{job="x"})', half="one")],
        [make_recording("all", "sum(deeper)"), make_recording("deeper", "sum(m)")],
        [make_recording("all", "sum(max_over_time(m[20s]))")],
    ],
)
def test_what_is_recorded_is_asked_of_a_bots_own_series_and_of_nobodys(recorded: list[RecordingRule]) -> None:
    def total(text: str) -> float:
        (value,) = evaluate_values(parse_with_recordings(text, *recorded), TWO_BOTS, 60).values()
        return value

    whose = {name: total(f"sum({restrict_selectors('all', own_or_shared(name))})") for name in ("alpha", "beta")}
    everybodys = total("sum(all)")

    assert everybodys - whose["alpha"] == 20 * len([each for each in recorded if each.name == "all"])
    assert everybodys - whose["beta"] == len([each for each in recorded if each.name == "all"])
