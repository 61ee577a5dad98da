"""What the expressions of `values:` match in a document, and what comes nearest where they match nothing."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from watchdog.core.errors import SourceError
from watchdog.core.protocols import Match
from watchdog.core.text import shorten
from watchdog.sources.json_path import search
from watchdog.sources.json_values import Absent, DocumentTime, JsonValue, Timing, as_value, measure

_MAX_FOUND = 5
_MAX_NEAREST = 3
_MAX_NAMES = 300
"""Of a document's names so many are compared."""
_MAX_SHOWN = 80
"""Characters of what was found."""


def explain(document: Any, values: Mapping[str, str | JsonValue], timing: Timing) -> list[Match]:
    """Each expression of `values`, and the source's own `time`. Never raises."""
    names = list(islice(_paths(document, ""), _MAX_NAMES))
    document_time = DocumentTime(document, timing)
    matches: list[Match] = []
    if timing.path is not None:
        time, why = document_time.found, ""
        if isinstance(time, Absent):
            why = time.why
        matches.append(_match("time", timing.path, [_search(timing.path, document)], names, why))
    for name, said in values.items():
        value, key = as_value(said), f"values.{name}"
        found = _search(value.path, document)
        measured = islice(measure(document, value, document_time), _MAX_NAMES)
        whys = [one.why for one in measured if isinstance(one, Absent)]
        elements = _elements(found, value)
        shown = [found] if found in ([], {}) else elements
        matches.append(_match(f"{key}.path", value.path, shown, names, whys[0] if whys else ""))
        if not elements:
            continue
        scopes = [document if not isinstance(found, dict | list) else each for each in elements]
        below = list(islice(_paths(scopes[0], ""), _MAX_NAMES))
        if value.value is not None:
            inner = [_search(value.value, each) for each in elements]
            matches.append(_match(f"{key}.value", value.value, inner, below))
        for label, path in value.labels.items():
            matches.append(_match(f"{key}.labels.{label}", path, [_search(path, each) for each in scopes], below))
        if value.time is not None:
            times = [_search(value.time, each) for each in [*scopes, document]]
            matches.append(_match(f"{key}.time", value.time, times, below))
    return matches


def _elements(found: Any, value: JsonValue) -> list[Any]:
    """The first few things that make a series each."""
    if isinstance(found, dict) and value.key is not None:
        return list(islice(found.values(), _MAX_FOUND))
    if isinstance(found, list):
        return found[:_MAX_FOUND]
    return [] if found is None else [found]


def _search(path: str, document: Any) -> Any:
    try:
        return search(path, document)
    except SourceError:
        return None


def _match(key: str, path: str, found: list[Any], names: list[str], why: str = "") -> Match:
    there = [_show(each) for each in found if each is not None][:_MAX_FOUND]
    return Match(key, path, tuple(there), () if there else _nearest(path, names), why)


def _show(value: Any) -> str:
    try:
        return shorten(json.dumps(value, ensure_ascii=False), _MAX_SHOWN)
    except (ValueError, RecursionError):
        return "…"


def _nearest(path: str, names: list[str]) -> tuple[str, ...]:
    """The paths that are spelt most like it; of two, the one that ends in the same name."""
    last = path.rpartition(".")[2].lower()
    same = [name for name in names if name.rpartition(".")[2].lower() == last]
    close = difflib.get_close_matches(path[:100], names, n=_MAX_NEAREST, cutoff=0.4)
    return tuple(dict.fromkeys([*same, *close]))[:_MAX_NEAREST] or tuple(names[:_MAX_NEAREST])


def _paths(document: Any, above: str, depth: int = 8) -> Iterator[str]:
    """The plain paths of a document; of a list, those of its first element."""
    if isinstance(document, list):
        if document:
            yield f"{above}[]"
            yield from _paths(document[0], f"{above}[]", depth - 1)
        return
    if not isinstance(document, dict) or not depth:
        return
    for name, value in document.items():
        shown = name if name.isascii() and name.isidentifier() else json.dumps(name, ensure_ascii=False)
        path = f"{above}.{shown}" if above else shown
        yield shorten(path, _MAX_SHOWN)
        yield from _paths(value, path, depth - 1)
