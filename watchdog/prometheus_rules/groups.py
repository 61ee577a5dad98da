"""Prometheus's rule files, read as Prometheus reads them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from watchdog.core.model import Millis
from watchdog.prometheus_rules.cells import Cell
from watchdog.prometheus_rules.helpers import TemplateError
from watchdog.prometheus_rules.template import Template
from watchdog.promql import Expr, PromqlError, parse
from watchdog.tsdb.labels import METRIC_NAME_LABEL, is_label_name, is_metric_name

_GROUP_KEYS = ("name", "interval", "query_offset", "limit", "labels", "rules")
_RULE_KEYS = ("record", "alert", "expr", "for", "keep_firing_for", "labels", "annotations")
_SUBQUERY_WITHOUT_STEP = re.compile(r"""("(?:\\.|[^"\\])*"?|'(?:\\.|[^'\\])*'?|`[^`]*`?)|\[([^\[\]:]+):\s*\]""")


@dataclass(frozen=True, slots=True)
class PrometheusRule:
    """A recording rule, or an alert."""

    name: str
    is_alert: bool
    expr: Expr
    for_duration: Millis
    keep_firing_for: Millis
    """`keep_firing_for`."""
    labels: tuple[tuple[str, Template], ...]
    annotations: tuple[tuple[str, Template], ...]
    cells: Mapping[str, Cell]
    """What stands under each of its keys; under ``label …`` its labels, the group's own among them."""
    text: str


@dataclass(frozen=True, slots=True)
class RuleGroup:
    name: str
    file: str
    rules: tuple[PrometheusRule, ...]
    query_offset: Millis
    """`query_offset`: how much earlier than it is evaluated it asks."""
    limit: int
    """Most series or alerts of one rule; 0 = any number."""
    interval: Millis
    """0: not said."""


def is_prometheus_file(top: Cell) -> bool:
    """Whether it is a file of Prometheus's, rather than one of ours."""
    return top.has_key("groups")


def parse_groups(top: Cell, step: Millis) -> list[RuleGroup]:
    """The groups of a file. `step`: of a subquery that says none. Mistakes are reported at their place."""
    groups: list[RuleGroup] = []
    listed = top.known_items(("groups",)).get("groups")
    for cell in listed.as_list() if listed is not None else ():
        keys = cell.known_items(_GROUP_KEYS)
        name = keys["name"].as_text() if "name" in keys else ""
        if not name:
            cell.report("the group has no name", "say name:")
        elif name in {group.name for group in groups}:
            keys["name"].report(f"a second group {name} in this file", "give it another name")
        shared = keys["labels"].as_dict() if "labels" in keys else {}
        rules = [_parse_rule(each, shared, step) for each in keys["rules"].as_list()] if "rules" in keys else []
        groups.append(
            RuleGroup(
                name,
                top.cell_file.file,
                tuple(rule for rule in rules if rule is not None),
                keys["query_offset"].as_duration() if "query_offset" in keys else 0,
                int(keys["limit"].as_number()) if "limit" in keys else 0,
                keys["interval"].as_duration()
                if "interval" in keys
                else 0,  # not heeded by tests: theirs is evaluation_interval
            )
        )
    return groups


def _parse_rule(cell: Cell, shared: Mapping[str, Cell], step: Millis) -> PrometheusRule | None:
    keys = cell.known_items(_RULE_KEYS)
    if ("record" in keys) == ("alert" in keys):
        cell.report("a rule says either record or alert", "delete one of them" if "record" in keys else "")
        return None
    is_alert = "alert" in keys
    named = keys["alert" if is_alert else "record"]
    name = named.as_text()
    if not is_alert and not is_metric_name(name):
        named.report(f"{name!r} is no name for a metric", "it is made of letters, digits, _ and :")
    for key in () if is_alert else ("for", "keep_firing_for", "annotations"):
        if key in keys:
            keys[key].report(f"a recording rule has no {key}", "delete it")
    if "expr" not in keys:
        cell.report(f"{name} has no expr")
        return None
    expr = parse_expr(keys["expr"], step)
    own = keys["labels"].as_dict() if "labels" in keys else {}
    labels = [(label, _literal_template(each)) for label, each in shared.items() if label not in own]
    labels += [(label, parse_template(each) if is_alert else _literal_template(each)) for label, each in own.items()]
    for label in own:
        if not is_label_name(label) or label == METRIC_NAME_LABEL:
            own[label].report(f"{label!r} is no name for a label")
    if expr is None or not name:
        return None
    cells = {"": cell, **keys, **{f"label {label}": each for label, each in {**shared, **own}.items()}}
    return PrometheusRule(
        name,
        is_alert,
        expr,
        keys["for"].as_duration() if "for" in keys else 0,
        keys["keep_firing_for"].as_duration() if "keep_firing_for" in keys else 0,
        tuple(sorted(labels, key=lambda pair: pair[0])),
        tuple((key, parse_template(each)) for key, each in keys["annotations"].as_dict().items())
        if "annotations" in keys
        else (),
        cells,
        keys["expr"].as_text(),
    )


def parse_expr(cell: Cell, step: Millis) -> Expr | None:
    try:
        return parse(fill_subquery_steps(cell.as_text(), step))
    except PromqlError as error:
        cell.report(str(error))
        return None


def fill_subquery_steps(text: str, step: Millis) -> str:
    """``[1h:]`` → ``[1h:30s]``: promtool takes the test's evaluation_interval for Prometheus's own. 0: as it is."""
    return text if not step else _SUBQUERY_WITHOUT_STEP.sub(lambda found: found[1] or f"[{found[2]}:{step}ms]", text)


def parse_template(cell: Cell) -> Template:
    text = cell.as_text()
    try:
        return Template(text)
    except TemplateError as error:
        cell.report(str(error))
        return Template("")


def _literal_template(cell: Cell) -> Template:
    made = Template("")
    made.text = cell.as_text()
    return made


def order_groups(groups: Iterable[RuleGroup], order: list[str]) -> list[RuleGroup]:
    """`group_eval_order`; groups that it does not name keep the order of the files, and go with its first."""
    rank = {name: number for number, name in enumerate(order)}
    return sorted(groups, key=lambda group: rank.get(group.name, 0))
