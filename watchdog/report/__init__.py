"""The report of one incident: what was seen, decided, done and proven, how long it took, and what is left to a person."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np

from watchdog.journal.again import redeploy
from watchdog.model import Millis
from watchdog.report.blocks import Block, Bullets, Code, Heading, Paragraph, Picture, Table, markdown, page
from watchdog.report.facts import GOALS, Facts, Line, Ran, gather, span
from watchdog.report.picture import draw, spark
from watchdog.units import show, show_duration

__all__ = ["Facts", "draw", "gather", "markdown", "page", "report", "span", "took"]

_WELL = "proven"
_ENOUGH = 20
"""Values ahead of a trip, of which the first half tells what was usual."""


def report(facts: Facts, picture: bytes | None = None) -> tuple[str, list[Block]]:
    """(title, what the report says). `picture`: a PNG of the KPIs, if one could be drawn. Pure; times are UTC."""
    title = f"Incident {facts.incident.id} — {facts.incident.target}: {facts.incident.title}"
    return title, list(_blocks(facts, title, picture))


def _blocks(facts: Facts, title: str, picture: bytes | None) -> Iterator[Block]:
    incident = facts.incident
    yield Heading(title, 1)
    yield Paragraph(_short(facts))
    yield Table(("time", "took", "goal", ""), tuple(_times(facts)))
    yield Heading("What was seen")
    yield Table(
        ("rule", "level", "tripped", "what it saw", "recovered", "plan"),
        tuple(
            (
                trip.rule + "".join(f" {k}={v}" for k, v in trip.labels),
                trip.level,
                _clock(trip.t),
                trip.reason,
                "not yet" if trip.cleared is None else f"after {show_duration(trip.cleared - trip.t)}",
                trip.plan or "–",
            )
            for trip in facts.trips
        ),
    )
    if facts.lines:
        yield Table(
            ("KPI", "baseline", "before", "during", "at the end", ""), tuple(_kpi(line, facts) for line in facts.lines)
        )
    else:
        yield Paragraph("The samples of that time are not kept any more, so there are no KPIs to show.")
    if picture is not None:
        yield Picture(picture, "The KPIs before, during and after the incident.")
    yield Heading("What was decided and done")
    for ran in facts.runs:
        yield from _run(ran)
    if not facts.runs:
        yield Paragraph("No plan ran.")
    yield Heading("Timeline")
    yield Table(("UTC", "", "what"), tuple((_clock(event.t), event.kind, event.text) for event in facts.events))
    if questions := _questions(facts):
        yield Heading("Open questions")
        yield Bullets(tuple(questions))
    if again := _redeploy(facts):
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


def _short(facts: Facts) -> str:
    incident = facts.incident
    state = f"closed after {show_duration(incident.closed - incident.opened)}" if incident.closed else "still open"
    parts = [f"Opened {_clock(incident.opened)} UTC on {_day(incident.opened)}, {state}."]
    for ran in facts.runs:
        run = ran.run
        if run.part != "ladder":
            parts.append(f"{run.plan}: {run.outcome or run.status}.")
        elif run.outcome == _WELL:
            parts.append(f"{run.plan} ({run.kind}) was proven at level {ran.level}.")
        else:
            parts.append(
                f"{run.plan} ({run.kind}): {run.outcome or run.status}{f' — {run.reason}' if run.reason else ''}."
            )
    if not facts.runs:
        parts.append("No plan ran.")
    told = "1 message was" if facts.told == 1 else f"{facts.told} messages were"
    return " ".join([*parts, f"{told} delivered."])


# ─ how long it took ─


def took(facts: Facts) -> dict[str, Millis | None]:
    """ms from when it was detected, by the names of the goals; None: not yet."""
    reached = (_acted(facts), _proven(facts), _said(facts, "cause"), _said(facts, "fix"))
    return {name: None if t is None else t - facts.incident.opened for name, t in zip(GOALS, reached, strict=True)}


def _times(facts: Facts) -> Iterator[tuple[str, str, str, str]]:
    opened = facts.incident.opened
    began = _began(facts)
    yield ("detected", "not known" if began is None else f"{show_duration(opened - began)} after it went bad", "–", "")
    for name, after in took(facts).items():
        goal = GOALS[name]
        late = (facts.now - opened if after is None else after) > goal
        yield (
            name,
            "not yet" if after is None else show_duration(after),
            f"< {show_duration(goal)}",
            "missed" if late else "open" if after is None else "met",
        )


def _began(facts: Facts) -> Millis | None:
    """When the KPI that tripped first began to leave its course, for as far as samples are kept: its first value in a
    row, up to the trip, that is farther from the baseline than anything in the time before."""
    trip = facts.trips[0] if facts.trips else None
    line = facts.lines[0] if facts.lines else None
    if trip is None or line is None or line.baseline is None:
        return None
    away = np.abs(line.values - line.baseline)
    at = int(line.times.searchsorted(trip.t, "right")) - 1
    known = np.flatnonzero(np.isfinite(away[: at + 1]))
    if known.size < _ENOUGH:
        return None
    quiet = away[known[: known.size // 2]]
    usual = float(quiet.max())
    while at > 0 and away[at - 1] > usual:
        at -= 1
    return int(line.times[at]) if away[at] > usual else None


def _acted(facts: Facts) -> Millis | None:
    """End of the last step of the level that helped."""
    helped = next((ran for ran in facts.runs if ran.run.outcome == _WELL and ran.run.part == "ladder"), None)
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


def _proven(facts: Facts) -> Millis | None:
    helped = next((ran for ran in facts.runs if ran.run.outcome == _WELL and ran.run.part == "ladder"), None)
    if helped is None:
        return facts.incident.closed if not facts.runs else None
    found = [event.t for event in facts.events if event.kind == "watch"]
    return max(found) if found else helped.run.ended


def _said(facts: Facts, kind: str) -> Millis | None:
    """When a person said so: `ack --cause`, `ack --fix`."""
    said = facts.first(kind)
    return None if said is None else said.t


# ─ KPIs ─


def _kpi(line: Line, facts: Facts) -> tuple[str, ...]:
    unit = line.unit
    opened, end = facts.incident.opened, facts.until
    before, during, after = (_part(line, low, high) for low, high in ((0, opened), (opened, end), (end, 1 << 62)))
    last = line.values[np.isfinite(line.values)]
    away = during[np.argmax(np.abs(during - (line.baseline or 0.0)))] if during.size else None
    settled = float(np.median(after)) if after.size else float(last[-1]) if last.size else None
    return (
        line.name,
        "–" if line.baseline is None else show(line.baseline, unit),
        show(float(np.median(before)), unit) if before.size else "–",
        show(float(away), unit) if away is not None else "–",
        show(settled, unit) if settled is not None else "–",
        spark(line.values),
    )


def _part(line: Line, low: Millis, high: Millis) -> np.ndarray:
    inside = line.values[(line.times >= low) & (line.times < high)]
    return np.asarray(inside[np.isfinite(inside)])


# ─ plans ─


def _run(ran: Ran) -> Iterator[Block]:
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
                _row_name(ran, step.phase, step.level),
                step.say,
                f"{step.status}{f': {step.detail}' if step.detail else ''}",
                "–" if step.started is None else _clock(step.started),
                "–" if step.started is None or step.ended is None else show_duration(step.ended - step.started),
            )
            for step in ran.steps
        ),
    )
    for step in ran.steps:
        if step.status == "done" and step.diff:
            yield Code(step.diff, "diff")


def _row_name(ran: Ran, phase: str, level: int) -> str:
    if phase != "level":
        return phase
    return f"level {ran.levels[level]}" if level < len(ran.levels) else f"level {level + 1}"


def _questions(facts: Facts) -> list[str]:
    questions = []
    incident = facts.incident
    if facts.first("cause") is None:
        questions.append(f'What was the root cause? trading-watchdog ack {incident.id} --cause "…" answers it.')
    if facts.first("fix") is None:
        questions.append(f'What fixes it for good? trading-watchdog ack {incident.id} --fix "…" answers it.')
    if incident.closed is None:
        questions.append("The incident is still open.")
    if facts.standing.latched is not None:
        questions.append(
            f"{incident.target} is latched ({facts.standing.latch_why}): repairs are refused until a person "
            f'says trading-watchdog resume {incident.target} --reason "…".'
        )
    for ran in facts.runs:
        questions += [
            f"Nobody knows whether “{step.say}” took place: look."
            for step in ran.steps
            if step.status in ("started", "unknown")
        ]
    questions += [f"{trip.rule} has not recovered." for trip in facts.trips if trip.cleared is None]
    questions += [f"A message to {channel} never arrived: {why}" for channel, why in facts.unsent]
    return questions


def _redeploy(facts: Facts) -> list[str]:
    """The commands that bring back what was taken back: git first, then the flags."""
    commits, flags = redeploy((ran.run, ran.steps) for ran in facts.runs)
    return [*commits, *(f"# and turn back on: {say}" for say in flags)]


def _clock(t: Millis) -> str:
    return _utc(t).strftime("%H:%M:%S")


def _day(t: Millis) -> str:
    return _utc(t).strftime("%Y-%m-%d")


def _utc(t: Millis) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=t)
