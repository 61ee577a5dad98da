"""Prometheus's rules in our words: a document as if somebody had written it in our format, with their places.

So everything that is checked of our own files is checked of theirs, and reported where it stands.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from watchdog.config.document import Document, Loc
from watchdog.config.problem import short
from watchdog.config.prometheus.cells import Cell, open_sheet
from watchdog.config.prometheus.groups import LABEL, Group, Rule, is_prometheus, read_groups
from watchdog.config.prometheus.helpers import TemplateError
from watchdog.config.prometheus.hysteresis import split
from watchdog.config.prometheus.labels import CRITICAL, OURS, PLAN, SEVERITY, TARGET, WARNING
from watchdog.config.prometheus.templates import LabelMap, Query, Template
from watchdog.config.theirs import Translation
from watchdog.model import Labels
from watchdog.promql import PromqlError, Recording, Recordings, expand, metric_names, parse
from watchdog.promql.nodes import STEP

MOST_VALUES = 200_000
"""What aliases may make of a file."""

ALONE = "default"
"""The target of alerts where no file defines one: they are told, and no plan can be started."""

RUNBOOK = ("runbook_url", "runbook")
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

    def said(self) -> list[list[tuple[str, str]]]:
        return [[(key, template.text) for key, template in each] for each in (self.labels, self.annotations)]

    def queries(self) -> list[str]:
        """What its templates ask."""
        return [text for _, template in (*self.labels, *self.annotations) for text in template.queries()]

    def lines(self, labels: Labels, value: float | None, query: Query) -> list[str]:
        """What people are told, filled in as Prometheus does it. A template that fails says so in its place."""
        held = LabelMap(labels)
        v = float("nan") if value is None else value
        data = {"Labels": held, "ExternalLabels": LabelMap(), "ExternalURL": "", "Value": v}
        variables = {"labels": held, "externalLabels": LabelMap(), "externalURL": "", "value": v}

        def fill(template: Template) -> str:
            try:
                return " ".join(template.fill(data, variables, query).split())
            except TemplateError as error:
                return f"<error expanding template: {error}>"

        known = dict(self.annotations)
        first = [fill(known[key]) for key in ("summary", "message", "description") if key in known]
        rest = [
            f"{key}: {fill(template)}"
            for key, template in (*self.annotations, *self.labels)
            if key not in ("summary", "message", "description") and not _is_link(key, template)
        ]
        return [line for line in (*first, *rest) if line]


def _is_link(key: str, template: Template) -> bool:
    """A runbook that the rule itself carries."""
    return key in RUNBOOK and "{{" not in template.text


def read_theirs(read: Sequence[tuple[Path, Document]]) -> Translation:
    """Those of the documents that are Prometheus's, translated. Their mistakes stand in the new documents' ``problems``."""
    theirs: list[tuple[Document, Cell]] = []
    ours: list[dict[str, Any]] = []
    for path, document in read:
        if isinstance(document.data, dict) and "groups" in document.data:
            sheet, top = open_sheet(path, document.file)
            sheet.most = MOST_VALUES
            if top is not None and is_prometheus(top):
                theirs.append((document, top))
                continue
            document.problems += sheet.problems
        if isinstance(document.data, dict):
            ours.append(document.data)
    if not theirs:
        return Translation()
    taken = {name for data in ours for name in _names_in(data, "kpis")}
    taken |= {rule["name"] for data in ours for rule in _listed(data, "rules") if isinstance(rule.get("name"), str)}
    targets = list(dict.fromkeys(name for data in ours for name in _names_in(data, "targets")))
    return _translate(theirs, targets, taken)


def _names_in(data: Mapping[str, Any], section: str) -> list[str]:
    return list(data[section]) if isinstance(data.get(section), dict) else []


def _listed(data: Mapping[str, Any], section: str) -> list[dict[str, Any]]:
    return [each for each in data[section] if isinstance(each, dict)] if isinstance(data.get(section), list) else []


def _translate(read: Sequence[tuple[Document, Cell]], targets: Sequence[str], taken: Collection[str]) -> Translation:
    """`targets`: those that our own files define. `taken`: names of our own rules and KPIs."""
    made = Translation()
    files = [(document, top, _groups(top)) for document, top in read]
    for _, _, groups in files:
        for group in groups:
            for rule in group.rules:
                if not rule.is_alert:
                    labels = tuple((name, template.text) for name, template in rule.labels)
                    recording = Recording(rule.name, rule.expr, labels, group.interval or STEP)
                    made.recordings.setdefault(rule.name, []).append(recording)
    names = _names(
        [(group, rule) for _, _, groups in files for group in groups for rule in group.rules if rule.is_alert], taken
    )
    for document, top, groups in files:
        page = _Page(Document(top.sheet.file, {"rules": [], "kpis": {}}, problems=top.sheet.problems))
        page.at((), top)
        for group in groups:
            made.notes += _unheeded(top.sheet.file, group)
            for rule in group.rules:
                if _can_be_asked(rule, made.recordings) and _can_be_told(rule, made.recordings) and rule.is_alert:
                    name = names[id(rule)]
                    made.alerts[name] = Alert(rule.name, tuple(_templated(rule)), rule.annotations)
                    _alert(page, rule, name, targets or [ALONE])
        if not targets and not made.instead:
            page.document.data["targets"] = {ALONE: {}}
            page.at(("targets", ALONE), top)
        made.instead[id(document)] = page.document
    return made


def _groups(top: Cell) -> list[Group]:
    """None of a file that is too long: what was read of it so far is not all of it."""
    groups = read_groups(top, 0)
    return groups if top.sheet.cells <= top.sheet.most else []


def _names(alerts: Sequence[tuple[Group, Rule]], taken: Collection[str]) -> dict[int, str]:
    """Rule names are unique here, alert names are not: what is ambiguous gets its severity, then its group, then a number."""
    used = set(taken)
    forms = [
        [
            _name(rule.name),
            _name(f"{rule.name}.{_severity(rule) or 'none'}"),
            _name(f"{group.name}.{rule.name}.{_severity(rule) or 'none'}"),
        ]
        for group, rule in alerts
    ]
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
        cell.report(
            f"{min(synthetic)} is not kept as a series",
            "ask the metrics themselves: an alert that only silences others is not needed here",
        )
        return False
    return True


def _can_be_told(rule: Rule, recordings: Recordings) -> bool:
    """Whether what its templates ask can be evaluated."""
    for key, template in rule.annotations:
        for text in template.queries():
            try:
                expand(parse(text), recordings)
            except PromqlError as error:
                rule.cells["annotations"].keyed()[key].report(f"query {short(text)}: {error}")
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
        cells["alert"].report(
            f"it is not said which target {short(rule.name)} belongs to",
            f"add the label {TARGET} to it or to its group, with one of {', '.join(targets)}",
        )
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
            {"needs": hysteresis.needs} if hysteresis.needs else {}
        )
        for path in ((), ("expr",), ("needs",)):
            page.at(("kpis", name, *path), cells["expr"])
        said["kpi"] = name
        threshold |= {hysteresis.operator: hysteresis.limit, "clear": hysteresis.clear}
        if hysteresis.counts is not None:
            threshold["for"] = hysteresis.counts
    for key, ours, millis in (("for", "for", rule.hold), ("keep_firing_for", "clear_for", rule.keep)):
        if millis:
            threshold[ours] = f"{millis}ms"
            at[level, ours] = cells[key]
    if plan := labels.get(PLAN):
        threshold["plan"] = plan
        at[level, "plan"] = cells[f"label {PLAN}"]
        if level == "warn":
            cells[f"label {PLAN}"].report(
                f"a plan is started by a critical alert, and this one is {_shown(labels)}",
                f"say {SEVERITY}: critical, or delete {PLAN}",
            )
            return
    if kept := {label: text for label, text in labels.items() if label not in OURS and text and LABEL.fullmatch(label)}:
        said["labels"] = kept
        at |= {("labels",): cells.get("labels", cells[""])}
        at |= {("labels", label): cells[f"label {label}"] for label in kept}
    runbook = next((template for key, template in rule.annotations if key in RUNBOOK), None)
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
