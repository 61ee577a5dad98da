from __future__ import annotations

import math
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary, generate_latest

from watchdog.core.errors import SourceError
from watchdog.core.model import Labels, Sample
from watchdog.sources.exposition import PageCache, parse_samples

NOW = 1_700_000_000_000


def read(text: str) -> list[Sample]:
    return parse_samples(text.encode(), NOW)


def test_a_sample_without_a_timestamp_is_from_now() -> None:
    assert read("equity 1234.5\n") == [Sample("equity", (), NOW, 1234.5)]


def test_a_timestamp_on_the_page_is_in_milliseconds() -> None:
    assert read("equity 1 1699999999123\n") == [Sample("equity", (), 1_699_999_999_123, 1.0)]


def test_labels_are_sorted_unescaped_and_without_empty_ones() -> None:
    (found,) = read(r'fills_total{side="b\"u\\y\n",pair="X,Y}Z",empty="",} 3' + "\n")

    assert found.labels == (("pair", "X,Y}Z"), ("side", 'b"u\\y\n'))


def test_a_line_separator_of_unicode_within_a_label_value_ends_no_line() -> None:
    assert read('note{text="a\u2028b\x85c"} 1\n')[0].labels == (("text", "a\u2028b\x85c"),)


def test_a_counter_keeps_the_name_it_has_on_the_page() -> None:
    assert [each.name for each in read("# TYPE trades counter\ntrades 5\n")] == ["trades"]


def test_comments_blank_lines_and_windows_line_ends_are_no_samples() -> None:
    assert len(read("# HELP a what\r\n\r\n  # anything\n\t\na 1\r\n")) == 1


@pytest.mark.parametrize(("text", "value"), [("+Inf", math.inf), ("-inf", -math.inf), ("1e3", 1000.0), (".5", 0.5)])
def test_a_value_may_be_written_in_any_way_the_format_knows(text: str, value: float) -> None:
    assert read(f"a {text}\n")[0].v == value


def test_nan_stays_nan() -> None:
    assert math.isnan(read("a NaN\n")[0].v)


@pytest.mark.parametrize(
    "line",
    [
        "equity 100 bar 200",  # two lines run together
        "equity 100 200 300",
        "equity",
        "inf",
        "equity one",
        "equity 1_000",
        "equity 0x10",
        "equity ٣",
        "equity 1 1.5",
        "equity 1 nan",
        "equity 1 9999999999999999999",
        "equity{",
        'equity{a="1"',
        'equity{a="1} 1',
        "equity{a=} 1",
        "equity{a=1} 1",
        'equity{a="1",,b="2"} 1',
        'equity{,a="1"} 1',
        'equity{a="1"b="2"} 1',
        'equity{a:b="1"} 1',
        'equity{a="1",a="2"} 1',
        'equity{__name__="cash"} 1',
        '{"utf.8"} 1',
        "e-quity 1",
        "equity+1",
        'equity{a="1"} 1 # {trace="x"} 1',
        "\ufeffequity 1",
        "equity\u00a01",
        "<!DOCTYPE html>",
        '{"equity": 1}',
    ],
)
def test_one_line_that_is_no_sample_spoils_the_whole_page(line: str) -> None:
    with pytest.raises(SourceError, match="line 2 of the page"):
        read(f"cash 1\n{line}\nbars 2\n")


def test_a_series_that_stands_there_twice_is_refused_because_nobody_knows_which_holds() -> None:
    with pytest.raises(SourceError, match=r"line 3 .*repeats a series"):
        read('a{x="1",y="2"} 1\nb 1\na{y="2",x="1"} 2\n')


def test_a_page_without_a_sample_is_refused() -> None:
    with pytest.raises(SourceError, match="no sample"):
        read("# TYPE a gauge\n")


def test_an_empty_page_is_refused() -> None:
    with pytest.raises(SourceError, match="empty"):
        parse_samples(b"", NOW)


def test_a_page_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(SourceError, match=r"byte 2 .* not UTF-8"):
        parse_samples(b"a \xff\n", NOW)


def test_a_page_cut_anywhere_within_a_line_is_refused() -> None:
    whole = b'# HELP equity what it is\nequity{pair="X"} 123.5 1700000000000\ntrades_total 17\n'
    for end in range(len(whole)):
        if whole[:end].endswith(b"\n"):
            continue
        with pytest.raises(SourceError):
            parse_samples(whole[:end], NOW)


def test_a_line_of_a_megabyte_is_refused_in_one_pass() -> None:
    for line in (b"a{" + b'b="c",' * 150_000, b'a{b="' + b"\\\\" * 500_000, b"a " + b"1" * 1_000_000 + b"x"):
        with pytest.raises(SourceError):
            parse_samples(line + b"\n", NOW)


