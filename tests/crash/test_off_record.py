"""A halt on a disk that takes nothing, with no watchdog there: a real disk, small, mounted for one process alone."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash import harness
from watchdog.journal import off_record, open_journal
from watchdog.journal.disk_reserve import DiskReserve
from watchdog.journal.errors import JournalUnavailableError
from watchdog.journal.lock import StateLock

RULES = """\
targets:
  bot: {{repo: {bot}}}
plans:
  freeze:
    kind: halt
    levels:
      - {{name: off, steps: [{{do: flag, file: config.py, set: {{TRADING: false}}}}], verify: {{run: ["true"], give_up: 20s}}}}
  mend:
    kind: repair
    mode: auto
    exhausted: freeze
    levels:
      - {{name: off, steps: [{{do: flag, file: config.py, set: {{FEATURE: false}}}}], verify: {{run: ["true"], quiet: 1s}}}}
"""


@pytest.fixture(scope="module", autouse=True)
def _mounts() -> None:
    if missing := harness.mounts_unavailable():
        pytest.skip(missing)


class Place:
    """A bot on a disk that is well, and a state folder on one of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.bot, self.state = folder, folder / "bot", folder / "disk" / "state"
        self.bot.mkdir()
        (self.bot / "config.py").write_text("TRADING = True\nFEATURE = True\n")
        self.disk = folder / "disk"
        self.disk.mkdir()
        (folder / "watchdog.yaml").write_text(f"state: {self.state}\n")
        self.rules = folder / "rules" / "rules.yaml"
        self.rules.parent.mkdir()
        self.rules.write_text(RULES.format(bot=self.bot))

    def mount(self, options: str = "size=24m") -> None:
        harness.unshare_mounts()
        harness.mount("-t", "tmpfs", "-o", f"{options},mode=700", "tmpfs", self.disk)

    def fill(self) -> None:
        with (self.disk / "somebody-elses").open("ab", buffering=0) as file:
            for size in (1 << 20, 4_096, 1):
                with contextlib.suppress(OSError):
                    while file.write(b"x" * size):
                        pass

    def make_room(self) -> None:
        (self.disk / "somebody-elses").unlink()

    def cli(self, *args: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "watchdog", *args, "--config", str(self.folder)],
            capture_output=True,
            text=True,
            timeout=180,
            env={**os.environ, "TMPDIR": "/tmp"},
        )
        assert "Traceback" not in done.stderr + done.stdout, done.stderr
        return done

    def prepare(self, *, reserve: bool) -> None:
        """A state folder as a daemon leaves it that is down."""
        self.state.mkdir(mode=0o700, exist_ok=True)
        lock = StateLock(self.state)
        assert lock.acquire()
        open_journal(self.state).close()
        lock.release()
        if reserve:
            assert DiskReserve.of(self.state).fill()

    def is_off(self) -> bool:
        return "TRADING = False" in (self.bot / "config.py").read_text()

    def notes(self) -> list[Path]:
        """Whoever the command has gone on as."""
        name = off_record._prefix(self.state).rpartition(f"{os.geteuid()}-")[2]
        return [path for place in off_record._places() for path in Path(place).glob(f"{off_record._PREFIX}*-{name}*")]

    def recorded(self) -> list[tuple[str, str, str | None]]:
        journal = open_journal(self.state, migrate=False)
        try:
            return [(run.plan, run.by, run.outcome) for run in journal.runs.list_all()]
        finally:
            journal.close()

    def is_latched(self) -> bool:
        journal = open_journal(self.state, migrate=False)
        try:
            return bool(journal.targets.list_latched())
        finally:
            journal.close()


def in_fork(tmp_path: Path, play: Callable[[Place], None], options: str = "size=24m") -> None:
    def run() -> None:
        place = Place(tmp_path)
        place.mount(options)
        try:
            play(place)
        finally:
            for note in place.notes():
                shutil.rmtree(note, ignore_errors=True)

    code, said = harness.run_in_fork(run)
    assert code == 0, said


HALT = ("rollback", "freeze", "--reason", "the exchange is on fire", "--yes")


def test_a_halt_on_a_full_disk_gives_the_reserve_up_and_is_on_record(tmp_path: Path) -> None:
    def play(place: Place) -> None:
        place.prepare(reserve=True)
        place.fill()

        done = place.cli(*HALT)

        assert done.returncode == 0, done.stderr
        assert place.is_off()
        assert "off the record" not in done.stderr
        assert [(plan, outcome) for plan, _, outcome in place.recorded()] == [("freeze", "proven")]

    in_fork(tmp_path, play)


def refuses_all_but_a_halt(place: Place) -> None:
    repair = place.cli("rollback", "mend", "--yes")
    assert repair.returncode == 1
    assert "off the record" not in repair.stderr
    assert "FEATURE = True" in (place.bot / "config.py").read_text()
    for command in (
        ("status",),
        ("incidents",),
        ("ack", "1", "--note", "x"),
        ("hold", "bot", "--for", "1h"),
        ("resume", "bot", "--reason", "x"),
    ):
        place.cli(*command)


