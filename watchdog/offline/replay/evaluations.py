"""A KPI at many times: what the daemon would have read, and where the verdicts on it turn to another kind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from watchdog import rules
from watchdog.core.model import Millis
from watchdog.offline.replay.crossings import Crossings, LabelSetRow
from watchdog.promql import QueryResult
from watchdog.rules import KIND_ABSENT, KIND_BAD, KIND_NOT_FINITE, KIND_OK, Check, Reading
from watchdog.rules.state_machine import MachineConfig, StateKey
from watchdog.tsdb.labels import METRIC_NAME_LABEL
from watchdog.tsdb.page import Bools, Floats, Ints

VerdictKind = tuple[object, ...]
"""Of which kind the verdicts of one round are. Rounds of one kind that follow each other move nothing but timers."""


class AgeCache:
    """How old what was read at many times is at most; KPIs that read the same samples ask for the same."""

    def __init__(self) -> None:
        self._known: list[tuple[Ints, Ints, Millis]] = []

    def max_age(self, times: Ints, newest: Ints) -> Millis:
        for asked, read, age in self._known:
            if asked is times and read is newest and not newest.flags.writeable:
                return age
        age = int((times - newest).max())
        self._known = [
            *self._known[-3:],
            (times, newest, age),
        ]  # one KPI asks of several chunks before the next one does
        return age


@dataclass(frozen=True, slots=True)
class KpiEvaluations:
    """A KPI at many times."""

    times: Ints
    """[n] ms, ascending."""
    result: QueryResult
    needs: QueryResult | None
    max_age: Millis
    shown: QueryResult | None = None
    """Beside a condition: the KPI that its rule shows."""
    error: str | None = None
    """Why it cannot be evaluated at these times."""
    age_cache: AgeCache = field(default_factory=AgeCache)

    def reading(self, i: int) -> Reading:
        """What the daemon would have read at the i-th time."""
        result = self.result
        return Reading(
            values=result.vector_at(i),
            newest_sample=int(result.newest[i]),
            covered=int(result.covered_ms[i]),
            window=int(result.window_ms[i]),
            evidence=None if self.needs is None else self.needs.vector_at(i),
            max_age=self.max_age,
            error=self.error,
            kpi_values=None if self.shown is None else self.shown.vector_at(i),
        )

    def max_values(self) -> Floats:
        """[n] the greatest of the values at each time; NaN where there is none."""
        v = self.result.values
        known = self.result.present & np.isfinite(v)
        if self.needs is not None:
            known = known & self.needs.present.any(axis=0)
        best: Floats = np.where(known, v, -np.inf).max(axis=0, initial=-np.inf)
        return np.where(np.isfinite(best), best, np.nan)

    def verdict_kind(self, check: Check, asleep: Bools | None, i: int) -> VerdictKind:
        """Of which kind the verdicts at the i-th time are."""
        result, newest = self.result, int(self.result.newest[i])
        covered = not check.requires_full_window or bool(result.covered_ms[i] >= result.window_ms[i])
        found = rules.verdict_kinds(check, result.values[:, i : i + 1], result.present[:, i : i + 1])[:, 0].tolist()
        rows = frozenset((key, kind) for key, kind in zip(result.keys, found, strict=True) if kind)
        needs = (
            None
            if self.needs is None
            else frozenset(
                key for key, there in zip(self.needs.keys, self.needs.present[:, i].tolist(), strict=True) if there
            )
        )
        sleeps = asleep is not None and bool(asleep[i])
        return self.error, newest == 0, int(self.times[i]) - newest > self.max_age, covered, sleeps, rows, needs

    def crossings(self, check: Check, asleep: Bools | None) -> Crossings:
        """Where the verdicts are of another kind than the time before. The first time has none before it."""
        result, states = self.result, [*self._unknown_states(check), *([] if asleep is None else [asleep])]
        blind = [*states]  # whatever the values are
        if self._has_stale():
            states.append(result.newest == 0)
        if self.needs is not None and not self.needs.present.all():
            states += list(self.needs.present)
        hard = np.zeros(self.times.size - 1, np.bool_)
        for state in states:
            hard |= state[1:] != state[:-1]
        if result.present.all() and _one_kind(check, result.values):
            edges = np.flatnonzero(hard) + 1 if states else np.zeros(0, np.int64)
            return Crossings(edges, edges)
        kinds = rules.verdict_kinds(check, result.values, result.present)
        soft = np.zeros(hard.size, np.bool_)
        for row in kinds:
            crossed = row[1:] != row[:-1]
            soft |= crossed
            odd = row == KIND_NOT_FINITE if check.operator == "expr" else row < KIND_BAD
            if odd.any():  # not there, or no number
                hard |= crossed & (odd[1:] | odd[:-1])
        for state in blind:
            soft &= ~(state[1:] & state[:-1])
        if self.needs is not None:  # whether there is evidence of a series is not told from its value
            hard |= soft
        return Crossings(np.flatnonzero(soft | hard) + 1, np.flatnonzero(hard) + 1, kinds)

    def label_set_rows(
        self, check: Check, machine_config: MachineConfig, kinds: npt.NDArray[np.int8]
    ) -> dict[StateKey, LabelSetRow] | None:
        """The same, label set by label set; None where several series are one label set to the rule."""
        well = KIND_ABSENT if check.operator == "expr" else KIND_OK
        rows: dict[StateKey, LabelSetRow] = {}
        for key, row in zip(self.result.keys, kinds, strict=True):
            labels = tuple(
                pair for pair in key if pair[0] != METRIC_NAME_LABEL and (check.each is None or pair[0] in check.each)
            )
            rows[StateKey(check.rule, check.level, labels, check.target)] = LabelSetRow(
                row, self.times, self.result.newest, machine_config, well
            )
        return rows if len(rows) == len(kinds) else None

    def _has_stale(self) -> bool:
        """Whether at some time what is read is too old to be believed."""
        known = self.result.newest_age
        return (self.age_cache.max_age(self.times, self.result.newest) if known is None else known) > self.max_age

    def _unknown_states(self, check: Check) -> Iterator[Bools]:
        """Where nobody can see what the value is; none where that is so at no time."""
        newest = self.result.newest
        if self._has_stale():
            yield (self.times - newest > self.max_age) & (newest != 0)
        have, need = self.result.covered_ms, self.result.window_ms
        if check.requires_full_window and (
            have.strides != (0,) or need.strides != (0,)
        ):  # no strides: one number for all times
            yield (have < need) & (newest != 0)


def _one_kind(check: Check, v: Floats) -> bool:
    """Whether all values of each row are surely of one kind, told from the least and the greatest."""
    low, high = np.minimum.reduce(v, axis=1, keepdims=True), np.maximum.reduce(v, axis=1, keepdims=True)
    return bool(np.isfinite(low).all() and np.isfinite(high).all() and rules.same_kind(check, low, high).all())
