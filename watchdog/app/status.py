"""What is so now, as one JSON value: for `trading-watchdog status` and /api/status."""

from __future__ import annotations

import os
from collections.abc import Mapping

from watchdog import __version__
from watchdog.config import Config
from watchdog.core.model import Millis
from watchdog.core.units import format_value
from watchdog.journal.storage import Journal
from watchdog.pipeline.pipeline import Pipeline
from watchdog.rules import BaselineState, unit_mismatch


def build_status(
    config: Config, pipeline: Pipeline, journal: Journal, source_errors: Mapping[str, str | None], now: Millis
) -> dict[str, object]:
    """`source_errors`: source → why its last read failed, None when it did not."""
    cuts = pipeline.cut_sources()
    judged = {rule.kpi for rule in config.rules.values()}
    unquiet = {config.rules[key.rule].target for key, machine in pipeline.machines.items() if machine.phase != "ok"}
    disturbed = {rule.kpi for rule in config.rules.values() if rule.target in unquiet}
    return {
        "version": __version__,
        "pid": os.getpid(),
        "now": now,
        "sources": {
            name: {
                "up": source_errors.get(name) is None and name in source_errors,
                "error": source_errors.get(name),
                "cut": cuts.get(name),
            }
            for name in config.sources
        },
        "kpis": {
            name: _kpi_status(config, pipeline, name, quiet=name not in disturbed) | {"judged": name in judged}
            for name in config.kpis
        },
        "rules": [
            {
                "rule": key.rule,
                "level": key.level,
                "labels": dict(key.labels),
                "phase": machine.phase,
                "outcome": machine.outcome,
                "reason": machine.reason,
                "since": machine.since,
            }
            for key, machine in sorted(pipeline.machines.items())
        ],
        "unjudged": sorted(config.rules.keys() - {key.rule for key in pipeline.machines}),
        "targets": {
            name: _target_status(pipeline, journal, name, now) | {"configured": name in config.targets}
            for name in [*config.targets, *_unconfigured_targets(config, journal)]
        },
        "silenced": [
            {
                "rule": suppression.subject,
                "until": suppression.until,
                "who": suppression.who,
                "until_well": suppression.until_well,
            }
            for suppression in journal.suppressions.list_unended()
            if suppression.kind == "silence" and now < suppression.until
        ],
    }


def _kpi_status(config: Config, pipeline: Pipeline, name: str, *, quiet: bool) -> dict[str, object]:
    """`quiet`: nothing is bad at the targets whose rules judge it."""
    kpi, reading = config.kpis[name], pipeline.readings.get(name)
    values = {} if reading is None else reading.values
    baseline = (
        pipeline.baselines.current(name) if kpi.has_dynamic_baseline else BaselineState(kpi.pinned_baseline(), "")
    )
    # Only a pinned one can be of another unit, and only in peace: what is bad is far off without anybody's mistake.
    factor = unit_mismatch(values.values(), kpi.pinned_baseline(), kpi.unit) if quiet else None
    return {
        "values": [
            {"labels": dict(labels), "value": v if v == v else None, "text": format_value(v, kpi.unit)}
            for labels, v in values.items()
        ],
        "baseline": None if kpi.baseline is None else baseline.reason or format_value(baseline.value, kpi.unit),
        "baseline_value": baseline.value,
        "warning": None if factor is None else _warning(factor),
        "unit": kpi.unit,
    }


def _warning(factor: float) -> str:
    off = f"{format_value(factor, 'count')} ×" if factor > 1 else f"1/{format_value(1 / factor, 'count')} of"
    return f"the value is {off} its baseline; if it is always so, a ratio was taken for a percent"


def _unconfigured_targets(config: Config, journal: Journal) -> list[str]:
    """Targets that no file names any more, and that are latched or have an open incident."""
    known = {one.name for one in journal.targets.list_latched()} | set(
        journal.incidents.list_targets_with_open_incident()
    )
    return sorted(known - config.targets.keys())


def _target_status(pipeline: Pipeline, journal: Journal, name: str, now: Millis) -> dict[str, object]:
    state, incident = journal.targets.get_state(name, now), journal.incidents.find_open(name)
    at_work = journal.runs.list_unfinished(name)
    plan: dict[str, object] | None = None
    if at_work:
        run = at_work[0]
        plan = {
            "run": run.id,
            "plan": run.plan,
            "status": run.status,
            "level": run.level,
            "approve_by": run.approve_by if run.approval is None and run.status == "queued" else None,
        }
    return {
        "latched": None if state.latched is None else state.latch_why,
        "incident": None if incident is None else incident.id,
        "acked_by": None if incident is None else incident.acked_by,
        "plan": plan,
        "held": pipeline.incident_manager.hold_reason(name, now),
    }
