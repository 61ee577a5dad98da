"""What the journal and the samples know of one incident, gathered once: everything that a report says stands in here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from watchdog.config import Config
from watchdog.journal import Journal, incidents, outbox, runs
from watchdog.journal.incidents import Incident, Standing, Trip
from watchdog.journal.runs import Run, Step
from watchdog.model import Millis
from watchdog.promql import Pages, PromqlError, evaluate, parse
from watchdog.promql.pages import Floats, Ints
from watchdog.units import Unit

GOALS: dict[str, Millis] = {
    "rolled back": 30 * 60_000,
    "back at the baseline": 3_600_000,
    "root cause known": 4 * 3_600_000,
    "fixed": 86_400_000,
}
"""How long after it was detected, ms."""

_LOOKS = 600
"""Times at which a KPI is looked at."""
_MARGIN = (60_000, 6 * 3_600_000)
"""ms before and after the incident that belong to the picture: as long as the incident, within these."""


class Event(NamedTuple):
    t: Millis
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """A KPI around the incident."""

    name: str
    unit: Unit
    baseline: float | None
    times: Ints
    """[n] ms."""
    values: Floats
    """[n]; NaN where there was nothing to judge by. Of several series the one that differs most from the baseline."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A plan run with its steps."""

    run: Run
    levels: tuple[str, ...]
    steps: list[Step]

    @property
    def level(self) -> str:
        return self.levels[min(self.run.level, len(self.levels) - 1)] if self.levels else "?"


@dataclass(frozen=True, slots=True)
class Facts:
    incident: Incident
    trips: list[Trip]
    runs: list[Ran]
    events: list[Event]
    standing: Standing
    lines: list[Line]
    told: int
    unsent: list[tuple[str, str]]
    """(channel, why) of messages that never arrived."""
    now: Millis

    @property
    def until(self) -> Millis:
        return self.incident.closed or self.now

    def first(self, *kinds: str) -> Event | None:
        return next((event for event in self.events if event.kind in kinds), None)


def gather(journal: Journal, number: int, config: Config, pages: Pages | None, now: Millis) -> Facts | None:
    """Everything about an incident; None when there is none of that number. `pages`: its samples, where they are kept."""
    found = incidents.listing(journal, number)
    if not found:
        return None
    (incident,) = found
    told = runs.of_incident(journal, number)
    trips = incidents.trips(journal, number)
    return Facts(
        incident=incident,
        trips=trips,
        runs=[Ran(run, _levels(run), runs.steps(journal, run.id)) for run in told],
        events=[Event(row["t"], row["kind"], row["text"]) for row in incidents.events(journal, number)],
        standing=incidents.standing(journal, incident.target, now),
        lines=[] if pages is None else _lines(config, incident, trips, pages, now),
        told=outbox.told(journal, number),
        unsent=[
            (row["channel"], row["error"] or "not yet sent")
            for row in journal.rows("SELECT channel, error FROM message WHERE incident = ? AND sent IS NULL", number)
        ],
        now=now,
    )


def span(incident: Incident, now: Millis) -> tuple[Millis, Millis]:
    """What the picture shows: the incident, and as much again on either side."""
    end = incident.closed or now
    margin = min(max(end - incident.opened, _MARGIN[0]), _MARGIN[1])
    return incident.opened - margin, min(end + margin, now)


def _levels(run: Run) -> tuple[str, ...]:
    try:
        return tuple(str(level["name"]) for level in json.loads(run.text)["levels"])
    except (ValueError, KeyError, TypeError):  # another version wrote it
        return ()


def _lines(config: Config, incident: Incident, trips: Sequence[Trip], pages: Pages, now: Millis) -> list[Line]:
    """Those of the target's KPIs that are judged: what tripped first comes first."""
    tripped = list(dict.fromkeys(trip.rule for trip in trips))
    mine = [rule for rule in config.rules.values() if rule.target == incident.target and rule.kpi]
    mine.sort(key=lambda rule: tripped.index(rule.name) if rule.name in tripped else len(tripped))
    start, end = span(incident, now)
    times = np.unique(np.linspace(start, end, _LOOKS).astype(np.int64))
    found = []
    for name in dict.fromkeys(rule.kpi for rule in mine):
        if name is None or name not in config.kpis:
            continue
        kpi = config.kpis[name]
        try:
            result = evaluate(parse(kpi.expr), pages, times)
        except PromqlError:
            continue
        baseline = next((check.baseline for check in config.checks if check.kpi == name), None)
        values = np.where(result.present & np.isfinite(result.values), result.values, np.nan)
        found.append(Line(name, kpi.unit, baseline, times, _farthest(values, baseline)))
    return found


def _farthest(values: Floats, baseline: float | None) -> Floats:
    """One value a time: the one that is farthest from the baseline, or from zero."""
    if not len(values):
        return np.full(values.shape[1], np.nan)
    away = np.where(np.isnan(values), -1.0, np.abs(values - (baseline or 0.0)))
    return np.asarray(np.take_along_axis(values, away.argmax(axis=0)[None, :], axis=0)[0])
