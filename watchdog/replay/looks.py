"""One threshold over history: takes the looks at which something can change, and passes over all others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from watchdog import rules
from watchdog.incidents import Change, Key, Machine, Terms, advance, wake
from watchdog.model import Millis, Verdict
from watchdog.pipeline import leaves, terms
from watchdog.promql import Result
from watchdog.promql.pages import Bools, Floats, Ints
from watchdog.rules import Check, Reading

_NEVER: Millis = 1 << 62


@dataclass(frozen=True, slots=True)
class Seen:
    """A KPI at many times."""

    times: Ints
    """[n] ms, ascending."""
    result: Result
    needs: Result | None
    max_age: Millis
    shown: Result | None = None
    """Beside a condition: the KPI that its rule shows."""

    def reading(self, i: int) -> Reading:
        """What the daemon would have read at the i-th time."""
        result = self.result
        return Reading(
            values=result.at(i), newest=int(result.newest[i]), have=int(result.have[i]), need=int(result.need[i]),
            evidence=None if self.needs is None else self.needs.at(i), max_age=self.max_age,
            shown=None if self.shown is None else self.shown.at(i),
        )  # fmt: skip

    def single(self, at: np.ndarray) -> Floats:
        """The greatest of the values at these places; NaN where there is none."""
        v, there = self.result.values[:, at], self.result.present[:, at]
        known = there & np.isfinite(v)
        if self.needs is not None:
            known = known & self.needs.present[:, at].any(axis=0)
        best: Floats = np.where(known, v, -np.inf).max(axis=0, initial=-np.inf)
        return np.where(np.isfinite(best), best, np.nan)

    def edges(self, check: Check, asleep: Bools) -> Ints:
        """Where the verdicts are of another kind than the time before; the first time is always one."""
        result, n = self.result, self.times.size
        state = np.where(result.newest == 0, 1, 0)
        state += np.where(self.times - result.newest > self.max_age, 2, 0)
        state += np.where(check.demands_cover & (result.have < result.need), 4, 0)
        state += np.where(asleep, 8, 0)
        kinds = rules.kinds(check, result.values, result.present)
        differs = np.zeros(n, np.bool_)
        differs[0] = True
        differs[1:] = (state[1:] != state[:-1]) | (kinds[:, 1:] != kinds[:, :-1]).any(axis=0)
        if self.needs is not None:
            there = self.needs.present
            differs[1:] |= (there[:, 1:] != there[:, :-1]).any(axis=0)
        return np.flatnonzero(differs)


class Happened(NamedTuple):
    """A change, and the verdict that made it."""

    change: Change
    verdict: Verdict


class Course:
    """The way of one threshold through time."""

    def __init__(self, check: Check, index: int) -> None:
        self.check, self.index = check, index
        self.terms: Terms = terms(check)
        self.machines: dict[Key, Machine] = {}
        self.happened: list[Happened] = []
        self.judged = False
        self.why = "its KPI was never looked at"
        self.blank: list[tuple[Millis, Millis]] = []
        self._blank_since: Millis | None = None

    def go(self, seen: Seen, asleep: Bools) -> None:
        """Through the times of `seen`, which follow those before."""
        edges = seen.edges(self.check, asleep)
        for first, after in zip(edges.tolist(), [*edges[1:].tolist(), seen.times.size], strict=True):
            self._run(seen, first, after, bool(asleep[first]))

    def end(self, now: Millis) -> None:
        self._note_blank(False, now)

    def _run(self, seen: Seen, first: int, after: int, asleep: bool) -> None:
        """The looks from `first` until before `after`: their verdicts are of one kind."""
        last = after - 1
        if asleep:
            for i in (first, last):
                now = int(seen.times[i])
                self.machines = {key: wake(machine, now) for key, machine in self.machines.items()}
            return
        i, evaluations = first, 0
        blank = self._look(seen, i)
        while i < last:
            # N of M counts evaluations: after M new ones of one kind nothing more can come of it.
            step = i + 1 if evaluations < self.terms.patience.m and not blank else int(seen.times.searchsorted(self._due()))
            before, i = i, min(max(i + 1, step), last)
            evaluations += bool(seen.result.newest[i] > seen.result.newest[before])
            self._look(seen, i)

    def _look(self, seen: Seen, i: int) -> bool:
        """Says whether there was nothing to judge by."""
        now = int(seen.times[i])
        blank = True
        known = [key.labels for key in self.machines]
        for verdict in rules.judge(self.check, seen.reading(i), now, known):
            key = Key(verdict.rule, verdict.level, verdict.labels)
            machine = self.machines.get(key, Machine(since=now, last=now))
            self.machines[key], changes = advance(machine, verdict, self.terms, now)
            self.happened += [Happened(change, verdict) for change in changes]
            if leaves(self.check, key, self.machines[key], changes):
                del self.machines[key]
            if verdict.outcome in ("ok", "bad"):
                self.judged, blank = True, False
            elif not self.judged:
                self.why = verdict.reason
        self._note_blank(blank, now)
        return blank

    def _note_blank(self, blank: bool, now: Millis) -> None:
        if blank and self._blank_since is None:
            self._blank_since = now
        elif not blank and self._blank_since is not None:
            self.blank.append((self._blank_since, now))
            self._blank_since = None

    def _due(self) -> Millis:
        """When the first timer runs out, if the verdicts stay of the kind that they are."""
        return min((_due(machine, self.terms) for machine in self.machines.values()), default=_NEVER)


def _due(machine: Machine, terms: Terms) -> Millis:
    if machine.outcome in ("nodata", "error"):
        after = terms.forget if machine.lost else terms.missing_after
        return machine.last + after - machine.missing if machine.missing < after else _NEVER
    if machine.fires:
        return machine.last + max(0, terms.clear_for - machine.held) if machine.cleared else _NEVER
    if machine.outcome == "bad" and not terms.patience.m:
        return machine.last + max(0, terms.patience.hold - machine.held)
    return _NEVER
