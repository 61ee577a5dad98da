from __future__ import annotations

import json
import math
import string
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Enum, Gauge, Histogram, Info, Summary, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as their_exposition
from prometheus_client.openmetrics import parser as their_parser

from tests.support.property_settings import examples
from watchdog.core.errors import SourceError
from watchdog.core.model import Sample
from watchdog.core.protocols import SourceState
from watchdog.net.deadline import Deadline
from watchdog.promql import EmbeddedEvaluator, parse
from watchdog.sources import exposition
from watchdog.sources.metrics_page import PageLimits
from watchdog.sources.openmetrics import OpenMetricsCache, parse_samples
from watchdog.sources.series_limits import SeriesLimiter
from watchdog.tsdb.head import Head

generate_openmetrics: Callable[[CollectorRegistry], bytes] = their_exposition.generate_latest
parse_as_they_do: Callable[[str], Iterable[Metric]] = their_parser.text_string_to_metric_families

NOW = 1_700_000_000_000
BEGAN = 1_699_990_000_000
MINUTE = 60_000


def read(text: str, now: int = NOW) -> list[Sample]:
    return parse_samples(text.encode(), now, {}, OpenMetricsCache())


# ─ the letter of it ─


def test_a_sample_without_a_timestamp_is_from_now_and_one_with_it_counts_seconds() -> None:
    assert read("a 1\nb 2 1699999999.5\nc 3 -1\nd 4 1.7e9\n# EOF\n") == [
        Sample("a", (), NOW, 1.0),
        Sample("b", (), NOW - 500, 2.0),
        Sample("c", (), -1_000, 3.0),
        Sample("d", (), NOW, 4.0),
    ]


def test_the_end_may_be_without_a_newline() -> None:
    assert len(read("a 1\n# EOF")) == 1


def test_labels_are_sorted_unescaped_and_without_empty_ones() -> None:
    (found,) = read(r'fills_total{side="b\"u\\y\n",pair="X,Y}Z",empty=""} 3' + "\n# EOF\n")

    assert found.labels == (("pair", "X,Y}Z"), ("side", 'b"u\\y\n'))


@pytest.mark.parametrize(
    "behind",
    ['# {trace_id="x"} 1', '# {trace_id="a # {b}"} 0.5 1699999999.1', "# {} 1", '1699999999 # {a="1",b="2"} NaN 1'],
)
def test_an_exemplar_is_passed_over(behind: str) -> None:
    (found,) = read(f'a_bucket{{le="1"}} 7 {behind}\n# EOF\n')

    assert (found.name, found.v) == ("a_bucket", 7.0)


def test_info_statesets_and_units_are_samples_like_any_other() -> None:
    page = '# TYPE bot info\nbot_info{version="2"} 1\n# TYPE mode stateset\nmode{mode="live"} 1\nmode{mode="dry"} 0\n'

    assert [
        each.v for each in read(f"{page}# UNIT size_bytes bytes\n# HELP size_bytes\\n what\nsize_bytes 4\n# EOF\n")
    ] == [*(1, 1, 0, 4)]


@pytest.mark.parametrize(
    "line",
    [
        "",
        " ",
        "# a comment of no kind",
        "#EOF",
        "# EOF",
        " a 1",
        "a  1",
        "a 1 ",
        "a\t1",
        "a 1\r",
        'a{ x="1"} 1',
        'a{x="1",} 1',
        'a{x="1", y="2"} 1',
        'a{x= "1"} 1',
        'a{x="1"}1',
        "a 1 nan",
        "a 1 inf",
        "a 1 1e99",
        "a 1 99999999999999",
        "a 1 1 2",
        'a 1 # {x="1"}',
        "a 1 # x 1",
        'a 1 # {x="1"} 1 # {x="1"} 1',
        "a 1_0",
        "a ١",
        '{"utf.8"} 1',
        '{"utf.8",x="1"} 1',
        'a{"utf.8"="1"} 1',
        "a {count:1,sum:2}",
        'a{x="1",x="2"} 1',
        'a{__name__="b"} 1',
    ],
)
def test_one_line_that_is_none_of_the_format_spoils_the_whole_page(line: str) -> None:
    with pytest.raises(SourceError, match="line 2 of the page"):
        read(f"cash 1\n{line}\nbars 2\n# EOF\n")


