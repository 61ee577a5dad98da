from __future__ import annotations

import numpy as np
import pytest

from tests.support.series_builders import (
    STALE_MARKER,
    evaluate_times,
    evenly_spaced,
    instant_vector,
    make_pages,
    parse_labels,
    series_key,
    single_value,
)
from watchdog.promql import PromqlError, evaluate, parse
from watchdog.promql.eval import subqueries

RISING = make_pages({"m": evenly_spaced(10, range(100))})  # at t it is t / 10


@pytest.mark.parametrize(
    ("text", "t", "expected"),
    [
        ("count_over_time(m[5m:1m])", 605, 5),
        ("count_over_time(m[5m:1m])", 600, 5),  # (300, 600]: open on the left
        ("sum_over_time(m[2m:1m])", 605, 54 + 60),  # asked at 540 and 600, whatever the time is
        ("max_over_time(m[2m:1m] offset 1m)", 605, 54),
        ("max_over_time(m[2m:1m] offset -1m)", 605, 66),
        ("max_over_time(m[2m:1m] @ 605)", 950, 60),
        ("max_over_time(m[2m:1m] @ 605 offset 1m)", 950, 54),
        ("count_over_time(m[5m:])", 605, 5),  # no step: a minute
        ("max_over_time((m > 1000)[5m:1m])", 605, None),
        ("sum_over_time((m > bool 54)[5m:1m])", 605, 1),
        ("min_over_time(max_over_time(m[2m:1m])[3m:1m])", 605, 48),
        ("rate(m[5m:1m])", 605, 0.1),
        ("absent_over_time(m[5m:1m])", 605, None),
        ("absent_over_time(nobody[5m:1m])", 605, 1),
        ("sum_over_time(vector(time())[2m:1m])", 605, 540 + 600),
        ("count_over_time(m[30s:1m])", 639, None),  # no step in (609, 639]
        ("m @ 300", 605, 30),
        ("m @ 300 offset 1m", 605, 24),
        ("m @ end()", 605, 60),
        ("m @ start() offset 1m", 605, 54),
        ("max_over_time(m[1m] @ 300)", 605, 30),
        ("timestamp(m @ 305)", 605, 300),
        ("sum_over_time((m @ end())[2m:1m])", 605, 120),
        ("sum_over_time((m - m @ start())[2m:1m])", 605, -6),
    ],
)
def test_values(text: str, t: float, expected: float | None) -> None:
    assert single_value(text, RISING, t) == (None if expected is None else pytest.approx(expected))


def test_an_answer_that_is_not_there_leaves_a_hole_and_a_nan_does_not() -> None:
    series = make_pages({"m": [*evenly_spaced(60, [1, float("nan"), 3, STALE_MARKER], 60)]})

    assert single_value("count_over_time(m[5m:1m])", series, 300) == 3
    assert single_value("count_over_time((m > 1)[5m:1m])", series, 300) == 1


def test_names_are_kept_by_last_over_time_only() -> None:
    assert evaluate_times("last_over_time(m[5m:1m])", RISING, 605).keys == [series_key("m")]
    assert evaluate_times("max_over_time(m[5m:1m])", RISING, 605).keys == [()]
    assert instant_vector('absent_over_time(n{x="1"}[5m:1m])', RISING, 605) == {
        parse_labels(""): 1
    }  # not labelled, unlike a selector


def test_evidence_is_one_piece_per_step_and_fresh_until_the_next() -> None:
    seen = evaluate_times("max_over_time(m[5m:1m])", RISING, 600, 605, 659, 660)

    assert seen.newest.tolist() == [660_000, 660_000, 660_000, 720_000]
    assert evaluate_times("max_over_time(nobody[5m:1m])", RISING, 600).newest.tolist() == [0]
    assert evaluate_times("m @ 300", RISING, 600).newest.tolist() == [600_000]
    assert evaluate_times("m @ 305", RISING, 600).newest.tolist() == [595_000]
    assert evaluate_times("nobody offset -1m", RISING, 600).newest.tolist() == [0]


@pytest.mark.parametrize(
    ("text", "have", "need"),
    [
        ("max_over_time(m[5m:1m])", 100, 300),
        ("max_over_time(rate(m[1m])[5m:1m])", 100, 360),
        ("max_over_time(m[5m:1m] offset 1m)", 40, 300),
        ("max_over_time(m[1m:30s])", 60, 60),
        ("max_over_time(min_over_time(m[1m:30s])[5m:1m])", 100, 360),
        ("rate(m[1m] @ 40)", 40, 60),
        ("max_over_time(rate(m[1m] @ 40)[5m:1m])", 40, 60),
        ("m @ 5", 0, 0),
    ],
)
def test_coverage_counts_the_whole_way_back(text: str, have: float, need: float) -> None:
    result = evaluate_times(text, RISING, 100)

    assert (result.covered_ms.tolist(), result.window_ms.tolist()) == ([have * 1_000], [need * 1_000])


def test_many_times_come_in_chunks_that_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    times = np.arange(0, 1_000_000, 25_003, dtype=np.int64)
    expr = parse("sum_over_time(rate(m[1m])[5m:7s])")
    whole = evaluate(expr, RISING, times)
    monkeypatch.setattr(subqueries, "_MAX_STEPS_AT_ONCE", 100)
    chunks = evaluate(expr, RISING, times)

    assert whole.present.any()
    assert chunks.values.tobytes() == whole.values.tobytes()
    assert (chunks.newest.tolist(), chunks.covered_ms.tolist()) == (whole.newest.tolist(), whole.covered_ms.tolist())


def test_an_absurd_number_of_steps_is_refused() -> None:
    with pytest.raises(PromqlError, match="take a longer step"):
        evaluate_times("max_over_time(m[1y:1ms])", RISING, 100)
