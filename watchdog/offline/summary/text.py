"""A summary as people read it on a phone: the quickest fact first, one line a fact."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from watchdog.core.model import Message, Millis
from watchdog.core.units import format_duration, format_value
from watchdog.journal.runs import PlanRun
from watchdog.offline.summary.data import (
    HistoryFacts,
    IncidentFacts,
    KpiFacts,
    NoisyRule,
    SummaryData,
    SummaryPeriod,
    TargetState,
)
from watchdog.plans.models import name_and_kind

_MAX_TARGETS, _MAX_INCIDENTS, _MAX_KPIS, _MAX_LINES_OF_A_KIND = 8, 6, 8, 4
_FEW_TARGETS = 3
"""So many are named one by one though all is well."""


def summary_message(data: SummaryData) -> Message:
    """An info message of its own. Pure; times are those of the period's zone."""
    return Message("info", _title(data), tuple(_lines(data)))


def _title(data: SummaryData) -> str:
    targets = data.journal.targets
    unwell = [state for state in targets if not state.is_well]
    if not targets:
        state = "no target is configured"
    elif not unwell:
        state = "all is well" if len(targets) == 1 else f"all {len(targets)} targets are well"
        state = "both targets are well" if len(targets) == 2 else state
    elif len(targets) == 1:
        state = f"{unwell[0].target} is not well"
    else:
        state = f"{len(unwell)} of {len(targets)} targets {'is' if len(unwell) == 1 else 'are'} not well"
    began = data.journal.began
    incidents = "no incident" if not began else _count(began, "incident")
    return f"{data.period.kind.capitalize()} summary: {state}, {incidents}"


def _lines(data: SummaryData) -> Iterator[str]:
    period, journal = data.period, data.journal
    clock = _Clock(period)
    if not data.watchdog_runs:
        yield "no watchdog runs now: nobody watches"
    yield from _target_lines(journal.targets)
    for run in journal.approvals[:_MAX_LINES_OF_A_KIND]:
        until = "" if run.approve_by is None else f" until {clock.format(run.approve_by)}"
        plan = f"{_of(data, run.target)}{name_and_kind(run.plan, run.kind)}"
        yield f"waits for you{until}: {plan} (approve {run.id} or deny {run.id})"
    if data.sources_down:
        names = [f"{name} ({why})" for name, why in data.sources_down.items()]
        yield f"cannot be read now: {_some(names)}"
    yield from _incident_lines(data, clock)
    if data.history is not None:
        yield from _money_lines(data, data.history, clock)
        yield from _kpi_lines(data, data.history.kpis)
        yield from _uptime_lines(data.history)
    for one in data.noisy:
        yield _noise_line(data, one)
    for suppression in journal.suppressions[:_MAX_LINES_OF_A_KIND]:
        what = "held" if suppression.kind == "hold" else "silenced"
        well = " or until it is well" if suppression.until_well else ""
        yield f"{what} until {clock.format(suppression.until)}{well}: {suppression.subject} ({suppression.who})"
    if data.history is None:
        yield "KPIs, account and uptime were not looked at"
    elif data.history.lacks:
        yield f"not looked at: {_some(list(data.history.lacks))}"
    yield f"since {clock.format(period.since)}, {format_duration(period.until - period.since)}"


def _target_lines(targets: Sequence[TargetState]) -> Iterator[str]:
    unwell = [state for state in targets if not state.is_well]
    shown = (
        targets if len(targets) <= _FEW_TARGETS else [*unwell, *(s for s in targets if s.is_well and s.text != "well")]
    )
    for state in shown[:_MAX_TARGETS]:
        yield f"{state.target}: {state.text}"
    if len(shown) > _MAX_TARGETS:
        yield f"and {_count(len(shown) - _MAX_TARGETS, 'more target')} not well or held"
    if (others := len(targets) - len(shown)) and shown:
        yield f"the other {others} are well" if others > 1 else "the other one is well"


# ─ incidents ─


