"""What our own metrics say of KPIs, rules and targets."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

from watchdog.config import Config
from watchdog.core.telemetry import MetricsSnapshot
from watchdog.journal.storage import Journal
from watchdog.rules import Check, Reading
from watchdog.rules.state_machine import MachineState, StateKey

SEVERITY_LABEL = {"warn": "warning", "crit": "critical"}


_BOUND_OF_OPERATOR = {
    "above": "upper",
    "at_least": "upper",
    "below": "lower",
    "at_most": "lower",
    "outside": "upper",
    "equals": "equal",
}


def rule_limits(checks: Iterable[Check]) -> dict[tuple[str, str, str, str], float]:
    """(rule, target, severity, bound) → the limit in force, raw; `outside` has two."""
    found = {}
    for check in checks:
        if check.operator == "outside":
            found[check.rule, check.target, SEVERITY_LABEL[check.level], "lower"] = check.low_limit
        if (bound := _BOUND_OF_OPERATOR.get(check.operator or "")) is not None:
            found[check.rule, check.target, SEVERITY_LABEL[check.level], bound] = check.limit
    return found


def metrics_snapshot(
    config: Config,
    checks: Sequence[Check],
    readings: Mapping[tuple[str, str], Reading],
    machines: Mapping[StateKey, MachineState],
    journal: Journal,
    flapping: Collection[str] = (),
) -> MetricsSnapshot:
    """The mappings must not change meanwhile: whoever asks sits in another thread."""
    rules = config.rules_by_target
    kpis = {}
    for (query, target), reading in readings.items():
        kpi = query.removesuffix(f"@{target}")
        if kpi in config.kpis:
            values = tuple(reading.values.values())
            kpis[kpi, target] = values[0] if len(values) == 1 and reading.error is None else math.nan
    state = dict.fromkeys(rules, 0)
    missing = dict.fromkeys(rules, 0)
    alerts = {}
    for key, machine in machines.items():
        rule = key.rule, key.target
        if rule not in state:
            continue
        if machine.is_firing:
            state[rule] = max(state[rule], 2 if key.level == "crit" else 1)
        missing[rule] |= machine.outcome in ("nodata", "error")
        if machine.phase != "ok":
            labels = tuple(sorted((dict(key.labels) | rules[rule].labels).items()))
            phase = "firing" if machine.is_firing else "pending"
            alerts[key.rule, key.target, SEVERITY_LABEL[key.level], labels] = phase
    baselines = {(check.kpi, check.target): check.baseline for check in checks if check.baseline is not None}
    latched = dict.fromkeys(config.targets, 0) | {one.name: 1 for one in journal.targets.list_latched()}
    queues = journal.messages.list_queues()
    return MetricsSnapshot(
        kpis,
        state,
        missing,
        alerts,
        baselines,
        rule_limits(checks),
        latched,
        len(journal.incidents.list_targets_with_open_incident()),
        {name: queues[name].unsent if name in queues else 0 for name in config.channels},
        {name: queue.oldest for name, queue in queues.items() if name in config.channels},
        {source: int(source in flapping) for source in config.sources},
    )
