"""Rules over the past: what would have tripped, when, for how long, and which plan would have started.

```
history ─evaluate, once a KPI→ values at all times ─edges→ the looks that matter ─judge, advance→ changes
   ─guard→ plans → Report
```
The same `judge`, the same state machine and the same guard as live. A look whose verdicts are of the kind they were
before moves nothing but timers; so only those looks are taken at which a verdict changes or a timer runs out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from watchdog import history, rules
from watchdog.config import Config
from watchdog.model import Millis
from watchdog.pipeline import expressions
from watchdog.promql import Expr, Pages, evaluate, metric_names
from watchdog.promql.pages import Bools, Floats, Ints
from watchdog.replay.looks import Course, Seen
from watchdog.replay.story import Started, Trip, plans_of, trips_of
from watchdog.rules import Check, Kpi

__all__ = ["Report", "Started", "Trip", "replay"]

TICK: Millis = 1_000
_AT_ONCE = 20_000
"""Looks that are evaluated together: so many values of a series are in memory, however long the history is."""
_DRAWN = 2_000
"""Values of a KPI that are kept for a picture."""


@dataclass(frozen=True, slots=True)
class Report:
    """What would have happened."""

    start: Millis
    end: Millis
    checks: tuple[Check, ...]
    trips: list[Trip]
    """In order of time."""
    plans: list[Started]
    """Plans that would have started, or been refused, in order of time."""
    unjudged: dict[str, str]
    """Rules that were never judged, and why."""
    blank: dict[tuple[str, str], list[tuple[Millis, Millis]]]
    """By rule and level: when there was nothing to judge by."""
    lines: dict[str, tuple[Ints, Floats]] = field(default_factory=dict)
    """KPI → times [n] in ms and values [n], thinned out for a picture; NaN where there was none."""

    @property
    def weeks(self) -> float:
        return max(self.end - self.start, 1) / (7 * 86_400_000)


def replay(
    config: Config, pages: Pages, *, start: Millis | None = None, end: Millis | None = None,
    every: Millis | None = None, progress: Callable[[float], None] = lambda _: None,
) -> Report:  # fmt: skip
    """Judges all rules from `start` to `end` (first and last sample when not said).

    `every`: None looks as the daemon does, at each sample and each second in between; else at this step only.
    `progress` is told the share that is done. Pure but for that.
    """
    first, last = history.span_of(pages)
    start, end = first if start is None else start, last if end is None else end
    parsed = {text: config.expr(text) for text in expressions(config)}
    courses = [Course(check, index) for index, check in enumerate(config.checks)]
    questions = rules.questions(config.kpis, config.rules)
    kpis = list(dict.fromkeys(check.reads for check in config.checks))
    lines: dict[str, tuple[Ints, Floats]] = {}
    for done, kpi in enumerate(kpis):
        mine = [course for course in courses if course.check.reads == kpi]
        one = _Kpi(config, questions[kpi], pages, parsed)
        beside = next((config.kpis[c.check.kpi] for c in mine if c.check.kpi != kpi and c.check.kpi in config.kpis), None)
        shown = None if beside is None else _Kpi(config, beside, pages, parsed)
        line = _Line(start, end)
        for times in _chunks(one.samples(), start, end, every):
            seen = one.at(times)
            if shown is not None:
                seen = replace(seen, shown=shown.at(times).result)
            for course in mine:
                course.go(seen, one.asleep(course.check, times))
            line.add(seen)
            progress((done + (int(times[-1]) - start) / max(1, end - start)) / len(kpis))
        lines[kpi] = line.told()
    for course in courses:
        course.end(end)
    trips = trips_of(courses)
    return Report(
        start=start, end=end, checks=config.checks, trips=trips, plans=plans_of(config, courses, end),
        unjudged=_unjudged(courses), blank={(c.check.rule, c.check.level): c.blank for c in courses}, lines=lines,
    )  # fmt: skip


class _Kpi:
    """One KPI over history."""

    def __init__(self, config: Config, kpi: Kpi, pages: Pages, parsed: dict[str, Expr]) -> None:
        self._config, self._kpi, self._pages, self._parsed = config, kpi, pages, parsed
        self._reads = metric_names(parsed[kpi.expr])
        if kpi.needs is not None:
            self._reads |= metric_names(parsed[kpi.needs])
        self._max_age = self._slowest(self._reads)

    def samples(self) -> list[Ints]:
        """When something came in that this KPI reads."""
        return [page.t for page in self._pages.pages if "" in self._reads or _holds(page.keys, self._reads)]

    def at(self, times: Ints) -> Seen:
        result = evaluate(self._parsed[self._kpi.expr], self._pages, times)
        if not self._reads:  # `hour() > 22` is as fresh as the question
            result = replace(result, newest=times)
        needs = None if self._kpi.needs is None else evaluate(self._parsed[self._kpi.needs], self._pages, times)
        return Seen(times, result, needs, self._max_age)

    def asleep(self, check: Check, times: Ints) -> Bools:
        """When the rule's `only` says that it sleeps; where that cannot be told it is awake."""
        only = self._config.rules[check.rule].only
        if only is None:
            return np.zeros(times.size, np.bool_)
        asleep: Bools = np.zeros(times.size, np.bool_)
        if only.between or only.days:
            asleep |= ~rules.inside_at(only.between, only.days, only.timezone, times)
        if only.when is not None:
            expr = self._parsed[only.when]
            result = evaluate(expr, self._pages, times)
            told = times - result.newest <= self._slowest(metric_names(expr))
            asleep |= told & ~result.present.any(axis=0)
        return asleep

    def _slowest(self, metrics: Collection[str]) -> Millis:
        """3 × the spacing of what delivers one of these: an age beyond which nothing is believed."""
        sources = {dict(key).get("source", "") for page in self._pages.pages for key in page.keys
                   if "" in metrics or dict(key)["__name__"] in metrics}  # fmt: skip
        known = [self._config.sources[name].every for name in sources if name in self._config.sources]
        if known and all(name in self._config.sources for name in sources):
            return 3 * max(known)
        return 3 * (history.spacing(self._pages, metrics) or 60_000)


