"""What a chart shows: values out of the samples, limits out of the configuration, what happened out of the journal."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite

import numpy as np

from watchdog.config import Config
from watchdog.core.model import Chart, Labels, Millis
from watchdog.core.units import format_duration, format_value
from watchdog.journal.incidents import TripRecord
from watchdog.journal.runs import NO_EFFECT_OUTCOMES, level_names
from watchdog.journal.storage import Journal
from watchdog.pictures.kpi_chart import ChartData, Mark, Reference, decimate
from watchdog.promql import EvaluationLimits, Expr, PromqlError
from watchdog.rules import Check, Kpi, format_labels
from watchdog.rules.kpi_history import KpiHistory, evaluate_history, farthest_from_baseline, value_range
from watchdog.tsdb.labels import METRIC_NAME_LABEL
from watchdog.tsdb.page import Floats, Ints, PageList

MAX_SPAN: Millis = 7 * 86_400_000
LIMITS = EvaluationLimits(cost=20_000_000, cells=4_000_000, series=10_000)
"""Of the evaluation for one picture."""
_GRID = 300
"""Times at which a KPI is looked at in any case; beside those at which a sample came."""
_MAX_TIMES = 100_000
_MAX_REFERENCES = 5
_MARK_ORDER = ("trip", "level", "end")
_WORST: dict[str, Callable[[Floats], Floats]] = {
    "above": lambda values: value_range(values)[1],
    "at_least": lambda values: value_range(values)[1],
    "below": lambda values: value_range(values)[0],
    "at_most": lambda values: value_range(values)[0],
}
"""Operator → of several series the value that is the worst at each time."""


@dataclass(frozen=True, slots=True)
class LocalTime:
    """What the clocks of this machine show."""

    name: str
    """``CET``"""
    utc_offset: Millis

    def describe(self) -> str:
        """``CET (UTC+1)``"""
        hours, minutes = divmod(abs(self.utc_offset) // 60_000, 60)
        sign = "-" if self.utc_offset < 0 else "+"
        utc = f"UTC{sign}{hours}{f':{minutes:02}' if minutes else ''}" if self.utc_offset else "UTC"
        return utc if self.name == utc or not self.name.isalpha() else f"{self.name} ({utc})"


@dataclass(frozen=True, slots=True)
class ChartPlan:
    """All that is known of a chart ahead of its samples."""

    chart: Chart
    kpi: Kpi
    expr: Expr
    start: Millis
    until: Millis
    epochs: tuple[Millis, ...]
    checks: tuple[Check, ...]
    """Those whose limits are shown; what tripped is first."""
    marks: tuple[Mark, ...]

    def list_times(self, pages: PageList | None = None) -> Ints:
        """When the KPI is looked at: evenly, and whenever one of these samples came."""
        parts = [np.linspace(self.start, self.until, _GRID).astype(np.int64)]
        for page in () if pages is None else pages.pages:
            first, last = page.t.searchsorted([self.start, self.until], "right")
            parts.append(page.t[first:last])
        times = _merge_times(*parts)
        return times if times.size <= _MAX_TIMES else times[np.linspace(0, times.size - 1, _MAX_TIMES).astype(np.int64)]


def list_epochs(journal: Journal, target: str, t: Millis) -> list[Millis]:
    """When the target was resumed, oldest first; ahead of the first of them, all that is kept counts. `t`: for a target that the
    journal does not know yet."""
    return sorted({*journal.timeline.list_times(target, "resumed"), journal.targets.get_state(target, t).epoch})


def plan_chart(
    chart: Chart, config: Config, checks: Collection[Check], journal: Journal, now: Millis
) -> ChartPlan | None:
    """None where there is no such KPI, or it cannot be read. `checks`: the configuration's, with baselines as they are now."""
    kpi = config.kpi(chart.kpi, chart.target) if chart.target in config.targets else None
    if kpi is None:
        return None
    try:
        expr = config.parse_expr(config.expr_of(kpi.expr, chart.target))
    except PromqlError:
        return None
    until = chart.until or now
    start = until - min(max(chart.span, 1_000), MAX_SPAN)
    judged = [one for one in checks if (one.target, one.kpi) == (chart.target, chart.kpi) and one.operator is not None]
    tripped = [] if chart.incident is None else journal.incidents.list_trips(chart.incident)
    names = {one.rule for one in judged}
    shown = [trip for trip in tripped if trip.rule in names]
    rules = [trip.rule for trip in shown]
    judged = [one for one in judged if one.rule in rules] or judged
    judged.sort(key=lambda one: (one.level != "crit", rules.index(one.rule) if one.rule in rules else 0))
    marks = () if chart.incident is None else _list_marks(chart.incident, shown or tripped, journal)
    seen = tuple(mark for mark in marks if start <= mark.t <= until)
    epochs = tuple(list_epochs(journal, chart.target, now))
    return ChartPlan(chart, kpi, expr, start, until, epochs, tuple(judged), seen)


