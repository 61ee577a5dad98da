"""Captured and learned baselines in replay and in rule tests: said by whoever asks, and learned on in a test."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from watchdog.cli.command_line import main
from watchdog.offline.ruletest.runner import CaseResult, run_tests
from watchdog.offline.ruletest.test_definition import load_test_file

RULES = """\
targets: {bot: {unit: bot.service}}
kpis:
  fills: {expr: fills, baseline: captured}
  latency: {expr: latency, unit: seconds, baseline: {learn: 2m, min_samples: 5}}
  fixed: {expr: fixed, baseline: 5}
rules:
  - {name: few, kpi: fills, target: bot, warn: {below: 0.5x baseline}}
  - {name: slow, kpi: latency, target: bot, warn: {above: 2x baseline, ceiling: 60s}}
"""


def run_rule_test(folder: Path, baselines: str, series: str, *expected: str) -> tuple[list[CaseResult], list[str]]:
    (folder / "rules.yaml").write_text(RULES)
    entries = "".join(f"      - {{{entry}}}\n" for entry in expected)
    (folder / "test.yaml").write_text(
        "rule_files: [rules.yaml]\nevaluation_interval: 10s\ntests:\n  - interval: 10s\n"
        f"    baselines: {baselines}\n    input_series: [{series}]\n    watchdog_rule_test:\n{entries}"
    )
    file, problems = load_test_file(folder / "test.yaml", {})
    return ([] if file is None else list(run_tests(file))), [str(each) for each in problems]


@pytest.mark.parametrize(
    ("baselines", "series", "expected"),
    [
        ("{fills: 20}", "{series: fills, values: '9x20'}", "rule: few, eval_time: 1m, state: warn"),
        ("{fills: 10}", "{series: fills, values: '9x20'}", "rule: few, eval_time: 1m, state: ok"),
        ("{fills@bot: 20}", "{series: fills, values: '9x20'}", "rule: few, eval_time: 1m, state: warn"),
        ("{}", "{series: fills, values: '9x20'}", "rule: few, eval_time: 1m, state: nodata"),
        ("{latency: 10s}", "{series: latency, values: '21x20'}", "rule: slow, eval_time: 1m, state: warn"),
        ("{}", "{series: latency, values: '21x20'}", "rule: slow, eval_time: 1m, state: ok"),
        (
            "{}",
            "{series: latency, values: '10x60 21x60'}",
            "rule: slow, eval_time: 15m, state: warn",
        ),  # learned by then
    ],
)
def test_a_rule_test_knows_the_baselines_that_it_says_and_learns(
    tmp_path: Path, baselines: str, series: str, expected: str
) -> None:
    (case,), problems = run_rule_test(tmp_path, baselines, series, expected)

    assert not problems
    assert case.passed, (case.got, case.detail)


@pytest.mark.parametrize(
    ("baselines", "why"),
    [
        ("{fils: 20}", "did you mean fills?"),
        ("{fixed: 20}", "neither captured nor learned"),
        ("{latency: 20%}", "baseline of latency: "),
        ("{fills@bott: 20}", "did you mean bot?"),
        ("[fills]", "a set of keys should stand here"),
    ],
)
def test_a_baseline_that_cannot_be_is_a_mistake_at_its_place(tmp_path: Path, baselines: str, why: str) -> None:
    _, problems = run_rule_test(tmp_path, baselines, "", "rule: few, state: nodata")

    assert any("test.yaml:5:" in each and why in each for each in problems), problems


def test_replay_judges_by_the_baselines_that_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rules.yaml").write_text(RULES)
    rows = "".join(f"{1_767_225_600_000 + 1_000 * i},9,{21 if i > 30 else 5}\n" for i in range(60))
    (tmp_path / "h.csv").write_text(f"time,fills,latency\n{rows}")
    asked = ["replay", str(tmp_path / "rules.yaml"), "--history", str(tmp_path / "h.csv"), "--json"]

    assert main([*asked, "--baseline", "fills=20", "--baseline", "latency@bot=10s"]) == 0
    assert {trip["rule"] for trip in json.loads(capsys.readouterr().out)["trips"]} == {"few", "slow"}
    assert main(asked) == 0
    assert json.loads(capsys.readouterr().out)["trips"] == []
    assert main([*asked, "--baseline", "fils=20"]) == 1
    assert "did you mean fills?" in capsys.readouterr().err
