"""A line of StatsD, with the tags of DogStatsD: what is to be added up, set or counted."""

from __future__ import annotations

import math
import re
from typing import Literal, NamedTuple

from watchdog.core.model import Labels
from watchdog.sources.series_limits import MAX_LABELS, MAX_NAME, MAX_SERIES_TEXT, MAX_VALUE
from watchdog.tsdb.labels import METRIC_NAME_LABEL

StatsdType = Literal["c", "g", "ms", "h", "d", "s"]
_TYPES: dict[str, StatsdType] = {"c": "c", "g": "g", "ms": "ms", "h": "h", "d": "d", "s": "s"}
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)
_STRANGE = re.compile(r"[^a-zA-Z0-9_]", re.ASCII)
_PASSED_OVER = re.compile(r"c:.*|e:.*|card:.*|T[0-9]+", re.ASCII)
"""Sections of DogStatsD that say where a line comes from, how it is to be kept, and when it was."""
_MAX_VALUES = 1_000
"""In one line."""


class StatsdUpdate(NamedTuple):
    name: str
    labels: Labels
    kind: StatsdType
    values: tuple[float, ...]
    """None of a set."""
    signed: tuple[bool, ...]
    """Whether each of them was written with a sign."""
    rate: float
    """The share that was sent of what happened."""
    member: str
    """Of a set."""


def parse_line(line: bytes) -> StatsdUpdate | None:
    """None for what is no metric. Never raises, whatever it is."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        return None
    name, colon, rest = text.partition(":")
    said, *sections = rest.split("|")
    kind = _TYPES.get(sections[0]) if sections else None
    if not name or not colon or kind is None:
        return None
    labels: Labels | None = ()
    rate = 1.0
    for section in sections[1:]:
        if section.startswith("#"):
            labels = _parse_tags(section[1:])
        elif section.startswith("@"):
            found = _parse_number(section[1:])
            if found is None or not 0 < found <= 1:
                return None
            rate = found
        elif not _PASSED_OVER.fullmatch(section):
            return None
    metric = to_name(name)
    if labels is None or metric == "up" or len(metric) > MAX_NAME:
        return None
    if len(metric) + sum(len(label) + len(value) for label, value in labels) > MAX_SERIES_TEXT - 64:
        return None
    if kind == "s":
        return StatsdUpdate(metric, labels, kind, (), (), rate, said) if said else None
    texts = said.split(":", _MAX_VALUES)
    values = tuple(value for value in map(_parse_number, texts) if value is not None)
    if len(values) < len(texts) or len(texts) > _MAX_VALUES or (kind == "c" and min(values) < 0):
        return None  # a counter that goes back would look as if it had begun anew
    return StatsdUpdate(metric, labels, kind, values, tuple(each[0] in "+-" for each in texts), rate, "")


def to_name(text: str) -> str:
    """As Prometheus allows it: what else stands there is an underscore."""
    name = _STRANGE.sub("_", text)
    return f"_{name}" if name[:1].isdigit() else name


def _parse_number(text: str) -> float | None:
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value if math.isfinite(value) else None


def _parse_tags(text: str) -> Labels | None:
    """A tag without a value is ``true``; of a name that stands there twice the last one counts."""
    tags = text.split(",", MAX_LABELS)
    if len(tags) > MAX_LABELS:
        return None
    found = {}
    for tag in filter(None, tags):
        name, colon, value = tag.partition(":")
        label = to_name(name)
        if not label or label == METRIC_NAME_LABEL or len(label) > MAX_NAME or len(value) > MAX_VALUE:
            return None
        found[label] = value if colon else "true"
    return tuple(sorted((label, value) for label, value in found.items() if value))
