"""Which states of the machines the journal keeps, and how they are read back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import asdict, replace
from typing import Any, cast

from watchdog.core.model import Labels
from watchdog.journal.serialization import labels_from_list
from watchdog.journal.storage import Journal
from watchdog.rules.state_machine import MachineState, StateKey


def firing_in(journal: Journal) -> list[StateKey]:
    """The thresholds that fire, as the journal has them."""
    states = journal.machines.list_machines()
    return list_firing({StateKey(*key): machine_from_state(state) for key, state in states})


def list_firing(machines: Mapping[StateKey, MachineState]) -> list[StateKey]:
    return [key for key, machine in machines.items() if machine.is_firing]


def needs_saving(machine: MachineState, previous: MachineState | None) -> bool:
    """Whether the journal must learn of it: the time of the last round alone is not worth a write."""
    return _saved_part(machine) != _saved_part(previous or MachineState())


def _saved_part(machine: MachineState) -> MachineState:
    """The machine without the time of the last round.

    The clock of missing data is written down every few seconds until it has run out, so that a watchdog that is killed
    again and again still notices that it sees nothing.
    """
    missing = machine.missing // (_LOST_STEP if machine.lost else _MISSING_STEP)
    if machine.phase == "ok":
        return MachineState(lost=machine.lost, missing=missing)
    timeless = replace(machine, last=0, judged=0, seen=0, evidence=0, missing=missing)
    return replace(timeless, reason="", value=None, limit=None, worst=None, excess=0.0)


_MISSING_STEP = 5_000
"""ms of missing data between two writes of its clock …"""
_LOST_STEP = 3_600_000
"""… and once it has run out, when it only counts for `forget`."""


def find_homes(
    keys: Iterable[StateKey], renamed: Mapping[str, str], find_owner: Callable[[StateKey], str | None]
) -> dict[StateKey, StateKey]:
    """Machines of a target that has another name now, and those that a journal keeps from before a rule could speak for several
    targets (`find_owner`): under which key they go on."""
    homes: dict[StateKey, StateKey] = {}
    for key in keys:
        target = renamed.get(key.target) if key.target else find_owner(key)
        if target is not None:
            homes[key] = key._replace(target=target)
    return homes


def machine_from_state(state: dict[str, object]) -> MachineState:
    recent, siblings = state["recent"], state.get("siblings")
    assert isinstance(recent, list)
    known = None if siblings is None else tuple(map(labels_from_list, cast("list[list[list[str]]]", siblings)))
    return MachineState(**{**state, "recent": tuple(recent), "siblings": known})  # type: ignore[arg-type]  # our own asdict, read back


def states_to_save(
    before: Mapping[StateKey, MachineState | None], machines: Mapping[StateKey, MachineState]
) -> dict[tuple[str, str, Labels, str], dict[str, Any] | None]:
    """What the journal must learn of those that were judged, which were so `before`; None: it is gone."""
    states: dict[tuple[str, str, Labels, str], dict[str, Any] | None] = {
        key: asdict(machine)
        for key, previous in before.items()
        if (machine := machines.get(key)) is not None and needs_saving(machine, previous)
    }
    return states | {key: None for key, was in before.items() if was is not None and key not in machines}


def put_back(machines: MutableMapping[StateKey, MachineState], before: Mapping[StateKey, MachineState | None]) -> None:
    """They are what they were `before`."""
    for key, machine in before.items():
        if machine is None:
            machines.pop(key, None)
        else:
            machines[key] = machine
