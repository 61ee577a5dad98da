"""What a source may bring: what is over is left out by rule, whole, and said."""

from __future__ import annotations

import sys
import threading
import time
from functools import partial
from typing import Any

import pytest

from watchdog.core.errors import SourceError
from watchdog.core.model import Labels, Millis, Sample
from watchdog.net.deadline import Deadline
from watchdog.sources.exposition import PageCache, PageLimits, parse_samples
from watchdog.sources.series_limits import (
    ALL_METRICS,
    CHURN_WINDOW,
    DEFAULT_MAX_MEMORY,
    DEFAULT_MAX_SERIES,
    MAX_LABELS,
    MAX_VALUE,
    REFUSED_FACTOR,
    SeriesLimiter,
)
from watchdog.tsdb.labels import series_key

NOW = 1_700_000_000_000


def make_limiter(
    max_series: int = 3, max_memory: int = DEFAULT_MAX_MEMORY, retention: Millis = 360_000
) -> SeriesLimiter:
    return SeriesLimiter(max_series, max_memory, 1_000, lambda _: retention)


def read(*numbers: int, name: str = "trades", now: Millis = NOW) -> list[Sample]:
    return [Sample(name, (("order", str(number)),), now, 1.0) for number in numbers]


def orders(samples: list[Sample]) -> list[int]:
    return [int(sample.labels[0][1]) for sample in samples]


def test_known_series_stay_wherever_they_stand_and_new_ones_beyond_the_cap_are_left_out() -> None:
    limiter = make_limiter(3)
    assert limiter.admit(read(1, 2), NOW) == (read(1, 2), None)
    kept, cut = limiter.admit(read(9, 8, 7, 2, 1), NOW)
    assert orders(kept) == [9, 2, 1]
    assert cut is not None
    assert cut.dropped == {"series": 2}
    assert cut.metrics == {"trades"}
    assert cut.text.startswith("2 samples left out: ")
    assert "max_series" in cut.text
    _, next_cut = limiter.admit(read(9, 2, 1, 4), NOW + 1_000)
    assert next_cut is not None
    assert next_cut.text.startswith("1 sample left out: ")


def test_the_same_read_is_cut_in_the_same_way_each_time() -> None:
    limiter = make_limiter(3)
    first = [orders(limiter.admit(read(5, 4, 3, 2, 1), NOW + second)[0]) for second in range(5)]
    assert first == [[5, 4, 3]] * 5


def test_a_new_series_of_one_that_is_told_more_often_than_said_takes_room_for_all_the_times_that_are_held() -> None:
    """In the store it has a place at each of them."""
    limiter = make_limiter(10_000, max_memory=2**20)
    for tick in range(10_000):
        limiter.admit(read(0), NOW + tick)

    kept, cut = limiter.admit(read(*range(100)), NOW + 10_000)

    assert 1 < len(kept) * 10_000 * 8 < 2**20
    assert cut is not None
    assert cut.dropped == {"memory": 100 - len(kept)}


def test_series_that_are_gone_keep_their_room_for_an_hour() -> None:
    """So what a source can make up in an hour is bounded as well."""
    limiter = make_limiter(3)
    limiter.admit(read(1, 2, 3), NOW)
    assert limiter.admit(read(4), NOW + 1_000)[0] == []
    assert orders(limiter.admit(read(1), NOW + 2_000)[0]) == [1]
    kept, cut = limiter.admit(read(1, 4, 5), NOW + 1_000 + CHURN_WINDOW)
    assert orders(kept) == [1, 4, 5]
    assert cut is None


def test_a_series_that_is_looked_back_at_for_longer_keeps_its_room_for_that_long() -> None:
    limiter = make_limiter(1, retention=3 * CHURN_WINDOW)
    limiter.admit(read(1), NOW)
    assert limiter.admit(read(2), NOW + 1_000)[0] == []
    assert limiter.admit(read(2), NOW + 2 * CHURN_WINDOW)[0] == []
    assert orders(limiter.admit(read(2), NOW + 1_000 + 3 * CHURN_WINDOW)[0]) == [2]


