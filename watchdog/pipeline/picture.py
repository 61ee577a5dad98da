"""What our own metrics say of KPIs, rules and targets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from watchdog.config import Config
from watchdog.incidents import Key, Machine
from watchdog.journal import Journal, incidents
from watchdog.rules import Check, Reading
from watchdog.telemetry import Picture

SEVERITY = {"warn": "warning", "crit": "critical"}


_BOUNDS = {
    "above": "upper",
    "at_least": "upper",
    "below": "lower",
    "at_most": "lower",
    "outside": "upper",
    "equals": "equal",
}


def limits(checks: Iterable[Check]) -> dict[tuple[str, str, str], float]:
    """(rule, severity, bound) → the limit in force, raw; `outside` has two."""
    found = {}
    for check in checks:
        if check.operator == "outside":
            found[check.rule, SEVERITY[check.level], "lower"] = check.low
        if (bound := _BOUNDS.get(check.operator or "")) is not None:
            found[check.rule, SEVERITY[check.level], bound] = check.limit
    return found


def picture(
    config: Config,
    checks: Sequence[Check],
    readings: Mapping[str, Reading],
    machines: Mapping[Key, Machine],
    journal: Journal,
) -> Picture:
    """The mappings must not change meanwhile: whoever asks sits in another thread."""
    rules = config.rules
    kpis = {
        kpi: reading.values[names[0]]
        if len(names := tuple(reading.values)) == 1 and reading.error is None
        else math.nan
        for kpi, reading in readings.items()
        if kpi in config.kpis
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
    baselines = {check.kpi: check.baseline for check in checks if check.baseline is not None}
    latched = dict.fromkeys(config.targets, 0) | {one.name: 1 for one in incidents.latched(journal)}
    return Picture(
        kpis, state, missing, alerts, baselines, limits(checks), latched, len(incidents.open_targets(journal))
    )
