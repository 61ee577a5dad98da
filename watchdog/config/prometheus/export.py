"""Our rules as a rule file for a Prometheus server. What PromQL cannot say becomes a comment, and is counted."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

from watchdog.config.prometheus.conditions import alone, bracketed, condition, missing, schedule
from watchdog.config.prometheus.labels import MISSING, PLAN, SEVERITY, TARGET, WARNING
from watchdog.config.shape import Config
from watchdog.promql import PromqlError, has_labels, parse
from watchdog.promql.nodes import Node, RangeCall, children
from watchdog.promql.trading import TRADING
from watchdog.rules import Check, Kpi, Rule
from watchdog.rules.summary import show_limit
from watchdog.units import promql_duration, show

SEVERITIES = {"warn": WARNING, "crit": "critical"}
UNHEARD = 15_000
"""ms between two evaluations where no source says how often it is read."""


class Export(NamedTuple):
    text: str
    alerts: int
    unsaid: int
    """Comments: things Prometheus cannot say."""


class _Alert(NamedTuple):
    said: dict[str, Any] | None
    """None: nothing of it can be said."""
    notes: list[str]


def export(config: Config) -> Export:
    """A file that `promtool check rules` accepts."""
    lines = [
        "# Written by: trading-watchdog check --export prometheus",
        "# Every series must carry the label source, as it does here: the name of the source that reads it.",
        "groups:",
    ]
    alerts = unsaid = 0
    everywhere = [
        "an alert resolves when its data is gone; trading-watchdog holds what fires until there is data that says otherwise",
        "a window that is not covered whole is judged all the same",
    ]
    lines += [f"  # not said: {note}" for note in everywhere] if config.checks else []
    unsaid += len(everywhere) if config.checks else 0
    recordings = [each for listed in config.recordings.values() for each in listed]
    if recordings:
        lines += [
            "  - name: recorded",
            f"    interval: {promql_duration(min(each.step for each in recordings))}",
            "    rules:",
        ]
        for each in recordings:
            lines += _yaml(
                {"record": each.name, "expr": each.expr.text, **({"labels": dict(each.labels)} if each.labels else {})}
            )
    for target in dict.fromkeys(check.target for check in config.checks):
        made = [alert for check in config.checks if check.target == target for alert in _alerts(config, check)]
        said = [alert for alert in made if alert.said is not None]
        lines += [f"  - name: {target}", "    rules:" if said else "    rules: []"]
        for alert in made:
            lines += [f"      # not said: {' '.join(note.split())}" for note in alert.notes]
            unsaid += len(alert.notes)
            if alert.said is not None:
                lines += _yaml(alert.said)
        alerts += len(said)
    if lines[-1] == "groups:":
        lines[-1] = "groups: []"
    lines.append(f"# {told(alerts, unsaid)}")
    return Export("\n".join(lines) + "\n", alerts, unsaid)


def told(alerts: int, unsaid: int) -> str:
    return (
        f"exported {alerts} alert{'' if alerts == 1 else 's'}; {unsaid} thing{'' if unsaid == 1 else 's'} Prometheus "
        f"cannot say stand{'s' if unsaid == 1 else ''} as {'a comment' if unsaid == 1 else 'comments'}"
    )


def _yaml(rule: dict[str, Any]) -> list[str]:
    text = yaml.safe_dump([rule], sort_keys=False, width=100_000, allow_unicode=True)
    return [f"      {line}" if line else "" for line in text.splitlines()]


def _alerts(config: Config, check: Check) -> Iterator[_Alert]:
    rule = config.rules[check.rule]
    kpi = config.kpis.get(rule.kpi or "")
    threshold = rule.threshold(check.level)
    if threshold is not None:
        yield _threshold(
            config, check, rule, kpi, threshold.expr if threshold.expr is not None else kpi.expr if kpi else ""
        )
    if check.missing.then == check.level:
        notes = list(_strangers(missing(config, rule)))
        yield _Alert(
            None
            if notes
            else {
                "alert": _alert_name(config, rule),
                "expr": missing(config, rule),
                "for": promql_duration(check.missing.after),
                "labels": _labels(config, check, rule) | {MISSING: "true"},
                "annotations": {"summary": f"There is no data for {check.kpi}"} | _runbook(rule),
            },
            [f"{check.rule} ({check.level}), missing data: {note}" for note in notes],
        )


def _threshold(config: Config, check: Check, rule: Rule, kpi: Kpi | None, value: str) -> _Alert:
    needs = None if kpi is None else kpi.needs
    notes = [
        note for text in (value, needs, rule.only.when if rule.only else None) if text for note in _strangers(text)
    ]
    if kpi is not None and kpi.moving and not math.isfinite(check.limit):
        notes.append(
            f"its limit leans on a baseline that is {'captured' if kpi.baseline == 'captured' else 'learned'} here"
        )
    if notes:
        return _Alert(None, [f"{check.rule} ({check.level}): {note}" for note in notes])
    if check.waits is not None:
        notes.append("its relative limit, for the baseline is not known to Prometheus: the ceiling stands alone")
    if kpi is not None and kpi.since is not None:
        notes.append(f"since: resume; {check.kpi} looks back over its whole window")
    every = max((source.every for source in config.sources.values()), default=UNHEARD)
    if check.patience.m and not config.sources:
        notes.append(f"how often it is evaluated: {check.patience.say()} are taken {promql_duration(every)} apart")
    when, unsaid = schedule(rule.only)
    notes += unsaid
    if check.plan is not None:
        notes.append(f"the plan {check.plan}: only trading-watchdog carries it out")
    labels = _labels(config, check, rule)
    name = _alert_name(config, rule)
    text = condition(check, value, name, labels, every)
    if more := [*([needs] if needs else ()), *when]:
        head = text if text.startswith("(") and alone(text) else f"({text})"
        text = " and ".join([head, *(f"{_matching(value, each)}{bracketed(each)}" for each in more)])
    said: dict[str, Any] = {"alert": name, "expr": text}
    if check.patience.hold:
        said["for"] = promql_duration(check.patience.hold)
    if check.clear_for:
        said["keep_firing_for"] = promql_duration(check.clear_for)
    said["labels"] = labels
    if annotations := _annotations(config, check, rule, kpi, notes):
        said["annotations"] = annotations
    return _Alert(said, [f"{check.rule} ({check.level}): {note}" for note in notes])


def _alert_name(config: Config, rule: Rule) -> str:
    return config.alerts[rule.name].name if rule.name in config.alerts else rule.name


def _labels(config: Config, check: Check, rule: Rule) -> dict[str, str]:
    own = {SEVERITY: SEVERITIES[check.level], TARGET: check.target} | ({PLAN: check.plan} if check.plan else {})
    theirs = config.alerts.get(rule.name)
    return {**rule.labels, **own, **({} if theirs is None else {name: each.text for name, each in theirs.labels})}


def _matching(value: str, needs: str) -> str:
    """`needs` speaks for every series unless both have labels to be matched by."""
    return "" if has_labels(parse(value)) and has_labels(parse(needs)) else "on () "


def _strangers(text: str) -> Iterator[str]:
    """Functions that only the embedded engine knows."""
    try:
        node = parse(text).node
    except PromqlError as error:
        yield str(error)
        return
    yield from (
        f"{func}: Prometheus has no such function" for func in dict.fromkeys(_functions(node)) if func in TRADING
    )


def _functions(node: Node) -> Iterator[str]:
    if isinstance(node, RangeCall):
        yield node.func
    for child in children(node):
        yield from _functions(child)


def _runbook(rule: Rule) -> dict[str, str]:
    return {"runbook_url": rule.runbook} if rule.runbook else {}


def _annotations(config: Config, check: Check, rule: Rule, kpi: Kpi | None, notes: list[str]) -> dict[str, str]:
    if rule.name in config.alerts:
        return {key: template.text for key, template in config.alerts[rule.name].annotations}
    said = {"summary": _summary(rule.summary, check, notes)} if rule.summary else {}
    return said | ({"description": kpi.help} if kpi is not None and kpi.help else {}) | _runbook(rule)


_PLACE = re.compile(r"\{\{\s*([\w.-]+)\s*\}\}")
_VALUES = {
    "ratio": "{{ $value | humanizePercentage }}",
    "percent": '{{ printf "%.3g" $value }} %',
    "bytes": "{{ $value | humanize1024 }}B",
    "seconds": "{{ $value | humanizeDuration }}",
}


def _summary(summary: str, check: Check, notes: list[str]) -> str:
    """Our placeholders as Go's templates; what does not change is written out."""

    def go(found: re.Match[str]) -> str:
        word, _, label = found[1].partition(".")
        match word:
            case "value":
                return _VALUES.get(
                    check.unit, "{{ $value | humanize }}" + ("" if check.unit == "count" else f" {check.unit}")
                )
            case "limit":
                return "none" if check.operator == "expr" else show_limit(check)
            case "baseline":
                return "none" if check.baseline is None else show(check.baseline, check.unit)
            case "labels" if label:
                return f"{{{{ $labels.{label} }}}}"
            case "labels":
                return "{{ range $name, $text := $labels }}{{ $name }}={{ $text }} {{ end }}"
            case "duration":
                notes.append("{{ duration }} in its summary")
                return "some time"
        return {"name": check.rule, "level": check.level, "target": check.target, "kpi": check.kpi}[word]

    return _PLACE.sub(go, summary)
