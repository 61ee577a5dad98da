"""What a summary says, before it is words. Times and durations are ms; None stands for what was not looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from watchdog.config.summary import SummaryKind
from watchdog.core.model import Labels, Millis
from watchdog.core.units import Unit
from watchdog.journal.incidents import Incident, TripRecord
from watchdog.journal.runs import PlanRun
from watchdog.journal.suppressions import Suppression


class SummaryPeriod(NamedTuple):
    kind: SummaryKind
    since: Millis
    until: Millis
    zone: str
    """In whose time it speaks."""


class TargetState(NamedTuple):
    target: str
    text: str
    """``well``, or what is so instead."""
    is_well: bool


@dataclass(frozen=True, slots=True)
class IncidentFacts:
    """One incident of the period, and what came of it."""

    incident: Incident
    trips: list[TripRecord]
    runs: list[PlanRun]
    acted_at: Millis | None
    """When the first step began."""
    took: Mapping[str, Millis | None]
    """As `report.build.durations`."""
    detected_after: Millis | None = None
    """How long it had been bad when it was detected, where samples tell."""

    @property
    def came_to_nothing(self) -> bool:
        """It is over, and neither a plan nor a person has done anything about it."""
        return self.incident.closed is not None and self.incident.acked is None and self.acted_at is None


@dataclass(frozen=True, slots=True)
class JournalFacts:
    """What stands in the journal."""

    targets: list[TargetState]
    incidents: list[IncidentFacts]
    """Of the period and of the week before its end, the oldest first; of very many the newest."""
    began: int
    """How many incidents of the period began in it."""
    other_runs: list[PlanRun]
    """Runs of the period that belong to no incident: what people started."""
    approvals: list[PlanRun]
    """Plans that wait for a person's word."""
    suppressions: list[Suppression]
    """Holds and silences that hold."""


class KpiFacts(NamedTuple):
    target: str
    name: str
    unit: Unit
    now: float | None
    """Of several series the value farthest from the baseline, or from zero."""
    low: float | None
    high: float | None
    """Over the period."""
    baseline: float | None


class Money(NamedTuple):
    """What became of a target's account."""

    target: str
    unit: Unit
    first: float
    last: float


class Strategy(NamedTuple):
    target: str
    name: str
    unit: Unit
    made: float


class WorstTrade(NamedTuple):
    """The most that was booked as lost between two reads."""

    target: str
    labels: Labels
    unit: Unit
    lost: float
    t: Millis


class Uptime(NamedTuple):
    watchdog: float
    """Share of the period in which somebody watched."""
    sources: Mapping[str, float]
    """Share of the reads that went well."""


@dataclass(frozen=True, slots=True)
class HistoryFacts:
    """What the samples tell."""

    kpis: list[KpiFacts]
    money: list[Money]
    strategies: list[Strategy]
    worst_trades: list[WorstTrade]
    uptime: Uptime | None
    lacks: tuple[str, ...] = ()
    """What could not be looked at, and why."""


class NoisyRule(NamedTuple):
    """A rule that tripped often for nothing, of the last week."""

    rule: str
    target: str
    level: str
    trips: int
    came_to_nothing: int
    advice: str
    """What replay says of a better limit, or that nobody has looked."""


@dataclass(frozen=True, slots=True)
class SummaryData:
    period: SummaryPeriod
    journal: JournalFacts
    history: HistoryFacts | None
    noisy: list[NoisyRule]
    sources_down: Mapping[str, str]
    """Source → why it cannot be read now."""
    several_targets: bool
    watchdog_runs: bool = True