def _incident_lines(data: SummaryData, clock: _Clock) -> Iterator[str]:
    period = data.period
    mine = [
        one
        for one in data.journal.incidents
        if one.incident.closed is None or one.incident.closed >= period.since or one.incident.opened >= period.since
    ]
    told = sorted((one for one in mine if not one.came_to_nothing), key=_importance)
    for one in told[:_MAX_INCIDENTS]:
        yield _incident_line(data, one, clock)
    if len(told) > _MAX_INCIDENTS:
        yield f"and {_count(len(told) - _MAX_INCIDENTS, 'more incident')}: trading-watchdog incidents"
    alone: dict[tuple[str, str], list[IncidentFacts]] = {}
    for one in mine:
        if one.came_to_nothing:
            rules = ", ".join(dict.fromkeys(trip.rule for trip in one.trips)) or one.incident.title
            alone.setdefault((one.incident.target, rules), []).append(one)
    for (target, rules), ones in sorted(alone.items(), key=lambda each: -len(each[1]))[:_MAX_LINES_OF_A_KIND]:
        yield _alone_line(data, target, rules, ones, clock)
    if len(alone) > _MAX_LINES_OF_A_KIND:
        yield f"and {_count(len(alone) - _MAX_LINES_OF_A_KIND, 'more kind')} of incidents that were over by themselves"
    for run in data.journal.other_runs[:_MAX_LINES_OF_A_KIND]:
        yield f"{clock.format(run.queued)} {_of(data, run.target)}{_outcome(run)}, for {run.by}"


def _importance(one: IncidentFacts) -> tuple[bool, bool, bool, int]:
    """Open ones first, then what was acted on, then what is critical, the newest first."""
    incident = one.incident
    return incident.closed is not None, one.acted_at is None, incident.severity != "crit", -incident.id


def _incident_line(data: SummaryData, one: IncidentFacts, clock: _Clock) -> str:
    incident = one.incident
    now = data.period.until
    length = format_duration((incident.closed or now) - incident.opened)
    state = f"over after {length}" if incident.closed else f"open for {length}"
    parts = [state]
    ladder = [run for run in one.runs if run.part == "ladder"]
    parts += [_outcome(run) for run in ladder[-2:]]
    if not ladder:
        parts.append("no plan ran")
    times = []
    if one.detected_after is not None:
        times.append(f"detected {format_duration(one.detected_after)} after it went bad")
    if one.acted_at is not None:
        times.append(f"acted after {format_duration(max(0, one.acted_at - incident.opened))}")
        reached = ((name, one.took.get(name)) for name in ("rolled back", "back at the baseline"))
        times += [f"{name} after {format_duration(after)}" for name, after in reached if after is not None]
    if incident.acked_by and incident.acked is not None:
        times.append(
            f"acknowledged by {incident.acked_by} after {format_duration(max(0, incident.acked - incident.opened))}"
        )
    about = f"{incident.title}" if not data.several_targets else f"{incident.target}: {incident.title}"
    return f"#{incident.id} {clock.format(incident.opened)} {about} — {'; '.join([*parts, *times])}"


def _alone_line(data: SummaryData, target: str, rules: str, ones: Sequence[IncidentFacts], clock: _Clock) -> str:
    """Of incidents of one kind, each of which was over before anybody did anything."""
    longest = max((one.incident.closed or one.incident.opened) - one.incident.opened for one in ones)
    last = max((one.incident for one in ones), key=lambda incident: incident.opened)
    if len(ones) == 1:
        return f"#{last.id} {clock.format(last.opened)} {_of(data, target)}{rules}, over by itself after {format_duration(longest)}"
    times = f"{len(ones)} times, over by itself each time, after {format_duration(longest)} at most"
    return f"{_of(data, target)}{rules} {times}; the last #{last.id} {clock.format(last.opened)}"


def _outcome(run: PlanRun) -> str:
    plan = name_and_kind(run.plan, run.kind)
    if run.ended is None:
        return f"{plan} is under way"
    words = {
        "proven": "helped" if run.kind == "repair" else "made it safe",
        "exhausted": "did not help",
        "overtaken": "gave way to a halt",
        "stopped": "stopped, somebody must look",
        "not-needed": "was not needed",
        "denied": "was denied",
        "aborted": "was aborted",
        "dry-run": "was a dry run",
    }
    return f"{plan} {words.get(run.outcome or '', run.outcome or run.status)}"


# ─ numbers ─


