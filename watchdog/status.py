"""What is so now, as one JSON value: for `trading-watchdog status` and /api/status."""

from __future__ import annotations

import os
from collections.abc import Mapping

from watchdog import __version__
from watchdog.config import Config
from watchdog.journal import Journal, incidents, runs, stays
from watchdog.model import Millis
from watchdog.pipeline import Pipeline
from watchdog.rules import Normal, far_off
from watchdog.units import show


def status(
    config: Config, pipeline: Pipeline, journal: Journal, lost: Mapping[str, str | None], now: Millis
) -> dict[str, object]:
    """`lost`: source → why its last read failed, None when it did not."""
    judged = {rule.kpi for rule in config.rules.values()}
    return {
        "version": __version__,
        "pid": os.getpid(),
        "now": now,
        "sources": {
            name: {"up": lost.get(name) is None and name in lost, "error": lost.get(name)} for name in config.sources
        },
        "kpis": {name: _kpi(config, pipeline, name) | {"judged": name in judged} for name in config.kpis},
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
            name: _target(pipeline, journal, name, now) | {"configured": name in config.targets}
            for name in [*config.targets, *_left(config, journal)]
        },
        "silenced": [
            {"rule": stay.subject, "until": stay.until, "who": stay.who, "until_well": stay.until_well}
            for stay in stays.unended(journal)
            if stay.kind == "silence" and now < stay.until
        ],
    }


def _kpi(config: Config, pipeline: Pipeline, name: str) -> dict[str, object]:
    kpi, reading = config.kpis[name], pipeline.readings.get(name)
    values = {} if reading is None else reading.values
    baseline = pipeline.baselines.normal(name) if kpi.moving else Normal(kpi.normal(), "")
    factor = far_off(values, baseline.value)
    return {
        "values": [
            {"labels": dict(labels), "value": v if v == v else None, "text": show(v, kpi.unit)}
            for labels, v in values.items()
        ],
        "baseline": None if kpi.baseline is None else baseline.why or show(baseline.value, kpi.unit),
        "baseline_value": baseline.value,
        "warning": None if factor is None else _warning(factor),
        "unit": kpi.unit,
    }


def _warning(factor: float) -> str:
    off = f"{show(factor, 'count')} ×" if factor > 1 else f"1/{show(1 / factor, 'count')} of"
    return f"the value is {off} its baseline; if it is always so, a ratio was taken for a percent"


def _left(config: Config, journal: Journal) -> list[str]:
    """Targets that no file names any more, and that are latched or have an open incident."""
    known = {one.name for one in incidents.latched(journal)} | set(incidents.open_targets(journal))
    return sorted(known - config.targets.keys())


def _target(pipeline: Pipeline, journal: Journal, name: str, now: Millis) -> dict[str, object]:
    standing, incident = incidents.standing(journal, name, now), incidents.current(journal, name)
    at_work = runs.unended(journal, name)
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
        "latched": None if standing.latched is None else standing.latch_why,
        "incident": None if incident is None else incident.id,
        "acked_by": None if incident is None else incident.acked_by,
        "plan": plan,
        "held": pipeline.ledger.held(name, now),
    }
