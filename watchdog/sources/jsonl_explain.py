"""What the expressions of a source of JSON lines match in the newest lines, and what comes nearest where they match nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from watchdog.core.errors import SourceError
from watchdog.core.model import Millis
from watchdog.core.protocols import Match
from watchdog.core.text import shorten
from watchdog.host.tail import matches_any, newest_lines
from watchdog.sources.compiled_path import Find, compile_condition, compile_path, conjuncts
from watchdog.sources.json_names import document_paths, nearest_paths
from watchdog.sources.json_path import to_label, to_number
from watchdog.sources.jsonl_reader import FIRST_BYTES, JsonlSpec, finder, no_files, parse_line, time_said
from watchdog.sources.jsonl_values import LineValue

_MAX_FOUND = 5
_MAX_NEAREST = 3
_MAX_SHOWN = 160
_MAX_LINES = 1_000
_NO_LINE = "no line is there yet"


class _Line(NamedTuple):
    text: str
    document: dict[str, Any]


def explain_jsonl(spec: JsonlSpec, now: Millis) -> tuple[Match, ...]:
    """Of the newest lines. Raises ActionError."""
    try:
        newest = newest_lines(spec.files, FIRST_BYTES)[-_MAX_LINES:][::-1]
        if not newest and not matches_any(spec.files):
            raise no_files(spec.files)
    except FileNotFoundError:
        raise no_files(spec.files) from None
    lines = [
        _Line(line.decode(errors="replace"), document) for line in newest if (document := parse_line(line)) is not None
    ]
    names = list(dict.fromkeys(name for line in lines[:20] for name in document_paths(line.document)))
    found = [] if spec.time is None else [_explain_time(spec, lines, names, now)]
    for name, value in spec.values.items():
        found += _explain_value(f"values.{name}", value, lines, names)
    return tuple(found)


def _explain_time(spec: JsonlSpec, lines: Sequence[_Line], names: list[str], now: Millis) -> Match:
    path, find, zone = spec.time or "", finder(spec), ZoneInfo(spec.zone)
    assert find is not None
    shown = _values(find, lines)
    any_time = any(time_said(find, line.document, now, zone) is not None for line in lines)
    return _match("time", path, shown, names, "" if any_time or not shown else "no time")


def _explain_value(key: str, value: LineValue, lines: Sequence[_Line], names: list[str]) -> Iterator[Match]:
    condition = value.condition
    meant: Sequence[_Line] = lines
    if condition is not None:
        holds = compile_condition(condition)
        meant = [line for line in lines if holds(line.document)]
        shown = tuple(_show(line) for line in meant[:_MAX_FOUND])
        nearest = () if shown else _nearest_lines(condition, lines)
        yield Match(
            f"{key}.{'where' if value.count is None else 'count'}", condition, shown, nearest, "" if lines else _NO_LINE
        )
    for kind, path in (("sum", value.sum), ("last", value.last)):
        if path is not None:
            find = compile_path(path)
            yield _match(f"{key}.{kind}", path, _values(find, meant or lines), names, _why(find, value, meant))
    for label, path in value.labels.items():
        yield _match(f"{key}.labels.{label}", path, _values(compile_path(path), meant or lines), names)


def _why(find: Find, value: LineValue, lines: Sequence[_Line]) -> str:
    """Why there is no number in any of the lines."""
    if not lines:
        return ""
    for line in lines:
        found = _ask(find, line.document)
        if (to_label(found) in value.map) if value.map else (to_number(found) is not None):
            return ""
    return "not in map" if value.map else "no number"


def _values(find: Find, lines: Sequence[_Line]) -> list[str]:
    """The first few that differ."""
    shown: dict[str, None] = {}
    for line in lines:
        found = _ask(find, line.document)
        if found is not None:
            shown[shorten(json.dumps(found, ensure_ascii=False), _MAX_SHOWN)] = None
        if len(shown) == _MAX_FOUND:
            break
    return list(shown)


def _ask(find: Find, document: Any) -> Any:
    try:
        return find(document)
    except (TypeError, SourceError):
        return None


def _match(key: str, path: str, shown: list[str], names: list[str], why: str = "") -> Match:
    return Match(
        key, path, tuple(shown), () if shown else nearest_paths(path, names), why if shown or names else _NO_LINE
    )


def _show(line: _Line) -> str:
    return shorten(line.text.strip(), _MAX_SHOWN)


def _nearest_lines(condition: str, lines: Sequence[_Line]) -> tuple[str, ...]:
    """Those for which most of what is joined by `&&` holds; the newest ones first."""
    parts = conjuncts(condition)
    ranked = sorted(lines, key=lambda line: -sum(part(line.document) for part in parts))
    return tuple(_show(line) for line in ranked[:_MAX_NEAREST])
