"""Reads a log: its lines become events, and these counters and last values. Whose lines they are, others know."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, NamedTuple
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field

from watchdog.core.model import JsonObject, Millis, Sample
from watchdog.core.protocols import Match
from watchdog.core.text import shorten
from watchdog.sources.event_series import EventSeries, KeptSeries
from watchdog.sources.log_events import Event, EventAssembler
from watchdog.sources.log_rules import Expression, LogRules, any_expression, compiled, expressions
from watchdog.sources.log_times import LogClock

_Count = Annotated[int, Field(ge=0, lt=1 << 53)]

_MAX_SHOWN = 3
"""Of what an expression matched, and of what comes nearest to it."""
_SHOWN_LENGTH = 160
_CLASSES = re.compile(r"\[\^?\]?[^\]]*\]|\\[pP]\{\^?\w+\}|\\[pPdDwWsSbBAz]|\(\?P?<\w+>|\(\?[\w-]+:?|\{[0-9,]+\}")
"""What of an expression is no word that stands in the text."""
_WORD = re.compile(r"\w{3,}")


class OpenEvent(BaseModel):
    """`log_events` knows what is in it."""

    model_config = ConfigDict(extra="forbid")

    text: Annotated[str, Field(max_length=1 << 17)]
    t: int | None
    since: int
    cut: bool
    traceback: bool


class LogState(BaseModel):
    """What of a log survives a restart: how far it was read, and what came of it by then."""

    model_config = ConfigDict(extra="forbid")

    files: JsonObject = {}
    """`host.tail`'s."""
    cursor: str | None = None
    usec: _Count = 0
    """`host.journalctl`'s; 0: nothing of a journal was read."""
    open: OpenEvent | None = None
    """The event that may go on."""
    newest: int | None = None
    """When the newest event was that said so."""
    at: int | None = None
    """Of which time the counters were when the last line was read."""
    series: dict[str, KeptSeries] = {}
    lines: _Count = 0
    events: _Count = 0
    cut_events: _Count = 0
    dropped_events: _Count = 0


class LogResult(NamedTuple):
    """Of one read."""

    state: LogState
    samples: tuple[Sample, ...]
    at: Millis
    """Of which time the counters are."""


class LogReading:
    """One read."""

    def __init__(
        self, rules: LogRules, state: LogState, now: Millis, every: Millis = 0, previous: Millis | None = None
    ) -> None:
        """`previous`: of which time the counters of the read before were; None: the state says it. `every`: between two."""
        self._state, self._now = state.model_copy(), now
        self._expressions = expressions(rules.values)
        self._any = any_expression(tuple(each.pattern.text for each in self._expressions))
        self._lines = self._taken = self._cut = 0
        plans = {name: value.plan for name, value in rules.values.items()}
        known = [at for at in (state.at, previous) if at is not None]
        self._series = EventSeries(plans, state.series, now, max(known) if state.at is not None else None, every)
        self._events = _assembler(rules, None if state.open is None else state.open.model_dump())
        self._times = _EventTimes(rules, now)
        self._last: Event | None = None

    def add(self, line: bytes, t: Millis | None = None) -> None:
        """The next line, without its newline. `t`: when it was taken down, where somebody noted that."""
        self._lines += 1
        event = self._events.add(line, self._now, t)
        if event is not None:
            self._take(event)

    def add_cut(self) -> None:
        """One that is too long to be looked at."""
        self._lines += 1
        self._cut += 1

    def seed(self, events: Iterable[Event]) -> None:
        """Last values out of what was written ahead of the first read, where it says when; nothing of it is counted."""
        for event in events:
            for each in self._expressions:
                if each.kind == "last":
                    self._apply(each, event, undated=False)

    def end(self, *, behind: bool = False) -> LogResult:
        """Once all lines were added. `behind`: more of them wait to be read."""
        event = None if behind else self._events.flush(self._now)
        if event is not None:
            self._take(event)
        newest = None if self._last is None else self._times.of(self._last, self._state.newest)
        at = self._series.finish(newest, behind=behind)
        if self._lines or self._taken or self._state.at is None:
            self._state.at = at
        still_open = self._events.keep()
        self._state.open = None if still_open is None else OpenEvent(**still_open)
        self._state.series = self._series.keep()
        self._state.lines += self._lines
        self._state.events += self._taken
        self._state.cut_events += self._cut
        self._state.dropped_events += self._series.dropped
        own = {
            "log_lines_total": self._state.lines,
            "log_events_total": self._state.events,
            "log_cut_events_total": self._state.cut_events,
            "log_dropped_events_total": self._state.dropped_events,
        }
        said = [Sample(name, (), self._now, float(value)) for name, value in own.items()]
        return LogResult(self._state, (*self._series.samples(), *said), at)

    def _take(self, event: Event) -> None:
        self._taken += 1
        self._cut += event.cut
        self._last = event
        if self._any is not None and self._any.find(event.data) is None:
            return
        for each in self._expressions:
            self._apply(each, event)

    def _apply(self, expression: Expression, event: Event, *, undated: bool = True) -> None:
        found = expression.find(event.data)
        if found is None:
            return
        number = expression.number(found)
        if number is None or (number < 0 and expression.kind == "sum"):
            return  # nothing that counts goes back
        t = self._times.of(event, self._state.newest)
        if t is not None:
            self._state.newest = t
        elif not undated:
            return
        labels = [found.get(group, "") for group in expression.groups]
        self._series.add(expression.name, labels, number, t)


