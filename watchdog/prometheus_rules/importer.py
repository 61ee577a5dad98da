"""Prometheus's rules in our words: a document as if somebody had written it in our format, with their places.

So everything that is checked of our own files is checked of theirs, and reported where it stands.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from watchdog.documents.document import Document, KeyPath
from watchdog.documents.problems import shorten
from watchdog.prometheus_rules.alert import RUNBOOK_ANNOTATIONS, PrometheusAlert
from watchdog.prometheus_rules.cells import Cell, load_cells
from watchdog.prometheus_rules.groups import PrometheusRule, RuleGroup, is_prometheus_file, parse_groups
from watchdog.prometheus_rules.hysteresis import parse_hysteresis
from watchdog.prometheus_rules.imported import ImportedRules
from watchdog.prometheus_rules.labels import (
    CRITICAL_SEVERITIES,
    PLAN_LABEL,
    RULE_IDENTITY_LABELS,
    SEVERITY_LABEL,
    TARGET_LABEL,
    WARNING_SEVERITY,
)
from watchdog.prometheus_rules.template import Template
from watchdog.promql import PromqlError, RecordingRule, RecordingRules, expand_recordings, metric_names, parse
from watchdog.promql.parse.nodes import DEFAULT_SUBQUERY_STEP
from watchdog.tsdb.labels import is_label_name

MAX_VALUES = 200_000
"""What aliases may make of a file."""

DEFAULT_TARGET = "default"
"""The target of alerts where no file defines one: they are told, and no plan can be started."""

_SYNTHETIC_METRICS = ("ALERTS", "ALERTS_FOR_STATE")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]+")


def import_documents(documents: Sequence[tuple[Path, Document]]) -> ImportedRules:
    """Those of the documents that are Prometheus's, translated. Their mistakes stand in the new documents' ``problems``."""
    prometheus_files: list[tuple[Document, Cell]] = []
    own_data: list[dict[str, Any]] = []
    for path, document in documents:
        if isinstance(document.data, dict) and "groups" in document.data:
            sheet, top = load_cells(path, document.file)
            sheet.max_values = MAX_VALUES
            if top is not None and is_prometheus_file(top):
                prometheus_files.append((document, top))
                continue
            document.problems += sheet.problems
        if isinstance(document.data, dict):
            own_data.append(document.data)
    if not prometheus_files:
        return ImportedRules()
    used_names = {name for data in own_data for name in _names_in(data, "kpis")}
    used_names |= {
        rule["name"] for data in own_data for rule in _entries_in(data, "rules") if isinstance(rule.get("name"), str)
    }
    targets = list(dict.fromkeys(name for data in own_data for name in _names_in(data, "targets")))
    return _import_files(prometheus_files, targets, used_names)


def _names_in(data: Mapping[str, Any], section: str) -> list[str]:
    return list(data[section]) if isinstance(data.get(section), dict) else []


def _entries_in(data: Mapping[str, Any], section: str) -> list[dict[str, Any]]:
    return [each for each in data[section] if isinstance(each, dict)] if isinstance(data.get(section), list) else []


def _import_files(
    files_read: Sequence[tuple[Document, Cell]], targets: Sequence[str], used_names: Collection[str]
) -> ImportedRules:
    """`targets`: those that our own files define. `used_names`: those of our own rules and KPIs."""
    imported = ImportedRules()
    files = [(document, top, _parse_groups(top)) for document, top in files_read]
    for _, _, groups in files:
        for group in groups:
            for rule in group.rules:
                if not rule.is_alert:
                    labels = tuple((name, template.text) for name, template in rule.labels)
                    recording = RecordingRule(rule.name, rule.expr, labels, group.interval or DEFAULT_SUBQUERY_STEP)
                    imported.recordings.setdefault(rule.name, []).append(recording)
    names = _unique_names(
        [(group, rule) for _, _, groups in files for group in groups for rule in group.rules if rule.is_alert],
        used_names,
    )
    for document, top, groups in files:
        builder = _DocumentBuilder(
            Document(top.cell_file.file, {"rules": [], "kpis": {}}, problems=top.cell_file.problems)
        )
        builder.set_position((), top)
        for group in groups:
            imported.notes += _ignored_settings(top.cell_file.file, group)
            for rule in group.rules:
                if (
                    _can_evaluate_expr(rule, imported.recordings)
                    and _can_evaluate_templates(rule, imported.recordings)
                    and rule.is_alert
                ):
                    name = names[id(rule)]
                    imported.prometheus_alerts[name] = PrometheusAlert(
                        rule.name, tuple(_templated_labels(rule)), rule.annotations
                    )
                    _import_alert(builder, rule, name, targets or [DEFAULT_TARGET])
        if not targets and not imported.replacements:
            builder.document.data["targets"] = {DEFAULT_TARGET: {}}
            builder.set_position(("targets", DEFAULT_TARGET), top)
        imported.replacements[id(document)] = builder.document
    return imported


def _parse_groups(top: Cell) -> list[RuleGroup]:
    """None of a file that is too long: what was read of it so far is not all of it."""
    groups = parse_groups(top, 0)
    return groups if top.cell_file.value_count <= top.cell_file.max_values else []


def _unique_names(alerts: Sequence[tuple[RuleGroup, PrometheusRule]], used_names: Collection[str]) -> dict[int, str]:
    """Rule names are unique here, alert names are not: what is ambiguous gets its severity, then its group, then a number."""
    used = set(used_names)
    forms = [
        [
            _sanitized_name(rule.name),
            _sanitized_name(f"{rule.name}.{_severity(rule) or 'none'}"),
            _sanitized_name(f"{group.name}.{rule.name}.{_severity(rule) or 'none'}"),
        ]
        for group, rule in alerts
    ]
    counts = [Counter(form[level] for form in forms) for level in range(3)]
    names = {}
    numbers: dict[str, Iterator[int]] = {}
    for form, (_, rule) in zip(forms, alerts, strict=True):
        fitting = (name for level, name in enumerate(form) if counts[level][name] == 1 and name not in used)
        numbered = (f"{form[2]}.{number}" for number in numbers.setdefault(form[2], itertools.count(1)))
        name = next(fitting, None) or next(each for each in numbered if each not in used)
        used.add(name)
        names[id(rule)] = name
    return names


def _sanitized_name(text: str) -> str:
    return _NOT_IN_NAMES.sub("-", text)[:80].strip("-.") or "alert"


def _severity(rule: PrometheusRule) -> str:
    return rule.cells[f"label {SEVERITY_LABEL}"].as_text() if f"label {SEVERITY_LABEL}" in rule.cells else ""


def _ignored_settings(file: str, group: RuleGroup) -> Iterator[str]:
    for key, said in (("limit", group.limit), ("query_offset", group.query_offset)):
        if said:
            yield f"{file}: {key} of the group {shorten(group.name)} is not heeded; see docs/prometheus.md"


def _templated_labels(rule: PrometheusRule) -> Iterator[tuple[str, Template]]:
    yield from ((name, template) for name, template in rule.labels if "{{" in template.text)


def _can_evaluate_expr(rule: PrometheusRule, recordings: RecordingRules) -> bool:
    """Whether the expression can be evaluated here; what cannot is reported."""
    cell = rule.cells["expr"]
    try:
        names = metric_names(expand_recordings(rule.expr, recordings))
    except PromqlError as error:
        cell.report(str(error))
        return False
    if synthetic := names.intersection(_SYNTHETIC_METRICS):
        if rule.is_alert and parse_hysteresis(rule.text, rule.name) is not None:
            return True
        cell.report(
            f"{min(synthetic)} is not kept as a series",
            "ask the metrics themselves: an alert that only silences others is not needed here",
        )
        return False
    return True


def _can_evaluate_templates(rule: PrometheusRule, recordings: RecordingRules) -> bool:
    """Whether what its templates ask can be evaluated."""
    for key, template in rule.annotations:
        for text in template.queries():
            try:
                expand_recordings(parse(text), recordings)
            except PromqlError as error:
                rule.cells["annotations"].as_dict()[key].report(f"query {shorten(text)}: {error}")
                return False
    return True


def _import_alert(builder: _DocumentBuilder, rule: PrometheusRule, name: str, targets: Sequence[str]) -> None:
    cells = rule.cells
    labels = {label: template.text for label, template in rule.labels if "{{" not in template.text}
    level: Literal["warn", "crit"] = "crit" if labels.get(SEVERITY_LABEL) in CRITICAL_SEVERITIES else "warn"
    rule_data: dict[str, Any] = {"name": name}
    cells_by_path: dict[KeyPath, Cell] = {(): cells[""], ("name",): cells["alert"]}
    for key in (PLAN_LABEL, TARGET_LABEL):
        if f"label {key}" in cells and not labels.get(key):
            cells[f"label {key}"].report(f"{key} is a name, and no template", "write the name itself")
    rule_data["target"] = labels.get(TARGET_LABEL) or targets[0]
    cells_by_path["target",] = cells.get(f"label {TARGET_LABEL}", cells["alert"])
    if len(targets) > 1 and f"label {TARGET_LABEL}" not in cells:
        cells["alert"].report(
            f"it is not said which target {shorten(rule.name)} belongs to",
            f"add the label {TARGET_LABEL} to it or to its group, with one of {', '.join(targets)}",
        )
        return
    threshold: dict[str, Any] = {}
    rule_data[level] = threshold
    cells_by_path[level,] = cells["alert"]
    hysteresis = parse_hysteresis(rule.text, rule.name)
    if hysteresis is None:
        threshold["expr"] = rule.text
        cells_by_path[level, "expr"] = cells["expr"]
    else:
        builder.document.data["kpis"][name] = {"expr": hysteresis.value} | (
            {"needs": hysteresis.needs} if hysteresis.needs else {}
        )
        for path in ((), ("expr",), ("needs",)):
            builder.set_position(("kpis", name, *path), cells["expr"])
        rule_data["kpi"] = name
        threshold |= {hysteresis.operator: hysteresis.limit, "clear": hysteresis.clear}
        if hysteresis.n_of_m is not None:
            threshold["for"] = hysteresis.n_of_m
    for key, own_key, millis in (
        ("for", "for", rule.for_duration),
        ("keep_firing_for", "clear_for", rule.keep_firing_for),
    ):
        if millis:
            threshold[own_key] = f"{millis}ms"
            cells_by_path[level, own_key] = cells[key]
    if plan := labels.get(PLAN_LABEL):
        threshold["plan"] = plan
        cells_by_path[level, "plan"] = cells[f"label {PLAN_LABEL}"]
        if level == "warn":
            cells[f"label {PLAN_LABEL}"].report(
                f"a plan is started by a critical alert, and this one is {_severity_name(labels)}",
                f"say {SEVERITY_LABEL}: critical, or delete {PLAN_LABEL}",
            )
            return
    if kept := {
        label: text
        for label, text in labels.items()
        if label not in RULE_IDENTITY_LABELS and text and is_label_name(label)
    }:
        rule_data["labels"] = kept
        cells_by_path |= {("labels",): cells.get("labels", cells[""])}
        cells_by_path |= {("labels", label): cells[f"label {label}"] for label in kept}
    runbook = next((template for key, template in rule.annotations if key in RUNBOOK_ANNOTATIONS), None)
    if runbook is not None and "{{" not in runbook.text and runbook.text:
        rule_data["runbook"] = runbook.text
    index = len(builder.document.data["rules"])
    builder.document.data["rules"].append(rule_data)
    for loc, cell in cells_by_path.items():
        builder.set_position(("rules", index, *loc), cell)


def _severity_name(labels: Mapping[str, str]) -> str:
    return shorten(labels[SEVERITY_LABEL]) if labels.get(SEVERITY_LABEL) else WARNING_SEVERITY


@dataclass
class _DocumentBuilder:
    document: Document

    def set_position(self, loc: KeyPath, cell: Cell) -> None:
        self.document.key_positions[loc] = self.document.value_positions[loc] = cell.position
