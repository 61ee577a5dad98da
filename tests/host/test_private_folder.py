"""The state folder: private, ours, and refused where somebody else could have written what is in it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.acl import set_acl
from watchdog.core.errors import WatchdogError
from watchdog.core.target import Target
from watchdog.host.posix_acl import DEFAULT, read_acl
from watchdog.journal import open_journal
from watchdog.journal.errors import JournalError
from watchdog.journal.lock import StateLock
from watchdog.offline import snapshot
from watchdog.rollback import backup

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
BOT = 12_345


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def acquire(folder: Path) -> StateLock:
    lock = StateLock(folder)
    assert lock.acquire()
    return lock


def test_a_new_state_folder_and_all_of_its_files_are_ours_alone_whatever_the_umask(tmp_path: Path) -> None:
    was = os.umask(0)
    try:
        lock = acquire(tmp_path / "state")
        journal = open_journal(tmp_path / "state")
        with journal.transaction() as tx:
            tx.targets.add_target("bot", 1)
        assert {path.name: oct(mode_of(path)) for path in (tmp_path / "state").iterdir()} == dict.fromkeys(
            ["journal.db", "journal.db-wal", "journal.db-shm", "lock"], oct(0o600)
        )
    finally:
        os.umask(was)
    assert mode_of(tmp_path / "state") == 0o700
    journal.close()
    lock.release()


def test_what_repairs_and_snapshots_save_is_ours_alone_whatever_the_umask(tmp_path: Path) -> None:
    """Where the umask let others write it, the watchdog would refuse its own state folder at the next start."""
    bot, state = tmp_path / "bot", tmp_path / "state"
    bot.mkdir()
    (bot / "config.py").write_text("A = True\n")
    for command in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "one"],
    ):
        subprocess.run(["git", "-C", bot, *command], check=True)
    (bot / "config.py").write_text("A = False\n")
    was = os.umask(0)
    try:
        lock = acquire(state)
        backup.back_up(state / "backups/1/level-0", [bot / "config.py"], str(bot))
        snapshot.take(state / "snapshots", "before", "bot", Target(repo=str(bot)), [bot / "config.py"], 1)
    finally:
        os.umask(was)
    lock.release()

    below = [path for folder in ("backups", "snapshots") for path in (state / folder, *(state / folder).rglob("*"))]
    assert {path.name for path in below} > {"git-dirty.patch", "snapshot.json"}
    assert {oct(mode_of(path)) for path in below if path.is_dir()} == {"0o700"}
    assert {oct(mode_of(path)) for path in below if path.is_file()} == {"0o600"}
    acquire(state).release()


def test_one_of_an_older_version_is_tightened_and_what_is_not_ours_stays(tmp_path: Path) -> None:
    (tmp_path / "backups" / "7").mkdir(parents=True)
    for name in ("journal.db", "series.db", "backups/7/sha", "notes.txt"):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(0o644)
    tmp_path.chmod(0o755)
    acquire(tmp_path).release()

    assert [mode_of(tmp_path / name) for name in ("journal.db", "series.db", "backups/7/sha")] == [0o600] * 3
    assert [mode_of(tmp_path / name) for name in (".", "backups", "backups/7")] == [0o700] * 3
    assert mode_of(tmp_path / "notes.txt") == 0o644


def test_what_a_folder_hands_on_by_its_list_is_taken_away(tmp_path: Path) -> None:
    set_acl(tmp_path, users={BOT: 5})
    set_acl(tmp_path, users={BOT: 7}, name=DEFAULT)
    acquire(tmp_path).release()

    assert read_acl(tmp_path) == ()
    assert not os.listxattr(tmp_path / "lock")


def give_away(path: Path) -> None:
    os.chown(path, BOT, BOT)


def plant_link(path: Path) -> None:
    path.with_name("elsewhere").write_text("root's own")
    path.unlink()
    path.symlink_to("elsewhere")


def plant_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@needs_root
@pytest.mark.parametrize("name", ["journal.db", "journal.db-wal", "series.db", "lock", "backups/copy"])
@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (give_away, rf"belongs to {BOT}: who wrote what is in it\? — if it is well: chown root"),
        (plant_link, "is no file of ours but a link or a device — look at it, then: rm"),
        (plant_fifo, "is no file of ours but a link or a device — look at it, then: rm"),
        (lambda path: path.chmod(0o666), "is not believed: everybody may write the file — if it is well: chmod go-w"),
        (lambda path: set_acl(path, users={BOT: 6}), f"is not believed: the user {BOT} may write the file by its ACL"),
    ],
    ids=["foreign", "link", "fifo", "writable", "acl"],
)
def test_a_file_that_somebody_else_could_have_planted_is_refused_with_the_cure(
    tmp_path: Path, name: str, spoil: Callable[[Path], None], why: str
) -> None:
    (tmp_path / "backups").mkdir()
    path = tmp_path / name
    path.touch()
    spoil(path)

    with pytest.raises(WatchdogError, match=f"{path} {why}"):
        StateLock(tmp_path).acquire()
    if path.is_symlink():
        assert mode_of(path.with_name("elsewhere")) == 0o644  # nothing was done through the link


@needs_root
def test_a_folder_that_others_could_have_written_is_refused_with_the_cure(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(WatchdogError, match=f"everybody may write the folder {tmp_path} — chmod go-w {tmp_path}"):
        StateLock(tmp_path).acquire()
    tmp_path.chmod(0o755)
    (tmp_path / "open" / "state").mkdir(parents=True)
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(WatchdogError, match=f"everybody may write the folder {tmp_path}/open — chmod"):
        StateLock(tmp_path / "open" / "state").acquire()


@needs_root
def test_a_folder_of_another_user_is_not_acted_upon_and_it_is_said_whom_to_be(tmp_path: Path) -> None:
    os.chown(tmp_path, 1, 1)

    with pytest.raises(
        WatchdogError, match=r"belongs to daemon, and this is root — .*: sudo -u daemon trading-watchdog"
    ):
        StateLock(tmp_path).acquire()
    assert list(tmp_path.iterdir()) == []


@needs_root
def test_who_has_no_account_is_nobody_to_sudo(tmp_path: Path) -> None:
    os.chown(tmp_path, 61_913, 61_913)

    with pytest.raises(WatchdogError, match=r"belongs to 61913, and this is root — .*: sudo trading-watchdog …;"):
        StateLock(tmp_path).acquire()


OTHER_USER = """
import os, sys
from pathlib import Path
from watchdog.journal import open_journal
from watchdog.journal.lock import StateLock
from watchdog.offline import snapshot
from watchdog.rollback import backup
os.setgroups([]); os.setgid(1); os.setuid(1)
for call in (lambda folder: StateLock(folder).acquire(), open_journal):
    try:
        call(Path(sys.argv[1]))
    except Exception as error:
        print(type(error).__name__, error)
