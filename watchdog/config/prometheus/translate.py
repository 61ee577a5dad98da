"""Prometheus's rules in our words: a document as if somebody had written it in our format, with their places.

So everything that is checked of our own files is checked of theirs, and reported where it stands.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from watchdog.config.document import Document, Loc
from watchdog.config.problem import short
from watchdog.config.prometheus.cells import Cell
from watchdog.config.prometheus.groups import Group, Rule, read_groups
from watchdog.config.prometheus.hysteresis import split
from watchdog.config.prometheus.labels import CRITICAL, OURS, PLAN, SEVERITY, TARGET, WARNING
from watchdog.config.prometheus.templates import Template
from watchdog.promql import PromqlError, Recording, Recordings, expand, metric_names
from watchdog.promql.nodes import STEP

ALONE = "default"
"""The target of alerts where no file defines one: they are told, and no plan can be started."""

_SYNTHETIC = ("ALERTS", "ALERTS_FOR_STATE")
_UNLIKE_A_NAME = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class Alert:
    """What a rule from one of Prometheus's files says to people, beside what ours say."""

    name: str
    """As it stands in the file; the rule may be called otherwise."""
    labels: tuple[tuple[str, Template], ...]
    """Those that are filled in when it trips."""
    annotations: tuple[tuple[str, Template], ...]


