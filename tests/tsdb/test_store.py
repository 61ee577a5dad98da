"""What the store keeps of what sources deliver, and what it lets go."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.property_settings import examples
from tests.support.series_builders import STALE_MARKER, parse_labels, series_key
from watchdog.core.model import Labels, Sample
from watchdog.promql import evaluate, parse
from watchdog.tsdb.head import Head
from watchdog.tsdb.head_page import RETENTION_SLACK, HeadPage
from watchdog.tsdb.labels import LOOKBACK_DELTA
from watchdog.tsdb.page import ABSENT, PageList, is_missing, page_from_samples

S, M, H, D = 1_000, 60_000, 3_600_000, 86_400_000


def make_samples(t: int, *written: tuple[str, float]) -> list[Sample]:
    """``m{x=1}`` and its value, all at `t`."""
    found = []
    for series, v in written:
        name, _, rest = series.partition("{")
        found.append(Sample(name, parse_labels(rest.rstrip("}")), t, v))
    return found


def evaluate_at(text: str, store: PageList, t: int) -> dict[Labels, float]:
    return evaluate(parse(text), store, np.array([t])).vector_at(0)


def evaluate_number(text: str, store: PageList, t: int) -> float | None:
    found = evaluate_at(text, store, t)
    assert len(found) <= 1
    return next(iter(found.values()), None)


def coverage(text: str, store: PageList, t: int) -> int:
    return int(evaluate(parse(text), store, np.array([t])).covered_ms[0])


def head_page_of(store: Head, name: str) -> HeadPage:
    (found,) = [page for page in store.pages if any(("__name__", name) in row for row in page.keys)]
    assert isinstance(found, HeadPage)
    return found


def cells_in_memory(store: Head) -> int:
    return sum(page._v.size for page in store.pages if isinstance(page, HeadPage))


# ─ labels ─


@pytest.mark.parametrize(
    ("given_labels", "kept"),
    [
        ("", "source=bot"),
        ("x=1", "source=bot,x=1"),
        ("source=theirs", "exported_source=theirs,source=bot"),
        ("source=theirs,exported_source=older", "exported_exported_source=theirs,exported_source=older,source=bot"),
        ("exported_source=older", "exported_source=older,source=bot"),
        ("x=", "source=bot"),  # an empty label is none
        ("__name__=other,x=1", "source=bot,x=1"),
    ],
)
def test_every_series_says_where_it_comes_from(given_labels: str, kept: str) -> None:
    store = Head()
    store.ingest("bot", S, [Sample("m", parse_labels(given_labels), S, 1.0)])

    assert evaluate_at("m", store, S) == {parse_labels(kept): 1}


def test_unsorted_labels_are_one_series_with_sorted_ones() -> None:
    store = Head()
    store.ingest("bot", S, [Sample("m", (("b", "2"), ("a", "1")), S, 1.0)])
    store.ingest("bot", 2 * S, [Sample("m", (("a", "1"), ("b", "2")), 2 * S, 2.0)])

    assert evaluate_at("count_over_time(m[1m])", store, 2 * S) == {parse_labels("a=1,b=2,source=bot"): 2}


# ─ up, gone, lost ─


def test_a_read_source_is_up_and_a_lost_one_is_down() -> None:
    store = Head()
    store.ingest("bot", S, [])
    assert evaluate_at("up", store, S) == {parse_labels("source=bot"): 1}

    store.mark_source_down("bot", 2 * S)
    store.mark_source_down("host", 2 * S)

    assert evaluate_at("up", store, 2 * S) == {parse_labels("source=bot"): 0, parse_labels("source=host"): 0}
    store.ingest("bot", 3 * S, [])
    assert evaluate_at("up", store, 3 * S)[parse_labels("source=bot")] == 1


def test_an_up_in_the_data_does_not_overwrite_ours() -> None:
    store = Head()
    store.ingest("bot", S, make_samples(S, ("up", 0), ("up{job=x}", 0)))
    store.ingest("bot", 2 * S, make_samples(2 * S - 1, ("up", 0), ("up{job=x}", 0)))

    assert evaluate_at("up", store, 2 * S) == {parse_labels("source=bot"): 1, parse_labels("job=x,source=bot"): 0}


def test_a_series_that_is_no_longer_delivered_is_gone_at_once() -> None:
    store = Head()
    store.ingest("bot", S, make_samples(S, ("a", 1), ("b", 1)))
    store.ingest("bot", 2 * S, make_samples(2 * S, ("a", 2)))

    assert evaluate_number("b", store, 2 * S - 1) == 1
    assert evaluate_number("b", store, 2 * S) is None
    assert evaluate_number("a", store, 2 * S) == 2

    store.ingest("bot", 3 * S, make_samples(3 * S, ("b", 3)))
    assert (evaluate_number("a", store, 3 * S), evaluate_number("b", store, 3 * S)) == (None, 3)
    assert evaluate_number("count_over_time(b[1m])", store, 3 * S) == 2


def test_a_read_without_samples_marks_all_as_gone() -> None:
    store = Head({"long": D})
    store.ingest("bot", S, make_samples(S, ("short", 1), ("long", 1)))
    store.ingest("bot", 2 * S, [])

    assert evaluate_at('{source="bot"}', store, 2 * S) == {parse_labels("source=bot"): 1}
    assert evaluate_number("short", store, 2 * S) is None
    assert evaluate_number("long", store, 2 * S) is None


def test_a_lost_source_takes_its_own_series_along_and_no_others() -> None:
    store = Head()
    store.ingest("bot", S, make_samples(S, ("m", 1)))
    store.ingest("host", S, make_samples(S, ("m", 2)))
    store.mark_source_down("bot", 2 * S)
    store.mark_source_down("bot", 3 * S)

    assert evaluate_at("m", store, 3 * S) == {parse_labels("source=host"): 2}
    store.ingest("bot", 4 * S, make_samples(4 * S, ("m", 5)))
    assert evaluate_at("m", store, 4 * S) == {parse_labels("source=bot"): 5, parse_labels("source=host"): 2}


def test_a_stale_marker_in_the_data_is_one() -> None:
    store = Head()
    store.ingest("bot", S, make_samples(S, ("a", 1), ("b", 1)))
    store.ingest("bot", 2 * S, make_samples(2 * S, ("a", STALE_MARKER), ("b", 2)))

    assert evaluate_number("a", store, 2 * S) is None
    assert evaluate_number("count_over_time(a[1m])", store, 2 * S) == 1
    store.ingest("bot", 3 * S, make_samples(3 * S, ("a", 3), ("b", 3)))
    assert evaluate_number("a", store, 3 * S) == 3


def test_a_measured_nan_is_kept_as_one_whatever_its_bits() -> None:
    store = Head()
    store.ingest("bot", S, make_samples(S, ("a", math.nan), ("b", float(ABSENT))))

    for name in "ab":
        value = evaluate_number(name, store, S)
        assert value is not None
        assert math.isnan(value)


# ─ timestamps ─


def test_keep_returns_the_newest_sample_time() -> None:
    store = Head()

    assert store.ingest("bot", 10 * S, make_samples(8 * S, ("a", 1)) + make_samples(9 * S, ("b", 1))) == 9 * S
    assert store.ingest("bot", 11 * S, []) == 0
    assert store.ingest("bot", 12 * S, make_samples(8 * S, ("a", 1))) == 8 * S  # an old one, said again
    assert store.ingest("bot", 13 * S, make_samples(D, ("a", 1))) == 0  # from the future


def test_samples_with_times_of_their_own_go_where_they_belong() -> None:
    store = Head()
    store.ingest(
        "bot", 10 * S, make_samples(10 * S, ("a", 1)) + make_samples(7 * S, ("b", 1)) + make_samples(9 * S, ("c", 1))
    )
    store.ingest(
        "bot", 20 * S, make_samples(20 * S, ("a", 2)) + make_samples(9 * S, ("b", 2)) + make_samples(9 * S, ("c", 1))
    )

    assert head_page_of(store, "a").t.tolist() == [7 * S, 9 * S, 10 * S, 20 * S]
    assert [evaluate_number("b", store, t * S) for t in (6, 7, 8, 9, 20)] == [None, 1, 1, 2, 2]
    assert [evaluate_number("a", store, t * S) for t in (9, 10, 19, 20)] == [None, 1, 1, 2]
    assert evaluate_number("c", store, 20 * S) == 1  # repeated, still there
    assert evaluate_number("count_over_time(c[1m])", store, 20 * S) == 1


def test_a_column_between_others_leaves_them_as_they_were() -> None:
    store = Head()
    for i in range(1, 6):
        store.ingest("bot", i * 10 * S, make_samples(i * 10 * S, ("a", i), *([("gone", i)] if i < 3 else [])))
    store.ingest("bot", 60 * S, make_samples(25 * S, ("late", 7)) + make_samples(60 * S, ("a", 6)))

    result = evaluate(parse("a"), store, np.arange(10, 61, 5) * S)
    assert result.values.tolist() == [[1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6]]
    assert [evaluate_number("late", store, t * S) for t in (24, 25, 60)] == [None, 7, 7]
    assert [evaluate_number("gone", store, t * S) for t in (20, 26, 29, 30, 60)] == [2, 2, 2, None, None]


def test_a_series_only_moves_forward() -> None:
    store = Head()
    store.ingest("bot", 10 * S, make_samples(10 * S, ("a", 1), ("b", 1)))
    store.ingest("bot", 20 * S, make_samples(9 * S, ("a", 99)) + make_samples(20 * S, ("b", 2)))  # older
    store.ingest(
        "bot", 30 * S, make_samples(10 * S, ("a", 99)) + make_samples(30 * S, ("b", 3))
    )  # the same time, another value

    assert evaluate_number("a", store, 30 * S) == 1
    assert evaluate_number("sum_over_time(a[1m])", store, 30 * S) == 1
    assert evaluate_number("b", store, 30 * S) == 3


def test_a_sample_said_twice_counts_once() -> None:
    store = Head()
    store.ingest("bot", S, make_samples(S, ("a", 1), ("a", 2), ("b", 1), ("a{x=}", 3)))
    store.ingest("bot", 2 * S, make_samples(2 * S, ("a", 4), ("b", 1), ("a", 5)))

    assert evaluate(parse("a"), store, np.array([S, 2 * S])).values.tolist() == [[1, 4]]
    assert evaluate_number("count_over_time(a[1m])", store, 2 * S) == 2


def test_a_read_may_bring_history() -> None:
    store = Head({"a": H})
    history = [Sample("a", (), t * S, float(t)) for t in random.Random(1).sample(range(1, 1_001), 1_000)]
    store.ingest("log", 1_000 * S, [*history, *make_samples(1_000 * S, ("b", 1))])

    assert evaluate_number("count_over_time(a[1h])", store, 1_000 * S) == 1_000
    assert evaluate_number("sum_over_time(a[10s])", store, 500 * S) == sum(range(491, 501))
    assert evaluate_number("resets(a[1h])", store, 1_000 * S) == 0


def test_what_nothing_reads_any_more_or_lies_in_the_future_is_dropped() -> None:
    store = Head()
    now = 10 * H
    store.ingest(
        "bot", now, make_samples(now - H, ("old", 1)) + make_samples(now + H, ("new", 1)) + make_samples(now, ("a", 1))
    )

    assert {dict(row)["__name__"] for row, _, _ in store.latest_samples()} == {"a", "up"}
    assert head_page_of(store, "a").t.tolist() == [now]


def test_a_sample_a_little_ahead_is_kept_and_does_not_hold_up_others() -> None:
    store = Head()
    store.ingest("bot", 10 * S, make_samples(12 * S, ("fast", 1)) + make_samples(10 * S, ("a", 1)))
    store.ingest("bot", 11 * S, make_samples(13 * S, ("fast", 2)) + make_samples(11 * S, ("a", 2)))
    store.ingest("bot", 12 * S, make_samples(12 * S, ("a", 3)))

    assert [evaluate_number("a", store, t * S) for t in (10, 11, 12)] == [1, 2, 3]
    assert [evaluate_number("fast", store, t * S) for t in (11, 12, 13, 14)] == [None, 1, 2, None]


def test_a_clock_that_steps_back_corrupts_nothing() -> None:
    store = Head()
    for t in (100, 101, 50, 51, 102):
        store.ingest("bot", t * S, make_samples(t * S, ("a", t)))

    columns = head_page_of(store, "a").t.tolist()
    assert columns == sorted(set(columns))
    assert [evaluate_number("a", store, t * S) for t in (100, 101, 102)] == [100, 101, 102]


def test_a_clock_that_is_set_back_does_not_blind() -> None:
    store = Head({"a": D})
    for t in range(H, H + 10 * M, 10 * S):
        store.ingest("bot", t, make_samples(t, ("a", 1)))
    for t in range(2 * H, 2 * H + M, 10 * S):  # an hour too early
        store.ingest("bot", t, make_samples(t, ("a", 99), ("b", 99)))
    back = H + 11 * M
    store.ingest("bot", back, make_samples(back, ("a", 2)))
    store.ingest("bot", back + S, make_samples(back + S, ("a", 3)))

    assert evaluate_number("a", store, back + S) == 3
    assert evaluate_at("b", store, back + S) == {}
    assert evaluate_number("max_over_time(a[12h])", store, back + S) == 3
    assert evaluate_number("count_over_time(a[12h])", store, back + S) == 60 + 2
    assert evaluate_at("up", store, back + S) == {parse_labels("source=bot"): 1}
    assert coverage("rate(a[30m])", store, back + S) == 11 * M + S


def test_a_column_finds_its_place_while_the_buffer_is_trimmed() -> None:
    store = Head()
    expected = {}
    for i in range(1_000):
        now = H + i * 7 * S
        store.ingest("bot", now, make_samples(now, ("a", i)) + make_samples(now - 10 * S, ("late", i)))
        expected[now - 10 * S] = i
    times = np.array(sorted(expected)[-30:])

    columns = head_page_of(store, "a").t
    assert (np.diff(columns) > 0).all()
    assert evaluate(parse("late"), store, times).values.tolist() == [[expected[int(t)] for t in times]]


# ─ how long ─


def test_a_metric_is_kept_as_long_as_something_reads_it_and_hardly_longer() -> None:
    store = Head({"long": H})
    for t in range(0, 3 * H, 10 * S):
        store.ingest("bot", t, make_samples(t, ("long", t), ("short", t)))

    now = 3 * H - 10 * S
    assert evaluate_number("count_over_time(long[1h])", store, now) == 360
    assert evaluate_number("min_over_time(long[1h])", store, now) == now - H + 10 * S
    assert evaluate_number("short", store, now) == now
    for name, span in (("short", LOOKBACK_DELTA), ("long", H)):
        columns = head_page_of(store, name).t
        assert columns[0] <= now - span
        assert columns.size <= 3 * (span + RETENTION_SLACK) / (10 * S) + 64


def test_a_selector_without_a_name_keeps_everything_as_long() -> None:
    store = Head({"": H, "b": 2 * H})
    for t in range(0, 4 * H, M):
        store.ingest("bot", t, make_samples(t, ("a", 1), ("b", 1)))

    assert evaluate_number("count_over_time(a[1h])", store, 4 * H - M) == 60
    assert evaluate_number("count_over_time(b[2h])", store, 4 * H - M) == 120


@pytest.mark.slow
def test_endless_new_labels_do_not_fill_the_memory() -> None:
    store = Head()
    sizes = []
    for i in range(3_000):
        store.ingest("bot", i * S, make_samples(i * S, ("a", 1), (f"churn{{id={i}}}", 1), (f"churn{{id={i + 1}}}", 1)))
        if i % 500 == 499:
            sizes.append((len(list(store.latest_samples())), cells_in_memory(store)))

    held = [count for count, _ in sizes]
    assert max(held) < 2 * (LOOKBACK_DELTA + RETENTION_SLACK) / S
    assert max(held[1:]) <= 1.3 * min(held[1:])
    assert sizes[-1][1] <= 1.5 * sizes[2][1]
    assert evaluate_number("a", store, 2_999 * S) == 1
    assert evaluate_number("count(churn)", store, 2_999 * S) == 2


def test_a_series_that_went_is_readable_as_long_as_its_window_and_then_forgotten() -> None:
    store = Head({"a": H})
    store.ingest("bot", S, make_samples(S, ("a", 5), ("b", 1)))
    forgotten = 0
    for t in range(M, 3 * H, M):
        store.ingest("bot", t, make_samples(t, ("b", 1)))
        if t < H:
            assert evaluate_number("max_over_time(a[1h])", store, t) == 5
        forgotten += not list(store.latest_samples("a"))
    assert forgotten > 30


def test_a_lost_source_is_forgotten_too() -> None:
    store = Head()
    store.ingest("bot", S, make_samples(S, ("a", 1), ("b", 1)))
    for t in range(M, H, M):
        store.mark_source_down("bot", t)

    assert [dict(row)["__name__"] for row, _, _ in store.latest_samples()] == ["up"]


def test_a_source_that_was_taken_out_of_the_file_is_forgotten() -> None:
    store = Head()
    store.ingest("old", S, make_samples(S, ("a", 1)))
    for t in range(M, H, M):
        store.ingest("bot", t, make_samples(t, ("b", 1)))

    assert {dict(row)["source"] for row, _, _ in store.latest_samples()} == {"bot"}

    store.ingest("old", H, make_samples(H, ("a", 1)))
    assert coverage("rate(a[5m])", store, H + M) == M  # nobody had watched it meanwhile


# ─ since when ─


def test_coverage_begins_with_the_first_read_and_survives_trimming() -> None:
    store = Head({"a": 10 * M})
    for t in range(H, 2 * H, M):
        store.ingest("bot", t, make_samples(t, ("a", 1)))
        assert coverage("rate(a[10m])", store, t) == min(t - H, 10 * M)
    assert head_page_of(store, "a").first_watched == H


def test_a_series_that_appears_later_has_been_watched_all_along() -> None:
    store = Head({"errors": H})
    for t in range(0, 2 * H, M):
        store.ingest("bot", t, make_samples(t, ("a", 1), *([("errors", 1)] if t > 100 * M else [])))

    assert coverage("increase(errors[1h])", store, 2 * H - M) == H


def test_a_source_that_is_first_lost_is_not_watched() -> None:
    store = Head()
    store.mark_source_down("bot", S)
    store.ingest("bot", 60 * S, make_samples(60 * S, ("a", 1)))

    assert coverage("rate(a[5m])", store, 61 * S) == S


# ─ reload ─


def fill_store(store: Head, until: int, step: int = M) -> Head:
    for t in range(0, until, step):
        store.ingest("bot", t, make_samples(t, ("a", t), ("b", -t), *([("c", 1)] if t < until // 2 else [])))
    return store


def test_after_a_reload_a_metric_is_kept_longer_from_what_is_there() -> None:
    store = fill_store(Head(), H)
    before = evaluate_at("sum_over_time(a[5m])", store, H - M)
    store.set_lookback({"a": 30 * M})

    assert evaluate_at("sum_over_time(a[5m])", store, H - M) == before
    reached = coverage("rate(a[30m])", store, H - M)
    assert 5 * M <= reached < 30 * M  # what had been forgotten stays uncovered
    for t in range(H, 2 * H, M):
        store.ingest("bot", t, make_samples(t, ("a", t), ("b", -t)))
    assert coverage("rate(a[30m])", store, 2 * H - M) == 30 * M
    assert evaluate_number("count_over_time(a[30m])", store, 2 * H - M) == 30
    assert evaluate_number("b", store, 2 * H - M) == -(2 * H - M)


def test_a_reload_before_anything_was_forgotten_costs_no_coverage() -> None:
    store = fill_store(Head(), 4 * M, 10 * S)
    store.set_lookback({"a": H})

    assert coverage("rate(a[3m])", store, 4 * M - 10 * S) == 3 * M
    assert coverage("rate(a[1h])", store, 4 * M - 10 * S) == 4 * M - 10 * S


def test_a_metric_that_comes_back_after_a_reload_does_not_claim_what_was_forgotten() -> None:
    store = Head()
    for t in range(0, 2 * H, M):
        store.ingest("bot", t, make_samples(t, ("b", 1)))
    store.set_lookback({"a": H})
    store.ingest("bot", 2 * H, make_samples(2 * H, ("a", 1), ("b", 1)))

    assert coverage("rate(a[1h])", store, 2 * H) < 10 * M


def test_after_a_reload_a_metric_may_be_kept_shorter() -> None:
    store = fill_store(Head({"a": H, "b": H}), 2 * H)
    assert evaluate_number("count_over_time(a[1h])", store, 2 * H - M) == 60
    store.set_lookback({"b": H})

    assert evaluate_number("a", store, 2 * H - M) == 2 * H - M
    assert head_page_of(store, "a").t.size < 10
    assert evaluate_number("count_over_time(b[1h])", store, 2 * H - M) == 60


def test_what_a_shorter_window_let_go_stays_uncovered_when_it_grows_again() -> None:
    store = fill_store(Head({"a": H}), 2 * H)
    store.set_lookback({})
    store.set_lookback({"a": H})

    assert coverage("rate(a[1h])", store, 2 * H - M) < 10 * M


def test_the_same_windows_again_move_nothing() -> None:
    store = fill_store(Head({"a": H}), H)
    before = list(store.pages)
    store.set_lookback({"a": H})

    assert all(one is other for one, other in zip(before, store.pages, strict=True))


@pytest.mark.parametrize("windows", [{"a": H}, {"": H}, {"a": H, "b": H, "c": 2 * H}, {}])
def test_moving_changes_no_answer(windows: dict[str, int]) -> None:
    store, plain = fill_store(Head({"c": H}), 20 * M, 7 * S), fill_store(Head({"c": H}), 20 * M, 7 * S)
    now = 20 * M - 20 * M % (7 * S)
    store.set_lookback(windows)
    for later in (store, plain):
        later.ingest("bot", now + 7 * S, make_samples(now + 7 * S, ("b", 1)))

    for text in ("a", "b", "c", "up", "sum_over_time(a[5m])", "rate(b[5m])", "changes(b[4m])"):
        expected = evaluate(parse(text), plain, np.arange(now - 30 * S, now + 10 * S, S))
        found = evaluate(parse(text), store, np.arange(now - 30 * S, now + 10 * S, S))
        assert found.keys == expected.keys
        assert found.values.tobytes() == expected.values.tobytes()


# ─ boot ─


def test_remembered_peaks_count_again_and_nothing_else_does() -> None:
    store = Head({"equity": 30 * D})
    peaks = [(1 * D, 120.0), (2 * D, 110.0)]
    store.preload("bot", "equity", parse_labels("desk=x"), peaks, 1 * D)

    boot = 2 * D + 30 * S
    assert evaluate_number("max_over_time(equity[30d])", store, boot) == 120
    assert evaluate_number("equity", store, boot) is None  # a peak is not the present
    assert evaluate(parse("max_over_time(equity[30d])"), store, np.array([boot])).newest.tolist() == [2 * D]

    store.ingest("bot", boot, make_samples(boot, ("equity{desk=x}", 90)))
    assert evaluate_number("1 - equity / max_over_time(equity[30d])", store, boot) == 0.25
    assert evaluate_at("equity", store, boot) == {parse_labels("desk=x,source=bot"): 90}
    assert evaluate_number("max_over_time(equity[30d])", store, 31 * D + 1) == 110


def test_what_is_put_back_has_been_watched_since_then_and_its_neighbours_have_not() -> None:
    store = Head({"equity": 30 * D, "other": 30 * D})
    store.preload("bot", "equity", (), [(40 * D, 120.0)], 5 * D)
    assert head_page_of(store, "equity").first_watched == 5 * D
    boot = 40 * D + M
    store.ingest("bot", boot, make_samples(boot, ("equity", 90), ("other", 1)))

    assert coverage("max_over_time(equity[30d])", store, boot) == 30 * D
    assert coverage("max_over_time(other[30d])", store, boot) == 0


def test_several_series_are_put_back_one_by_one() -> None:
    store = Head({"equity": D})
    store.preload("bot", "equity", parse_labels("desk=x"), [(S, 1.0), (3 * S, 3.0)], 0)
    store.preload("bot", "equity", parse_labels("desk=y"), [(2 * S, 7.0)], 0)
    store.preload("bot", "equity", parse_labels("desk=z"), [], 0)

    assert evaluate_at("max_over_time(equity[1h])", store, M) == {
        parse_labels("desk=x,source=bot"): 3,
        parse_labels("desk=y,source=bot"): 7,
    }


def test_peaks_put_back_too_late_spoil_nothing() -> None:
    store = Head({"equity": D})
    store.ingest("bot", M, make_samples(M, ("equity", 5)))
    store.preload("bot", "equity", (), [(S, 9.0)], 0)
    store.ingest("bot", M + S, make_samples(M + S, ("equity", 6)))

    assert evaluate_number("equity", store, M + S) == 6
    assert evaluate_number("max_over_time(equity[1h])", store, M + S) == 9


# ─ status ─


def test_last_lists_the_newest_values() -> None:
    store = Head()
    store.ingest("bot", S, make_samples(S, ("a", 1), ("b{x=1}", 2)))
    store.ingest("bot", 2 * S, make_samples(2 * S, ("a", 3)) + make_samples(1_500, ("c", 4)))

    assert sorted(store.latest_samples()) == [
        (series_key("a{source=bot}"), 2 * S, 3),
        (series_key("b{source=bot,x=1}"), S, 2),  # gone, and still the newest there is
        (series_key("c{source=bot}"), 1_500, 4),
        (series_key("up{source=bot}"), 2 * S, 1),
    ]
    assert list(store.latest_samples("b")) == [(series_key("b{source=bot,x=1}"), S, 2)]
    assert list(store.latest_samples("nobody")) == []


# ─ as a whole ─

READS = st.lists(
    st.none()  # the source was lost
    | st.lists(
        st.tuples(
            st.sampled_from(["a{x=1}", "a{x=2}", "b", "c{x=1}"]), st.sampled_from([0, 0, 0, 0, -3 * S, -12 * S, 1])
        ),
        max_size=5,
        unique_by=lambda said: said[0],
    ),
    max_size=60,
)


@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(READS, st.lists(st.integers(0, 60), max_size=3), st.integers(1, 20))
def test_the_store_answers_as_plain_lists_do(
    reads: list[list[tuple[str, int]] | None], reloads: list[int], step: int
) -> None:
    """Against a page built at the end from all that should have been kept. Windows are within what is kept."""
    store = Head({"a": 10 * M})
    held: dict[Labels, dict[int, float]] = {}
    there: set[Labels] = set()
    now = H
    for i, read in enumerate(reads):
        now += step * 5 * S
        if i in reloads:
            store.set_lookback({"b": 10 * M} if i % 2 else {"a": 20 * M, "": 6 * M})
        delivered = {}
        for series, shift in read or ():
            delivered[series_key(series.rstrip("}") + ("," if "{" in series else "{") + "source=bot}")] = (
                series,
                now + shift,
            )
        if read is None:
            store.mark_source_down("bot", now)
        else:
            store.ingest(
                "bot", now, [sample for series, t in delivered.values() for sample in make_samples(t, (series, i))]
            )
        for row, (_, t) in delivered.items():
            if t > max(held.setdefault(row, {}), default=-1):
                held[row][t] = i
                there.add(row)
        for row in there - delivered.keys():
            held[row][max(now, max(held[row]) + 1)] = STALE_MARKER
        there &= delivered.keys()
        times = np.array([now - 30 * S, now - 1, now, now + S])
        plain = PageList([page_from_samples({row: points.items() for row, points in held.items()}, 0)])
        for text in ("a", "b", "c", "sum_over_time(a[3m])", "rate(b[3m])", "changes(c[2m])", "sum(a) + count(b)"):
            if i % 7 == 0 or i == len(reads) - 1:
                assert _evaluate_bits(text, store, times) == _evaluate_bits(text, plain, times)
    for page in store.pages:
        assert (np.diff(page.t) > 0).all()
        gaps = [page.t[is_missing(page.v[row])].max(initial=-(1 << 62)) for row in range(len(page.keys))]
        assert (page.last_gap >= gaps).all()
        assert page.newest_gap >= page.last_gap.max()


def _evaluate_bits(text: str, series: PageList, times: np.ndarray) -> list[dict[Labels, bytes]]:
    result = evaluate(parse(text), series, times)
    return [
        {result.keys[row]: result.values[row, i].tobytes() for row in np.flatnonzero(result.present[:, i])}
        for i in range(times.size)
    ]


def test_long_running_changes_no_answer() -> None:
    """What a store that has trimmed and grown many times says, a store that saw the last minutes only says as well."""

    def run(store: Head, since: int) -> Head:
        rng = np.random.default_rng(5)
        for i, value in enumerate(rng.normal(size=5_000)):
            t = H + i * S
            series: Iterable[tuple[str, float]] = [("a", value), ("b", i % 100), *([("c", value)] if i % 50 else [])]
            if i >= since:
                store.ingest("bot", t, make_samples(t, *series))
        return store

    old, young = run(Head({"a": 10 * M}), 0), run(Head({"a": 10 * M}), 4_000)
    times = np.arange(H + 4_945 * S, H + 5_000 * S, 7 * S)  # as far back as the slack allows
    for text in ("avg_over_time(a[10m])", "rate(b[5m])", "a", "c", "sum_over_time(c[5m])", "stddev_over_time(a[7m])"):
        mine, theirs = (evaluate(parse(text), store, times) for store in (old, young))
        assert mine.keys == theirs.keys
        assert mine.values.tobytes() == theirs.values.tobytes()
        assert mine.newest.tolist() == theirs.newest.tolist()
