"""A test file as it was written: what its tests feed, and what they expect."""

from __future__ import annotations

import glob
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from watchdog import config
from watchdog.config import Config, Problem
from watchdog.config.problem import Place, nearest, short
from watchdog.config.prometheus.cells import Cell, open_sheet
from watchdog.config.prometheus.groups import Group, in_order, is_prometheus, read_expr, read_groups
from watchdog.model import Labels, Millis
from watchdog.promql import Expr
from watchdog.promql.nodes import NAME
from watchdog.ruletest.notation import Value, parse_series, parse_values
from watchdog.ruletest.ours import STATES

_MINUTE: Millis = 60_000
_TOP = ("rule_files", "evaluation_interval", "group_eval_order", "fuzzy_compare", "tests")
_TEST = (
    "name",
    "interval",
    "input_series",
    "promql_expr_test",
    "alert_rule_test",
    "watchdog_rule_test",
    "external_labels",
    "external_url",
)

AlertText = tuple[Labels, Labels]
"""Labels (with `alertname`) and annotations."""


@dataclass(frozen=True, slots=True)
class ExprTest:
    text: str
    expr: Expr
    at: Millis
    samples: tuple[tuple[Labels, float], ...]


@dataclass(frozen=True, slots=True)
class AlertTest:
    name: str
    at: Millis
    alerts: tuple[AlertText, ...]


@dataclass(frozen=True, slots=True)
class WatchTest:
    rule: str
    at: Millis
    labels: Labels
    state: str | None
    plan: str | None
    """``none``: none has started."""


@dataclass(frozen=True, slots=True)
class Test:
    """One entry of `tests`: samples of its own, and what is expected of them."""

    name: str
    interval: Millis
    series: Mapping[Labels, list[Value]]
    exprs: tuple[ExprTest, ...]
    alerts: tuple[AlertTest, ...]
    watched: tuple[WatchTest, ...]
    external: Labels
    url: str


@dataclass(frozen=True, slots=True)
class TestFile:
    file: str
    step: Millis
    """`evaluation_interval`"""
    groups: tuple[Group, ...]
    rules: Config | None
    """Our own rule files."""
    tests: tuple[Test, ...]


def read(path: Path, environ: Mapping[str, str]) -> tuple[TestFile | None, list[Problem]]:
    """The file and the rule files that it names; with mistakes there is none. Never raises for what a file holds."""
    sheet, top = open_sheet(path, str(path))
    if top is None:
        return None, sheet.problems
    keys = top.items(_TOP)
    step = keys["evaluation_interval"].millis() if "evaluation_interval" in keys else _MINUTE
    if step <= 0:
        keys["evaluation_interval"].report("evaluation_interval must be longer than 0")
        step = _MINUTE
    if "fuzzy_compare" in keys:
        keys["fuzzy_compare"].flag()  # always so: values are compared with a tolerance
    watched = any(test.says("watchdog_rule_test") for test in keys["tests"].listed()) if "tests" in keys else False
    groups, rules, problems = _rule_files(keys.get("rule_files"), path.parent, step, environ, watched=watched)
    order = [each.text() for each in keys["group_eval_order"].listed()] if "group_eval_order" in keys else []
    if len(set(order)) < len(order):
        keys["group_eval_order"].report("a group stands here twice", "keep one of them")
    tests = (
        [_test(cell, number, step, rules) for number, cell in enumerate(keys["tests"].listed())]
        if "tests" in keys
        else []
    )
    if not tests and not sheet.problems:
        sheet.report(Place(1, 1), "the file holds no tests", "say tests:")
    problems += sheet.problems
    if problems:
        return None, problems
    return TestFile(str(path), step, tuple(in_order(groups, order)), rules, tuple(tests)), []


def _rule_files(
    listed: Cell | None, folder: Path, step: Millis, environ: Mapping[str, str], *, watched: bool
) -> tuple[list[Group], Config | None, list[Problem]]:
    """`watched`: Prometheus's rules are judged as ours, too."""
    groups: list[Group] = []
    ours: dict[Path, None] = {}
    problems: list[Problem] = []
    seen: set[Path] = set()
    for cell in listed.listed() if listed is not None else ():
        found = sorted(glob.glob(str(folder / cell.text())))  # noqa: PTH207 – Path.glob takes no absolute pattern
        if not found:
            cell.report(f"no file matches {short(cell.text())}", f"paths start from {folder}")
        for path in map(Path, found):
            if path.resolve() in seen or path.is_dir():
                continue
            seen.add(path.resolve())
            sheet, top = open_sheet(path, str(path))
            if top is not None and (watched or not is_prometheus(top)):
                ours[path] = None
            if top is not None and not is_prometheus(top):
                continue
            groups += read_groups(top, step) if top is not None else []
            problems += sheet.problems
    if not ours:
        return groups, None, problems
    rules, wrong = config.check(ours, environ=environ)
    return groups, rules, problems + [each for each in wrong if each not in problems]


