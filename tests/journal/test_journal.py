"""The journal: all of a transaction or nothing, through kill -9, and never a guess."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from watchdog.core.errors import WatchdogError
from watchdog.core.model import Labels, Message
from watchdog.journal import messages
from watchdog.journal.errors import JournalError, JournalUnavailableError
from watchdog.journal.lock import StateLock
from watchdog.journal.runs import PlanRun, Step, StepId
from watchdog.journal.schema import APPLICATION_ID, MIGRATIONS, SCHEMA_VERSION
from watchdog.journal.sqlite import SqliteJournal, SqliteTransaction
from watchdog.journal.targets import TargetState
from watchdog.rules.state_machine import MachineState

ROOT = Path(__file__).parents[2]
NOW = 1_700_000_000_000
HOUR = 3_600_000
BTC: Labels = (("pair", "BTC"),)

SHARED_SETTINGS = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def journal_path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.db"


@pytest.fixture
def journal(journal_path: Path) -> Iterator[SqliteJournal]:
    opened = SqliteJournal(journal_path)
    yield opened
    opened.close()


def event_texts(journal: SqliteJournal) -> list[str]:
    return [row["text"] for row in journal.query("SELECT text FROM event ORDER BY id")]


def add_event(tx: SqliteTransaction, text: str) -> None:
    tx.timeline.add_event("noted", text, NOW)


@contextmanager
def expect_rollback(
    journal: SqliteJournal, error: type[Exception], says: str | None = None
) -> Iterator[SqliteTransaction]:
    """A transaction that ends with an error."""
    with pytest.raises(error, match=says), journal.transaction() as tx:
        yield tx


# ─ all or nothing ─


def test_a_change_and_all_that_follows_from_it_is_one_transaction(journal: SqliteJournal) -> None:
    with expect_rollback(journal, LookupError) as tx:
        number = tx.incidents.open_incident("bot", "crit", "flapping", NOW)
        tx.incidents.add_trip(number, "flapping", "crit", (), "15 %", "hmm-v2", NOW)
        queue_run(tx, incident=number)
        tx.messages.enqueue(Message("crit", "tripped", incident=number), ["slack"], NOW)
        raise LookupError

    assert [
        journal.query(f"SELECT count(*) FROM {table}")[0][0] for table in ("incident", "trip", "run", "message")
    ] == [0] * 4


def test_a_transaction_within_a_transaction_shares_its_fate(journal: SqliteJournal) -> None:
    with expect_rollback(journal, LookupError) as outer:
        add_event(outer, "outer")
        with journal.transaction() as inner:
            add_event(inner, "inner")
        raise LookupError
    assert event_texts(journal) == []

    with journal.transaction() as outer:
        add_event(outer, "outer")
        with journal.transaction() as inner:
            add_event(inner, "inner")
    assert event_texts(journal) == ["outer", "inner"]


def test_what_is_not_committed_is_seen_by_nobody_else(journal_path: Path, journal: SqliteJournal) -> None:
    beside = SqliteJournal(journal_path)
    with journal.transaction() as tx:
        add_event(tx, "soon")
        assert event_texts(beside) == []

    assert event_texts(beside) == ["soon"]
    beside.close()


def test_after_a_commit_that_failed_the_next_one_counts_again(journal_path: Path, journal: SqliteJournal) -> None:
    """A constraint that is checked at the end leaves the transaction open; what followed would silently join it."""
    with expect_rollback(journal, sqlite3.IntegrityError) as tx:
        journal.execute("PRAGMA defer_foreign_keys=ON")
        tx.incidents.add_trip(99, "flapping", "crit", (), "of no incident", None, NOW)
    with journal.transaction() as tx:
        add_event(tx, "afterwards")
    journal.close()

    again = SqliteJournal(journal_path)
    assert event_texts(again) == ["afterwards"]
    assert again.query("SELECT * FROM trip") == []
    again.close()


def test_what_is_passed_over_on_a_full_disk_leaves_no_half_of_a_transaction(journal: SqliteJournal) -> None:
    (pages,) = journal.query("PRAGMA page_count")[0]
    journal.query(f"PRAGMA max_page_count={pages + 20}")

    def write_and_pass_over() -> None:
        with journal.transaction() as tx:
            tx.timeline.add_event("noted", "first", NOW)
            for text in ("x" * 1_000_000, "third"):
                with suppress(JournalUnavailableError), journal.transaction() as inner:
                    inner.timeline.add_event("noted", text, NOW)

    with pytest.raises(JournalUnavailableError, match="full"):
        write_and_pass_over()

    assert journal.timeline.list_events_after(0) == []
    with journal.transaction() as tx:
        tx.timeline.add_event("noted", "afterwards", NOW)
    assert [event.text for event in journal.timeline.list_events_after(0)] == ["afterwards"]


def test_a_full_disk_undoes_the_transaction_and_says_that_it_is_full(journal: SqliteJournal) -> None:
    (pages,) = journal.query("PRAGMA page_count")[0]
    journal.query(f"PRAGMA max_page_count={pages + 20}")

    with expect_rollback(journal, JournalUnavailableError, "full") as tx:
        for _ in range(1_000):
            add_event(tx, "x" * 1_000)

    assert event_texts(journal) == []
    with journal.transaction() as tx:
        add_event(tx, "there is room again")
    assert event_texts(journal) == ["there is room again"]


def test_a_mistake_in_our_own_sql_is_no_outage(journal: SqliteJournal) -> None:
    """It would be tried again for ever."""
    with pytest.raises(sqlite3.OperationalError, match="no such column"):
        journal.query("SELECT colour FROM event")
    with expect_rollback(journal, sqlite3.OperationalError, "no such table"):
        journal.execute("DELETE FROM nowhere")


def test_a_journal_that_another_program_holds_is_unavailable_and_not_damaged(journal_path: Path) -> None:
    journal = SqliteJournal(journal_path, busy_timeout=0.01)
    shell = sqlite3.connect(journal_path, isolation_level=None)
    shell.execute("BEGIN IMMEDIATE")

    with pytest.raises(JournalUnavailableError, match="locked — end the program"), journal.transaction() as tx:
        add_event(tx, "not written")
    journal.check()
    shell.execute("ROLLBACK")
    shell.close()
    with journal.transaction() as tx:
        add_event(tx, "written")

    assert event_texts(journal) == ["written"]
    journal.close()


def test_threads_write_one_after_the_other(journal: SqliteJournal) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def first() -> None:
        with expect_rollback(journal, LookupError) as tx:
            add_event(tx, "undone")
            inside.set()
            assert go_on.wait(30)
            raise LookupError

    def second() -> None:
        with journal.transaction() as tx:
            add_event(tx, "done")

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    assert inside.wait(30)
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join(30)

    assert event_texts(journal) == ["done"]


def test_what_is_committed_survives_a_power_cut(journal: SqliteJournal) -> None:
    """WAL with `synchronous=FULL` (2): the log is on disk before the commit returns."""
    assert journal.query("PRAGMA journal_mode")[0][0] == "wal"
    assert journal.query("PRAGMA synchronous")[0][0] == 2
    assert journal.query("PRAGMA foreign_keys")[0][0] == 1


def test_what_is_written_soon_waits_for_no_disk_and_what_comes_after_it_does(journal: SqliteJournal) -> None:
    def waits() -> int:
        return int(journal.query("PRAGMA synchronous")[0][0])

    with journal.transaction(defer_sync=True) as tx:
        tx.timeline.add_event("note", "soon", NOW)
        assert waits() == 1
    with journal.transaction(), journal.transaction(defer_sync=True):
        assert waits() == 2
    with pytest.raises(ZeroDivisionError), journal.transaction(defer_sync=True):
        1 / 0  # noqa: B018

    assert journal.query("PRAGMA synchronous")[0][0] == 2
    assert event_texts(journal) == ["soon"]


def test_everything_survives_closing_and_opening(journal_path: Path) -> None:
    journal = SqliteJournal(journal_path)
    with journal.transaction() as tx:
        number = tx.incidents.open_incident("bot", "crit", "flapping", NOW)
        tx.incidents.add_trip(number, "flapping", "crit", BTC, "15 %", None, NOW)
        run = queue_run(tx, incident=number)
        tx.runs.start_step(make_step(run))
        tx.messages.enqueue(
            Message(
                "crit",
                "tripped",
                (
                    "one",
                    "zwei – ✓",
                ),
                incident=number,
            ),
            ["slack"],
            NOW,
        )
        tx.machines.save_machines({("flapping", "crit", BTC, "bot"): asdict(MachineState(recent=(True, False)))})
        tx.peaks.save_peak("equity", "max", NOW, 1_000.0)

    def seen(journal: SqliteJournal) -> list[Any]:
        return [
            journal.incidents.find_open("bot"),
            journal.incidents.list_trips(number),
            journal.runs.get_run(run),
            journal.runs.list_steps(run),
            journal.messages.due(NOW),
            list(journal.machines.list_machines()),
            journal.peaks.list_peaks(),
        ]

    before = seen(journal)
    journal.close()
    again = SqliteJournal(journal_path)
    after = seen(again)
    again.close()

    assert after == before
    assert all(before)


# ─ kill -9 ─


@contextmanager
def run_program(script: str, *args: object) -> Iterator[subprocess.Popen[str]]:
    """A Python process that runs `script`; killed with -9 at the end, if it still lives."""
    with subprocess.Popen(
        [sys.executable, "-c", script, *map(str, args)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    text = process.stdout.readline().strip()
    assert text, "the child died"
    return text


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait(30)


MID_TRANSACTION_PROGRAM = """
import sys, time
from pathlib import Path
from watchdog.journal.sqlite import SqliteJournal
journal = SqliteJournal(Path(sys.argv[1]))
with journal.transaction() as tx:
    tx.timeline.add_event("noted", "committed", 1)
