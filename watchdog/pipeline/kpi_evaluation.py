"""What a configuration asks of the engine, and what one evaluation of a KPI, a check or a condition says."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from watchdog.config import Config
from watchdog.core.model import Millis
from watchdog.pipeline import config_expressions
from watchdog.pipeline.prefetcher import Prefetcher
from watchdog.pipeline.source_metrics import SourceMetrics
from watchdog.pipeline.target_label import TargetLabel
from watchdog.pipeline.template_query import describe_evaluation_error
from watchdog.promql import (
    EvaluationRound,
    Evaluator,
    Expr,
    InstantVector,
    PromqlError,
    SelectedMetric,
    required_metrics,
    restrict_selectors,
    selected_metrics,
)
from watchdog.rules import Check, Kpi, Reading
from watchdog.tsdb.labels import SOURCE_LABEL


class KpiEvaluation:
    """The expressions of a configuration, parsed once, over one engine."""

    def __init__(self, evaluator: Evaluator, source_metrics: SourceMetrics) -> None:
        self._evaluator = evaluator
        self._prefetcher = Prefetcher(evaluator)
        self._target_label = TargetLabel()
        self._source_metrics = source_metrics
        self.epochs: Mapping[str, Millis] = {}
        """Target → since when a KPI with `since: resume` counts."""
        self.readings: dict[tuple[str, str], Reading] = {}
        """(name in `Config.queries`, target) → what its last evaluation said."""

    def apply_config(self, config: Config) -> None:
        """Swaps the configuration."""
        self._config = config
        self._parsed = {text: config.parse_expr(text) for text in config_expressions.expressions(config)}
        self._kpis: Mapping[str, Kpi] = config.queries()
        self._metrics_by_kpi = {
            name: config_expressions.metrics_of(kpi, self._parsed) for name, kpi in self._kpis.items()
        }
        self.required_metrics = {
            name: frozenset[SelectedMetric]().union(
                *(required_metrics(expr) for expr in config_expressions.expressions_of(kpi, self._parsed))
            )
            for name, kpi in self._kpis.items()
        }
        """What is evaluated → the metrics without which it returns nothing."""
        self._selected_by_query = {
            name: frozenset[SelectedMetric]().union(
                *(selected_metrics(expr) for expr in config_expressions.expressions_of(kpi, self._parsed))
            )
            for name, kpi in self._kpis.items()
        }
        self.readings = {key: reading for key, reading in self.readings.items() if key[0] in self._kpis}
        self.forget_sources()

    def forget_sources(self) -> None:
        """Which source delivers what has changed."""
        self._expressions_by_source: dict[str, list[Expr]] = {}
        self._max_ages: dict[str, Millis] = {}
        self._without_sources: dict[tuple[str, frozenset[str]], Expr] = {}
        self._without_removed: dict[str, Expr] = {}

    def touched_by(self, source: str, query: str) -> bool:
        """Whether a source's samples change what it says."""
        return self._source_metrics.touches_any(source, self._selected_by_query[query])

    def sources_read_by(self, query: str) -> frozenset[str]:
        """The sources whose samples may."""
        return self._source_metrics.sources_of(self._selected_by_query[query])

    def peak_metrics(self) -> set[tuple[str, str]]:
        """(metric, max | min): those whose extreme samples must outlive a restart."""
        return config_expressions.peak_metrics(self._kpis.values(), self._parsed)

    def born_metrics(self) -> set[str]:
        """The counters whose series begin at 0."""
        return config_expressions.born_metrics(self._kpis.values(), self._parsed)

    async def prefetch(self, now: Millis, source: str | None = None) -> None:
        if self._evaluator.prefetches:
            await self._prefetcher.prefetch(source or "", self._expressions_reading(source), now)

    def _expressions_reading(self, source: str | None) -> Collection[Expr]:
        """Whatever the configuration asks, or of that what a source's samples touch."""
        if source is None:
            return self._parsed.values()
        touched = self._expressions_by_source.get(source)
        if touched is None:
            touched = self._expressions_by_source[source] = [
                expr for expr in self._parsed.values() if self._source_metrics.touched_by(source, [expr])
            ]
        return touched

    def evaluate(
        self, kpi: str, target: str, now: Millis, after: Millis | None = None, evaluation: EvaluationRound | None = None
    ) -> Reading:
        """The KPI at `now`. `after`: as if nothing older had been seen (verify passes the end of the last step).
        `evaluation`: where what is read at `now` is shared."""
        effective, needs, evaluation = self._kpis[kpi], None, evaluation or self._evaluator.at(now)
        # What `since: resume` compares with (a peak) is a reference, not evidence: verify must not forget it.
        since = self.epochs[target] if effective.since == "resume" else after
        try:
            values, newest, have, need, until = evaluation.evaluate(self._parse_without_removed(effective.expr), since)
            if self._config.has_own_sources and type(values) is InstantVector:
                values = self._target_label.strip(values, target)
            if effective.needs is not None:
                evidence = evaluation.evaluate(self._parse_without_removed(effective.needs), since)
                needs, until = evidence.values, min(until, evidence.valid_until)
        except Exception as why:  # one KPI that cannot be evaluated takes nothing else with it
            return Reading({}, error=describe_evaluation_error(kpi, why, self.readings.get((kpi, target))))
        if not self._metrics_by_kpi[kpi]:
            newest = until = now  # what reads no samples (`hour() > 22`) is as fresh as the question
        elif after is not None and newest <= after:
            newest = 0
        expressions, max_age = config_expressions.expressions_of(effective, self._parsed), self._max_age(kpi)
        cut = self._source_metrics.cut_reason(expressions)
        if cut is None and (ahead := self._source_metrics.ahead_reason(expressions, max_age)) is not None:
            cut = f"{kpi} has no samples of now: {ahead}"
        reading = Reading(values, newest, have, need, needs, max_age, valid_until=until, cut=cut)
        if newest and now - newest > reading.max_age:
            return self._without_down_sources(reading, effective, target, since, now, evaluation)
        return reading

    def _without_down_sources(
        self,
        reading: Reading,
        kpi: Kpi,
        target: str,
        since: Millis | None,
        now: Millis,
        evaluation: EvaluationRound,
    ) -> Reading:
        """What is too old to be believed, without what comes from sources that are down: a dead series blinds only itself.

        What stands beside them and says the same without them is believed; what was made of both is not.
        """
        expressions = config_expressions.expressions_of(kpi, self._parsed)
        down = self._source_metrics.down_sources(expressions)
        if not down:
            return reading
        try:
            expr = self._parse_without(kpi.expr, down | self._source_metrics.removed_sources(expressions))
            values, newest, have, need, _ = evaluation.evaluate(expr, since)
        except PromqlError:
            return reading
        if not newest or type(values) is not InstantVector:
            return reading
        if self._config.has_own_sources:
            values = self._target_label.strip(values, target)
        believed = {
            labels: value
            for labels, value in values.items()
            if SOURCE_LABEL in dict(labels) and reading.values.get(labels) == value
        }
        if not believed:
            return reading
        return reading._replace(
            values=InstantVector.of(believed), newest_sample=newest, covered=have, window=need, valid_until=now
        )

    def _parse_without_removed(self, text: str) -> Expr:
        """The expression as it is evaluated: of sources that no file names any more nothing counts, however young it is."""
        expr = self._without_removed.get(text)
        if expr is None:
            expr = self._parsed.get(text) or self._config.parse_expr(text)  # a plan keeps its conditions over a reload
            if removed := self._source_metrics.removed_sources([expr]):
                expr = self._parse_without(text, removed)
            self._without_removed[text] = expr
        return expr

    def _parse_without(self, text: str, sources: Collection[str]) -> Expr:
        key = text, frozenset(sources)
        expr = self._without_sources.get(key)
        if expr is None:
            names = "|".join(re.escape(each).replace("\\", "\\\\") for each in sorted(sources))
            restricted = restrict_selectors(text, f'{SOURCE_LABEL}!~"{names}"')
            expr = self._without_sources[key] = self._config.parse_expr(restricted)
        return expr

    def evaluate_check(
        self,
        check: Check,
        readings: dict[tuple[str, str], Reading],
        now: Millis,
        after: Millis | None = None,
        evaluation: EvaluationRound | None = None,
    ) -> Reading:
        """What the check is judged by; `readings` holds what this round has evaluated already."""
        names = (check.query, check.display_query) if check.display_query else (check.query,)
        for name in names:
            if (name, check.target) not in readings:
                readings[name, check.target] = self.evaluate(name, check.target, now, after, evaluation)
        reading = readings[check.query, check.target]
        if len(names) == 1:
            return reading
        shown = readings[check.display_query, check.target]
        return reading._replace(kpi_values=shown.values, valid_until=min(reading.valid_until, shown.valid_until))

    def condition_holds(self, text: str, target: str, now: Millis, after: Millis | None = None) -> bool | None:
        """Whether a condition of a target holds: its expression returns something. None = there was nothing to tell by."""
        text = self._config.expr_of(text, target)
        expr = self._parse_without_removed(text)
        try:
            instant = self._evaluator.at(now).evaluate(expr, after)
            max_age = self._source_metrics.staleness_limit([expr])
            if now - instant.newest > max_age or self._source_metrics.ahead_reason([expr], max_age) is not None:
                return None
            if self._source_metrics.cut_reason([expr]) is not None:
                return None
            return bool(instant.values)
        except PromqlError:
            return None

    def _max_age(self, kpi: str) -> Millis:
        age = self._max_ages.get(kpi)
        if age is None:
            age = self._max_ages[kpi] = self._source_metrics.staleness_limit(
                config_expressions.expressions_of(self._kpis[kpi], self._parsed)
            )
        return age
