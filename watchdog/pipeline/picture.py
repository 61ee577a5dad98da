"""What our own metrics say of KPIs and rules."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from watchdog.incidents import Key, Machine
from watchdog.rules import Check, Reading, Rule
from watchdog.telemetry import Picture, Telemetry

SEVERITY = {"warn": "warning", "crit": "critical"}


def show_limits(telemetry: Telemetry, checks: Iterable[Check]) -> None:
    """Limits and baselines in force; of `outside` the upper limit."""
    for check in checks:
        if check.operator not in (None, "expr"):
            telemetry.rule_limit.labels(check.rule, SEVERITY[check.level]).set(check.limit)
        if check.baseline is not None:
            telemetry.baseline.labels(check.kpi).set(check.baseline)


def picture(rules: Mapping[str, Rule], readings: Mapping[str, Reading], machines: Mapping[Key, Machine]) -> Picture:
    """The mappings must not change meanwhile: whoever asks sits in another thread."""
    kpis = {
        kpi: reading.values[names[0]] if len(names := tuple(reading.values)) == 1 and reading.error is None else math.nan
        for kpi, reading in readings.items()
    }
    state = dict.fromkeys(rules, 0)
    missing = dict.fromkeys(rules, 0)
    alerts = {}
    for key, machine in machines.items():
        if key.rule not in state:
            continue
        if machine.fires:
            state[key.rule] = max(state[key.rule], 2 if key.level == "crit" else 1)
        missing[key.rule] |= machine.outcome in ("nodata", "error")
        if machine.phase != "ok":
            labels = tuple(sorted((dict(key.labels) | rules[key.rule].labels).items()))
            alerts[key.rule, SEVERITY[key.level], labels] = "firing" if machine.fires else "pending"
    return Picture(kpis, state, missing, alerts)
