"""What is worth judging of the metrics that were found: by their names, as bots and exporters call them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from watchdog.core.model import Labels
from watchdog.offline.init.draft import SourceDraft
from watchdog.offline.init.pace import silence_limit


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
    """The metric by which it was recognised; "": none is worth naming."""


_Drafted = tuple[str, dict[str, Any], dict[str, Any], str]
"""Name, KPI, rule, comment."""


class _Pattern(NamedTuple):
    metric: re.Pattern[str]
    draft: Callable[[str, float, float], _Drafted]
    """Of the metric's name, what it is, and when: seconds since the epoch."""
    only_by: re.Pattern[str] | None = None
    """Several series are meant only where each label that tells them apart is so called."""
    is_sum: bool = False
    """Of all series: nothing is left to tell apart."""


def _drawdown(metric: str, _value: float, _now: float) -> _Drafted:
    kpi = {"expr": f"1 - {metric} / max_over_time({metric}[1d])", "unit": "ratio", "since": "resume"}
    rule = {
        "warn": {"at_least": "5%"},
        "crit": {"at_least": "10%", "for": "10s", "clear": "8%"},
        "summary": "The account is {{ value }} below its peak (limit {{ limit }})",
    }
    return "drawdown", kpi, rule, "how far the account is below its highest value: edit the limits"


def _own_drawdown(metric: str, value: float, now: float) -> _Drafted:
    is_percent = metric.endswith(("_pct", "_percent")) or abs(value) > 1
    kpi = {"expr": f"abs({metric})", "unit": "percent" if is_percent else "ratio"}
    _, _, rule, comment = _drawdown(metric, value, now)
    return "drawdown", kpi, rule, f"{comment} and the unit (percent is 0 to 100, ratio 0 to 1)"


def _running(metric: str, _value: float, _now: float) -> _Drafted:
    name = metric.replace("_", "-")
    rule = {"crit": {"below": 1, "for": "30s"}, "summary": f"{name} is {{{{ value }}}}, and should be 1"}
    return name, {"expr": metric, "unit": "count"}, rule, "1 when all is well"


def _age_of(metric: str, value: float, now: float) -> _Drafted:
    is_millis = value > _MILLIS_FROM
    age = now - (value / 1_000 if is_millis else value)
    rule = {
        "warn": {"above": silence_limit(age if math.isfinite(age) else None)},
        "summary": "It was {{ value }} ago (limit {{ limit }})",
    }
    name = re.sub(r"_timestamp(_seconds|_ms)?$", "", metric).replace("_", "-") + "-age"
    kpi = {"expr": f"time() - {metric}{' / 1000' if is_millis else ''}", "unit": "seconds"}
    return name, kpi, rule, "how long ago it was: edit the limit"


def _plugin(metric: str, _value: float, _now: float) -> _Drafted:
    rule = {
        "warn": {"at_least": 1},
        "crit": {"at_least": 2, "for": "1m"},
        "if_missing": {"after": "5m", "then": "warn"},
        "summary": "The plugin says {{ value }} (1 is WARNING, 2 CRITICAL)",
    }
    return "plugin", {"expr": metric, "unit": "count"}, rule, "what the plugin says: 0 OK, 1 WARNING, 2 CRITICAL"


def _losing_streak(metric: str, _value: float, _now: float) -> _Drafted:
    kpi = {"expr": metric, "unit": "count"}
    rule = {
        "crit": {"at_least": 5, "for": "3s", "clear": 2},
        "summary": "{{ value }} trades were lost in a row (limit {{ limit }})",
    }
    return "losing-streak", kpi, rule, "trades lost since the last one won: edit the limit"


def _confidence(metric: str, _value: float, _now: float) -> _Drafted:
    kpi = {"expr": f"avg_over_time({metric}[5m])", "unit": "ratio"}
    rule = {
        "warn": {"below": "60%", "for": "5m"},
        "summary": "The model's mean confidence is {{ value }} (limit {{ limit }})",
    }
    return "confidence", kpi, rule, "the model's mean confidence: edit the limit"


def _errors(metric: str, _value: float, _now: float) -> _Drafted:
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


