"""A source that fails and delivers in turn delays nothing, and people hear of it once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.pipeline_harness import SECOND, PipelineHarness
from watchdog.web.status_rows import build_status_rows

RULES = """\
targets: {bot: {repo: /srv/bot}}
kpis: {errors: {expr: error_ratio}}
rules: [{name: errors, kpi: errors, target: bot, warn: {above: 0.5, for: 10s}}]
"""


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[PipelineHarness]:
    harness = PipelineHarness(tmp_path, RULES)
    yield harness
    harness.journal.close()


def flap(harness: PipelineHarness, rounds: int, good_every: int = 2, **values: float) -> None:
    for i in range(rounds):
        (harness.lost_sources.discard if i % good_every == 0 else harness.lost_sources.add)("bot")
        harness.round(**values)
    harness.lost_sources.discard("bot")


def metric(harness: PipelineHarness, name: str, source: str = "bot") -> float | None:
    return harness.pipeline.telemetry.registry.get_sample_value(name, {"source": source})


@pytest.mark.parametrize(("good_every", "fires_within"), [(2, 13), (3, 14)])
def test_a_rule_fires_as_soon_as_on_a_steady_source(
    harness: PipelineHarness, good_every: int, fires_within: int
) -> None:
    flap(harness, fires_within, good_every, error_ratio=0.9)

    assert harness.is_firing("errors")


def test_people_are_told_once_and_once_that_it_is_over(harness: PipelineHarness) -> None:
    flap(harness, 40)

    assert harness.message_titles() == ["source bot flaps"]
    assert metric(harness, "watchdog_source_flaps") == 1
    assert metric(harness, "watchdog_source_flaps", "host") == 0
    assert metric(harness, "watchdog_source_failures_total") == 20

    harness.restart()
    flap(harness, 40)
    assert harness.message_titles() == ["source bot flaps"]

    harness.rounds(70)
    assert harness.message_titles() == ["source bot flaps", "source bot is steady again"]
    assert metric(harness, "watchdog_source_flaps") == 0


@pytest.mark.parametrize("failures", [1, 4, 30])
def test_a_bot_that_is_restarted_or_down_does_not_flap(harness: PipelineHarness, failures: int) -> None:
    harness.rounds(3)
    harness.lost_sources.add("bot")
    harness.rounds(failures)
    harness.lost_sources.clear()
    harness.rounds(10)

    assert harness.message_titles() == []
    assert metric(harness, "watchdog_source_flaps") == 0


def test_a_source_that_is_taken_away_is_not_waited_for(harness: PipelineHarness) -> None:
    flap(harness, 20)
    main = (harness.folder / "watchdog.yaml").read_text()
    harness.reload(RULES, main.replace("  bot: {type: scrape", "  page: {type: scrape"))
    harness.now += SECOND
    harness.pipeline.judge(harness.now)

    assert harness.message_titles() == ["source bot flaps", "source bot, which flapped, is no longer configured"]


def test_how_it_flaps_is_shown(harness: PipelineHarness) -> None:
    flap(harness, 20)

    shown = harness.pipeline.source_reports.flaps.current()["bot"]
    assert shown == "it failed 10 times within 18 s"
    status = {
        "sources": {"bot": {"up": True, "error": None, "cut": None, "flaps": shown, "age": 0}},
        "kpis": {},
        "rules": [],
        "targets": {},
        "silenced": [],
        "now": harness.now,
    }
    (row,) = build_status_rows(status)
    assert (row.text, row.state) == (f"up, flaps: {shown}", "warn")
