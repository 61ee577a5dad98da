"""Our own rules in a test: the daemon's judge, state machine and guard."""

from __future__ import annotations

from pathlib import Path

import pytest

from watchdog.offline.ruletest.runner import CaseResult, run_tests
from watchdog.offline.ruletest.test_definition import load_test_file

RULES = """\
targets: {bot: {unit: bot.service}}
kpis:
  errors: {expr: errors_total}
  orders: {expr: "sum(increase(orders_total[1m]))", needs: orders_total, born: zero}
plans:
  stop: {kind: halt, levels: [{name: stop, steps: [{do: systemd, stop: unit}], verify: {that: [up == 0]}}]}
rules:
  - {name: errors, kpi: errors, target: bot, warn: {above: 1}, crit: {above: 5, for: 1m, clear: 3, clear_for: 1m, plan: stop}}
  - {name: asked, target: bot, each: [pair], warn: {expr: spread > 5}, crit: {expr: "spread > 8", for: 20s, plan: stop}}
  - {name: hours, kpi: errors, target: bot, only: {between: "00:01-00:02", days: [thu]}, warn: {outside: [2, 5], for: 20s}}
  - {name: orders, kpi: orders, target: bot, warn: {above: 50}}
  - {name: counted, kpi: errors, target: bot, crit: {above: 5, for: 2 of 3, plan: stop}}
"""


def run_rule_test(folder: Path, series: str, *expected: str) -> list[CaseResult]:
    (folder / "rules.yaml").write_text(RULES)
    entries = "".join(f"      - {{{entry}}}\n" for entry in expected)
    (folder / "test.yaml").write_text(
        "rule_files: [rules.yaml]\nevaluation_interval: 10s\ntests:\n  - interval: 10s\n    input_series:\n"
        f"{series}    watchdog_rule_test:\n{entries}"
    )
    file, problems = load_test_file(folder / "test.yaml", {})
    assert file is not None, problems
    return list(run_tests(file))


def one_series(values: str, name: str = "errors_total") -> str:
    return f"      - {{series: '{name}', values: '{values}'}}\n"


@pytest.mark.parametrize(
    "expected",
    [
        "rule: errors, eval_time: 50s, state: ok, plan: none",
        "rule: errors, eval_time: 1m, state: warn, plan: none",  # and crit is pending
        "rule: errors, eval_time: 1m50s, state: warn, plan: none",
        "rule: errors, eval_time: 2m, state: crit, plan: stop",
        "rule: errors, eval_time: 3m30s, state: crit",  # well, but not yet for a minute
        "rule: errors, eval_time: 5m, state: ok, plan: stop",
    ],
)
def test_states_follow_the_samples(expected: str, tmp_path: Path) -> None:
    (case,) = run_rule_test(tmp_path, one_series("0x5 9x11 0x20"), expected)

    assert case.passed, (case.got, case.detail)


def test_a_counter_that_is_born_high_is_an_increase_where_its_kpi_says_so(tmp_path: Path) -> None:
    series = one_series("3x20", 'orders_total{side="buy"}') + one_series("_x5 100x15", 'orders_total{side="sell"}')
    (case,) = run_rule_test(tmp_path, series, "rule: orders, eval_time: 1m30s, state: warn")

    assert case.passed, (case.got, case.detail)


def test_a_warning_starts_nothing(tmp_path: Path) -> None:
    (case,) = run_rule_test(tmp_path, one_series("2x30"), "rule: errors, eval_time: 5m, state: warn, plan: none")

    assert case.passed, case.got


def test_evaluations_are_counted_by_reads(tmp_path: Path) -> None:
    cases = run_rule_test(
        tmp_path,
        one_series("0 0 9 9 9"),
        "rule: counted, eval_time: 20s, state: pending",
        "rule: counted, eval_time: 30s, state: crit",
    )

    assert [case.got for case in cases if not case.passed] == []


def test_labels_choose_among_states(tmp_path: Path) -> None:
    series = one_series("0x30", 'errors_total{bot="a"}') + one_series("9x30", 'errors_total{bot="b"}')

    cases = run_rule_test(
        tmp_path,
        series,
        "rule: errors, labels: {bot: a}, eval_time: 5m, state: ok",
        "rule: errors, labels: {bot: b}, eval_time: 5m, state: crit",
        "rule: errors, eval_time: 5m, state: crit",
        "rule: errors, labels: {bot: c}, eval_time: 5m, state: nodata",
    )

    assert [case.got for case in cases if not case.passed] == []


@pytest.mark.parametrize("end", ["stale _x30", "_x30", ""])
def test_what_is_not_read_is_nodata(end: str, tmp_path: Path) -> None:
    (case,) = run_rule_test(
        tmp_path, one_series(f"0x10 {end}"), "rule: errors, eval_time: 5m, state: nodata, plan: none"
    )

    assert case.passed, case.got


def test_what_fires_goes_on_firing_without_data(tmp_path: Path) -> None:
    (case,) = run_rule_test(tmp_path, one_series("9x10 stale"), "rule: errors, eval_time: 5m, state: crit, plan: stop")

    assert case.passed, case.got


def test_a_wrong_expectation_says_why(tmp_path: Path) -> None:
    (case,) = run_rule_test(tmp_path, one_series("9x30"), "rule: errors, eval_time: 5m, state: ok, plan: none")

    assert not case.passed
    assert case.got == {"state": "crit", "plan": "stop"}
    assert "errors 9 is above 5" in case.detail


@pytest.mark.parametrize(
    "expected",
    [
        "rule: asked, eval_time: 30s, labels: {pair: a}, state: ok",
        "rule: asked, eval_time: 1m, labels: {pair: a}, state: warn, plan: none",
        "rule: asked, eval_time: 1m, labels: {pair: b}, state: ok",
        "rule: asked, eval_time: 1m20s, labels: {pair: a}, state: crit, plan: stop",
        "rule: asked, eval_time: 3m, labels: {pair: a}, state: ok",
    ],
)
def test_a_condition_is_tested_for_what_it_names_and_what_it_does_not(expected: str, tmp_path: Path) -> None:
    (case,) = run_rule_test(
        tmp_path, one_series("1x5 9x10 1x10", 'spread{pair="a"}') + one_series("1x30", 'spread{pair="b"}'), expected
    )

    assert case.passed, case


@pytest.mark.parametrize(("at", "state"), [("50s", "nodata"), ("1m10s", "pending"), ("1m30s", "warn"), ("3m", "warn")])
def test_hours_are_those_of_the_first_of_january_1970(at: str, state: str, tmp_path: Path) -> None:
    """Outside them nothing is judged, and what fires goes on firing."""
    (case,) = run_rule_test(tmp_path, one_series("9x11 9x20"), f"rule: hours, eval_time: {at}, state: {state}")

    assert case.passed, case
