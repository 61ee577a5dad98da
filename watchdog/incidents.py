"""The state machine of one threshold, and the proof of a repair. Pure: every answer is a value with a reason.

```
            bad                    `for` reached                cleared
   ok ───────────────▶ pending ───────────────▶ firing ───────────────▶ easing ──▶ ok   (`clear_for` reached)
    ◀───────────────                              ▲    ◀───────────────
      not bad, or data                            │         not cleared
      missing too long                            └── data missing and `if_missing` says so
```
Missing data moves nothing but its own clock: it neither adds to `for` or `clear_for` nor resets it, and it never clears
what fires. Missing for too long, it takes back what was half-way: pending is ok again, and easing fires on. A label set
that is gone while others are there leaves after `forget`, from any phase.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, Protocol

from watchdog.model import Labels, Millis, Outcome, Verdict

Phase = Literal["ok", "pending", "firing", "easing"]


class Key(NamedTuple):
    """What has a state of its own."""

    rule: str
    level: str
    labels: Labels


class Patience(Protocol):
    """What the machine must know of a threshold; `rules.Check` has it."""

    @property
    def hold(self) -> Millis: ...
    @property
    def n(self) -> int: ...
    @property
    def m(self) -> int: ...


class Terms(NamedTuple):
    """A threshold's patience in both directions, and what its missing data means."""

    patience: Patience
    clear_for: Millis = 0
    missing_after: Millis = 120_000
    missing_trips: bool = False
    missing_is_ok: bool = False
    """Of what does not fire: then nothing is lost."""
    forget: Millis = 0
    """How long a label set may be gone before it leaves; 0 = for ever."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Where one threshold stands for one label set. Survives restarts in the journal."""

    phase: Phase = "ok"
    since: Millis = 0
    """When the phase began."""
    last: Millis = 0
    """When it was last looked at; time before that counts only once."""
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

    @property
    def fires(self) -> bool:
        return self.phase in ("firing", "easing")


class Change(NamedTuple):
    """What a verdict changed: `tripped`, `cleared` and `gone` are told; `lost`, `back` and `dropped` stand in the log.

    After `gone` there is no machine any more: whoever keeps them drops it.
    """

    key: Key
    kind: Literal["tripped", "cleared", "lost", "back", "dropped", "gone"]
    t: Millis
    reason: str
    machine: Machine
    lasting: Millis = 0
    """Tripped: since when it was pending; cleared: since when it was easing; gone: how long."""


def advance(machine: Machine, verdict: Verdict, terms: Terms, now: Millis) -> tuple[Machine, list[Change]]:
    """One verdict, one step. Calls at the same `now` with the same verdict change nothing more."""
    key = Key(verdict.rule, verdict.level, verdict.labels)
    elapsed = max(0, now - machine.last)
    if verdict.outcome in ("nodata", "error"):
        after = _without_data(machine, verdict, terms, elapsed, now)
        changes = []
        if after.lost and not machine.lost:
            changes.append(Change(key, "lost", now, verdict.reason, after))
        if verdict.gone and terms.forget and after.missing >= terms.forget:
            return after, [*changes, Change(key, "gone", now, verdict.reason, after, after.missing)]
    else:
        # What is said without any sample, by absent() for instance, is not seen.
        looked = replace(
            machine,
            last=now,
            outcome=verdict.outcome,
            cleared=verdict.cleared,
            reason=verdict.reason,
            missing=0,
            lost=False,
            seen=max(machine.seen, min(verdict.evidence, now)),
            value=verdict.value,
            limit=verdict.limit,
        )
        after = _with_data(machine, looked, verdict, terms, elapsed, now)
        changes = [Change(key, "back", now, verdict.reason, after)] if machine.lost else []
    if after.fires and not machine.fires:
        lasting = now - machine.since if machine.phase == "pending" else 0
        changes.append(Change(key, "tripped", now, verdict.reason, after, lasting))
    elif machine.fires and not after.fires:
        lasting = now - machine.since if machine.phase == "easing" else 0
        changes.append(Change(key, "cleared", now, verdict.reason, after, lasting))
    elif machine.phase == "pending" and after.phase == "ok":
        changes.append(Change(key, "dropped", now, verdict.reason, after))
    return after, changes


def _without_data(before: Machine, verdict: Verdict, terms: Terms, elapsed: Millis, now: Millis) -> Machine:
    missing = before.missing + (elapsed if before.outcome in ("nodata", "error") else 0)
    lost = missing >= terms.missing_after
    fine = terms.missing_is_ok and not terms.missing_trips and not before.fires
    looked = replace(
        before,
        last=now,
        outcome=verdict.outcome,
        cleared=verdict.cleared,
        reason=verdict.reason,
        missing=missing,
        lost=lost and not fine,
    )
    if lost and terms.missing_trips and not before.fires:
        return replace(looked, phase="firing", since=now, held=0, recent=())
    if lost and before.phase == "pending":
        return replace(looked, phase="ok", since=now, held=0, recent=())
    if lost and before.phase == "easing":
        return replace(looked, phase="firing", since=now, held=0)
    return looked


