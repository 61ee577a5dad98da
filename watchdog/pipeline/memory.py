"""Which states of the machines the journal keeps, and how they are read back."""

from __future__ import annotations

from dataclasses import replace

from watchdog.incidents import Machine


def durable(machine: Machine, before: Machine | None) -> bool:
    """Whether the journal must learn of it: what only says when it was last looked at is not worth a write."""
    return _lasting(machine) != _lasting(before or Machine())


def _lasting(machine: Machine) -> Machine:
    """The machine without what only says when it was last looked at.

    The clock of missing data is written down every few seconds until it has run out, so that a watchdog that is killed
    again and again still notices that it sees nothing.
    """
    missing = machine.missing // (_LOST if machine.lost else _MISSING)
    if machine.phase == "ok":
        return Machine(lost=machine.lost, missing=missing)
    return replace(machine, last=0, reason="", value=None, limit=None, seen=0, evidence=0, missing=missing)


_MISSING = 5_000
"""ms of missing data between two writes of its clock …"""
_LOST = 3_600_000
"""… and once it has run out, when it only counts for `forget`."""


def restored(state: dict[str, object]) -> Machine:
    recent = state["recent"]
    assert isinstance(recent, list)
    return Machine(**{**state, "recent": tuple(recent)})  # type: ignore[arg-type]  # our own asdict, read back