def _list_marks(number: int, trips: Sequence[TripRecord], journal: Journal) -> tuple[Mark, ...]:
    """Each rule's first trip at each level, each level of each plan that did something, and the end."""
    marks: dict[object, Mark] = {}
    for trip in trips:
        what = f"{trip.rule} tripped{'' if trip.level == 'crit' else f' ({trip.level})'}"
        marks.setdefault((trip.rule, trip.level), Mark("trip", trip.t, what))
    runs = [run for run in journal.runs.list_for_incident(number) if run.part == "ladder"]
    runs = [run for run in runs if run.outcome not in NO_EFFECT_OUTCOMES]
    several = len({run.plan for run in runs}) > 1
    for run in runs:
        names = level_names(run)
        for step in journal.runs.list_steps(run.id):
            if step.phase == "level" and step.started is not None and step.status != "skipped":
                name = names[step.level] if step.level < len(names) else str(step.level + 1)
                text = f"{run.plan}: {name}" if several else name
                marks.setdefault((run.id, step.level), Mark("level", step.started, text))
    incident = journal.incidents.find_incident(number)
    if incident is not None and incident.closed is not None:
        lasted = format_duration(incident.closed - incident.opened)
        marks["end"] = Mark("end", incident.closed, f"over after {lasted}")
    return tuple(sorted(marks.values(), key=lambda mark: (mark.t, _MARK_ORDER.index(mark.kind))))


def make_chart(plan: ChartPlan, pages: PageList, local: LocalTime) -> ChartData:
    """`pages`: the samples that the KPI's expression reads. Raises PromqlError where it cannot be evaluated."""
    times = plan.list_times(pages)
    try:
        history = evaluate_history(plan.kpi, plan.expr, pages, times, plan.epochs, LIMITS)
    except PromqlError:  # too much of it: as often as it is seen at all
        times = plan.list_times()
        history = evaluate_history(plan.kpi, plan.expr, pages, times, plan.epochs, LIMITS)
    rows = _find_rows(history, plan.chart.labels)
    values = history.values[rows]
    baseline = _find_baseline(plan)
    operator = plan.checks[0].operator if plan.checks else None
    if len(rows) == 1:
        line = values[0]
    else:
        worst = _WORST.get(operator or "")
        line = farthest_from_baseline(values, baseline) if worst is None else worst(values)
    drawn, shown = decimate(times, line)
    low, high = value_range(values) if len(rows) > 1 else (np.empty(0), np.empty(0))
    if low.size:
        at = _merge_times(drawn, decimate(times, low)[0], decimate(times, high)[0])
        index = times.searchsorted(at)
        drawn, shown, low, high = at, line[index], low[index], high[index]
    title = f"{plan.chart.target}: {plan.chart.kpi}"
    if len(rows) == 1 and (labels := _differing_labels(history.keys, history.keys[rows[0]])):
        title += f" ({labels})"
    return ChartData(
        title,
        _describe(line, operator, plan, local, len(rows)),
        plan.kpi.unit,
        plan.start,
        plan.until,
        drawn.tolist(),
        shown.tolist(),
        low.tolist(),
        high.tolist(),
        _list_references(plan, baseline),
        list(plan.marks),
        local.describe(),
        local.utc_offset,
    )


def _merge_times(*parts: Ints) -> Ints:
    return np.unique(np.concatenate(parts))


def _find_rows(history: KpiHistory, labels: Labels) -> list[int]:
    """The series that has these labels, by whatever else it is known; all of them, where none has."""
    wanted = set(labels)
    found = [row for row, key in enumerate(history.keys) if wanted <= set(key)]
    exact = [row for row in found if set(_named(history.keys[row])) == wanted]
    return exact[:1] or found or list(range(len(history.keys)))


def _named(key: Labels) -> Labels:
    return tuple(pair for pair in key if pair[0] != METRIC_NAME_LABEL)


def _differing_labels(keys: Sequence[Labels], key: Labels) -> str:
    """What tells a series from the others; empty where it is alone."""
    common = set(key).intersection(*map(set, keys))
    return format_labels({name: value for name, value in _named(key) if (name, value) not in common})


def _find_baseline(plan: ChartPlan) -> float | None:
    known = next((one.baseline for one in plan.checks if one.baseline is not None), None)
    if known is not None or plan.kpi.has_dynamic_baseline:
        return known
    try:
        return plan.kpi.pinned_baseline()
    except ValueError:
        return None


def _list_references(plan: ChartPlan, baseline: float | None) -> list[Reference]:
    found: dict[tuple[str, float], Reference] = {}
    for one in plan.checks:
        if one.operator == "expr":
            continue
        word = "limit" if one.level == "crit" else "warn"
        for value in (one.limit, one.low_limit) if one.operator == "outside" else (one.limit,):
            if isfinite(value):
                text = f"{word} {format_value(value, plan.kpi.unit)}"
                found.setdefault((one.level, value), Reference(one.level, value, text))
    limits = list(found.values())[:_MAX_REFERENCES]
    if baseline is not None and isfinite(baseline):
        limits.append(Reference("baseline", baseline, f"baseline {format_value(baseline, plan.kpi.unit)}"))
    return limits


def _describe(line: Floats, operator: str | None, plan: ChartPlan, local: LocalTime, count: int) -> str:
    """The last value and when that was, then how bad it was."""
    known, unit = line[~np.isnan(line)], plan.kpi.unit
    moment = datetime.fromtimestamp((plan.until + local.utc_offset) / 1_000, UTC)
    day = "%a %H:%M" if plan.until - plan.start > 86_400_000 else "%H:%M"
    parts = [f"{format_value(float(line[-1]), unit) if line[-1] == line[-1] else 'no value'} at {moment.strftime(day)}"]
    if known.size:
        least, most = format_value(float(known.min()), unit), format_value(float(known.max()), unit)
        worst = {"above": most, "at_least": most, "below": least, "at_most": least}.get(operator or "")
        parts.append(f"{worst} at worst" if worst else f"{least} to {most}")
    return ", ".join([*parts, f"the worst of {count}"] if count > 1 else parts)