def test_a_series_that_stands_there_twice_is_refused_because_nobody_knows_which_holds() -> None:
    with pytest.raises(SourceError, match=r"line 2 .*repeats a series"):
        read("a 1 1\na 2 2\n# EOF\n")


@pytest.mark.parametrize("page", ["# EOF\n", "# TYPE a counter\n# EOF\n", "# TYPE a counter\na_created 1\n# EOF\n"])
def test_a_page_without_a_sample_is_refused(page: str) -> None:
    with pytest.raises(SourceError, match="no sample"):
        read(page)


def test_a_page_cut_anywhere_is_refused_at_the_end_of_a_line_too() -> None:
    whole = b'# TYPE equity gauge\nequity{pair="X"} 123.5 1700000000\n# TYPE t counter\nt_total 17\n# EOF'
    for end in range(len(whole)):
        with pytest.raises(SourceError):
            parse_samples(whole[:end], NOW, {}, OpenMetricsCache())


def test_a_line_of_a_megabyte_is_refused() -> None:
    with pytest.raises(SourceError, match="characters, at most"):
        read(f'a{{b="{"x" * 2**20}"}} 1\n# EOF\n')


@pytest.mark.parametrize("pages", ["a{number} 1\n", 'a{{b="{number}",c="{number}"}} 1\n', "# HELP a\n"])
def test_a_page_of_far_more_than_the_source_may_bring_is_refused(pages: str) -> None:
    text = "".join(pages.format(number=number) for number in range(20_000))
    with pytest.raises(SourceError, match="max_series"):
        parse_samples(f"{text}# EOF\n".encode(), NOW, {}, OpenMetricsCache(), PageLimits(100, Deadline.after(60_000)))


def test_a_page_that_cannot_be_read_in_time_is_left() -> None:
    text = "".join(f"a{number} 1\n" for number in range(600))
    with pytest.raises(SourceError, match="the page is not read after 0 ms"):
        parse_samples(f"{text}# EOF\n".encode(), NOW, {}, OpenMetricsCache(), PageLimits(10_000, Deadline.after(0)))


# ─ beside the client library ─


def make_registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    trades = Counter("trades", 'Trades, with a \\ a "quote" and\na line', ["side"], registry=registry)
    trades.labels('b"u\\y\n').inc(3, exemplar={"trace_id": "a}b # {"})
    trades.labels("sell").inc(0.1)
    Gauge("equity", "Equity", registry=registry).set(-0.1)
    latency = Histogram("latency_seconds", "Latency", ["symbol"], buckets=(0.1, 1), registry=registry, unit="seconds")
    latency.labels("BTC").observe(0.5, exemplar={"trace_id": "x"})
    Summary("size", "Size", registry=registry).observe(2)
    Info("bot", "Bot", registry=registry).info({"version": "2"})
    Enum("mode", "Mode", states=["live", "dry"], registry=registry).state("dry")
    return registry


@pytest.fixture
def with_created(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prometheus_client.metrics._use_created", True)  # our own metrics go without


def as_dict(samples: list[Sample]) -> dict[Any, float]:
    return {(name, labels): value for name, labels, _, value in samples}


@pytest.mark.usefixtures("with_created")
def test_a_page_of_the_client_library_says_what_its_own_parser_reads_but_for_when_it_began() -> None:
    page = generate_openmetrics(make_registry()).decode()
    theirs = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse_as_they_do(page)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }

    assert as_dict(read(page)) == theirs
    assert page.count("_created") == 4


@pytest.mark.usefixtures("with_created")
def test_both_formats_of_one_registry_give_the_same_series_but_for_when_they_began() -> None:
    registry = make_registry()
    plain = as_dict(exposition.parse_samples(generate_latest(registry), NOW))

    found = as_dict(read(generate_openmetrics(registry).decode()))

    assert found == {series: value for series, value in plain.items() if not series[0].endswith("_created")}
    assert len(plain) - len(found) == 4


label_values = st.text(st.characters(codec="utf-8"), max_size=12)
values = st.floats(min_value=0) | st.integers(0, 10**12).map(float)


