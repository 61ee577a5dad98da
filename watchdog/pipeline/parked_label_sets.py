"""Label sets that are gone, of machines that are ok: a round need not look at them until a clock of theirs runs out.

What a round would write into them is written when somebody wants to see them, so nothing is left out. And which of them make
room when a rule has more label sets than it may have.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, MutableMapping
from dataclasses import replace

from watchdog import rules
from watchdog.core.model import Millis, Verdict
from watchdog.rules import MAX_LABEL_SETS, Check, Reading
from watchdog.rules.state_machine import NEVER, MachineConfig, MachineState, StateKey, timer_end


class ParkedLabelSets:
    """Of one check."""

    __slots__ = ("_due", "_next_due")

    def __init__(self) -> None:
        self._due: dict[StateKey, Millis] = {}
        self._next_due: Millis = NEVER
        """Not after the first of them."""

    def __contains__(self, key: StateKey) -> bool:
        return key in self._due

    def rests(self, key: StateKey, now: Millis) -> bool:
        """Whether it need not be looked at."""
        return now < self._due.get(key, now)

    def is_due(self, now: Millis) -> bool:
        """Whether one of them must be looked at, or may have to be."""
        return now >= self._next_due

    def note(self, key: StateKey, verdict: Verdict, machine: MachineState, config: MachineConfig) -> None:
        """After a look at it. What missing data trips is watched closely."""
        rests = verdict.gone and verdict.outcome == "nodata" and machine.phase == "ok" and not config.trip_when_missing
        due = timer_end(machine, config) if rests else 0
        if due > machine.last:
            self._due[key] = due
        else:
            self._due.pop(key, None)

    def forget(self, key: StateKey) -> None:
        self._due.pop(key, None)

    def clear(self) -> None:
        """All are looked at anew."""
        self._due, self._next_due = {}, NEVER

    def settle(self) -> None:
        """After a round."""
        self._next_due = min(self._due.values(), default=NEVER)

    def catch_up(self, machines: MutableMapping[StateKey, MachineState], now: Millis) -> None:
        """Writes down what the rounds until `now` would have written."""
        for key in self._due:
            machine = machines[key]
            if now > machine.last:
                machines[key] = replace(machine, last=now, missing=machine.missing + now - machine.last)


def label_sets_to_forget(
    check: Check, reading: Reading, machines: Mapping[StateKey, MachineState], keys: Collection[StateKey]
) -> list[StateKey]:
    """Of the check's label sets (`keys`) those that make room for new ones: gone and ok, the longest gone first."""
    if len(reading.values) + len(keys) <= MAX_LABEL_SETS:
        return []
    present = set(rules.label_sets(check, reading.values))
    lacking = len(present.union(key.labels for key in keys)) - MAX_LABEL_SETS
    if lacking <= 0:
        return []
    gone = [key for key in keys if key.labels and key.labels not in present and machines[key].phase == "ok"]
    return sorted(gone, key=lambda key: (machines[key].judged, key.labels))[:lacking]
