"""What stands beside a halt's trip: it may be the model, or what somebody deployed just now, that costs the money."""

from __future__ import annotations

from collections.abc import Mapping

from watchdog.config import Config
from watchdog.core.model import Millis
from watchdog.core.telemetry import log
from watchdog.core.units import format_duration
from watchdog.journal.storage import Journal, Transaction
from watchdog.rules import Check
from watchdog.rules.state_machine import MachineState, StateKey

_MAX_DEPLOYMENTS = 3


def record_circumstances(
    tx: Transaction,
    check: Check,
    incident: int,
    config: Config,
    machines: Mapping[StateKey, MachineState],
    journal: Journal,
    now: Millis,
) -> list[str]:
    """Of a trip that starts a halt: what stands beside it, which is in the timeline from now on. Of others nothing."""
    plan = config.plan(check.plan, check.target)
    if plan is None or plan.kind != "halt":
        return []
    lines = describe_circumstances(config, machines, journal, check.target, now)
    for text in lines:
        tx.on_commit(log.warning, "%s: %s", check.target, text)
        tx.timeline.add_event("beside", text, now, incident=incident, target=check.target)
    return lines


def describe_circumstances(
    config: Config, machines: Mapping[StateKey, MachineState], journal: Journal, target: str, now: Millis
) -> list[str]:
    """Rules of the target whose repair is pending, and what somebody has deployed within `settling`: a line each."""
    checks = [
        check
        for check in config.checks
        if check.target == target and (plan := config.plan(check.plan, target)) is not None and plan.kind == "repair"
    ]
    pending = [(check, machine) for check in checks if (machine := _most_pending(check, machines)) is not None]
    lines = [_describe_pending(check, machine) for check, machine in pending]
    settling = config.targets[target].settling if target in config.targets else 0
    deployments = {one.text: one.t for one in journal.timeline.list_events_since(target, "settling", now - settling)}
    newest = sorted(deployments.items(), key=lambda one: -one[1])[:_MAX_DEPLOYMENTS]
    return [*lines, *(f"{format_duration(now - t)} after {text}" for text, t in newest)]


def _most_pending(check: Check, machines: Mapping[StateKey, MachineState]) -> MachineState | None:
    """Of its label sets, the one that is nearest to its trip; None: none is on the way there, or one fires already."""
    known = check.rule, check.level, check.target
    mine = [machine for key, machine in machines.items() if (key.rule, key.level, key.target) == known]
    if any(machine.is_firing for machine in mine):
        return None
    pending = [machine for machine in mine if machine.phase == "pending"]
    return max(pending, key=lambda machine: (machine.held, sum(machine.recent)), default=None)


def _describe_pending(check: Check, machine: MachineState) -> str:
    patience = check.patience
    if patience.m:
        bad, reads = sum(machine.recent), len(machine.recent)
        return f"{check.rule} was bad in {bad} of its last {reads} reads and trips at {patience.n} of {patience.m}"
    if not machine.held:
        return f"{check.rule} has just turned bad and trips in {format_duration(patience.duration)}"
    return f"{check.rule} has been bad for {format_duration(machine.held)} of {format_duration(patience.duration)}"