class _EventTimes:
    """When events were; looked at only for those that say something."""

    def __init__(self, rules: LogRules, now: Millis) -> None:
        self._pattern = None if rules.time is None else compiled(rules.time)
        self._clock = LogClock(rules.time_format, ZoneInfo(rules.zone), now)
        self._now = now
        self._last: tuple[Event, Millis | None] | None = None

    def of(self, event: Event, before: Millis | None) -> Millis | None:
        """By what the log says; else by what was noted of it; None: nobody knows."""
        if self._last is None or self._last[0] is not event:
            self._last = event, self._find(event, before)
        return self._last[1]

    def _find(self, event: Event, before: Millis | None) -> Millis | None:
        if (text := self.text(event.data)) is not None and (said := self.parse(text, before)) is not None:
            return said
        return None if event.t is None else min(event.t, self._now)

    def parse(self, text: str, before: Millis | None = None) -> Millis | None:
        return self._clock.parse(text, before)

    def text(self, data: bytes) -> str | None:
        """The time stamp as it stands there."""
        found = None if self._pattern is None else self._pattern.find(data)
        return None if found is None else found.get("time")


def _assembler(rules: LogRules, kept: dict[str, Any] | None) -> EventAssembler:
    start = None if rules.event_start is None else compiled(rules.event_start)
    time = None if rules.time is None else compiled(rules.time)
    return EventAssembler(start, time, rules.event_timeout, kept)


class NotedLine(NamedTuple):
    """A line, and when it was taken down, where somebody noted that."""

    data: bytes
    t: Millis | None = None


def assemble(rules: LogRules, lines: Iterable[NotedLine], now: Millis) -> list[Event]:
    """All events of these lines; the last one has come to its end."""
    assembler = _assembler(rules, None)
    found = [assembler.add(line, now, t) for line, t in lines]
    found.append(assembler.flush(now + 2 * rules.event_timeout + 1))
    return [event for event in found if event is not None]


def explain_events(rules: LogRules, events: list[Event], now: Millis) -> tuple[Match, ...]:
    """What each expression finds in them, newest first."""
    matches = []
    times = _EventTimes(rules, now)
    newest = events[::-1]
    if rules.event_start is not None:
        start = compiled(rules.event_start)
        begun = [event for event in newest if start.find(event.data) is not None]
        matches.append(_match("event_start", rules.event_start, [_line(event) for event in begun], newest))
    if rules.time is not None:
        texts = [text for event in newest if (text := times.text(event.data)) is not None]
        why = "" if not texts or any(times.parse(text) is not None for text in texts) else "no time of that format"
        matches.append(_match("time", rules.time, texts, newest, why))
    for each in expressions(rules.values):
        found = [(groups, event) for event in newest if (groups := each.find(event.data)) is not None]
        numbers = any(each.number(groups) is not None for groups, _ in found)
        why = "" if numbers or not found else "no number"
        shown = [groups[""] for groups, _ in found]
        matches.append(_match(f"values.{each.name}.{each.kind}", each.pattern.text, shown, newest, why))
    return tuple(matches)


def _match(key: str, expression: str, found: list[str], newest: list[Event], why: str = "") -> Match:
    shown = tuple(shorten(text, _SHOWN_LENGTH) for text in found[:_MAX_SHOWN])
    nearest = () if shown else tuple(_line(event) for event in _nearest(expression, newest))
    return Match(key, expression, shown, nearest, why)


def _nearest(expression: str, newest: list[Event]) -> list[Event]:
    """Those that hold the longest word of an expression that any holds; else the newest."""
    words = sorted(set(_WORD.findall(_CLASSES.sub(" ", expression))), key=len, reverse=True)
    for word in words[:10]:
        like = [event for event in newest if word.lower().encode() in event.data.lower()]
        if like:
            return like[:_MAX_SHOWN]
    return newest[:_MAX_SHOWN]


def _line(event: Event) -> str:
    return shorten(event.data.decode("utf-8", "replace"), _SHOWN_LENGTH)
