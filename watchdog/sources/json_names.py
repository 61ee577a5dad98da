"""The names of a JSON document, as paths, for whoever asks what an expression that matches nothing may have meant."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from watchdog.core.text import shorten

_MAX_NAMES = 300
"""Of a document's names so many are compared."""
_MAX_NEAREST = 3
_MAX_NAME = 160
_MAX_DEPTH = 8


def document_paths(document: Any) -> list[str]:
    """The plain paths of a document, some hundred at most; of a list, those of its first element."""
    return list(islice(_paths(document, "", _MAX_DEPTH), _MAX_NAMES))


def nearest_paths(path: str, names: Sequence[str]) -> tuple[str, ...]:
    """Those that are spelt most like it, ahead of them the ones that end in the same name; the first few where none is."""
    last = path.rpartition(".")[2].lower()
    same = [name for name in names if name.rpartition(".")[2].lower() == last]
    close = difflib.get_close_matches(path[:100], names, n=_MAX_NEAREST, cutoff=0.4)
    return tuple(dict.fromkeys([*same, *close]))[:_MAX_NEAREST] or tuple(names[:_MAX_NEAREST])


def _paths(document: Any, above: str, depth: int) -> Iterator[str]:
    if isinstance(document, list):
        if document:
            yield f"{above}[]"
            yield from _paths(document[0], f"{above}[]", depth - 1)
        return
    if not isinstance(document, dict) or depth <= 0:
        return
    for name, value in document.items():
        shown = name if name.isascii() and name.isidentifier() else json.dumps(name, ensure_ascii=False)
        path = f"{above}.{shown}" if above else shown
        yield shorten(path, _MAX_NAME)
        yield from _paths(value, path, depth - 1)
