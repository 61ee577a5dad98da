"""What lies where everybody may write, and what a broken disk has made of a note: neither hides what was done, nor stops us."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from watchdog.core.model import Message
from watchdog.journal import off_record, open_journal
from watchdog.journal.errors import JournalUnavailableError
from watchdog.journal.runs import Step, StepId
from watchdog.journal.storage import Journal

NOW = 1_700_000_000_000


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The one place for notes."""
    place = tmp_path / "memory"
    place.mkdir()
    monkeypatch.setattr(off_record, "_PLACES", (str(place),))
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def journal(state: Path) -> Iterator[Journal]:
    opened = open_journal(state)
    yield opened
    opened.close()


def make_note(state: Path) -> Path:
    """As a halt leaves it that has come to its end."""
    lock = off_record.make_note(state, "the disk is full", NOW)
    folder = lock.folder
    note = open_journal(folder)
    with note.transaction() as tx:
        run = tx.runs.queue_run(
            incident=None, target="bot", plan="freeze", kind="halt", text="{}", place="{}", by="person x", now=NOW
        )
        tx.runs.start_step(
            Step(
                run, "level", 0, 0, "off", "started", {"flag": True}, "", NOW, None, child_pid=None, child_started=None
            )
        )
        tx.runs.end_step(StepId(run, "level", 0, 0), "done", "", NOW)
        tx.runs.update_run(run, status="ended", outcome="proven", ended=NOW, marks={"log": 1})
        tx.timeline.add_event("step", "off", NOW, run=run, target="bot")
        tx.targets.add_target("bot", NOW)
        tx.targets.update_target("bot", latched=NOW, latch_why="freeze")
        tx.messages.enqueue(Message("crit", "halted", ("off",), opens=("latch of bot",)), ["chat"], NOW)
    note.close()
    lock.release()
    return folder


def sql(folder: Path, *statements: str) -> None:
    db = sqlite3.connect(folder / "journal.db")
    with db:
        for statement in statements:
            db.execute(statement)
    db.close()


def test_a_note_that_is_whole_is_taken_in_whole(journal: Journal, state: Path) -> None:
    note = make_note(state)

    (said,) = off_record.take_in(journal, state, NOW + 1)

    assert said.startswith("bot: freeze was run off the record")
    (run,) = journal.runs.list_all()
    assert (run.target, run.status, run.outcome, run.marks) == ("bot", "ended", "proven", {"log": 1})
    assert [(step.say, step.status, step.before) for step in journal.runs.list_steps(run.id)] == [
        ("off", "done", {"flag": True})
    ]
    assert [target.latch_why for target in journal.targets.list_latched()] == ["freeze"]
    assert journal.messages.list_open() == [("chat", "latch of bot")]
    assert [message.title for _, message in journal.messages.list_unsent()] == ["halted"]
    assert not note.exists()


def test_folders_that_others_have_put_there_crowd_no_note_out(journal: Journal, state: Path, memory: Path) -> None:
    note = make_note(state)
    prefix = off_record._prefix(state)
    for number in range(3 * off_record._MAX_NOTES):
        planted = memory / f"{prefix}!{number:04}"  # ahead of all names of ours
        if number % 3 == 0:
            planted.symlink_to(note)
        elif number % 3 == 1:
            planted.touch(0o600)
        else:
            planted.mkdir()
            planted.chmod(0o755)

    assert list(off_record._notes(state)) == [note]
    assert len(off_record.take_in(journal, state, NOW)) == 1
    assert not note.exists()


def test_of_our_own_notes_only_so_many_are_looked_at_at_once(state: Path, memory: Path) -> None:
    names = [f"{off_record._prefix(state)}{number:04}" for number in range(off_record._MAX_NOTES + 5)]
    for name in reversed(names):
        (memory / name).mkdir(0o700)

    assert [note.name for note in off_record._notes(state)] == names[: off_record._MAX_NOTES]


def overwrite_pages(note: Path) -> None:
    file = note / "journal.db"
    whole = file.read_bytes()
    file.write_bytes(whole[:4_096] + os.urandom(len(whole) - 4_096))


def replace_file(note: Path, make: Callable[[], None]) -> None:
    (note / "journal.db").unlink()
    make()


