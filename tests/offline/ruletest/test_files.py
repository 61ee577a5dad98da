"""Mistakes in files, and what the command line says."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from watchdog.cli.command_line import main
from watchdog.offline.ruletest.runner import run_tests
from watchdog.offline.ruletest.test_definition import load_test_file

GOOD = """\
tests:
  - name: first
    input_series: [{series: up, values: '1 2'}]
    promql_expr_test: [{expr: up, exp_samples: [{labels: up, value: 1}]}]
  - name: second
    input_series: [{series: up, values: '1 2'}]
    promql_expr_test: [{expr: up, eval_time: 1m, exp_samples: [{labels: up, value: 3}]}]
"""
RULES = """\
targets: {bot: {unit: bot.service}}
kpis: {errors: {expr: errors_total}}
plans:
  stop: {kind: halt, levels: [{name: stop, steps: [{do: systemd, stop: unit}], verify: {that: [up == 0]}}]}
rules:
  - {name: errors, kpi: errors, target: bot, warn: {above: 1}, crit: {above: 5, for: 1m, plan: stop}}
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("test: []", "1:1: there is no key test — did you mean tests?"),
        ("tests: []", "1:1: the file holds no tests"),
        ("rule_files: [none.yml]\ntests: [{}]", "1:14: no file matches none.yml"),
        ("tests:\n  - input_series: [{series: 'up{', values: 1}]", "2:29: 'up{': a label should stand"),
        ("tests:\n  - input_series: [{series: up, values: 1+2}]", "2:41: '1+2' is no value: say how often"),
        ("tests:\n  - promql_expr_test:\n      - {expr: up +}", "3:16: the expression cannot be read"),
        ("tests:\n  - promql_expr_test:\n      - {expr: up, eval_time: 5}", "3:31: '5' is no duration"),
        ("tests:\n  - alert_rule_test:\n      - {eval_time: 5m}", "3:9: the entry has no alertname"),
        ("tests:\n  - watchdog_rule_test:\n      - {rule: a, state: ok}", "3:9: there are no rules of ours"),
        ("tests:\n  - watchdog_rule_test:\n      - {rule: a, state: bad}", "3:26: bad is no state"),
        ("tests: [", "2:1: this is no YAML"),
        ("evaluation_interval: 0s\ntests: [{}]", "1:22: evaluation_interval must be longer than 0"),
        ("tests:\n  - {name: a, name: b}", "2:15: name stands here twice"),
    ],
)
def test_a_mistake_is_shown_where_it_stands(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "test.yml"
    path.write_text(text)

    file, problems = load_test_file(path, {})

    assert file is None
    assert any(str(problem).startswith(f"{path}:{said}") for problem in problems), problems


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("{alert: A, expr: 'foo('}", "4:26: the expression cannot be read"),
        ("{alert: A}", "4:9: A has no expr"),
        ("{expr: up}", "4:9: a rule says either record or alert"),
        ("{record: a-b, expr: up}", "4:18: 'a-b' is no name for a metric"),
        ("{record: a, expr: up, for: 5m}", "4:36: a recording rule has no for"),
        (
            "{alert: A, expr: up, annotations: {x: '{{ toTime 1 }}'}}",
            "4:47: the template function 'toTime' is not supported",
        ),
        ("{alert: A, expr: up, labels: {a-b: c}}", "4:44: 'a-b' is no name for a label"),
    ],
)
def test_a_mistake_in_a_rule_file_is_shown_where_it_stands(rule: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(f"groups:\n  - name: g\n    rules:\n      - {rule}\n")
    (tmp_path / "test.yml").write_text("rule_files: [rules.yml]\n" + GOOD)

    _, problems = load_test_file(tmp_path / "test.yml", {})

    assert [str(problem) for problem in problems if str(problem).startswith(f"{tmp_path / 'rules.yml'}:{said}")], (
        problems
    )


def test_a_mistake_in_a_rule_file_of_ours_is_shown_too(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(RULES.replace("above: 1}", "above: 1%}"))
    (tmp_path / "test.yml").write_text("rule_files: [rules.yaml]\n" + GOOD)

    file, problems = load_test_file(tmp_path / "test.yml", {})

    assert file is None
    assert [(problem.line, Path(problem.file).name) for problem in problems] == [(6, "rules.yaml")]


def test_a_rule_that_cannot_be_evaluated_fails_its_test(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text("groups: [{name: g, rules: [{record: one, expr: up, labels: {a: b}}]}]")
    (tmp_path / "test.yml").write_text(
        "rule_files: [rules.yml]\ntests:\n  - input_series:\n"
        "      - {series: 'up{a=\"1\"}', values: 1}\n      - {series: 'up{a=\"2\"}', values: 1}\n"
        "    promql_expr_test: [{expr: one}]\n"
    )
    file, _ = load_test_file(tmp_path / "test.yml", {})
    assert file is not None

    (case,) = run_tests(file)

    assert (case.kind, case.passed) == ("evaluation", False)
    assert "same labelset" in case.got[0]


def test_nan_equals_nan_and_values_differ_by_a_billionth(tmp_path: Path) -> None:
    expects = [("0 / 0", ".nan", True), ("0.1 + 0.2", "0.3", True), ("1", "1.00000001", False), ("1", ".nan", False)]
    entries = "".join(f"      - {{expr: {expr}, exp_samples: [{{value: {value}}}]}}\n" for expr, value, _ in expects)
    (tmp_path / "test.yml").write_text(f"tests:\n  - promql_expr_test:\n{entries}")
    file, problems = load_test_file(tmp_path / "test.yml", {})
    assert file is not None, problems

    assert [case.passed for case in run_tests(file)] == [passed for _, _, passed in expects]


def test_a_failure_is_shown_with_what_was_expected_and_what_came(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "test.yml").write_text(GOOD)

    assert main(["test", str(tmp_path / "test.yml")]) == 1

    said = capsys.readouterr().out
    assert "FAILED  second: up at 1m" in said
    assert "expected  up 3" in said
    assert "got       up 2" in said


def test_json_has_one_object_a_case(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "test.yml"
    path.write_text(GOOD)

    assert main(["test", "--json", str(path)]) == 1

    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    same = [{"labels": "up", "value": "1"}]
    assert first == {
        "file": str(path),
        "name": "first: up at 0s",
        "kind": "promql_expr_test",
        "passed": True,
        "got": same,
        "expected": same,
    }
    assert not second["passed"]


def test_a_regular_expression_chooses_tests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "test.yml"
    path.write_text(GOOD)

    assert main(["test", "--run", "^fir", str(path)]) == 0
    assert main(["test", "--run", "third", str(path)]) == 2
    assert main(["test", "--run", "(", str(path)]) == 2
    assert "no regular expression" in capsys.readouterr().err


def test_junit_holds_failures_and_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "test.yml").write_text(GOOD)
    (tmp_path / "broken.yml").write_text("tests: [")

    assert (
        main(["test", "--junit", str(tmp_path / "out.xml"), str(tmp_path / "test.yml"), str(tmp_path / "broken.yml")])
        == 1
    )

    suites = ElementTree.parse(tmp_path / "out.xml").getroot().findall("testsuite")
    counts = [(suite.get("tests"), suite.get("failures"), suite.get("errors")) for suite in suites]
    assert counts == [("2", "1", "0"), ("1", "0", "1")]
    assert "this is no YAML" in capsys.readouterr().err