@settings(max_examples=examples(50), deadline=None)
@given(
    st.dictionaries(label_values, values, max_size=4),
    st.lists(values, max_size=4),
    st.dictionaries(st.text(string.ascii_lowercase, min_size=1, max_size=5), label_values, max_size=3),
)
def test_whatever_a_registry_holds_is_read_as_the_librarys_own_parser_reads_it(
    counts: dict[str, float], seen: list[float], info: dict[str, str]
) -> None:
    registry = CollectorRegistry()
    counter = Counter("fills", "Fills", ["venue"], registry=registry)
    for venue, count in counts.items():
        counter.labels(venue).inc(0 if math.isnan(count) else count)
    histogram = Histogram("slip", "Slippage", registry=registry)
    for each in seen:
        histogram.observe(each)
    Info("bot", "Bot", registry=registry).info(info)
    page = generate_openmetrics(registry).decode()
    theirs = {
        (sample.name, tuple(sorted((key, text) for key, text in sample.labels.items() if text))): repr(sample.value)
        for family in parse_as_they_do(page)
        for sample in family.samples
    }

    assert {series: repr(value) for series, value in as_dict(read(page)).items()} == {
        series: repr(float(value)) for series, value in theirs.items() if not series[0].endswith("_created")
    }


# ─ counters that began anew ─


class Watched:
    """A source as the daemon holds it: state as JSON, a cache, and a store."""

    def __init__(self) -> None:
        self.state, self.cache, self.store = "{}", OpenMetricsCache(), Head({"": 60 * MINUTE})
        self.limiter = SeriesLimiter(1_000, 2**30, 1_000, lambda _: 60 * MINUTE)

    def read(self, page: str, now: int, *, kept: bool = True) -> list[Sample]:
        state: SourceState = json.loads(self.state)
        samples, cut = self.limiter.admit(parse_samples(f"{page}# EOF\n".encode(), now, state, self.cache), now)
        assert cut is None
        if kept:
            self.state = json.dumps(state)
            self.store.ingest("bot", now, samples)
        return samples

    def value(self, expression: str, now: int) -> float:
        (found,) = EmbeddedEvaluator(self.store).at(now).query(parse(expression)).values()
        return found


def counter(value: float, began: int, labels: str = "") -> str:
    return f"# TYPE trades counter\ntrades_total{labels} {value}\ntrades_created{labels} {began / 1_000}\n"


def test_a_counter_that_began_anew_between_two_reads_has_lost_nothing_though_it_stands_higher() -> None:
    watched = Watched()
    watched.read(counter(5, BEGAN), NOW)
    again = watched.read(counter(7, NOW + 20_000), NOW + 30_000)

    assert again == [
        Sample("trades_total", (), NOW + 20_000, 0.0),
        Sample("trades_total", (), NOW + 30_000, 7.0),
    ]
    assert watched.value("resets(trades_total[1m])", NOW + 30_000) == 1
    assert watched.value("trades_total - trades_total offset 30s", NOW + 30_000) == 2
    assert watched.value("increase(trades_total[1m])", NOW + 30_000) >= 7


def test_without_its_begin_such_a_counter_would_be_taken_for_one_that_went_on() -> None:
    watched = Watched()
    for at, value in ((NOW, 5), (NOW + 30_000, 7)):
        watched.read(f"# TYPE trades counter\ntrades_total {value}\n", at)

    assert watched.value("resets(trades_total[1m])", NOW + 30_000) == 0


def test_a_counter_that_goes_on_is_read_once_at_each_read() -> None:
    watched = Watched()
    for second in range(3):
        assert len(watched.read(counter(5 + second, BEGAN), NOW + second * 1_000)) == 1


def test_at_the_first_read_nothing_is_put_in_for_nobody_knows_what_was_before() -> None:
    assert len(Watched().read(counter(5, NOW - 1_000), NOW)) == 1


def test_a_restart_of_the_watchdog_or_a_reload_does_not_hide_that_of_the_bot() -> None:
    watched = Watched()
    watched.read(counter(5, BEGAN), NOW)
    watched.cache = OpenMetricsCache()

    assert [each.v for each in watched.read(counter(7, NOW + 500), NOW + 1_000)] == [0, 7]