"""


@needs_root
def test_another_user_is_told_whom_to_be_and_reads_nothing() -> None:
    with tempfile.TemporaryDirectory() as base:  # pytest keeps the way to its own folders shut
        Path(base).chmod(0o755)
        folder = Path(base, "state")
        acquire(folder).release()
        open_journal(folder).close()
        ran = subprocess.run([sys.executable, "-c", OTHER_USER, folder], capture_output=True, text=True, check=True)
    lines = ran.stdout.splitlines()

    assert [line.split()[0] for line in lines] == ["WatchdogError", JournalError.__name__]
    assert all("belongs to root, and this is daemon — say it as that user: sudo -u root" in line for line in lines)


def test_making_it_private_ends_no_lock_that_this_process_has_on_its_journal(tmp_path: Path) -> None:
    """POSIX drops all locks of a process on a file when it closes any of its descriptors: SQLite would lose the journal."""
    acquire(tmp_path).release()
    journal = open_journal(tmp_path)
    (tmp_path / "journal.db").chmod(0o644)
    with journal.transaction() as tx:
        tx.targets.add_target("bot", 1)
        acquire(tmp_path).release()
        probe = "import sqlite3, sys\nsqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN IMMEDIATE')"
        ran = subprocess.run([sys.executable, "-c", probe, tmp_path / "journal.db"], capture_output=True, text=True)
        assert "database is locked" in ran.stderr
    assert mode_of(tmp_path / "journal.db") == 0o600
    journal.close()
