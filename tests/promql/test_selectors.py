"""Which samples an expression sees: matchers, lookback, staleness, offsets, `since` - and what it says of them."""

from __future__ import annotations

import math

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
from watchdog.promql import PromqlError
from watchdog.tsdb.page import ABSENT, STALE, PageList, SeriesPage, is_missing

LONG_AGO = -1e9


# ─ matchers ─

HOSTS = make_pages(
    {"up{host=a1}": [(0, 1)], "up{host=a2}": [(0, 2)], "up{host=b1,zone=x}": [(0, 3)], "down{host=a1}": [(0, 4)]}
)


@pytest.mark.parametrize(
    ("selector", "values"),
    [
        ("up", [1, 2, 3]),
        ('{__name__="down"}', [4]),
        ('up{host="a1"}', [1]),
        ('up{host!="a1"}', [2, 3]),
        ('up{host=~"a."}', [1, 2]),
        ('up{host=~"a"}', []),  # anchored at both ends
        ('up{host!~"a.*"}', [3]),
        ('up{zone=""}', [1, 2]),  # a label that is not there is empty
        ('up{zone!=""}', [3]),
        ('up{zone=~"x?"}', [1, 2, 3]),
        ('up{host=~"(?i)A1|B1"}', [1, 3]),
        ('{__name__=~"up|down", host="a1"}', [1, 4]),
        ('{host="a1", __name__!="up"}', [4]),
        ("nobody", []),
    ],
)
def test_matchers_choose_series(selector: str, values: list[float]) -> None:
    result = evaluate_times(selector, HOSTS, 1)

    assert sorted(result.values[:, 0]) == values


def test_a_selector_keeps_the_name_and_at_drops_it() -> None:
    result = evaluate_times('up{zone="x"}', HOSTS, 1)

    assert result.keys == [series_key("up{host=b1,zone=x}")]
    assert result.vector_at(0) == {parse_labels("host=b1,zone=x"): 3}


def test_a_result_whose_series_differ_by_name_only_cannot_be_read_without_names() -> None:
    result = evaluate_times('{host="a1"}', HOSTS, 1)

    with pytest.raises(PromqlError, match="select one metric"):
        result.vector_at(0)


# ─ time ─


@pytest.mark.parametrize(
    ("t", "value"),
    [(9.999, None), (10, 5), (11, 5), (309.999, 5), (310, None)],
)
def test_an_instant_selector_looks_back_less_than_five_minutes(t: float, value: float | None) -> None:
    assert single_value("m", make_pages({"m": [(10, 5)]}), t) == value


def test_a_range_is_open_on_the_left_and_closed_on_the_right() -> None:
    series = make_pages({"m": evenly_spaced(10, [1, 1, 1, 1, 1, 1, 1])})

    assert single_value("count_over_time(m[30s])", series, 60) == 3  # 40, 50, 60
    assert single_value("count_over_time(m[30s])", series, 59.999) == 3  # 30, 40, 50
    assert single_value("count_over_time(m[1ms])", series, 60) == 1
    assert single_value("count_over_time(m[1ms])", series, 60.001) is None


def test_an_offset_moves_the_window() -> None:
    series = make_pages({"m": evenly_spaced(10, range(7))})

    assert single_value("m offset 25s", series, 60) == 3
    assert single_value("m offset -30s", series, 20) == 5
    assert single_value("sum_over_time(m[20s] offset 30s)", series, 60) == 2 + 3


def test_a_series_that_is_gone_is_gone_at_once() -> None:
    series = make_pages({"m": [(0, 1), (10, 2), (20, STALE_MARKER), (40, 3)]})

    assert [single_value("m", series, t) for t in (10, 19.999, 20, 39.999, 40)] == [2, 2, None, None, 3]


def test_a_range_passes_over_stale_markers() -> None:
    series = make_pages({"m": [(0, 1), (10, 2), (20, STALE_MARKER), (40, 3)]})

    assert single_value("sum_over_time(m[1m])", series, 50) == 6
    assert single_value("count_over_time(m[10s])", series, 25) is None  # nothing but the marker


def test_a_measured_nan_is_a_value() -> None:
    series = make_pages({"m": [(0, math.nan)]})

    result = evaluate_times("m", series, 1)

    assert result.present.tolist() == [[True]]
    assert math.isnan(result.values[0, 0])
    assert single_value("count_over_time(m[1m])", series, 1) == 1


def test_a_series_without_a_sample_in_a_column_of_its_page_keeps_its_last_one() -> None:
    series = make_pages(
        {"slow": [(0, 1), (60, 2)], "fast": evenly_spaced(10, range(13)), "gone": [(0, 1), (30, STALE_MARKER)]}
    )

    result = evaluate_times('{__name__=~"slow|gone"}', series, 5, 25, 55, 65, 120, 359.9, 360)

    rows = dict(zip(result.keys, result.values.tolist(), strict=True))
    assert rows[series_key("slow")] == pytest.approx([1, 1, 1, 2, 2, 2, math.nan], nan_ok=True)
    assert rows[series_key("gone")] == pytest.approx([1, 1, *[math.nan] * 5], nan_ok=True)


def test_rows_that_do_not_lie_side_by_side_are_read_as_well() -> None:
    series = make_pages({"a{x=1}": [(0, 1)], "b": [(0, 2)], "a{x=2}": [(0, 3), (10, 4)]})

    assert instant_vector("a", series, 11) == {parse_labels("x=1"): 1, parse_labels("x=2"): 4}
    assert evaluate_times("a", series, 1, 11).values.tolist() == [[1, 1], [3, 4]]
    assert instant_vector("sum_over_time(a[1m])", series, 11) == {parse_labels("x=1"): 1, parse_labels("x=2"): 7}