def test_after_a_restart_of_the_watchdog_alone_nothing_has_begun_anew() -> None:
    watched = Watched()
    watched.read(counter(5, BEGAN), NOW)
    watched.cache = OpenMetricsCache()

    assert [each.v for each in watched.read(counter(7, BEGAN), NOW + 1_000)] == [7]


def test_a_read_that_was_not_kept_is_made_up_for_by_the_next_one() -> None:
    watched = Watched()
    watched.read(counter(5, BEGAN), NOW)
    watched.read(counter(7, NOW + 500), NOW + 1_000, kept=False)

    assert [each.v for each in watched.read(counter(8, NOW + 500), NOW + 2_000)] == [0, 8]
    assert [each.v for each in watched.read(counter(9, NOW + 500), NOW + 3_000)] == [9]


def test_a_new_series_of_a_counter_begins_with_nothing_so_that_its_first_count_is_seen() -> None:
    watched = Watched()
    watched.read(counter(5, BEGAN, '{side="buy"}'), NOW)
    both = counter(5, BEGAN, '{side="buy"}') + counter(1, NOW + 15_000, '{side="sell"}').partition("\n")[2]
    watched.read(both, NOW + 30_000)

    assert watched.value('increase(trades_total{side="sell"}[1m])', NOW + 30_000) >= 1


def test_one_process_of_several_that_began_anew_is_seen_though_another_began_later() -> None:
    watched = Watched()
    first, later = counter(5, BEGAN, '{p="1"}'), counter(5, NOW - 10, '{p="2"}').partition("\n")[2]
    watched.read(first + later, NOW)
    found = watched.read(first.replace(str(BEGAN / 1_000), str((NOW - 50) / 1_000)) + later, NOW + 1_000)

    assert next((each.labels, each.v) for each in found) == ((("p", "1"),), 0.0)


def test_histograms_and_summaries_begin_anew_as_a_whole_and_quantiles_do_not() -> None:
    page = (
        "# TYPE h histogram\n"
        'h_bucket{{x="1",le="1.0"}} 3\nh_bucket{{x="1",le="+Inf"}} 4\n'
        'h_count{{x="1"}} 4\nh_sum{{x="1"}} 9\nh_created{{x="1"}} {0}\n'
        '# TYPE s summary\ns{{quantile="0.5"}} 2\ns_count 1\ns_sum 2\ns_created {0}\n'
    )
    watched = Watched()
    watched.read(page.format(BEGAN / 1_000), NOW)
    found = watched.read(page.format((NOW + 500) / 1_000), NOW + 1_000)

    assert [each.name for each in found if each.t == NOW + 500] == [
        *("h_bucket", "h_bucket", "h_count", "h_sum", "s_count", "s_sum")
    ]


def test_what_only_looks_like_the_begin_of_a_counter_is_a_series() -> None:
    found = read("# TYPE order_created gauge\norder_created 5\n# TYPE x gauge\nx_created 6\ny_created 7\n# EOF\n")

    assert [each.name for each in found] == ["order_created", "x_created", "y_created"]


@pytest.mark.parametrize("began", [NOW + 1_000, NOW + 10**9, -5_000, 0])
def test_a_begin_that_is_none_or_has_not_come_yet_puts_nothing_in(began: int) -> None:
    watched = Watched()
    watched.read(counter(5, BEGAN), NOW)

    assert [each.v for each in watched.read(counter(7, began), NOW + 1_000)] == [7]


def test_a_clock_that_was_ahead_and_is_right_again_hides_no_restart() -> None:
    watched = Watched()
    watched.read(counter(5, NOW + 10**9), NOW)

    assert [each.v for each in watched.read(counter(7, NOW + 500), NOW + 1_000)] == [0, 7]


@pytest.mark.parametrize("ahead", [1, 10_000, 600_000, 600_001, 3_600_000])
def test_after_a_restart_of_the_watchdog_alone_nothing_has_begun_anew_though_the_bots_clock_is_ahead(
    ahead: int,
) -> None:
    watched = Watched()
    watched.read(counter(5, NOW + ahead), NOW)
    watched.cache = OpenMetricsCache()

    assert [each.v for each in watched.read(counter(7, NOW + ahead), NOW + 2 * ahead)] == [7]
    watched.cache = OpenMetricsCache()
    assert [each.v for each in watched.read(counter(9, NOW + 3 * ahead), NOW + 4 * ahead)] == [0, 9]


