"""Counters, sums and last values by label sets, and the state from which they go on."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from watchdog.core.model import Labels
from watchdog.sources.event_series import MAX_LABEL_SETS, EventSeries, KeptSeries, SeriesPlan

NOW = 1_700_000_000_000
PLANS = {
    "orders_total": SeriesPlan("count"),
    "errors_total": SeriesPlan("count", ("kind",)),
    "volume_total": SeriesPlan("sum", ("side", "symbol")),
    "equity": SeriesPlan("last"),
}


def values(series: EventSeries, now: int = NOW) -> dict[tuple[str, Labels], tuple[float, int]]:
    return {(name, labels): (v, t) for name, labels, t, v in series.samples(now)}


def through_json(series: EventSeries) -> dict[str, KeptSeries]:
    kept = {name: each.model_dump(mode="json") for name, each in series.keep().items()}
    return {name: KeptSeries.model_validate(each) for name, each in json.loads(json.dumps(kept)).items()}


def test_a_counter_without_labels_begins_at_0_and_a_last_value_is_absent_until_it_was_said() -> None:
    assert values(EventSeries(PLANS, {})) == {("orders_total", ()): (0.0, NOW)}


def test_counters_are_of_now_and_last_values_as_old_as_their_event() -> None:
    series = EventSeries(PLANS, {})
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
    series = EventSeries(PLANS, {})
    series.add("equity", (), 1.0, NOW)
    series.add("equity", (), 2.0, NOW - 1)
    assert values(series)["equity", ()] == (1.0, NOW)

    series.add("equity", (), 3.0, NOW)
    assert values(series)["equity", ()] == (3.0, NOW)


def test_nothing_is_later_than_now() -> None:
    series = EventSeries(PLANS, {})
    series.add("equity", (), 1.0, NOW + 5_000)

    assert values(series)["equity", ()] == (1.0, NOW)


def test_a_label_that_is_empty_is_none() -> None:
    series = EventSeries(PLANS, {})
    series.add("volume_total", ("", "BTC"), 1.0, NOW)

    assert ("volume_total", (("symbol", "BTC"),)) in values(series)


def test_it_goes_on_from_what_was_kept_unless_it_is_another_metric_by_now() -> None:
    series = EventSeries(PLANS, {})
    series.add("orders_total", (), 1.0, NOW)
    series.add("errors_total", ("margin",), 1.0, NOW)
    changed = {"orders_total": SeriesPlan("count"), "errors_total": SeriesPlan("count", ("sort",))}

    again = EventSeries(changed, through_json(series))

    assert values(again) == {("orders_total", ()): (1.0, NOW)}


def test_counters_that_are_known_stay_where_label_sets_are_too_many_and_the_rest_is_counted() -> None:
    series = EventSeries(PLANS, {})
    for number in range(MAX_LABEL_SETS + 5):
        series.add("errors_total", (str(number),), 1.0, NOW)
    series.add("errors_total", ("0",), 1.0, NOW)

    found = values(series)
    assert found["errors_total", (("kind", "0"),)][0] == 2.0
    assert len([name for name, _ in found if name == "errors_total"]) == MAX_LABEL_SETS
    assert series.dropped == 5


def test_of_too_many_last_values_the_one_goes_of_which_nothing_was_heard_for_longest() -> None:
    series = EventSeries({"price": SeriesPlan("last", ("symbol",))}, {})
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
    series = EventSeries(PLANS, {})
    series.add("errors_total", ("x" * 1_025,), 1.0, NOW)

    assert ("errors_total", ()) not in {(name, ()) for name, labels in values(series) if labels}
    assert series.dropped == 1


def test_what_is_no_number_changes_nothing_and_no_sum_runs_over() -> None:
    series = EventSeries({"volume_total": SeriesPlan("sum")}, {})
    for value in (float("nan"), float("inf"), 1e308, 1e308, 1e308):
        series.add("volume_total", (), value, NOW)

    (found,) = series.samples(NOW)
    assert 1.7e308 < found.v < float("inf")
    through_json(series)  # raises


EVENTS = st.lists(
    st.tuples(st.sampled_from(sorted(PLANS)), st.sampled_from(["a", "b", ""]), st.integers(0, 50), st.integers(0, 9))
)


@given(EVENTS, st.integers(0, 20))
def test_a_restart_between_two_events_changes_nothing(events: list[tuple[str, str, int, int]], cut: int) -> None:
    def feed(series: EventSeries, part: list[tuple[str, str, int, int]]) -> EventSeries:
        for name, label, value, t in part:
            labels = [label] * len(PLANS[name].labels)
            series.add(name, labels, float(value), NOW + t)
        return series

    whole = feed(EventSeries(PLANS, {}), events)
    first = feed(EventSeries(PLANS, {}), events[:cut])
    second = feed(EventSeries(PLANS, through_json(first)), events[cut:])

    assert values(second) == values(whole)