def test_memory_counts_the_samples_that_are_looked_back_at() -> None:
    day = 86_400_000
    limiter = make_limiter(1_000, max_memory=2**20, retention=day)  # some 690 kB a series
    kept, cut = limiter.admit(read(1, 2), NOW)
    assert orders(kept) == [1]
    assert cut is not None
    assert cut.dropped == {"memory": 1}
    assert "max_memory" in cut.text


def test_after_a_reload_with_longer_windows_what_has_no_room_is_left_out() -> None:
    retention = [60_000]
    limiter = SeriesLimiter(1_000, 2**20, 1_000, lambda _: retention[0])
    assert limiter.admit(read(1, 2, 3), NOW)[1] is None
    retention[0] = 86_400_000
    limiter.recount()
    assert orders(limiter.admit(read(1, 2, 3), NOW)[0]) == [1]


@pytest.mark.parametrize(
    "labels",
    [
        tuple((f"l{number:03}", "x") for number in range(MAX_LABELS + 1)),
        (("a", "x" * (MAX_VALUE + 1)),),
        (("a" * 257, "x"),),
        tuple((f"l{number}", "x" * 1_000) for number in range(5)),
    ],
)
def test_a_series_with_too_many_or_too_long_labels_is_left_out_whole(labels: Labels) -> None:
    kept, cut = make_limiter(10).admit([Sample("a", labels, NOW, 1.0), Sample("b", (), NOW, 1.0)], NOW)
    assert [sample.name for sample in kept] == ["b"]
    assert cut is not None
    assert cut.dropped == {"labels": 1}
    assert cut.metrics == {"a"}


INVALID: list[Any] = [
    ("a", (), NOW, 1.0),
    None,
    Sample("", (), NOW, 1.0),
    Sample("a b", (), NOW, 1.0),
    Sample("é", (), NOW, 1.0),
    Sample("a", [("b", "c")], NOW, 1.0),  # type: ignore[arg-type]
    Sample("a", (("b c", "d"),), NOW, 1.0),
    Sample("a", (("__name__", "d"),), NOW, 1.0),
    Sample("a", (("b", 1),), NOW, 1.0),  # type: ignore[arg-type]
    Sample("a", (("b", "c"), ("b", "d")), NOW, 1.0),
    Sample("a", (("b", "\ud800"),), NOW, 1.0),
    Sample("a", (), NOW, "1"),  # type: ignore[arg-type]
    Sample("a", (), NOW, None),  # type: ignore[arg-type]
    Sample("a", (), 1.5, 1.0),  # type: ignore[arg-type]
    Sample("a", (), 1 << 60, 1.0),
]


@pytest.mark.parametrize("sample", INVALID)
def test_what_is_no_sample_is_left_out_and_costs_the_others_nothing(sample: Any) -> None:
    limiter = make_limiter(10)
    for _ in range(2):  # the second read is compared with the first
        kept, cut = limiter.admit([sample, *read(1)], NOW)
        assert kept == read(1)
        assert cut is not None
        assert cut.dropped == {"invalid": 1}


def test_nan_and_infinity_are_samples() -> None:
    samples = [Sample("a", (), NOW, float("inf")), Sample("b", (), NOW, float("nan"))]
    assert make_limiter().admit(samples, NOW) == (samples, None)


def test_a_read_with_thousands_of_different_times_keeps_those_of_the_first() -> None:
    samples = [Sample("a", (("n", str(number)),), NOW - number, 1.0) for number in range(2_000)]
    kept, cut = make_limiter(10_000).admit(samples, NOW)
    assert kept == samples[:125]
    assert cut is not None
    assert cut.dropped == {"timestamps": 1_875}


def test_where_too_many_metrics_are_cut_all_of_the_source_is() -> None:
    samples = [Sample(f"m{number}", (), NOW, 1.0) for number in range(5_000)]
    _, cut = make_limiter(1).admit(samples, NOW)
    assert cut is not None
    assert cut.metrics == {ALL_METRICS}


def test_a_clock_that_is_set_back_by_years_does_not_keep_the_room_taken() -> None:
    limiter = make_limiter(1)
    limiter.admit(read(1), NOW)
    limiter.admit([], NOW)
    assert orders(limiter.admit(read(2), NOW - 400 * 86_400_000)[0]) == [2]