journal.query("PRAGMA cache_size=10")
with journal.transaction() as tx:
    for n in range(500):
        tx.timeline.add_event("noted", "x" * 1000, 1)
    print("in the middle", flush=True)
    time.sleep(600)
"""

WRITER_PROGRAM = """
import sys
from pathlib import Path
from watchdog.core.model import Message
from watchdog.journal.sqlite import SqliteJournal
journal = SqliteJournal(Path(sys.argv[1]))
for n in range(1_000_000):
    with journal.transaction() as tx:
        number = tx.incidents.open_incident(f"bot {n}", "crit", "flapping", 1)
        tx.messages.enqueue(Message("crit", "tripped", incident=number), ["slack", "telegram"], 1)
    print(n, flush=True)
"""


def test_kill_9_in_the_middle_of_a_transaction_leaves_nothing_of_it(journal_path: Path) -> None:
    with run_program(MID_TRANSACTION_PROGRAM, journal_path) as process:
        assert read_line(process) == "in the middle"
        assert journal_path.with_name("journal.db-wal").stat().st_size > 100_000  # much of it is on the disk already
        kill(process)

    journal = SqliteJournal(journal_path)
    assert event_texts(journal) == ["committed"]
    with journal.transaction() as tx:
        add_event(tx, "and on it goes")
    assert event_texts(journal) == ["committed", "and on it goes"]
    journal.close()


def test_kill_9_at_any_moment_leaves_whole_transactions_and_every_one_that_was_reported(journal_path: Path) -> None:
    with run_program(WRITER_PROGRAM, journal_path) as process:
        reported = 0
        while reported < 50:
            reported = int(read_line(process))
        kill(process)
        assert process.stdout is not None
        reported = max([reported, *(int(text) for text in process.stdout.read().split("\n")[:-1] if text)])

    journal = SqliteJournal(journal_path)
    whole = journal.query(
        "SELECT i.id, count(m.id) FROM incident i LEFT JOIN message m ON m.incident = i.id GROUP BY i.id"
    )
    journal.close()
    assert {row[1] for row in whole} == {2}
    assert len(whole) >= reported + 1


# ─ files that are not usable ─


def make_foreign_database(journal_path: Path) -> None:
    db = sqlite3.connect(journal_path)
    db.execute("CREATE TABLE theirs (x)")
    db.commit()
    db.close()


def make_unknown_schema(journal_path: Path) -> None:
    """A journal of many pages."""
    journal = SqliteJournal(journal_path)
    with journal.transaction() as tx:
        for _ in range(300):
            add_event(tx, "x" * 1_000)
    journal.close()


def make_newer_schema(journal_path: Path) -> None:
    SqliteJournal(journal_path).close()
    db = sqlite3.connect(journal_path)
    db.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")
    db.close()


def make_garbage(journal_path: Path) -> None:
    make_unknown_schema(journal_path)
    with journal_path.open("r+b") as file:
        file.seek(40 * 4_096)
        file.write(b"\xa5" * 4_096 * 10)


def make_truncated(journal_path: Path) -> None:
    make_unknown_schema(journal_path)
    os.truncate(journal_path, journal_path.stat().st_size // 2)


UNUSABLE_FILES: list[tuple[Callable[[Path], object], str]] = [
    (make_foreign_database, "some other program's database — name another state folder"),
    (make_newer_schema, rf"written by a newer trading-watchdog \(schema {SCHEMA_VERSION + 1}\) — upgrade"),
    (lambda path: path.write_text("not a database at all " * 100), "restore it from a backup, or move it away"),
    (make_garbage, "restore it from a backup, or move it away"),
    (make_truncated, "restore it from a backup, or move it away"),
    (lambda path: path.mkdir(), "check the folder's owner, its mode and the room on its disk"),
]


@pytest.mark.parametrize(
    ("spoil", "cure"), UNUSABLE_FILES, ids=["foreign", "newer", "text", "scribbled upon", "truncated", "a folder"]
)
def test_a_file_that_cannot_be_trusted_is_refused_with_the_cure_and_left_alone(
    tmp_path: Path, spoil: Callable[[Path], object], cure: str
) -> None:
    path = tmp_path / "journal.db"
    spoil(path)
    before = path.read_bytes() if path.is_file() else b""

    with pytest.raises(JournalError, match=cure) as caught:
        SqliteJournal(path)

    assert str(path) in str(caught.value)
    assert (path.read_bytes() if path.is_file() else b"") == before


def test_a_state_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file stands in the way")

    with pytest.raises(JournalError, match="check the folder's owner"):
        SqliteJournal(tmp_path / "state" / "journal.db")


def test_a_new_journal_is_marked_as_ours(journal_path: Path, journal: SqliteJournal) -> None:
    assert journal.query("PRAGMA application_id")[0][0] == APPLICATION_ID
    assert journal.query("PRAGMA user_version")[0][0] == SCHEMA_VERSION


def test_two_who_create_the_journal_at_once_both_can_use_it(tmp_path: Path) -> None:
    """The daemon and a command line, at the first start."""
    for attempt in range(5):
        path, gate = tmp_path / str(attempt) / "journal.db", threading.Barrier(4)
        failures: list[Exception] = []

        def create(path: Path = path, gate: threading.Barrier = gate, failures: list[Exception] = failures) -> None:
            gate.wait(30)
            try:
                SqliteJournal(path).close()
            except JournalError as error:
                failures.append(error)

        threads = [threading.Thread(target=create) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)

        assert failures == []


def test_a_journal_of_an_older_version_is_copied_then_brought_up_to_date(journal_path: Path) -> None:
    journal_path.parent.mkdir()
    db = sqlite3.connect(journal_path)
    db.executescript(MIGRATIONS[0] + f"; PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version=1")
    db.execute(
        "INSERT INTO run (target, plan, kind, text, place, by, status, queued)"
        " VALUES ('bot', 'p', 'halt', '', '', 'me', 'ended', 1)"
    )
    db.commit()
    db.close()
    before = journal_path.read_bytes()

    with pytest.raises(JournalError, match="restart the service"):
        SqliteJournal(journal_path, migrate=False)
    assert journal_path.read_bytes() == before

    journal = SqliteJournal(journal_path)
    assert journal.runs.get_run(1).plan == "p"
    assert journal.query("PRAGMA user_version")[0][0] == SCHEMA_VERSION
    journal.close()
    kept = sqlite3.connect(journal_path.with_name("journal-v1.db"))
    assert kept.execute("PRAGMA user_version").fetchone() == (1,)
    assert kept.execute("SELECT plan FROM run").fetchall() == [("p",)]
    kept.close()


def test_an_older_journal_that_cannot_be_copied_is_left_as_it_is(journal_path: Path) -> None:
    journal_path.parent.mkdir()
    db = sqlite3.connect(journal_path)
    db.executescript(MIGRATIONS[0] + f"; PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version=1")
    db.close()
    journal_path.with_name("journal-v1.db").mkdir()

    with pytest.raises(JournalError, match="not changed without a copy"):
        SqliteJournal(journal_path)

    db = sqlite3.connect(journal_path)
    assert db.execute("PRAGMA user_version").fetchone() == (1,)
    db.close()


def test_a_journal_that_turns_out_to_be_damaged_takes_nothing_more(journal_path: Path) -> None:
    make_unknown_schema(journal_path)
    journal = SqliteJournal(journal_path)
    with journal_path.open("r+b") as file:
        file.seek(40 * 4_096)
        file.write(b"\xa5" * 4_096 * 10)
    journal.query("PRAGMA shrink_memory")  # what was read at the opening is read anew

    with pytest.raises(JournalError, match="restore it from a backup"):
        event_texts(journal)

    with pytest.raises(JournalError, match="restore it from a backup"), journal.transaction():
        raise AssertionError
    with pytest.raises(JournalError):
        journal.check()
    journal.close()


def test_a_journal_that_was_moved_away_while_in_use_is_noticed(journal_path: Path, journal: SqliteJournal) -> None:
    journal.check()
    journal_path.rename(journal_path.with_name("elsewhere.db"))

    with pytest.raises(JournalError, match="moved, deleted or replaced"):
        journal.check()


# ─ a full disk ─


FULL_DISK_PROGRAM = """
import os, sys
from pathlib import Path
from watchdog.journal.sqlite import SqliteJournal
state = Path(sys.argv[1])
journal = SqliteJournal(state / "journal.db")
assert journal.disk_reserve.fill() and not journal.disk_reserve.fill()
with (state / "junk").open("wb", buffering=0) as junk:
    try:
        while True:
            junk.write(bytes(4096))
    except OSError as full:
        print(full.strerror)