def _failures_in_a_row(metric: str, _value: float, _now: float) -> _Drafted:
    rule = {
        "crit": {"at_least": 3, "for": "10s", "clear": 1},
        "summary": "{{ value }} in a row failed (limit {{ limit }})",
    }
    return metric.replace("_", "-"), {"expr": metric, "unit": "count"}, rule, "failures in a row: edit the limit"


def _win_rate(won: str, _value: float, _now: float) -> _Drafted:
    lost = won.replace("won", "lost")
    kpi = {
        "expr": f"sum(increase({won}[1d])) / (sum(increase({won}[1d])) + sum(increase({lost}[1d])))",
        "unit": "ratio",
        "needs": f"sum(increase({won}[1d])) + sum(increase({lost}[1d])) >= 20",
    }
    rule = {
        "warn": {"below": "35%", "for": "1m"},
        "summary": "{{ value }} of the trades of the last day were won (limit {{ limit }})",
    }
    return "win-rate", kpi, rule, "the share of trades that were won, once there are twenty: edit the limit"


def _process(metric: str, _value: float, _now: float) -> _Drafted:
    kpi = {"expr": metric, "unit": "count"}
    rule = {"crit": {"below": 1, "for": "10s"}, "summary": "The bot's process does not run"}
    return "process-down", kpi, rule, "the bot's process runs"


def _disk(metric: str, _value: float, _now: float) -> _Drafted:
    kpi = {"expr": metric, "unit": "ratio"}
    rule = {
        "each": ["disk"],
        "warn": {"below": "10%", "for": "1m"},
        "summary": "{{ value }} of the disk is free (limit {{ limit }})",
    }
    return "disk-full", kpi, rule, "the free share of each disk"


_ACCOUNTS = re.compile(r"account|sub_?account|exchange|venue|strategy|bot|wallet|instance|job")
_ANY = re.compile(r".*")
_PATTERNS = tuple(
    _Pattern(re.compile(pattern), draft, only_by, is_sum)
    for pattern, draft, only_by, is_sum in (
        (
            r"(.*_)?(equity|account_value|account_balance|net_worth|nav|portfolio_value|total_balance|balance_total|wallet_balance|"
            r"(?<![a-z]_)balance)(_usdt?|_usdc|_eur|_stake|_total)?",
            _drawdown,
            _ACCOUNTS,
            False,
        ),
        (r"(?!.*max_)(.*_)?drawdown(_ratio|_pct|_percent)?", _own_drawdown, _ACCOUNTS, False),
        (r"(.*_)?(losing_streak|loss_streak|consecutive_loss(es)?|losses_in_a_row)", _losing_streak, _ANY, False),
        (r"(?!host_|process_)(.*_)?(running|alive|healthy|connected)", _running, _ANY, False),
        (r"(.*_)?confidence", _confidence, _ANY, False),
        (r"(.*_)?trades_won_total", _win_rate, _ANY, True),
        (r".*(connection_failures|failures_in_a_row|consecutive_(failures|errors))", _failures_in_a_row, _ANY, False),
        (
            r"(?!process_|host_|jsonl_|textfile_)(.*_)?(error|exception|failure|reject|rejected|rejection|failed)s?(_[a-z]+)?_total",
            _errors,
            _ANY,
            True,
        ),
        (r"(?!jsonl_|host_|process_|textfile_)(.*_)?last_(.*_)?timestamp(_seconds|_ms)?", _age_of, _ANY, False),
        (r"command_status", _plugin, _ANY, False),
        (r"process_up", _process, _ANY, False),
        (r"host_disk_free_ratio", _disk, None, False),
    )
)
_MILLIS_FROM = 1e11
_MANY_SERIES = 50
"""Of a metric with more of them nobody wants to be told of each."""
_RUNTIME = ("python_", "process_", "go_", "promhttp_", "jvm_", "nodejs_", "scrape_")


def is_recognised(metric: str) -> bool:
    """Whether it is known what to judge of a metric of that name."""
    return any(pattern.metric.fullmatch(metric) for pattern in _PATTERNS)


