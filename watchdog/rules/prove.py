"""Whether a repair has worked, told from the evidence after its last step. Pure: every answer is a value with a reason."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from watchdog.core.model import Millis, Uncounted, Verdict
from watchdog.rules.state_machine import (
    MachineConfig,
    MachineState,
    StateKey,
    advance,
    bridges_gap,
    shift_times,
    skip_gap,
)


class ProofResult(NamedTuple):
    outcome: Literal["proven", "disproven", "unknown"]
    reason: str


@dataclass(frozen=True, slots=True)
class ProofState:
    """Evidence about one level, gathered from after its last step only."""

    since: Millis
    """End of the last step: older samples are not evidence."""
    last: Millis = 0
    quiet: Millis = 0
    """How long all has been well, without the time that nothing was known."""
    well: bool = False
    well_at: Millis = 0
    """When all was well the last time, and nothing has been otherwise since; 0: not so."""
    machines: Mapping[StateKey, MachineState] = field(default_factory=dict)
    reason: str = "no evidence yet"


def skip_uncounted(state: ProofState, uncounted: Uncounted, now: Millis) -> ProofState:
    """After a clock was set, all times move along; what nobody watched is no evidence. `uncounted`: since the last evaluation."""
    step = uncounted.steps
    machines = {key: shift_times(machine, step) for key, machine in state.machines.items()}
    last, well_at = state.last + step, state.well_at and state.well_at + step
    if uncounted.standstill:
        machines, last, well_at = {key: skip_gap(machine, now) for key, machine in machines.items()}, now, 0
    return replace(state, since=state.since + step, last=last, well_at=well_at, machines=machines)


def prove(
    state: ProofState,
    configs: Mapping[StateKey, MachineConfig],
    verdicts: Sequence[Verdict],
    conditions: Mapping[str, bool | None],
    required_quiet: Millis,
    now: Millis,
) -> tuple[ProofState, ProofResult | None]:
    """One evaluation of the evidence. None = not decided yet.

    `configs`: of the rules that tripped; each must be on the good side of its recovery threshold. `conditions`: with
    None where they cannot be told. Unreadable is neither well nor bad; between two times that all is well, no further apart than
    data is believed, it was well.
    """
    machines = dict(state.machines)
    unknown, unwell = [], []
    cleared = set()
    for verdict in verdicts:
        key = StateKey.of(verdict)
        if key not in configs:
            continue
        config = configs[key]._replace(
            trip_when_missing=False
        )  # missing data is no disproof, whatever the rule makes of it
        machine, _ = advance(machines.get(key, MachineState(last=now, since=now)), verdict, config, now)
        machines[key] = machine
        if verdict.outcome in ("nodata", "error"):
            unknown.append(verdict.reason)
        elif verdict.level == "crit" and machine.is_firing:
            why = f"{verdict.rule}: {verdict.reason}"
            return replace(state, machines=machines, last=now), ProofResult("disproven", why)
        elif verdict.cleared:
            cleared.add(key)
        else:
            unwell.append(f"{verdict.rule}: {verdict.reason}")
    unknown += [f"{key.rule}: nothing was read" for key in _without_verdict(configs, verdicts)]
    for condition, answer in conditions.items():
        if answer is None:
            unknown.append(f"{condition}: nothing to tell by")
        elif not answer:
            unwell.append(f"{condition} is not so")
    well = not unwell and not unknown
    max_age = min((verdict.max_age for verdict in verdicts if verdict.outcome in ("ok", "bad")), default=0)
    since = state.last if state.well else state.well_at if bridges_gap(state.well_at, max_age, now) else now
    held = state.quiet + max(0, now - since) if well else 0 if unwell else state.quiet
    reason = "; ".join(unwell + unknown) or "all is well"
    well_at = now if well else 0 if unwell else state.well_at
    state = replace(state, last=now, quiet=held, well=well, well_at=well_at, machines=machines, reason=reason)
    if well and held >= required_quiet:
        return state, ProofResult("proven", _proof_reason(cleared, conditions))
    return state, None


def _without_verdict(keys: Collection[StateKey], verdicts: Sequence[Verdict]) -> list[StateKey]:
    judged = {StateKey.of(verdict) for verdict in verdicts}
    return [key for key in keys if key not in judged]


def _proof_reason(cleared: Collection[StateKey], conditions: Mapping[str, bool | None]) -> str:
    rules = ", ".join(sorted({key.rule for key in cleared}))
    return " and ".join(filter(None, [f"{rules} quiet" if rules else "", ", ".join(conditions)])) or "nothing was asked"
