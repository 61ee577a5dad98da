"""What every journal promises, whatever database keeps it: through the interface alone, but for how it is held or damaged."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import pytest

from watchdog.core.chat import ChatEvent
from watchdog.core.model import Message
from watchdog.journal import open_journal
from watchdog.journal.errors import JournalError, JournalUnavailableError
from watchdog.journal.lock import StateLock
from watchdog.journal.storage import Journal, Transaction
from watchdog.journal.summaries import SummaryRecord

NOW = 1_700_000_000_000


class Implementation(Protocol):
    """One kind of journal, in a folder of its own."""

    def __init__(self, folder: Path) -> None: ...

    def open(self) -> Journal: ...

    @contextmanager
    def held_by_another_program(self) -> Iterator[None]:
        """Nothing can be written meanwhile."""
        yield

    def damage(self) -> None:
        """What is in it cannot be read any more."""


class SqliteImplementation:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self) -> Journal:
        return open_journal(self._folder, busy_timeout=0.01)

    @contextmanager
    def held_by_another_program(self) -> Iterator[None]:
        shell = sqlite3.connect(self._folder / "journal.db", isolation_level=None)
        shell.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            shell.close()

    def damage(self) -> None:
        shell = sqlite3.connect(self._folder / "journal.db")
        shell.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shell.close()
        path = self._folder / "journal.db"
        with path.open("r+b") as file:
            file.seek(4_096)
            file.write(b"\xa5" * (path.stat().st_size - 4_096))


IMPLEMENTATIONS: list[type[Implementation]] = [SqliteImplementation]


@pytest.fixture(params=IMPLEMENTATIONS, ids=lambda kind: kind.__name__)
def implementation(request: pytest.FixtureRequest, tmp_path: Path) -> Implementation:
    kind: type[Implementation] = request.param
    return kind(tmp_path / "state")


@pytest.fixture
def journal(implementation: Implementation) -> Iterator[Journal]:
    opened = implementation.open()
    yield opened
    opened.close()


def write(journal: Journal, text: str, *, defer_sync: bool = False) -> None:
    with journal.transaction(defer_sync=defer_sync) as tx:
        tx.timeline.add_event("noted", text, NOW)


@contextmanager
def failing_transaction(journal: Journal) -> Iterator[Transaction]:
    """One that ends with an error of its caller."""
    with suppress(LookupError), journal.transaction() as tx:
        yield tx
        raise LookupError


def texts(journal: Journal) -> list[str]:
    return [event.text for event in journal.timeline.list_events_after(0)]


# ─ all or nothing ─


def test_what_is_committed_is_there_after_opening_anew(implementation: Implementation) -> None:
    journal = implementation.open()
    write(journal, "one")
    journal.close()

    again = implementation.open()
    assert texts(again) == ["one"]
    again.close()


def test_an_error_leaves_nothing_of_its_transaction_in_any_table(journal: Journal) -> None:
    with failing_transaction(journal) as tx:
        incident = tx.incidents.open_incident("bot", "crit", "flapping", NOW)
        tx.timeline.add_event("tripped", "15 %", NOW, incident=incident)
        tx.messages.enqueue(Message("crit", "tripped", incident=incident), ["chat"], NOW)
        tx.machines.save_machines({("flapping", "crit", (), "bot"): {"phase": "firing"}})

    assert journal.incidents.list_incidents() == []
    assert texts(journal) == []
    assert journal.messages.next_due() == {}
    assert journal.machines.list_machines() == []
    write(journal, "afterwards")
    assert texts(journal) == ["afterwards"]


def test_a_nested_transaction_shares_the_fate_of_the_outer_one(journal: Journal) -> None:
    with failing_transaction(journal) as tx:
        tx.timeline.add_event("noted", "outer", NOW)
        write(journal, "inner")
    assert texts(journal) == []

    with journal.transaction() as tx:
        tx.timeline.add_event("noted", "outer", NOW)
        write(journal, "inner", defer_sync=True)
    assert texts(journal) == ["outer", "inner"]


def test_an_error_of_a_nested_transaction_that_is_caught_within_the_outer_one_undoes_nothing(journal: Journal) -> None:
    """Joined means one transaction: who catches an error decides for all of it."""
    with journal.transaction() as tx:
        tx.timeline.add_event("noted", "outer", NOW)
        with failing_transaction(journal) as inner:
            inner.timeline.add_event("noted", "inner", NOW)

    assert texts(journal) == ["outer", "inner"]


def test_reads_within_a_transaction_see_what_it_has_written_and_other_programs_do_not(
    implementation: Implementation, journal: Journal
) -> None:
    beside = implementation.open()
    with journal.transaction() as tx:
        number = tx.incidents.open_incident("bot", "crit", "flapping", NOW)
        current = journal.incidents.find_open("bot")
        assert current is not None
        assert current.id == number
        assert beside.incidents.find_open("bot") is None
    assert beside.incidents.find_open("bot") == current
    beside.close()


def test_a_transaction_that_has_ended_writes_nothing_more(journal: Journal) -> None:
    with journal.transaction() as tx:
        tx.timeline.add_event("noted", "in time", NOW)

    with pytest.raises(RuntimeError, match="has ended"):
        tx.timeline.add_event("noted", "too late", NOW)
    with pytest.raises(RuntimeError, match="has ended"):
        tx.incidents.open_incident("bot", "crit", "too late", NOW)
    assert texts(journal) == ["in time"]
    assert journal.incidents.list_incidents() == []


def test_another_thread_waits_for_the_end_of_a_transaction(journal: Journal) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def first() -> None:
        with failing_transaction(journal) as tx:
            tx.timeline.add_event("noted", "undone", NOW)
            inside.set()
            assert go_on.wait(30)

    threads = [threading.Thread(target=first), threading.Thread(target=write, args=(journal, "done"))]
    threads[0].start()
    assert inside.wait(30)
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join(30)

    assert texts(journal) == ["done"]


# ─ kill -9 ─


def commit_and_die(kind: type[Implementation], folder: Path, defer_sync: bool) -> None:
    journal = kind(folder).open()
    write(journal, "committed", defer_sync=defer_sync)
    with journal.transaction() as tx:
        tx.timeline.add_event("noted", "half done", NOW)
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("kind", IMPLEMENTATIONS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("defer_sync", [False, True], ids=["waiting for the disk", "deferred"])
def test_what_was_committed_survives_kill_9_and_nothing_else_does(
    tmp_path: Path, kind: type[Implementation], defer_sync: bool
) -> None:
    process = multiprocessing.get_context("spawn").Process(target=commit_and_die, args=(kind, tmp_path, defer_sync))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL

    journal = kind(tmp_path).open()
    assert texts(journal) == ["committed"]
    journal.close()


# ─ unavailable for a while, or for good ─


def test_a_journal_that_another_program_holds_is_unavailable_until_it_lets_go(
    implementation: Implementation, journal: Journal
) -> None:
    write(journal, "before")
    with implementation.held_by_another_program():
        with pytest.raises(JournalUnavailableError) as caught:
            write(journal, "lost")
        with pytest.raises(JournalUnavailableError):
            journal.probe()
        assert texts(journal) == ["before"]
        journal.check()
    assert caught.value.reason == "busy"
    assert caught.value.remedy in str(caught.value)

    journal.probe()
    write(journal, "after")
    assert texts(journal) == ["before", "after"]


def test_what_is_unavailable_is_not_damaged() -> None:
    """Who catches the one must not catch the other: an outage is waited out, and damage ends the daemon."""
    assert not issubclass(JournalUnavailableError, JournalError)
    assert not issubclass(JournalError, JournalUnavailableError)


def test_only_what_is_written_down_is_logged_and_counted(implementation: Implementation, journal: Journal) -> None:
    said: list[str] = []
    with journal.transaction() as tx:
        tx.on_commit(said.append, "outer")
        with journal.transaction() as inner:
            inner.on_commit(said.append, "inner")
        assert said == []
    assert said == ["outer", "inner"]

    with suppress(ZeroDivisionError), journal.transaction() as tx:
        tx.on_commit(said.append, "undone")
        raise ZeroDivisionError
    with implementation.held_by_another_program(), suppress(JournalUnavailableError), journal.transaction() as tx:
        tx.on_commit(said.append, "not to be written")
    write(journal, "afterwards")
    assert said == ["outer", "inner"]


def test_a_damaged_journal_is_refused_for_good(implementation: Implementation) -> None:
    journal = implementation.open()
    for number in range(200):
        write(journal, f"{number} " + "x" * 1_000)
    journal.close()
    implementation.damage()

    with pytest.raises(JournalError):
        implementation.open()


def test_who_was_taken_over_writes_nothing_more_and_says_so(
    implementation: Implementation, journal: Journal, tmp_path: Path
) -> None:
    lock = StateLock(tmp_path)
    assert lock.acquire()
    journal.fencing_lock = lock
    write(journal, "while it is ours")
    lock.release()

    with pytest.raises(JournalError, match="took over"):
        write(journal, "too late")
    with pytest.raises(JournalError, match="took over"):
        journal.check()
    beside = implementation.open()
    assert texts(beside) == ["while it is ours"]
    beside.close()


def test_a_probe_writes_nothing_and_a_check_of_a_sound_journal_says_nothing(journal: Journal) -> None:
    journal.probe()
    journal.check()

    assert texts(journal) == []
    assert journal.location


# ─ a clock that was set back ─


def test_what_was_written_for_a_time_to_come_was_just_now(journal: Journal) -> None:
    later = NOW + 3_600_000
    assert journal.targets.get_state("bot", later).epoch == later
    with journal.transaction() as tx:
        tx.targets.update_target("bot", unsettled=later)
        tx.messages.enqueue(Message("warn", "written by the wrong clock"), ["chat"], later)
        tx.suppressions.add_suppression("hold", "bot", later + 60_000, "ann", later)
        tx.peaks.save_peak("{}", "max", later + 1, 2.0)

    with journal.transaction() as tx:
        tx.handle_clock_jump(NOW)

    state = journal.targets.get_state("bot", NOW)
    assert (state.epoch, state.unsettled) == (NOW - 1, NOW)
    assert journal.messages.next_due() == {"chat": NOW}
    assert [hold.until for hold in journal.suppressions.list_unended()] == [NOW + 60_000]
    assert journal.peaks.list_peaks() == [("{}", NOW, 2.0)]


@pytest.mark.parametrize("step", [-30 * 86_400_000, -20_000, 20_000, 30 * 86_400_000])
def test_what_still_runs_moves_along_with_a_clock_that_is_set_and_what_is_over_stays(
    journal: Journal, step: int
) -> None:
    long_ago, hour = NOW - 100 * 86_400_000, 3_600_000
    assert journal.targets.get_state("bot", long_ago).epoch == long_ago
    with journal.transaction() as tx:
        tx.targets.update_target("bot", unsettled=NOW - 5)
        over = tx.incidents.open_incident("bot", "crit", "over", long_ago)
        tx.incidents.close_incident(over, long_ago + 1)
        now_open = tx.incidents.open_incident("bot", "crit", "open", NOW - 10)
        tx.messages.enqueue(Message("warn", "waits"), ["chat"], NOW - 10)
        tx.suppressions.add_suppression("hold", "bot", NOW + hour, "ann", NOW - 10)
        tx.peaks.save_peak("{}", "max", NOW - 7, 2.0)
        tx.timeline.add_event("note", "was then", NOW - 10)

    with journal.transaction() as tx:
        tx.follow_clock_step(step, NOW, hour)

    state, now = journal.targets.get_state("bot", NOW + step), NOW + step
    assert (state.epoch, state.unsettled) == (long_ago + step, now - 5)
    opened = {incident.id: incident.opened for incident in journal.incidents.list_incidents()}
    assert opened == {over: long_ago, now_open: now - 10}
    assert journal.messages.next_due() == {"chat": now - 10}
    (hold,) = journal.suppressions.list_unended()
    assert (hold.t, hold.until) == (now - 10, now + hour)
    assert journal.peaks.list_peaks() == [("{}", now - 7, 2.0)]
    assert journal.timeline.list_events_after(0)[-1].t == NOW - 10


@pytest.mark.parametrize("step", [-30 * 86_400_000, -3_600_000, 3_600_000])
def test_the_last_summary_moves_along_with_a_clock_that_is_set(journal: Journal, step: int) -> None:
    with journal.transaction() as tx:
        tx.summaries.save_last("daily", SummaryRecord(NOW - 10, NOW - 5))
        tx.summaries.save_last("weekly", SummaryRecord(NOW - 20, None))
        tx.follow_clock_step(step, NOW, 0)

    assert journal.summaries.find_last("daily") == (NOW - 10 + step, NOW - 5 + step)
    assert journal.summaries.find_last("weekly") == (NOW - 20 + step, None)


def test_a_summary_that_a_wrong_clock_has_told_in_the_time_to_come_was_told_just_now(journal: Journal) -> None:
    with journal.transaction() as tx:
        tx.summaries.save_last("daily", SummaryRecord(NOW + 10**10, NOW + 10**10))
        tx.handle_clock_jump(NOW)

    assert journal.summaries.find_last("daily") == (NOW, NOW)
    assert journal.summaries.find_last("weekly") is None


def test_incidents_of_a_time_are_those_that_touch_it(journal: Journal) -> None:
    with journal.transaction() as tx:
        numbers = [tx.incidents.open_incident(f"bot{n}", "crit", "x", NOW - n) for n in range(4)]
        tx.incidents.close_incident(numbers[2], NOW - 1)
        tx.incidents.close_incident(numbers[3], NOW - 2)

    assert [one.id for one in journal.incidents.list_incidents_since(NOW - 1)] == numbers[:3]


def test_a_name_that_is_no_utf8_stops_no_transaction_and_stays_what_it_is_in_json(journal: Journal) -> None:
    name = os.fsdecode(b"caf\xe9.json")

    with journal.transaction() as tx:
        tx.timeline.add_event("note", f"{name} was put back", NOW)
        tx.requests.add_request("ack", {"file": name}, name, NOW)

    (event,) = journal.timeline.list_events_after(0)
    assert event.text == r"caf\udce9.json was put back"
    assert [request.args for request in journal.requests.list_unanswered()] == [{"file": name}]


def test_what_is_said_is_kept_once_and_a_question_is_open_until_it_is_used_or_too_late(journal: Journal) -> None:
    event = ChatEvent("k1", "11", "Ann", "-1", "ack 1", NOW)
    with journal.transaction() as tx:
        number = tx.chat.add_event("chat", event, "ann", NOW)
        assert tx.chat.add_event("chat", event, "ann", NOW) is None
        assert tx.chat.add_event("other", event, "ann", NOW) is not None
        first = tx.chat.add_confirmation("chat", "ann", "resume", {"target": "bot"}, NOW + 10, NOW)
        second = tx.chat.add_confirmation("chat", "bob", "resume", {"target": "bot"}, NOW + 20, NOW)
    assert number is not None
    assert [record.channel for record in journal.chat.list_unanswered()] == ["chat", "other"]
    assert [one.id for one in journal.chat.list_open_confirmations(NOW + 10)] == [first, second]
    assert [one.id for one in journal.chat.list_open_confirmations(NOW + 11)] == [second]

    with journal.transaction() as tx:
        tx.chat.use_confirmation(second, "bob", NOW)
        tx.chat.answer_event(number, "done", NOW)
    assert journal.chat.list_open_confirmations(NOW + 11) == []
    assert [record.channel for record in journal.chat.list_unanswered()] == ["other"]


def test_it_is_known_which_channels_were_written_to_since(journal: Journal) -> None:
    assert journal.messages.last_message_id() == 0
    with journal.transaction() as tx:
        tx.messages.enqueue(Message("info", "first"), ["chat"], NOW)
        newest = journal.messages.last_message_id()
        tx.messages.enqueue(Message("info", "second"), ["pager", "other"], NOW)
        assert journal.messages.list_channels_after(newest) == {"pager", "other"}
    assert journal.messages.list_channels_after(0) == {"chat", "pager", "other"}


# ─ first messages of incidents ─


def test_whatever_is_written_is_seen_by_the_count_of_changes_and_reading_is_not(journal: Journal) -> None:
    before = journal.changes
    journal.incidents.list_incidents()
    journal.probe()
    assert journal.changes == before

    write(journal, "one")
    assert journal.changes > before


def test_the_first_message_that_arrived_is_found_with_what_stays_of_it(journal: Journal) -> None:
    with journal.transaction() as tx:
        incident = tx.incidents.open_incident("bot", "crit", "x", NOW)
        first = Message("crit", "tripped", ("12 %",), incident, about=("words", "place"))
        tx.messages.enqueue(first, ["chat", "mail"], NOW)
        tx.messages.enqueue(Message("warn", "level 2", (), incident), ["chat"], NOW)
    assert journal.messages.find_first_sent("chat", incident) is None
    assert journal.messages.find_about("chat", incident) == ("words", "place")
    assert journal.messages.find_about("pager", incident) is None

    (one,) = [each for each in journal.messages.due(NOW, "chat") if each.message.title == "tripped"]
    with journal.transaction() as tx:
        tx.messages.mark_sent(one.id, "17.1", NOW)
    found = journal.messages.find_first_sent("chat", incident)
    assert found is not None
    assert (found[0], found[1].title, found[1].about) == ("17.1", "tripped", ("words", "place"))
    assert journal.messages.find_first_sent("mail", incident) is None


def test_a_head_that_was_refused_is_tried_again_while_its_incident_is_open_and_one_that_is_over_is_not(
    journal: Journal,
) -> None:
    with journal.transaction() as tx:
        refused, over, closed = (tx.incidents.open_incident(name, "crit", "x", NOW) for name in ("a", "b", "c"))
        for incident in (refused, over, closed):
            tx.heads.begin_head("chat", incident, NOW)
        tx.heads.end_head("chat", refused, "gone")
        tx.heads.note_edit("chat", over, "shown", NOW, final=True)
        tx.heads.end_head("chat", closed, "gone")
        tx.incidents.close_incident(closed, NOW)
    assert journal.heads.list_heads() == []

    with journal.transaction() as tx:
        tx.heads.retry_heads("mail", NOW)
    assert journal.heads.list_heads() == []
    with journal.transaction() as tx:
        tx.heads.retry_heads(None, NOW)
    assert [head.incident for head in journal.heads.list_heads("chat")] == [refused]


def test_until_when_a_channel_asked_to_be_left_alone_is_known(journal: Journal) -> None:
    assert journal.messages.paused_until("chat") == 0
    with journal.transaction() as tx:
        tx.messages.pause_channel("chat", NOW + 5_000, NOW, NOW)
    assert journal.messages.paused_until("chat") == NOW + 5_000
