"""A journal that takes nothing for a while: nothing is sent twice, nobody waits long for it, and people are told."""

from __future__ import annotations

import asyncio
import functools
import sqlite3
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import ParamSpec

import pytest

from watchdog.core.errors import NotifyError
from watchdog.core.model import Message, Severity
from watchdog.core.offload import ThreadOffload
from watchdog.core.telemetry import Telemetry
from watchdog.journal.errors import JournalUnavailableError
from watchdog.journal.lock import StateLock
from watchdog.journal.outage import NOTIFY_AFTER, JournalOutage
from watchdog.journal.sqlite import SqliteJournal
from watchdog.notifiers.outbox import OutboxSender

P = ParamSpec("P")
NOW = 1_700_000_000_000


def async_test(test: Callable[P, Coroutine[None, None, None]]) -> Callable[P, None]:
    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


class FakeChannel:
    from_: Severity = "info"

    def __init__(self, fails: Exception | None = None) -> None:
        self.fails = fails
        self.said: list[str] = []
        self.asked = threading.Event()
        self.answers = threading.Event()
        self.answers.set()

    def send(self, message: Message) -> str | None:
        self.said.append(message.title)
        self.asked.set()
        assert self.answers.wait(60)
        if self.fails is not None:
            raise self.fails
        return "1"


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqliteJournal]:
    one = SqliteJournal(tmp_path / "journal.db", busy_timeout=0.05)
    yield one
    one.close()


@pytest.fixture
def foreign_connection(journal: SqliteJournal) -> Iterator[sqlite3.Connection]:
    """Somebody else's, on the same file."""
    one = sqlite3.connect(journal.path, isolation_level=None)
    yield one
    one.close()


def make_outbox(journal: SqliteJournal, **channels: FakeChannel) -> OutboxSender:
    return OutboxSender(journal, Telemetry("test"), lambda: NOW, ThreadOffload(4, "sending"), channels)


def post_message(journal: SqliteJournal, channel: str, title: str) -> None:
    with journal.transaction() as tx:
        tx.messages.enqueue(Message("crit", title), [channel], NOW)


@async_test
async def test_what_was_sent_and_could_not_be_written_down_is_not_sent_again(
    journal: SqliteJournal, foreign_connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("watchdog.notifiers.outbox._JOURNAL_RETRY_PAUSE", 0.01)
    chat = FakeChannel()
    chat.answers.clear()
    box = make_outbox(journal, chat=chat)
    post_message(journal, "chat", "tripped")
    running = asyncio.create_task(box.run())
    assert await asyncio.to_thread(chat.asked.wait, 60)

    foreign_connection.execute("BEGIN IMMEDIATE")
    chat.answers.set()
    await asyncio.sleep(0.5)
    assert not running.done()
    foreign_connection.execute("ROLLBACK")
    async with asyncio.timeout(60):
        while journal.messages.next_due():
            await asyncio.sleep(0.01)

    assert chat.said == ["tripped"]
    running.cancel()


@async_test
async def test_nothing_is_sent_that_could_not_be_marked_as_sent(
    journal: SqliteJournal, foreign_connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("watchdog.notifiers.outbox._JOURNAL_RETRY_PAUSE", 0.01)
    chat = FakeChannel()
    post_message(journal, "chat", "tripped")
    foreign_connection.execute("BEGIN IMMEDIATE")
    running = asyncio.create_task(make_outbox(journal, chat=chat).run())
    await asyncio.sleep(0.3)
    assert (chat.said, running.done()) == ([], False)

    foreign_connection.execute("ROLLBACK")
    assert await asyncio.to_thread(chat.asked.wait, 60)
    running.cancel()


@async_test
async def test_a_cry_reaches_every_channel_that_works_without_the_journal(
    journal: SqliteJournal, foreign_connection: sqlite3.Connection
) -> None:
    foreign_connection.execute("BEGIN IMMEDIATE")
    broken, odd, well = FakeChannel(NotifyError("refused")), FakeChannel(ValueError("a mistake")), FakeChannel()

    await make_outbox(journal, broken=broken, odd=odd, well=well).send_unjournaled(
        Message("crit", "the watchdog cannot act", ("why",))
    )

    assert well.said == broken.said == odd.said == ["the watchdog cannot act"]


def test_one_write_waits_for_a_stranger_and_those_after_it_hardly_until_he_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = SqliteJournal(tmp_path / "journal.db", busy_timeout=1.0)
    shell = sqlite3.connect(journal.path, isolation_level=None)
    asked: list[str] = []
    journal._db.set_trace_callback(asked.append)
    shell.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    for _ in range(3):
        with pytest.raises(JournalUnavailableError, match="locked"), journal.transaction():
            pass
    assert time.monotonic() - began >= 0.9
    assert asked.count("PRAGMA busy_timeout=50") == 1
    shell.execute("ROLLBACK")
    with journal.transaction() as tx:
        tx.messages.enqueue(Message("info", "well"), ["chat"], NOW)
    assert asked.count("PRAGMA busy_timeout=1000") == 1
    shell.close()
    journal.close()


def test_people_are_told_once_an_outage_and_only_of_one_that_lasts() -> None:
    outage, locked = JournalOutage(), JournalUnavailableError("database is locked", "busy")
    assert outage.record_failure(locked, 100.0)
    assert not outage.record_failure(locked, 101.0)
    assert not outage.should_notify(101.0)
    assert not outage.record_success()

    assert outage.record_failure(locked, 200.0)
    assert outage.duration(200.0 + NOTIFY_AFTER) == NOTIFY_AFTER
    assert outage.should_notify(200.0 + NOTIFY_AFTER)
    assert not outage.should_notify(201.0 + NOTIFY_AFTER)
    assert "sqlite3 shell" in (outage.reason or "")
    assert outage.record_success()
    assert outage.duration(300.0) == 0


def test_a_disk_that_takes_no_sign_of_life_is_said(tmp_path: Path) -> None:
    lock = StateLock(tmp_path)
    assert lock.acquire()
    assert lock.heartbeat() is None
    assert lock._fd is not None
    own = lock._fd
    with (tmp_path / "lock").open("rb") as only_read:
        lock._fd = only_read.fileno()
        assert isinstance(lock.heartbeat(), OSError)
    lock._fd = own
    lock.release()