# The page itself.


def limits(max_series: int = DEFAULT_MAX_SERIES, timeout: Millis = 10_000) -> PageLimits:
    return PageLimits(max_series, Deadline.after(timeout))


def test_a_page_with_four_times_the_series_is_refused_and_says_how_many_there_may_be() -> None:
    page = "".join(f"m{number} 1\n" for number in range(REFUSED_FACTOR * 10 + 1)).encode()
    with pytest.raises(SourceError, match="more than 40 series, of which max_series: 10 would be kept"):
        parse_samples(page, NOW, None, limits(10))
    assert len(parse_samples(page[: page.index(b"m40")], NOW, None, limits(10))) == 40


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "said"),
    [
        (b"\n" * 10_000_000 + b"a 1\n", "more than 160000 lines"),
        (b"a{" + b'a="",' * 1_000_000 + b"} 1\n", "line 1 of the page has 5000005 characters"),
        (b"".join(b'a%d{b="%d"} 1\n' % (n, n) for n in range(60_000)), "more than 40000 series"),
        (
            b"".join(b"a%d{%s} 1\n" % (n, b",".join(b'l%d="x"' % label for label in range(1_000))) for n in range(800)),
            "more than 320000 labels",
        ),
    ],
)
def test_a_hostile_page_is_refused_soon_and_others_have_their_turn_all_the_while(page: bytes, said: str) -> None:
    """No other thread waits for long, whatever stands there: measured by what the parser takes of the processor meanwhile,
    for how long the machine keeps both of them waiting is not its doing."""
    longest, ended = 0.0, threading.Event()
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)

    def take_turns() -> None:
        nonlocal longest
        last = time.process_time()
        while not ended.is_set():
            now = time.process_time()
            longest = max(longest, now - last)
            last = now

    other = threading.Thread(target=take_turns)
    other.start()
    started = time.process_time()
    try:
        with pytest.raises(SourceError, match=said):
            parse_samples(page, NOW, PageCache(), limits(timeout=600_000))
    finally:
        ended.set()
        other.join()
        sys.setswitchinterval(before)
    assert time.process_time() - started < 10
    assert longest < 1.0  # on a busy machine; on an idle one it is some 10 ms


def test_parsing_counts_against_the_deadline() -> None:
    page = "".join(f"m{number} 1\n" for number in range(3_000)).encode()
    with pytest.raises(SourceError, match="the page is not read after 0 ms, 256 of its 3001 lines are"):
        parse_samples(page, NOW, None, limits(timeout=0))


def test_what_is_left_out_is_not_remembered_by_the_parser() -> None:
    cache = PageCache()
    page = "".join(f"m{number} 1\n" for number in range(35)).encode()
    parse_samples(page, NOW, cache, limits(10))
    assert cache.lines == []


# ─ series that become one by our labels ─


@pytest.mark.parametrize(("own", "dropped"), [(False, 2), (True, 4)])
def test_series_that_our_labels_make_one_are_left_out_and_told(own: bool, dropped: int) -> None:
    key_of = partial(series_key, source="bot", target_by_source={"bot": "hmm"} if own else None)
    limiter = SeriesLimiter(100, 1 << 20, 1_000, lambda _: 0, key_of)
    samples = [
        Sample("x", (("source", "a"),), NOW, 1.0),
        Sample("x", (("exported_source", "a"),), NOW, 2.0),
        Sample("x", (("exported_source", "b"),), NOW, 3.0),
        Sample("x", (("exported_source", "b"), ("source", "c")), NOW, 4.0),
        Sample("y", (("target", "a"),), NOW, 5.0),
        Sample("y", (("exported_target", "a"),), NOW, 6.0),
    ]
    for _ in range(2):  # also when the page says the same again
        kept, cut = limiter.admit(samples, NOW)
        assert len(kept) == len(samples) - dropped
        assert cut is not None
        assert dict(cut.dropped) == {"collisions": dropped}
        assert cut.metrics == frozenset({"x", "y"} if own else {"x"})
        assert "rename the one or the other" in cut.text
    kept, cut = limiter.admit(samples[2:4], NOW)
    assert (len(kept), cut) == (2, None)
