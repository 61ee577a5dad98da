"""Runs the tests of a file: what was expected beside what came out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from watchdog.core.model import Labels, Millis
from watchdog.core.pattern import Pattern
from watchdog.core.units import format_promql_duration
from watchdog.offline.ruletest.prometheus_evaluator import PrometheusRuleEvaluator
from watchdog.offline.ruletest.sample_feed import SampleFeed
from watchdog.offline.ruletest.test_definition import AlertTest, ExprTest, Test, TestFile, WatchdogRuleTest
from watchdog.offline.ruletest.watchdog_evaluator import RuleRunner
from watchdog.prometheus_rules.gofmt import format_float
from watchdog.promql import PromqlError
from watchdog.tsdb.labels import METRIC_NAME_LABEL

TOLERANCE = 1e-9
"""Relative."""

SampleVector = Sequence[tuple[Labels, float]]


@dataclass(frozen=True, slots=True)
class CaseResult:
    """One expectation, and whether it was met."""

    file: str
    test: str
    """Name of the test that it belongs to."""
    kind: str
    """`promql_expr_test`, `alert_rule_test`, `watchdog_rule_test`; or `evaluation`: a rule could not be evaluated."""
    subject: str
    """The expression, the alert or the rule, and when."""
    passed: bool
    got: Any
    """What JSON can hold, as `expected`; numbers are text, since JSON knows no NaN."""
    expected: Any
    detail: str = ""
    """What is known beside it."""

    @property
    def name(self) -> str:
        return f"{self.test}: {self.subject}"


def run_tests(file: TestFile, only: Pattern | None = None) -> Iterator[CaseResult]:
    """One case for each expectation. `only`: tests whose name it finds something in."""
    for test in file.tests:
        if only is None or only.matches(test.name):
            yield from _run_prometheus_tests(file, test)
            yield from _run_watchdog_tests(file, test)


def _run_prometheus_tests(file: TestFile, test: Test) -> Iterator[CaseResult]:
    if not test.expr_tests and not test.alert_tests:
        return
    end = max([each.at for each in test.expr_tests] + [each.at for each in test.alert_tests])
    ticks = range(0, end + 1, file.evaluation_interval)
    offsets = {0, *(group.query_offset for group in file.groups)}
    feed = SampleFeed(test.series, test.interval, (t - offset for t in ticks for offset in offsets))
    rules = PrometheusRuleEvaluator(
        file.groups, feed, file.evaluation_interval, test.external_labels, test.external_url
    )
    for t in ticks:
        feed.advance_to(t)
        if wrong := rules.evaluate(t):
            yield CaseResult(file.file, test.name, "evaluation", f"at {format_promql_duration(t)}", False, wrong, [])
            return
        for each in test.alert_tests:
            if t <= each.at < t + file.evaluation_interval:
                yield _alert_case(file, test, each, rules)
    for asked in test.expr_tests:
        yield _expr_case(file, test, asked, feed)


def _alert_case(file: TestFile, test: Test, alert_test: AlertTest, rules: PrometheusRuleEvaluator) -> CaseResult:
    got = sorted(rules.firing(alert_test.name))
    what = f"{alert_test.name} at {format_promql_duration(alert_test.at)}"
    return CaseResult(
        file.file,
        test.name,
        "alert_rule_test",
        what,
        got == sorted(alert_test.alerts),
        _alerts_json(got),
        _alerts_json(alert_test.alerts),
    )


def _alerts_json(alerts: Iterable[tuple[Labels, Labels]]) -> list[dict[str, Any]]:
    return [
        {"labels": {name: text for name, text in labels if name != "alertname"}, "annotations": dict(notes)}
        for labels, notes in alerts
    ]


def _expr_case(file: TestFile, test: Test, expr_test: ExprTest, feed: SampleFeed) -> CaseResult:
    what = f"{expr_test.text} at {format_promql_duration(expr_test.at)}"
    expected = _samples_json(expr_test.samples)
    try:
        found = sorted(feed.query(expr_test.expr, expr_test.at).items(), key=lambda pair: pair[0])
    except PromqlError as error:
        return CaseResult(file.file, test.name, "promql_expr_test", what, False, None, expected, str(error))
    return CaseResult(
        file.file,
        test.name,
        "promql_expr_test",
        what,
        _matches(found, expr_test.samples),
        _samples_json(found),
        expected,
    )


def _matches(got: SampleVector, expected: SampleVector) -> bool:
    """The same labels; values within the tolerance."""
    if [labels for labels, _ in got] != [labels for labels, _ in expected]:
        return False
    return all(is_close(a, b) for (_, a), (_, b) in zip(got, expected, strict=True))


def is_close(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=TOLERANCE) or (a != a and b != b)


def _samples_json(samples: SampleVector) -> list[dict[str, str]]:
    return [{"labels": format_series(labels), "value": format_float(value)} for labels, value in samples]


def format_series(labels: Labels) -> str:
    """``name{label="value"}``"""
    pairs = ", ".join(f'{name}="{_escape(text)}"' for name, text in labels if name != METRIC_NAME_LABEL)
    return dict(labels).get(METRIC_NAME_LABEL, "") + (
        "{" + pairs + "}" if pairs or METRIC_NAME_LABEL not in dict(labels) else ""
    )


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _run_watchdog_tests(file: TestFile, test: Test) -> Iterator[CaseResult]:
    if not test.watchdog_tests or file.config is None:
        return
    times: dict[Millis, list[WatchdogRuleTest]] = {}
    for each in test.watchdog_tests:
        times.setdefault(each.at, []).append(each)
    rules = {each.rule for each in test.watchdog_tests}
    runner = RuleRunner(file.config, rules, test.series, test.interval, test.baselines)
    try:
        for t in runner.run_until(max(times), file.evaluation_interval, times):
            yield from (_watchdog_case(file, test, each, runner) for each in times[t])
    except PromqlError as error:
        yield CaseResult(file.file, test.name, "evaluation", "our rules", False, [str(error)], [])
    finally:
        runner.close()


def _watchdog_case(file: TestFile, test: Test, rule_test: WatchdogRuleTest, runner: RuleRunner) -> CaseResult:
    got, expected = {}, {}
    state, why = runner.state(rule_test.rule, rule_test.labels)
    if rule_test.state is not None:
        got["state"], expected["state"] = str(state), rule_test.state
    if rule_test.plan is not None:
        got["plan"], expected["plan"] = runner.last_plan(rule_test.rule) or "none", rule_test.plan
    labels = format_series(rule_test.labels) if rule_test.labels else ""
    what = f"{rule_test.rule}{labels} at {format_promql_duration(rule_test.at)}"
    return CaseResult(file.file, test.name, "watchdog_rule_test", what, got == expected, got, expected, why)
