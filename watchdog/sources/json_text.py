"""JSON as the standard library reads it, which keeps no other thread waiting however long its lists are."""

from __future__ import annotations

import json
from collections.abc import Callable
from json.decoder import JSONArray, JSONObject  # type: ignore[attr-defined]  # what the library itself falls back to
from json.scanner import py_make_scanner  # type: ignore[attr-defined]
from typing import Any

_MANY = 100_000
"""Elements of lists that are read in one go, in which nobody else has a turn: a few hundredths of a second."""


def load_json(
    text: str,
    object_pairs_hook: Callable[[list[tuple[str, Any]]], Any],
    parse_constant: Callable[[str], Any] | None = None,
) -> Any:
    """As `json.loads`, and with its errors. Objects hand over by themselves, in their hook; of a text with many elements of
    lists each is read by itself, which takes some ten times as long."""
    decoder: Any = json.JSONDecoder(object_pairs_hook=object_pairs_hook, parse_constant=parse_constant)
    if text.count("[") + text.count(",") > _MANY:
        decoder.parse_array, decoder.parse_object = JSONArray, JSONObject
        decoder.scan_once = py_make_scanner(decoder)
    return decoder.decode(text)
