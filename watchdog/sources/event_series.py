"""Series that are made of events: counters, sums and last values by label sets, kept in a source's state.

Nothing here knows what an event looks like.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from watchdog.core.model import Labels, Millis, Sample
from watchdog.sources.series_limits import MAX_VALUE

MAX_LABEL_SETS = 1_000
"""Of one metric. Counters that are known stay; of last values the one makes room of which nothing was heard for longest."""

Kind = Literal["count", "sum", "last"]
_LabelValue = Annotated[str, Field(max_length=MAX_VALUE)]


class SeriesPlan(NamedTuple):
    """What one entry under `values:` makes of events."""

    kind: Kind
    labels: tuple[str, ...] = ()
    """Names of its labels."""


class KeptSeries(BaseModel):
    """One metric, as it stands in the state."""

    model_config = ConfigDict(extra="forbid")

    kind: Kind
    labels: tuple[str, ...]
    sets: list[tuple[tuple[_LabelValue, ...], FiniteFloat, int]] = Field(default=[], max_length=MAX_LABEL_SETS)
    """Values of the labels, the value, and when the newest event that went into it was."""


class EventSeries:
    """Goes on from what was kept; a metric that is another one by now begins anew."""

    def __init__(self, plans: Mapping[str, SeriesPlan], kept: Mapping[str, KeptSeries]) -> None:
        self._plans = dict(plans)
        self._sets: dict[str, dict[tuple[str, ...], tuple[float, Millis]]] = {}
        self.dropped = 0
        """Events that have found no room: too many label sets, or a label that is too long."""
        for name, (kind, labels) in self._plans.items():
            known = kept.get(name)
            same = known is not None and (known.kind, known.labels) == (kind, labels)
            sets = known.sets if same and known is not None else []
            self._sets[name] = {values: (v, t) for values, v, t in sets if len(values) == len(labels)}

    def add(self, name: str, labels: Sequence[str], value: float, t: Millis) -> None:
        """One event. `labels`: the values of its labels, in the order of the plan; empty where it has none. `value`: 1 where
        events are counted. `t`: when it was."""
        sets, values = self._sets[name], tuple(labels)
        if not math.isfinite(value):
            return
        known = sets.get(values)
        if self._plans[name].kind == "last":
            if known is not None and t < known[1]:
                return  # it was written later, and is older
            if known is not None:
                del sets[values]  # the one that was heard of last stands last
        elif known is not None:
            value, t = min(known[0] + value, sys.float_info.max), max(t, known[1])
        if known is None and not self._make_room(name, values):
            self.dropped += 1
            return
        sets[values] = (value, t)

    def _make_room(self, name: str, values: tuple[str, ...]) -> bool:
        sets = self._sets[name]
        if any(len(value) > MAX_VALUE for value in values):
            return False
        if len(sets) < MAX_LABEL_SETS:
            return True
        if self._plans[name].kind != "last":
            return False
        del sets[next(iter(sets))]
        return True

    def keep(self) -> dict[str, KeptSeries]:
        return {
            name: KeptSeries(
                kind=kind, labels=labels, sets=[(values, *said) for values, said in self._sets[name].items()]
            )
            for name, (kind, labels) in self._plans.items()
        }

    def samples(self, now: Millis) -> list[Sample]:
        """Counters are as they are now; a last value is as old as its event. A counter without labels is 0 ahead of its first
        event, so that the first one is an increase."""
        found = []
        for name, (kind, names) in self._plans.items():
            sets = self._sets[name]
            if not sets and not names and kind != "last":
                found.append(Sample(name, (), now, 0.0))
            for values, (value, t) in sets.items():
                found.append(Sample(name, _labels(names, values), min(t, now) if kind == "last" else now, value))
        return found


def _labels(names: Sequence[str], values: Sequence[str]) -> Labels:
    return tuple(sorted((name, value) for name, value in zip(names, values, strict=True) if value))
