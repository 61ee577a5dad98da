"""What the journal and the samples know of one incident, gathered once: everything that a report says stands in here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from watchdog.chat.chart import list_epochs
from watchdog.config import Config
from watchdog.core.model import Millis
from watchdog.core.units import Unit, format_duration
from watchdog.journal.incidents import Incident, TripRecord
from watchdog.journal.runs import PlanRun, Step, level_names
from watchdog.journal.storage import Journal
from watchdog.journal.targets import TargetState
from watchdog.journal.timeline import TimelineEvent
from watchdog.pipeline.baseline_tracker import expression_digest
from watchdog.promql import PromqlError
from watchdog.rollback.standing import StandingChange
from watchdog.rules import Kpi, Learn, learn_baseline
from watchdog.rules.kpi_history import evaluate_history, farthest_from_baseline, value_range
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
    rules: tuple[str, ...]
    """Those of the target that judge it."""
    baseline: float | None
    """As it was when the incident was opened; None: there was none, or nobody knows it any more."""
    times: Ints
    """[n] ms."""
    values: Floats
    """[n]; NaN where there was nothing to judge by, or nobody knows. Of several series the one that differs most from the
    baseline, or from zero."""
    low: Floats
    """[n] the least and the greatest of all series; NaN as `values`."""
    high: Floats


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
    samples_kept: bool
    """Whether there were any to look for."""
    standing: list[StandingChange]
    """What of it still is as a plan has left it."""
    lacks: tuple[str, ...] = ()
    """What is not known, and so is not told: one sentence each."""

    @property
    def end(self) -> Millis:
        return self.incident.closed or self.now

    def first_event(self, *kinds: str) -> TimelineEvent | None:
        return next((event for event in self.events if event.kind in kinds), None)


def collect_data(
    journal: Journal,
    incident: Incident,
    config: Config,
    pages: PageList | None,
    now: Millis,
    *,
    known_until: Millis | None = None,
    standing: Sequence[StandingChange] = (),
    lacks: Sequence[str] = (),
) -> IncidentData:
    """Everything about an incident.

    `pages`: its samples, where they are kept. `known_until`: no sample up to then is missing in them; as far as they reach
    when not said. Nothing is told of any time after it. `standing`: what it has left so, as was just looked at. `lacks`: what
    the caller could not find out.
    """
    number = incident.id
    found_runs = journal.runs.list_for_incident(number)
    trips = journal.incidents.list_trips(number)
    lines, lacking = (
        ([], []) if pages is None else _kpi_series(config, journal, incident, trips, pages, now, known_until)
    )
    return IncidentData(
        incident=incident,
        trips=trips,
        runs=[RunWithSteps(run, level_names(run), journal.runs.list_steps(run.id)) for run in found_runs],
        events=journal.timeline.list_events(number),
        target_state=journal.targets.get_state(incident.target, now),
        lines=lines,
        told=journal.messages.count_sent(number),
        unsent=[(one.channel, one.error or "not yet sent") for one in journal.messages.list_undelivered(number)],
        now=now,
        samples_kept=pages is not None,
        standing=[one for one in standing if one.unseen is None],
        lacks=(*lacks, *lacking, *_unseen_sentences(standing)),
    )


def _unseen_sentences(standing: Sequence[StandingChange]) -> list[str]:
    return [
        f"Whether {one.what} is still {one.how}: it could not be looked at ({one.unseen})."
        for one in standing
        if one.unseen
    ]


def chart_range(incident: Incident, now: Millis) -> tuple[Millis, Millis]:
    """What the picture shows: the incident, and as much again on either side."""
    end = incident.closed or now
    margin = min(max(end - incident.opened, _MARGIN_LIMITS[0]), _MARGIN_LIMITS[1])
    return incident.opened - margin, min(end + margin, now)


def _kpi_series(
    config: Config,
    journal: Journal,
    incident: Incident,
    trips: Sequence[TripRecord],
    pages: PageList,
    now: Millis,
    known_until: Millis | None,
) -> tuple[list[KpiSeries], list[str]]:
    """Those of the target's KPIs that are judged: what tripped first comes first. And what is lacking of them."""
    tripped = list(dict.fromkeys(trip.rule for trip in trips))
    rules = [rule for rule in config.rules_of(incident.target) if rule.kpi]
    rules.sort(key=lambda rule: tripped.index(rule.name) if rule.name in tripped else len(tripped))
    start, end = chart_range(incident, now)
    if known_until is None:
        known_until = max((int(page.t[-1]) for page in pages.pages if page.t.size), default=start)
    times = np.unique(np.linspace(start, end, _SAMPLE_COUNT).astype(np.int64))
    epochs = list_epochs(journal, incident.target, incident.opened)
    found = []
    lacks = [
        f"Rule {name}, which is not configured now: its KPI is not shown."
        for name in tripped
        if name not in config.rules
    ]
    if known_until < end:
        lacks.append(f"Samples of the last {format_duration(end - known_until)}: nothing is told of that time.")
    for name in dict.fromkeys(rule.kpi for rule in rules):
        kpi = config.kpi(name, incident.target)
        if name is None or kpi is None:
            continue
        baseline, why = baseline_at(name, incident.target, kpi, journal, incident.opened)
        if why:
            lacks.append(f"The baseline of {name} at that time ({why}): what is farthest from it cannot be told.")
        try:
            expr = config.parse_expr(config.expr_of(kpi.expr, incident.target))
            _, values, odd = evaluate_history(kpi, expr, pages, times[times <= known_until], epochs)
        except PromqlError as error:
            lacks.append(f"The values of {name}, which cannot be evaluated: {error}.")
            continue
        if odd:
            lacks.append(f"The values of {name} at times at which it was {' or '.join(odd)}.")
        values = np.pad(values, ((0, 0), (0, times.size - values.shape[1])), constant_values=np.nan)
        shown = farthest_from_baseline(values, baseline)
        low, high = value_range(values)
        judged_by = tuple(rule.name for rule in rules if rule.kpi == name)
        found.append(KpiSeries(name, kpi.unit, judged_by, baseline, times, shown, low, high))
    return found, lacks


def baseline_at(name: str, target: str, kpi: Kpi, journal: Journal, t: Millis) -> tuple[float | None, str]:
    """The baseline that was in force at `t`; without one, why nobody knows it: "" where the KPI has none."""
    if kpi.baseline is None or not kpi.has_dynamic_baseline:
        try:
            return kpi.pinned_baseline(), ""
        except ValueError as error:  # of files with mistakes what can be read is told
            return None, str(error)
    digest = expression_digest(kpi)
    if isinstance(kpi.baseline, Learn):
        points = [point for point in journal.baselines.list_points(name, digest, target) if point[0] <= t]
        learned = learn_baseline(kpi.baseline, points, t)
        return learned.value, learned.reason
    saved = [one for one in journal.baselines.list_baselines() if (one.kpi, one.kind) == (name, "captured")]
    kept = next((one for whose in (target, "") for one in saved if one.target == whose), None)
    if kept is None or kept.asked != digest:
        return None, "none was captured"
    return (kept.value, "") if kept.t <= t else (None, "it was captured later")
