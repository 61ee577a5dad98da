"""The report of one incident: what was seen, decided, done and proven, how long it took, and what is left to a person."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np

from watchdog.core.model import Millis
from watchdog.core.units import format_duration, format_durations_apart, format_value
from watchdog.journal.runs import NO_EFFECT_OUTCOMES
from watchdog.offline.report.blocks import (
    Block,
    Bullets,
    Code,
    Heading,
    Image,
    Paragraph,
    Table,
    render_html,
    render_markdown,
)
from watchdog.offline.report.chart import draw_chart, sparkline
from watchdog.offline.report.data import TIME_GOALS, IncidentData, KpiSeries, RunWithSteps, chart_range, collect_data
from watchdog.plans.models import name_and_kind
from watchdog.tsdb.page import Floats

__all__ = [
    "IncidentData",
    "build_report",
    "chart_range",
    "collect_data",
    "draw_chart",
    "durations",
    "render_html",
    "render_markdown",
]

_PROVEN = "proven"
_MIN_VALUES = 20
"""Values ahead of a trip, of which the first half tells what was usual."""


def build_report(data: IncidentData, chart: bytes | None = None) -> tuple[str, list[Block]]:
    """(title, what the report says). `chart`: a PNG of the KPIs, if one could be drawn. Pure; times are UTC."""
    title = f"Incident {data.incident.id} — {data.incident.target}: {data.incident.title}"
    return title, list(_report_blocks(data, title, chart))


def _report_blocks(data: IncidentData, title: str, picture: bytes | None) -> Iterator[Block]:
    incident = data.incident
    yield Heading(title, 1)
    yield Paragraph(_summary(data))
    yield Table(("time", "took", "goal", ""), tuple(_duration_rows(data)))
    yield Heading("What was seen")
    yield Table(
        ("rule", "level", "tripped", "what it saw", "recovered", "plan"),
        tuple(
            (
                trip.rule + "".join(f" {k}={v}" for k, v in trip.labels),
                trip.level,
                _format_time(trip.t),
                trip.reason,
                "not yet" if trip.cleared is None else f"after {format_duration(trip.cleared - trip.t)}",
                trip.plan or "–",
            )
            for trip in data.trips
        ),
    )
    if data.lines:
        yield Table(
            ("KPI", "baseline", "before", "during", "now" if incident.closed is None else "at the end", ""),
            tuple(_kpi_row(line, data) for line in data.lines),
        )
    elif data.samples_kept:
        yield Paragraph(f"No rule of {incident.target} that is configured now judges a KPI, so there is none to show.")
    else:
        yield Paragraph("The samples of that time are not kept any more, so there are no KPIs to show.")
    if picture is not None:
        yield Image(picture, "The KPIs before, during and after the incident.")
    yield Heading("What was decided and done")
    for ran in data.runs:
        yield from _run_blocks(ran)
    if not data.runs:
        yield Paragraph("No plan ran.")
    yield Heading("Timeline")
    yield Table(("UTC", "", "what"), tuple((_format_time(event.t), event.kind, event.text) for event in data.events))
    if data.lacks:
        yield Heading("What this report lacks")
        yield Bullets(data.lacks)
    if questions := _open_questions(data):
        yield Heading("Open questions")
        yield Bullets(tuple(questions))
    if data.standing:
        yield Heading("Still so, and how it is put back once the cause is fixed")
        yield Table(
            ("what", "is", "since", "to put it back"),
            tuple(
                (one.what, one.how, _format_time(one.since), one.by_hand or "as it was before")
                for one in reversed(data.standing)
            ),
        )
        yield Bullets(
            (
                "The root cause is known, and a test fails without the fix.",
                "The rules were replayed over this incident: trading-watchdog replay finds it at the limits of today.",
                f'The latch of {incident.target} is open (trading-watchdog resume {incident.target} --reason "…"), '
                "and no hold is in the way.",
                "trading-watchdog snapshot was taken, so that one command takes the deployment back.",
                "Somebody watches the first hour.",
            ),
            boxes=True,
        )


def _summary(data: IncidentData) -> str:
    incident = data.incident
    state = f"closed after {format_duration(incident.closed - incident.opened)}" if incident.closed else "still open"
    parts = [f"Opened {_format_time(incident.opened)} UTC on {_format_date(incident.opened)}, {state}."]
    for ran in data.runs:
        run = ran.run
        if run.part != "ladder":
            parts.append(f"{run.plan}: {run.outcome or run.status}.")
        elif run.outcome == _PROVEN:
            parts.append(f"{name_and_kind(run.plan, run.kind)} was proven at level {ran.level_name}.")
        else:
            why = f" — {run.reason}" if run.reason else ""
            parts.append(f"{name_and_kind(run.plan, run.kind)}: {run.outcome or run.status}{why}.")
    if not data.runs:
        parts.append("No plan ran.")
    deliveries = "1 message was" if data.told == 1 else f"{data.told} messages were"
    return " ".join([*parts, f"{deliveries} delivered."])


# ─ how long it took ─


def durations(data: IncidentData) -> dict[str, Millis | None]:
    """ms from when it was detected, by the names of the goals; None: it has not happened."""
    reached = (
        _rolled_back_at(data),
        _recovered_at(data),
        _acknowledged_at(data, "cause"),
        _acknowledged_at(data, "fix"),
    )
    return {name: None if t is None else t - data.incident.opened for name, t in zip(TIME_GOALS, reached, strict=True)}


def _duration_rows(data: IncidentData) -> Iterator[tuple[str, str, str, str]]:
    opened = data.incident.opened
    began = deviation_start(data)
    yield (
        "detected",
        "not known" if began is None else f"{format_duration(opened - began)} after it went bad",
        "–",
        "",
    )
    for name, after in durations(data).items():
        goal = TIME_GOALS[name]
        took, within = format_durations_apart(data.now - opened if after is None else after, goal)
        late = (data.now - opened if after is None else after) > goal
        result = "missed" if late else "open" if after is None else "met"
        if after is None:
            took, result = _unreached(name, data) or ("not yet", result)
            within = format_duration(goal)
        yield name, took, f"< {within}", result


def _unreached(name: str, data: IncidentData) -> tuple[str, str] | None:
    """What is told instead of a time of what will not happen any more, and of its goal; None: it may still happen."""
    repairs = [ran.run for ran in data.runs if ran.run.kind == "repair" and ran.run.part == "ladder"]
    if name == "rolled back" and all(run.ended is not None for run in repairs):
        tried = any(run.outcome not in NO_EFFECT_OUTCOMES for run in repairs)
        return "not rolled back", "missed" if tried else "–"
    if name == "back at the baseline" and data.incident.closed is not None:
        return "not back", "missed"
    return None


def deviation_start(data: IncidentData) -> Millis | None:
    """When the KPI that tripped first began to leave its course, for as far as samples are kept: its first value in a
    row, up to the trip, that is farther from the baseline than anything in the time before."""
    trip = data.trips[0] if data.trips else None
    line = None if trip is None else next((line for line in data.lines if trip.rule in line.rules), None)
    if trip is None or line is None or line.baseline is None:
        return None
    deviation = np.abs(line.values - line.baseline)
    at = int(line.times.searchsorted(trip.t, "right")) - 1
    known = np.flatnonzero(np.isfinite(deviation[: at + 1]))
    if known.size < _MIN_VALUES:
        return None
    quiet = deviation[known[: known.size // 2]]
    usual_deviation = float(quiet.max())
    while at > 0 and deviation[at - 1] > usual_deviation:
        at -= 1
    return int(line.times[at]) if deviation[at] > usual_deviation else None


def _repair_that_helped(data: IncidentData) -> RunWithSteps | None:
    """A halt that is proven has made the bot safe; it has brought nothing back."""
    proven = [ran for ran in data.runs if ran.run.outcome == _PROVEN and ran.run.part == "ladder"]
    return next((ran for ran in proven if ran.run.kind == "repair"), None)


def _rolled_back_at(data: IncidentData) -> Millis | None:
    """End of the last step of the level that helped."""
    if (helped := _repair_that_helped(data)) is None:
        return None
    steps = [step for step in helped.steps if step.phase == "level" and step.level == helped.run.level]
    return max((step.ended for step in steps if step.ended), default=None)


def _recovered_at(data: IncidentData) -> Millis | None:
    """The end of the proof; of what no repair has helped, when the last rule that had tripped recovered.

    An incident is closed by a person's `resume`, too, and label sets that are gone have not recovered.
    """
    helped = _repair_that_helped(data)
    if helped is not None:
        found = [event.t for event in data.events if event.kind == "watch"]
        proven = max(found) if found else helped.run.ended
        relapsed = any(trip.cleared is None and trip.t > (proven or 0) for trip in data.trips)
        return None if relapsed else proven
    gone = {(event.t, event.text.partition(": ")[0]) for event in data.events if event.kind == "gone"}
    recovered = [
        trip.cleared
        for trip in data.trips
        if trip.cleared is not None and (trip.cleared, f"{trip.rule} ({trip.level}) forgotten") not in gone
    ]
    return max(recovered) if recovered and len(recovered) == len(data.trips) else None


def _acknowledged_at(data: IncidentData, kind: str) -> Millis | None:
    """When a person said so: `ack --cause`, `ack --fix`."""
    event = data.first_event(kind)
    return None if event is None else event.t


# ─ KPIs ─


def _kpi_row(line: KpiSeries, data: IncidentData) -> tuple[str, ...]:
    unit = line.unit
    opened, end = data.incident.opened, data.end
    before, after = (_values_between(line, line.values, *span) for span in ((0, opened), (end, 1 << 62)))
    last = line.values[-1:]  # of another time nothing is told here
    settled = float(np.median(after)) if after.size else float(last[0]) if np.isfinite(last).any() else None
    return (
        line.name,
        "–" if line.baseline is None else format_value(line.baseline, unit),
        format_value(float(np.median(before)), unit) if before.size else "–",
        _farthest(line, opened, end),
        format_value(settled, unit) if settled is not None else "–",
        sparkline(line.values),
    )


def _farthest(line: KpiSeries, opened: Millis, end: Millis) -> str:
    """The value of the incident that is farthest from the baseline; where nobody knows that, the least and the greatest."""
    during, lows, highs = (_values_between(line, v, opened, end) for v in (line.values, line.low, line.high))
    if not during.size:
        return "–"
    if line.baseline is not None:
        return format_value(float(during[np.argmax(np.abs(during - line.baseline))]), line.unit)
    low, high = (format_value(float(edge), line.unit) for edge in (lows.min(), highs.max()))
    return low if low == high else f"{low} to {high}"


def _values_between(line: KpiSeries, values: Floats, low: Millis, high: Millis) -> Floats:
    inside = values[(line.times >= low) & (line.times < high)]
    return np.asarray(inside[np.isfinite(inside)])


# ─ plans ─


def _run_blocks(ran: RunWithSteps) -> Iterator[Block]:
    run = ran.run
    outcome = run.outcome or run.status
    yield Heading(
        f"{name_and_kind(run.plan, run.kind)}, for {run.by}: {outcome}{f' — {run.reason}' if run.reason else ''}", 3
    )
    if not ran.steps:
        yield Paragraph("It changed nothing.")
        return
    yield Table(
        ("row", "step", "result", "began", "took"),
        tuple(
            (
                _phase_name(ran, step.phase, step.level),
                step.say,
                f"{step.status}{f': {step.detail}' if step.detail else ''}",
                "–" if step.started is None else _format_time(step.started),
                "–" if step.started is None or step.ended is None else format_duration(step.ended - step.started),
            )
            for step in ran.steps
        ),
    )
    for step in ran.steps:
        if step.status == "done" and step.diff:
            yield Code(step.diff, "diff")


def _phase_name(ran: RunWithSteps, phase: str, level: int) -> str:
    if phase != "level":
        return phase
    return f"level {ran.levels[level]}" if level < len(ran.levels) else f"level {level + 1}"


def _open_questions(data: IncidentData) -> list[str]:
    questions = []
    incident = data.incident
    if data.first_event("cause") is None:
        questions.append(f'What was the root cause? trading-watchdog ack {incident.id} --cause "…" answers it.')
    if data.first_event("fix") is None:
        questions.append(f'What fixes it for good? trading-watchdog ack {incident.id} --fix "…" answers it.')
    if incident.closed is None:
        questions.append("The incident is still open.")
    if data.target_state.latched is not None:
        questions.append(
            f"{incident.target} is latched ({data.target_state.latch_why}): repairs are refused until a person "
            f'says trading-watchdog resume {incident.target} --reason "…".'
        )
    for ran in data.runs:
        questions += [
            f"Nobody knows whether “{step.say}” took place: look."
            for step in ran.steps
            if step.status in ("started", "unknown")
        ]
    unwell = dict.fromkeys(trip.rule for trip in data.trips if trip.cleared is None)
    questions += [f"{rule} has not recovered." for rule in unwell]
    questions += [f"A message to {channel} has not arrived: {why}" for channel, why in data.unsent]
    return questions


def _format_time(t: Millis) -> str:
    return _utc_datetime(t).strftime("%H:%M:%S")


def _format_date(t: Millis) -> str:
    return _utc_datetime(t).strftime("%Y-%m-%d")


def _utc_datetime(t: Millis) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=t)
