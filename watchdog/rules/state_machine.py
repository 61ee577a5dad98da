"""The state machine of one threshold. Pure: every answer is a value with a reason.

```
            bad                    `for` reached                cleared
   ok ───────────────▶ pending ───────────────▶ firing ───────────────▶ easing ──▶ ok   (`clear_for` reached)
    ◀───────────────                              ▲    ◀───────────────
      not bad, or data                            │         not cleared
      missing too long                            └── data missing and `if_missing` says so
```
Missing data moves nothing but its own clock: it neither adds to `for` or `clear_for` nor resets it, and it never clears
what fires. But where it was the same before and after, no further apart than data is believed, it was so in between: a read
may fail now and then. Missing for too long, it takes back what was half-way: pending is ok again, and easing fires on. A label set
that is gone while others are there leaves after `forget`, from any phase.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Protocol

from watchdog.core.model import Labels, Millis, Outcome, Verdict

Phase = Literal["ok", "pending", "firing", "easing"]


class StateKey(NamedTuple):
    """What has a state of its own."""

    rule: str
    level: str
    labels: Labels
    target: str = ""

    @classmethod
    def of(cls, verdict: Verdict) -> StateKey:
        return cls(verdict.rule, verdict.level, verdict.labels, verdict.target)


class PatienceLike(Protocol):
    """What the machine must know of a threshold; `rules.Check` has it."""

    @property
    def duration(self) -> Millis: ...
    @property
    def n(self) -> int: ...
    @property
    def m(self) -> int: ...


class MachineConfig(NamedTuple):
    """A threshold's patience in both directions, and what its missing data means."""

    patience: PatienceLike
    clear_for: Millis = 0
    missing_after: Millis = 120_000
    trip_when_missing: bool = False
    ok_when_missing: bool = False
    """Of what does not fire: then nothing is lost."""
    forget_after: Millis = 0
    """How long a label set may be gone before it leaves; 0 = for ever."""
    awake_since: Millis = 0
    """When a standstill ended, for what judges an age; …"""
    age_counts_from: Millis = 0
    """… until then an age from ahead of it trips nothing: who writes what is judged has slept as well."""


@dataclass(frozen=True, slots=True)
class MachineState:
    """Where one threshold stands for one label set. Survives restarts in the journal."""

    phase: Phase = "ok"
    since: Millis = 0
    """When the phase began."""
    last: Millis = 0
    """When it was last advanced; time before that counts only once."""
    held: Millis = 0
    """Pending: how long it has been bad. Easing: how long it has been cleared."""
    recent: tuple[bool, ...] = ()
    """The last M evaluations, newest last; true = bad."""
    evidence: Millis = 0
    outcome: Outcome = "ok"
    cleared: bool = False
    missing: Millis = 0
    """How long there has been nothing to judge by."""
    lost: bool = False
    """Missing for longer than the rule puts up with."""
    seen: Millis = 0
    """When the newest of what it was judged by was sampled: what is put back at boot was seen by another process."""
    value: float | None = None
    limit: float | None = None
    reason: str = ""
    worst: float | None = None
    """The value that was farthest beyond its limit since it became bad; kept until it is bad again."""
    excess: float = 0.0
    """How far that was."""
    siblings: tuple[Labels, ...] | None = None
    """Since it fires: the label sets that had a value when it tripped. None: nobody knows."""
    judged: Millis = 0
    """When it was last advanced with data; 0: not since we began to see."""

    @property
    def is_firing(self) -> bool:
        return self.phase in ("firing", "easing")


class Transition(NamedTuple):
    """What a verdict changed: `tripped`, `cleared` and `gone` are told; `lost`, `back` and `dropped` stand in the log.

    After `gone` there is no machine any more: whoever keeps them drops it.
    """

    key: StateKey
    kind: Literal["tripped", "cleared", "lost", "back", "dropped", "gone"]
    time: Millis
    reason: str
    machine: MachineState
    duration: Millis = 0
    """Tripped: since when it was pending; cleared: since when it was easing; gone: how long."""


def advance(
    machine: MachineState, verdict: Verdict, config: MachineConfig, now: Millis
) -> tuple[MachineState, list[Transition]]:
    """One verdict, one step. Calls at the same `now` with the same verdict change nothing more."""
    key = StateKey.of(verdict)
    elapsed = max(0, now - machine.last)
    if verdict.outcome in ("nodata", "error"):
        after = _without_data(machine, verdict, config, elapsed, now)
        changes = []
        if after.lost and not machine.lost:
            changes.append(Transition(key, "lost", now, verdict.reason, after))
        if verdict.gone and config.forget_after and after.missing >= config.forget_after:
            return after, [*changes, Transition(key, "gone", now, verdict.reason, after, after.missing)]
    else:
        # What is said without any sample, by absent() for instance, is not seen.
        updated = replace(
            machine,
            last=now,
            judged=now,
            outcome=verdict.outcome,
            cleared=verdict.cleared,
            reason=verdict.reason,
            missing=0,
            lost=False,
            seen=max(machine.seen, min(verdict.evidence, now)),
            value=verdict.value,
            limit=verdict.limit,
        )
        after = _note_worst(machine, _with_data(machine, updated, verdict, config, elapsed, now))
        changes = [Transition(key, "back", now, verdict.reason, after)] if machine.lost else []
    if after.is_firing and not machine.is_firing:
        lasting = now - machine.since if machine.phase == "pending" else 0
        changes.append(Transition(key, "tripped", now, verdict.reason, after, lasting))
    elif machine.is_firing and not after.is_firing:
        lasting = now - machine.since if machine.phase == "easing" else 0
        changes.append(Transition(key, "cleared", now, verdict.reason, after, lasting))
    elif machine.phase == "pending" and after.phase == "ok":
        changes.append(Transition(key, "dropped", now, verdict.reason, after))
    return after, changes


