"""Our rules as a rule file for a Prometheus server. What PromQL cannot say becomes a comment, and is counted."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import yaml

from watchdog.core.protocols import Source
from watchdog.core.units import format_promql_duration, format_value
from watchdog.prometheus_rules.alert import PrometheusAlert
from watchdog.prometheus_rules.conditions import (
    is_parenthesized,
    missing_condition,
    parenthesize,
    schedule_conditions,
    threshold_condition,
)
from watchdog.prometheus_rules.labels import MISSING_LABEL, PLAN_LABEL, SEVERITY_LABEL, TARGET_LABEL, WARNING_SEVERITY
from watchdog.promql import PromqlError, RecordingRules, may_have_labels, parse
from watchdog.promql.functions.registry import range_function
from watchdog.promql.parse.nodes import Node, RangeFunctionCall, child_nodes
from watchdog.rules import Check, Kpi, Rule
from watchdog.rules.summary import format_limit
from watchdog.tsdb.labels import TARGET_LABEL as SERIES_TARGET_LABEL

SEVERITIES = {"warn": WARNING_SEVERITY, "crit": "critical"}
DEFAULT_INTERVAL = 15_000
"""ms between two evaluations where no source says how often it is read."""


class RuleSet(Protocol):
    """What of a configuration an export is made from; `Config` is one."""

    @property
    def sources(self) -> Mapping[str, Source]: ...
    def as_asked(self, name: str, target: str) -> tuple[Rule, Kpi | None]: ...
    def expr_of(self, text: str, target: str) -> str: ...
    @property
    def has_own_sources(self) -> bool: ...
    @property
    def checks(self) -> Sequence[Check]: ...
    @property
    def prometheus_alerts(self) -> Mapping[str, PrometheusAlert]: ...
    @property
    def recordings(self) -> RecordingRules: ...


class Export(NamedTuple):
    text: str
    alerts: int
    unsupported: int
    """Comments: things Prometheus cannot say."""


class _Alert(NamedTuple):
    rule: dict[str, Any] | None
    """None: nothing of it can be said."""
    notes: list[str]


def export_prometheus(config: RuleSet) -> Export:
    """A file that `promtool check rules` accepts."""
    lines = [
        "# Written by: trading-watchdog check --export prometheus",
        "# Every series must carry the label source, as it does here: the name of the source that reads it.",
        *(["# Those of a target's own sources must carry target, too: its name."] if config.has_own_sources else []),
        "groups:",
    ]
    alerts = unsupported = 0
    general_notes = [
        "an alert resolves when its data is gone; trading-watchdog holds what fires until there is data that says otherwise",
        "a window that is not covered whole is judged all the same",
    ]
    lines += [f"  # not said: {note}" for note in general_notes] if config.checks else []
    unsupported += len(general_notes) if config.checks else 0
    targets = list(dict.fromkeys(check.target for check in config.checks))
    lines += _export_recordings(config, targets if config.has_own_sources else [None])
    for target in targets:
        made = [alert for check in config.checks if check.target == target for alert in _export_alerts(config, check)]
        exported = [alert for alert in made if alert.rule is not None]
        lines += [f"  - name: {target}", "    rules:" if exported else "    rules: []"]
        for alert in made:
            lines += [f"      # not said: {' '.join(note.split())}" for note in alert.notes]
            unsupported += len(alert.notes)
            if alert.rule is not None:
                lines += _yaml(alert.rule)
        alerts += len(exported)
    if lines[-1] == "groups:":
        lines[-1] = "groups: []"
    lines.append(f"# {describe_export(alerts, unsupported)}")
    return Export("\n".join(lines) + "\n", alerts, unsupported)


def _export_recordings(config: RuleSet, targets: Sequence[str | None]) -> Iterator[str]:
    """What is recorded; for each target by itself where they have sources of their own, as it is asked here."""
    recordings = [each for listed in config.recordings.values() for each in listed]
    if not recordings:
        return
    yield "  - name: recorded"
    yield f"    interval: {format_promql_duration(min(each.step for each in recordings))}"
    yield "    rules:"
    for target in targets:
        for each in recordings:
            text = each.expr.text if target is None else config.expr_of(each.expr.text, target)
            labels = dict(each.labels) | ({} if target is None else {SERIES_TARGET_LABEL: target})
            yield from _yaml({"record": each.name, "expr": text, **({"labels": labels} if labels else {})})


def describe_export(alerts: int, unsupported: int) -> str:
    return (
        f"exported {alerts} alert{'' if alerts == 1 else 's'}; {unsupported} thing{'' if unsupported == 1 else 's'} Prometheus "
        f"cannot say stand{'s' if unsupported == 1 else ''} as {'a comment' if unsupported == 1 else 'comments'}"
    )


def _yaml(rule: dict[str, Any]) -> list[str]:
    text = yaml.safe_dump([rule], sort_keys=False, width=100_000, allow_unicode=True)
    return [f"      {line}" if line else "" for line in text.splitlines()]


def _export_alerts(config: RuleSet, check: Check) -> Iterator[_Alert]:
    rule, kpi = config.as_asked(check.rule, check.target)
    threshold = rule.threshold(check.level)
    if threshold is not None:
        yield _export_threshold(
            config, check, rule, kpi, threshold.expr if threshold.expr is not None else kpi.expr if kpi else ""
        )
    if check.missing.then == check.level:
        notes = list(_unsupported_functions(missing_condition(kpi, rule)))
        yield _Alert(
            None
            if notes
            else {
                "alert": _alert_name(config, rule),
                "expr": missing_condition(kpi, rule),
                "for": format_promql_duration(check.missing.after),
                "labels": _labels(config, check, rule) | {MISSING_LABEL: "true"},
                "annotations": {"summary": f"There is no data for {check.kpi}"} | _runbook(rule),
            },
            [f"{check.rule} ({check.level}), missing data: {note}" for note in notes],
        )


def _export_threshold(config: RuleSet, check: Check, rule: Rule, kpi: Kpi | None, value: str) -> _Alert:
    needs = None if kpi is None else kpi.needs
    notes = [
        note
        for text in (value, needs, rule.only.when if rule.only else None)
        if text
        for note in _unsupported_functions(text)
    ]
    if kpi is not None and kpi.has_dynamic_baseline and not math.isfinite(check.limit):
        notes.append(
            f"its limit leans on a baseline that is {'captured' if kpi.baseline == 'captured' else 'learned'} here"
        )
    if notes:
        return _Alert(None, [f"{check.rule} ({check.level}): {note}" for note in notes])
    if check.limit_unknown is not None:
        notes.append("its relative limit, for the baseline is not known to Prometheus: the ceiling stands alone")
    if kpi is not None and kpi.since is not None:
        notes.append(f"since: resume; {check.kpi} looks back over its whole window")
    if kpi is not None and kpi.born is not None:
        notes.append(f"born: zero; what a series of {check.kpi} begins with counts for nothing there")
    every = max((source.every for source in config.sources.values()), default=DEFAULT_INTERVAL)
    if check.patience.m and not config.sources:
        notes.append(
            f"how often it is evaluated: {check.patience.describe()} are taken {format_promql_duration(every)} apart"
        )
    when, unsupported = schedule_conditions(rule.only)
    notes += unsupported
    if check.plan is not None:
        notes.append(f"the plan {check.plan}: only trading-watchdog carries it out")
    labels = _labels(config, check, rule)
    name = _alert_name(config, rule)
    text = threshold_condition(check, value, name, labels, every)
    if more := [*([needs] if needs else ()), *when]:
        head = text if text.startswith("(") and is_parenthesized(text) else f"({text})"
        text = " and ".join([head, *(f"{_vector_matching(value, each)}{parenthesize(each)}" for each in more)])
    exported: dict[str, Any] = {"alert": name, "expr": text}
    if check.patience.duration:
        exported["for"] = format_promql_duration(check.patience.duration)
    if check.clear_for:
        exported["keep_firing_for"] = format_promql_duration(check.clear_for)
    exported["labels"] = labels
    if annotations := _annotations(config, check, rule, kpi, notes):
        exported["annotations"] = annotations
    return _Alert(exported, [f"{check.rule} ({check.level}): {note}" for note in notes])


def _alert_name(config: RuleSet, rule: Rule) -> str:
    return config.prometheus_alerts[rule.name].name if rule.name in config.prometheus_alerts else rule.name


def _labels(config: RuleSet, check: Check, rule: Rule) -> dict[str, str]:
    watchdog_labels = {SEVERITY_LABEL: SEVERITIES[check.level], TARGET_LABEL: check.target} | (
        {PLAN_LABEL: check.plan} if check.plan else {}
    )
    imported = config.prometheus_alerts.get(rule.name)
    return {
        **rule.labels,
        **watchdog_labels,
        **({} if imported is None else {name: each.text for name, each in imported.labels}),
    }


def _vector_matching(value: str, needs: str) -> str:
    """`needs` speaks for every series unless both have labels to be matched by."""
    return "" if may_have_labels(parse(value)) and may_have_labels(parse(needs)) else "on () "


def _unsupported_functions(text: str) -> Iterator[str]:
    """Functions that only the embedded engine knows."""
    try:
        node = parse(text).node
    except PromqlError as error:
        yield str(error)
        return
    yield from (
        f"{func}: Prometheus has no such function"
        for func in dict.fromkeys(_functions(node))
        if range_function(func).extension_scalars is not None
    )


def _functions(node: Node) -> Iterator[str]:
    if isinstance(node, RangeFunctionCall):
        yield node.func
    for child in child_nodes(node):
        yield from _functions(child)


def _runbook(rule: Rule) -> dict[str, str]:
    return {"runbook_url": rule.runbook} if rule.runbook else {}


def _annotations(config: RuleSet, check: Check, rule: Rule, kpi: Kpi | None, notes: list[str]) -> dict[str, str]:
    if rule.name in config.prometheus_alerts:
        return {key: template.text for key, template in config.prometheus_alerts[rule.name].annotations}
    annotations = {"summary": _summary_template(rule.summary, check, notes)} if rule.summary else {}
    return annotations | ({"description": kpi.help} if kpi is not None and kpi.help else {}) | _runbook(rule)


_PLACEHOLDER = re.compile(r"\{\{\s*([\w.-]+)\s*\}\}")
_VALUE_TEMPLATES = {
    "ratio": "{{ $value | humanizePercentage }}",
    "percent": '{{ printf "%.3g" $value }} %',
    "bytes": "{{ $value | humanize1024 }}B",
    "seconds": "{{ $value | humanizeDuration }}",
}


def _summary_template(summary: str, check: Check, notes: list[str]) -> str:
    """Our placeholders as Go's templates; what does not change is written out."""

    def go(found: re.Match[str]) -> str:
        word, _, label = found[1].partition(".")
        match word:
            case "value":
                return _VALUE_TEMPLATES.get(
                    check.unit, "{{ $value | humanize }}" + ("" if check.unit == "count" else f" {check.unit}")
                )
            case "limit":
                return "none" if check.operator == "expr" else format_limit(check)
            case "baseline":
                return "none" if check.baseline is None else format_value(check.baseline, check.unit)
            case "labels" if label:
                return f"{{{{ $labels.{label} }}}}"
            case "labels":
                return "{{ range $name, $text := $labels }}{{ $name }}={{ $text }} {{ end }}"
            case "duration":
                notes.append("{{ duration }} in its summary")
                return "some time"
        return {"name": check.rule, "level": check.level, "target": check.target, "kpi": check.kpi}[word]

    return _PLACEHOLDER.sub(go, summary)
