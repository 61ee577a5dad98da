"""JMESPath in the entries of sources."""

from __future__ import annotations

from typing import Any

import jmespath
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from watchdog.core.errors import SourceError
from watchdog.sources.json_path import JsonPath, search, to_label, to_number

ADAPTER: TypeAdapter[str] = TypeAdapter(JsonPath)
NAMES = st.sampled_from(["a", "b", "c"])
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=2),
    lambda inner: st.dictionaries(NAMES, inner, max_size=3) | st.lists(inner, max_size=3),
)


@given(DOCUMENTS, st.lists(NAMES, min_size=1, max_size=3))
def test_a_plain_path_finds_what_the_library_finds(document: Any, names: list[str]) -> None:
    path = ".".join(names)

    assert search(path, document) == jmespath.search(path, document)


def test_all_else_is_the_librarys() -> None:
    document = {"positions": [{"size": 1, "side": "long"}, {"size": -2, "side": "short"}]}

    assert search("positions[?side=='short'].size | [0]", document) == -2
    assert search("sum(positions[].size)", document) == -1
    assert search('"no such"', document) is None


def test_a_path_that_does_not_fit_the_data_is_one_error_with_a_cure() -> None:
    with pytest.raises(SourceError, match=r"sum\(a\) does not fit the data: .* — mend"):
        search("sum(a)", {"a": ["x"]})


@pytest.mark.parametrize("text", ["", "a..b", "a[", "nosuch(", "a" * 1_001, "(" * 900])
def test_what_is_no_path_is_refused_when_the_file_is_read(text: str) -> None:
    with pytest.raises(ValidationError, match="JMESPath"):
        ADAPTER.validate_python(text)


@pytest.mark.parametrize(
    ("value", "number"),
    [(1, 1.0), ("1.50", 1.5), (" -3e2 ", -300.0), (True, 1.0), (False, 0.0), (".5", 0.5)],
)
def test_numbers_are_numbers_also_as_texts(value: Any, number: float) -> None:
    assert to_number(value) == number


@pytest.mark.parametrize(
    "value",
    [None, "", "N/A", "1_000", "１", "nan", "inf", float("nan"), float("inf"), [], {}, "1" * 70, 10**400, "1e999"],
)
def test_what_is_no_number_is_none(value: Any) -> None:
    assert to_number(value) is None


def test_a_label_is_a_single_value() -> None:
    values: list[Any] = ["x", 1, 1.5, True, None, [], {}]

    assert [to_label(each) for each in values] == ["x", "1", "1.5", "true", None, None, None]
