"""Rules over the past: what would have tripped, when, for how long, and which plan would have started.

```
history ─evaluate, once a KPI→ values at all times ─edges→ the rounds that matter ─judge, advance→ changes
   ─guard→ plans → Report
```
The same `judge`, the same state machine and the same guard as live. A round whose verdicts are of the kind they were
before moves nothing but timers; so only those rounds are judged at which a verdict changes or a timer runs out. `exact`
judges every one.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from watchdog import rules
from watchdog.config import Config
from watchdog.core.model import Millis
from watchdog.offline.history import loader
from watchdog.offline.replay.evaluations import AgeCache, KpiEvaluations
from watchdog.offline.replay.outcome import PlanStart, ReplayTrip, collect_trips, simulate_plans
from watchdog.offline.replay.round_times import ROUND_MS, RoundTimes
from watchdog.offline.replay.skip import Segment, Segmenter
from watchdog.offline.replay.threshold import ThresholdReplay
from watchdog.pipeline.config_expressions import expressions
from watchdog.pipeline.target_label import without_target
from watchdog.promql import Expr, PromqlError, QueryResult, evaluate, metric_names, required_lookback
from watchdog.rules import Check, Kpi
from watchdog.sources.max_age import max_age_of
from watchdog.tsdb.labels import labels_without_name
from watchdog.tsdb.page import Bools, Floats, Ints, PageList, SeriesPage

__all__ = ["PlanStart", "ReplayReport", "ReplayTrip", "replay"]

_CHUNK_ROUNDS = 65_536
"""Rounds that are evaluated together: so many values of a series are in memory, however long the history is."""
_UP = "up"
"""The metric that the daemon writes at each read of a source."""
_PLOT_POINTS = 2_000
"""Values of a KPI that are kept for a picture."""


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What would have happened."""

    start: Millis
    end: Millis
    checks: tuple[Check, ...]
    trips: list[ReplayTrip]
    """In order of time."""
    plans: list[PlanStart]
    """Plans that would have started, or been refused, in order of time."""
    unjudged: dict[tuple[str, str], str]
    """Rules that were never judged, and why."""
    no_data: dict[tuple[str, str], list[tuple[Millis, Millis]]]
    """By rule and level: when there was nothing to judge by."""
    kpi_lines: dict[str, tuple[Ints, Floats]] = field(default_factory=dict)
    """KPI → times [n] in ms and values [n], thinned out for a picture; NaN where there was none."""

    @property
    def weeks(self) -> float:
        return max(self.end - self.start, 1) / (7 * 86_400_000)


def replay(
    config: Config,
    pages: PageList,
    *,
    start: Millis | None = None,
    end: Millis | None = None,
    every: Millis | None = None,
    exact: bool = False,
    with_lines: bool = False,
    deployments: Sequence[Millis] = (),
    progress: Callable[[float], None] = lambda _: None,
) -> ReplayReport:
    """Judges all rules from `start` to `end` (first and last sample when not said).

    `every`: None: as the daemon does, at each sample and each second in between; else at this step only.
    `exact`: every round is evaluated and judged; else those are passed over at which nothing can change, with equal results.
    `with_lines`: the KPIs' values are kept for a picture. `deployments`: when somebody else was seen to deploy or restart the
    bots, for whose `settling` repairs wait. `progress` is told the share that is done. Pure but for that.
    """
    first, last = loader.time_span(pages)
    start, end = first if start is None else start, last if end is None else end
    parsed = {text: config.parse_expr(text) for text in expressions(config)}
    thresholds = [ThresholdReplay(check, index) for index, check in enumerate(config.checks)]
    questions = config.queries()
    kpis = list(dict.fromkeys(check.query for check in config.checks))
    displayed = {check.query: questions.get(check.display_query) for check in config.checks if check.display_query}
    ages, apart = AgeCache(), loader.page_intervals(pages)
    of = {check.query: check.target for check in config.checks}
    kpi_replays = {
        kpi: _KpiReplay(config, kpi, questions[kpi], displayed.get(kpi), of[kpi], pages, parsed, ages, apart)
        for kpi in kpis
    }
    segmenter = None if exact else Segmenter(pages, parsed, start, end, every or ROUND_MS)
    done = 0
    for group in _group_by_pages(kpi_replays):  # those that look at the same times
        at_once = max(kpi_replays[kpi].chunk_size() for kpi in group)
        round_times = RoundTimes(kpi_replays[group[0]].sample_pages(), start, every)
        pairs = [(kpi_replays[kpi], [course for course in thresholds if course.check.query == kpi]) for kpi in group]
        segments = [
            [
                (part, n)
                for part in _split_segments(
                    [Segment(start, end, False)]
                    if segmenter is None
                    else kpi.segments(segmenter, [course.check for course in mine]),
                    at_once * (every or ROUND_MS),
                )
            ]
            for n, (kpi, mine) in enumerate(pairs)
        ]
        for part, n in heapq.merge(*segments):  # side by side, so that they share what is found out of the times
            _replay_segment(part, *pairs[n], round_times, at_once, exact=exact)
            progress((done + len(group) * (part.first - start) / max(1, end - start)) / len(kpis))
        done += len(group)
    for course in thresholds:
        course.finish(end)
    progress(1.0)
    trips = collect_trips(thresholds)
    return ReplayReport(
        start=start,
        end=end,
        checks=config.checks,
        trips=trips,
        plans=simulate_plans(config, thresholds, end, deployments),
        unjudged=_unjudged_rules(thresholds),
        no_data={(c.check.rule, c.check.level): c.no_data_spans for c in thresholds},
        kpi_lines={kpi: one.plot_line(start, end) for kpi, one in kpi_replays.items()} if with_lines else {},
    )


