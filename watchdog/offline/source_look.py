"""What sources deliver at the moment: each is asked as the daemon asks it, beside the daemon and without its state."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from math import isfinite
from typing import NamedTuple

from watchdog.config import Config
from watchdog.core.errors import SourceError
from watchdog.core.model import Labels, Millis, Sample
from watchdog.core.protocols import ExplainedSource, Match, PulledSource, Source, SourceCache, SourceState
from watchdog.promql import metric_names
from watchdog.sources.relabel import Relabeling
from watchdog.sources.series_limits import SeriesLimiter
from watchdog.tsdb.labels import SOURCE_LABEL, TARGET_LABEL

_SLACK = 2.0
"""s that a read may go on past its deadline before nobody waits for it any more."""
_COUNTERS = ("_total", "_bucket")


class SeriesLook(NamedTuple):
    """One series as it is now."""

    name: str
    labels: Labels
    value: float
    age: Millis | None
    """Since its sample's own time. None: nobody says."""
    rate: float | None = None
    """Of a counter: how much it grew a second since the look before; None: it is none, or this is the first look."""


class SourceLook(NamedTuple):
    """One source as it is now."""

    name: str
    error: str | None = None
    """Why it could not be read."""
    duration: Millis = 0
    series: tuple[SeriesLook, ...] = ()
    cut: str | None = None
    """What was left out, and why."""
    matches: tuple[Match, ...] = ()
    told: bool = False
    """It listens to what others send: only the daemon knows what came."""


@dataclass
class _Running:
    source: PulledSource
    relabeling: Relabeling
    limiter: SeriesLimiter
    state: SourceState = field(default_factory=dict)
    cache: SourceCache = field(default_factory=dict)
    before: Mapping[tuple[str, Labels], Sample] = field(default_factory=dict)


class SourceLooker:
    """Looks as often as somebody wants. Lives for one command."""

    def __init__(self, sources: Mapping[str, Source], clock: Callable[[], Millis]) -> None:
        self._clock = clock
        self._told = [name for name, source in sources.items() if not isinstance(source, PulledSource)]
        self._running = {
            name: _Running(source, Relabeling.of(source), SeriesLimiter.of(source, lambda _: 0))
            for name, source in sources.items()
            if isinstance(source, PulledSource)
        }
        self._names = list(sources)

    @property
    def reads_needed(self) -> int:
        """Looks until all series are there."""
        return max((each.source.reads_needed for each in self._running.values()), default=1)

    def look(self, *, explain: bool = True) -> list[SourceLook]:
        """All of them at once, in the order of the configuration. `explain`: what their expressions match, too."""
        with ThreadPoolExecutor(len(self._running) or 1) as pool:
            asked: dict[str, Future[SourceLook]] = {
                name: pool.submit(copy_context().run, self._look_at, name, running, explain)
                for name, running in self._running.items()
            }
            found = {name: self._wait(name, future) for name, future in asked.items()}
        return [found.get(name) or SourceLook(name, told=True) for name in self._names]

    def _wait(self, name: str, future: Future[SourceLook]) -> SourceLook:
        limit = 2 * self._running[name].source.deadline / 1_000 + _SLACK
        try:
            return future.result(limit)
        except TimeoutError:
            return SourceLook(name, f"no answer within {limit:g} s")

    def _look_at(self, name: str, running: _Running, explain: bool) -> SourceLook:
        now, started = self._clock(), time.monotonic()
        error, cut, samples, matches = None, None, list[Sample](), tuple[Match, ...]()
        try:
            samples, cut = running.limiter.admit(
                running.relabeling.apply(running.source.read(running.state, running.cache, now)), now
            )
        except SourceError as problem:
            error = str(problem)
        duration = round((time.monotonic() - started) * 1_000)
        if explain and isinstance(running.source, ExplainedSource):
            try:
                matches = tuple(running.source.explain(now))
            except SourceError as problem:
                error = error or str(problem)
        newest = {(sample.name, sample.labels): sample for sample in samples}
        series = tuple(
            SeriesLook(sample.name, sample.labels, sample.v, max(0, now - sample.t), _rate(sample, running.before))
            for sample in newest.values()
        )
        if error is None:
            running.before = newest
        return SourceLook(name, error, duration, series, None if cut is None else cut.text, matches)


def _rate(sample: Sample, before: Mapping[tuple[str, Labels], Sample]) -> float | None:
    last = before.get((sample.name, sample.labels))
    if last is None or not sample.name.endswith(_COUNTERS) or sample.t <= last.t or not sample.v >= last.v:
        return None
    rate = (sample.v - last.v) / (sample.t - last.t) * 1_000
    return rate if isfinite(rate) else None


def readers_of(config: Config, source: str) -> Callable[[str], tuple[str, ...]]:
    """A function from a metric's name to the KPIs and conditions that read it of this source, sorted."""
    having = {SOURCE_LABEL: source}
    if config.target_by_source is not None:
        having[TARGET_LABEL] = config.target_by_source.get(source, "")
    reads = [
        (_display_name(name), _metrics(config, (kpi.expr, kpi.needs), having)) for name, kpi in config.queries().items()
    ]
    known: dict[str, tuple[str, ...]] = {}

    def find(metric: str) -> tuple[str, ...]:
        if metric not in known:
            known[metric] = tuple(sorted({name for name, metrics in reads if metric in metrics or "" in metrics}))
        return known[metric]

    return find


def undelivered_metrics(config: Config, looks: Sequence[SourceLook]) -> dict[str, tuple[str, ...]]:
    """Metric → the KPIs and conditions that read it, of those that no source delivers; none where a source could not be asked."""
    if any(look.error is not None or look.told for look in looks):
        return {}
    delivered = {"", "up", *(series.name for look in looks for series in look.series)}
    found: dict[str, set[str]] = {}
    for name, kpi in config.queries().items():
        for metric in _metrics(config, (kpi.expr, kpi.needs), {}) - delivered:
            found.setdefault(metric, set()).add(_display_name(name))
    return {metric: tuple(sorted(names)) for metric, names in sorted(found.items())}


def _metrics(config: Config, texts: Sequence[str | None], having: Mapping[str, str]) -> set[str]:
    return set[str]().union(*(metric_names(config.parse_expr(text), having) for text in texts if text is not None))


def _display_name(query: str) -> str:
    """A condition by its rule alone: its expression stands in the file."""
    return query.partition(": ")[0]
