"""Rules over the past: what would have tripped, when, for how long, and which plan would have started.

```
history ─evaluate, once a KPI→ values at all times ─edges→ the looks that matter ─judge, advance→ changes
   ─guard→ plans → Report
```
The same `judge`, the same state machine and the same guard as live. A look whose verdicts are of the kind they were
before moves nothing but timers; so only those looks are taken at which a verdict changes or a timer runs out.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from watchdog import history, rules
from watchdog.config import Config
from watchdog.model import Millis
from watchdog.pipeline import expressions
from watchdog.promql import Expr, Page, Pages, PromqlError, Result, evaluate, metric_names, windows
from watchdog.promql.pages import Bools, Floats, Ints
from watchdog.replay.calm import Calm, Part
from watchdog.replay.looks import Ages, Course, Seen
from watchdog.replay.story import Started, Trip, plans_of, trips_of
from watchdog.replay.times import TICK, Looks
from watchdog.rules import Check, Kpi

__all__ = ["Report", "Started", "Trip", "replay"]

_AT_ONCE = 65_536
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
    config: Config,
    pages: Pages,
    *,
    start: Millis | None = None,
    end: Millis | None = None,
    every: Millis | None = None,
    drawn: bool = False,
    progress: Callable[[float], None] = lambda _: None,
) -> Report:
    """Judges all rules from `start` to `end` (first and last sample when not said).

    `every`: None looks as the daemon does, at each sample and each second in between; else at this step only.
    `drawn`: the KPIs' values are kept for a picture. `progress` is told the share that is done. Pure but for that.
    """
    first, last = history.span_of(pages)
    start, end = first if start is None else start, last if end is None else end
    parsed = {text: config.expr(text) for text in expressions(config)}
    courses = [Course(check, index) for index, check in enumerate(config.checks)]
    questions = rules.questions(config.kpis, config.rules)
    kpis = list(dict.fromkeys(check.reads for check in config.checks))
    beside = {check.reads: config.kpis.get(check.kpi) for check in config.checks if check.reads != check.kpi}
    ages, apart = Ages(), history.spacings(pages)
    asked = {kpi: _Kpi(config, kpi, questions[kpi], beside.get(kpi), pages, parsed, ages, apart) for kpi in kpis}
    calm, done = Calm(pages, parsed, start, end, every or TICK), 0
    for alike in _read_alike(asked):  # those that look at the same times
        at_once = max(asked[kpi].at_once() for kpi in alike)
        looks = Looks(asked[alike[0]].samples(), start, every)
        ways = [(asked[kpi], [course for course in courses if course.check.reads == kpi]) for kpi in alike]
        cut = [
            [(part, n) for part in _cut(kpi.parts(calm, [course.check for course in mine]), at_once * (every or TICK))]
            for n, (kpi, mine) in enumerate(ways)
        ]
        for part, n in heapq.merge(*cut):  # side by side, so that they share what is found out of the times
            _go(part, *ways[n], looks, at_once)
            progress((done + len(alike) * (part.first - start) / max(1, end - start)) / len(kpis))
        done += len(alike)
    for course in courses:
        course.end(end)
    progress(1.0)
    trips = trips_of(courses)
    return Report(
        start=start,
        end=end,
        checks=config.checks,
        trips=trips,
        plans=plans_of(config, courses, end),
        unjudged=_unjudged(courses),
        blank={(c.check.rule, c.check.level): c.blank for c in courses},
        lines={kpi: one.line(start, end) for kpi, one in asked.items()} if drawn else {},
    )


def _go(part: Part, kpi: _Kpi, courses: list[Course], looks: Looks, at_once: int) -> None:
    """All courses of a KPI through one part of history."""
    for times in [np.array([part.first])] if part.calm else looks.between(part.first, part.last, at_once):
        for seen in kpi.at(times):
            for course in courses:
                course.go(seen, kpi.asleep(course.check, seen.times))
    last = looks.newest(part.last)
    if part.calm and last > part.first:
        for course in courses:
            course.rest(part.first + 1, last, lambda due: (kpi.at(np.array([looks.next(due)]))[0], 0))


def _cut(parts: Iterable[Part], wide: Millis) -> Iterator[Part]:
    """What is not calm in pieces that fit into memory."""
    for part in parts:
        if part.calm:
            yield part
            continue
        for first in range(part.first, part.last + 1, wide):
            yield Part(first, min(first + wide - 1, part.last), False)


class _Kpi:
    """One KPI over history."""

    def __init__(
        self,
        config: Config,
        name: str,
        kpi: Kpi,
        beside: Kpi | None,
        pages: Pages,
        parsed: dict[str, Expr],
        ages: Ages,
        spacings: Mapping[int, Millis],
    ) -> None:
        """`beside`: what is shown with a condition."""
        self._ages, self._spacings = ages, spacings
        self._name, self._beside = name, beside
        self._config, self._kpi, self._pages, self._parsed = config, kpi, pages, parsed
        self._reads = metric_names(parsed[kpi.expr])
        if kpi.needs is not None:
            self._reads |= metric_names(parsed[kpi.needs])
        self._max_age = self._slowest(self._reads)

    def samples(self) -> list[Page]:
        """Where samples come in that this KPI reads."""
        return [page for page in self._pages.pages if "" in self._reads or _holds(page.keys, self._reads)]

    def at_once(self) -> int:
        """How many looks are evaluated together: more where windows are long, for each chunk reads a window more; fewer
        where series are many."""
        texts = [text for text in (self._kpi.expr, self._kpi.needs) if text is not None]
        longest = max((back for text in texts for back in windows(self._parsed[text]).values()), default=0)
        series = sum(_holds([key], self._reads) or "" in self._reads for page in self.samples() for key in page.keys)
        return max(1, min(max(_AT_ONCE, longest // TICK), 16 * _AT_ONCE, 64 * _AT_ONCE // max(1, series)))

    def at(self, times: Ints) -> list[Seen]:
        """One after the other; several where it cannot be evaluated at some of the times."""
        try:
            result = evaluate(self._parsed[self._kpi.expr], self._pages, times)
            if not self._reads:  # `hour() > 22` is as fresh as the question
                result = dataclasses.replace(result, newest=times)
            needs = None if self._kpi.needs is None else evaluate(self._parsed[self._kpi.needs], self._pages, times)
            shown = None if self._beside is None else evaluate(self._parsed[self._beside.expr], self._pages, times)
        except PromqlError as error:  # what only the samples tell: two series that match one, for instance
            if times.size > 1:
                middle = times.size // 2
                return [*self.at(times[:middle]), *self.at(times[middle:])]
            none = np.zeros(1, np.int64)
            nothing = Result([], np.zeros((0, 1)), np.zeros((0, 1), np.bool_), none, none, none)
            return [Seen(times, nothing, None, self._max_age, error=f"{self._name} cannot be evaluated: {error}")]
        return [Seen(times, result, needs, self._max_age, shown, ages=self._ages)]

    def parts(self, calm: Calm, checks: Iterable[Check]) -> list[Part]:
        """History, in parts that are calm and others."""
        mine = [(check, self._config.rules[check.rule]) for check in checks]
        whens = {rule.only.when for _, rule in mine if rule.only is not None and rule.only.when is not None}
        ages = {text: self._slowest(metric_names(self._parsed[text])) for text in whens}
        return calm.parts(self._kpi, mine, self._max_age, ages)

    def line(self, start: Millis, end: Millis) -> tuple[Ints, Floats]:
        """Times in ms, and the greatest of its values there, thinned out for a picture."""
        seen = self.at(np.arange(start, end + 1, max(1, (end - start) // _DRAWN), dtype=np.int64))
        return np.concatenate([one.times for one in seen]), np.concatenate([one.single() for one in seen])

    def asleep(self, check: Check, times: Ints) -> Bools | None:
        """When the rule's `only` says that it sleeps; where that cannot be told it is awake. None: it never does."""
        only = self._config.rules[check.rule].only
        if only is None:
            return None
        asleep: Bools = np.zeros(times.size, np.bool_)
        if only.between or only.days:
            asleep |= ~rules.inside_at(only.between, only.days, only.timezone, times)
        if only.when is not None:
            asleep |= self._not_so(self._parsed[only.when], times)
        return asleep

    def _not_so(self, expr: Expr, times: Ints) -> Bools:
        """When it can be told that a condition does not hold."""
        try:
            result = evaluate(expr, self._pages, times)
        except PromqlError:
            if times.size == 1:
                return np.zeros(1, np.bool_)
            middle = times.size // 2
            return np.concatenate((self._not_so(expr, times[:middle]), self._not_so(expr, times[middle:])))
        told = times - result.newest <= self._slowest(metric_names(expr))
        return np.asarray(told & ~result.present.any(axis=0))

    def _slowest(self, metrics: Collection[str]) -> Millis:
        """3 × the spacing of what delivers one of these: an age beyond which nothing is believed."""
        sources = {
            dict(key).get("source", "")
            for page in self._pages.pages
            for key in page.keys
            if "" in metrics or dict(key)["__name__"] in metrics
        }
        known = [self._config.sources[name].every for name in sources if name in self._config.sources]
        if known and all(name in self._config.sources for name in sources):
            return 3 * max(known)
        return 3 * (history.spacing(self._pages, metrics, self._spacings) or 60_000)


def _read_alike(asked: Mapping[str, _Kpi]) -> Iterator[list[str]]:
    """KPIs that read the same pages, together."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for kpi, one in asked.items():
        groups.setdefault(tuple(id(page) for page in one.samples()), []).append(kpi)
    yield from groups.values()


def _holds(keys: Iterable[tuple[tuple[str, str], ...]], names: Collection[str]) -> bool:
    return any(dict(key)["__name__"] in names for key in keys)


def _unjudged(courses: Iterable[Course]) -> dict[str, str]:
    judged = {course.check.rule for course in courses if course.judged}
    return {course.check.rule: course.why for course in courses if course.check.rule not in judged}
