"""The report of one incident: what was seen, decided, done and proven, how long it took, and what is left to a person."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np

from watchdog.core.model import Millis
from watchdog.core.units import format_duration, format_value
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
from watchdog.plans.done_steps import redeploy_hints

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
            ("KPI", "baseline", "before", "during", "at the end", ""),
            tuple(_kpi_row(line, data) for line in data.lines),
        )
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
    if questions := _open_questions(data):
        yield Heading("Open questions")
        yield Bullets(tuple(questions))
    if again := _redeploy_commands(data):
        yield Heading("To deploy it again")
        yield Code("\n".join(again), "sh")
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
            parts.append(f"{run.plan} ({run.kind}) was proven at level {ran.level_name}.")
        else:
            parts.append(
                f"{run.plan} ({run.kind}): {run.outcome or run.status}{f' — {run.reason}' if run.reason else ''}."
            )
    if not data.runs:
        parts.append("No plan ran.")
    deliveries = "1 message was" if data.told == 1 else f"{data.told} messages were"
    return " ".join([*parts, f"{deliveries} delivered."])


# ─ how long it took ─


def durations(data: IncidentData) -> dict[str, Millis | None]:
    """ms from when it was detected, by the names of the goals; None: not yet."""
    reached = (_rolled_back_at(data), _proven_at(data), _acknowledged_at(data, "cause"), _acknowledged_at(data, "fix"))
    return {name: None if t is None else t - data.incident.opened for name, t in zip(TIME_GOALS, reached, strict=True)}


def _duration_rows(data: IncidentData) -> Iterator[tuple[str, str, str, str]]:
    opened = data.incident.opened
    began = _deviation_start(data)
    yield (
        "detected",
        "not known" if began is None else f"{format_duration(opened - began)} after it went bad",
        "–",
        "",
    )
    for name, after in durations(data).items():
        goal = TIME_GOALS[name]
        late = (data.now - opened if after is None else after) > goal
        yield (
            name,
            "not yet" if after is None else format_duration(after),
            f"< {format_duration(goal)}",
            "missed" if late else "open" if after is None else "met",
        )


def _deviation_start(data: IncidentData) -> Millis | None:
    """When the KPI that tripped first began to leave its course, for as far as samples are kept: its first value in a
    row, up to the trip, that is farther from the baseline than anything in the time before."""
    trip = data.trips[0] if data.trips else None
    line = data.lines[0] if data.lines else None
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


def _rolled_back_at(data: IncidentData) -> Millis | None:
    """End of the last step of the level that helped."""
    helped = next((ran for ran in data.runs if ran.run.outcome == _PROVEN and ran.run.part == "ladder"), None)
    ended = (
        []
        if helped is None
        else [
            step.ended
            for step in helped.steps
            if step.phase == "level" and step.level == helped.run.level and step.ended
        ]
    )
    return max(ended, default=None)


def _proven_at(data: IncidentData) -> Millis | None:
    helped = next((ran for ran in data.runs if ran.run.outcome == _PROVEN and ran.run.part == "ladder"), None)
    if helped is None:
        return data.incident.closed if not data.runs else None
    found = [event.t for event in data.events if event.kind == "watch"]
    return max(found) if found else helped.run.ended


def _acknowledged_at(data: IncidentData, kind: str) -> Millis | None:
    """When a person said so: `ack --cause`, `ack --fix`."""
    event = data.first_event(kind)
    return None if event is None else event.t


# ─ KPIs ─


def _kpi_row(line: KpiSeries, data: IncidentData) -> tuple[str, ...]:
    unit = line.unit
    opened, end = data.incident.opened, data.end
    before, during, after = (
        _values_between(line, low, high) for low, high in ((0, opened), (opened, end), (end, 1 << 62))
    )
    last = line.values[np.isfinite(line.values)]
    farthest = during[np.argmax(np.abs(during - (line.baseline or 0.0)))] if during.size else None
    settled = float(np.median(after)) if after.size else float(last[-1]) if last.size else None
    return (
        line.name,
        "–" if line.baseline is None else format_value(line.baseline, unit),
        format_value(float(np.median(before)), unit) if before.size else "–",
        format_value(float(farthest), unit) if farthest is not None else "–",
        format_value(settled, unit) if settled is not None else "–",
        sparkline(line.values),
    )


def _values_between(line: KpiSeries, low: Millis, high: Millis) -> np.ndarray:
    inside = line.values[(line.times >= low) & (line.times < high)]
    return np.asarray(inside[np.isfinite(inside)])


# ─ plans ─


def _run_blocks(ran: RunWithSteps) -> Iterator[Block]:
    run = ran.run
    outcome = run.outcome or run.status
    yield Heading(f"{run.plan} ({run.kind}), for {run.by}: {outcome}{f' — {run.reason}' if run.reason else ''}", 3)
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
    questions += [f"{trip.rule} has not recovered." for trip in data.trips if trip.cleared is None]
    questions += [f"A message to {channel} never arrived: {why}" for channel, why in data.unsent]
    return questions


def _redeploy_commands(data: IncidentData) -> list[str]:
    """The commands that bring back what was taken back: git first, then the flags."""
    commits, flags = redeploy_hints((ran.run, ran.steps) for ran in data.runs)
    return [*commits, *(f"# and turn back on: {say}" for say in flags)]


def _format_time(t: Millis) -> str:
    return _utc_datetime(t).strftime("%H:%M:%S")


def _format_date(t: Millis) -> str:
    return _utc_datetime(t).strftime("%Y-%m-%d")


def _utc_datetime(t: Millis) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=t)