def acts_off_the_record_and_is_taken_in_once(place: Place, mend: Callable[[], None]) -> None:
    done = place.cli(*HALT)

    assert done.returncode == 0, done.stderr
    assert place.is_off()
    assert "off the record" in done.stderr
    (note,) = place.notes()
    assert str(note) in done.stderr
    mend()
    for _ in range(2):
        place.cli("incidents")
    assert place.notes() == []
    ((plan, by, outcome),) = place.recorded()
    assert (plan, outcome) == ("freeze", "proven")
    assert by.endswith("the exchange is on fire (off the record)")
    assert place.is_latched()


def test_a_halt_acts_when_the_disk_is_full_and_the_reserve_is_gone(tmp_path: Path) -> None:
    def play(place: Place) -> None:
        place.prepare(reserve=False)
        place.fill()
        refuses_all_but_a_halt(place)
        acts_off_the_record_and_is_taken_in_once(place, place.make_room)

    in_fork(tmp_path, play)


@pytest.mark.quick
def test_an_outage_lasts_until_a_write_goes_through_and_not_until_the_lock_can_be_had(tmp_path: Path) -> None:
    def play(place: Place) -> None:
        place.prepare(reserve=False)
        journal = open_journal(place.state)
        place.fill()
        with pytest.raises(JournalUnavailableError), journal.transaction() as tx:
            tx.timeline.add_event("test", "x" * 65_536, 1)
        for _ in range(3):
            with pytest.raises(JournalUnavailableError):
                journal.probe()
        place.make_room()
        journal.probe()

    in_fork(tmp_path, play)


def test_a_halt_acts_when_there_was_never_a_state_folder_and_no_inode_is_left_for_one(tmp_path: Path) -> None:
    def play(place: Place) -> None:
        taken = 0
        with contextlib.suppress(OSError):
            for taken in range(64):
                (place.disk / f"taken{taken}").touch()
        assert 0 < taken < 63

        def mend() -> None:
            for file in place.disk.glob("taken*"):
                file.unlink()

        acts_off_the_record_and_is_taken_in_once(place, mend)

    in_fork(tmp_path, play, "size=24m,nr_inodes=20")


def test_a_halt_acts_on_a_read_only_disk(tmp_path: Path) -> None:
    def play(place: Place) -> None:
        place.prepare(reserve=True)
        harness.mount("-o", "remount,ro", place.disk)
        acts_off_the_record_and_is_taken_in_once(place, lambda: harness.mount("-o", "remount,rw", place.disk))

    in_fork(tmp_path, play)


def test_a_halt_acts_when_the_journal_is_damaged_and_waits_for_one_that_is_whole(tmp_path: Path) -> None:
    def play(place: Place) -> None:
        place.prepare(reserve=True)
        whole = (place.state / "journal.db").read_bytes()
        (place.state / "journal.db").write_bytes(whole[:4_096] + os.urandom(8_192) + whole[12_288:])
        acts_off_the_record_and_is_taken_in_once(place, lambda: void((place.state / "journal.db").write_bytes(whole)))

    in_fork(tmp_path, play)


def test_a_halt_acts_while_a_process_that_hangs_holds_lock_and_journal(tmp_path: Path) -> None:
    def play(place: Place) -> None:
        place.prepare(reserve=True)
        held = os.open(place.state / "lock", os.O_RDWR)
        fcntl.flock(held, fcntl.LOCK_EX)
        other = sqlite3.connect(place.state / "journal.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")

        def mend() -> None:
            other.close()
            os.close(held)

        acts_off_the_record_and_is_taken_in_once(place, mend)

    in_fork(tmp_path, play)


def test_a_halt_that_was_killed_off_the_record_is_taken_in_as_far_as_it_came_and_gone_on_with(tmp_path: Path) -> None:
    def play(place: Place) -> None:
        text = place.rules.read_text()
        place.rules.write_text(
            text.replace('run: ["true"]', 'run: ["sleep", "1000"]', 1).replace("give_up: 20s", "give_up: 2h")
        )
        place.prepare(reserve=False)
        place.fill()
        with subprocess.Popen(
            [sys.executable, "-m", "watchdog", *HALT, "--config", str(place.folder)],
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as halt:
            for _ in range(1_200):
                if place.is_off():
                    break
                with contextlib.suppress(subprocess.TimeoutExpired):
                    halt.wait(0.1)
            (note,) = place.notes()
            place.make_room()
            place.cli("incidents")
            assert place.notes() == [note]  # it is still being carried out
            halt.kill()
            halt.wait()

        place.cli("incidents")

        assert place.notes() == []
        ((plan, _, outcome),) = place.recorded()
        assert (plan, outcome) == ("freeze", None)
        assert place.is_latched()

    in_fork(tmp_path, play)


def test_a_folder_of_somebody_else_s_is_not_taken_for_a_note(tmp_path: Path) -> None:
    state = tmp_path / "state"
    lock = off_record.make_note(state, "full", 1)
    note = lock.folder
    try:
        assert list(off_record._notes(state)) == [note]
        os.chown(note, 12_345, 12_345)
        assert list(off_record._notes(state)) == []
        os.chown(note, os.geteuid(), os.getegid())
        note.chmod(0o755)
        assert list(off_record._notes(state)) == []
        note.chmod(0o700)
        assert list(off_record._notes(tmp_path / "other")) == []
    finally:
        lock.release()
        shutil.rmtree(note)


def void(_: object) -> None:
    return None