def _replay_segment(
    segment: Segment,
    kpi: _KpiReplay,
    thresholds: list[ThresholdReplay],
    round_times: RoundTimes,
    at_once: int,
    *,
    exact: bool,
) -> None:
    """All thresholds of a KPI through one part of history."""
    for times in (
        [np.array([segment.first])] if segment.skippable else round_times.between(segment.first, segment.last, at_once)
    ):
        for seen in kpi.evaluate_at(times):
            for course in thresholds:
                go = course.process_every_round if exact else course.process
                go(seen, kpi.asleep(course.check, seen.times))
    last = round_times.last_until(segment.last)
    if segment.skippable and last > segment.first:
        for course in thresholds:
            course.run_unchanged(
                segment.first + 1, last, lambda due: (kpi.evaluate_at(np.array([round_times.first_from(due)]))[0], 0)
            )


def _split_segments(segments: Iterable[Segment], width: Millis) -> Iterator[Segment]:
    """What cannot be skipped, in pieces that fit into memory."""
    for part in segments:
        if part.skippable:
            yield part
            continue
        for first in range(part.first, part.last + 1, width):
            yield Segment(first, min(first + width - 1, part.last), False)


class _KpiReplay:
    """One KPI over history."""

    def __init__(
        self,
        config: Config,
        name: str,
        kpi: Kpi,
        displayed: Kpi | None,
        target: str,
        pages: PageList,
        parsed: dict[str, Expr],
        age_cache: AgeCache,
        spacings: Mapping[int, Millis],
    ) -> None:
        """`displayed`: what is shown with a condition. `target`: whose it is, where each has queries of its own."""
        self._target = target if config.has_own_sources else None
        self._age_cache, self._spacings = age_cache, spacings
        self._name, self._displayed = name, displayed
        self._config, self._kpi, self._pages, self._parsed = config, kpi, pages, parsed
        self._metrics = metric_names(parsed[kpi.expr])
        if kpi.needs is not None:
            self._metrics |= metric_names(parsed[kpi.needs])
        self._max_age = self._max_sample_age(self._metrics)

    def sample_pages(self) -> list[SeriesPage]:
        """Where samples come in that this KPI reads, and where each read of their sources is noted: the daemon judges at each
        of them, also at one that brought nothing of the KPI."""
        mine = [page for page in self._pages.pages if "" in self._metrics or _has_metric(page.keys, self._metrics)]
        sources = {page.source for page in mine} - {None}
        reads = [page for page in self._pages.pages if page.source in sources and _has_metric(page.keys, (_UP,))]
        return list({id(page): page for page in (*mine, *reads)}.values())

    def chunk_size(self) -> int:
        """How many rounds are evaluated together: more where windows are long, for each chunk reads a window more; fewer
        where series are many."""
        texts = [text for text in (self._kpi.expr, self._kpi.needs) if text is not None]
        longest = max((back for text in texts for back in required_lookback(self._parsed[text]).values()), default=0)
        series = sum(
            _has_metric([key], self._metrics) or "" in self._metrics
            for page in self.sample_pages()
            for key in page.keys
        )
        return max(
            1, min(max(_CHUNK_ROUNDS, longest // ROUND_MS), 16 * _CHUNK_ROUNDS, 64 * _CHUNK_ROUNDS // max(1, series))
        )

    def evaluate_at(self, times: Ints) -> list[KpiEvaluations]:
        """One after the other; several where it cannot be evaluated at some of the times."""
        try:
            result = self._as_the_target_sees_it(evaluate(self._parsed[self._kpi.expr], self._pages, times))
            if not self._metrics:  # `hour() > 22` is as fresh as the question
                result = dataclasses.replace(result, newest=times)
            needs = None if self._kpi.needs is None else evaluate(self._parsed[self._kpi.needs], self._pages, times)
            shown = (
                None
                if self._displayed is None
                else self._as_the_target_sees_it(evaluate(self._parsed[self._displayed.expr], self._pages, times))
            )
        except PromqlError as error:  # what only the samples tell: two series that match one, for instance
            if times.size > 1:
                middle = times.size // 2
                return [*self.evaluate_at(times[:middle]), *self.evaluate_at(times[middle:])]
            none = np.zeros(1, np.int64)
            nothing = QueryResult([], np.zeros((0, 1)), np.zeros((0, 1), np.bool_), none, none, none)
            return [
                KpiEvaluations(times, nothing, None, self._max_age, error=f"{self._name} cannot be evaluated: {error}")
            ]
        return [KpiEvaluations(times, result, needs, self._max_age, shown, age_cache=self._age_cache)]

    def _as_the_target_sees_it(self, result: QueryResult) -> QueryResult:
        if self._target is None:
            return result
        names = without_target(map(labels_without_name, result.keys), self._target)
        return dataclasses.replace(result, keys=list(names))

    def segments(self, segmenter: Segmenter, checks: Iterable[Check]) -> list[Segment]:
        """History, in parts that can be skipped and others."""
        mine = [(check, self._config.rule(check.rule, check.target)) for check in checks]
        whens = {
            self._config.expr_of(rule.only.when, rule.target)
            for _, rule in mine
            if rule.only is not None and rule.only.when is not None
        }
        ages = {text: self._max_sample_age(metric_names(self._parsed[text])) for text in whens}
        return segmenter.segments(self._kpi, mine, self._max_age, ages)

    def plot_line(self, start: Millis, end: Millis) -> tuple[Ints, Floats]:
        """Times in ms, and the greatest of its values there, thinned out for a picture."""
        seen = self.evaluate_at(np.arange(start, end + 1, max(1, (end - start) // _PLOT_POINTS), dtype=np.int64))
        return np.concatenate([one.times for one in seen]), np.concatenate([one.max_values() for one in seen])

    def asleep(self, check: Check, times: Ints) -> Bools | None:
        """When the rule's `only` says that it sleeps; where that cannot be told it is awake. None: it never does."""
        only = self._config.rule(check.rule, check.target).only
        if only is None:
            return None
        asleep: Bools = np.zeros(times.size, np.bool_)
        if only.between or only.days:
            asleep |= ~rules.in_schedule_at(only.between, only.days, only.timezone, times)
        if only.when is not None:
            asleep |= self._known_false(self._parsed[self._config.expr_of(only.when, check.target)], times)
        return asleep

    def _known_false(self, expr: Expr, times: Ints) -> Bools:
        """When it can be told that a condition does not hold."""
        try:
            result = evaluate(expr, self._pages, times)
        except PromqlError:
            if times.size == 1:
                return np.zeros(1, np.bool_)
            middle = times.size // 2
            return np.concatenate((self._known_false(expr, times[:middle]), self._known_false(expr, times[middle:])))
        told = times - result.newest <= self._max_sample_age(metric_names(expr))
        return np.asarray(told & ~result.present.any(axis=0))

    def _max_sample_age(self, metrics: Collection[str]) -> Millis:
        """The `max_age` of what delivers one of these, else 3 × its spacing: an age beyond which nothing is believed."""
        sources = {
            dict(key).get("source", "")
            for page in self._pages.pages
            for key in page.keys
            if "" in metrics or dict(key)["__name__"] in metrics
        }
        known = [max_age_of(self._config.sources[name]) for name in sources if name in self._config.sources]
        if known and all(name in self._config.sources for name in sources):
            return max(known)
        return 3 * (loader.sample_interval(self._pages, metrics, self._spacings) or 60_000)


def _group_by_pages(kpi_replays: Mapping[str, _KpiReplay]) -> Iterator[list[str]]:
    """KPIs that read the same pages, together."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for kpi, one in kpi_replays.items():
        groups.setdefault(tuple(id(page) for page in one.sample_pages()), []).append(kpi)
    yield from groups.values()


def _has_metric(keys: Iterable[tuple[tuple[str, str], ...]], names: Collection[str]) -> bool:
    return any(dict(key)["__name__"] in names for key in keys)


def _unjudged_rules(thresholds: Iterable[ThresholdReplay]) -> dict[tuple[str, str], str]:
    courses = [((course.check.rule, course.check.target), course) for course in thresholds]
    judged = {key for key, course in courses if course.judged}
    return {key: course.unjudged_reason for key, course in courses if key not in judged}
