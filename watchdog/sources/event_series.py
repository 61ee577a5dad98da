"""Series that are made of events: counters, sums and last values by label sets, kept in a source's state.

Nothing here knows what an event looks like. Of what was slept through, the counters are said at several times, as the events
themselves say them: an hour of errors is no burst of this second.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from watchdog.core.model import Labels, Millis, Sample
from watchdog.sources.series_limits import MAX_VALUE
from watchdog.sources.time_budget import TimeBudget, catch_up_times

MAX_LABEL_SETS = 1_000
"""Of one metric. Counters that are known stay; of last values the one makes room of which nothing was heard for longest."""
MAX_SERIES = 10_000
"""Of all metrics together."""

Kind = Literal["count", "sum", "last"]
_LabelValue = Annotated[str, Field(max_length=MAX_VALUE)]
_Totals = list[dict[tuple[str, ...], float]]


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
    """Values of the labels, the value, and of a last one when it was."""


class _Value(NamedTuple):
    """One metric."""

    name: str
    plan: SeriesPlan
    sets: dict[tuple[str, ...], tuple[float, Millis]]
    """Of last values the one that was heard of last stands last."""
    touched: set[tuple[str, ...]]
    """Last values: those of this read. Counters: those that are new in it."""


class EventSeries:
    """One read: goes on from what was kept; a metric that is another one by now begins anew."""

    def __init__(
        self,
        plans: Mapping[str, SeriesPlan],
        kept: Mapping[str, KeptSeries],
        now: Millis,
        previous: Millis | None = None,
        every: Millis = 0,
    ) -> None:
        """`previous`: of which time the counters of the read before were; None: there was none. `every`: from one to the next."""
        self._now = now
        self._previous = None if previous is None else min(previous, now - 1)  # the clock may have been set back
        self.dropped = 0
        """Events that have found no room: too many label sets, or a label that is too long."""
        found = [_Value(name, plan, _kept_sets(plan, kept.get(name)), set()) for name, plan in plans.items()]
        self._values = {value.name: value for value in found}
        self._counters = [value for value in found if value.plan.kind != "last"]
        self._lasts = [value for value in found if value.plan.kind == "last"]
        self._size = sum(len(value.sets) for value in found)
        self._bounds = catch_up_times(self._previous, now, every)
        self._earlier: list[tuple[Millis, _Totals]] = []
        self._said_at = now

    def add(self, name: str, labels: Sequence[str], value: float, t: Millis | None) -> None:
        """One event. `labels`: the values of its labels, in the order of the plan; empty where it has none. `value`: 1 where
        events are counted. `t`: when it was; None: it does not say so, and is from now."""
        if not math.isfinite(value):
            return
        metric, key = self._values[name], tuple(labels)
        if metric.plan.kind == "last":
            self._take_last(metric, key, value, self._now if t is None else min(t, self._now))
            return
        if t is not None:
            self._pass_bounds(t)
        known = metric.sets.get(key)
        if known is not None:
            metric.sets[key] = min(known[0] + value, sys.float_info.max), 0
        elif self._has_room(metric, key):
            metric.touched.add(key)
            metric.sets[key] = value, 0

    def finish(self, newest: Millis | None, *, behind: bool) -> Millis:
        """Once everything was added. `newest`: when the newest event was. `behind`: more waits to be read, and the counters
        are of that time, not of now. Returns of which time they are."""
        if behind and self._previous is not None:
            self._said_at = min(max(self._previous, newest or self._now), self._now)
        if self._bounds and newest is not None:  # nothing has happened between its event and the end of its step
            self._pass_bounds(newest)
            if self._bounds:
                self._earlier.append((self._bounds[0], self._totals()))
        self._earlier = [each for each in self._earlier if each[0] < self._said_at]
        self._earlier = self._budget().fewer_steps(self._earlier)
        self._settle_last()
        return self._said_at

    def keep(self) -> dict[str, KeptSeries]:
        return {
            name: KeptSeries(kind=plan.kind, labels=plan.labels, sets=[(key, *said) for key, said in sets.items()])
            for name, plan, sets, _ in self._values.values()
        }

    def samples(self) -> list[Sample]:
        """After `finish`. A counter without labels is 0 ahead of its first event, and one that is new was 0 at the read
        before: so the first event is an increase. A last value is as old as its event."""
        found = []
        for place, (name, (_, names), sets, new) in enumerate(self._counters):
            keys: Iterable[tuple[str, ...]] = sets if sets or names else [()]
            for key in keys:
                labels = _labels(names, key)
                if key in new and names and self._previous is not None and self._previous < self._said_at:
                    found.append(Sample(name, labels, self._previous, 0.0))
                found += [Sample(name, labels, t, totals[place].get(key, 0.0)) for t, totals in self._earlier]
                found.append(Sample(name, labels, self._said_at, sets.get(key, (0.0, 0))[0]))
        return found + self._last_samples()

    # ─ counters ─

    def _pass_bounds(self, t: Millis) -> None:
        while self._bounds and t > self._bounds[0]:
            self._earlier.append((self._bounds.pop(0), self._totals()))

    def _totals(self) -> _Totals:
        return [{key: value for key, (value, _) in metric.sets.items()} for metric in self._counters]

    def _has_room(self, metric: _Value, key: tuple[str, ...]) -> bool:
        is_full = len(metric.sets) >= MAX_LABEL_SETS
        has_room = metric.plan.kind == "last" if is_full else self._size < MAX_SERIES
        if not has_room or any(len(value) > MAX_VALUE for value in key):
            self.dropped += 1
            return False
        self._size += not is_full
        return True

    # ─ last values ─

    def _take_last(self, metric: _Value, key: tuple[str, ...], value: float, t: Millis) -> None:
        known = metric.sets.get(key)
        if known is None:
            if not self._has_room(metric, key):
                return
            if len(metric.sets) >= MAX_LABEL_SETS:
                del metric.sets[next(iter(metric.sets))]
        else:
            if t < known[1] <= self._now:
                return  # it was written later, and is older
            if t == known[1] and value != known[0]:
                t = min(t + 1, self._now)  # of one time the store keeps the first
            del metric.sets[key]
        metric.sets[key] = value, t
        metric.touched.add(key)

    def _settle_last(self) -> None:
        """Those of this read have no more different times than may be: the latest of some neighbours'."""
        fresh = [(value.sets, key) for value in self._lasts for key in value.touched if key in value.sets]
        times = sorted({sets[key][1] for sets, key in fresh})
        size = -(-len(times) // (self._budget().last_times(self._earlier) // 2))
        latest = {
            t: part[-1]
            for start in range(0, len(times), max(size, 1))
            for part in [times[start : start + size]]
            for t in part
        }
        for sets, key in fresh:
            value, t = sets[key]
            sets[key] = value, latest[t]

    def _last_samples(self) -> list[Sample]:
        """Those that are older than may be told apart were said before, and are not said anew by it: all at one time."""
        said = [(value.name, value.plan.labels, key, *now) for value in self._lasts for key, now in value.sets.items()]
        times = sorted({t for *_, t in said}, reverse=True)
        exact = set(times[: self._budget().last_times(self._earlier) - 1])
        return [
            Sample(name, _labels(names, key), min(t if t in exact else times[-1], self._now), value)
            for name, names, key, value, t in said
        ]

    def _budget(self) -> TimeBudget:
        counters = sum(max(len(value.sets), 1) for value in self._counters)
        return TimeBudget(counters, sum(len(value.sets) for value in self._lasts))


def _kept_sets(plan: SeriesPlan, kept: KeptSeries | None) -> dict[tuple[str, ...], tuple[float, Millis]]:
    if kept is None or (kept.kind, kept.labels) != (plan.kind, plan.labels):
        return {}
    return {key: (value, t) for key, value, t in kept.sets if len(key) == len(plan.labels)}


def _labels(names: Sequence[str], values: Sequence[str]) -> Labels:
    return tuple(sorted((name, value) for name, value in zip(names, values, strict=True) if value))
