"""When the clock was set: what the journal holds of what still runs moves along."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from watchdog.config import Config
from watchdog.core.model import Millis
from watchdog.journal.storage import Transaction
from watchdog.pipeline.machine_state import needs_saving
from watchdog.rules.state_machine import MachineState, StateKey, shift_times


def follow_clock_step(
    tx: Transaction, config: Config, machines: Mapping[StateKey, MachineState], step: Millis, now: Millis
) -> dict[StateKey, MachineState]:
    """The clock was set by `step`, and it is `now`. Returns the machines as they are by the new time."""
    longest = max(
        (
            span
            for target in config.targets.values()
            for span in (target.cooldown, *(each.per for each in target.budget))
        ),
        default=0,
    )
    tx.follow_clock_step(step, now - step, longest)
    moved = {key: shift_times(machine, step) for key, machine in machines.items()}
    tx.machines.save_machines({key: asdict(machine) for key, machine in moved.items() if needs_saving(machine, None)})
    return moved