def test_an_empty_page_says_nothing() -> None:
    empty = PageList([SeriesPage(np.zeros(0, np.int64), np.zeros((1, 0)), [series_key("m")], 0)])

    assert instant_vector("m", empty, 1) == {}
    assert instant_vector("rate(m[5m])", empty, 1) == {}
    assert instant_vector("m", PageList(), 1) == {}


def test_no_times_give_no_result() -> None:
    result = evaluate_times("sum(m) + rate(m[1m])", make_pages({"m": [(0, 1)]}))

    assert (result.keys, result.values.shape, result.newest.shape) == ([], (0, 0), (0,))


def test_an_evaluation_never_hands_out_the_page_itself() -> None:
    series = make_pages({"m": [(0, 1.0), (10, 2.0)]})

    for text in ("m", "last_over_time(m[1m])", "m > 0"):
        assert not np.shares_memory(evaluate_times(text, series, 10).values, series.pages[0].v)


def test_marks_are_told_from_measured_nans_by_their_bits() -> None:
    v = np.array([math.nan, 1.0, 0.0, 0.0])
    v[2], v[3] = STALE, ABSENT

    assert is_missing(v).tolist() == [False, False, True, True]


def test_rows_that_come_and_go_are_noticed_when_the_series_say_so() -> None:
    series = make_pages({"m{x=1}": [(0, 1)]})
    assert instant_vector("sum(m)", series, 1) == {(): 1}

    series.pages.append(make_pages({"m{x=2}": [(0, 2)]}).pages[0])
    series.invalidate()

    assert instant_vector("sum(m)", series, 1) == {(): 3}


# ─ since ─


def test_since_hides_samples_up_to_it() -> None:
    series = make_pages({"m": evenly_spaced(10, [1, 2, 3, 4])})

    assert single_value("m", series, 30, since=29.999) == 4
    assert single_value("m", series, 30, since=30) is None
    assert single_value("sum_over_time(m[1m])", series, 30, since=10) == 7
    assert single_value("max_over_time(m[1m] offset 10s)", series, 30, since=10) == 3
    assert single_value("m", series, 30, since=1_000) is None


# ─ what was read ─


@pytest.mark.parametrize(
    ("text", "newest"),
    [
        ("fast", 100),
        ("slow", 60),
        ("fast + slow", 60),
        ("fast + on() old", 10),
        ("sum_over_time(slow[1m])", 60),
        ("sum_over_time(slow[30s])", 0),  # nothing in the window
        ("fast offset 30s", 100),  # 70 s, as fresh as that offset can be
        ("sum_over_time(fast[1m] offset 30s)", 100),
        ("gone", 0),
        ("sum_over_time(gone[5m])", 20),
        ('{__name__=~"fast|slow"}', 100),  # one page is one source: its newest sample counts
        ('{__name__=~"fast|old"}', 10),  # two pages: the older of them
        ("nobody", 0),
        ("time()", 0),
        ("absent(nobody) + fast", 100),
    ],
)
def test_newest_is_the_oldest_of_the_newest_sample_times(text: str, newest: float) -> None:
    series = make_pages(
        {"fast": evenly_spaced(10, range(11)), "slow": [(0, 1), (60, 2)], "gone": [(20, 1), (90, STALE_MARKER)]},
        {"old": [(10, 1)]},
    )

    result = evaluate_times(text, series, 101, 5_000)

    assert result.newest.tolist() == [newest * 1_000, 0]


@pytest.mark.parametrize(
    ("text", "t", "since", "have", "need"),
    [
        ("m", 100, None, 0, 0),
        ("rate(m[30s])", 100, None, 30, 30),
        ("rate(m[60s])", 100, None, 60, 60),
        ("rate(m[61s])", 100, None, 60, 61),  # watched since 40
        ("rate(m[1h])", 100, None, 60, 3_600),
        ("rate(m[30s] offset 40s)", 100, None, 20, 30),
        ("rate(m[30s])", 20, None, 0, 30),  # before it was watched
        ("rate(m[30s])", 100, 90, 10, 30),
        ("rate(m[1h])", 100, 10, 60, 3_600),
        ("rate(m[30s]) + rate(m[40s])", 100, None, 40, 40),  # all covered: the longer one
        ("rate(m[100s]) + rate(m[1h]) + rate(m[10s])", 100, None, 60, 3_600),  # the worst share
        ("rate(nobody[1h]) or rate(m[10s])", 100, None, 10, 10),  # nothing was read over the hour
    ],
)
def test_coverage_is_that_of_the_worst_window(
    text: str, t: float, since: float | None, have: float, need: float
) -> None:
    series = make_pages({"m": evenly_spaced(10, range(20), start=40)}, begin=40)

    result = evaluate_times(text, series, t, since=since)

    assert (result.covered_ms[0], result.window_ms[0]) == (have * 1_000, need * 1_000)


def test_a_series_that_is_watched_later_than_its_page_covers_less() -> None:
    series = make_pages({"old": evenly_spaced(10, range(11)), "new": evenly_spaced(10, range(11))}, begin=0)
    series.pages[0].watched_since[1] = 70_000

    assert series.pages[0].first_watched == 0
    assert evaluate_times("rate(old[50s])", series, 100).covered_ms.tolist() == [50_000]
    assert evaluate_times("rate(new[50s])", series, 100).covered_ms.tolist() == [30_000]


def test_what_was_trimmed_covers_nothing() -> None:
    series = make_pages({"m": evenly_spaced(10, range(11))}, begin=LONG_AGO)
    series.pages[0].trimmed_until = 60_000

    assert evaluate_times("rate(m[50s])", series, 100).covered_ms.tolist() == [40_000]
