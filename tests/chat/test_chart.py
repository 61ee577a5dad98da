"""What a chart shows: the KPI as it was judged, its limits and its baseline, and what happened to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support.pipeline_harness import MINUTE, SECOND, START, PipelineHarness
from watchdog.chat.chart import LocalTime, make_chart, plan_chart
from watchdog.core.model import Chart, Labels
from watchdog.journal.runs import Step
from watchdog.pictures.kpi_chart import ChartData

RULES = """\
targets: {bot: {repo: /srv/bot, cooldown: 1m, settling: 10m, budget: [2 per 1h]}}
kpis:
  errors: {expr: error_ratio, unit: ratio, baseline: 2%}
  confidence: {expr: confidence, unit: ratio}
  drawdown: {expr: "1 - equity / max_over_time(equity[1h])", unit: ratio, since: resume}
  spread: {expr: spread, unit: seconds}
rules:
  - {name: errors, kpi: errors, target: bot, warn: {above: 5%}, crit: {above: 10%, for: 2s, plan: ladder}}
  - {name: unsure, kpi: confidence, target: bot, crit: {below: 20%}}
  - {name: drawdown, kpi: drawdown, target: bot, crit: {at_least: 10%}}
  - {name: spread, kpi: spread, target: bot, crit: {outside: [1s, 3s]}}
plans:
  halt:
    kind: halt
    levels:
      - {name: no-entries, steps: [{do: flag, file: config.py, set: {TRADING: false}}], verify: {that: [alive == 1]}}
  ladder:
    kind: repair
    mode: auto
    exhausted: halt
    verify: {quiet: 1s, watch: 10s}
    levels:
      - {name: feature off, steps: [{do: flag, file: config.py, set: {FEATURE: false}}]}
      - {name: version, steps: [{do: flag, file: config.py, set: {MODEL: 1}}]}
