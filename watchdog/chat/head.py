"""The first message of an incident, as it reads now: its state in the title, what is so below it, and what may be answered.

Pure, and the same as long as nothing happens: no age that grows, so that it is edited only when something is other. A time is
that of the watchdog's machine.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import NamedTuple

from watchdog.chat.run_state import RunState, describe_ended, describe_run
from watchdog.chat.subjects import is_latch_of
from watchdog.config import Config
from watchdog.core.chat import IncidentHead
from watchdog.core.model import Button, Message, Millis, Severity
from watchdog.core.text import shorten
from watchdog.core.units import format_duration
from watchdog.journal.incidents import Incident, TripRecord
from watchdog.journal.runs import NO_EFFECT_OUTCOMES, PlanRun
from watchdog.journal.storage import Journal
from watchdog.journal.timeline import TimelineEvent
from watchdog.rules import format_labels

_MAX_WHAT = 100
"""Characters of what tripped in a title: what is done about it must be seen in a list of chats."""
_MAX_RULES, _MAX_LABEL_SETS, _MAX_ANSWERS = 5, 5, 5
_PHRASES = ("above", "below", "at least", "at most", "equal to", "outside")
_NO_REASON = "no reason given"
_ON_IT = "on it"


class _State(NamedTuple):
    symbol: str
    words: str


class _Facts(NamedTuple):
    """All that a head is made from."""

    incident: Incident
    trips: Sequence[TripRecord]
    runs: Sequence[PlanRun]
    at_work: Sequence[RunState]
    """Of those that have not ended, the one first that people have to know of."""
    events: Sequence[TimelineEvent]
    resumed: TimelineEvent | None
    """When a person has opened the latch that the incident had brought about."""
    latched: str | None
    """Why repairs are refused now."""
    is_own_latch: bool
    """This incident has brought it about."""


def describe_head(journal: Journal, config: Config, incident: Incident, about: Collection[str] = ()) -> IncidentHead:
    """`about`: what goes on standing below what is so now, of the message as it was written (`Message.about`)."""
    facts = _gather(journal, incident)
    state = _state(facts)
    what, is_whole = _what(facts)
    lines = [
        *_trip_lines(facts.trips, incident, alone=is_whole),
        f"since {format_time(incident.opened)}",
        *_work_lines(facts),
        *_answer_lines(facts),
    ]
    said = {line.removesuffix(f": {what}") for line in lines} | {incident.title}
    lines += [line for line in about if line not in said and not any(trip.reason == line for trip in facts.trips)]
    is_over = incident.closed is not None and not facts.is_own_latch
    message = Message(
        _severity(facts),
        f"{state.symbol} {incident.target}: {what} — {state.words}",
        tuple(dict.fromkeys(lines)),
        incident.id,
        buttons=() if is_over else _buttons(journal, config, facts),
    )
    return IncidentHead(message, is_over)


def head_describer(
    journal: Journal, config: Callable[[], Config]
) -> Callable[[int, Collection[str]], IncidentHead | None]:
    """(incident, about) → its head, by the configuration as it is then; None: there is no such incident."""

    def describe(number: int, about: Collection[str]) -> IncidentHead | None:
        incident = journal.incidents.find_incident(number)
        return None if incident is None else describe_head(journal, config(), incident, about)

    return describe


def format_time(t: Millis) -> str:
    """``2026-12-01 14:02 CET``"""
    return datetime.fromtimestamp(t / 1_000).astimezone().strftime("%Y-%m-%d %H:%M %Z")


def _gather(journal: Journal, incident: Incident) -> _Facts:
    runs = journal.runs.list_for_incident(incident.id)
    unfinished = [run for run in runs if run.ended is None]
    at_work = [describe_run(run, journal.runs.list_steps(run.id), format_time) for run in unfinished]
    at_work.sort(key=lambda one: one.rank)
    latch = next((one for one in journal.targets.list_latched() if one.name == incident.target), None)
    resumed = [
        event
        for event in journal.timeline.list_events_since(incident.target, "resumed", incident.opened)
        if incident.closed is None or event.t >= incident.closed
    ]
    return _Facts(
        incident,
        journal.incidents.list_trips(incident.id),
        runs,
        at_work,
        journal.timeline.list_events(incident.id),
        resumed[0] if resumed and _has_latched(runs, incident, resumed[0].t) else None,
        None if latch is None else latch.latch_why or "",
        latch is not None and latch.latched is not None and is_latch_of(incident, latch.latched),
    )


def _has_latched(runs: Sequence[PlanRun], incident: Incident, resumed: Millis) -> bool:
    """Whether what a person has resumed then may have been latched by it: a later incident's latch is none of its business."""
    return incident.closed == resumed or any(run.part == "ladder" for run in runs)


# ─ the title ─


