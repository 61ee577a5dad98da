"""A test file as it was written: what its tests feed, and what they expect."""

from __future__ import annotations

import glob
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from watchdog import config
from watchdog.config import Config
from watchdog.core.errors import WatchdogError
from watchdog.core.model import Labels, Millis
from watchdog.documents.problems import Position, Problem, shorten, suggest
from watchdog.journal.baselines import Baseline
from watchdog.offline.baselines import given_baselines
from watchdog.offline.ruletest.notation import SeriesValue, parse_series, parse_values
from watchdog.offline.ruletest.watchdog_evaluator import RULE_STATES
from watchdog.prometheus_rules.cells import Cell, load_cells
from watchdog.prometheus_rules.groups import RuleGroup, is_prometheus_file, order_groups, parse_expr, parse_groups
from watchdog.promql import Expr
from watchdog.tsdb.labels import METRIC_NAME_LABEL

_MINUTE: Millis = 60_000
_FILE_KEYS = ("rule_files", "evaluation_interval", "group_eval_order", "fuzzy_compare", "tests")
_TEST_KEYS = (
    "name",
    "interval",
    "input_series",
    "promql_expr_test",
    "alert_rule_test",
    "watchdog_rule_test",
    "external_labels",
    "external_url",
    "baselines",
)

ExpectedAlert = tuple[Labels, Labels]
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
    alerts: tuple[ExpectedAlert, ...]


@dataclass(frozen=True, slots=True)
class WatchdogRuleTest:
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
    series: Mapping[Labels, list[SeriesValue]]
    expr_tests: tuple[ExprTest, ...]
    alert_tests: tuple[AlertTest, ...]
    watchdog_tests: tuple[WatchdogRuleTest, ...]
    external_labels: Labels
    external_url: str
    baselines: tuple[Baseline, ...] = ()
    """Captured and learned ones that are known as it begins."""


@dataclass(frozen=True, slots=True)
class TestFile:
    file: str
    evaluation_interval: Millis
    """`evaluation_interval`"""
    groups: tuple[RuleGroup, ...]
    config: Config | None
    """Our own rule files."""
    tests: tuple[Test, ...]


def load_test_file(path: Path, environ: Mapping[str, str]) -> tuple[TestFile | None, list[Problem]]:
    """The file and the rule files that it names; with mistakes there is none. Never raises for what a file holds."""
    sheet, top = load_cells(path, str(path))
    if top is None:
        return None, sheet.problems
    keys = top.known_items(_FILE_KEYS)
    step = keys["evaluation_interval"].as_duration() if "evaluation_interval" in keys else _MINUTE
    if step <= 0:
        keys["evaluation_interval"].report("evaluation_interval must be longer than 0")
        step = _MINUTE
    if "fuzzy_compare" in keys:
        keys["fuzzy_compare"].as_bool()  # always so: values are compared with a tolerance
    has_watchdog_tests = (
        any(test.has_key("watchdog_rule_test") for test in keys["tests"].as_list()) if "tests" in keys else False
    )
    groups, rules, problems = _load_rule_files(
        keys.get("rule_files"), path.parent, step, environ, as_watchdog_rules=has_watchdog_tests
    )
    order = [each.as_text() for each in keys["group_eval_order"].as_list()] if "group_eval_order" in keys else []
    if len(set(order)) < len(order):
        keys["group_eval_order"].report("a group stands here twice", "keep one of them")
    tests = (
        [_parse_test(cell, number, step, rules) for number, cell in enumerate(keys["tests"].as_list())]
        if "tests" in keys
        else []
    )
    if not tests and not sheet.problems:
        sheet.report(Position(1, 1), "the file holds no tests", "say tests:")
    problems += sheet.problems
    if problems:
        return None, problems
    return TestFile(str(path), step, tuple(order_groups(groups, order)), rules, tuple(tests)), []


def _load_rule_files(
    listed: Cell | None, folder: Path, step: Millis, environ: Mapping[str, str], *, as_watchdog_rules: bool
) -> tuple[list[RuleGroup], Config | None, list[Problem]]:
    """`as_watchdog_rules`: Prometheus's rules are judged as ours, too."""
    groups: list[RuleGroup] = []
    watchdog_files: dict[Path, None] = {}
    problems: list[Problem] = []
    seen: set[Path] = set()
    for cell in listed.as_list() if listed is not None else ():
        found = sorted(glob.glob(str(folder / cell.as_text())))  # noqa: PTH207 – Path.glob takes no absolute pattern
        if not found:
            cell.report(f"no file matches {shorten(cell.as_text())}", f"paths start from {folder}")
        for path in map(Path, found):
            if path.resolve() in seen or path.is_dir():
                continue
            seen.add(path.resolve())
            sheet, top = load_cells(path, str(path))
            if top is not None and (as_watchdog_rules or not is_prometheus_file(top)):
                watchdog_files[path] = None
            if top is not None and not is_prometheus_file(top):
                continue
            groups += parse_groups(top, step) if top is not None else []
            problems += sheet.problems
    if not watchdog_files:
        return groups, None, problems
    rules, wrong = config.check_files(watchdog_files, environ=environ)
    return groups, rules, problems + [each for each in wrong if each not in problems]


