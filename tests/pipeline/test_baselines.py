"""Baselines through the pipeline: learned, frozen, captured, kept."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.pipeline_harness import RULES_YAML, SECOND, PipelineHarness
from watchdog.app.status import build_status
from watchdog.journal.baselines import SqlBaselineWriter
from watchdog.journal.errors import JournalUnavailableError
from watchdog.journal.requests import Request

LEARNED_KPI = """\
  latency: {expr: latency, unit: seconds, baseline: {learn: 20s, min_samples: 15}}
"""
CAPTURED_KPI = """\
  latency: {expr: latency, unit: seconds, baseline: captured}
"""
SLOW_RULE = "  - {name: slow, kpi: latency, target: bot, crit: {above: 2x baseline, ceiling: 60s}}\n"


def rules_yaml(kpi: str, rule: str = SLOW_RULE) -> str:
    head, plans = RULES_YAML.split("rules:\n")[0], RULES_YAML[RULES_YAML.index("plans:\n") :]
    return head + kpi + "rules:\n" + rule + plans


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[PipelineHarness]:
    made = PipelineHarness(tmp_path, rules_yaml(LEARNED_KPI))
    yield made
    made.journal.close()


def current_limit(harness: PipelineHarness) -> float | None:
    labels = {"rule": "slow", "target": "bot", "severity": "critical", "bound": "upper"}
    return harness.pipeline.telemetry.registry.get_sample_value("watchdog_rule_limit", labels)


def baseline_text(harness: PipelineHarness, kpi: str = "latency") -> str | None:
    kpis = build_status(harness.config, harness.pipeline, harness.journal, {}, harness.now)["kpis"]
    assert isinstance(kpis, dict)
    return kpis[kpi]["baseline"] if kpis[kpi]["warning"] is None else f"{kpis[kpi]['baseline']}: {kpis[kpi]['warning']}"


def play_learning_period(harness: PipelineHarness) -> None:
    harness.rounds(100, latency=10)
    assert current_limit(harness) == 20


def test_a_baseline_is_learned_and_until_then_the_ceiling_counts(harness: PipelineHarness) -> None:
    harness.rounds(5, latency=50)
    assert not harness.is_firing("slow")
    assert current_limit(harness) == 60
    assert baseline_text(harness) == "learning 0 ms of 20 s"  # said anew once a minute
    harness.round(latency=70)
    assert harness.is_firing("slow")
    harness.rounds(3, latency=10)
    assert not harness.is_firing("slow")

    harness.rounds(95)
    assert current_limit(harness) == 20
    assert baseline_text(harness) == "10 s"
    harness.round(latency=21)
    assert harness.is_firing("slow")


@pytest.mark.slow
def test_what_is_learned_is_frozen_while_something_fires_a_plan_works_or_the_target_is_latched(
    harness: PipelineHarness,
) -> None:
    play_learning_period(harness)
    assert harness.journal.query("SELECT count(*) FROM baseline_point")[0][0] >= 20
    harness.rounds(700, latency=25)
    assert harness.is_firing("slow")
    assert current_limit(harness) == 20
    assert harness.journal.query("SELECT count(*) FROM baseline_point WHERE v > 10")[0][0] == 0

    with harness.journal.transaction() as tx:
        tx.targets.update_target("bot", latched=harness.now, latch_why="test")
    harness.rounds(400, latency=12)
    assert not harness.is_firing("slow")
    assert current_limit(harness) == 20


def test_what_was_learned_outlives_a_restart_and_follows_what_is_normal(harness: PipelineHarness) -> None:
    play_learning_period(harness)
    harness.restart()
    harness.round()
    assert current_limit(harness) == 20

    harness.rounds(700, latency=15)
    assert current_limit(harness) == 30


def test_values_that_cannot_be_written_stop_nothing_and_are_written_later(
    harness: PipelineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.rounds(30, latency=10)

    def full(*_: object) -> None:
        raise JournalUnavailableError("database or disk is full", "full")

    monkeypatch.setattr(SqlBaselineWriter, "save_points", full)
    harness.rounds(30)
    monkeypatch.undo()
    harness.rounds(41)

    assert current_limit(harness) == 20
    written = [row["t"] for row in harness.journal.query("SELECT t FROM baseline_point ORDER BY t")]
    assert written[-1] >= harness.now - 10_000
    assert all(after - before == SECOND for before, after in itertools.pairwise(written))


def test_a_baseline_of_another_expression_is_none(harness: PipelineHarness) -> None:
    play_learning_period(harness)
    harness.reload(rules_yaml(LEARNED_KPI.replace("expr: latency", "expr: latency * 1")))

    assert current_limit(harness) == 60


def request_capture(harness: PipelineHarness, span: int = 0, *kpis: str) -> tuple[bool, str]:
    return harness.requests.answer(
        Request(1, harness.now, "capture", {"kpis": list(kpis), "for": span}, "anna"), harness.now
    )


def message_titles(harness: PipelineHarness) -> list[str]:
    return [row["text"] for row in harness.journal.query("SELECT text FROM event WHERE kind = 'baseline' ORDER BY id")]


def test_a_captured_baseline_says_who_when_how_much_and_of_which_revision(tmp_path: Path) -> None:
    harness = PipelineHarness(tmp_path, rules_yaml(CAPTURED_KPI, SLOW_RULE.replace(", ceiling: 60s", "")))
    harness.rounds(2, latency=10)
    (state,) = [m for key, m in harness.pipeline.machines.items() if key.rule == "slow"]
    assert (state.outcome, state.reason) == (
        "nodata",
        "latency: not captured yet: trading-watchdog baseline capture latency",
    )
    with harness.journal.transaction() as tx:
        tx.targets.update_target("bot", head="0123456789abcdef")

    assert request_capture(harness, 5 * SECOND) == (True, "latency")
    for value in (10, 11, 12, 90, 9):
        assert message_titles(harness) == []
        harness.round(latency=value)
        harness.reload(
            rules_yaml(CAPTURED_KPI, SLOW_RULE.replace(", ceiling: 60s", ""))
        )  # a reload in between does no harm

    assert message_titles(harness) == ["latency: captured 11 s from 5 samples over 5 s for anna"]
    (kept,) = harness.journal.baselines.list_baselines()
    assert (kept.kind, kept.who, kept.revision, kept.span) == ("captured", "anna", "0123456789abcdef", 5 * SECOND)
    assert (kept.value, kept.samples, current_limit(harness)) == (11, 5, 22)
    harness.restart()
    harness.round()
    assert current_limit(harness) == 22


def test_what_is_not_normal_is_not_captured(tmp_path: Path) -> None:
    harness = PipelineHarness(tmp_path, rules_yaml(CAPTURED_KPI))
    harness.rounds(2, latency=10)
    assert request_capture(harness, 0, "latncy")[1].startswith("there is no KPI 'latncy'")
    assert (
        request_capture(harness, 0, "errors")[1]
        == "the baseline of errors is not captured: say baseline: captured in its file first"
    )

    assert request_capture(harness, 10 * SECOND)[0]
    harness.rounds(2, latency=70)
    assert message_titles(harness) == ["latency: not captured: a rule of bot fires"]
    assert (
        request_capture(harness)[1]
        == "not now: a rule of bot fires, and what is so now is not how it is when all is well"
    )

    harness.rounds(2, latency=10)
    assert request_capture(harness)[0]
    harness.lost_sources = {"bot"}
    harness.rounds(1)
    assert message_titles(harness)[1:] == ["latency: not captured: latency has no samples"]


def test_status_warns_of_a_share_that_was_taken_for_another_one_as_long_as_nothing_is_bad(tmp_path: Path) -> None:
    harness = PipelineHarness(
        tmp_path,
        rules_yaml(
            "  share: {expr: share, unit: ratio, baseline: 8.3%}\n",
            "  - {name: s, kpi: share, target: bot, crit: {above: 999%}}\n",
        ),
    )
    harness.rounds(2, share=8.3)

    assert baseline_text(harness, "share") == (
        "8.3 %: the value is 100 × its baseline; if it is always so, a ratio was taken for a percent"
    )
    harness.rounds(2, share=10)
    assert harness.is_firing("s")
    assert baseline_text(harness, "share") == "8.3 %"


@pytest.mark.parametrize("unit", ["bytes", "count", "seconds"])
def test_nothing_but_a_share_can_have_been_taken_for_a_percent(tmp_path: Path, unit: str) -> None:
    written = {"bytes": "1MiB", "count": "1", "seconds": "1s"}[unit]
    harness = PipelineHarness(
        tmp_path,
        rules_yaml(
            f"  memory: {{expr: memory, unit: {unit}, baseline: {written}}}\n",
            "  - {name: m, kpi: memory, target: bot, crit: {below: 0x baseline}}\n",
        ),
    )
    harness.rounds(2, memory=100 * (2**20 if unit == "bytes" else 1))

    assert baseline_text(harness, "memory") == {"bytes": "1 MiB", "count": "1", "seconds": "1 s"}[unit]