"""
CET = LocalTime("CET", 60 * MINUTE)

Draw = Callable[..., ChartData]


@pytest.fixture
def bot(tmp_path: Path) -> PipelineHarness:
    made = PipelineHarness(tmp_path, RULES)
    made.values = {"error_ratio": 0.01, "equity": 1_000.0}
    return made


def chart_of(bot: PipelineHarness, kpi: str, labels: Labels = (), **changes: int) -> ChartData:
    chart = Chart(kpi, "bot", labels, **{"until": bot.now, "span": 5 * MINUTE} | changes)
    checks = bot.pipeline.baselines.checks()
    plan = plan_chart(chart, bot.config, checks, bot.journal, bot.now)
    assert plan is not None
    return make_chart(plan, bot.pipeline.store, CET)


def test_every_value_that_was_judged_is_shown_and_nothing_before_it(bot: PipelineHarness) -> None:
    bot.rounds(30)
    bot.round(error_ratio=0.04)  # for a second
    bot.rounds(30, error_ratio=0.01)

    data = chart_of(bot, "errors")

    assert (data.start, data.until) == (bot.now - 5 * MINUTE, bot.now)
    spike = data.times.index(START + 31 * SECOND)
    assert data.values[spike - 1 : spike + 2] != [0.01] * 3
    assert 0.04 in data.values
    assert all(value != value for t, value in zip(data.times, data.values, strict=True) if t <= START)
    assert data.subtitle.startswith("1 % at ")
    assert data.subtitle.endswith(", 4 % at worst")
    assert (data.low, data.title) == ([], "bot: errors")


def test_limits_and_baseline_stand_as_people_read_them(bot: PipelineHarness) -> None:
    bot.rounds(3, spread=2.0)

    assert [(one.kind, one.text) for one in chart_of(bot, "errors").references] == [
        ("crit", "limit 10 %"),
        ("warn", "warn 5 %"),
        ("baseline", "baseline 2 %"),
    ]
    assert [one.text for one in chart_of(bot, "spread").references] == ["limit 3 s", "limit 1 s"]


def test_trips_levels_and_the_end_are_marked_in_order(bot: PipelineHarness) -> None:
    bot.rounds(60)
    bot.rounds(2, error_ratio=0.07)
    bot.rounds(4, error_ratio=0.2)
    assert bot.incident is not None
    number, tripped = bot.incident.id, bot.now
    (run,) = bot.runs
    with bot.journal.transaction() as tx:
        for level, after in ((0, 1), (1, 10)):
            at = bot.now + after * SECOND
            tx.runs.start_step(Step(run.id, "level", level, 0, "x", "started", None, "", at, None, None, None))
    bot.rounds(20, error_ratio=0.01)
    bot.end_run(run, "proven", level=1)
    bot.rounds(60)
    assert bot.incident is None

    data = chart_of(bot, "errors", incident=number)

    assert [(mark.kind, mark.text) for mark in data.marks] == [
        ("trip", "errors tripped (warn)"),
        ("trip", "errors tripped"),
        ("level", "feature off"),
        ("level", "version"),
        ("end", data.marks[-1].text),
    ]
    assert data.marks[-1].text.startswith("over after ")
    assert [mark.t for mark in data.marks[2:4]] == [tripped + SECOND, tripped + 10 * SECOND]
    early = chart_of(bot, "errors", incident=number, until=tripped)  # that of the trip knows nothing of what came later
    assert {mark.kind for mark in early.marks} == {"trip"}


def test_a_kpi_that_begins_anew_with_a_resume_is_shown_as_it_was_judged(bot: PipelineHarness) -> None:
    bot.rounds(20, equity=2_000)
    bot.rounds(20, equity=1_000)
    resumed = bot.now
    bot.pipeline.resume("bot", "ana", bot.now, [])
    bot.rounds(20)

    data = chart_of(bot, "drawdown")

    values = dict(zip(data.times, data.values, strict=True))
    assert values[resumed - 5 * SECOND] == 0.5
    assert values[resumed + 5 * SECOND] == 0


def test_labels_of_one_member_are_not_shown_and_of_several_those_that_differ(bot: PipelineHarness) -> None:
    bot.labelled_series = [("confidence", (("model", "a"), ("venue", "x")), 0.9)]
    bot.rounds(3)
    assert chart_of(bot, "confidence", (("model", "a"),)).title == "bot: confidence"

    bot.labelled_series.append(("confidence", (("model", "b"), ("venue", "x")), 0.1))
    bot.rounds(3)

    one = chart_of(bot, "confidence", (("model", "b"), ("venue", "x")))
    assert one.title == "bot: confidence (model=b)"
    assert one.values[-1] == 0.1
    assert one.low == []


def test_of_several_series_the_worst_by_its_limit_is_shown_and_how_wide_they_spread(bot: PipelineHarness) -> None:
    bot.labelled_series = [("confidence", (("model", name),), value) for name, value in (("a", 0.9), ("b", 0.3))]
    bot.rounds(3)

    data = chart_of(bot, "confidence")

    assert (data.values[-1], data.low[-1], data.high[-1]) == (0.3, 0.3, 0.9)
    assert len(data.low) == len(data.high) == len(data.times) == len(data.values)
    assert data.subtitle.endswith("the worst of 2")


@pytest.mark.parametrize("kpi", ["errors", "confidence"])
def test_without_any_sample_it_says_so(bot: PipelineHarness, kpi: str) -> None:
    data = chart_of(bot, kpi)

    assert np.isnan(data.values).all()
    assert data.subtitle.startswith("no value at ")


def test_what_no_file_names_any_more_has_no_chart(bot: PipelineHarness) -> None:
    checks = bot.pipeline.baselines.checks()

    assert plan_chart(Chart("errors", "gone"), bot.config, checks, bot.journal, bot.now) is None
    assert plan_chart(Chart("gone", "bot"), bot.config, checks, bot.journal, bot.now) is None


@pytest.mark.parametrize(
    ("name", "minutes", "text"),
    [
        ("CET", 60, "CET (UTC+1)"),
        ("UTC", 0, "UTC"),
        ("IST", 330, "IST (UTC+5:30)"),
        ("-03", -180, "UTC-3"),
        ("NST", -210, "NST (UTC-3:30)"),
        ("GMT", 0, "GMT (UTC)"),
    ],
)
def test_the_local_time_is_said(name: str, minutes: int, text: str) -> None:
    assert LocalTime(name, minutes * MINUTE).describe() == text
