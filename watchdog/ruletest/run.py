"""Runs the tests of a file: what was expected beside what came out."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from watchdog.config.prometheus.gofmt import shortest
from watchdog.model import Labels, Millis
from watchdog.promql import PromqlError
from watchdog.promql.nodes import NAME
from watchdog.ruletest.cases import AlertTest, ExprTest, Test, TestFile, WatchTest
from watchdog.ruletest.evaluation import Rules
from watchdog.ruletest.ours import Watch
from watchdog.ruletest.tape import Tape
from watchdog.units import promql_duration

TOLERANCE = 1e-9
"""Relative."""

Sampled = Sequence[tuple[Labels, float]]


@dataclass(frozen=True, slots=True)
class Case:
    """One expectation, and whether it was met."""

    file: str
    test: str
    """Name of the test that it belongs to."""
    kind: str
    """`promql_expr_test`, `alert_rule_test`, `watchdog_rule_test`; or `evaluation`: a rule could not be evaluated."""
    what: str
    """The expression, the alert or the rule, and when."""
    passed: bool
    got: Any
    """What JSON can hold, as `expected`; numbers are text, since JSON knows no NaN."""
    expected: Any
    why: str = ""
    """What is known beside it."""

    @property
    def name(self) -> str:
        return f"{self.test}: {self.what}"


def run(file: TestFile, only: re.Pattern[str] | None = None) -> Iterator[Case]:
    """One case for each expectation. `only`: tests whose name it finds something in."""
    for test in file.tests:
        if only is None or only.search(test.name):
            yield from _prometheus(file, test)
            yield from _ours(file, test)


def _prometheus(file: TestFile, test: Test) -> Iterator[Case]:
    if not test.exprs and not test.alerts:
        return
    end = max([each.at for each in test.exprs] + [each.at for each in test.alerts])
    ticks = range(0, end + 1, file.step)
    offsets = {0, *(group.offset for group in file.groups)}
    tape = Tape(test.series, test.interval, (t - offset for t in ticks for offset in offsets))
    rules = Rules(file.groups, tape, file.step, test.external, test.url)
    for t in ticks:
        tape.play(t)
        if wrong := rules.evaluate(t):
            yield Case(file.file, test.name, "evaluation", f"at {promql_duration(t)}", False, wrong, [])
            return
        for each in test.alerts:
            if t <= each.at < t + file.step:
                yield _alert_case(file, test, each, rules)
    for asked in test.exprs:
        yield _expr_case(file, test, asked, tape)


def _alert_case(file: TestFile, test: Test, asked: AlertTest, rules: Rules) -> Case:
    got = sorted(rules.firing(asked.name))
    what = f"{asked.name} at {promql_duration(asked.at)}"
    return Case(
        file.file, test.name, "alert_rule_test", what, got == sorted(asked.alerts), _alerts(got), _alerts(asked.alerts)
    )


def _alerts(alerts: Iterable[tuple[Labels, Labels]]) -> list[dict[str, Any]]:
    return [
        {"labels": {name: text for name, text in labels if name != "alertname"}, "annotations": dict(notes)}
        for labels, notes in alerts
    ]


def _expr_case(file: TestFile, test: Test, asked: ExprTest, tape: Tape) -> Case:
    what = f"{asked.text} at {promql_duration(asked.at)}"
    expected = _samples(asked.samples)
    try:
        found = sorted(tape.ask(asked.expr, asked.at).items(), key=lambda pair: pair[0])
    except PromqlError as error:
        return Case(file.file, test.name, "promql_expr_test", what, False, None, expected, str(error))
    return Case(file.file, test.name, "promql_expr_test", what, _same(found, asked.samples), _samples(found), expected)


def _same(got: Sampled, expected: Sampled) -> bool:
    """The same labels; values within the tolerance."""
    if [labels for labels, _ in got] != [labels for labels, _ in expected]:
        return False
    return all(close(a, b) for (_, a), (_, b) in zip(got, expected, strict=True))


def close(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=TOLERANCE) or (a != a and b != b)


def _samples(samples: Sampled) -> list[dict[str, str]]:
    return [{"labels": show_series(labels), "value": shortest(value)} for labels, value in samples]


def show_series(labels: Labels) -> str:
    """``name{label="value"}``"""
    pairs = ", ".join(f'{name}="{_quoted(text)}"' for name, text in labels if name != NAME)
    return dict(labels).get(NAME, "") + ("{" + pairs + "}" if pairs or NAME not in dict(labels) else "")


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _ours(file: TestFile, test: Test) -> Iterator[Case]:
    if not test.watched or file.rules is None:
        return
    times: dict[Millis, list[WatchTest]] = {}
    for each in test.watched:
        times.setdefault(each.at, []).append(each)
    watch = Watch(file.rules, {each.rule for each in test.watched}, test.series, test.interval)
    try:
        for t in watch.until(max(times), file.step, times):
            yield from (_watch_case(file, test, each, watch) for each in times[t])
    except PromqlError as error:
        yield Case(file.file, test.name, "evaluation", "our rules", False, [str(error)], [])
    finally:
        watch.close()


def _watch_case(file: TestFile, test: Test, asked: WatchTest, watch: Watch) -> Case:
    got, expected = {}, {}
    state, why = watch.state(asked.rule, asked.labels)
    if asked.state is not None:
        got["state"], expected["state"] = str(state), asked.state
    if asked.plan is not None:
        got["plan"], expected["plan"] = watch.plan(asked.rule) or "none", asked.plan
    labels = show_series(asked.labels) if asked.labels else ""
    what = f"{asked.rule}{labels} at {promql_duration(asked.at)}"
    return Case(file.file, test.name, "watchdog_rule_test", what, got == expected, got, expected, why)
