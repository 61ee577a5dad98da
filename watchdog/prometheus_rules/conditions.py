"""One threshold as PromQL: limit, recovery threshold, N of M, missing data and schedule."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from watchdog.core.model import Millis
from watchdog.core.schedule import DAYS, parse_minutes, parse_weekdays
from watchdog.core.units import format_promql_duration
from watchdog.prometheus_rules.hysteresis import closing_bracket
from watchdog.prometheus_rules.labels import MISSING_LABEL, SEVERITY_LABEL, TARGET_LABEL
from watchdog.rules import Check, Kpi, Only, Rule

_OPERATOR_SIGNS = {"above": ">", "below": "<", "at_least": ">=", "at_most": "<=", "equals": "=="}


def parenthesize(text: str) -> str:
    """In brackets, whatever it holds: a comment must not swallow the one that closes."""
    return f"(\n{text}\n)" if "\n" in text or "#" in text else f"({text})"


def is_parenthesized(text: str) -> bool:
    """Whether its first bracket closes at its end."""
    return closing_bracket(text, 0) == len(text) - 1


def format_number(value: float) -> str:
    return repr(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def threshold_condition(check: Check, value: str, alert: str, labels: Collection[str], every: Millis) -> str:
    """True where the threshold is crossed, or where the alert fires and has not recovered yet.

    N of M: `every` ms apart. A window that is a millisecond short holds M steps in every version of Prometheus.
    """
    bad = _comparison(check, value, check.low_limit, check.limit)
    if check.patience.m:
        steps = f"[{format_promql_duration(max(1, check.patience.m * every - 1))}:{format_promql_duration(every)}]"
        bad = f"({bad}) and count_over_time(({bad}){steps}) >= {check.patience.n}"
    if (check.clear, check.clear_low) == (check.limit, check.low_limit) or check.operator in ("equals", "expr"):
        return bad
    uncleared = _comparison(check, value, check.clear_low, check.clear)
    alerts_selector = (
        f'ALERTS{{alertname="{_escape(alert)}",alertstate="firing",'
        f'{SEVERITY_LABEL}="{_severity(check)}",{TARGET_LABEL}="{_escape(check.target)}",{MISSING_LABEL}=""}}'
    )
    ignored = ", ".join(dict.fromkeys(["alertname", "alertstate", *labels]))
    uncleared = f"({uncleared})" if check.operator == "outside" else uncleared
    return f"({bad}) or ({uncleared} and ignoring ({ignored}) {alerts_selector})"


def _severity(check: Check) -> str:
    return "critical" if check.level == "crit" else "warning"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _comparison(check: Check, value: str, low: float, limit: float) -> str:
    held = parenthesize(value)
    if check.operator == "expr":
        return held
    if check.operator == "outside":
        return f"{held} < {format_number(low)} or {held} > {format_number(limit)}"
    return f"{held} {_OPERATOR_SIGNS[check.operator or 'above']} {format_number(limit)}"


def missing_condition(kpi: Kpi | None, rule: Rule) -> str:
    """What is true while there is nothing to judge by."""
    threshold = rule.crit or rule.warn
    value = kpi.expr if kpi is not None else threshold.expr if threshold is not None and threshold.expr else "vector(1)"
    text = f"absent{parenthesize(value)}"
    when, _ = schedule_conditions(rule.only)
    return " and on () ".join([text, *(parenthesize(each) for each in when)])


class ScheduleConditions(NamedTuple):
    conditions: list[str]
    """Conditions; all must hold."""
    unsupported: list[str]


def schedule_conditions(only: Only | None) -> ScheduleConditions:
    """`only:` as far as PromQL knows clocks: UTC."""
    if only is None:
        return ScheduleConditions([], [])
    when = [] if only.when is None else [only.when]
    if only.between is None and only.days is None:
        return ScheduleConditions(when, [])
    start, end = (0, 1_440) if only.between is None else parse_minutes(only.between)
    if only.timezone != "UTC":
        return ScheduleConditions(when, [f"only on the clocks of {only.timezone}: Prometheus knows UTC"])
    if end < start and only.days is not None:
        return ScheduleConditions(when, ["only over midnight of certain days"])
    if only.between is not None:
        clock = "hour() * 60 + minute()"
        when.append(f"{clock} >= {start} < {end}" if start < end else f"{clock} >= {start} or {clock} < {end}")
    if only.days is not None:
        # Sunday is 0 there.
        when.append(
            " or ".join(
                f"day_of_week() == {(day + 1) % 7}" for day in range(len(DAYS)) if day in parse_weekdays(only.days)
            )
        )
    return ScheduleConditions(when, [])