def _parse_test(cell: Cell, number: int, step: Millis, rules: Config | None) -> Test:
    keys = cell.known_items(_TEST_KEYS)
    interval = keys["interval"].as_duration() if "interval" in keys else 0
    return Test(
        name=keys["name"].as_text() if "name" in keys else f"unnamed#{number}",
        interval=interval or step,
        series=_parse_input_series(keys["input_series"]) if "input_series" in keys else {},
        expr_tests=tuple(filter(None, (_parse_expr_test(each, step) for each in _entries(keys, "promql_expr_test")))),
        alert_tests=tuple(filter(None, (_parse_alert_test(each) for each in _entries(keys, "alert_rule_test")))),
        watchdog_tests=tuple(
            filter(None, (_parse_watchdog_test(each, rules) for each in _entries(keys, "watchdog_rule_test")))
        ),
        external_labels=keys["external_labels"].as_labels() if "external_labels" in keys else (),
        external_url=keys["external_url"].as_text() if "external_url" in keys else "",
        baselines=_parse_baselines(keys["baselines"], rules) if "baselines" in keys else (),
    )


def _parse_baselines(cell: Cell, rules: Config | None) -> tuple[Baseline, ...]:
    if rules is None:
        cell.report("there are no rules of ours that could be tested", "name their files in rule_files")
        return ()
    found: list[Baseline] = []
    for name, value in cell.as_dict().items():
        try:
            found += given_baselines(rules, {name: value.as_text()})
        except WatchdogError as error:
            what, _, cure = str(error).partition(" — ")
            value.report(what, cure)
    return tuple(found)


def _entries(keys: Mapping[str, Cell], key: str) -> list[Cell]:
    return keys[key].as_list() if key in keys else []


def _parse_input_series(listed: Cell) -> dict[Labels, list[SeriesValue]]:
    series: dict[Labels, list[SeriesValue]] = {}
    for cell in listed.as_list():
        keys = cell.known_items(("series", "values"))
        if "series" not in keys:
            cell.report("the entry has no series")
            continue
        name = _parse_labels(keys["series"])
        if METRIC_NAME_LABEL not in dict(name):
            keys["series"].report("the series has no name", 'write it as name{label="value"}')
        if name in series:
            keys["series"].report(f"{shorten(keys['series'].as_text())} stands here twice", "keep one of them")
        try:
            series[name] = parse_values(keys["values"].as_text()) if "values" in keys else []
        except ValueError as error:
            keys["values"].report(str(error))
    return series


def _parse_labels(cell: Cell) -> Labels:
    try:
        return parse_series(cell.as_text())
    except ValueError as error:
        cell.report(str(error))
        return ((METRIC_NAME_LABEL, "unreadable"),)


def _eval_time(keys: Mapping[str, Cell]) -> Millis:
    return keys["eval_time"].as_duration() if "eval_time" in keys else 0


def _parse_expr_test(cell: Cell, step: Millis) -> ExprTest | None:
    keys = cell.known_items(("expr", "eval_time", "exp_samples"))
    at, samples = _eval_time(keys), []
    for each in _entries(keys, "exp_samples"):
        entry = each.known_items(("labels", "value", "histogram"))
        if "histogram" in entry:
            entry["histogram"].report("native histograms are not supported")
        samples.append(
            (
                _parse_labels(entry["labels"]) if "labels" in entry else (),
                entry["value"].as_number() if "value" in entry else 0.0,
            )
        )
    if "expr" not in keys:
        cell.report("the entry has no expr")
        return None
    expr = parse_expr(keys["expr"], step)
    return (
        None if expr is None else ExprTest(" ".join(keys["expr"].as_text().split()), expr, at, tuple(sorted(samples)))
    )


def _parse_alert_test(cell: Cell) -> AlertTest | None:
    keys = cell.known_items(("eval_time", "alertname", "exp_alerts"))
    at, alerts = _eval_time(keys), []
    name = keys["alertname"].as_text() if "alertname" in keys else ""
    for each in _entries(keys, "exp_alerts"):
        entry = each.known_items(("exp_labels", "exp_annotations"))
        labels = dict(entry["exp_labels"].as_labels()) if "exp_labels" in entry else {}
        notes = entry["exp_annotations"].as_labels() if "exp_annotations" in entry else ()
        alerts.append((_without_empty({**labels, "alertname": name}), _without_empty(dict(notes))))
    if not name:
        cell.report("the entry has no alertname")
        return None
    return AlertTest(name, at, tuple(sorted(alerts)))


def _without_empty(labels: Mapping[str, str]) -> Labels:
    return tuple(sorted((name, text) for name, text in labels.items() if text))


def _parse_watchdog_test(cell: Cell, rules: Config | None) -> WatchdogRuleTest | None:
    keys = cell.known_items(("eval_time", "rule", "labels", "state", "plan"))
    at, labels = _eval_time(keys), keys["labels"].as_labels() if "labels" in keys else ()
    state = keys["state"].as_text() if "state" in keys else None
    plan = keys["plan"].as_text() if "plan" in keys else None
    if state is None and plan is None:
        cell.report("nothing is expected", "say state: or plan:")
    if state is not None and state not in RULE_STATES:
        keys["state"].report(f"{shorten(state)} is no state", f"one of {', '.join(RULE_STATES)}")
    if "rule" not in keys:
        cell.report("the entry has no rule")
        return None
    name = keys["rule"].as_text()
    if rules is None:
        cell.report("there are no rules of ours that could be tested", "name their files in rule_files")
    elif name not in rules.rules:
        keys["rule"].report(f"there is no rule {shorten(name)}", suggest(name, rules.rules))
    if rules is not None and plan is not None and plan != "none" and plan not in rules.plans:
        keys["plan"].report(f"there is no plan {shorten(plan)}", suggest(plan, [*rules.plans, "none"]))
    return WatchdogRuleTest(name, at, labels, state, plan)


__all__ = ["AlertTest", "ExprTest", "Test", "TestFile", "WatchdogRuleTest", "load_test_file"]