def _test(cell: Cell, number: int, step: Millis, rules: Config | None) -> Test:
    keys = cell.items(_TEST)
    interval = keys["interval"].millis() if "interval" in keys else 0
    return Test(
        name=keys["name"].text() if "name" in keys else f"unnamed#{number}",
        interval=interval or step,
        series=_series(keys["input_series"]) if "input_series" in keys else {},
        exprs=tuple(filter(None, (_expr(each, step) for each in _entries(keys, "promql_expr_test")))),
        alerts=tuple(filter(None, (_alert(each) for each in _entries(keys, "alert_rule_test")))),
        watched=tuple(filter(None, (_watch(each, rules) for each in _entries(keys, "watchdog_rule_test")))),
        external=keys["external_labels"].pairs() if "external_labels" in keys else (),
        url=keys["external_url"].text() if "external_url" in keys else "",
    )


def _entries(keys: Mapping[str, Cell], key: str) -> list[Cell]:
    return keys[key].listed() if key in keys else []


def _series(listed: Cell) -> dict[Labels, list[Value]]:
    series: dict[Labels, list[Value]] = {}
    for cell in listed.listed():
        keys = cell.items(("series", "values"))
        if "series" not in keys:
            cell.report("the entry has no series")
            continue
        name = _labels(keys["series"])
        if NAME not in dict(name):
            keys["series"].report("the series has no name", 'write it as name{label="value"}')
        if name in series:
            keys["series"].report(f"{short(keys['series'].text())} stands here twice", "keep one of them")
        try:
            series[name] = parse_values(keys["values"].text()) if "values" in keys else []
        except ValueError as error:
            keys["values"].report(str(error))
    return series


def _labels(cell: Cell) -> Labels:
    try:
        return parse_series(cell.text())
    except ValueError as error:
        cell.report(str(error))
        return ((NAME, "unreadable"),)


def _at(keys: Mapping[str, Cell]) -> Millis:
    return keys["eval_time"].millis() if "eval_time" in keys else 0


def _expr(cell: Cell, step: Millis) -> ExprTest | None:
    keys = cell.items(("expr", "eval_time", "exp_samples"))
    at, samples = _at(keys), []
    for each in _entries(keys, "exp_samples"):
        said = each.items(("labels", "value", "histogram"))
        if "histogram" in said:
            said["histogram"].report("native histograms are not supported")
        samples.append(
            (_labels(said["labels"]) if "labels" in said else (), said["value"].number() if "value" in said else 0.0)
        )
    if "expr" not in keys:
        cell.report("the entry has no expr")
        return None
    expr = read_expr(keys["expr"], step)
    return None if expr is None else ExprTest(" ".join(keys["expr"].text().split()), expr, at, tuple(sorted(samples)))


def _alert(cell: Cell) -> AlertTest | None:
    keys = cell.items(("eval_time", "alertname", "exp_alerts"))
    at, alerts = _at(keys), []
    name = keys["alertname"].text() if "alertname" in keys else ""
    for each in _entries(keys, "exp_alerts"):
        said = each.items(("exp_labels", "exp_annotations"))
        labels = dict(said["exp_labels"].pairs()) if "exp_labels" in said else {}
        notes = said["exp_annotations"].pairs() if "exp_annotations" in said else ()
        alerts.append((_filled({**labels, "alertname": name}), _filled(dict(notes))))
    if not name:
        cell.report("the entry has no alertname")
        return None
    return AlertTest(name, at, tuple(sorted(alerts)))


def _filled(labels: Mapping[str, str]) -> Labels:
    return tuple(sorted((name, text) for name, text in labels.items() if text))


def _watch(cell: Cell, rules: Config | None) -> WatchTest | None:
    keys = cell.items(("eval_time", "rule", "labels", "state", "plan"))
    at, labels = _at(keys), keys["labels"].pairs() if "labels" in keys else ()
    state = keys["state"].text() if "state" in keys else None
    plan = keys["plan"].text() if "plan" in keys else None
    if state is None and plan is None:
        cell.report("nothing is expected", "say state: or plan:")
    if state is not None and state not in STATES:
        keys["state"].report(f"{short(state)} is no state", f"one of {', '.join(STATES)}")
    if "rule" not in keys:
        cell.report("the entry has no rule")
        return None
    name = keys["rule"].text()
    if rules is None:
        cell.report("there are no rules of ours that could be tested", "name their files in rule_files")
    elif name not in rules.rules:
        keys["rule"].report(f"there is no rule {short(name)}", nearest(name, rules.rules))
    if rules is not None and plan is not None and plan != "none" and plan not in rules.plans:
        keys["plan"].report(f"there is no plan {short(plan)}", nearest(plan, [*rules.plans, "none"]))
    return WatchTest(name, at, labels, state, plan)


__all__ = ["AlertTest", "ExprTest", "Test", "TestFile", "WatchTest", "read"]
