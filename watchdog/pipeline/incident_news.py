"""What one round means for the people of a target: all of it that a channel hears is one message."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeVar

from watchdog.core.model import SEVERITY_RANK, Chart, Fact, Message, Millis, Severity, Verdict
from watchdog.core.target import Target
from watchdog.core.units import format_duration
from watchdog.journal.topics import incident_topic, plan_topic, refusal_topic
from watchdog.plans.descriptions import describe_start
from watchdog.plans.models import Halt, Repair, name_and_kind
from watchdog.rules import Check, format_labels
from watchdog.rules.state_machine import Transition

MAX_LINES = 20
"""Lines of recoveries in one message."""
_MAX_TRIPS = 5
"""Rules that are told with all their lines; of more, the reason. And label sets of a rule that are named, the worst first."""
_MAX_NAMES = 3
_TRIPPED = "tripped"


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
    labels: str = ""
    """Of the series, for people."""
    excess: float = 0.0
    """How far beyond the limit."""
    how: str = _TRIPPED
    """What stands behind its name in the title."""
    about: tuple[str, ...] = ()
    """Of its lines, those that go on being so: its rule's own words, and what stood beside it when it tripped."""
    chart: Chart | None = None
    """What shows it; None: it has no KPI."""


class Recovery(NamedTuple):
    rule: str
    level: Severity
    channels: Collection[str] | None
    """Who is told; None: everybody."""
    reason: str
    fired: Millis
    labels: str = ""
    worst: str = ""
    """The worst value while it fired; empty where there is none."""
    excess: float = 0.0
    """How far beyond the limit that was."""


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
    notes: Sequence[str] = ()
    """What else is said, below the rest."""

    def message(self, target: str, incident: int | None) -> Message:
        """All of it."""
        titles = [
            f"{_name_rules([trip for trip in self.trips if trip.how == how])} {how}"
            for how in dict.fromkeys(trip.how for trip in self.trips)
        ]
        titles += [one.what for one in self.decisions if one.is_refused or not self.trips]
        if self.recoveries:
            titles.append(f"{_name_rules(self.recoveries)} recovered")
        if self.departures:
            names = join_names([one.rule for one in self.departures])
            titles.append(f"{names} is no longer judged for what is gone")
        is_bad = bool(self.trips or self.decisions)
        severities: list[Severity] = [one.level for one in self.trips] + [one.severity for one in self.decisions]
        opens = [topic for one in self.decisions for topic in one.opens]
        about = [line for trips in _by_rule(self.trips)[:_MAX_TRIPS] for line in trips[0].about]
        return Message(
            max(severities, key=SEVERITY_RANK.__getitem__, default="info"),
            f"{target}: {', '.join(titles)}",
            tuple(self._lines()),
            incident,
            opens=(*opens, incident_topic(incident)) if is_bad and incident is not None else tuple(opens),
            ends=tuple(topic for one in self.decisions for topic in one.ends),
            about=tuple(dict.fromkeys(about)) if self.trips else None,
            chart=None if incident is None else self._chart(incident),
            facts=tuple(self._facts(target)),
        )

    def _chart(self, incident: int) -> Chart | None:
        """Of the worst that has tripped just now: of the first such rule the label set that is farthest beyond its limit."""
        tripped = [one for one in self.trips if one.how == _TRIPPED and one.chart is not None]
        if not tripped:
            return None
        first = max(tripped, key=lambda one: SEVERITY_RANK[one.level])
        alike = [one for one in tripped if (one.rule, one.level) == (first.rule, first.level)]
        chart = max(alike, key=lambda one: one.excess).chart
        return None if chart is None else replace(chart, incident=incident)

    def _facts(self, target: str) -> Iterator[Fact]:
        for how in dict.fromkeys(trip.how for trip in self.trips):
            for group in _by_rule([trip for trip in self.trips if trip.how == how]):
                yield _fact(target, how, group)
        for decision in self.decisions:
            yield Fact(target, decision.what, decision.severity, 1, next(iter(decision.lines), ""))
        for recovered in _by_rule(self.recoveries):
            yield _fact(target, "recovered", recovered)._replace(severity="info")
        for departure in self.departures:
            worst = next(iter(departure.lines), "")
            yield Fact(target, f"{departure.rule} is no longer judged for what is gone", departure.level, 1, worst)

    def _lines(self) -> list[str]:
        groups = _by_rule(self.trips)
        alone = len(groups) <= 1 and not (self.trips and self.recoveries)
        decided = {one.plan for one in self.decisions}
        lines: list[str] = []
        for trips in groups[:_MAX_TRIPS]:
            trips.sort(key=lambda one: (-SEVERITY_RANK[one.level], -one.excess))
            worst, *others = trips
            first, *rest = worst.lines
            count = f"{len(trips)} label sets, the worst: " if others else ""
            lines += [f"{count}{first}" if alone else f"{worst.rule}: {count}{first}", *rest]
            lines += [with_labels(one) for one in others[: _MAX_TRIPS - 1]]
            lines += [f"and {len(trips) - _MAX_TRIPS} more label sets"] if len(trips) > _MAX_TRIPS else []
            for plan, kind in dict.fromkeys((one.plan, one.plan_kind) for one in trips):
                lines += [] if plan is None or plan in decided else [f"plan: {name_and_kind(plan, kind)}"]
        lines += [f"{trips[0].rule}: {with_labels(trips[0])}" for trips in groups[_MAX_TRIPS:MAX_LINES]]
        if len(groups) > MAX_LINES:
            lines.append(f"and {len(groups) - MAX_LINES} more")
        for decision in self.decisions:
            told = not self.trips and len(self.decisions) == 1  # by the title
            first, *rest = decision.lines
            lines += [first if told else f"{decision.what}: {first}", *rest]
        lines += recovery_lines(self.recoveries, alone=not self.trips and not self.decisions)
        lines += [line for one in self.departures for line in one.lines]
        return list(dict.fromkeys([*lines, *self.notes]))


