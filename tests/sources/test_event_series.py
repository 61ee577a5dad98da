"""Counters, sums and last values by label sets, and the state from which they go on."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchdog.core.model import Labels, Sample
from watchdog.sources.event_series import MAX_LABEL_SETS, EventSeries, KeptSeries, SeriesPlan
from watchdog.sources.series_limits import SeriesLimiter

NOW = 1_700_000_000_000
PLANS = {
    "orders_total": SeriesPlan("count"),
    "errors_total": SeriesPlan("count", ("kind",)),
    "volume_total": SeriesPlan("sum", ("side", "symbol")),
    "equity": SeriesPlan("last"),
}


def begin(kept: dict[str, KeptSeries] | None = None, plans: dict[str, SeriesPlan] = PLANS) -> EventSeries:
    return EventSeries(plans, kept or {}, NOW)


def values(series: EventSeries) -> dict[tuple[str, Labels], tuple[float, int]]:
    series.finish(None, behind=False)
    return {(name, labels): (v, t) for name, labels, t, v in series.samples()}


def through_json(series: EventSeries) -> dict[str, KeptSeries]:
    kept = {name: each.model_dump(mode="json") for name, each in series.keep().items()}
    return {name: KeptSeries.model_validate(each) for name, each in json.loads(json.dumps(kept)).items()}


def test_a_counter_without_labels_begins_at_0_and_a_last_value_is_absent_until_it_was_said() -> None:
    assert values(begin()) == {("orders_total", ()): (0.0, NOW)}


def test_counters_are_of_now_and_last_values_as_old_as_their_event() -> None:
    series = begin()
    series.add("orders_total", (), 1.0, NOW - 9_000)
    series.add("orders_total", (), 1.0, NOW - 8_000)
    series.add("errors_total", ("margin",), 1.0, NOW - 7_000)
    series.add("volume_total", ("buy", "BTC"), 1.5, NOW - 6_000)
    series.add("volume_total", ("buy", "BTC"), 2.0, NOW - 5_000)
    series.add("equity", (), 99.5, NOW - 4_000)

    assert values(series) == {
        ("orders_total", ()): (2.0, NOW),
        ("errors_total", (("kind", "margin"),)): (1.0, NOW),
        ("volume_total", (("side", "buy"), ("symbol", "BTC"))): (3.5, NOW),
        ("equity", ()): (99.5, NOW - 4_000),
    }


def test_an_older_event_that_comes_later_is_not_the_last_one() -> None:
    series = begin()
    series.add("equity", (), 1.0, NOW - 5)
    series.add("equity", (), 2.0, NOW - 6)
    assert values(series)["equity", ()] == (1.0, NOW - 5)

    series.add("equity", (), 3.0, NOW - 5)
    assert values(series)["equity", ()] == (3.0, NOW - 4), "of one time the store keeps the first"


def test_nothing_is_later_than_now() -> None:
    series = begin()
    series.add("equity", (), 1.0, NOW + 5_000)

    assert values(series)["equity", ()] == (1.0, NOW)


def test_a_label_that_is_empty_is_none() -> None:
    series = begin()
    series.add("volume_total", ("", "BTC"), 1.0, NOW)

    assert ("volume_total", (("symbol", "BTC"),)) in values(series)


def test_it_goes_on_from_what_was_kept_unless_it_is_another_metric_by_now() -> None:
    series = begin()
    series.add("orders_total", (), 1.0, NOW)
    series.add("errors_total", ("margin",), 1.0, NOW)
    changed = {"orders_total": SeriesPlan("count"), "errors_total": SeriesPlan("count", ("sort",))}

    again = begin(through_json(series), changed)

    assert values(again) == {("orders_total", ()): (1.0, NOW)}


def test_counters_that_are_known_stay_where_label_sets_are_too_many_and_the_rest_is_counted() -> None:
    series = begin()
    for number in range(MAX_LABEL_SETS + 5):
        series.add("errors_total", (str(number),), 1.0, NOW)
    series.add("errors_total", ("0",), 1.0, NOW)

    found = values(series)
    assert found["errors_total", (("kind", "0"),)][0] == 2.0
    assert len([name for name, _ in found if name == "errors_total"]) == MAX_LABEL_SETS
    assert series.dropped == 5


def test_of_too_many_last_values_the_one_goes_of_which_nothing_was_heard_for_longest() -> None:
    series = begin(plans={"price": SeriesPlan("last", ("symbol",))})
    for number in range(MAX_LABEL_SETS):
        series.add("price", (str(number),), 1.0, NOW)
    series.add("price", ("0",), 2.0, NOW)
    series.add("price", ("new",), 3.0, NOW)

    found = {labels[0][1] for _, labels in values(series)}
    assert len(found) == MAX_LABEL_SETS
    assert {"0", "new"} <= found
    assert "1" not in found
    assert series.dropped == 0


def test_a_label_that_is_too_long_is_left_out_whole() -> None:
    series = begin()
    series.add("errors_total", ("x" * 1_025,), 1.0, NOW)

    assert ("errors_total", ()) not in {(name, ()) for name, labels in values(series) if labels}
    assert series.dropped == 1


def test_what_is_no_number_changes_nothing_and_no_sum_runs_over() -> None:
    series = begin(plans={"volume_total": SeriesPlan("sum")})
    for value in (float("nan"), float("inf"), 1e308, 1e308, 1e308):
        series.add("volume_total", (), value, NOW)

    (found,) = series.samples()
    assert 1.7e308 < found.v < float("inf")
    through_json(series)  # raises


EVENTS = st.lists(
    st.tuples(st.sampled_from(sorted(PLANS)), st.sampled_from(["a", "b", ""]), st.integers(0, 50), st.integers(0, 9))
)


@settings(deadline=None)
@given(EVENTS, st.integers(0, 20))
def test_a_restart_between_two_events_changes_nothing(events: list[tuple[str, str, int, int]], cut: int) -> None:
    def feed(series: EventSeries, part: list[tuple[str, str, int, int]]) -> EventSeries:
        for name, label, value, t in part:
            labels = [label] * len(PLANS[name].labels)
            series.add(name, labels, float(value), NOW + t)
        return series

    whole = feed(begin(), events)
    first = feed(begin(), events[:cut])
    second = feed(begin(through_json(first)), events[cut:])

    assert values(second) == values(whole)


def taken(samples: list[Sample], name: str) -> list[tuple[int, float]]:
    """(seconds from NOW, value) of one metric."""
    return [((t - NOW) // 1_000, v) for each, _, t, v in samples if each == name]


def test_what_was_slept_through_is_counted_when_it_happened() -> None:
    kept = through_json(begin())
    series = EventSeries(PLANS, kept, NOW, NOW - 600_000, 1_000)  # ten minutes, in sixty steps
    for seconds in (-595, -594, -300, -5):
        series.add("orders_total", (), 1.0, NOW + seconds * 1_000)
    series.add("errors_total", ("margin",), 1.0, NOW - 300_000)
    series.finish(NOW - 5_000, behind=False)

    orders = taken(series.samples(), "orders_total")
    assert orders[0] == (-590, 2.0)
    assert (-310, 2.0) in orders
    assert (-290, 3.0) in orders
    assert orders[-1] == (0, 4.0)
    assert orders == sorted(orders)
    errors = taken(series.samples(), "errors_total")
    assert errors[0] == (-600, 0.0)
    assert (-310, 0.0) in errors
    assert errors[-1] == (0, 1.0)


def test_counters_of_a_log_that_is_not_read_to_its_end_are_of_its_newest_event() -> None:
    series = EventSeries(PLANS, {}, NOW, NOW - 600_000, 1_000)
    series.add("orders_total", (), 1.0, NOW - 400_000)

    assert series.finish(NOW - 395_000, behind=True) == NOW - 395_000
    assert taken(series.samples(), "orders_total")[-1] == (-395, 1.0)
    assert EventSeries(PLANS, {}, NOW, NOW - 1_000, 1_000).finish(NOW - 5_000, behind=True) == NOW - 1_000


def test_between_two_reads_that_lie_close_together_counters_are_said_once() -> None:
    series = EventSeries(PLANS, {}, NOW, NOW - 2_000, 1_000)
    series.add("orders_total", (), 1.0, NOW - 1_500)
    series.finish(NOW - 1_500, behind=False)

    assert taken(series.samples(), "orders_total") == [(0, 1.0)]


def test_a_counter_with_labels_that_is_new_was_0_at_the_read_before() -> None:
    series = EventSeries(PLANS, {}, NOW, NOW - 1_000, 1_000)
    series.add("errors_total", ("margin",), 1.0, None)
    series.finish(None, behind=False)
    assert taken(series.samples(), "errors_total") == [(-1, 0.0), (0, 1.0)]

    again = EventSeries(PLANS, through_json(series), NOW + 1_000, NOW, 1_000)
    again.finish(None, behind=False)
    assert taken(again.samples(), "errors_total") == [(1, 1.0)]


@pytest.mark.slow
@pytest.mark.parametrize("sets", [1, 60, MAX_LABEL_SETS])
def test_no_read_has_more_times_than_are_taken_and_new_values_stay_new(sets: int) -> None:
    plans = {name: SeriesPlan("last" if name[0] == "p" else "count", ("symbol",)) for name in ("p1", "p2", "c1", "c2")}
    series, limiter = (
        EventSeries(plans, {}, NOW, NOW - 600_000, 1_000),
        SeriesLimiter(100_000, 1 << 30, 1_000, lambda _: 0),
    )
    said: dict[tuple[str, Labels], int] = {}
    for read in range(3):
        now = NOW + read * 600_000
        series = EventSeries(plans, through_json(series), now, now - 600_000, 1_000)
        for name in plans:
            for number in range(sets if read != 1 else 3):
                series.add(name, (str(number),), float(read), now - 599_000 + number * 577)
        series.finish(now - 1_000, behind=False)
        samples = series.samples()

        kept, cut = limiter.admit(samples, now)
        assert cut is None
        for name, labels, t, value in kept:
            if name[0] == "p" and value == read:
                assert t > said.get((name, labels), 0), "what is not newer is dropped"
                said[name, labels] = t
