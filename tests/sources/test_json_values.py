"""`values:` of http_json and json_file: what a document holds, and why what is not there is not."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from watchdog.core.errors import SourceError
from watchdog.core.model import Sample
from watchdog.net.deadline import Deadline
from watchdog.sources.json_document import parse_document
from watchdog.sources.json_explain import explain
from watchdog.sources.json_values import JsonValue, JsonValues, Limits, Timing, extract

NOW = 1_700_000_000_000
DOCUMENT: dict[str, Any] = {
    "account": {"equity": "10512.25", "open": True, "note": None, "currency": "USDT"},
    "stats": {"trades": 51, "updated_at": "2023-11-14T22:13:10Z"},
    "positions": [
        {"symbol": "BTCUSDT", "side": "long", "size": 0.5, "at": 1_699_999_990},
        {"symbol": "ETHUSDT", "side": "short", "size": 3, "at": None},
    ],
    "balance": {"BTC": 0.5, "USDT": "120"},
    "status": {"state": "RUNNING"},
    "orders": [],
}
ADAPTER: TypeAdapter[dict[str, str | JsonValue]] = TypeAdapter(JsonValues)


def read(
    values: dict[str, Any], document: Any = DOCUMENT, *, time: str | None = None, zone: str = "UTC", **limits: Any
) -> list[Sample]:
    return extract(document, ADAPTER.validate_python(values), Timing(NOW, NOW, time, zone), Limits(**limits))


def numbers(values: dict[str, Any], document: Any = DOCUMENT) -> dict[str, float]:
    return {each.name: each.v for each in read(values, document)}


def error_of(values: dict[str, Any], document: Any = DOCUMENT, **how: Any) -> str:
    with pytest.raises(SourceError, match=r".+ — .+") as caught:
        read(values, document, **how)
    return str(caught.value)


def test_a_path_is_one_number() -> None:
    found = read({"equity": "account.equity", "trades_total": "stats.trades", "open": "account.open"})

    assert found == [
        Sample("equity", (), NOW, 10512.25),
        Sample("trades_total", (), NOW, 51.0),
        Sample("open", (), NOW, 1.0),
    ]
    assert all(type(each.v) is float for each in found)


def test_a_list_is_a_series_for_each_element() -> None:
    labels = {"symbol": "symbol", "side": "side"}
    found = read({"size": {"path": "positions[]", "value": "size", "labels": labels}})

    assert found == [
        Sample("size", (("side", "long"), ("symbol", "BTCUSDT")), NOW, 0.5),
        Sample("size", (("side", "short"), ("symbol", "ETHUSDT")), NOW, 3.0),
    ]


def test_an_object_is_a_series_for_each_member_whose_name_is_a_label() -> None:
    found = read({"balance": {"path": "balance", "key": "currency"}})

    assert [(each.labels, each.v) for each in found] == [((("currency", "BTC"),), 0.5), ((("currency", "USDT"),), 120)]


def test_a_word_is_the_number_that_map_says() -> None:
    value = {"path": "status.state", "map": {"RUNNING": 1, "PAUSED": 0}}

    assert numbers({"state": value}) == {"state": 1.0}
    assert '"HALTED" is not in map' in error_of({"state": value}, {"status": {"state": "HALTED"}})
    assert numbers({"open": {"path": "open", "map": {"true": 7}}}, {"open": True}) == {"open": 7.0}


def test_the_labels_of_a_single_value_stand_in_the_document() -> None:
    found = read({"equity": {"path": "account.equity", "labels": {"currency": "account.currency", "no": "gone"}}})

    assert found[0].labels == (("currency", "USDT"),)


def test_the_labels_of_an_object_stand_within_it() -> None:
    found = read({"equity": {"path": "account", "value": "equity", "labels": {"currency": "currency"}}})

    assert found == [Sample("equity", (("currency", "USDT"),), NOW, 10512.25)]


def test_a_time_stands_in_the_element_else_in_the_document() -> None:
    document = DOCUMENT | {"at": "2023-11-14 23:13:15"}
    found = read({"size": {"path": "positions[]", "value": "size", "labels": {"s": "symbol"}, "time": "at"}}, document)
    local = read({"equity": "account.equity"}, document, time="at", zone="Europe/Berlin")

    assert [each.t for each in found] == [1_699_999_990_000, NOW]  # 23:13 UTC is ahead of now
    assert [each.t for each in local] == [NOW - 5_000]
    assert read({"equity": {"path": "account.equity", "time": "stats.updated_at"}})[0].t == NOW - 10_000


def test_a_value_whose_time_is_not_there_is_no_data() -> None:
    assert "gone says no time: nothing there" in error_of({"equity": {"path": "account.equity", "time": "gone"}})
    assert "account.currency says no time" in error_of({"equity": "account.equity"}, time="account.currency")


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("account.gone", "nothing there"),
        ("account.note", "nothing there"),
        ("account.currency", '"USDT", no number'),
        ("account", "an object, no number"),
        ("sum(account.gone)", "does not fit the data"),
    ],
)
def test_what_is_no_number_is_absent_and_told_when_there_is_nothing_else(path: str, why: str) -> None:
    assert numbers({"x": path, "equity": "account.equity"}) == {"equity": 10512.25}
    assert why in error_of({"x": path})


def test_an_empty_list_is_an_answer_and_not_an_error() -> None:
    assert read({"orders": {"path": "orders[]", "value": "size"}}) == []
    assert read({"orders": {"path": "status", "key": "k"}}, {"status": {}}) == []


def test_two_values_with_the_same_labels_are_an_error() -> None:
    said = error_of({"size": {"path": "positions[]", "value": "size"}})

    assert said.startswith("size has two values without labels — which of them holds is unknown")
    same = [{"s": "a", "v": 1}, {"s": "a", "v": 2}]
    assert "with the labels {s=a}" in error_of({"x": {"path": "@", "value": "v", "labels": {"s": "s"}}}, same)


def test_what_is_looked_through_is_bounded() -> None:
    document = {"rows": [{"n": number} for number in range(1_000)]}
    value = {"path": "rows[]", "value": "n", "labels": {"n": "n"}}

    assert len(read({"x": value}, document, max_series=250)) == 1_000
    assert "more than 996 elements" in error_of({"x": value}, document, max_series=249)
    assert "within 0 ms" in error_of({"x": value}, document, deadline=Deadline(0, time.monotonic()))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "at least 1 item"),
        ({"up": "a"}, "the watchdog says of the source itself"),
        ({"a b": "a"}, "is no metric name"),
        ({"x": "a["}, "no JMESPath"),
        ({"x": {"path": "a", "labels": {"source": "b"}}}, "the watchdog's own"),
        ({"x": {"path": "a", "labels": {"k": "b"}, "key": "k"}}, "keep one"),
        ({"x": {"path": "a", "map": {"A": float("nan")}}}, "finite number"),
        ({"x": {"path": "a", "labels": {f"l{n}": "b" for n in range(33)}}}, "at most 32 labels"),
    ],
)
def test_what_cannot_be_meant_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ADAPTER.validate_python(values)


# ─ what others write ─


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (b'{"a": 1', "no JSON at line 1, column 8"),
        (b'{"a": 1}{"a": 2}', "Extra data"),
        (b'{"a": "\xff"}', "byte 7 is not UTF-8"),
        (b'{"a": 1, "a": 2}', "a key stands twice"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "a number that is too long"),
        (b"<html>", "no JSON"),
    ],
)
def test_what_is_no_document_is_told_without_a_word_of_it(content: bytes, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        parse_document(content)


def test_what_python_writes_of_its_own_is_null_and_a_byte_order_mark_is_passed_over() -> None:
    assert parse_document(b'\xef\xbb\xbf{"a": NaN, "b": -Infinity, "c": Infinity}') == {"a": None, "b": None, "c": None}


def test_numbers_beyond_all_floats_are_absent() -> None:
    document = parse_document(b'{"a": 1e999, "b": ' + b"9" * 4_000 + b', "c": "1e999", "d": 1}')

    assert numbers({name: name for name in "abcd"}, document) == {"d": 1.0}


NAMES = st.sampled_from(["a", "b", "c", "size", "1", ""])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.just(10**4_299)
DOCUMENTS = st.recursive(
    SCALARS, lambda inner: st.dictionaries(NAMES, inner, max_size=3) | st.lists(inner, max_size=3), max_leaves=20
)
_EXPRESSIONS = """
a, a.b, @, [], a[], *, a.*, [].a, sum(a), length(@), a[?b>`0`], max(@), keys(@), to_string(a), avg(a), abs(a), a[::0], ceil(a)
"""
PATHS = st.sampled_from(
    [*_EXPRESSIONS.strip().split(", "), "sort_by(a, &b)", "join('', a)", "merge(a, b)", "map(&b, a)", "{a: a, b: b}"]
)
VALUES = st.builds(
    lambda path, value, key, label, mapped, at: {
        "path": path,
        "value": value,
        "key": key,
        "labels": {} if label is None else {"l": label},
        "map": mapped,
        "time": at,
    },
    PATHS,
    st.none() | PATHS,
    st.none() | st.just("k"),
    st.none() | PATHS,
    st.just({}) | st.just({"a": 1.0, "true": 2.0}),
    st.none() | PATHS,
)


@given(DOCUMENTS, st.dictionaries(st.sampled_from(["x", "y"]), VALUES | PATHS, min_size=1), st.none() | PATHS)
def test_whatever_a_document_holds_there_are_samples_or_one_error(
    document: Any, values: dict[str, Any], at: str | None
) -> None:
    checked = ADAPTER.validate_python(values)
    said, found = "a — b", []
    try:
        found = extract(document, checked, Timing(NOW, NOW, at), Limits(max_series=10))
    except SourceError as error:
        said = str(error)

    assert " — " in said
    assert said.isprintable()
    assert len(said) < 2_000
    assert len(found) <= 40
    assert len({each[:2] for each in found}) == len(found)
    for name, labels, t, v in found:
        assert name in values
        assert labels == tuple(sorted(labels))
        assert all(text for _, text in labels)
        assert type(v) is float
        assert v - v == 0
        assert t <= NOW
    for match in explain(document, checked, Timing(NOW, NOW, at)):
        assert len(match.found) <= 5
        assert all(text.isprintable() and len(text) <= 100 for text in (*match.found, *match.nearest))


@given(st.binary(max_size=60) | DOCUMENTS.map(lambda document: json.dumps(document).encode()))
def test_whatever_bytes_come_there_is_a_document_or_one_error(content: bytes) -> None:
    said = "a — b"
    try:
        parse_document(content)
    except SourceError as error:
        said = str(error)

    assert " — " in said
    assert said.isprintable()


# ─ for people ─


def test_what_each_expression_matched_is_told() -> None:
    values = ADAPTER.validate_python(
        {
            "equity": "acount.equity",
            "trades": "trades",
            "size": {"path": "positions[]", "value": "siz", "labels": {"symbol": "symbol"}, "time": "at"},
            "state": {"path": "status.state", "map": {"PAUSED": 0}},
        }
    )
    found = {each.key: each for each in explain(DOCUMENT, values, Timing(NOW, NOW, "stats.updated_at"))}

    assert found["time"].found == ('"2023-11-14T22:13:10Z"',)
    assert found["values.equity.path"].found == ()
    assert found["values.equity.path"].nearest[0] == "account.equity"
    assert found["values.trades.path"].nearest[0] == "stats.trades"
    assert len(found["values.size.path"].found) == 2
    assert found["values.size.value"].nearest[0] == "size"
    assert found["values.size.labels.symbol"].found == ('"BTCUSDT"', '"ETHUSDT"')
    assert found["values.size.time"].found == ("1699999990",)
    assert found["values.state.path"].found == ('"RUNNING"',)
    assert found["values.state.path"].why == '"RUNNING" is not in map'
