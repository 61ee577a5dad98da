"""What people were told by one process, and what the next one finds to be over, is told by that."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.pipeline_harness import PipelineHarness
from watchdog.app import journal_health
from watchdog.app.ended_topics import tell_ended
from watchdog.app.journal_health import JournalHealth
from watchdog.core.model import Message
from watchdog.documents.problems import Problem
from watchdog.journal.errors import JournalUnavailableError
from watchdog.journal.lock import StateLock
from watchdog.journal.topics import BROKER, CONFIGURATION, DISK, channel_topic, failing_topic


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[PipelineHarness]:
    made = PipelineHarness(tmp_path)
    yield made
    made.journal.close()


def notify(harness: PipelineHarness, message: Message) -> None:
    with harness.journal.transaction() as tx:
        harness.pipeline.incident_manager.notify(tx, message, harness.now)


def tell(harness: PipelineHarness, *problems: Problem) -> None:
    tell_ended(harness.journal, harness.config, problems, lambda message: notify(harness, message))


def test_files_that_were_refused_and_are_read_at_a_start_are_said_to_be_in_force(harness: PipelineHarness) -> None:
    notify(harness, Message("warn", "Configuration not reloaded: 1 mistake", opens=(CONFIGURATION,)))
    tell(harness, Problem("rules.yaml", 1, 1, "what"))
    assert harness.message_titles() == ["Configuration not reloaded: 1 mistake"]
    for _ in range(2):
        tell(harness)

    assert harness.message_titles()[1:] == ["Configuration loaded: the files are in force again"]
    assert harness.message_titles("pager") == []


def test_what_acts_as_root_is_said_to_be_there_again_after_the_restart_that_was_asked_for(
    harness: PipelineHarness,
) -> None:
    notify(harness, Message("crit", "what acts as root has ended", opens=(BROKER,)))
    harness.restart()
    tell(harness)

    assert harness.message_titles("pager")[1:] == ["what acts as root is there again"]


def test_a_channel_that_did_not_deliver_and_is_taken_away_is_said_to_be_gone(harness: PipelineHarness) -> None:
    notify(harness, Message("warn", "channel mail does not deliver", opens=(channel_topic("mail"),)))
    tell(harness)

    assert harness.message_titles()[1:] == ["channel mail, which did not deliver, is no longer configured"]


def test_a_watchdog_that_was_ill_is_said_to_be_started_anew_and_not_to_be_well_by_a_reload(
    harness: PipelineHarness,
) -> None:
    notify(harness, Message("crit", "the watchdog is ill: its round fails each time", opens=(failing_topic("round"),)))
    tell(harness)
    assert len(harness.message_titles("pager")) == 1

    tell_ended(harness.journal, harness.config, (), lambda message: notify(harness, message), is_start=True)

    assert harness.message_titles("pager")[1:] == ["the watchdog was started anew, whose round failed each time"]


class Health:
    """The health of a journal, of one process after another."""

    def __init__(self, harness: PipelineHarness) -> None:
        self.harness = harness
        self.lock = StateLock(harness.folder)
        assert self.lock.acquire()
        self.alarms: list[str] = []
        self.begin()

    def begin(self) -> None:
        self.health = JournalHealth(
            self.harness.journal,
            self.lock,
            self,  # type: ignore[arg-type]  # all that is asked of an outbox here
            lambda message: notify(self.harness, message),
            lambda: self.harness.now,
            lambda _: None,
        )

    async def send_unjournaled(self, message: Message) -> None:
        self.alarms.append(message.title)


def test_an_alarm_past_the_journal_is_ended_by_the_next_process(
    harness: PipelineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    health = Health(harness)
    seconds = iter((0.0, 60.0))
    monkeypatch.setattr(journal_health, "time", SimpleNamespace(monotonic=lambda: next(seconds)))

    async def fail() -> None:
        for _ in range(2):
            health.health.record_failure(JournalUnavailableError("the disk is read-only", "io"))
        await health.health.wait_for_alarm()

    asyncio.run(fail())
    assert health.alarms == ["the watchdog cannot act: its journal takes nothing"]
    monkeypatch.undo()
    health.begin()
    for _ in range(2):
        assert health.health.check()

    assert harness.message_titles("pager") == harness.message_titles() == ["the journal can be written again"]


def test_a_disk_that_was_full_before_a_restart_is_said_to_have_room_after_it(harness: PipelineHarness) -> None:
    notify(harness, Message("crit", "the disk is full: the journal lives on its reserve", opens=(DISK,)))
    health = Health(harness)
    for _ in range(2):
        assert health.health.check()

    assert harness.message_titles("pager")[1:] == ["the disk has room again"]