def _with_data(
    before: Machine, looked: Machine, verdict: Verdict, terms: Terms, elapsed: Millis, now: Millis
) -> Machine:
    bad = verdict.outcome == "bad"
    patience = terms.patience
    new = verdict.evidence > before.evidence  # new data is an evaluation; a timer tick is none
    recent = (*before.recent, bad) if new else before.recent
    # Cut on every look: a reload may have made M smaller since the last evaluation.
    looked = replace(
        looked, evidence=max(before.evidence, verdict.evidence), recent=recent[-patience.m :] if patience.m else ()
    )
    if not before.fires:
        held = before.held + elapsed if bad and before.outcome == "bad" else before.held if bad else 0
        enough = sum(looked.recent) >= patience.n if patience.m else held >= patience.hold
        if bad and enough:
            return replace(looked, phase="firing", since=now, held=0, recent=())
        pending = bad or any(looked.recent)
        phase: Phase = "pending" if pending else "ok"
        return replace(looked, phase=phase, held=held, since=before.since if phase == before.phase else now)
    if not verdict.cleared:
        return replace(looked, phase="firing", held=0, since=before.since if before.phase == "firing" else now)
    held = before.held + (elapsed if before.cleared else 0) if before.phase == "easing" else 0
    if held >= terms.clear_for:
        return replace(looked, phase="ok", since=now, held=0, recent=())
    return replace(looked, phase="easing", held=held, since=before.since if before.phase == "easing" else now)


def wake(machine: Machine, now: Millis) -> Machine:
    """After a restart, a suspend or a clock jump: the time in between counts neither as bad nor as good.

    What was seen at a time that is now in the future does not stand in the way of what is seen from now on.
    """
    return replace(machine, last=now, evidence=min(machine.evidence, now), seen=min(machine.seen, now))


class Finding(NamedTuple):
    outcome: Literal["proven", "disproven", "unknown"]
    reason: str


@dataclass(frozen=True, slots=True)
class Trial:
    """Evidence about one level, gathered from after its last step only."""

    since: Millis
    """End of the last step: older samples are not evidence."""
    last: Millis = 0
    quiet: Millis = 0
    """How long all has been well, without the time that nothing was known."""
    well: bool = False
    machines: Mapping[Key, Machine] = field(default_factory=dict)
    reason: str = "no evidence yet"


def rest(trial: Trial, now: Millis) -> Trial:
    """After a suspend or a clock jump: the time in between is no evidence, and a clock set back hides none."""
    machines = {key: wake(machine, now) for key, machine in trial.machines.items()}
    return replace(trial, since=min(trial.since, now), last=now, machines=machines)


def prove(
    trial: Trial,
    terms: Mapping[Key, Terms],
    verdicts: Sequence[Verdict],
    that: Mapping[str, bool | None],
    quiet: Millis,
    now: Millis,
) -> tuple[Trial, Finding | None]:
    """One look at the evidence. None = go on looking.

    `terms`: the rules that tripped; each must be on the good side of its recovery threshold. `that`: conditions, with
    None where they cannot be told. Unreadable is neither well nor bad.
    """
    machines = dict(trial.machines)
    unknown, unwell = [], []
    cleared = set()
    for verdict in verdicts:
        key = Key(verdict.rule, verdict.level, verdict.labels)
        if key not in terms:
            continue
        asked = terms[key]._replace(missing_trips=False)  # missing data is no disproof, whatever the rule makes of it
        machine, _ = advance(machines.get(key, Machine(last=now, since=now)), verdict, asked, now)
        machines[key] = machine
        if verdict.outcome in ("nodata", "error"):
            unknown.append(verdict.reason)
        elif verdict.level == "crit" and machine.fires:
            why = f"{verdict.rule}: {verdict.reason}"
            return replace(trial, machines=machines, last=now), Finding("disproven", why)
        elif verdict.cleared:
            cleared.add(key)
        else:
            unwell.append(f"{verdict.rule}: {verdict.reason}")
    unknown += [f"{key.rule}: nothing was read" for key in _unspoken(terms, verdicts)]
    for condition, answer in that.items():
        if answer is None:
            unknown.append(f"{condition}: nothing to tell by")
        elif not answer:
            unwell.append(f"{condition} is not so")
    well = not unwell and not unknown
    held = trial.quiet + max(0, now - trial.last) if well and trial.well else 0 if unwell else trial.quiet
    reason = "; ".join(unwell + unknown) or "all is well"
    trial = replace(trial, last=now, quiet=held, well=well, machines=machines, reason=reason)
    if well and held >= quiet:
        return trial, Finding("proven", _proof(cleared, that))
    return trial, None


def _unspoken(terms: Collection[Key], verdicts: Sequence[Verdict]) -> list[Key]:
    spoken = {Key(verdict.rule, verdict.level, verdict.labels) for verdict in verdicts}
    return [key for key in terms if key not in spoken]


def _proof(cleared: Collection[Key], that: Mapping[str, bool | None]) -> str:
    rules = ", ".join(sorted({key.rule for key in cleared}))
    return " and ".join(filter(None, [f"{rules} quiet" if rules else "", ", ".join(that)])) or "nothing was asked"
