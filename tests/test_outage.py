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

from watchdog import notify
from watchdog.journal import Journal, Lock, outbox
from watchdog.journal.outage import PATIENCE, Outage
from watchdog.model import Message, NotifyError, Severity
from watchdog.notify import Outbox
from watchdog.offload import Offload
from watchdog.telemetry import Telemetry

P = ParamSpec("P")
NOW = 1_700_000_000_000


def on_a_loop(test: Callable[P, Coroutine[None, None, None]]) -> Callable[P, None]:
    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


class Channel:
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
        assert self.answers.wait(10)
        if self.fails is not None:
            raise self.fails
        return "1"


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    one = Journal(tmp_path / "journal.db", patience=0.05)
    yield one
    one.close()


@pytest.fixture
def shell(journal: Journal) -> Iterator[sqlite3.Connection]:
    """Somebody else's, on the same file."""
    one = sqlite3.connect(journal.path, isolation_level=None)
    yield one
    one.close()


def made(journal: Journal, **channels: Channel) -> Outbox:
    return Outbox(journal, Telemetry("test"), lambda: NOW, Offload(4, "sending"), channels)


def post(journal: Journal, channel: str, title: str) -> None:
    with journal.write() as db:
        outbox.post(db, [channel], "crit", title, [], NOW)


@on_a_loop
async def test_what_was_sent_and_could_not_be_written_down_is_not_sent_again(
    journal: Journal, shell: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "_AGAIN", 0.01)
    chat = Channel()
    chat.answers.clear()
    box = made(journal, chat=chat)
    post(journal, "chat", "tripped")
    running = asyncio.create_task(box.run())
    assert await asyncio.to_thread(chat.asked.wait, 10)

    shell.execute("BEGIN IMMEDIATE")
    chat.answers.set()
    await asyncio.sleep(0.5)
    assert not running.done()
    shell.execute("ROLLBACK")
    async with asyncio.timeout(10):
        while outbox.next_due(journal):
            await asyncio.sleep(0.01)

    assert chat.said == ["tripped"]
    running.cancel()


@on_a_loop
async def test_nothing_is_sent_that_could_not_be_marked_as_sent(
    journal: Journal, shell: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "_AGAIN", 0.01)
    chat = Channel()
    post(journal, "chat", "tripped")
    shell.execute("BEGIN IMMEDIATE")
    running = asyncio.create_task(made(journal, chat=chat).run())
    await asyncio.sleep(0.3)
    assert (chat.said, running.done()) == ([], False)

    shell.execute("ROLLBACK")
    assert await asyncio.to_thread(chat.asked.wait, 10)
    running.cancel()


@on_a_loop
async def test_a_cry_reaches_every_channel_that_works_without_the_journal(
    journal: Journal, shell: sqlite3.Connection
) -> None:
    shell.execute("BEGIN IMMEDIATE")
    broken, odd, well = Channel(NotifyError("refused")), Channel(ValueError("a mistake")), Channel()

    await made(journal, broken=broken, odd=odd, well=well).cry("the watchdog cannot act", ["why"])

    assert well.said == broken.said == odd.said == ["the watchdog cannot act"]


def test_one_write_waits_for_a_stranger_and_those_after_it_hardly_until_he_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path / "journal.db", patience=1.0)
    shell = sqlite3.connect(journal.path, isolation_level=None)
    asked: list[str] = []
    journal._db.set_trace_callback(asked.append)
    shell.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    for _ in range(3):
        with pytest.raises(sqlite3.OperationalError, match="locked"), journal.write():
            pass
    assert time.monotonic() - began >= 0.9
    assert asked.count("PRAGMA busy_timeout=50") == 1
    shell.execute("ROLLBACK")
    with journal.write() as db:
        outbox.post(db, ["chat"], "info", "well", [], NOW)
    assert asked.count("PRAGMA busy_timeout=1000") == 1
    shell.close()
    journal.close()


def test_people_are_told_once_an_outage_and_only_of_one_that_lasts() -> None:
    outage, locked = Outage(), sqlite3.OperationalError("database is locked")
    locked.sqlite_errorcode = sqlite3.SQLITE_BUSY
    assert outage.meets(locked, 100.0)
    assert not outage.meets(locked, 101.0)
    assert not outage.due(101.0)
    assert not outage.ends()

    assert outage.meets(locked, 200.0)
    assert outage.lasts(200.0 + PATIENCE) == PATIENCE
    assert outage.due(200.0 + PATIENCE)
    assert not outage.due(201.0 + PATIENCE)
    assert "sqlite3 shell" in (outage.why or "")
    assert outage.ends()
    assert outage.lasts(300.0) == 0


def test_a_disk_that_takes_no_sign_of_life_is_said(tmp_path: Path) -> None:
    lock = Lock(tmp_path)
    assert lock.take()
    assert lock.beat() is None
    assert lock._fd is not None
    own = lock._fd
    with (tmp_path / "lock").open("rb") as only_read:
        lock._fd = only_read.fileno()
        assert isinstance(lock.beat(), OSError)
    lock._fd = own
    lock.release()
