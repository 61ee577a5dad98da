"""Rules whose metrics never came say so once and stand aside; what came once and is gone hinders."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.pipeline_harness import MAIN_YAML, PipelineHarness
from watchdog.app.status import build_status
from watchdog.core.model import Sample
from watchdog.promql import parse, required_metrics
from watchdog.web.status_rows import build_status_rows

RULES = """\
targets:
  bot: {repo: /srv/bot}
kpis:
  errors: {expr: error_ratio, unit: ratio}
  streak: {expr: losing_streak, unit: count}
  share: {expr: lost / (lost + won), unit: ratio}
  either: {expr: fast_age or slow_age, unit: seconds}
  load: {expr: 'host_load1{source="host"}'}
rules:
  - {name: errors, kpi: errors, target: bot, crit: {above: 10%, plan: halt}}
  - {name: streak, kpi: streak, target: bot, crit: {at_least: 5, plan: halt}}
plans:
  halt:
    kind: halt
    levels:
      - {name: no-entries, steps: [{do: flag, file: config.py, set: {TRADING: false}}], verify: {that: [alive == 1]}}
"""
STANDS = "1 rule stands aside, for metrics that never came: streak"


def rules_yaml(*rules: str) -> str:
    head, tail = RULES.split("rules:\n")[0], "plans:" + RULES.partition("plans:")[2]
    return head + "rules:\n" + "".join(f"  - {{target: bot, {rule}}}\n" for rule in rules) + tail


def stale(harness: PipelineHarness) -> str | None:
    return harness.pipeline.find_stale_rule("bot", harness.now)


def status_texts(harness: PipelineHarness) -> str:
    sources = dict.fromkeys(harness.config.sources)
    known = build_status(harness.config, harness.pipeline, harness.journal, sources, harness.now)
    return "\n".join(row.text for row in build_status_rows(known))


@pytest.fixture
def harness(tmp_path: Path) -> PipelineHarness:
    return PipelineHarness(tmp_path, RULES)


def test_a_metric_that_never_came_hinders_no_resume(harness: PipelineHarness) -> None:
    harness.rounds(3)

    assert stale(harness) is None
    assert "stands aside, losing_streak never came" in status_texts(harness)


def test_before_a_source_has_answered_nothing_is_said_of_what_it_delivers(harness: PipelineHarness) -> None:
    harness.lost_sources = {"bot"}
    harness.rounds(100)

    assert stale(harness) is not None
    assert "aside" not in status_texts(harness)
    assert STANDS not in harness.message_titles()


def test_a_metric_that_came_and_is_gone_hinders(harness: PipelineHarness) -> None:
    harness.rounds(3, losing_streak=1)
    harness.rounds(10, losing_streak=float("nan"))

    assert "rule streak cannot be judged" in str(stale(harness))
    assert "aside" not in status_texts(harness)


@pytest.mark.parametrize("downtime", [1_000, 3_600_000])
def test_a_restart_forgets_no_metric_that_has_come(harness: PipelineHarness, downtime: int) -> None:
    harness.rounds(3, losing_streak=1)
    harness.values["losing_streak"] = float("nan")
    harness.restart(downtime)
    harness.rounds(10)

    assert "rule streak cannot be judged" in str(stale(harness))


def test_a_resume_forgets_no_metric_that_has_come(harness: PipelineHarness) -> None:
    harness.rounds(3, losing_streak=1)
    harness.pipeline.resume("bot", "ann", harness.now)
    harness.values["losing_streak"] = float("nan")
    harness.restart()
    harness.rounds(10)

    assert "rule streak cannot be judged" in str(stale(harness))


def test_what_stands_aside_is_told_once_also_over_restarts(harness: PipelineHarness) -> None:
    harness.rounds(30)
    assert STANDS not in harness.message_titles()
    harness.rounds(40)
    assert harness.message_titles().count(STANDS) == 1
    harness.restart()
    harness.rounds(90)

    assert harness.message_titles().count(STANDS) == 1


def test_a_metric_that_comes_late_is_judged_from_then_on(harness: PipelineHarness) -> None:
    harness.rounds(70)
    harness.rounds(3, losing_streak=7)

    assert harness.is_firing("streak")
    assert "aside" not in status_texts(harness)


def test_a_rule_that_says_what_missing_data_is_is_judged_by_that(tmp_path: Path) -> None:
    harness = PipelineHarness(
        tmp_path, rules_yaml("name: streak, kpi: streak, crit: {above: 5}, if_missing: {after: 5s, then: crit}")
    )
    harness.rounds(20)

    assert harness.is_firing("streak")
    assert "rule streak cannot be judged" in str(stale(harness))


def test_part_of_an_expression_is_enough_to_stand_aside_where_the_rest_says_nothing_without_it(tmp_path: Path) -> None:
    harness = PipelineHarness(tmp_path, rules_yaml("name: share, kpi: share, crit: {above: 5%}"))
    harness.rounds(3, lost=1)
    harness.rounds(10, lost=float("nan"))

    assert stale(harness) is None


def test_an_alternative_that_came_and_is_gone_hinders_although_the_other_never_came(tmp_path: Path) -> None:
    harness = PipelineHarness(tmp_path, rules_yaml("name: either, kpi: either, crit: {above: 5s}"))
    harness.rounds(3, fast_age=1)
    harness.rounds(10, fast_age=float("nan"))

    assert "rule either cannot be judged" in str(stale(harness))


def test_what_another_source_is_to_deliver_is_not_awaited_of_this_one(tmp_path: Path) -> None:
    harness = PipelineHarness(tmp_path, rules_yaml("name: load, kpi: load, crit: {above: 5}"))
    harness.lost_sources = {"host"}
    harness.rounds(10)

    assert "rule load cannot be judged" in str(stale(harness))


def test_what_is_anothers_own_never_came_for_this_one(tmp_path: Path) -> None:
    main = MAIN_YAML.replace("  host:", '  beta: {type: scrape, url: "http://127.0.0.1:2/metrics", every: 1s}\n  host:')
    rules = RULES.replace(
        "  bot: {repo: /srv/bot}", "  bot: {repo: /srv/bot, sources: [bot]}\n  beta: {repo: /srv/b, sources: [beta]}"
    )
    harness = PipelineHarness(tmp_path, rules, main)
    for _ in range(5):
        harness.pipeline.add_samples("beta", [Sample("losing_streak", (), harness.now, 1.0)], harness.now)
        harness.round()

    assert stale(harness) is None
    assert "stands aside, losing_streak never came" in status_texts(harness)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a", {"a"}),
        ("a / b", {"a", "b"}),
        ("a or b", set()),
        ("a * c or b * c", {"c"}),
        ("a unless b", {"a"}),
        ("a and on() b > 1", {"a", "b"}),
        ("rate(a[5m])", {"a"}),
        ("max_over_time(a[5m:10s])", {"a"}),
        ("sum by (x) (a)", {"a"}),
        ("absent(a)", set()),
        ("absent_over_time(a[5m])", set()),
        ("scalar(a)", set()),
        ("vector(1)", set()),
        ("a or vector(0)", set()),
        ("time() - a", {"a"}),
        ('{__name__=~"a.*"}', set()),
        ("-a", {"a"}),
    ],
)
def test_what_an_expression_returns_nothing_without_is_told_by_its_shape(text: str, names: set[str]) -> None:
    assert {each.name for each in required_metrics(parse(text))} == names
