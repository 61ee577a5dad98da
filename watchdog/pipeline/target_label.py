"""The label `target` of a target's own series, as its rules see it: not at all. A bot's states are the same ones whether or not
there is a second bot beside it."""

from __future__ import annotations

from collections.abc import Iterable

from watchdog.core.model import Labels
from watchdog.promql import InstantVector
from watchdog.tsdb.labels import TARGET_LABEL

_MAX_KNOWN = 10_000


class TargetLabel:
    """Takes it away from what an expression says, and remembers of which label sets it has."""

    def __init__(self) -> None:
        self._without: dict[tuple[int, str], tuple[tuple[Labels, ...], tuple[Labels, ...]]] = {}

    def strip(self, values: InstantVector, target: str) -> InstantVector:
        """The same values, as `without_target` has it."""
        key = id(values.label_sets), target
        known = self._without.get(key)
        if known is None or known[0] is not values.label_sets:
            if len(self._without) >= _MAX_KNOWN:
                self._without.clear()
            known = self._without[key] = values.label_sets, without_target(values.label_sets, target)
        return values.renamed(known[1])


def without_target(label_sets: Iterable[Labels], target: str) -> tuple[Labels, ...]:
    """Label sets without ``target="TARGET"``; as they are, where two of them would become one."""
    before = tuple(label_sets)
    own = (TARGET_LABEL, target)
    stripped = tuple(tuple(pair for pair in labels if pair != own) for labels in before)
    return stripped if len(set(stripped)) == len(stripped) else before
