"""What is worth judging of the metrics that were found: by their names, as bots and exporters call them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from watchdog.core.model import Labels


class FoundSeries(NamedTuple):
    """A series that a source delivered when it was looked at."""

    source: str
    name: str
    labels: Labels
    value: float


class KpiDraft(NamedTuple):
    """A KPI with its rule."""

    name: str
    kpi: dict[str, Any]
    rule: dict[str, Any]
    comment: str
    reads: str
    """The metric by which it was recognised."""


_Drafted = tuple[str, dict[str, Any], dict[str, Any], str]
"""Name, KPI, rule, comment."""


class _Pattern(NamedTuple):
    metric: re.Pattern[str]
    draft: Callable[[str], _Drafted]


def _drawdown(metric: str) -> _Drafted:
    kpi = {"expr": f"1 - {metric} / max_over_time({metric}[1d])", "unit": "ratio", "since": "resume"}
    rule = {
        "warn": {"at_least": "5%"},
        "crit": {"at_least": "10%", "for": "10s", "clear": "8%"},
        "summary": "The account is {{ value }} below its peak (limit {{ limit }})",
    }
    return "drawdown", kpi, rule, "how far the account is below its highest value: edit the limits"


def _losing_streak(metric: str) -> _Drafted:
    kpi = {"expr": metric, "unit": "count"}
    rule = {
        "crit": {"at_least": 5, "for": "3s", "clear": 2},
        "summary": "{{ value }} trades were lost in a row (limit {{ limit }})",
    }
    return "losing-streak", kpi, rule, "trades lost since the last one won: edit the limit"


def _confidence(metric: str) -> _Drafted:
    kpi = {"expr": f"avg_over_time({metric}[5m])", "unit": "ratio"}
    rule = {
        "warn": {"below": "60%", "for": "5m"},
        "summary": "The model's mean confidence is {{ value }} (limit {{ limit }})",
    }
    return "confidence", kpi, rule, "the model's mean confidence: edit the limit"


def _errors(metric: str) -> _Drafted:
    kpi = {
        "expr": f"sum(increase({metric}[5m]))",
        "unit": "count",
        "needs": f"count(count_over_time({metric}[1m])) > 0",
    }
    rule = {
        "warn": {"at_least": 1},
        "crit": {"at_least": 10, "for": "10s"},
        "summary": "{{ value }} more within five minutes (limit {{ limit }})",
    }
    return (
        metric.removesuffix("_total").replace("_", "-"),
        kpi,
        rule,
        f"how often {metric} grew within five minutes: edit the limits",
    )


def _failures_in_a_row(metric: str) -> _Drafted:
    rule = {
        "crit": {"at_least": 3, "for": "10s", "clear": 1},
        "summary": "{{ value }} in a row failed (limit {{ limit }})",
    }
    return metric.replace("_", "-"), {"expr": metric, "unit": "count"}, rule, "failures in a row: edit the limit"


def _win_rate(won: str) -> _Drafted:
    lost = won.replace("won", "lost")
    kpi = {
        "expr": f"sum(increase({won}[1h])) / (sum(increase({won}[1h])) + sum(increase({lost}[1h])))",
        "unit": "ratio",
        "needs": f"sum(increase({won}[1h])) + sum(increase({lost}[1h])) >= 20",
    }
    rule = {
        "warn": {"below": "35%", "for": "1m"},
        "summary": "{{ value }} of the trades of the last hour were won (limit {{ limit }})",
    }
    return "win-rate", kpi, rule, "the share of trades that were won, once there are twenty: edit the limit"


def _process(metric: str) -> _Drafted:
    kpi = {"expr": metric, "unit": "count"}
    rule = {"crit": {"below": 1, "for": "10s"}, "summary": "The bot's process does not run"}
    return "process-down", kpi, rule, "the bot's process runs"


def _disk(metric: str) -> _Drafted:
    kpi = {"expr": metric, "unit": "ratio"}
    rule = {
        "each": ["disk"],
        "warn": {"below": "10%", "for": "1m"},
        "summary": "{{ value }} of the disk is free (limit {{ limit }})",
    }
    return "disk-full", kpi, rule, "the free share of each disk"


_PATTERNS = tuple(
    _Pattern(re.compile(pattern), draft)
    for pattern, draft in (
        (r"(.*_)?(total_)?(equity|account_value|net_worth|portfolio_value|total_balance)(_usdt?|_stake)?", _drawdown),
        (r"(.*_)?(losing_streak|loss_streak|consecutive_loss(es)?|losses_in_a_row)", _losing_streak),
        (r"(.*_)?confidence", _confidence),
        (r"(.*_)?trades_won_total", _win_rate),
        (r".*(connection_failures|failures_in_a_row|consecutive_(failures|errors))", _failures_in_a_row),
        (r"(?!process_|host_|jsonl_|log_).*(error|exception|failure|rejected|failed)s?(_[a-z]+)?_total", _errors),
        (r"process_up", _process),
        (r"host_disk_free_ratio", _disk),
    )
)
_AGE_LIMIT = 60
"""Seconds without news of the bot."""


def recognise(found: Iterable[FoundSeries], bot_sources: Iterable[str]) -> list[KpiDraft]:
    """Each KPI once, by the first metric that it is known by; and for each source of the bot's, that it goes on saying
    something."""
    drafts: dict[str, KpiDraft] = {}
    series = list(found)
    for pattern, draft in _PATTERNS:
        for metric in dict.fromkeys(each.name for each in series):
            if pattern.fullmatch(metric):
                name, kpi, rule, comment = draft(metric)
                drafts.setdefault(name, KpiDraft(name, kpi, rule, comment, metric))
    for silence in _silence(series, list(bot_sources)):
        drafts.setdefault(silence.name, silence)
    return list(drafts.values())


def _silence(series: list[FoundSeries], sources: list[str]) -> Iterator[KpiDraft]:
    for source in sources:
        metric = next(
            (each.name for each in series if each.source == source and not each.name.startswith(("jsonl_", "log_"))),
            None,
        )
        if metric is None:
            continue
        name = "silent" if len(sources) == 1 else f"silent-{source}"
        expr = f'max(time() - timestamp({metric}{{source="{source}"}}))'
        rule = {
            "crit": {"above": f"{_AGE_LIMIT}s"},
            "if_missing": {"after": "2m", "then": "crit"},
            "summary": "Nothing was heard of the bot for {{ value }}",
        }
        yield KpiDraft(name, {"expr": expr, "unit": "seconds"}, rule, "how old the newest news of the bot is", metric)
