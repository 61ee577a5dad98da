"""Labels of series, and how series are chosen by them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from watchdog.core.model import Labels, Millis
from watchdog.core.pattern import Pattern

METRIC_NAME_LABEL = "__name__"
"""The label that carries the metric's name."""

LOOKBACK_DELTA: Millis = 300_000
"""How old the newest sample of an instant selector may be, exclusively."""


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
