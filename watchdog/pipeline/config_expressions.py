"""What a configuration asks of the samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from watchdog import rules
from watchdog.config import Config
from watchdog.plans.models import Plan, Verify
from watchdog.promql import Expr, counter_metrics, metric_names, metrics_read_for_extremes, required_lookback


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
    for kpi in config.queries().values():
        yield kpi.expr
        if kpi.needs is not None:
            yield kpi.needs
    for (name, target), rule in config.rules_by_target.items():
        if rule.only is not None and rule.only.when is not None:
            yield config.expr_of(rule.only.when, target)
        if (alert := config.prometheus_alerts.get(name)) is not None:
            yield from (config.expr_of(text, target) for text in alert.queries())
    for name in config.plans:
        for target in config.targets or [""]:
            plan = config.plan(name, target)
            for verify in () if plan is None else _verify_blocks(plan):
                yield from (config.expr_of(text, target) for text in verify.that)


def _verify_blocks(plan: Plan) -> Iterable[Verify]:
    yield plan.verify
    yield from (level.verify for level in (*plan.levels, *plan.recover) if level.verify is not None)


def peak_metrics(kpis: Iterable[rules.Kpi], parsed: Mapping[str, Expr]) -> set[tuple[str, str]]:
    """What `since: resume` KPIs compare with: (metric, max | min) pairs."""
    return {peak for kpi in kpis if kpi.since == "resume" for peak in metrics_read_for_extremes(parsed[kpi.expr])}


def born_metrics(kpis: Iterable[rules.Kpi], parsed: Mapping[str, Expr]) -> set[str]:
    """The counters of which KPIs say `born: zero`."""
    return {
        name
        for kpi in kpis
        if kpi.born == "zero"
        for expr in expressions_of(kpi, parsed)
        for name in counter_metrics(expr)
    }
