"""What one round means for the people of a target: all of it that a channel hears is one message."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from watchdog.core.model import Message, Millis, Severity, Verdict
from watchdog.core.target import Target
from watchdog.core.units import format_duration
from watchdog.journal.topics import incident_topic, plan_topic, refusal_topic
from watchdog.plans.descriptions import describe_start
from watchdog.plans.models import Halt, Repair, name_and_kind
from watchdog.rules import Check, format_labels
from watchdog.rules.state_machine import Transition

SEVERITY_RANK = {"info": 0, "warn": 1, "crit": 2}
MAX_LINES = 20
"""Lines of recoveries in one message."""
_MAX_TRIPS = 5
"""Trips that are told with all their lines; of more, the reason."""
_MAX_NAMES = 3


class Trip(NamedTuple):
    rule: str
    level: Severity
    channels: Collection[str] | None
    """Who is told; None: everybody."""
    lines: tuple[str, ...]
    reason: str
    plan: str | None
    """What it asks for."""
    plan_kind: str
    told_by: str | None
    """Topic of the plan that is at work for this rule already: whoever was told of that hears of the trip from it."""


class Recovery(NamedTuple):
    rule: str
    level: Severity
    channels: Collection[str] | None
    """Who is told; None: everybody."""
    reason: str
    fired: Millis


class Departure(NamedTuple):
    """Label sets of a rule that have left."""

    rule: str
    level: Severity
    """The worst at which one of them fired; `info`: none did."""
    channels: Collection[str] | None
    lines: tuple[str, ...]


class PlanDecision(NamedTuple):
    """A plan that is wanted starts, waits, or is refused."""

    plan: str
    severity: Severity
    what: str
    """``ladder starts``, ``ladder is not started``"""
    is_refused: bool
    lines: tuple[str, ...]
    audience: Severity | None
    """Who is told that is told of no trip with it; None: only who was told of what it ends."""
    opens: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()


@dataclass
class IncidentNews:
    """Of one target, or what one channel hears of it."""

    trips: list[Trip] = field(default_factory=list)
    decisions: list[PlanDecision] = field(default_factory=list)
    recoveries: list[Recovery] = field(default_factory=list)
    departures: list[Departure] = field(default_factory=list)

    def message(self, target: str, incident: int | None) -> Message:
        """All of it."""
        titles: list[str] = []
        if self.trips:
            titles.append(f"{join_names([one.rule for one in self.trips])} tripped")
        titles += [one.what for one in self.decisions if one.is_refused or not self.trips]
        if self.recoveries:
            titles.append(f"{join_names([one.rule for one in self.recoveries])} recovered")
        if self.departures:
            names = join_names([one.rule for one in self.departures])
            titles.append(f"{names} is no longer judged for what is gone")
        is_bad = bool(self.trips or self.decisions)
        severities: list[Severity] = [one.level for one in self.trips] + [one.severity for one in self.decisions]
        opens = [topic for one in self.decisions for topic in one.opens]
        return Message(
            max(severities, key=SEVERITY_RANK.__getitem__, default="info"),
            f"{target}: {', '.join(titles)}",
            tuple(self._lines()),
            incident,
            opens=(*opens, incident_topic(incident)) if is_bad and incident is not None else tuple(opens),
            ends=tuple(topic for one in self.decisions for topic in one.ends),
        )

    def _lines(self) -> list[str]:
        alone = len(self.trips) <= 1 and not (self.trips and self.recoveries)
        decided = {one.plan for one in self.decisions}
        lines: list[str] = []
        for trip in self.trips[:_MAX_TRIPS]:
            first, *rest = trip.lines
            plan = (
                []
                if trip.plan is None or trip.plan in decided
                else [f"plan: {name_and_kind(trip.plan, trip.plan_kind)}"]
            )
            lines += [first if alone else f"{trip.rule}: {first}", *rest, *plan]
        lines += [f"{trip.rule}: {trip.reason}" for trip in self.trips[_MAX_TRIPS:MAX_LINES]]
        if len(self.trips) > MAX_LINES:
            lines.append(f"and {len(self.trips) - MAX_LINES} more")
        for decision in self.decisions:
            told = not self.trips and len(self.decisions) == 1  # by the title
            first, *rest = decision.lines
            lines += [first if told else f"{decision.what}: {first}", *rest]
        lines += recovery_lines(self.recoveries, alone=not self.trips and not self.decisions)
        lines += [line for one in self.departures for line in one.lines]
        return list(dict.fromkeys(lines))


def recovery_lines(recoveries: Sequence[Recovery], *, alone: bool) -> list[str]:
    """What recovered at once. `alone`: the title says what."""
    if alone and len(recoveries) == 1:
        return [recoveries[0].reason, f"fired for {format_duration(recoveries[0].fired)}"]
    texts = (f"{one.rule}: {one.reason}, fired for {format_duration(one.fired)}" for one in recoveries)
    lines = list(dict.fromkeys(texts))
    rest = [f"and {len(lines) - MAX_LINES} more"] if len(lines) > MAX_LINES else []
    return [*lines[:MAX_LINES], *rest]


def join_names(names: Sequence[str]) -> str:
    """The first of them."""
    names = list(dict.fromkeys(names))
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return f"{', '.join(names[:_MAX_NAMES])}{more}"


def describe_decision(
    target: str, name: str, plan: Halt | Repair, level: int, place: Target, waits_for: str | None, *, approved: bool
) -> PlanDecision:
    """What people hear of a plan that is about to be queued: what it does first. `waits_for`: a plan that is at work.

    `approved`: a person has said so, nobody is asked.
    """
    mode = plan.mode if isinstance(plan, Repair) else "auto"
    mode = "auto" if approved and mode == "approve" else mode
    what = f"{name} starts"
    if mode != "auto":  # it asks people by itself, or says what it would do
        what = f"{name} {'asks for approval' if mode == 'approve' else 'is rehearsed (dry-run)'}"
    elif waits_for is not None and isinstance(plan, Repair):
        what = f"{name} waits for the end of {waits_for}"
    return PlanDecision(
        name,
        "warn" if isinstance(plan, Repair) else "crit",
        what,
        False,
        (describe_start(plan, level, place),),
        audience="warn" if mode == "auto" else None,
        opens=(plan_topic(target, name),),
        ends=(refusal_topic(target, name),),
    )


def describe_departure(
    rule: str, channels: Collection[str] | None, changes: Sequence[tuple[Check, Transition, Verdict]]
) -> Departure:
    """Label sets of a rule that have left, with the changes that say so."""
    fired = [check.level for check, change, _ in changes if change.machine.is_firing]
    lines = [
        f"{description}: no value for {format_duration(lasting)}{', it was firing' if firing else ''}"
        for description, (lasting, firing) in _gone_by_labels(changes).items()
    ]
    level: Severity = "info" if not fired else "crit" if "crit" in fired else "warn"
    return Departure(rule, level, channels, tuple(lines[:MAX_LINES]))


def _gone_by_labels(changes: Sequence[tuple[Check, Transition, Verdict]]) -> dict[str, tuple[Millis, bool]]:
    """Label set → how long it is gone, and whether one of its thresholds fired."""
    found: dict[str, tuple[Millis, bool]] = {}
    for _, change, verdict in changes:
        description = format_labels(dict(verdict.labels))
        lasting, fired = found.get(description, (0, False))
        found[description] = max(lasting, change.duration), fired or change.machine.is_firing
    return found
