"""What the expressions of `values:` match in a document, and what comes nearest where they match nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import islice
from typing import Any

from watchdog.core.errors import SourceError
from watchdog.core.protocols import Match
from watchdog.core.text import shorten
from watchdog.sources.json_names import document_paths, nearest_paths
from watchdog.sources.json_path import search
from watchdog.sources.json_values import Absent, DocumentTime, JsonValue, Timing, as_value, measure

_MAX_FOUND = 5
_MAX_MEASURED = 300
_MAX_SHOWN = 80
"""Characters of what was found."""


def explain(document: Any, values: Mapping[str, str | JsonValue], timing: Timing) -> list[Match]:
    """Each expression of `values`, and the source's own `time`. Never raises."""
    names = document_paths(document)
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
        measured = islice(measure(document, value, document_time), _MAX_MEASURED)
        whys = [one.why for one in measured if isinstance(one, Absent)]
        elements = _elements(found, value)
        shown = [found] if found in ([], {}) else elements
        matches.append(_match(f"{key}.path", value.path, shown, names, whys[0] if whys else ""))
        if not elements:
            continue
        scopes = [document if not isinstance(found, dict | list) else each for each in elements]
        below = document_paths(scopes[0])
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
    return Match(key, path, tuple(there), () if there else nearest_paths(path, names), why)


def _show(value: Any) -> str:
    try:
        return shorten(json.dumps(value, ensure_ascii=False), _MAX_SHOWN)
    except (ValueError, RecursionError):
        return "…"