def _note_worst(before: MachineState, after: MachineState) -> MachineState:
    if after.outcome != "bad" or after.value is None or after.limit is None:
        return after
    excess = excess_of(after.value, after.limit)
    if before.phase != "ok" and before.worst is not None and excess <= before.excess:
        return after
    return replace(after, worst=after.value, excess=excess)


def excess_of(value: float | None, limit: float | None) -> float:
    """How far beyond the limit: what tells the worst of several from the others."""
    return 0.0 if value is None or limit is None else abs(value - limit)


def _without_data(
    before: MachineState, verdict: Verdict, config: MachineConfig, elapsed: Millis, now: Millis
) -> MachineState:
    missing = before.missing + (elapsed if before.outcome in ("nodata", "error") else 0)
    lost = missing >= config.missing_after
    fine = config.ok_when_missing and not config.trip_when_missing and not before.is_firing
    updated = replace(
        before,
        last=now,
        outcome=verdict.outcome,
        cleared=verdict.cleared,
        reason=verdict.reason,
        missing=missing,
        lost=lost and not fine,
    )
    if lost and config.trip_when_missing and not before.is_firing:
        return replace(updated, phase="firing", since=now, held=0, recent=())
    if lost and before.phase == "pending":
        return replace(updated, phase="ok", since=now, held=0, recent=())
    if lost and before.phase == "easing":
        return replace(updated, phase="firing", since=now, held=0)
    return updated


def _with_data(
    before: MachineState, updated: MachineState, verdict: Verdict, config: MachineConfig, elapsed: Millis, now: Millis
) -> MachineState:
    bad = verdict.outcome == "bad"
    patience = config.patience
    was_missing = before.outcome in ("nodata", "error")
    if was_missing:
        elapsed = now - before.judged if bridges_gap(before.judged, verdict.max_age, now) else 0
    new = verdict.evidence > before.evidence  # new data is an evaluation; a timer tick is none
    recent = (*before.recent, bad) if new else before.recent
    # Cut at every round: a reload may have made M smaller since the last evaluation.
    updated = replace(
        updated, evidence=max(before.evidence, verdict.evidence), recent=recent[-patience.m :] if patience.m else ()
    )
    if not before.is_firing:
        was_bad = before.outcome == "bad" or (was_missing and before.phase == "pending")
        held = before.held + elapsed if bad and was_bad else before.held if bad else 0
        enough = sum(updated.recent) >= patience.n if patience.m else held >= patience.duration
        if bad and enough and not _awaits_first_write(config, verdict.value, now):
            return replace(updated, phase="firing", since=now, held=0, recent=())
        pending = bad or any(updated.recent)
        phase: Phase = "pending" if pending else "ok"
        return replace(updated, phase=phase, held=held, since=before.since if phase == before.phase else now)
    if not verdict.cleared:
        return replace(updated, phase="firing", held=0, since=before.since if before.phase == "firing" else now)
    held = before.held + (elapsed if before.cleared or was_missing else 0) if before.phase == "easing" else 0
    if held >= config.clear_for:
        return replace(updated, phase="ok", since=now, held=0, recent=())
    return replace(updated, phase="easing", held=held, since=before.since if before.phase == "easing" else now)


def _awaits_first_write(config: MachineConfig, age: float | None, now: Millis) -> bool:
    return now < config.age_counts_from and age is not None and age * 1_000 > now - config.awake_since


NEVER: Millis = 1 << 62


def timer_end(machine: MachineState, config: MachineConfig) -> Millis:
    """When its next timer runs out, if the verdicts stay of the kind that they are; `NEVER`: none runs."""
    if machine.outcome in ("nodata", "error"):
        left = [
            limit - machine.missing for limit in (config.missing_after, config.forget_after) if limit > machine.missing
        ]
        return machine.last + min(left) if left else NEVER
    if machine.is_firing:
        return machine.last + max(0, config.clear_for - machine.held) if machine.cleared else NEVER
    if machine.outcome == "bad" and not config.patience.m:
        return max(machine.last + max(0, config.patience.duration - machine.held), config.age_counts_from)
    return NEVER


def bridges_gap(judged: Millis, max_age: Millis, now: Millis) -> bool:
    """Whether what was so at `judged`, and is so again, was so in between: what was read then is still believed. Reads are not so
    punctual that the third one after comes within three times their interval: half of one is let go by."""
    return bool(judged) and 0 <= now - judged <= max_age + max_age // 6


def shift_times(machine: MachineState, step: Millis) -> MachineState:
    """The clock was set: nothing has come nearer by that, and nothing has gone."""
    since, last = machine.since + step, machine.last + step
    evidence, seen, judged = (at and at + step for at in (machine.evidence, machine.seen, machine.judged))
    return replace(machine, since=since, last=last, evidence=evidence, seen=seen, judged=judged)


def skip_gap(machine: MachineState, now: Millis) -> MachineState:
    """After a restart, a suspend or a clock jump: the time in between counts neither as bad nor as good.

    What was seen at a time that is now in the future does not stand in the way of what is seen from now on.
    """
    return replace(machine, last=now, judged=0, evidence=min(machine.evidence, now), seen=min(machine.seen, now))
