"""The rules that ship: loadable as they are, with the thresholds that operators wrote down."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from watchdog.config import Config, check_files
from watchdog.plans.models import Repair, effective_verify
from watchdog.promql import parse, required_lookback

RULES = Path(__file__).parents[2] / "rules"
FILES = sorted(RULES.glob("*.yaml"))
MINUTE = 60_000


@pytest.fixture(scope="module")
def config() -> Config:
    config, problems = check_files([RULES], environ={})
    assert problems == []
    assert config is not None
    return config


def test_nothing_is_left_over(config: Config) -> None:
    assert config.warnings == ()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_file_can_be_checked_alone(path: Path) -> None:
    config, problems = check_files([path], environ={})
    assert problems == []
    assert config is not None


@pytest.mark.parametrize(
    ("rule", "level", "operator", "limit", "baseline", "plan"),
    [
        ("regime-flapping", "crit", "above", 0.15, 0.083, "rollback"),
        ("confidence-drop", "crit", "below", 0.90, 0.967, "rollback"),
        ("regime-flapping-fast", "crit", "above", 0.20, 0.083, "rollback"),
        ("confidence-drop-fast", "crit", "below", 0.80, 0.967, "rollback"),
        ("training-failures", "crit", "above", 0.05, 0, "rollback"),
        ("prediction-errors", "crit", "above", 0.01, 0, "rollback"),
        ("invalid-predictions", "crit", "above", 0.10, 0.01, "rollback"),
        ("strategy-worse", "crit", "below", 0.04 - 0.05, 0.04, "rollback"),
        ("drawdown", "crit", "at_least", 0.10, 0.02, "halt"),
        ("drawdown-emergency", "crit", "at_least", 0.20, 0.02, "emergency"),
        ("losing-streak", "crit", "at_least", 5, 1, "halt-and-repair"),
        ("volatility", "warn", "above", 3, 1, None),
        ("exchange-unreachable", "crit", "at_least", 3, 0, "halt"),
        ("crash", "crit", "above", 0, 0, "rollback"),
        ("memory-doubled", "crit", "above", 2 * 512 * 2**20, 512 * 2**20, "rollback"),
        ("cpu-tripled", "crit", "above", 0.9, 0.3, "rollback"),
        ("no-ticks", "crit", "above", 60, 1, "halt"),
        ("disk-full", "crit", "below", 0.10, 0.5, None),
    ],
)
def test_each_trigger_is_there(
    rule: str, level: str, operator: str, limit: float, baseline: float, plan: str | None, config: Config
) -> None:
    (found,) = [each for each in config.checks if (each.rule, each.level) == (rule, level)]
    assert (found.operator, found.plan) == (operator, plan)
    assert found.limit == pytest.approx(limit)
    assert found.baseline == pytest.approx(baseline)


def test_each_rule_says_what_a_person_wants_to_know(config: Config) -> None:
    for rule in config.rules.values():
        assert rule.summary
        assert "{{ value }}" in rule.summary
        assert rule.kpi is not None
        kpi = config.kpis[rule.kpi]
        assert kpi.baseline is not None
        assert kpi.help
        worst = rule.crit or rule.warn
        assert worst is not None
        assert worst.for_.duration or worst.for_.m
        assert worst.clear is not None


def test_only_missing_ticks_trip_by_missing_data_and_only_into_a_halt(config: Config) -> None:
    assert [rule.name for rule in config.rules.values() if rule.if_missing.then == "crit"] == ["no-ticks"]
    ticks = config.rules["no-ticks"]
    assert ticks.crit is not None
    assert config.plans[ticks.crit.plan or ""].kind == "halt"
    assert ticks.only is not None


def test_shares_of_few_events_need_evidence(config: Config) -> None:
    for name in (
        "regime_change_rate",
        "regime_change_rate_fast",
        "confidence",
        "confidence_fast",
        "training_failure_rate",
        "prediction_error_rate",
        "invalid_prediction_rate",
    ):
        assert config.kpis[name].needs, name


def test_a_bar_window_holds_at_least_250_bars_of_a_second(config: Config) -> None:
    for name in ("regime_change_rate", "confidence"):
        assert required_lookback(parse(config.kpis[name].expr))["hmm_bars_total"] >= 500_000
        assert ">= 250" in (config.kpis[name].needs or "")


def test_nothing_is_changed_before_the_operator_says_so(config: Config) -> None:
    rollback = config.plans["rollback"]
    assert isinstance(rollback, Repair)
    assert rollback.mode == "dry-run"


@pytest.mark.parametrize(("level", "least", "most"), [("feature", 5, 10), ("version", 15, 30), ("system", 30, 60)])
def test_each_level_takes_as_long_as_it_should(level: str, least: int, most: int, config: Config) -> None:
    """Bars come at one a second: 250 of them are the evidence that the slowest bar rule waits for."""
    rollback = config.plans["rollback"]
    assert isinstance(rollback, Repair)
    verify = effective_verify(rollback, next(each for each in rollback.levels if each.name == level))
    proven = max(verify.settle, 250_000) + verify.quiet
    assert least * MINUTE <= proven <= verify.give_up == most * MINUTE


# How long after a step a KPI can first be judged, in ms, with one bar and one sample a second.
EXPECTED_THRESHOLDS = {
    "regime_change_rate": 250_000,
    "regime_change_rate_fast": 40_000,
    "confidence": 250_000,
    "confidence_fast": 30_000,
    "training_failure_rate": 20 * 21_000,  # 20 trainings, one each 21 bars
    "prediction_error_rate": 200_000,
    "invalid_prediction_rate": 200_000,
    "strategy_return": 10_000,
    "crashes": 2_000,
    "memory": 1_000,
    "cpu": 300_000,  # its window must be covered
}


def test_the_first_level_can_be_proven_and_disproven_for_every_rule(config: Config) -> None:
    rollback = config.plans["rollback"]
    assert isinstance(rollback, Repair)
    verify = rollback.verify
    judged = set()
    for each in config.checks:
        if each.plan == "rollback":
            first = max(EXPECTED_THRESHOLDS[each.kpi], verify.settle)
            assert first + verify.quiet < verify.give_up, each.rule
            assert first + each.patience.duration < verify.give_up, each.rule
            judged.add(each.kpi)
    assert judged == set(EXPECTED_THRESHOLDS)


def test_every_rule_stands_in_the_readme(config: Config) -> None:
    page = (RULES / "README.md").read_text(encoding="utf-8")
    assert [name for name in config.rules if f"`{name}`" not in page] == []


@pytest.mark.parametrize("number", [1, 2, 40])
def test_they_serve_one_two_and_forty_bots_as_they_are(tmp_path: Path, number: int) -> None:
    names = [f"bot-{index}" for index in range(number)]
    shutil.copytree(RULES, tmp_path / "rules")
    sources = "".join(
        f"  {name}: {{type: scrape, url: 'http://127.0.0.1:1/{name}', every: 1s}}\n"
        f"  {name}-process: {{type: process, pid_file: /run/{name}.pid, every: 1s}}\n"
        for name in names
    )
    (tmp_path / "watchdog.yaml").write_text(
        f"sources:\n{sources}  host: {{type: host, every: 5s, disks: [/]}}\n"
        "channels: {chat: {type: slack, token: xoxb-12345678, channel: C0123456}}\n"
    )
    targets = "".join(
        f"  {name}:\n    unit: {name}.service\n    repo: /srv/{name}\n    sources: [{name}, {name}-process]\n"
        "    vars: {bar: 1s, trading: TRADING, feature: V2, version: v2-merge}\n"
        for name in names
    )
    (tmp_path / "rules" / "targets.yaml").write_text(f"targets:\n{targets}")

    config, problems = check_files([tmp_path], environ={})

    assert config is not None, problems
    assert [each for each in config.warnings if "run will refuse" not in each.what] == []
    assert {rule for rule, _ in config.rules_by_target} == set(config.rules)
    assert len(config.rules_by_target) == number * len(config.rules)
