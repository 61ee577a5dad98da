"""A channel that is told states: what of the journal it is told, when, and again while it lasts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.alertmanagers import FakeAlertmanager
from tests.support.fake_chats import HANG
from tests.support.pipeline_harness import MINUTE, RULES_YAML, SECOND, PipelineHarness
from watchdog.app.alert_refresher import AlertRefresher
from watchdog.core.model import Message
from watchdog.core.offload import ThreadOffload
from watchdog.notifiers.outbox import OutboxSender

MAIN = """\
sources:
  bot: {{type: scrape, url: "http://127.0.0.1:1/metrics", every: 1s}}
  host: {{type: host, every: 1s, disks: [/]}}
channels:
  am: {{type: alertmanager, url: "{url}", from: {level}}}
  other: {{type: alertmanager, url: "{other}"}}
state: state
"""
RULES = RULES_YAML.replace(
    "rules:\n",
    "rules:\n  - {name: pairs, kpi: pairs, target: bot, warn: {above: 50}, labels: {desk: fx}}\n",
)


class World:
    """A pipeline and what tells its alerts, without a daemon."""

    def __init__(self, folder: Path, level: str = "warn") -> None:
        self.am, self.other = FakeAlertmanager(), FakeAlertmanager()
        self.main = MAIN.format(url=self.am.url, other=self.other.url, level=level)
        self.harness = PipelineHarness(folder, RULES, self.main)
        self.harness.rounds(3)
        self.offload = ThreadOffload(None, "sending")

    def run(self, act: Callable[[AlertRefresher, OutboxSender], Awaitable[Any]]) -> None:
        """As a daemon that has just begun does it."""

        async def begin() -> None:
            pipeline, clock = self.harness.pipeline, lambda: self.harness.now
            channels = self.harness.config.channels
            outbox = OutboxSender(pipeline.journal, pipeline.telemetry, clock, self.offload, channels, pace=0)
            refresher = AlertRefresher(pipeline, outbox, clock, self.offload, self.notify)
            await act(refresher, outbox)

        asyncio.run(begin())

    def notify(self, message: Message) -> None:
        with self.harness.journal.transaction() as tx:
            self.harness.pipeline.incident_manager.notify(tx, message, self.harness.now)

    def send(self) -> None:
        """The outbox alone."""
        self.run(lambda _, outbox: outbox.drain())

    def refresh(self) -> None:
        """The refresher alone, as after a start."""

        async def act(refresher: AlertRefresher, _: OutboxSender) -> None:
            await refresher.refresh()
            await refresher.wait()

        self.run(act)

    def names(self) -> list[str]:
        """What was told at last, by name and severity; `ends` of what is over."""
        return sorted(
            f"{one['labels']['alertname']} {one['labels']['severity']}{' ends' if 'endsAt' in one else ''}"
            for one in self.am.posted[-1]
        )

    def close(self) -> None:
        self.harness.journal.close()
        self.offload.close()
        self.am.close()
        self.other.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def test_a_trip_is_an_alert_at_once_and_its_end_is_told(world: World) -> None:
    world.harness.rounds(1, error_ratio=0.07)
    world.send()

    assert world.names() == ["errors warning"]
    told = world.am.alert(alertname="errors")
    assert told["labels"] | {"watchdog": ""} == {
        "alertname": "errors",
        "severity": "warning",
        "target": "bot",
        "incident": "1",
        "source": "bot",
        "watchdog": "",
    }
    assert told["annotations"]["summary"].startswith("errors: errors 7 %")
    assert "incident 1 on" in told["annotations"]["description"]

    world.harness.rounds(30, error_ratio=0.01)
    world.send()

    assert world.names() == ["errors warning ends"]
    assert world.am.alert(alertname="errors")["startsAt"] == told["startsAt"]


def test_what_fires_is_told_again_by_whoever_starts_and_what_ended_is_for_a_quarter_of_an_hour(world: World) -> None:
    world.harness.rounds(3, error_ratio=0.07)
    world.harness.restart(MINUTE)
    world.refresh()
    assert world.names() == ["errors warning"]

    world.harness.rounds(30, error_ratio=0.01)
    world.harness.restart(10 * MINUTE)
    world.refresh()
    assert world.names() == ["errors warning ends"]

    posted = len(world.am.posted)
    world.harness.restart(10 * MINUTE)
    world.refresh()
    assert len(world.am.posted) == posted


def test_each_threshold_that_fires_is_an_alert_of_its_own(world: World) -> None:
    world.harness.rounds(5, error_ratio=0.5)
    world.refresh()

    assert world.names() == ["errors critical", "errors warning"]


def test_labels_of_a_series_and_a_rule_are_the_alerts(world: World) -> None:
    for side, value in (("long", 8.0), ("short", 1.0)):
        labels = (("side", side), ("target", "x"))
        world.harness.labelled_series += [("left", labels, value), ("right", labels, 10.0)]
    world.harness.rounds(3)
    world.refresh()

    (told,) = world.am.posted[-1]
    wanted = {"alertname": "pairs", "side": "long", "desk": "fx", "severity": "warning", "target": "bot"}
    assert wanted.items() <= told["labels"].items()


def test_a_silenced_rule_is_not_told(world: World) -> None:
    world.harness.requests.silence_rule("errors", 10 * MINUTE, "ann", world.harness.now)
    world.harness.rounds(3, error_ratio=0.07)
    world.send()
    world.refresh()

    told = {one["labels"].get("topic", one["labels"]["alertname"]) for post in world.am.posted for one in post}
    assert told == {"silence of errors"}


def test_a_channel_hears_only_what_is_bad_enough(tmp_path: Path) -> None:
    world = World(tmp_path, "crit")
    world.harness.rounds(5, error_ratio=0.5)
    world.refresh()

    assert world.names() == ["errors critical"]
    world.close()


def test_a_rule_that_was_taken_away_is_over(world: World) -> None:
    world.harness.rounds(3, error_ratio=0.07)
    world.harness.values["tick_age"] = 100
    world.harness.rounds(3)
    world.refresh()
    assert world.names() == ["errors warning", "no-ticks critical"]

    world.harness.reload(
        RULES.replace("name: errors, kpi: errors, target: bot, warn", "name: other, kpi: errors, target: bot, warn"),
        world.main,
    )
    world.refresh()

    assert "errors warning ends" in world.names()
    assert "no-ticks critical" in world.names()


def test_what_is_no_rules_and_lasts_is_an_alert_until_it_is_over(world: World) -> None:
    world.notify(Message("warn", "source bot is cut", ("it is slow",), opens=("source bot",)))
    world.send()
    told = world.am.alert(alertname="TradingWatchdog", topic="source bot", severity="warning")
    assert told["annotations"]["summary"] == "source bot is cut"
    assert "endsAt" not in told

    world.harness.restart(MINUTE)
    world.refresh()
    assert world.names() == ["TradingWatchdog warning"]

    world.notify(Message("info", "source bot delivers again", ends=("source bot",)))
    world.send()
    assert world.names() == ["TradingWatchdog warning ends"]


def test_a_single_piece_of_news_is_told_once(world: World) -> None:
    world.notify(Message("warn", "the clock was set"))
    world.send()
    told = world.am.alert(alertname="TradingWatchdog")
    assert told["annotations"]["summary"].startswith("the clock was set")
    posted = len(world.am.posted)

    world.refresh()

    assert len(world.am.posted) == posted


def test_a_channel_that_hangs_holds_no_other_up(world: World) -> None:
    world.harness.rounds(3, error_ratio=0.07)
    world.am.responses.append(HANG)

    async def act(refresher: AlertRefresher, _: OutboxSender) -> None:
        await refresher.refresh()
        async with asyncio.timeout(60):
            while not world.other.posted:
                await asyncio.sleep(0.01)
        world.am.close()
        await refresher.wait()

    world.run(act)

    assert world.other.alert(alertname="errors")
    world.am = FakeAlertmanager()


def test_what_is_not_told_again_for_a_minute_is_told_on_the_others_and_when_it_is_again(world: World) -> None:
    world.harness.rounds(3, error_ratio=0.07)
    world.send()

    async def act(refresher: AlertRefresher, outbox: OutboxSender) -> None:
        async def tell(seconds: int) -> None:
            world.harness.now += seconds * SECOND
            refresher._due.clear()
            await refresher.refresh()
            await refresher.wait()

        for _ in range(2):
            world.am.queue_response(503)
            await tell(61)
            world.harness.rounds(1)
        await outbox.drain()
        told = world.other.alert(topic="channel am")
        assert told["annotations"]["summary"] == "channel am does not deliver"
        assert "HTTP 503" in told["annotations"]["description"]
        await tell(61)
        await outbox.drain()
        assert "endsAt" in world.other.alert(topic="channel am")

    world.run(act)
    counted = world.harness.pipeline.telemetry.notifications
    assert counted.labels("am", "not refreshed")._value.get() == 2