def test_a_page_of_the_client_library_is_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prometheus_client.metrics._use_created", True)  # our own metrics go without
    registry = CollectorRegistry()
    Counter("trades", "Trades", ["side"], registry=registry).labels("buy").inc(3)
    Gauge("equity", "Equity, with a \\ and\na line", registry=registry).set(-0.1)
    Histogram("latency_seconds", "Latency", buckets=(0.1, 1), registry=registry).observe(0.5)
    Summary("size", "Size", registry=registry).observe(2)

    found = {(name, labels): value for name, labels, _, value in parse_samples(generate_latest(registry), NOW)}

    assert found["trades_total", (("side", "buy"),)] == 3
    assert found["equity", ()] == -0.1
    assert found["latency_seconds_bucket", (("le", "+Inf"),)] == 1
    assert found["latency_seconds_count", ()] == 1
    assert found["size_sum", ()] == 2
    assert ("trades_created", (("side", "buy"),)) in found  # it stands on the page


names = st.from_regex(r"\A[a-zA-Z_:][a-zA-Z0-9_:]{0,12}\Z")
label_names = st.text(string.ascii_lowercase, min_size=1, max_size=6)
label_values = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
series = st.tuples(
    names, st.dictionaries(label_names, label_values, max_size=3).map(lambda d: tuple(sorted(d.items())))
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(series, st.tuples(st.floats(), st.none() | st.integers(0, 10**14)), min_size=1, max_size=5))
def test_what_is_written_by_the_format_is_read_back_exactly(
    written: dict[tuple[str, Labels], tuple[float, int | None]],
) -> None:
    def line(name: str, labels: Labels, value: float, t: int | None) -> str:
        escape = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
        inside = ",".join(f'{key}="{text.translate(escape)}"' for key, text in labels)
        return f"{name}{{{inside}}} {value!r}{'' if t is None else f' {t}'}\n"

    found = read("".join(line(*key, *value) for key, value in written.items()))

    assert [each[:2] for each in found] == list(written)
    for each, (value, t) in zip(found, written.values(), strict=True):
        assert each.t == (NOW if t is None else t)
        assert each.v == value or (math.isnan(each.v) and math.isnan(value))


@settings(deadline=None)
@given(st.binary(max_size=200) | st.text('a{}=",\\ \n1eN#', max_size=60).map(str.encode))
def test_any_bytes_are_either_samples_or_a_source_error(page: bytes) -> None:
    try:
        found = parse_samples(page, NOW)
    except SourceError:
        return
    assert found


LINES = st.sampled_from(
    [
        "a 1",
        "a 2",
        'a{x="1"} 1',
        'a{x="1"}  7',
        'a{x="1"}3',
        'a{ x = "1" } 4',
        'a{x="2"} 1e3',
        'a{x="2"} 1_000',
        "b NaN",
        "b -Inf",
        "b 1 1700000000000",
        "b\t5",
        "b 5\r",
        "b 5 ",
        "b ٣",
        "b infinity",
        "# HELP a what",
        "# TYPE b gauge",
        "",
        "  ",
        "b",
        "b 1 2 3",
        "a  1",
        'c{x="1",y="2"} 0',
        'c{y="2",x="1"} 0',
        "b \x0c1",
        "b 0x1",
        "b .5",
        "b 5.",
        "b +1",
    ]
)
VALUES_AFTER = st.sampled_from(
    ["1", "2.5", "NaN", "1_0", "+Inf", "", " 1", "1 ", "1 5", "٣", "nan1", "1\r", "0x1", "-.5e-3"]
)


@given(st.lists(st.lists(LINES, max_size=6), max_size=3), st.lists(VALUES_AFTER, max_size=6))
def test_what_is_remembered_of_the_last_page_changes_no_sample(pages: list[list[str]], values: list[str]) -> None:
    last = PageCache()
    if pages:
        heads = [line.rpartition(" ")[0] for line in pages[-1]]
        pages.append([f"{head} {value}" for head, value in zip(heads, values, strict=False)])
        pages.insert(-1, pages[-2])
    for lines in pages:
        text = "".join(f"{line}\n" for line in lines).encode()
        assert parse_or_error(text, last) == parse_or_error(text, None)


def parse_or_error(page: bytes, last: PageCache | None) -> object:
    try:
        return [(each.name, each.labels, each.t, repr(each.v)) for each in parse_samples(page, NOW, last)]
    except SourceError as fault:
        return str(fault)


def test_a_page_like_the_last_one_keeps_its_series_as_they_are() -> None:
    last = PageCache()
    first = parse_samples(b'# TYPE a gauge\na{x="1"} 1\na{x="2"} 2\n', NOW, last)
    second = parse_samples(b'# TYPE a gauge\na{x="1"} 3\na{x="2"} NaN\n', NOW + 1, last)

    assert [(each.t, each.v) for each in second][:1] == [(NOW + 1, 3.0)]
    assert all(one.labels is two.labels for one, two in zip(first, second, strict=True))


@pytest.mark.parametrize("number", ["1e400", "-1E999", "9" * 400])
def test_a_number_that_is_too_large_is_not_infinite(number: str) -> None:
    cache = PageCache()
    parse_samples(b"a 1\nb +Inf\n", 5, cache)
    for known in (None, cache):  # a page that is new, and one that is known line by line
        with pytest.raises(SourceError, match=r"line 1 of the page holds a number that is too large: .* — say \+Inf"):
            parse_samples(f"a {number}\nb +Inf\n".encode(), 5, known)
    assert [sample.v for sample in parse_samples(b"a 1e308\nb -infinity\n", 5, cache)] == [1e308, -math.inf]
