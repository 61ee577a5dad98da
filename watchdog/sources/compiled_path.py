"""JMESPath for who asks it of fifty thousand lines a second: names, comparisons, `&&`, `||` and `!` as plain functions.

They say what the library says, in a tenth of its time; what is none of these is left to the library.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping
from typing import Any

from watchdog.core.errors import SourceError
from watchdog.sources.json_path import parse, search_parsed

Find = Callable[[Any], Any]
"""(document) → what stands there, as `json_path.search` says it. Raises SourceError, or TypeError."""
_ORDERINGS: Mapping[str, Callable[[Any, Any], bool]] = {
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
}
_COMPARABLE = (float, int, str)
_FALSE: tuple[object, ...] = ("", [], {})


@functools.lru_cache(1_000)
def compile_path(path: str) -> Find:
    """The function of an expression that `JsonPath` has let through."""
    return _compile(parse(path), path)


@functools.lru_cache(1_000)
def compile_condition(path: str) -> Callable[[Any], bool]:
    """Whether it is true of a document: neither null, false, nor empty. Of what it does not fit, it is not."""
    return _condition_of(parse(path), path)


def conjuncts(path: str) -> list[Callable[[Any], bool]]:
    """What must hold together; one for an expression that is no `&&`."""
    parsed = parse(path)
    nodes, parts = [parsed], []
    while nodes:
        node = nodes.pop()
        if node["type"] == "and_expression":
            nodes += node["children"]
        else:
            parts.append(node)
    return [_condition_of(node, path) for node in parts]


def is_true(found: Any) -> bool:
    """As JMESPath has it: zero is."""
    return not (found is None or found is False or found in _FALSE)


def _condition_of(node: Any, path: str) -> Callable[[Any], bool]:
    find = _compile(node, path)

    def holds(document: Any) -> bool:
        try:
            found = find(document)
        except (TypeError, SourceError):
            return False
        return found if found is True or found is False else is_true(found)

    return holds


def _compile(node: Any, path: str) -> Find:
    children = node.get("children", ())
    match node["type"]:
        case "field":
            return _field(node["value"])
        case "subexpression" if all(each["type"] in ("field", "subexpression") for each in children):
            return _chain([_compile(each, path) for each in children])
        case "literal":
            value = node["value"]
            return lambda _: value
        case "comparator":
            return _comparison(node["value"], children, path)
        case "and_expression":
            return _and(*(_compile(each, path) for each in children))
        case "or_expression":
            return _or(*(_compile(each, path) for each in children))
        case "not_expression":
            return _not(_compile(children[0], path))
    return lambda document: search_parsed(node, document, path)


def _field(name: str) -> Find:
    return lambda document: document.get(name) if type(document) is dict else None


def _chain(steps: list[Find]) -> Find:
    first, *rest = steps

    def find(document: Any) -> Any:
        found = first(document)
        for step in rest:
            found = step(found)
        return found

    return find


def _comparison(sign: str, children: list[Any], path: str) -> Find:
    left, right = (_compile(each, path) for each in children)
    literal: Any = children[1]["value"] if children[1]["type"] == "literal" else None
    if sign == "eq" and children[0]["type"] == "field" and isinstance(literal, str):
        name = children[0]["value"]
        return lambda document: type(document) is dict and document.get(name) == literal
    if sign == "eq":
        return lambda document: _equals(left(document), right(document))
    if sign == "ne":
        return lambda document: not _equals(left(document), right(document))
    compare = _ORDERINGS[sign]
    if children[0]["type"] == "field" and type(literal) in (int, float):
        return _order_field(children[0]["value"], compare, literal)

    def holds(document: Any) -> bool | None:
        one, other = left(document), right(document)
        return compare(one, other) if _is_comparable(one) and _is_comparable(other) else None

    return holds


def _order_field(name: str, compare: Callable[[Any, Any], bool], literal: float) -> Find:
    """What most comparisons are."""

    def holds(document: Any) -> bool | None:
        found = document.get(name) if type(document) is dict else None
        return compare(found, literal) if type(found) in _COMPARABLE else None

    return holds


def _equals(one: Any, other: Any) -> bool:
    return isinstance(one, bool) is isinstance(other, bool) and bool(one == other)


def _is_comparable(value: Any) -> bool:
    return type(value) in _COMPARABLE


def _and(left: Find, right: Find) -> Find:
    def find(document: Any) -> Any:
        found = left(document)
        if found is True:
            return right(document)
        return right(document) if found is not False and is_true(found) else found

    return find


def _or(left: Find, right: Find) -> Find:
    def find(document: Any) -> Any:
        found = left(document)
        return found if is_true(found) else right(document)

    return find


def _not(inner: Find) -> Find:
    def find(document: Any) -> bool:
        found = inner(document)
        return False if type(found) in (int, float) and found == 0 else not found

    return find
