"""Who keeps the journal locked is ended, so that a halt does not wait for a shell that somebody forgot."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from watchdog.host.file_locks import FileLock, parse_locks
from watchdog.journal import blockers
from watchdog.journal.errors import JournalUnavailableError
from watchdog.journal.lock import StateLock
from watchdog.journal.sqlite import SqliteJournal

LOCK_PROGRAM = """
import fcntl, os, signal, sys
file, kind, start, length = sys.argv[1], *map(int, sys.argv[2:5])
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
fcntl.lockf(os.open(file, os.O_RDWR), kind, length, start)
print("held", flush=True)
while True:
    signal.pause()
"""
SHARED, EXCLUSIVE = 1, 2
TO_THE_END = 0


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqliteJournal]:
    """That of a daemon, which has no patience here."""
    monkeypatch.setattr(blockers, "PATIENCE_S", 0.0)
    monkeypatch.setattr(blockers, "_KILL_AFTER_S", 0.0)
    lock = StateLock(tmp_path)
    assert lock.acquire()
    opened = SqliteJournal(tmp_path / "journal.db", busy_timeout=0.05)
    opened.fencing_lock = lock
    write(opened)
    yield opened
    opened.close()
    lock.release()


def write(journal: SqliteJournal) -> None:
    with journal.transaction() as tx:
        tx.timeline.add_event("step", "x", 1)


@contextmanager
def held(path: Path, *words: object) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-c", LOCK_PROGRAM, str(path), *map(str, words)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("range_", [(SHARED, 0, TO_THE_END), (SHARED, 120, 1), (EXCLUSIVE, 120, 1)])
def test_a_lock_that_keeps_us_from_writing_is_broken(journal: SqliteJournal, range_: tuple[int, ...]) -> None:
    with held(journal.path.with_name("journal.db-shm"), *range_) as process:
        with pytest.raises(JournalUnavailableError):
            write(journal)
        assert process.wait(20) < 0
        write(journal)


def test_one_that_does_not_listen_is_killed(journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blockers, "_KILL_AFTER_S", 0.001)
    with held(journal.path.with_name("journal.db-shm"), EXCLUSIVE, 120, 1, "deaf") as process:
        while process.poll() is None:
            with suppress(JournalUnavailableError):  # it may end at any moment
                write(journal)
            monkeypatch.setattr(blockers, "_KILL_AFTER_S", 0.0)
        assert process.wait(20) == -signal.SIGKILL


def test_readers_and_those_of_us_who_are_patient_end_nobody(
    journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    with held(journal.path.with_name("journal.db-shm"), SHARED, 124, 5) as reader:
        write(journal)
        journal._lock_breaker.note_busy()
        assert reader.poll() is None
    monkeypatch.setattr(blockers, "PATIENCE_S", 60.0)
    with held(journal.path.with_name("journal.db-shm"), EXCLUSIVE, 120, 1) as shell:
        with pytest.raises(JournalUnavailableError):
            write(journal)
        assert shell.poll() is None


def test_a_command_line_that_finds_it_locked_ends_nobody(journal: SqliteJournal) -> None:
    journal.fencing_lock = None
    with held(journal.path.with_name("journal.db-shm"), EXCLUSIVE, 120, 1) as daemon:
        with pytest.raises(JournalUnavailableError):
            write(journal)
        assert daemon.poll() is None


def test_the_kernels_list_is_read_as_it_is_written() -> None:
    listed = f"""\
1: POSIX  ADVISORY  WRITE 4711 fe:00:131 120 120
2: POSIX  ADVISORY  READ  4712 fe:00:131 0 EOF
2: -> POSIX  ADVISORY  WRITE 4713 fe:00:131 0 EOF
3: FLOCK  ADVISORY  WRITE 4714 fe:00:131 0 EOF
4: OFDLCK ADVISORY  READ  -1 fe:00:131 120 120
5: POSIX  ADVISORY  WRITE 4715 fe:00:132 0 EOF
6: POSIX  ADVISORY  WRITE {os.getpid()} fe:00:131 0 EOF
7: POSIX  ADVISORY  WRITE 0 fe:00:131 0 EOF
"""
    found = parse_locks(listed, "fe:00:131")

    assert found == [FileLock(4711, True, 120, 120), FileLock(4712, False, 0, None)]
    assert found[1].covers((120,))
    assert not found[0].covers(range(121, 128))