_OfRule = TypeVar("_OfRule", Trip, Recovery)


def _by_rule(told: Sequence[_OfRule]) -> list[list[_OfRule]]:
    """By rule, each label set once: of what trips the worst level, of what recovered the level that says most."""
    groups: dict[str, dict[str, _OfRule]] = {}
    for one in told:
        known = groups.setdefault(one.rule, {})
        other = known.get(one.labels)
        if other is None or (SEVERITY_RANK[one.level] > SEVERITY_RANK[other.level]) == isinstance(one, Trip):
            known[one.labels] = one
    return [list(group.values()) for group in groups.values()]


def _fact(target: str, how: str, told: Sequence[Trip | Recovery]) -> Fact:
    """Of one rule."""
    worst = max(told, key=lambda one: (SEVERITY_RANK[one.level], one.excess))
    return Fact(target, f"{worst.rule} {how}", worst.level, len(told), with_labels(worst), worst.excess)


def with_labels(one: Trip | Recovery) -> str:
    """What was seen, and of which series."""
    return f"{one.reason} ({one.labels})" if one.labels else one.reason


def _name_rules(told: Sequence[_OfRule]) -> str:
    """Rules by name, with the number of label sets where there are several."""
    return join_names(
        [one[0].rule if len(one) == 1 else f"{one[0].rule} ({len(one)} label sets)" for one in _by_rule(told)]
    )


def recovery_lines(recoveries: Sequence[Recovery], *, alone: bool) -> list[str]:
    """What recovered at once: what is so now first, then how bad it was. `alone`: the title says what."""
    groups = _by_rule(recoveries)
    if alone and len(groups) == 1 == len(groups[0]):
        ((only,),) = groups
        was = [f"was {only.worst} at worst, fired for {format_duration(only.fired)}"] if only.worst else []
        return [only.reason, *(was or [f"fired for {format_duration(only.fired)}"])]
    lines: list[str] = []
    for group in groups:
        ordered = sorted(group, key=lambda one: -one.excess) if len(group) > 1 else [group[0]._replace(labels="")]
        lines += dict.fromkeys(f"{one.rule}: {_recovery_text(one)}" for one in ordered[:_MAX_TRIPS])
        lines += [f"{group[0].rule}: and {len(group) - _MAX_TRIPS} more label sets"] if len(group) > _MAX_TRIPS else []
    rest = [f"and {len(lines) - MAX_LINES} more"] if len(lines) > MAX_LINES else []
    return [*lines[:MAX_LINES], *rest]


def _recovery_text(one: Recovery) -> str:
    was = f"was {one.worst} at worst, " if one.worst else ""
    return f"{with_labels(one)}, {was}fired for {format_duration(one.fired)}"


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
    severity: Severity = "warn" if isinstance(plan, Repair) else "crit"
    return PlanDecision(
        name,
        severity,
        what,
        False,
        (describe_start(plan, level, place),),
        audience=severity if mode == "auto" else None,
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