class _Line:
    """A KPI's values, thinned out."""

    def __init__(self, start: Millis, end: Millis) -> None:
        self._step = max(1, (end - start) // _DRAWN)
        self._due = start
        self._parts: list[tuple[Ints, Floats]] = []

    def add(self, seen: Seen) -> None:
        marks = np.arange(self._due, int(seen.times[-1]) + 1, self._step)
        if marks.size and seen.times.size:
            self._due = int(marks[-1]) + self._step
            at = np.unique(np.minimum(seen.times.searchsorted(marks), seen.times.size - 1))
            self._parts.append((seen.times[at], seen.single(at)))

    def told(self) -> tuple[Ints, Floats]:
        if not self._parts:
            return np.zeros(0, np.int64), np.zeros(0)
        return np.concatenate([t for t, _ in self._parts]), np.concatenate([v for _, v in self._parts])


def _chunks(samples: Iterable[Ints], start: Millis, end: Millis, every: Millis | None) -> Iterator[Ints]:
    """The looks, ascending, so many at a time: ticks, and without `every` samples too."""
    tick = TICK if every is None else every
    listed = [] if every is not None else list(samples)
    for low in range(start, end + 1, tick * _AT_ONCE):
        high = min(low + tick * _AT_ONCE, end + 1)
        inside = [t[t.searchsorted(low) : t.searchsorted(high)] for t in listed]
        times = np.unique(np.concatenate([low + tick * np.arange(-((low - high) // tick), dtype=np.int64), *inside]))
        for at in range(0, times.size, _AT_ONCE):
            yield times[at : at + _AT_ONCE]


def _holds(keys: Iterable[tuple[tuple[str, str], ...]], names: Collection[str]) -> bool:
    return any(dict(key)["__name__"] in names for key in keys)


def _unjudged(courses: Iterable[Course]) -> dict[str, str]:
    judged = {course.check.rule for course in courses if course.judged}
    return {course.check.rule: course.why for course in courses if course.check.rule not in judged}
