"""Which messages have a chart: that of a trip and that of an incident's end, each of the KPI that says most."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.pipeline_harness import MINUTE, RULES_YAML, PipelineHarness
from watchdog.core.model import Chart, Message

HOUR = 60 * MINUTE
OF_BOT = (("source", "bot"),)


@pytest.fixture
def bot(tmp_path: Path) -> PipelineHarness:
    made = PipelineHarness(tmp_path)
    made.rounds(3)
    return made


def charts(bot: PipelineHarness) -> list[Chart | None]:
    return [message.chart for message in messages(bot)]


def messages(bot: PipelineHarness) -> list[Message]:
    """What the channel would be told, one after another."""
    told: list[Message] = []
    while queued := bot.journal.messages.due(bot.now + 1, "chat"):
        with bot.journal.transaction() as tx:
            tx.messages.mark_sent(queued[0].id, None, bot.now)
        told.append(queued[0].message)
    return told


def test_a_trip_shows_its_kpi_up_to_that_moment(bot: PipelineHarness) -> None:
    bot.round(error_ratio=0.07)

    assert bot.incident is not None
    assert charts(bot) == [Chart("errors", "bot", OF_BOT, bot.incident.id, HOUR, bot.now)]


def test_of_several_rules_that_trip_at_once_the_worst_is_shown(bot: PipelineHarness) -> None:
    bot.round(error_ratio=0.07, equity=500)

    assert [chart and chart.kpi for chart in charts(bot)] == ["drawdown"]


def test_of_several_label_sets_the_worst_is_shown(tmp_path: Path) -> None:
    rules = RULES_YAML.replace(
        "rules:\n", "rules:\n  - {name: pairs, kpi: pairs, target: bot, warn: {above: 50}, each: [side]}\n"
    )
    bot = PipelineHarness(tmp_path, rules)
    for side, left in (("buy", 60.0), ("sell", 90.0), ("hold", 70.0)):
        bot.labelled_series += [("left", (("side", side),), left), ("right", (("side", side),), 100.0)]
    bot.rounds(3)

    assert [chart and (chart.kpi, chart.labels) for chart in charts(bot)] == [("pairs", (("side", "sell"),))]


def test_the_end_shows_the_incident_from_before_its_beginning(bot: PipelineHarness) -> None:
    bot.round(error_ratio=0.07)
    assert bot.incident is not None
    number = bot.incident.id
    bot.rounds(3)
    bot.round(error_ratio=0.01)
    while bot.incident is not None:
        bot.round()

    chart = charts(bot)[-1]
    assert chart == Chart("errors", "bot", OF_BOT, number, HOUR, bot.now)


def test_a_long_incident_is_seen_whole(bot: PipelineHarness) -> None:
    bot.round(error_ratio=0.07)
    assert bot.incident is not None
    opened = bot.incident.opened
    bot.now += 5 * HOUR
    bot.rounds(3)
    bot.round(error_ratio=0.01)
    while bot.incident is not None:
        bot.round()

    chart = charts(bot)[-1]
    assert chart is not None
    assert chart.until == bot.now
    assert opened - 2 * HOUR < chart.until - chart.span < opened - HOUR


def test_reminders_and_decisions_have_none(bot: PipelineHarness) -> None:
    bot.rounds(4, error_ratio=0.2)
    (run,) = bot.runs
    bot.end_run(run, "exhausted")
    bot.rounds(2)
    texts = {message.title: message.chart is not None for message in messages(bot)}

    assert all(shown == ("tripped" in title) for title, shown in texts.items())
    assert any(texts.values())


def test_what_has_no_kpi_has_no_chart(tmp_path: Path) -> None:
    rules = RULES_YAML.replace("rules:\n", 'rules:\n  - {name: odd, target: bot, warn: {expr: "alive == 0"}}\n')
    bot = PipelineHarness(tmp_path, rules)
    bot.rounds(2)
    bot.round(alive=0)

    assert charts(bot) == [None]
