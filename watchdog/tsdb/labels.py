"""Labels of series, and how series are chosen by them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from watchdog.core.model import Labels, Millis
from watchdog.core.pattern import Pattern

METRIC_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*+"
LABEL_NAME = r"[a-zA-Z_][a-zA-Z0-9_]*+"
"""Regular expressions of the names that Prometheus's text format takes."""

METRIC_NAME_LABEL = "__name__"
"""The label that carries the metric's name."""

SOURCE_LABEL = "source"
"""The label that carries the name of the source that delivered it."""

TARGET_LABEL = "target"
"""The label that carries the name of the target whose own it is."""

LOOKBACK_DELTA: Millis = 300_000
"""How old the newest sample of an instant selector may be, exclusively."""


_METRIC_NAME, _LABEL_NAME = re.compile(METRIC_NAME), re.compile(LABEL_NAME)


def is_metric_name(text: str) -> bool:
    return _METRIC_NAME.fullmatch(text) is not None


def is_label_name(text: str) -> bool:
    return _LABEL_NAME.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Matcher:
    """``label="value"`` and its three relatives. A label that is not there has the empty value."""

    label: str
    op: Literal["=", "!=", "=~", "!~"]
    value: str
    pattern: Pattern | None = None
    """Of `=~` and `!~`."""

    def matches(self, value: str) -> bool:
        if self.pattern is not None:
            return self.pattern.matches(value) == (self.op == "=~")
        return (value == self.value) == (self.op == "=")


def labels_without_name(key: Labels) -> Labels:
    """The labels without the metric's name."""
    return tuple(pair for pair in key if pair[0] != METRIC_NAME_LABEL)


def series_key(name: str, labels: Labels, source: str, target_by_source: Mapping[str, str] | None) -> Labels:
    """The labels under which a sample is kept: with its name, its source and, where any source is a target's own, the target
    whose it is; sorted, none of them empty. A label of such a name in the data becomes ``exported_source``."""
    ours = {METRIC_NAME_LABEL: name, SOURCE_LABEL: source}
    if target_by_source is not None:
        ours[TARGET_LABEL] = target_by_source.get(source, "")
    kept = {label: value for label, value in labels if value and label not in ours}
    for reserved in (SOURCE_LABEL,) if target_by_source is None else (SOURCE_LABEL, TARGET_LABEL):
        theirs = dict(labels).get(reserved)
        if theirs:
            label = f"exported_{reserved}"
            while label in kept:
                label = "exported_" + label
            kept[label] = theirs
    return tuple(sorted((label, value) for label, value in {**kept, **ours}.items() if value))


def retarget_key(key: Labels, target_by_source: Mapping[str, str] | None) -> Labels:
    """A key that was made while other sources were targets' own, as it is by now."""
    labels = dict(key)
    source = labels.get(SOURCE_LABEL, "")
    labels.pop(TARGET_LABEL, None)
    owner = None if target_by_source is None else target_by_source.get(source)
    if owner is not None:
        labels[TARGET_LABEL] = owner
    return tuple(sorted(labels.items()))
