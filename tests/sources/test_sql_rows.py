"""Whatever a driver makes of a cell, a row becomes samples that are sound, or one error."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchdog.core.errors import SourceError
from watchdog.core.model import Sample
from watchdog.sources.sql_rows import Budget, QuerySpec, ReadLimits, Table, explain, to_samples

NOW = 1_700_000_000_000
CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.decimals(),
    st.text(max_size=20),
    st.from_regex(re.compile(r"[+-]?[0-9]{1,5}(\.[0-9]+)?(e[0-9]{1,4})?", re.ASCII), fullmatch=True),
    st.binary(max_size=20),
    st.datetimes(),
    st.datetimes(timezones=st.timezones()),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.uuids(),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=3),
)
QUERY = QuerySpec("SELECT …", {"a": "a", "b": "b"}, {"l": "l", "m": "m"}, "t")
COLUMNS = ("t", "l", "m", "a", "b")


@given(st.lists(st.tuples(*[CELLS] * 5), max_size=5), st.sampled_from(["UTC", "Europe/Berlin", "Pacific/Apia"]))
def test_rows_become_sound_samples_or_one_error(rows: list[tuple[Any, ...]], zone: str) -> None:
    try:
        found = to_samples([QUERY], [Table(COLUMNS, rows)], zone, NOW)
    except SourceError as error:
        assert "\n" not in str(error)  # noqa: PT017
        return
    assert found
    assert len({sample[:2] for sample in found}) == len(found)
    for sample in found:
        assert type(sample.v) is float
        assert math.isfinite(sample.v)
        assert type(sample.t) is int
        assert sample.t <= NOW
        assert sample.labels == tuple(sorted(sample.labels))
        assert all(type(text) is str and text for _, text in sample.labels)


@given(st.lists(st.tuples(*[CELLS] * 5), max_size=3), st.lists(st.text(max_size=8), min_size=5, max_size=5))
def test_every_row_can_be_explained(rows: list[tuple[Any, ...]], columns: list[str]) -> None:
    for names in (COLUMNS, tuple(columns)):
        matches = explain([QUERY], [Table(names, rows)], "UTC", NOW)

        assert [match.key for match in matches] == [
            "queries[0].query",
            *(f"queries[0].{key}" for key in ("values.a", "values.b", "labels.l", "labels.m", "time")),
        ]
        assert all("\n" not in text for match in matches for text in (*match.found, *match.nearest, match.why))


def test_samples_of_several_queries_stand_together() -> None:
    queries = [QuerySpec("", {"a": "x"}, {}, None), QuerySpec("", {"b": "x"}, {}, None)]

    assert to_samples(queries, [Table(("x",), [(1,)]), Table(("x",), [(2,)])], "UTC", NOW) == [
        Sample("a", (), NOW, 1.0),
        Sample("b", (), NOW, 2.0),
    ]


@pytest.mark.parametrize("cell", ["x" * 1_001, b"x" * 1_001, ["x" * 1_001], {"x" * 1_001: {"y": None}}])
def test_a_cell_weighs_what_is_in_it(cell: object) -> None:
    with pytest.raises(SourceError, match="larger than 1000 B"):
        Budget(ReadLimits(1, 10, 1_000)).take([(cell,)])