def _state(facts: _Facts) -> _State:
    """The word that counts, and its symbol."""
    incident = facts.incident
    if incident.closed is not None:
        return _closed_state(facts, incident.closed)
    if facts.at_work:
        first = facts.at_work[0]
        return _State(first.symbol or _fire_symbol(facts), first.words)
    if facts.is_own_latch:
        return _State("🔒", f"latched{_how_it_came(facts)}")
    if (helped := _still_helps(facts)) is not None:
        return _State("🟡", describe_ended(helped))
    open_trips = [trip for trip in facts.trips if trip.cleared is None]
    refused = _refusals(facts)
    words = "tripped" if open_trips or not facts.trips else "recovering"
    return _State(_fire_symbol(facts), f"{words}, {next(iter(refused))} is not started" if refused else words)


def _still_helps(facts: _Facts) -> PlanRun | None:
    """The repair that was proven, while its rules are not quiet for long enough yet: nothing has tripped since."""
    last = next((run for run in reversed(facts.runs) if run.outcome not in (None, *NO_EFFECT_OUTCOMES)), None)
    if last is None or last.outcome != "proven" or last.kind != "repair" or last.part != "ladder":
        return None
    return None if any(trip.cleared is None and trip.t > last.acted for trip in facts.trips) else last


def _closed_state(facts: _Facts, closed: Millis) -> _State:
    lasted = format_duration(closed - facts.incident.opened)
    event = next((one for one in reversed(facts.events) if one.kind == "closed"), None)
    if event is None and facts.resumed is not None:  # a person has ended it
        return _State("⚪", f"ended after {lasted}, {_by_person(facts.resumed)}")
    if event is not None and (why := event.text.partition(": ")[2]):
        state = _State("⚪", f"ended after {lasted}: {why}")
    else:
        state = _State("✅", f"recovered after {lasted}{_what_helped(facts)}")
    if facts.is_own_latch:
        return _State("🔒", f"{state.words}, latched")
    return state


def _fire_symbol(facts: _Facts) -> str:
    return "🔴" if facts.incident.severity == "crit" else "🟠"


def _severity(facts: _Facts) -> Severity:
    over = facts.incident.closed is not None
    return "info" if over and not facts.is_own_latch else "warn" if over else facts.incident.severity


def _how_it_came(facts: _Facts) -> str:
    last = next((run for run in reversed(facts.runs) if run.outcome not in (None, *NO_EFFECT_OUTCOMES)), None)
    return "" if last is None else f", {last.plan} {last.outcome}"


def _what_helped(facts: _Facts) -> str:
    helped = next((run for run in reversed(facts.runs) if run.part == "ladder" and run.outcome == "proven"), None)
    return "" if helped is None else f", {describe_ended(helped)}"


def _what(facts: _Facts) -> tuple[str, bool]:
    """What was seen, by which the incident is called; and whether nothing of it is left out."""
    title = facts.incident.title
    reason = next(
        (trip.reason for trip in facts.trips if f"{trip.rule}: {trip.reason}" == title),
        title.partition(": ")[2] or title,
    )
    value, _, beside = reason.partition(" (baseline ")
    for phrase in _PHRASES:
        if f" is {phrase} " in value:
            value = value.replace(f" is {phrase} ", f" {phrase} ", 1)
            break
    shown = shorten(value, _MAX_WHAT) if len(value) <= _MAX_WHAT else f"{shorten(value[: _MAX_WHAT - 1], _MAX_WHAT)}…"
    return shown, not beside and len(value) <= _MAX_WHAT


# ─ the lines ─


def _trip_lines(trips: Sequence[TripRecord], incident: Incident, *, alone: bool) -> list[str]:
    """Each rule with its value against the limit, and what has recovered. `alone`: the title says all of the first one."""
    by_rule: dict[str, dict[object, TripRecord]] = {}
    for trip in sorted(trips, key=lambda one: one.level == "crit"):  # at its worst, and the newest of that
        by_rule.setdefault(trip.rule, {})[trip.labels] = trip
    if alone and len(by_rule) == 1 and all(len(found) == 1 for found in by_rule.values()):
        return []
    order = sorted(by_rule, key=lambda rule: not incident.title.startswith(f"{rule}: "))
    lines: list[str] = []
    for rule in order[:_MAX_RULES]:
        found = [*by_rule[rule].values()]
        lines += [_trip_line(trip, with_labels=len(found) > 1) for trip in found[:_MAX_LABEL_SETS]]
        lines += [f"{rule}: and {len(found) - _MAX_LABEL_SETS} more"] if len(found) > _MAX_LABEL_SETS else []
    return [*lines, f"and {len(order) - _MAX_RULES} more rules"] if len(order) > _MAX_RULES else lines


def _trip_line(trip: TripRecord, *, with_labels: bool) -> str:
    labels = f" ({format_labels(dict(trip.labels))})" if with_labels and trip.labels else ""
    return f"{trip.rule}: {trip.reason}{labels}{'' if trip.cleared is None else ' – has recovered'}"


