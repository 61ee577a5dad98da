"""One threshold over history: judges the rounds at which something can change, and passes over all others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from watchdog import rules
from watchdog.core.model import Labels, Millis, Verdict
from watchdog.offline.replay.crossings import LabelSetRow, next_relevant
from watchdog.offline.replay.evaluations import KpiEvaluations, VerdictKind
from watchdog.pipeline.check_tracker import judge_with_siblings, machine_config, should_forget
from watchdog.pipeline.parked_label_sets import label_sets_to_forget
from watchdog.rules import Check, Reading
from watchdog.rules.state_machine import (
    NEVER,
    MachineConfig,
    MachineState,
    StateKey,
    Transition,
    advance,
    skip_gap,
    timer_end,
)
from watchdog.tsdb.page import Bools

RoundLookup = Callable[[Millis], tuple[KpiEvaluations, int]]
"""What is evaluated at the first round from a time on, and at which of its times."""


_MIN_CROSSINGS = 4
"""Turns from which on it is worth finding out which of them come to anything."""


class RecordedChange(NamedTuple):
    """A change, and the verdict that made it."""

    change: Transition
    verdict: Verdict


class ThresholdReplay:
    """The way of one threshold through time."""

    def __init__(self, check: Check, index: int) -> None:
        self.check, self.index = check, index
        self.machine_config: MachineConfig = machine_config(check)
        self.machines: dict[StateKey, MachineState] = {}
        self.changes: list[RecordedChange] = []
        self.judged = False
        self.unjudged_reason = "its KPI was never looked at"
        self.no_data_spans: list[tuple[Millis, Millis]] = []
        self._no_data_since: Millis | None = None
        self._present: tuple[Labels, ...] | None = None
        # The run of rounds of one kind that goes on:
        self._kind: VerdictKind | None = None
        self._sleeps = self._no_data = False
        self._evaluations = 0
        self._newest: Millis = 0
        self._pending_round: tuple[RoundLookup, Millis] | None = None
        """Its newest round, unless that was judged: it is, once the run is over."""

    def process(self, evaluations: KpiEvaluations, asleep: Bools | None = None) -> None:
        """Through the times of `evaluations`, which follow those before."""
        crossings, size = evaluations.crossings(self.check, asleep), evaluations.times.size
        edges = crossings.edges
        rows: dict[StateKey, LabelSetRow] | None = None
        # What a condition names anew is evaluated at once, whether or not samples came: N of M counts that, too.
        countable = self.check.operator != "expr" or not self.machine_config.patience.m
        if crossings.kinds is not None and edges.size > _MIN_CROSSINGS and countable:
            rows = evaluations.label_set_rows(self.check, self.machine_config, crossings.kinds)

        def lookup(due: Millis) -> tuple[KpiEvaluations, int]:
            return evaluations, int(evaluations.times.searchsorted(due))

        at = 0
        if begins := evaluations.verdict_kind(self.check, asleep, 0) != self._kind:
            self._begin_stretch(evaluations, 0, asleep is not None and bool(asleep[0]))
            at = 1
        while True:
            n = int(edges.searchsorted(at))
            edge = int(edges[n]) if n < edges.size else size
            if edge > at:
                self.run_unchanged(int(evaluations.times[at]), int(evaluations.times[edge - 1]), lookup)
            if edge == size:
                break
            if rows is not None and (fires := self._steady_rows(rows)) is not None:
                next_edge = next_relevant(list(rows.values()), fires, crossings, edge, size)
                if next_edge > edge:
                    self._pending_round, edge = (lookup, int(evaluations.times[next_edge - 1])), next_edge
            self._begin_stretch(evaluations, edge, asleep is not None and bool(asleep[edge]))
            at = edge + 1
        if begins or edges.size:
            self._kind = evaluations.verdict_kind(self.check, asleep, size - 1)

    def process_every_round(self, evaluations: KpiEvaluations, asleep: Bools | None = None) -> None:
        """The same, and nothing is passed over: each round is judged, as the daemon does it."""
        for i, now in enumerate(evaluations.times.tolist()):
            if asleep is not None and asleep[i]:
                self._wake_machines(now)
            else:
                self._evaluate_round(evaluations, i)

    def _steady_rows(self, rows: Mapping[StateKey, LabelSetRow]) -> list[bool] | None:
        """Which of the rows fire, when none of the machines is half-way to anything."""
        if self._sleeps or self._no_data:
            return None
        for machine in self.machines.values():
            if machine.phase not in ("ok", "firing") or machine.outcome not in ("ok", "bad") or machine.lost:
                return None
        if self.check.operator != "expr" and not all(key in self.machines for key in rows):
            return None
        return [key in self.machines and self.machines[key].is_firing for key in rows]

    def run_unchanged(self, first: Millis, last: Millis, lookup: RoundLookup) -> None:
        """Rounds from `first` to `last`, of the same kind as those before: judged only where a timer runs out."""
        evaluated_at: Millis | None = None
        next_time = first
        while not self._sleeps:
            # N of M counts evaluations: after M new ones of one kind nothing more can come of it.
            if self._evaluations >= self.machine_config.patience.m or self._no_data:
                next_time = max(next_time, self._next_timer())
            if next_time > last:
                break
            seen, i = lookup(next_time)
            evaluated_at, newest = int(seen.times[i]), int(seen.result.newest[i])
            self._evaluations += newest > self._newest
            self._newest = newest
            self._evaluate_round(seen, i)
            next_time = evaluated_at + 1
        self._pending_round = (lookup, last) if evaluated_at != last else None

    def finish(self, now: Millis) -> None:
        self._flush_pending()
        self._record_no_data(False, now)

    def _begin_stretch(self, evaluations: KpiEvaluations, i: int, sleeps: bool) -> None:
        """A run begins: the one before is over."""
        self._flush_pending()
        self._sleeps, self._evaluations, self._newest = sleeps, 0, int(evaluations.result.newest[i])
        if sleeps:
            self._wake_machines(int(evaluations.times[i]))
        else:
            self._no_data = self._evaluate_round(evaluations, i)

    def _flush_pending(self) -> None:
        if self._pending_round is None:
            return
        (lookup, last), self._pending_round = self._pending_round, None
        seen, i = lookup(last)
        if self._sleeps:
            self._wake_machines(int(seen.times[i]))
        else:
            self._evaluate_round(seen, i)

    def _wake_machines(self, now: Millis) -> None:
        self.machines = {key: skip_gap(machine, now) for key, machine in self.machines.items()}

    def _evaluate_round(self, evaluations: KpiEvaluations, i: int) -> bool:
        """Says whether there was nothing to judge by."""
        now, reading = int(evaluations.times[i]), evaluations.reading(i)
        blank = self._advance_machines(reading, now)
        if not self.machines:  # the last label set has left: the rule stands for itself again
            blank &= self._advance_machines(reading, now)
        self._record_no_data(blank, now)
        return blank

    def _advance_machines(self, reading: Reading, now: Millis) -> bool:
        blank = True
        if reading.values:
            self._present = rules.label_sets(self.check, reading.values)
        for key in label_sets_to_forget(self.check, reading, self.machines, self.machines):
            del self.machines[key]
        for verdict in judge_with_siblings(
            self.check, reading, self.machines, [key.labels for key in self.machines], now
        ):
            key = StateKey.of(verdict)
            machine = self.machines.get(key, MachineState(since=now, last=now))
            machine, changes = advance(machine, verdict, self.machine_config, now)
            self.machines[key] = rules.note_siblings(machine, changes, self._present)
            # What pended and came to nothing is passed over elsewhere, so it is told nowhere.
            self.changes += [RecordedChange(change, verdict) for change in changes if change.kind != "dropped"]
            if should_forget(self.check, verdict, self.machines[key], changes):
                del self.machines[key]
            if verdict.outcome in ("ok", "bad"):
                self.judged, blank = True, False
            elif not self.judged:
                self.unjudged_reason = verdict.reason
        return blank

    def _record_no_data(self, no_data: bool, now: Millis) -> None:
        if no_data and self._no_data_since is None:
            self._no_data_since = now
        elif not no_data and self._no_data_since is not None:
            self.no_data_spans.append((self._no_data_since, now))
            self._no_data_since = None

    def _next_timer(self) -> Millis:
        """When the first timer runs out, if the verdicts stay of the kind that they are."""
        return min((timer_end(machine, self.machine_config) for machine in self.machines.values()), default=NEVER)
