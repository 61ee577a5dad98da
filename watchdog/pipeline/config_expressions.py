"""What a configuration asks of the samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from watchdog import rules
from watchdog.config import Config
from watchdog.promql import Expr, metric_names, metrics_read_for_extremes, required_lookback


def longest_windows(config: Config) -> dict[str, int]:
    """Metric name → how long its samples are needed, over every expression of the configuration."""
    kept: dict[str, int] = {}
    for expr in map(config.parse_expr, expressions(config)):
        for name, span in required_lookback(expr).items():
            kept[name] = max(span, kept.get(name, 0))
    return kept


def metrics_of(kpi: rules.Kpi, parsed: Mapping[str, Expr]) -> frozenset[str]:
    """Every metric that it reads, and that says whether it may be believed."""
    return frozenset[str]().union(*(metric_names(expr) for expr in expressions_of(kpi, parsed)))


def expressions_of(kpi: rules.Kpi, parsed: Mapping[str, Expr]) -> list[Expr]:
    """Itself, and what says whether it may be believed."""
    return [parsed[text] for text in (kpi.expr, kpi.needs) if text is not None]


def expressions(config: Config) -> Iterable[str]:
    """Every PromQL text that the configuration evaluates."""
    for kpi in config.kpis.values():
        yield kpi.expr
        if kpi.needs is not None:
            yield kpi.needs
    for name, effective in rules.queries(config.kpis, config.rules).items():
        if name not in config.kpis:
            yield effective.expr
    for rule in config.rules.values():
        if rule.only is not None and rule.only.when is not None:
            yield rule.only.when
    for alert in config.prometheus_alerts.values():
        yield from alert.queries()
    for plan in config.plans.values():
        yield from plan.verify.that
        for level in (*plan.levels, *plan.recover):
            yield from level.verify.that if level.verify else ()


def peak_metrics(kpis: Iterable[rules.Kpi], parsed: Mapping[str, Expr]) -> set[tuple[str, str]]:
    """What `since: resume` KPIs compare with: (metric, max | min) pairs."""
    return {peak for kpi in kpis if kpi.since == "resume" for peak in metrics_read_for_extremes(parsed[kpi.expr])}