def _work_lines(facts: _Facts) -> list[str]:
    """What plans do, have done, or may not do."""
    lines = [line for one in facts.at_work for line in one.lines]
    if facts.at_work:  # why it is at this level
        lines += _failed_levels(facts.events, facts.at_work[0])
    ended = [run for run in facts.runs if run.ended is not None and run.outcome != "not-needed"]
    lines += [
        f"{run.plan}: {run.outcome} ({run.reason})" if run.reason else f"{run.plan}: {run.outcome}" for run in ended
    ]
    if facts.incident.closed is None:
        lines += [f"{plan} is not started: {why}" for plan, why in _refusals(facts).items()]
    if facts.latched is not None and (facts.is_own_latch or facts.incident.closed is None):
        why = "" if facts.is_own_latch or not facts.latched else f" ({facts.latched})"  # its own stands above
        lines.append(f"latched: repairs wait for a resume{why}")
    return lines


def _failed_levels(events: Sequence[TimelineEvent], at_work: RunState) -> list[str]:
    """The last level that did not help, and why."""
    mark = f"{at_work.plan}: level "
    found = [
        event.text
        for event in events
        if event.kind == "plan" and event.text.startswith(mark) and " starts: " not in event.text
    ]
    last = found[-1].removeprefix(f"{at_work.plan}: ") if found else ""
    return [] if not last or " proven: " in last else [last]


def _refusals(facts: _Facts) -> dict[str, str]:
    """Plan → why it is not started, as it was said last; not those that have been queued since."""
    found: dict[str, tuple[Millis, str]] = {}
    for event in facts.events:
        if event.kind == "refused":
            plan, _, why = event.text.partition(" refused: ")
            found[plan] = event.t, why
    begun = {run.plan: run.queued for run in facts.runs}
    return {plan: why for plan, (t, why) in found.items() if begun.get(plan, -1) < t}


def _answer_lines(facts: _Facts) -> list[str]:
    """Who is on it, and who has answered what."""
    incident = facts.incident
    acks = [event for event in facts.events if event.kind == "ack"]
    lines = [] if incident.acked_by is None or acks else [f"{incident.acked_by} is on it"]
    answers = [_answer_line(event) for event in facts.events if event.kind in ("ack", "cause", "fix", "person")]
    if facts.resumed is not None:
        answers.append(_by_person(facts.resumed))
    answers = list(dict.fromkeys(answers))
    left_out = len(answers) - _MAX_ANSWERS
    return [*lines, *([f"and {left_out} answers before"] if left_out > 0 else []), *answers[-_MAX_ANSWERS:]]


def _answer_line(event: TimelineEvent) -> str:
    what, _, rest = event.text.partition(": ")
    who, _, why = rest.partition(": ")
    if event.kind == "ack":
        return f"{who} is on it" if why in ("", _ON_IT) else f"{who} is on it: {why}"
    if event.kind in ("cause", "fix"):
        return f"{'cause' if event.kind == 'cause' else 'fixed for good'}, says {who}: {why}"
    if not why:  # nobody's answer: a time is over
        return f"{what}: {rest}"
    return f"{what} by {who}" if why == _NO_REASON else f"{what} by {who}: {why}"


def _by_person(event: TimelineEvent) -> str:
    """``resumed by ann: the exchange is back``"""
    return event.text.removesuffix(f": {_NO_REASON}")


# ─ the buttons ─


def _buttons(journal: Journal, config: Config, facts: _Facts) -> tuple[Button, ...]:
    """What can be answered now. Numbers are the incident's, of an approval and a level the run's."""
    number, is_open = facts.incident.id, facts.incident.closed is None
    target = facts.incident.target
    found: list[Button] = []
    waiting = [one for one in facts.at_work if one.waits_for_approval]
    for one in waiting:
        of = f" {one.plan}" if len(waiting) > 1 else ""
        found.append(Button(shorten(f"Approve{of}", 40), f"approve {one.run}", "primary"))
        found.append(Button(shorten(f"Deny{of}", 40), f"deny {one.run}", "danger"))
    is_at_work = any(not one.only_watches for one in facts.at_work)  # a resume would be refused
    if facts.latched is not None and (facts.is_own_latch or is_open) and not is_at_work:
        found.append(Button("Resume", f"resume {number}", "danger"))
    if not is_open:
        return tuple(found)
    if facts.incident.acked is None:
        found.append(Button("Acknowledge", f"ack {number}", "" if waiting else "primary"))
    next_level = next((one for one in facts.at_work if one.next_level is not None), None)
    if next_level is not None:
        found.append(Button(shorten(f"Level {next_level.next_level} now", 40), f"next {next_level.run}", "danger"))
    kept = journal.suppressions.list_unended()
    silenced = {one.subject for one in kept if one.kind == "silence"}
    rules = {
        trip.rule for trip in facts.trips if trip.cleared is None and (trip.rule, target) in config.rules_by_target
    }
    if any(not silenced & {rule, f"{rule}@{target}"} for rule in rules):
        found.append(Button("Silence 1 h", f"silence {number} 1h"))
    if target in config.targets and not any((one.kind, one.subject) == ("hold", target) for one in kept):
        found.append(Button("Hold 2 h", f"hold {number} 2h"))
    if rules:
        found.append(Button("Chart", f"chart {number}"))
    return tuple(found)
