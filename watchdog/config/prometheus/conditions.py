"""One threshold as PromQL: limit, recovery threshold, N of M, missing data and schedule."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from watchdog.config.prometheus.hysteresis import closing
from watchdog.config.prometheus.labels import MISSING, SEVERITY
from watchdog.config.shape import Config
from watchdog.hours import DAYS, minutes, weekdays
from watchdog.model import Millis
from watchdog.rules import Check, Only, Rule
from watchdog.units import promql_duration

_SIGNS = {"above": ">", "below": "<", "at_least": ">=", "at_most": "<=", "equals": "=="}


def bracketed(text: str) -> str:
    """In brackets, whatever it holds: a comment must not swallow the one that closes."""
    return f"(\n{text}\n)" if "\n" in text or "#" in text else f"({text})"


def alone(text: str) -> bool:
    """Whether its first bracket closes at its end."""
    return closing(text, 0) == len(text) - 1


def number(value: float) -> str:
    return repr(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def condition(check: Check, value: str, alert: str, labels: Collection[str], every: Millis) -> str:
    """True where the threshold is crossed, or where the alert fires and has not recovered yet.

    N of M: `every` ms apart. A window that is a millisecond short holds M steps in every version of Prometheus.
    """
    bad = _beyond(check, value, check.low, check.limit)
    if check.patience.m:
        steps = f"[{promql_duration(max(1, check.patience.m * every - 1))}:{promql_duration(every)}]"
        bad = f"({bad}) and count_over_time(({bad}){steps}) >= {check.patience.n}"
    if (check.clear, check.clear_low) == (check.limit, check.low) or check.operator in ("equals", "expr"):
        return bad
    still = _beyond(check, value, check.clear_low, check.clear)
    own = f'ALERTS{{alertname="{_quoted(alert)}",alertstate="firing",{SEVERITY}="{_severity(check)}",{MISSING}=""}}'
    ignored = ", ".join(dict.fromkeys(["alertname", "alertstate", *labels]))
    still = f"({still})" if check.operator == "outside" else still
    return f"({bad}) or ({still} and ignoring ({ignored}) {own})"


def _severity(check: Check) -> str:
    return "critical" if check.level == "crit" else "warning"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _beyond(check: Check, value: str, low: float, limit: float) -> str:
    held = bracketed(value)
    if check.operator == "expr":
        return held
    if check.operator == "outside":
        return f"{held} < {number(low)} or {held} > {number(limit)}"
    return f"{held} {_SIGNS[check.operator or 'above']} {number(limit)}"


def missing(config: Config, rule: Rule) -> str:
    """What is true while there is nothing to judge by."""
    kpi = config.kpis.get(rule.kpi or "")
    threshold = rule.crit or rule.warn
    value = kpi.expr if kpi is not None else threshold.expr if threshold is not None and threshold.expr else "vector(1)"
    text = f"absent{bracketed(value)}"
    when, _ = schedule(rule.only)
    return " and on () ".join([text, *(bracketed(each) for each in when)])


class Schedule(NamedTuple):
    when: list[str]
    """Conditions; all must hold."""
    unsaid: list[str]


def schedule(only: Only | None) -> Schedule:
    """`only:` as far as PromQL knows clocks: UTC."""
    if only is None:
        return Schedule([], [])
    when = [] if only.when is None else [only.when]
    if only.between is None and only.days is None:
        return Schedule(when, [])
    start, end = (0, 1_440) if only.between is None else minutes(only.between)
    if only.timezone != "UTC":
        return Schedule(when, [f"only on the clocks of {only.timezone}: Prometheus knows UTC"])
    if end < start and only.days is not None:
        return Schedule(when, ["only over midnight of certain days"])
    if only.between is not None:
        clock = "hour() * 60 + minute()"
        when.append(f"{clock} >= {start} < {end}" if start < end else f"{clock} >= {start} or {clock} < {end}")
    if only.days is not None:
        # Sunday is 0 there.
        when.append(
            " or ".join(f"day_of_week() == {(day + 1) % 7}" for day in range(len(DAYS)) if day in weekdays(only.days))
        )
    return Schedule(when, [])