def recognise(found: Iterable[FoundSeries], bot_sources: Sequence[SourceDraft], now: float) -> list[KpiDraft]:
    """Each KPI once, by the first metric that it is known by; and for each source of the bot's, that it goes on saying
    something."""
    drafts: dict[str, KpiDraft] = {}
    series = list(found)
    by_metric: dict[str, list[FoundSeries]] = {}
    lines = {source.name for source in bot_sources if source.entry["type"] in ("log", "jsonl")}
    for each in series:
        if each.source in lines and each.labels:
            continue  # a counter with labels is there from its first event on only: until then its KPI would lack its metric
        by_metric.setdefault(each.name, []).append(each)
    for pattern in _PATTERNS:
        for metric, those in by_metric.items():
            if pattern.metric.fullmatch(metric) and (labels := _distinguishing(pattern, those)) is not None:
                name, kpi, rule, comment = pattern.draft(metric, those[0].value, now)
                rule = {"each": labels, **rule} if labels and "each" not in rule else rule
                drafts.setdefault(name, KpiDraft(name, kpi, rule, comment, metric))
    for silence in _silence(series, bot_sources):
        drafts.setdefault(silence.name, silence)
    return list(drafts.values())


def _distinguishing(pattern: _Pattern, series: Sequence[FoundSeries]) -> list[str] | None:
    """The labels by which its series are told apart; None: they are something else than what is meant."""
    if len(series) == 1 or pattern.is_sum or pattern.only_by is None:
        return []
    named = [{**dict(each.labels), "source": each.source} for each in series]
    names = sorted({name for labels in named for name in labels})
    differ = [name for name in names if len({labels.get(name) for labels in named}) > 1]
    if len(series) > _MANY_SERIES or not all(name == "source" or pattern.only_by.fullmatch(name) for name in differ):
        return None
    return differ


def _silence(series: Sequence[FoundSeries], sources: Sequence[SourceDraft]) -> Iterator[KpiDraft]:
    """That one says nothing any more, where that can be seen: a database and a log are there when their bot is dead."""
    ages = {source.name: age for source in sources if (age := _age(series, source)) is not None}
    for source in sources:
        if source.name not in ages:
            continue
        expr, metric = ages[source.name]
        name = "silent" if len(ages) == 1 else f"silent-{source.name}"
        rule = {
            "crit": {"above": silence_limit(source.gap)},
            "if_missing": {"after": silence_limit(max(120, 5 * (source.gap or 0)) / 5), "then": "crit"},
            "summary": "Nothing was heard of the bot for {{ value }} (limit {{ limit }})",
        }
        comment = f"how old the newest news from {source.name} is: edit the limit"
        yield KpiDraft(name, {"expr": expr, "unit": "seconds"}, rule, comment, metric)
    logs = [source.name for source in sources if source.entry["type"] == "log"]
    if not ages and logs:
        rule = {"warn": {"below": 1}, "summary": "The bot has logged nothing for fifteen minutes"}
        matcher = f'source=~"{"|".join(logs)}"' if len(logs) > 1 else f'source="{logs[0]}"'
        expr = f"sum(increase(log_lines_total{{{matcher}}}[15m]))"
        yield KpiDraft("silent", {"expr": expr, "unit": "count"}, rule, "lines that were logged in fifteen minutes", "")


def _age(series: Sequence[FoundSeries], source: SourceDraft) -> tuple[str, str] | None:
    """PromQL for how old a source's newest news is."""
    of = f'{{source="{source.name}"}}'
    kind = source.entry["type"]
    if kind == "jsonl" and "time" in source.entry:
        return f"time() - jsonl_last_event_timestamp_seconds{of}", ""
    if kind == "json_file":
        return f"json_file_age_seconds{of}", ""
    if kind == "textfile":
        return f"time() - max(textfile_mtime_seconds{of})", ""
    if kind in ("log", "jsonl", "command") or source.waits_for is not None or (kind == "sql" and source.gap is None):
        return None
    queries = [each for each in source.entry.get("queries", ()) if "time" in each]
    timed = {name for query in queries for name in query["values"] if any(map(is_recognised, query["values"]))}
    names = [each.name for each in series if each.source == source.name and (kind != "sql" or each.name in timed)]
    if not names:
        return None
    metric = next((name for name in names if not name.startswith(_RUNTIME)), names[0])
    return f"max(time() - timestamp({metric}{of}))", ""
