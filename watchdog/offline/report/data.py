"""What the journal and the samples know of one incident, gathered once: everything that a report says stands in here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from watchdog.config import Config
from watchdog.core.model import Millis
from watchdog.core.units import Unit
from watchdog.journal.incidents import Incident, TripRecord
from watchdog.journal.runs import PlanRun, Step
from watchdog.journal.storage import Journal
from watchdog.journal.targets import TargetState
from watchdog.journal.timeline import TimelineEvent
from watchdog.promql import PromqlError, evaluate, parse
from watchdog.tsdb.page import Floats, Ints, PageList

TIME_GOALS: dict[str, Millis] = {
    "rolled back": 30 * 60_000,
    "back at the baseline": 3_600_000,
    "root cause known": 4 * 3_600_000,
    "fixed": 86_400_000,
}
"""How long after it was detected, ms."""

_SAMPLE_COUNT = 600
"""Times at which a KPI is looked at."""
_MARGIN_LIMITS = (60_000, 6 * 3_600_000)
"""ms before and after the incident that belong to the picture: as long as the incident, within these."""


@dataclass(frozen=True, slots=True)
class KpiSeries:
    """A KPI around the incident."""

    name: str
    unit: Unit
    baseline: float | None
    times: Ints
    """[n] ms."""
    values: Floats
    """[n]; NaN where there was nothing to judge by. Of several series the one that differs most from the baseline."""


@dataclass(frozen=True, slots=True)
class RunWithSteps:
    """A plan run with its steps."""

    run: PlanRun
    levels: tuple[str, ...]
    steps: list[Step]

    @property
    def level_name(self) -> str:
        return self.levels[min(self.run.level, len(self.levels) - 1)] if self.levels else "?"


@dataclass(frozen=True, slots=True)
class IncidentData:
    incident: Incident
    trips: list[TripRecord]
    runs: list[RunWithSteps]
    events: list[TimelineEvent]
    target_state: TargetState
    lines: list[KpiSeries]
    told: int
    unsent: list[tuple[str, str]]
    """(channel, why) of messages that never arrived."""
    now: Millis

    @property
    def end(self) -> Millis:
        return self.incident.closed or self.now

    def first_event(self, *kinds: str) -> TimelineEvent | None:
        return next((event for event in self.events if event.kind in kinds), None)


def collect_data(
    journal: Journal, number: int, config: Config, pages: PageList | None, now: Millis
) -> IncidentData | None:
    """Everything about an incident; None when there is none of that number. `pages`: its samples, where they are kept."""
    incident = journal.incidents.find_incident(number)
    if incident is None:
        return None
    found_runs = journal.runs.list_for_incident(number)
    trips = journal.incidents.list_trips(number)
    return IncidentData(
        incident=incident,
        trips=trips,
        runs=[RunWithSteps(run, _level_names(run), journal.runs.list_steps(run.id)) for run in found_runs],
        events=journal.timeline.list_events(number),
        target_state=journal.targets.get_state(incident.target, now),
        lines=[] if pages is None else _kpi_series(config, incident, trips, pages, now),
        told=journal.messages.count_sent(number),
        unsent=[(channel, error or "not yet sent") for channel, error in journal.messages.list_undelivered(number)],
        now=now,
    )


def chart_range(incident: Incident, now: Millis) -> tuple[Millis, Millis]:
    """What the picture shows: the incident, and as much again on either side."""
    end = incident.closed or now
    margin = min(max(end - incident.opened, _MARGIN_LIMITS[0]), _MARGIN_LIMITS[1])
    return incident.opened - margin, min(end + margin, now)


def _level_names(run: PlanRun) -> tuple[str, ...]:
    try:
        return tuple(str(level["name"]) for level in json.loads(run.text)["levels"])
    except (ValueError, KeyError, TypeError):  # another version wrote it
        return ()


def _kpi_series(
    config: Config, incident: Incident, trips: Sequence[TripRecord], pages: PageList, now: Millis
) -> list[KpiSeries]:
    """Those of the target's KPIs that are judged: what tripped first comes first."""
    tripped = list(dict.fromkeys(trip.rule for trip in trips))
    rules = [rule for rule in config.rules_of(incident.target) if rule.kpi]
    rules.sort(key=lambda rule: tripped.index(rule.name) if rule.name in tripped else len(tripped))
    start, end = chart_range(incident, now)
    times = np.unique(np.linspace(start, end, _SAMPLE_COUNT).astype(np.int64))
    found = []
    for name in dict.fromkeys(rule.kpi for rule in rules):
        kpi = config.kpi(name, incident.target)
        if name is None or kpi is None:
            continue
        try:
            result = evaluate(parse(config.expr_of(kpi.expr, incident.target)), pages, times)
        except PromqlError:
            continue
        mine = (check for check in config.checks if (check.kpi, check.target) == (name, incident.target))
        baseline = next((check.baseline for check in mine), None)
        values = np.where(result.present & np.isfinite(result.values), result.values, np.nan)
        found.append(KpiSeries(name, kpi.unit, baseline, times, _farthest_from_baseline(values, baseline)))
    return found


def _farthest_from_baseline(values: Floats, baseline: float | None) -> Floats:
    """One value a time: the one that is farthest from the baseline, or from zero."""
    if not len(values):
        return np.full(values.shape[1], np.nan)
    distance = np.where(np.isnan(values), -1.0, np.abs(values - (baseline or 0.0)))
    return np.asarray(np.take_along_axis(values, distance.argmax(axis=0)[None, :], axis=0)[0])