@dataclass
class Translation:
    documents: list[Document] = field(default_factory=list)
    alerts: dict[str, Alert] = field(default_factory=dict)
    """By the name of our rule."""
    recordings: dict[str, list[Recording]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def translate(tops: Iterable[Cell], targets: Sequence[str], taken: Collection[str]) -> Translation:
    """`tops`: the files. `targets`: those that our own files define. `taken`: names of our own rules and KPIs."""
    made = Translation()
    files = [(top, read_groups(top, 0)) for top in tops]
    for _, groups in files:
        for group in groups:
            for rule in group.rules:
                if not rule.is_alert:
                    labels = tuple((name, template.text) for name, template in rule.labels)
                    recording = Recording(rule.name, rule.expr, labels, group.interval or STEP)
                    made.recordings.setdefault(rule.name, []).append(recording)
    names = _names([(group, rule) for _, groups in files for group in groups for rule in group.rules if rule.is_alert], taken)
    for top, groups in files:
        page = _Page(Document(top.sheet.file, {"rules": [], "kpis": {}}, problems=top.sheet.problems))
        page.at((), top)
        for group in groups:
            made.notes += _unheeded(top.sheet.file, group)
            for rule in group.rules:
                if _can_be_asked(rule, made.recordings) and rule.is_alert:
                    name = names[id(rule)]
                    made.alerts[name] = Alert(rule.name, tuple(_templated(rule)), rule.annotations)
                    _alert(page, rule, name, targets or [ALONE])
        if not targets and not made.documents:
            page.document.data["targets"] = {ALONE: {}}
            page.at(("targets", ALONE), top)
        made.documents.append(page.document)
    return made


def _names(alerts: Sequence[tuple[Group, Rule]], taken: Collection[str]) -> dict[int, str]:
    """Rule names are unique here, alert names are not: what is ambiguous gets its severity, then its group, then a number."""
    used = set(taken)
    forms = [[_name(rule.name), _name(f"{rule.name}.{_severity(rule) or 'none'}"),
              _name(f"{group.name}.{rule.name}.{_severity(rule) or 'none'}")] for group, rule in alerts]  # fmt: skip
    counts = [Counter(form[level] for form in forms) for level in range(3)]
    names = {}
    for form, (_, rule) in zip(forms, alerts, strict=True):
        fitting = (name for level, name in enumerate(form) if counts[level][name] == 1 and name not in used)
        numbered = (f"{form[2]}.{number}" for number in range(1, len(alerts) + len(used) + 2))
        name = next(fitting, None) or next(each for each in numbered if each not in used)
        used.add(name)
        names[id(rule)] = name
    return names


def _name(text: str) -> str:
    return _UNLIKE_A_NAME.sub("-", text)[:80].strip("-.") or "alert"


def _severity(rule: Rule) -> str:
    return rule.cells[f"label {SEVERITY}"].text() if f"label {SEVERITY}" in rule.cells else ""


def _unheeded(file: str, group: Group) -> Iterator[str]:
    for key, said in (("limit", group.limit), ("query_offset", group.offset)):
        if said:
            yield f"{file}: {key} of the group {short(group.name)} is not heeded; see docs/prometheus.md"


def _templated(rule: Rule) -> Iterator[tuple[str, Template]]:
    yield from ((name, template) for name, template in rule.labels if "{{" in template.text)


def _can_be_asked(rule: Rule, recordings: Recordings) -> bool:
    """Whether the expression can be evaluated here; what cannot is reported."""
    cell = rule.cells["expr"]
    try:
        names = metric_names(expand(rule.expr, recordings))
    except PromqlError as error:
        cell.report(str(error))
        return False
    if synthetic := names.intersection(_SYNTHETIC):
        if rule.is_alert and split(rule.text, rule.name) is not None:
            return True
        cell.report(f"{min(synthetic)} is not kept as a series",
                    "ask the metrics themselves: an alert that only silences others is not needed here")  # fmt: skip
        return False
    return True


def _alert(page: _Page, rule: Rule, name: str, targets: Sequence[str]) -> None:
    cells = rule.cells
    labels = {label: template.text for label, template in rule.labels if "{{" not in template.text}
    level: Literal["warn", "crit"] = "crit" if labels.get(SEVERITY) in CRITICAL else "warn"
    said: dict[str, Any] = {"name": name}
    at: dict[Loc, Cell] = {(): cells[""], ("name",): cells["alert"]}
    for key in (PLAN, TARGET):
        if f"label {key}" in cells and not labels.get(key):
            cells[f"label {key}"].report(f"{key} is a name, and no template", "write the name itself")
    said["target"] = labels.get(TARGET) or targets[0]
    at["target",] = cells.get(f"label {TARGET}", cells["alert"])
    if len(targets) > 1 and f"label {TARGET}" not in cells:
        cells["alert"].report(f"it is not said which target {short(rule.name)} belongs to",
                              f"add the label {TARGET} to it or to its group, with one of {', '.join(targets)}")  # fmt: skip
        return
    threshold: dict[str, Any] = {}
    said[level] = threshold
    at[level,] = cells["alert"]
    hysteresis = split(rule.text, rule.name)
    if hysteresis is None:
        threshold["expr"] = rule.text
        at[level, "expr"] = cells["expr"]
    else:
        page.document.data["kpis"][name] = {"expr": hysteresis.value} | (
            {"needs": hysteresis.needs} if hysteresis.needs else {})  # fmt: skip
        for path in ((), ("expr",), ("needs",)):
            page.at(("kpis", name, *path), cells["expr"])
        said["kpi"] = name
        threshold |= {hysteresis.operator: hysteresis.limit, "clear": hysteresis.clear}
    for key, ours, millis in (("for", "for", rule.hold), ("keep_firing_for", "clear_for", rule.keep)):
        if millis:
            threshold[ours] = f"{millis}ms"
            at[level, ours] = cells[key]
    if plan := labels.get(PLAN):
        threshold["plan"] = plan
        at[level, "plan"] = cells[f"label {PLAN}"]
        if level == "warn":
            cells[f"label {PLAN}"].report(f"a plan is started by a critical alert, and this one is {_shown(labels)}",
                                          f"say {SEVERITY}: critical, or delete {PLAN}")  # fmt: skip
            return
    if kept := {label: text for label, text in labels.items() if label not in OURS and text}:
        said["labels"] = kept
        at |= {("labels",): cells.get("labels", cells[""])}
        at |= {("labels", label): cells[f"label {label}"] for label in kept}
    runbook = next((template for key, template in rule.annotations if key in ("runbook_url", "runbook")), None)
    if runbook is not None and "{{" not in runbook.text and runbook.text:
        said["runbook"] = runbook.text
    index = len(page.document.data["rules"])
    page.document.data["rules"].append(said)
    for loc, cell in at.items():
        page.at(("rules", index, *loc), cell)


def _shown(labels: Mapping[str, str]) -> str:
    return short(labels[SEVERITY]) if labels.get(SEVERITY) else WARNING


@dataclass
class _Page:
    document: Document

    def at(self, loc: Loc, cell: Cell) -> None:
        self.document.key_at[loc] = self.document.val_at[loc] = cell.place
