"""How often a bot says something. A value is believed for so long (`max_age`), and silence is told after some time: both
have to fit the bot."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from watchdog.sources.json_path import search
from watchdog.sources.timestamps import parse_timestamp

_STEPS = {
    1: "1s",
    2: "2s",
    5: "5s",
    10: "10s",
    15: "15s",
    30: "30s",
    60: "1m",
    120: "2m",
    300: "5m",
    600: "10m",
    1_800: "30m",
    3_600: "1h",
    7_200: "2h",
    21_600: "6h",
    43_200: "12h",
    86_400: "1d",
    172_800: "2d",
    604_800: "7d",
}
_SHORTEST_AGE = 300
"""s: a plain metric looks back as far."""
_SHORTEST_SILENCE = 60
_SILENT_PACES = 5
_FEW = 3
_ANY_TIME = 1 << 52
DEAD_SECONDS = 3_600
"""What was written so long ago says nothing of how often it is written."""


def round_up(seconds: float) -> str:
    """The next longer time that people write."""
    return next((text for step, text in _STEPS.items() if step >= seconds), "7d")


def reading(gap: float | None, every: float) -> dict[str, str]:
    """`every` and `max_age` of an entry: it is read often, and what comes each `gap` seconds is never too old to be believed."""
    known = 0 if gap is None or gap > DEAD_SECONDS else gap
    return {"every": round_up(every), "max_age": round_up(max(_SHORTEST_AGE, 3 * known))}


def silence_limit(gap: float | None) -> str:
    return round_up(max(_SHORTEST_SILENCE, _SILENT_PACES * (gap or 0)))


def usual_gap(times: Iterable[float]) -> float | None:
    """Seconds between two of them, of nine in ten: a night without the bot is no gap. None: there are too few to say."""
    gaps = sorted(later - earlier for earlier, later in itertools.pairwise(sorted(times)))
    return gaps[min(len(gaps) - 1, len(gaps) * 9 // 10)] if len(gaps) >= _FEW else None


def line_times(lines: Sequence[Mapping[str, Any]], time: str, value: Mapping[str, Any] | None = None) -> list[float]:
    """When the lines were, in s; of those that have that `last` value, where one is said."""
    found = []
    for line in lines:
        if value is not None and (
            search(value["last"], line) is None or ("where" in value and not search(value["where"], line))
        ):
            continue
        at = parse_timestamp(search(time, line), _ANY_TIME)
        if at is not None:
            found.append(at / 1_000)
    return found
