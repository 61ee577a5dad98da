"""What is so now, as one JSON value: for `trading-watchdog status` and /api/status."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isfinite
from types import MappingProxyType

from watchdog import __version__
from watchdog.config import Config
from watchdog.core.model import Millis
from watchdog.core.target import Target
from watchdog.core.telemetry import log
from watchdog.core.units import format_value
from watchdog.journal.messages import LATE_AFTER
from watchdog.journal.storage import Journal
from watchdog.journal.topics import channel_topic
from watchdog.notifiers.pictures import describe_missing_pictures
from watchdog.pipeline.past_runs import list_past_runs
from watchdog.pipeline.pipeline import Pipeline
from watchdog.rollback.held import list_undone
from watchdog.rollback.recover_stages import find_cure
from watchdog.rollback.standing import StandingChange, describe_standing
from watchdog.rules import BaselineState, scoped_query, unit_mismatch
from watchdog.rules.guard import budget_uses


def log_inventory(config: Config) -> None:
    """What is watched, in the log."""
    counts = map(len, (config.sources, config.kpis, config.rules, config.plans))
    log.info("watching: %d sources, %d KPIs, %d rules, %d plans", *counts)
    if not config.rules:
        log.warning("nothing is judged: there is no rule")


def build_status(
    config: Config,
    pipeline: Pipeline,
    journal: Journal,
    source_errors: Mapping[str, str | None],
    now: Millis,
    standing: Callable[[str], Sequence[StandingChange]] = lambda _: (),
    heard: Mapping[str, str | None] = MappingProxyType({}),
) -> dict[str, object]:
    """`source_errors`: source → why its last read failed, None when it did not. `standing`: (target) → what plans have left
    so there. `heard`: channel that is listened to → why it is not heard, None when it is."""
    cuts, flapping = pipeline.source_reports.cuts.current(), pipeline.source_reports.flaps.current()
    users = Counter(rule for rule, _ in config.rules_by_target)
    return {
        "version": __version__,
        "pid": os.getpid(),
        "now": now,
        "sources": {
            name: {
                "up": source_errors.get(name) is None and name in source_errors,
                "error": source_errors.get(name),
                "cut": cuts.get(name),
                "flaps": flapping.get(name),
                "age": None
                if (newest := pipeline.telemetry.newest_samples.get(name)) is None
                else max(0, now - newest),
            }
            for name in config.sources
        },
        "kpis": dict(_kpi_statuses(config, pipeline)),
        "rules": [
            {
                "rule": key.rule,
                "target": key.target,
                "level": key.level,
                "labels": dict(key.labels),
                "phase": machine.phase,
                "outcome": machine.outcome,
                "reason": machine.reason,
                "since": machine.since,
                "missing": machine.missing,
                "aside": pipeline.unseen.aside_for(key.rule, key.target),
            }
            for key, machine in sorted(pipeline.machines.items())
        ],
        "unjudged": sorted(
            scoped_query(rule, target, scoped=users[rule] > 1)
            for rule, target in config.rules_by_target.keys() - {(key.rule, key.target) for key in pipeline.machines}
        ),
        "targets": {
            name: _target_status(config, pipeline, journal, name, now, standing(name))
            | {"configured": target is not None}
            for name, target in targets_to_show(config, journal).items()
        },
        "channels": {
            name: status | ({"unheard": heard[name]} if name in heard else {})
            for name, status in _channel_statuses(config, journal, now)
        },
        "pictures": describe_missing_pictures(config.channels),
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


def _channel_statuses(config: Config, journal: Journal, now: Millis) -> Iterator[tuple[str, dict[str, object]]]:
    """What waits for each channel, whose messages arrive elsewhere or not at all until it is cured."""
    queues, open_topics = journal.messages.list_queues(), journal.messages.list_open_topics()
    for name in config.channels:
        queue = queues.get(name)
        yield (
            name,
            {
                "unsent": 0 if queue is None else queue.unsent,
                "age": None if queue is None else max(0, now - queue.oldest),
                "late": channel_topic(name) in open_topics or (queue is not None and now - queue.oldest >= LATE_AFTER),
                "error": None if queue is None else queue.error,
                "paused_until": None if queue is None else queue.paused_until,
            },
        )


def _kpi_statuses(config: Config, pipeline: Pipeline) -> Iterator[tuple[str, dict[str, object]]]:
    """By name; where several targets are judged by a KPI, by ``KPI@TARGET``."""
    unquiet = {key.target for key, machine in pipeline.machines.items() if machine.phase != "ok"}
    users: dict[str, list[str]] = {name: [] for name in config.kpis}
    for (_, target), rule in config.rules_by_target.items():
        if rule.kpi is not None and target not in users[rule.kpi]:
            users[rule.kpi].append(target)
    for name, targets in users.items():
        for target in targets or [next(iter(config.targets), "")]:
            status = _kpi_status(config, pipeline, name, target, quiet=target not in unquiet)
            more = {"kpi": name, "target": target, "judged": bool(targets)}
            yield scoped_query(name, target, scoped=len(targets) > 1), status | more


def _kpi_status(config: Config, pipeline: Pipeline, name: str, target: str, *, quiet: bool) -> dict[str, object]:
    """`quiet`: nothing is bad at the target."""
    kpi = config.kpi(name, target) or config.kpis[name]
    reading = pipeline.readings.get((scoped_query(name, target, scoped=config.is_scoped(name)), target))
    values = {} if reading is None else reading.values
    baseline = (
        pipeline.baselines.current(name, target)
        if kpi.has_dynamic_baseline
        else BaselineState(kpi.pinned_baseline(), "")
    )
    # Only a pinned one can be of another unit, and only in peace: what is bad is far off without anybody's mistake.
    factor = unit_mismatch(values.values(), kpi.pinned_baseline(), kpi.unit) if quiet else None
    return {
        "values": [
            {"labels": dict(labels), "value": v if isfinite(v) else None, "text": format_value(v, kpi.unit)}
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


def targets_to_show(config: Config, journal: Journal) -> dict[str, Target | None]:
    """All targets, and those that no file names any more (None), and that are latched, have an open incident, or a plan at work."""
    known = {
        *(one.name for one in journal.targets.list_latched()),
        *journal.incidents.list_targets_with_open_incident(),
        *journal.runs.list_targets_with_unfinished_runs(),
    }
    return {**config.targets, **dict.fromkeys(sorted(known - config.targets.keys()))}


def _target_status(
    config: Config, pipeline: Pipeline, journal: Journal, name: str, now: Millis, standing: Sequence[StandingChange]
) -> dict[str, object]:
    target = config.targets.get(name)
    state, incident = journal.targets.get_state(name, now), journal.incidents.find_open(name)
    at_work = journal.runs.list_unfinished(name)
    plan: dict[str, object] | None = None
    if at_work:
        run = at_work[0]
        plan = {
            "run": run.id,
            "plan": run.plan,
            "part": run.part,
            "status": run.status,
            "level": run.level,
            "approve_by": run.approve_by if run.approval is None and run.status == "queued" else None,
        }
    cure = find_cure(journal, config.plan, name, target, now)
    return {
        "latched": None if state.latched is None else state.latch_why,
        "incident": None if incident is None else incident.id,
        "acked_by": None if incident is None else incident.acked_by,
        "plan": plan,
        "held": pipeline.incident_manager.hold_reason(name, now),
        "undone": list_undone(journal, name, now),
        "left": describe_standing(standing),
        "standing": [one._asdict() | {"back": cure(one)} for one in standing],
        "budget": [
            {"text": use.budget.text, "left": use.left, "frees": use.frees}
            for use in ([] if target is None else budget_uses(target, list_past_runs(journal, name, target, now), now))
        ],
    }
