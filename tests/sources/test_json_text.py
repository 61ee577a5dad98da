"""JSON with long lists says what it says to the standard library, and others have their turn meanwhile."""

from __future__ import annotations

import json
from json.decoder import JSONArray  # type: ignore[attr-defined]
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.property_settings import examples
from watchdog.core.errors import SourceError
from watchdog.sources import json_text
from watchdog.sources.json_document import parse_document

documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def parse(text: str) -> Any:
    try:
        return parse_document(text.encode())
    except SourceError as error:
        return str(error)


@settings(max_examples=examples(100))
@given(documents.map(json.dumps) | st.text('[]{},:"\\ 0123456789.-eEtrufalsnNI\n', max_size=30))
def test_lists_of_any_length_are_read_alike(text: str) -> None:
    with pytest.MonkeyPatch.context() as patched:
        at_once = parse(text)
        patched.setattr(json_text, "_MANY", -1)

        assert parse(text) == at_once


@pytest.mark.slow
@pytest.mark.parametrize("element", ["[]", "1", '""', "0.5"])
def test_each_element_of_many_is_read_by_itself(element: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's fast reader holds all threads up until it is done: ten megabytes of lists were five seconds."""
    lists = []

    def spy(*args: Any, **more: Any) -> Any:
        lists.append(1)
        return JSONArray(*args, **more)

    monkeypatch.setattr(json_text, "JSONArray", spy)

    assert len(parse_document(f"[{','.join([element] * 1_000)}]".encode())) == 1_000
    assert lists == []
    assert len(parse_document(f"[{','.join([element] * 110_000)}]".encode())) == 110_000
    assert lists