def test_a_begin_before_the_last_sample_is_one_that_the_store_does_not_take() -> None:
    watched = Watched()
    watched.read(counter(5, BEGAN), NOW)
    watched.read(counter(7, NOW - 1), NOW + 1_000)

    assert watched.value("resets(trades_total[1m])", NOW + 1_000) == 0


def test_many_counters_of_one_start_are_given_one_time() -> None:
    def page(began: int) -> str:
        lines = ["# TYPE trades counter"]
        for number in range(100):
            lines += [f'trades_total{{n="{number}"}} 1', f'trades_created{{n="{number}"}} {(began + number) / 1_000}']
        return "\n".join(lines) + "\n"

    watched = Watched()
    watched.read(page(BEGAN), NOW)
    found = watched.read(page(NOW + 100), NOW + 1_000)

    assert {each.t for each in found} == {NOW + 199, NOW + 1_000}
    assert len(found) == 200
    assert watched.value("sum(resets(trades_total[1m]))", NOW + 1_000) == 100


# ─ what is remembered of the last page ─

LINES = st.sampled_from(
    [
        "a_total 1",
        "a_total 2.5",
        'a_total 3 # {x="1"} 1',
        "a_total 3 1699999999",
        "a_total 4 # x",
        "a_created 1699990000",
        "a_created 1699999990.5",
        "# TYPE a counter",
        "# TYPE a gauge",
        "# HELP a what",
        "# HELP a more",
        'b{x="1"} 1',
        'b{x="1"} NaN',
        'b{x="1"} 1_0',
        'b{x="1"}  1',
        'b{x="2"} -Inf',
        "# EOF",
    ]
)


@settings(max_examples=examples(150))
@given(st.lists(st.lists(LINES, max_size=6), min_size=1, max_size=4))
def test_what_is_remembered_of_the_lines_of_the_last_page_changes_no_sample(pages: list[list[str]]) -> None:
    with_lines, without = OpenMetricsCache(), OpenMetricsCache()
    states: tuple[SourceState, SourceState] = ({}, {})
    for number, lines in enumerate([*pages, pages[-1], *pages]):
        page = "".join(f"{line}\n" for line in [*lines, "# EOF"]).encode()
        without.lines = []
        found = [
            parse_or_error(page, NOW + number, state, cache)
            for cache, state in zip((with_lines, without), states, strict=True)
        ]
        assert found[0] == found[1]
        assert states[0] == states[1]


def parse_or_error(page: bytes, now: int, state: SourceState, cache: OpenMetricsCache) -> object:
    try:
        return [(each.name, each.labels, each.t, repr(each.v)) for each in parse_samples(page, now, state, cache)]
    except SourceError as fault:
        return str(fault)


def test_a_page_like_the_last_one_keeps_its_series_as_they_are() -> None:
    cache, state = OpenMetricsCache(), SourceState()
    page = '# TYPE a gauge\na{{x="1"}} {}\na{{x="2"}} 2 # {{t="{}"}} 1\n# EOF\n'
    first = parse_samples(page.format(1, "x").encode(), NOW, state, cache)
    second = parse_samples(page.format(3, "y").encode(), NOW + 1, state, cache)

    assert [(each.t, each.v) for each in second] == [(NOW + 1, 3.0), (NOW + 1, 2.0)]
    assert all(one.labels is two.labels for one, two in zip(first, second, strict=True))


@settings(deadline=None)
@given(st.binary(max_size=200) | st.text('a_{}=",\\ \n1eN#TYPcreatdoul', max_size=60).map(str.encode))
def test_any_bytes_are_either_samples_or_a_source_error(page: bytes) -> None:
    try:
        found = parse_samples(page + b"\n# EOF\n", NOW, {}, OpenMetricsCache())
    except SourceError:
        return
    assert found


def test_a_number_that_is_too_large_is_not_infinite() -> None:
    cache = OpenMetricsCache()
    parse_samples(b"a 1\n# EOF\n", 5, {}, cache)
    for known in (OpenMetricsCache(), cache):
        with pytest.raises(SourceError, match="holds a number that is too large"):
            parse_samples(b"a 1e400\n# EOF\n", 5, {}, known)
