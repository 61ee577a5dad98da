"""One threshold over history: takes the looks at which something can change, and passes over all others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from watchdog import rules
from watchdog.incidents import Change, Key, Machine, Terms, advance, wake
from watchdog.model import Millis, Verdict
from watchdog.pipeline import leaves, terms
from watchdog.promql import Result
from watchdog.promql.nodes import NAME
from watchdog.promql.pages import Bools, Floats, Ints
from watchdog.replay.turns import Row, Turns, due
from watchdog.rules import ABSENT, BAD, NO_NUMBER, WELL, Check, Reading

_NEVER: Millis = 1 << 62


Kind = tuple[object, ...]
"""Of which kind the verdicts of one look are. Looks of one kind that follow each other move nothing but timers."""


class Ages:
    """How old what was read at many times is at most; KPIs that read the same samples ask for the same."""

    def __init__(self) -> None:
        self._known: list[tuple[Ints, Ints, Millis]] = []

    def greatest(self, times: Ints, newest: Ints) -> Millis:
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
class Seen:
    """A KPI at many times."""

    times: Ints
    """[n] ms, ascending."""
    result: Result
    needs: Result | None
    max_age: Millis
    shown: Result | None = None
    """Beside a condition: the KPI that its rule shows."""
    error: str | None = None
    """Why it cannot be evaluated at these times."""
    ages: Ages = field(default_factory=Ages)

    def reading(self, i: int) -> Reading:
        """What the daemon would have read at the i-th time."""
        result = self.result
        return Reading(
            values=result.at(i),
            newest=int(result.newest[i]),
            have=int(result.have[i]),
            need=int(result.need[i]),
            evidence=None if self.needs is None else self.needs.at(i),
            max_age=self.max_age,
            error=self.error,
            shown=None if self.shown is None else self.shown.at(i),
        )

    def single(self) -> Floats:
        """[n] the greatest of the values at each time; NaN where there is none."""
        v = self.result.values
        known = self.result.present & np.isfinite(v)
        if self.needs is not None:
            known = known & self.needs.present.any(axis=0)
        best: Floats = np.where(known, v, -np.inf).max(axis=0, initial=-np.inf)
        return np.where(np.isfinite(best), best, np.nan)

    def kind(self, check: Check, asleep: Bools | None, i: int) -> Kind:
        """Of which kind the verdicts at the i-th time are."""
        result, newest = self.result, int(self.result.newest[i])
        covered = not check.demands_cover or bool(result.have[i] >= result.need[i])
        found = rules.kinds(check, result.values[:, i : i + 1], result.present[:, i : i + 1])[:, 0].tolist()
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

    def turns(self, check: Check, asleep: Bools | None) -> Turns:
        """Where the verdicts are of another kind than the time before. The first time has none before it."""
        result, states = self.result, [*self._states(check), *([] if asleep is None else [asleep])]
        blind = [*states]  # whatever the values are
        if self._ages():
            states.append(result.newest == 0)
        if self.needs is not None and not self.needs.present.all():
            states += list(self.needs.present)
        hard = np.zeros(self.times.size - 1, np.bool_)
        for state in states:
            hard |= state[1:] != state[:-1]
        if result.present.all() and _alike(check, result.values):
            edges = np.flatnonzero(hard) + 1 if states else np.zeros(0, np.int64)
            return Turns(edges, edges)
        kinds = rules.kinds(check, result.values, result.present)
        soft = np.zeros(hard.size, np.bool_)
        for row in kinds:
            turned = row[1:] != row[:-1]
            soft |= turned
            odd = row == NO_NUMBER if check.operator == "expr" else row < BAD
            if odd.any():  # not there, or no number
                hard |= turned & (odd[1:] | odd[:-1])
        for state in blind:
            soft &= ~(state[1:] & state[:-1])
        return Turns(np.flatnonzero(soft | hard) + 1, np.flatnonzero(hard) + 1, kinds)

    def rows(self, check: Check, terms: Terms, kinds: npt.NDArray[np.int8]) -> dict[Key, Row] | None:
        """The same, label set by label set; None where several series are one label set to the rule."""
        well = ABSENT if check.operator == "expr" else WELL
        rows: dict[Key, Row] = {}
        for key, row in zip(self.result.keys, kinds, strict=True):
            labels = tuple(pair for pair in key if pair[0] != NAME and (check.each is None or pair[0] in check.each))
            rows[Key(check.rule, check.level, labels)] = Row(row, self.times, self.result.newest, terms, well)
        return rows if len(rows) == len(kinds) else None

    def _ages(self) -> bool:
        """Whether at some time what is read is too old to be believed."""
        known = self.result.age
        return (self.ages.greatest(self.times, self.result.newest) if known is None else known) > self.max_age

    def _states(self, check: Check) -> Iterator[Bools]:
        """Where nobody can see what the value is; none where that is so at no time."""
        newest = self.result.newest
        if self._ages():
            yield (self.times - newest > self.max_age) & (newest != 0)
        have, need = self.result.have, self.result.need
        if check.demands_cover and (
            have.strides != (0,) or need.strides != (0,)
        ):  # no strides: one number for all times
            yield (have < need) & (newest != 0)


def _alike(check: Check, v: Floats) -> bool:
    """Whether all values of each row are surely of one kind, told from the least and the greatest."""
    low, high = np.minimum.reduce(v, axis=1, keepdims=True), np.maximum.reduce(v, axis=1, keepdims=True)
    return bool(np.isfinite(low).all() and np.isfinite(high).all() and rules.settled(check, low, high).all())


Look = Callable[[Millis], tuple[Seen, int]]
"""What is seen at the first look from a time on, and at which of its times."""


_MANY = 4
"""Turns from which on it is worth finding out which of them come to anything."""


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
        # The run of looks of one kind that goes on:
        self._kind: Kind | None = None
        self._sleeps = self._blank = False
        self._evaluations = 0
        self._newest: Millis = 0
        self._last: tuple[Look, Millis] | None = None
        """Its newest look, unless that was taken: it is, once the run is over."""

    def go(self, seen: Seen, asleep: Bools | None = None) -> None:
        """Through the times of `seen`, which follow those before."""
        turns, size = seen.turns(self.check, asleep), seen.times.size
        edges = turns.edges
        rows: dict[Key, Row] | None = None
        if turns.kinds is not None and edges.size > _MANY:
            rows = seen.rows(self.check, self.terms, turns.kinds)

        def look(due: Millis) -> tuple[Seen, int]:
            return seen, int(seen.times.searchsorted(due))

        at = 0
        if begins := seen.kind(self.check, asleep, 0) != self._kind:
            self._begin(seen, 0, asleep is not None and bool(asleep[0]))
            at = 1
        while True:
            n = int(edges.searchsorted(at))
            edge = int(edges[n]) if n < edges.size else size
            if edge > at:
                self.rest(int(seen.times[at]), int(seen.times[edge - 1]), look)
            if edge == size:
                break
            if rows is not None and (fires := self._settled(rows)) is not None:
                due_ = due(list(rows.values()), fires, turns, edge, size)
                if due_ > edge:
                    self._last, edge = (look, int(seen.times[due_ - 1])), due_
            self._begin(seen, edge, asleep is not None and bool(asleep[edge]))
            at = edge + 1
        if begins or edges.size:
            self._kind = seen.kind(self.check, asleep, size - 1)

    def _settled(self, rows: Mapping[Key, Row]) -> list[bool] | None:
        """Which of the rows fire, when none of the machines is half-way to anything."""
        if self._sleeps or self._blank:
            return None
        for machine in self.machines.values():
            if machine.phase not in ("ok", "firing") or machine.outcome not in ("ok", "bad") or machine.lost:
                return None
        if self.check.operator != "expr" and not all(key in self.machines for key in rows):
            return None
        return [key in self.machines and self.machines[key].fires for key in rows]

    def rest(self, first: Millis, last: Millis, look: Look) -> None:
        """Looks from `first` to `last`, of the same kind as those before: taken only where a timer runs out."""
        taken: Millis | None = None
        due = first
        while not self._sleeps:
            # N of M counts evaluations: after M new ones of one kind nothing more can come of it.
            if self._evaluations >= self.terms.patience.m or self._blank:
                due = max(due, self._due())
            if due > last:
                break
            seen, i = look(due)
            taken, newest = int(seen.times[i]), int(seen.result.newest[i])
            self._evaluations += newest > self._newest
            self._newest = newest
            self._look(seen, i)
            due = taken + 1
        self._last = (look, last) if taken != last else None

    def end(self, now: Millis) -> None:
        self._finish()
        self._note_blank(False, now)

    def _begin(self, seen: Seen, i: int, sleeps: bool) -> None:
        """A run begins: the one before is over."""
        self._finish()
        self._sleeps, self._evaluations, self._newest = sleeps, 0, int(seen.result.newest[i])
        if sleeps:
            self._wake(int(seen.times[i]))
        else:
            self._blank = self._look(seen, i)

    def _finish(self) -> None:
        if self._last is None:
            return
        (look, last), self._last = self._last, None
        seen, i = look(last)
        if self._sleeps:
            self._wake(int(seen.times[i]))
        else:
            self._look(seen, i)

    def _wake(self, now: Millis) -> None:
        self.machines = {key: wake(machine, now) for key, machine in self.machines.items()}

    def _look(self, seen: Seen, i: int) -> bool:
        """Says whether there was nothing to judge by."""
        now = int(seen.times[i])
        blank = True
        known = [key.labels for key in self.machines]
        for verdict in rules.judge(self.check, seen.reading(i), now, known):
            key = Key(verdict.rule, verdict.level, verdict.labels)
            machine = self.machines.get(key, Machine(since=now, last=now))
            self.machines[key], changes = advance(machine, verdict, self.terms, now)
            # What pended and came to nothing is passed over elsewhere, so it is told nowhere.
            self.happened += [Happened(change, verdict) for change in changes if change.kind != "dropped"]
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
        left = [limit - machine.missing for limit in (terms.missing_after, terms.forget) if limit > machine.missing]
        return machine.last + min(left) if left else _NEVER
    if machine.fires:
        return machine.last + max(0, terms.clear_for - machine.held) if machine.cleared else _NEVER
    if machine.outcome == "bad" and not terms.patience.m:
        return machine.last + max(0, terms.patience.hold - machine.held)
    return _NEVER
