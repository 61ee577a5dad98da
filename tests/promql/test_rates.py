"""`rate` and its kin, computed by hand. Most windows are (0 s, 60 s]."""

from __future__ import annotations

import math

import pytest

from tests.support.series_builders import STALE_MARKER, instant_vector, make_pages, single_value

SAMPLE_TIMES = (5, 20, 35, 50)
"""45 s sampled in steps of 15 s: samples further than 16.5 s from an edge do not reach it."""


def counter_points(*values: float, times: tuple[float, ...] = SAMPLE_TIMES) -> list[tuple[float, float]]:
    return list(zip(times, values, strict=True))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # 45 in 45 s, stretched by 5 s to the left (zero would be 10 s away) and 10 s to the right: 45 × 60/45
        ((10, 25, 40, 55), 60.0),
        # zero was 1 s before the first sample: 45 × (45 + 1 + 10)/45
        ((1, 16, 31, 46), 56.0),
        # born at zero: nothing to the left
        ((0, 15, 30, 45), 55.0),
        # a reset after 25: (20 - 10) + 25 = 35; zero 45 × 10/35 s away, further than the edge
        ((10, 25, 5, 20), 35 * 60 / 45),
        # two resets: (3 - 10) + 20 + 9 = 22
        ((10, 20, 9, 3), 22 * 60 / 45),
        # a reset to the first value still counts: 0 + 12 = 12; zero 45 × 10/12 s away
        ((10, 12, 10, 10), 12 * 60 / 45),
        # flat: no slope, no zero point
        ((7, 7, 7, 7), 0.0),
        # a negative counter has no zero point to respect: 45 × 60/45
        ((-10, 5, 20, 35), 60.0),
    ],
)
def test_increase(values: tuple[float, ...], expected: float) -> None:
    series = make_pages({"c": counter_points(*values)})

    assert single_value("increase(c[1m])", series, 60) == pytest.approx(expected, rel=1e-15)
    assert single_value("rate(c[1m])", series, 60) == pytest.approx(expected / 60, rel=1e-15)


def test_a_series_that_begins_far_inside_the_window_is_stretched_by_half_a_step() -> None:
    # window (-60, 60]: the edge is 65 s away, zero 10 s, half a step 7.5 s: 45 × (45 + 7.5 + 10)/45
    assert single_value("increase(c[2m])", make_pages({"c": counter_points(10, 25, 40, 55)}), 60) == 62.5


def test_zero_cuts_what_the_half_step_leaves() -> None:
    # the same with zero 2 s away: 45 × (45 + 2 + 10)/45
    assert single_value("increase(c[2m])", make_pages({"c": counter_points(2, 17, 32, 47)}), 60) == pytest.approx(
        57, rel=1e-15
    )


def test_a_series_that_ends_far_inside_the_window_is_stretched_by_half_a_step() -> None:
    # window (0, 80]: 30 s to the right edge: 45 × (45 + 5 + 7.5)/45
    assert single_value("increase(c[80s])", make_pages({"c": counter_points(10, 25, 40, 55)}), 80) == pytest.approx(
        57.5, rel=1e-15
    )


def test_the_edge_counts_as_far_at_exactly_eleven_tenths_of_a_step() -> None:
    points = counter_points(100, 110, 120, times=(11, 21, 31))

    # window (0, 41]: 11 s to the left is too far: half a step; 10 s to the right is not: 20 × (20 + 5 + 10)/20
    assert single_value("increase(c[41s])", make_pages({"c": points}), 41) == 35.0
    # window (0, 42] : 11 s on both sides: 20 × (20 + 5 + 5)/20
    assert single_value("increase(c[42s])", make_pages({"c": points}), 42) == 30.0


@pytest.mark.parametrize("function", ["rate", "increase", "delta", "irate", "idelta"])
def test_one_sample_is_no_rate(function: str) -> None:
    series = make_pages({"c": [(5, 1), (20, STALE_MARKER), (300, 7)]})

    assert single_value(f"{function}(c[1m])", series, 60) is None
    assert single_value(f"{function}(c[1m])", series, 300) is None


def test_a_sample_on_the_left_edge_is_outside() -> None:
    series = make_pages({"c": counter_points(10, 25, 40, 55)})

    # window (5, 60]: 25, 40, 55; zero would be 25 s away: 30 × (30 + 15 + 10)/30
    assert single_value("increase(c[55s])", series, 60) == pytest.approx(55, rel=1e-15)


def test_stale_markers_do_not_reset_a_counter() -> None:
    gap = make_pages({"c": [(5, 10), (20, 25), (27, STALE_MARKER), (35, 40), (50, 55)]})

    assert single_value("increase(c[1m])", gap, 60) == 60.0


def test_delta_knows_no_resets_and_no_zero() -> None:
    assert single_value("delta(g[1m])", make_pages({"g": counter_points(10, 25, 5, 20)}), 60) == pytest.approx(
        10 * 60 / 45, rel=1e-15
    )
    assert single_value("delta(g[1m])", make_pages({"g": counter_points(1, -14, -29, -44)}), 60) == -60.0


def test_irate_reads_the_last_two_samples() -> None:
    assert single_value("irate(c[1m])", make_pages({"c": counter_points(0, 1, 10, 40)}), 60) == 30 / 15
    assert single_value("irate(c[1m])", make_pages({"c": counter_points(0, 1, 10, 6)}), 60) == 6 / 15  # since the reset
    assert single_value("idelta(g[1m])", make_pages({"g": counter_points(0, 1, 10, 6)}), 60) == -4


@pytest.mark.parametrize(
    ("values", "changes", "resets"),
    [
        ((1, 1, 1, 1), 0, 0),
        ((1, 2, 2, 1), 2, 1),
        ((3, 2, 1, 0), 3, 3),
        ((math.nan, math.nan, 1, math.nan), 2, 0),
        ((-1, 0, -0.0, 0), 1, 0),
    ],
)
def test_changes_and_resets(values: tuple[float, ...], changes: float, resets: float) -> None:
    series = make_pages({"m": counter_points(*values)})

    assert single_value("changes(m[1m])", series, 60) == changes
    assert single_value("resets(m[1m])", series, 60) == resets


def test_one_sample_has_changed_no_times() -> None:
    assert single_value("changes(m[1m])", make_pages({"m": [(5, 1)]}), 60) == 0
    assert single_value("resets(m[1m])", make_pages({"m": [(5, 1)]}), 60) == 0


def test_a_ratio_of_increases_is_the_share_of_events() -> None:
    series = make_pages({"changes": counter_points(0, 3, 3, 6), "bars": counter_points(0, 15, 30, 45)})

    assert single_value("increase(changes[1m]) / increase(bars[1m])", series, 60) == pytest.approx(6 / 45, rel=1e-15)


def test_series_of_one_page_with_and_without_gaps_are_each_seen_as_if_alone() -> None:
    dense, holed, stale = (
        counter_points(10, 25, 40, 55),
        [(5.0, 10.0), (50.0, 55.0)],
        [(5.0, 10.0), (20.0, 25.0), (35.0, STALE_MARKER)],
    )
    together = make_pages({"c{x=1}": dense, "c{x=2}": holed, "c{x=3}": stale, "c{x=4}": [(100, 1)]})
    alone = [make_pages({f"c{{x={i}}}": points}) for i, points in enumerate((dense, holed, stale), 1)]

    for text in ("increase(c[1m])", "avg_over_time(c[1m])", "last_over_time(c[1m])", "c"):
        expected = {name: value for one in alone for name, value in instant_vector(text, one, 60).items()}
        assert instant_vector(text, together, 60) == expected
