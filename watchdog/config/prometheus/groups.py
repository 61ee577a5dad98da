"""Prometheus's rule files, read as Prometheus reads them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from watchdog.config.prometheus.cells import Cell
from watchdog.config.prometheus.helpers import TemplateError
from watchdog.config.prometheus.templates import Template
from watchdog.model import Millis
from watchdog.promql import Expr, PromqlError, parse
from watchdog.promql.nodes import NAME

LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_GROUP = ("name", "interval", "query_offset", "limit", "labels", "rules")
_RULE = ("record", "alert", "expr", "for", "keep_firing_for", "labels", "annotations")
_STEPLESS = re.compile(r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)|\[([^\[\]:]+):\s*\]""")


@dataclass(frozen=True, slots=True)
class Rule:
    """A recording rule, or an alert."""

    name: str
    is_alert: bool
    expr: Expr
    hold: Millis
    keep: Millis
    """`keep_firing_for`."""
    labels: tuple[tuple[str, Template], ...]
    annotations: tuple[tuple[str, Template], ...]
    cells: Mapping[str, Cell]
    """What stands under each of its keys; under ``label …`` its labels, the group's own among them."""
    text: str


@dataclass(frozen=True, slots=True)
class Group:
    name: str
    file: str
    rules: tuple[Rule, ...]
    offset: Millis
    """`query_offset`: how much earlier than it is evaluated it asks."""
    limit: int
    """Most series or alerts of one rule; 0 = any number."""
    interval: Millis
    """0: not said."""


def is_prometheus(top: Cell) -> bool:
    """Whether it is a file of Prometheus's, rather than one of ours."""
    return top.says("groups")


def read_groups(top: Cell, step: Millis) -> list[Group]:
    """The groups of a file. `step`: of a subquery that says none. Mistakes are reported at their place."""
    groups: list[Group] = []
    listed = top.items(("groups",)).get("groups")
    for cell in listed.listed() if listed is not None else ():
        keys = cell.items(_GROUP)
        name = keys["name"].text() if "name" in keys else ""
        if not name:
            cell.report("the group has no name", "say name:")
        elif name in {group.name for group in groups}:
            keys["name"].report(f"a second group {name} in this file", "give it another name")
        shared = keys["labels"].keyed() if "labels" in keys else {}
        rules = [_rule(each, shared, step) for each in keys["rules"].listed()] if "rules" in keys else []
        groups.append(
            Group(
                name,
                top.sheet.file,
                tuple(rule for rule in rules if rule is not None),
                keys["query_offset"].millis() if "query_offset" in keys else 0,
                int(keys["limit"].number()) if "limit" in keys else 0,
                keys["interval"].millis()
                if "interval" in keys
                else 0,  # not heeded by tests: theirs is evaluation_interval
            )
        )
    return groups


def _rule(cell: Cell, shared: Mapping[str, Cell], step: Millis) -> Rule | None:
    keys = cell.items(_RULE)
    if ("record" in keys) == ("alert" in keys):
        cell.report("a rule says either record or alert", "delete one of them" if "record" in keys else "")
        return None
    is_alert = "alert" in keys
    named = keys["alert" if is_alert else "record"]
    name = named.text()
    if not is_alert and not _METRIC.fullmatch(name):
        named.report(f"{name!r} is no name for a metric", "it is made of letters, digits, _ and :")
    for key in () if is_alert else ("for", "keep_firing_for", "annotations"):
        if key in keys:
            keys[key].report(f"a recording rule has no {key}", "delete it")
    if "expr" not in keys:
        cell.report(f"{name} has no expr")
        return None
    expr = read_expr(keys["expr"], step)
    own = keys["labels"].keyed() if "labels" in keys else {}
    labels = [(label, _plain(each)) for label, each in shared.items() if label not in own]
    labels += [(label, template(each) if is_alert else _plain(each)) for label, each in own.items()]
    for label in own:
        if not LABEL.fullmatch(label) or label == NAME:
            own[label].report(f"{label!r} is no name for a label")
    if expr is None or not name:
        return None
    cells = {"": cell, **keys, **{f"label {label}": each for label, each in {**shared, **own}.items()}}
    return Rule(
        name,
        is_alert,
        expr,
        keys["for"].millis() if "for" in keys else 0,
        keys["keep_firing_for"].millis() if "keep_firing_for" in keys else 0,
        tuple(sorted(labels, key=lambda pair: pair[0])),
        tuple((key, template(each)) for key, each in keys["annotations"].keyed().items())
        if "annotations" in keys
        else (),
        cells,
        keys["expr"].text(),
    )


def read_expr(cell: Cell, step: Millis) -> Expr | None:
    try:
        return parse(with_step(cell.text(), step))
    except PromqlError as error:
        cell.report(str(error))
        return None


def with_step(text: str, step: Millis) -> str:
    """``[1h:]`` → ``[1h:30s]``: promtool takes the test's evaluation_interval for Prometheus's own. 0: as it is."""
    return text if not step else _STEPLESS.sub(lambda found: found[1] or f"[{found[2]}:{step}ms]", text)


def template(cell: Cell) -> Template:
    text = cell.text()
    try:
        return Template(text)
    except TemplateError as error:
        cell.report(str(error))
        return Template("")


def _plain(cell: Cell) -> Template:
    made = Template("")
    made.text = cell.text()
    return made


def in_order(groups: Iterable[Group], order: list[str]) -> list[Group]:
    """`group_eval_order`; groups that it does not name keep the order of the files, and go with its first."""
    rank = {name: number for number, name in enumerate(order)}
    return sorted(groups, key=lambda group: rank.get(group.name, 0))
