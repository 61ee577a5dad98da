"""JSON as it stands in the journal."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from watchdog.core.model import Labels


def to_json(value: object) -> str:
    """Without spaces, keys sorted: equal values are equal texts."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def from_json(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def labels_from_json(text: str) -> Labels:
    return labels_from_list(from_json(text))


def labels_from_list(pairs: Iterable[Sequence[str]]) -> Labels:
    """Labels as JSON has them."""
    return tuple((name, value) for name, value in pairs)
