"""What is asked of each line says what the library says."""

from __future__ import annotations

from typing import Any

import jmespath
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jmespath.exceptions import JMESPathError

from tests.support.property_settings import examples
from watchdog.core.errors import SourceError
from watchdog.sources.compiled_path import compile_condition, compile_path, conjuncts

NAMES = st.sampled_from(["a", "b", '"a b"'])
PLAIN = st.none() | st.booleans() | st.sampled_from([0, 1, -1, 2, 0.0, 1.5, "", "x", "0"])
VALUES = st.recursive(
    PLAIN, lambda inner: st.dictionaries(st.sampled_from(["a", "b", "a b"]), inner) | st.lists(inner, max_size=2)
)
LITERALS = st.sampled_from(
    ["`0`", "`1`", "`1.5`", "`true`", "`false`", "`null`", "'x'", "''", "`[]`", "`{}`", "`[1]`", '`"x"`']
)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(".".join)
OTHERS = st.sampled_from(["@", "a[0]", "a[*].b", "length(a)", "not_null(a, b)", "a | b", "[a, b]", "to_number(a)"])
EXPRESSIONS = st.recursive(
    PATHS | LITERALS | OTHERS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "&&", "||"]), inner).map(
            lambda parts: f"({parts[0]}) {parts[1]} ({parts[2]})"
        ),
        inner.map(lambda one: f"!({one})"),
    ),
    max_leaves=6,
)


def by_the_library(path: str, document: Any) -> Any:
    try:
        return jmespath.search(path, document)
    except (JMESPathError, TypeError):
        return "does not fit"


def by_us(path: str, document: Any) -> Any:
    try:
        return compile_path(path)(document)
    except (SourceError, TypeError):
        return "does not fit"


@given(EXPRESSIONS, VALUES)
@settings(max_examples=examples(500))
@example("a == 'x' && b < `0`", {"a": "x", "b": -1})
@example("a < b", {"a": "1", "b": 2})
@example("!a", {"a": 0})
@example("a == `0`", {"a": False})
def test_a_compiled_expression_finds_what_the_library_finds(path: str, document: Any) -> None:
    assert repr(by_us(path, document)) == repr(by_the_library(path, document))


@given(EXPRESSIONS, VALUES)
def test_a_condition_holds_where_the_library_finds_what_is_true(path: str, document: Any) -> None:
    assert compile_condition(path)(document) is (by_the_library(f"!(!({path}))", document) is True)


@pytest.mark.parametrize(
    ("document", "held"), [({"a": 1, "b": 2}, 2), ({"a": 1}, 1), ({"a": 1, "b": 2, "c": True}, 3), ({"a": "1"}, 0)]
)
def test_the_parts_of_a_condition_are_told_apart(document: Any, held: int) -> None:
    parts = conjuncts("a == `1` && (b > `1` && c)")

    assert sum(part(document) for part in parts) == held