BREAK: dict[str, Callable[[Path], None]] = {
    "marks that are no JSON": lambda note: sql(note, "UPDATE run SET marks = '{'"),
    "marks that are no object": lambda note: sql(note, "UPDATE run SET marks = '[1]'"),
    "a step whose state is no JSON": lambda note: sql(note, "UPDATE step SET before = 'x'"),
    "a message that is no JSON": lambda note: sql(note, "UPDATE message SET lines = '['"),
    "a message of no list": lambda note: sql(note, "UPDATE message SET lines = '7'"),
    "a message of numbers": lambda note: sql(note, "UPDATE message SET lines = '[7]'"),
    "JSON without an end": lambda note: sql(note, f"UPDATE run SET marks = '{'[' * 100_000}'"),
    "a text that is no UTF-8": lambda note: sql(note, "UPDATE run SET reason = CAST(x'ff' AS TEXT)"),
    "bytes for a text": lambda note: sql(note, "UPDATE event SET text = x'ff'"),
    "bytes for a topic": lambda note: sql(note, "UPDATE told SET topic = x'ff'"),
    "bytes for a channel": lambda note: sql(note, "UPDATE message SET channel = x'ff'"),
    "a text for a time": lambda note: sql(note, "UPDATE run SET queued = 'soon'"),
    "a status that cannot be": lambda note: sql(note, "UPDATE run SET status = 'bogus'"),
    "an outcome that cannot be": lambda note: sql(note, "UPDATE run SET outcome = 'bogus'"),
    "a step's status that cannot be": lambda note: sql(note, "UPDATE step SET status = 'bogus'"),
    "a target that cannot be": lambda note: sql(note, "UPDATE run SET target = '../bot'"),
    "no target": lambda note: sql(note, "UPDATE run SET target = ''"),
    "a repair": lambda note: sql(note, "UPDATE run SET kind = 'repair'"),
    "no runs": lambda note: sql(note, "DELETE FROM step", "DELETE FROM run"),
    "a table that is gone": lambda note: sql(note, "DROP TABLE message"),
    "pages of something else": overwrite_pages,
    "no database": lambda note: void((note / "journal.db").write_bytes(b"no database at all" * 1_000)),
    "an empty file": lambda note: void((note / "journal.db").write_bytes(b"")),
    "no file": lambda note: (note / "journal.db").unlink(),
    "a folder for a file": lambda note: replace_file(note, (note / "journal.db").mkdir),
    "a new journal": lambda note: replace_file(note, lambda: open_journal(note).close()),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", BREAK)
def test_a_note_that_is_damaged_stays_and_keeps_nothing_else_from_being_taken_in(
    what: str, journal: Journal, state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damaged = make_note(state)
    BREAK[what](damaged)
    before = sorted(path.name for path in damaged.iterdir() if "-" not in path.name)
    well = make_note(state)

    said = off_record.take_in(journal, state, NOW)

    assert len(said) == 1
    assert not well.exists()
    assert [(run.target, run.status) for run in journal.runs.list_all()] == [("bot", "ended")]
    left = sorted(path.name for path in damaged.iterdir() if "-" not in path.name)
    assert left == sorted({*before, "lock"})  # above all no new journal
    assert str(damaged) in caplog.text

    assert off_record.take_in(journal, state, NOW) == []  # and again at the next start
    assert damaged.exists()


def test_what_is_wrong_with_the_journal_itself_is_raised_and_the_note_stays(
    journal: Journal, state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    note = make_note(state)
    other = sqlite3.connect(state / "journal.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    journal.query("PRAGMA busy_timeout=50")  # type: ignore[attr-defined]
    try:
        with pytest.raises(JournalUnavailableError):
            off_record.take_in(journal, state, NOW)
    finally:
        other.close()

    assert note.exists()
    assert str(note) not in caplog.text
    assert len(off_record.take_in(journal, state, NOW)) == 1


def test_a_note_is_its_maker_s_from_the_first_moment(
    journal: Journal, state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever looks for notes ahead of its first step neither keeps the halt from running, nor tells people to remove it."""
    lock = off_record.make_note(state, "the disk is full", NOW)

    assert off_record.take_in(journal, state, NOW) == []

    assert lock.is_held()
    assert caplog.text == ""
    lock.release()


def test_a_note_that_never_came_to_a_run_is_removed_by_whoever_made_it(state: Path) -> None:
    lock, used = off_record.make_note(state, "full", NOW), make_note(state)
    unused = lock.folder
    lock.release()

    off_record.discard_unused(unused)
    off_record.discard_unused(used)

    assert not unused.exists()
    assert used.exists()
    off_record.discard_unused(unused)  # somebody else has taken it in
    assert not unused.exists()


def void(_: object) -> None:
    return None
