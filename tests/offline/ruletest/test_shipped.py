"""The rules that ship, and those of the library of KPIs, have tests that pass, and that would notice a change."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.support import kpi_library
from watchdog.cli.command_line import main
from watchdog.config import Config, check_files
from watchdog.offline.ruletest.runner import CaseResult, run_tests
from watchdog.offline.ruletest.test_definition import load_test_file

RULES = Path(__file__).parents[3] / "rules"
FILES = sorted((RULES / "tests").glob("*.yaml"))


@pytest.fixture(scope="module")
def cases() -> list[CaseResult]:
    return [case for path in FILES for case in run_file(path)]


def run_file(path: Path) -> list[CaseResult]:
    file, problems = load_test_file(path, {})
    assert problems == []
    assert file is not None
    return list(run_tests(file))


@pytest.mark.slow
def test_they_pass(cases: list[CaseResult]) -> None:
    assert [case for case in cases if not case.passed] == []


@pytest.mark.slow
def test_each_rule_trips_and_is_well_and_is_not_bad_without_data(cases: list[CaseResult]) -> None:
    config, _ = check_files([RULES], environ={})
    assert config is not None
    assert_each_is_tested(config, cases)


LONG = {"portfolio.yaml", "model_health.yaml", "performance.yaml", "market.yaml"}
"""Weeks and months of samples."""


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.name, marks=[pytest.mark.slow] if path.name in LONG else [])
        for path in kpi_library.FILES
    ],
)
def test_each_rule_of_the_library_trips_and_is_well_and_is_not_bad_without_data(path: Path, tmp_path: Path) -> None:
    cases = run_file(kpi_library.LIBRARY / "tests" / path.name)

    assert [case for case in cases if not case.passed] == []
    assert_each_is_tested(kpi_library.load_alone(path, tmp_path), cases)


def assert_each_is_tested(config: Config, cases: list[CaseResult]) -> None:
    for rule in config.rules.values():
        mine = [case for case in cases if re.match(rf"{rule.name}[ {{]", case.subject)]
        worst = "warn" if rule.crit is None else "crit"
        states = [case.expected.get("state") for case in mine]
        assert {worst, "ok", "nodata"} <= set(states), rule.name
        if rule.crit is not None and rule.crit.plan is not None:
            assert {"state": "crit", "plan": rule.crit.plan} in [case.expected for case in mine], rule.name


def test_tests_are_no_rules() -> None:
    config, problems = check_files([RULES], environ={})

    assert problems == []
    assert config is not None
    assert not any("tests" in path.parts for path in config.files if path.is_relative_to(RULES / "tests"))


@pytest.mark.parametrize(
    ("file", "test", "before", "after"),
    [
        ("model.yaml", "every fifth bar", "crit: {above: 15%", "crit: {above: 25%"),
        ("model.yaml", "every fifth bar", "clear: 12%, plan: rollback", "clear: 12%, plan: halt"),
        ("model.yaml", "too few bars", ") >= 250", ") >= 25"),
        ("process.yaml", "sleeps while the market is closed", "    only: {when: market_open == 1}\n", ""),
        ("process.yaml", "missing data trips", "{after: 1m, then: crit}", "{after: 1m, then: hold}"),
        ("strategy.yaml", "stays tripped", "clear: 8%, plan: halt", "plan: halt"),
    ],
)
def test_a_changed_rule_is_noticed(file: str, test: str, before: str, after: str, tmp_path: Path) -> None:
    shutil.copytree(RULES, tmp_path / "rules")
    path = tmp_path / "rules" / file
    assert before in path.read_text()
    asked = [str(tmp_path / "rules" / "tests" / file), "--run", test]
    assert main(["test", *asked]) == 0

    path.write_text(path.read_text().replace(before, after))

    assert main(["test", *asked]) == 1