def _money_lines(data: SummaryData, history: HistoryFacts, clock: _Clock) -> Iterator[str]:
    for one in history.money[:_MAX_LINES_OF_A_KIND]:
        made = one.last - one.first
        share = f" ({_signed(format_value(made / abs(one.first), 'ratio'), made)})" if one.first else ""
        change = f"{_signed(format_value(made, one.unit), made)}{share}"
        yield f"{_of(data, one.target)}P&L {change}, equity {format_value(one.last, one.unit)}"
    several = [one for one in history.strategies if one.name]
    if len(several) > 1:
        best, worst = max(several, key=lambda one: one.made), min(several, key=lambda one: one.made)
        shown = [
            f"{word} strategy {_of(data, one.target, ' ')}{one.name} {_signed(format_value(one.made, one.unit), one.made)}"
            for word, one in (("best", best), ("worst", worst))
        ]
        yield ", ".join(shown)
    elif len(history.strategies) == 1:
        one_strategy = history.strategies[0]
        made = one_strategy.made
        yield f"{_of(data, one_strategy.target)}strategy {_signed(format_value(made, one_strategy.unit), made)}"
    if history.worst_trades:
        worst_trade = max(history.worst_trades, key=lambda trade: trade.lost)
        which = " ".join(value for _, value in worst_trade.labels)
        lost = format_value(-worst_trade.lost, worst_trade.unit)
        yield f"{_of(data, worst_trade.target)}worst trade {lost}{f' ({which})' if which else ''}, {clock.format(worst_trade.t)}"


def _kpi_lines(data: SummaryData, kpis: Sequence[KpiFacts]) -> Iterator[str]:
    """Those farthest from their baselines first."""
    ordered = sorted(kpis, key=_deviation, reverse=True)
    for one in ordered[:_MAX_KPIS]:
        values = dict.fromkeys(format_value(value, one.unit) for value in (one.low, one.high) if value is not None)
        baseline = "" if one.baseline is None else f", baseline {format_value(one.baseline, one.unit)}"
        now = "no value now" if one.now is None else format_value(one.now, one.unit)
        span = "" if not values or list(values) == [now] else f" ({' to '.join(values)})"
        yield f"{_of(data, one.target, ' ')}{one.name} {now}{span}{baseline}"
    if len(ordered) > _MAX_KPIS:
        yield f"and {_count(len(ordered) - _MAX_KPIS, 'more KPI')}, nearer to their baselines or without one"


def _deviation(one: KpiFacts) -> float:
    if one.now is None:
        return math.inf if one.low is None else 0.0
    if one.baseline is None:
        return -1.0
    return abs(one.now - one.baseline) / (abs(one.baseline) or 1.0)


def _uptime_lines(history: HistoryFacts) -> Iterator[str]:
    if (uptime := history.uptime) is None:
        return
    lower = sorted((share, name) for name, share in uptime.sources.items() if share < 1)
    if not uptime.sources:
        sources = "no source was read"
    elif not lower:
        sources = "every read of every source went well"
    else:
        sources = "reads that went well: " + _some([f"{name} {_percent(share)}" for share, name in lower])
        if len(lower) < len(uptime.sources):
            sources += ", all others 100 %"
    yield f"watched {_percent(uptime.watchdog)} of the time; {sources}"


def _noise_line(data: SummaryData, one: NoisyRule) -> str:
    trips = f"{_count(one.trips, 'trip')} in 7 d, {one.came_to_nothing} for nothing"
    return f"noisy: {_of(data, one.target, ' ')}{one.rule} ({one.level}), {trips}; {one.advice}"


# ─ words ─


class _Clock:
    """Times as people there say them: the day of the week, and the date where that would not tell."""

    def __init__(self, period: SummaryPeriod) -> None:
        self._zone, self._until = ZoneInfo(period.zone), period.until

    def format(self, t: Millis) -> str:
        then = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=t)).astimezone(self._zone)
        near = abs(self._until - t) < 6 * 86_400_000
        return then.strftime("%a %H:%M" if near else "%-d %b %H:%M")


def _of(data: SummaryData, target: str, mark: str = ": ") -> str:
    return f"{target}{mark}" if data.several_targets and target else ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MAX_LINES_OF_A_KIND
    return ", ".join(names[:_MAX_LINES_OF_A_KIND]) + (f" and {more} more" if more > 0 else "")


def _signed(text: str, value: float) -> str:
    return f"+{text}" if value > 0 else text


def _percent(share: float) -> str:
    """Rounded down: 99.999 % is not all of it."""
    return f"{math.floor(share * 10_000) / 100:g} %"