for number in range(200):
    with journal.transaction() as tx:
        tx.timeline.add_event("noted", "x" * 10_000, number)
print(len(journal.query("SELECT id FROM event")), journal.disk_reserve.exists)
(state / "junk").unlink()
print(journal.disk_reserve.fill())
"""


def test_on_a_full_disk_the_reserve_is_given_up_and_what_must_be_written_is_written(tmp_path: Path) -> None:
    """A file system of 40 MB in a mount namespace of its own."""
    mount = f'mount -t tmpfs -o size=40m none {tmp_path} && exec {sys.executable} -c "$0" {tmp_path}'
    try:
        subprocess.run(["unshare", "-m", "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root may mount a disk to fill")
    ran = subprocess.run(
        ["unshare", "-m", "sh", "-c", mount, FULL_DISK_PROGRAM], cwd=ROOT, capture_output=True, text=True, timeout=60
    )

    assert ran.stdout.splitlines() == ["No space left on device", "200 False", "True"], ran.stderr


# ─ the lock ─


LOCK_HOLDER_PROGRAM = """
import sys, time
from pathlib import Path
from watchdog.journal.lock import StateLock
lock = StateLock(Path(sys.argv[1]))
print(lock.acquire(), flush=True)
time.sleep(600)
"""


def test_the_lock_excludes_a_second_process_names_its_holder_and_dies_with_it(tmp_path: Path) -> None:
    mine = StateLock(tmp_path)
    with run_program(LOCK_HOLDER_PROGRAM, tmp_path) as process:
        assert read_line(process) == "True"
        assert not mine.acquire()
        assert mine.holder_pid() == process.pid
        kill(process)

        assert mine.acquire()
        assert mine.holder_pid() == os.getpid()
    mine.release()


def test_the_lock_excludes_a_second_daemon_of_the_same_process_too(tmp_path: Path) -> None:
    first, second = StateLock(tmp_path / "state"), StateLock(tmp_path / "state")

    assert first.acquire()
    assert not second.acquire()
    assert not first.acquire()
    first.release()
    assert second.acquire()
    second.release()


def test_a_state_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(WatchdogError, match=r"file/state cannot be used: Not a directory — check its path \(state:"):
        StateLock(tmp_path / "file" / "state").acquire()


def test_the_lock_of_one_that_shows_signs_of_life_is_not_taken_over(tmp_path: Path) -> None:
    with run_program(LOCK_HOLDER_PROGRAM, tmp_path) as process:
        assert read_line(process) == "True"

        assert not StateLock(tmp_path).take_over()
        assert process.poll() is None


def test_who_hangs_is_fenced_off_and_ended_and_its_journal_takes_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("watchdog.journal.lock.STALE_AFTER", -1.0)
    old, new = StateLock(tmp_path), StateLock(tmp_path)
    with run_program(LOCK_HOLDER_PROGRAM, tmp_path) as process:
        assert read_line(process) == "True"
        assert new.take_over()
        assert process.wait(30) == -signal.SIGKILL
    assert new.is_held()
    monkeypatch.setattr(os, "kill", lambda *_: None)  # one that cannot be ended
    journal = SqliteJournal(tmp_path / "journal.db")
    journal.fencing_lock = new
    with journal.transaction() as tx:
        add_event(tx, "while it is ours")

    assert old.take_over()

    assert not new.is_held()
    with pytest.raises(JournalError, match="took over"), journal.transaction():
        raise AssertionError
    with pytest.raises(JournalError, match="took over"):
        journal.check()
    assert not StateLock(tmp_path).acquire()
    old.release()


def test_the_lock_of_nobody_has_no_holder(tmp_path: Path) -> None:
    lock = StateLock(tmp_path)

    assert lock.holder_pid() is None
    (tmp_path / "lock").write_text("999999999\n")
    assert lock.holder_pid() is None
    (tmp_path / "lock").write_text("")
    assert lock.holder_pid() is None


# ─ incidents ─


def test_a_target_has_one_open_incident(journal: SqliteJournal) -> None:
    with journal.transaction() as tx:
        first = tx.incidents.open_incident("bot", "warn", "flapping", NOW)
        tx.incidents.open_incident("other", "warn", "flapping", NOW)
    with expect_rollback(journal, sqlite3.IntegrityError) as tx:
        add_event(tx, "undone with it")
        tx.incidents.open_incident("bot", "crit", "again", NOW)

    assert event_texts(journal) == []
    with journal.transaction() as tx:
        tx.incidents.raise_to_critical(first)
        tx.incidents.close_incident(first, NOW + 1)
        tx.incidents.close_incident(first, NOW + 2)
        second = tx.incidents.open_incident("bot", "crit", "again", NOW + 3)
    current = journal.incidents.find_open("bot")
    assert current is not None
    assert (current.id, current.opened, current.closed) == (second, NOW + 3, None)
    known = journal.incidents.find_incident(first)
    assert known is not None
    assert (known.id, known.severity, known.closed) == (first, "crit", NOW + 1)
    assert journal.incidents.find_incident(99) is None
    assert [i.id for i in journal.incidents.list_incidents(limit=2)] == [second, second - 1]
    assert journal.incidents.find_open("nobody") is None


def test_a_trip_is_cleared_for_its_own_label_set_and_keeps_its_first_end(journal: SqliteJournal) -> None:
    with journal.transaction() as tx:
        number = tx.incidents.open_incident("bot", "crit", "x", NOW)
        tx.incidents.add_trip(number, "r", "crit", BTC, "first", "halt", NOW)
        tx.incidents.add_trip(number, "r", "crit", (), "other labels", None, NOW + 1)
        tx.incidents.clear_trip(number, "r", "crit", BTC, NOW + 2)
        tx.incidents.add_trip(number, "r", "crit", BTC, "again", "halt", NOW + 3)
        tx.incidents.clear_trip(number, "r", "crit", BTC, NOW + 4)

    assert [(t.labels, t.reason, t.plan, t.cleared) for t in journal.incidents.list_trips(number)] == [
        (BTC, "first", "halt", NOW + 2),
        ((), "other labels", None, None),
        (BTC, "again", "halt", NOW + 4),
    ]


def test_a_trip_belongs_to_an_incident(journal: SqliteJournal) -> None:
    with expect_rollback(journal, sqlite3.IntegrityError) as tx:
        tx.incidents.add_trip(99, "r", "crit", (), "of no incident", None, NOW)


def test_a_machine_is_read_back_as_it_was_and_forgotten_when_told(journal: SqliteJournal) -> None:
    machine = asdict(MachineState("pending", NOW, NOW, 7, (True, False), NOW, "bad", reason="“ü”"))
    with journal.transaction() as tx:
        tx.machines.save_machines({("r", "crit", BTC, "bot"): machine, ("r", "warn", (), "bot"): machine})
        tx.machines.save_machines({("r", "crit", BTC, "bot"): {**machine, "held": 8}, ("r", "warn", (), "bot"): None})

    ((key, state),) = journal.machines.list_machines()
    assert key == ("r", "crit", BTC, "bot")
    assert MachineState(**{**state, "recent": tuple(state["recent"])}) == MachineState(**{**machine, "held": 8})


def test_the_epoch_of_a_target_starts_when_it_is_first_seen(journal: SqliteJournal) -> None:
    assert journal.targets.get_state("bot", NOW) == TargetState("bot", NOW)
    with journal.transaction() as tx:
        tx.targets.update_target("bot", latched=NOW + 5, latch_why="exhausted")

    assert journal.targets.get_state("bot", NOW + 9) == TargetState("bot", NOW, NOW + 5, "exhausted")


@SHARED_SETTINGS
@given(samples=st.lists(st.tuples(st.integers(0, 4 * HOUR), st.floats(-1e6, 1e6)), min_size=1, max_size=30))
@pytest.mark.parametrize(("side", "worst"), [("max", max), ("min", min)])
def test_the_peak_of_each_hour_is_kept(
    journal: SqliteJournal, side: str, worst: Callable[..., float], samples: list[tuple[int, float]]
) -> None:
    with journal.transaction() as tx:
        journal.execute("DELETE FROM peak")
        for t, v in samples:
            tx.peaks.save_peak("equity", side, t, v)
            tx.peaks.save_peak("other", "max" if side == "min" else "min", t, 0.0)
    kept = [(t, v) for series, t, v in journal.peaks.list_peaks() if series == "equity"]

    hours = {t // HOUR for t, _ in samples}
    assert [t for t, _ in kept] == sorted(t for t, _ in kept)
    assert set(kept) <= set(samples)
    assert sorted(v for _, v in kept) == sorted(worst(v for t, v in samples if t // HOUR == hour) for hour in hours)


def test_the_timeline_of_an_incident_is_in_order(journal: SqliteJournal) -> None:
    with journal.transaction() as tx:
        number = tx.incidents.open_incident("bot", "crit", "x", NOW)
        tx.timeline.add_event("tripped", "one", NOW, incident=number)
        tx.timeline.add_event("noted", "of no incident", NOW)
        tx.timeline.add_event("queued", "two", NOW, incident=number, run=7, target="bot")

    assert [(event.t, event.kind, event.text) for event in journal.timeline.list_events(number)] == [
        (NOW, "tripped", "one"),
        (NOW, "queued", "two"),
    ]


def test_the_timeline_can_be_followed_by_run_and_by_kind(journal: SqliteJournal) -> None:
    assert journal.timeline.last_event_id() == 0
    with journal.transaction() as tx:
        tx.timeline.add_event("queued", "one", NOW, run=7)
        tx.timeline.add_event("baseline", "two", NOW)
        tx.timeline.add_event("step", "three", NOW, run=7)

    def texts(after: int, **filters: Any) -> list[str]:
        return [event.text for event in journal.timeline.list_events_after(after, **filters)]

    assert journal.timeline.last_event_id() == 3
    assert texts(0) == ["one", "two", "three"]
    assert texts(1) == ["two", "three"]
    assert texts(1, run=7) == ["three"]
    assert texts(0, kind="baseline") == ["two"]
    assert texts(0, run=7, kind="baseline") == []


# ─ runs ─


def queue_run(tx: SqliteTransaction, **fields: Any) -> int:
    known: dict[str, Any] = {
        "incident": None,
        "target": "bot",
        "plan": "hmm-v2",
        "kind": "repair",
        "text": "{}",
        "place": "{}",
        "by": "rule flapping",
        "now": NOW,
    }
    return tx.runs.queue_run(**{**known, **fields})


def make_step(run: int, n: int = 0, **fields: Any) -> Step:
    known: dict[str, Any] = {
        "phase": "level",
        "level": 0,
        "say": "restart",
        "status": "started",
        "before": {"pid": 7},
        "detail": "",
        "started": NOW,
        "ended": None,
        "child_pid": None,
        "child_started": None,
    }
    return Step(run=run, n=n, **{**known, **fields})


def test_a_run_is_read_back_as_it_was_queued(journal: SqliteJournal) -> None:
    with journal.transaction() as tx:
        run = queue_run(tx, level=2, text='{"kind": "repair"}')

    assert journal.runs.get_run(run) == PlanRun(
        run,
        None,
        "bot",
        "hmm-v2",
        "repair",
        '{"kind": "repair"}',
        "{}",
        "rule flapping",
        "queued",
        None,
        "",
        2,
        0,
        NOW,
        None,
        None,
    )


def test_halts_come_first_then_what_is_under_way_then_the_order_of_queueing(journal: SqliteJournal) -> None:
    with journal.transaction() as tx:
        ended = queue_run(tx)
        first, second, at_work = queue_run(tx), queue_run(tx), queue_run(tx)
        halt = queue_run(tx, kind="halt", plan="halt")
        queue_run(tx, target="other")
        tx.runs.update_run(ended, status="ended", outcome="proven", ended=NOW)
        tx.runs.update_run(at_work, status="running")

    assert [run.id for run in journal.runs.list_unfinished("bot")] == [halt, at_work, first, second]


def test_runs_since_a_moment_are_those_that_ended_then_or_later_and_those_at_work(journal: SqliteJournal) -> None:
    with journal.transaction() as tx:
        ended = [queue_run(tx), queue_run(tx, kind="halt"), queue_run(tx)]
        for run, at in zip(ended, (NOW - 1, NOW, NOW + 1), strict=True):
            tx.runs.update_run(run, status="ended", outcome="proven", ended=at)
        at_work = queue_run(tx, now=NOW - 100)
        queue_run(tx, target="other")

    assert [run.id for run in journal.runs.list_ended_since("bot", NOW)] == [*ended[1:], at_work]


def test_events_of_a_kind_about_a_target_are_those_after_a_moment(journal: SqliteJournal) -> None:
    with journal.transaction() as tx:
        for t, kind, target in ((0, "a", "bot"), (1, "a", "bot"), (2, "b", "bot"), (3, "a", "other"), (4, "a", "bot")):
            tx.timeline.add_event(kind, f"{kind}{t}", NOW + t, target=target)

    assert [event.text for event in journal.timeline.list_events_since("bot", "a", NOW)] == ["a1", "a4"]


def test_budgets_count_what_rules_started_and_what_came_of_it(journal: SqliteJournal) -> None:
    with journal.transaction() as tx:
        counted = [queue_run(tx, now=NOW), queue_run(tx, now=NOW - 10), queue_run(tx, now=NOW, kind="halt")]
        tx.runs.update_run(counted[1], status="ended", outcome="exhausted", ended=NOW)
        tx.runs.update_run(counted[0], approve_by=NOW + 5)  # waits for a person
        queue_run(tx, by="person anna")
        queue_run(tx, target="other")
        for outcome in ("not-needed", "dry-run", "overtaken", "aborted"):  # ahead of their first step
            tx.runs.update_run(queue_run(tx), status="ended", outcome=outcome, ended=NOW)
        unapproved = queue_run(tx)
        tx.runs.update_run(unapproved, status="ended", outcome="exhausted", approve_by=NOW, ended=NOW)
        tx.runs.update_run(queue_run(tx, now=NOW - 20), status="ended", outcome="proven", ended=NOW - 10)

    assert [run.id for run in journal.runs.list_recent_automatic("bot", NOW - 5)] == counted


def test_the_runs_of_an_incident_are_in_order(journal: SqliteJournal) -> None:
    with journal.transaction() as tx:
        number = tx.incidents.open_incident("bot", "crit", "x", NOW)
        mine = [queue_run(tx, incident=number), queue_run(tx, incident=number, kind="halt")]
        queue_run(tx)

    assert [run.id for run in journal.runs.list_for_incident(number)] == mine


def test_a_step_says_started_before_the_act_and_its_end_after(journal: SqliteJournal) -> None:
    with journal.transaction() as tx:
        run = queue_run(tx)
        tx.runs.start_step(make_step(run))
        tx.runs.record_child(StepId(run, "level", 0, 0), 4711, 12.5)

    (started,) = journal.runs.list_steps(run)
    assert started == make_step(run, child_pid=4711, child_started=12.5)

    with journal.transaction() as tx:
        tx.runs.end_step(StepId(run, "level", 0, 0), "done", "restarted", NOW + 1)
    (ended,) = journal.runs.list_steps(run)
    assert (ended.status, ended.detail, ended.ended, ended.before) == ("done", "restarted", NOW + 1, {"pid": 7})


def test_a_second_try_of_a_step_replaces_the_first(journal: SqliteJournal) -> None:
    with journal.transaction() as tx:
        run = queue_run(tx)
        tx.runs.start_step(make_step(run))
        tx.runs.record_child(StepId(run, "level", 0, 0), 4711, 12.5)
        tx.runs.end_step(StepId(run, "level", 0, 0), "failed", "no", NOW + 1)
        tx.runs.start_step(make_step(run, before=None, started=NOW + 2))

    assert journal.runs.list_steps(run) == [make_step(run, before=None, started=NOW + 2)]


def test_steps_are_told_in_the_order_they_were_done(journal: SqliteJournal) -> None:
    with journal.transaction() as tx:
        run = queue_run(tx)
        for phase, level, n, started in [
            ("proven", 0, 0, NOW + 3),
            ("level", 1, 0, NOW + 4),
            ("level", 0, 1, NOW + 2),
            ("level", 0, 0, NOW + 2),
            ("before", 0, 0, NOW + 2),
        ]:
            tx.runs.start_step(make_step(run, n, phase=phase, level=level, started=started))

    assert [(s.phase, s.level, s.n) for s in journal.runs.list_steps(run)] == [
        ("before", 0, 0),
        ("level", 0, 0),
        ("level", 0, 1),
        ("proven", 0, 0),
        ("level", 1, 0),
    ]


# ─ messages ─


def due_messages(journal: SqliteJournal, now: int = NOW, channel: str | None = None) -> list[str]:
    return [f"{letter.channel}: {letter.message.title}" for letter in journal.messages.due(now, channel)]


def test_each_channel_gets_a_letter_of_its_own(journal: SqliteJournal) -> None:
    with journal.transaction() as tx:
        tx.messages.enqueue(
            Message(
                "warn",
                "hello",
                (
                    "line",
                    "– ✓",
                ),
            ),
            ["slack", "telegram"],
            NOW,
        )

    letter, other = journal.messages.due(NOW)
    assert letter == messages.OutboxMessage(
        letter.id, "slack", Message("warn", "hello", ("line", "– ✓"), key=str(letter.id)), NOW, 0
    )
    assert other.channel == "telegram"
    assert due_messages(journal, NOW, "telegram") == ["telegram: hello"]
    assert due_messages(journal, NOW - 1) == []


def test_nothing_overtakes_an_earlier_message_of_its_channel_and_incident(journal: SqliteJournal) -> None:
    with journal.transaction() as tx:
        one, two = (tx.incidents.open_incident(target, "crit", "x", NOW) for target in ("bot", "other"))
        for title in ("first", "second"):
            tx.messages.enqueue(Message("info", f"{title} of one", incident=one), ["slack", "telegram"], NOW)
            tx.messages.enqueue(Message("info", f"{title} of none"), ["slack"], NOW)
        tx.messages.enqueue(Message("info", "first of two", incident=two), ["slack"], NOW)
    ids = {row["title"] + row["channel"]: row["id"] for row in journal.query("SELECT * FROM message")}

    assert due_messages(journal) == [
        "slack: first of one",
        "telegram: first of one",
        "slack: first of none",
        "slack: first of two",
    ]
    with journal.transaction() as tx:
        tx.messages.mark_postponed(ids["first of oneslack"], NOW + 1_000, "busy")
        tx.messages.mark_sent(ids["first of onetelegram"], "42", NOW)
        tx.messages.mark_failed(ids["first of noneslack"], "no such chat", NOW)
    assert due_messages(journal) == ["telegram: second of one", "slack: second of none", "slack: first of two"]
    assert due_messages(journal, NOW + 1_000)[0] == "slack: first of one"


def test_what_is_critical_waits_for_nothing_but_what_is_critical_and_what_is_urgent_goes_with_it(
    journal: SqliteJournal,
) -> None:
    with journal.transaction() as tx:
        one = tx.incidents.open_incident("bot", "crit", "x", NOW)
        for severity, title in (("warn", "warned"), ("crit", "bad"), ("crit", "worse"), ("info", "over")):
            tx.messages.enqueue(Message(severity, title, incident=one), ["slack"], NOW)  # type: ignore[arg-type]
        tx.messages.enqueue(Message("info", "sources deliver again", urgent=True), ["slack"], NOW)

    assert due_messages(journal) == ["slack: bad", "slack: sources deliver again", "slack: warned"]
    with journal.transaction() as tx:
        tx.messages.mark_sent(1, None, NOW)
    assert due_messages(journal) == ["slack: bad", "slack: sources deliver again"]  # the end waits for what it ends


def test_a_channel_that_is_to_be_left_alone_is_due_when_it_said_and_for_what_is_critical_earlier(
    journal: SqliteJournal,
) -> None:
    with journal.transaction() as tx:
        tx.messages.enqueue(Message("warn", "warned"), ["slack", "telegram"], NOW)
        tx.messages.pause_channel("slack", NOW + 9_000, NOW + 2_000, NOW)
    assert journal.messages.next_due() == {"slack": NOW + 9_000, "telegram": NOW}
    with journal.transaction() as tx:
        tx.messages.enqueue(Message("crit", "bad"), ["slack"], NOW)
    assert journal.messages.next_due() == {"slack": NOW + 2_000, "telegram": NOW}
    assert due_messages(journal, NOW + 8_999, "slack") == ["slack: bad"]
    assert due_messages(journal, NOW + 9_000, "slack") == ["slack: bad", "slack: warned"]


def test_a_pause_lasts_as_long_as_was_said_though_the_clock_is_set_back(journal: SqliteJournal) -> None:
    later = NOW + 3_600_000
    with journal.transaction() as tx:
        tx.messages.enqueue(Message("warn", "warned"), ["slack"], later)
        tx.messages.pause_channel("slack", later + 90_000, later + 60_000, later)
        tx.handle_clock_jump(NOW)

    assert journal.messages.next_due() == {"slack": NOW + 90_000}


def test_critical_messages_go_first(journal: SqliteJournal) -> None:
    with journal.transaction() as tx:
        one, two = (tx.incidents.open_incident(target, "crit", "x", NOW) for target in ("bot", "other"))
        tx.messages.enqueue(Message("info", "chat", incident=one), ["slack"], NOW)
        tx.messages.enqueue(Message("crit", "halted", incident=two), ["slack"], NOW)

    assert due_messages(journal) == ["slack: halted", "slack: chat"]


def test_a_postponed_message_counts_its_tries_and_a_failed_one_is_over(journal: SqliteJournal) -> None:
    with journal.transaction() as tx:
        tx.messages.enqueue(Message("info", "hello"), ["slack"], NOW)
        tx.messages.mark_postponed(1, NOW + 1_000, "busy")
        tx.messages.mark_postponed(1, NOW + 2_000, "busy")

    assert journal.messages.next_due() == {"slack": NOW + 2_000}
    assert [letter.tries for letter in journal.messages.due(NOW + 2_000)] == [2]
    with journal.transaction() as tx:
        tx.messages.mark_failed(1, "no such chat", NOW + 2_000)
    assert journal.messages.next_due() == {}
    assert journal.messages.due(NOW + 10**9) == []


def test_a_message_behind_a_postponed_one_is_not_due_before_it(journal: SqliteJournal) -> None:
    """Else the outbox would wake up for it in vain, again and again."""
    with journal.transaction() as tx:
        for title in ("first", "second"):
            tx.messages.enqueue(Message("info", title), ["slack"], NOW)
        tx.messages.mark_postponed(1, NOW + 60_000, "busy")

    assert journal.messages.next_due() == {"slack": NOW + 60_000}


def test_what_did_not_arrive_is_listed_with_the_reason_once_there_is_one(journal: SqliteJournal) -> None:
    with journal.transaction() as tx:
        number = tx.incidents.open_incident("bot", "crit", "x", NOW)
        tx.messages.enqueue(Message("info", "hello", incident=number), ["slack", "telegram", "mail"], NOW)
        tx.messages.mark_sent(1, None, NOW)
        tx.messages.mark_failed(2, "no such chat", NOW)

    assert [(one.channel, one.error, one.refused) for one in journal.messages.list_undelivered(number)] == [
        ("telegram", "no such chat", True),
        ("mail", None, False),
    ]
    assert journal.messages.was_enqueued_since("hello", NOW - 1)
    assert not journal.messages.was_enqueued_since("hello", NOW)
    assert not journal.messages.was_enqueued_since("bye", 0)


def test_the_first_handle_of_an_incident_on_a_channel_is_its_thread(journal: SqliteJournal) -> None:
    with journal.transaction() as tx:
        one, two = (tx.incidents.open_incident(target, "crit", "x", NOW) for target in ("bot", "other"))
        for incident in (one, one, one, two):
            tx.messages.enqueue(Message("info", "x", incident=incident), ["slack"], NOW)
        tx.messages.enqueue(Message("info", "of none"), ["slack"], NOW)
        tx.messages.mark_failed(1, "no", NOW)
        tx.messages.mark_sent(2, "1700.1", NOW)
        tx.messages.mark_sent(3, "1700.2", NOW)
        tx.messages.mark_sent(5, "1700.3", NOW)

    assert journal.messages.thread_handle("slack", one) == "1700.1"
    assert journal.messages.thread_handle("telegram", one) is None
    assert journal.messages.thread_handle("slack", two) is None
    assert journal.messages.thread_handle("slack", None) is None
    assert journal.messages.count_sent(one) == 2


OPERATION = st.sampled_from(["post", "sent", "failed", "postponed", "later"])
OPERATIONS = st.lists(st.tuples(OPERATION, st.sampled_from("ab"), st.sampled_from([1, 2, None])), max_size=30)


@SHARED_SETTINGS
@given(acts=OPERATIONS)
def test_whatever_happens_to_messages_each_stream_stays_in_order(
    journal: SqliteJournal, acts: list[tuple[str, str, int | None]]
) -> None:
    now, numbers, streams = NOW, iter(range(1, 1_000)), dict[tuple[str, int | None], list[tuple[int, int]]]()
    with expect_rollback(journal, LookupError) as tx:
        for act, channel, incident in acts:
            stream = streams.setdefault((channel, incident), [])
            if act == "post":
                tx.messages.enqueue(Message("info", "x", incident=incident), [channel], now)
                stream.append((next(numbers), now))
            elif act == "later":
                now += 1_000
            elif stream and act == "postponed":
                tx.messages.mark_postponed(stream[0][0], now + 1_500, "busy")
                stream[0] = (stream[0][0], now + 1_500)
            elif stream:
                number, _ = stream.pop(0)
                if act == "sent":
                    tx.messages.mark_sent(number, None, now)
                else:
                    tx.messages.mark_failed(number, "no", now)
            first = [stream[0] for stream in streams.values() if stream]

            assert [letter.id for letter in journal.messages.due(now)] == sorted(n for n, t in first if t <= now)
            assert journal.messages.next_due() == {
                name: min(stream[0][1] for (other, _), stream in streams.items() if other == name and stream)
                for name in {other for (other, _), stream in streams.items() if stream}
            }
        raise LookupError  # nothing of it is kept: the next example starts empty


def test_a_request_is_answered_once_and_kept(journal: SqliteJournal) -> None:
    with journal.transaction() as tx:
        first = tx.requests.add_request("resume", {"target": "bot", "reason": "fixed – ✓"}, "anna", NOW)
        second = tx.requests.add_request("abort", {}, "ben", NOW + 1)

    assert [(r.id, r.kind, r.args, r.by, r.t) for r in journal.requests.list_unanswered()] == [
        (first, "resume", {"target": "bot", "reason": "fixed – ✓"}, "anna", NOW),
        (second, "abort", {}, "ben", NOW + 1),
    ]
    assert journal.requests.find_answer(first) is None
    with journal.transaction() as tx:
        tx.requests.answer_request(first, False, "its data is stale", NOW + 2)
    assert [request.id for request in journal.requests.list_unanswered()] == [second]
    assert journal.requests.find_answer(first) == (False, "its data is stale")
