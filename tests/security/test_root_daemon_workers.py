"""The bot's user may do to its workers whatever it likes: they are its own. What it gets is its own bot left alone."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import sqlite3
import struct
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.e2e.harness import wait_until
from tests.security.root_daemon import SOON, RootDaemon, give, root_daemon
from tests.security.unprivileged import BOT, STRANGER, become, run_in_child, snapshot
from watchdog.worker import wire

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to let go of it")]

SECONDS = {"killed": "601", "logging": "602", "counting": "603", "talking": "604"}
"""Each bot's step sleeps for a time of its own, by which it is known."""
PIDFD_GETFD = 438
RACES = (1, 2, 4)


def prepare(daemon: RootDaemon) -> None:
    for name, seconds in SECONDS.items():
        run = ["sleep", seconds]
        daemon.add_bot(name, {"do": "command", "run": run, "check": ["test", "-e", "never"], "timeout": "5m"})
    daemon.add_bot("stopped")
    for nth in RACES:
        flag = {"do": "flag", "file": "conf/config.py", "set": {"FEATURE": False}, "timeout": "60s"}
        bot = daemon.add_bot(f"race{nth}", flag)
        (bot / "conf").mkdir()
        (bot / "config.py").rename(bot / "conf/config.py")
        give(bot, BOT)
    elsewhere = daemon.bots / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "config.py").write_text("FEATURE = True  # CANARY\n")
    give(elsewhere, BOT)
    for number in range(5):
        other = daemon.add_bot(f"other{number}")
        give(other, STRANGER)


@pytest.fixture(scope="module")
def daemon() -> Iterator[RootDaemon]:
    with root_daemon(prepare) as made:
        made.start()
        yield made


@contextlib.contextmanager
def as_bot(attack: Callable[[], None]) -> Iterator[None]:
    """In a process of the bot's user, until the block ends."""
    pid = os.fork()
    if pid == 0:
        try:
            become(BOT)
            attack()
        except BaseException:
            traceback.print_exc()  # an attack that breaks off is seen in what the test says
        finally:
            os._exit(0)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def signal_all(daemon: RootDaemon, number: int) -> None:
    """Each worker of the bot's, and what it has started."""
    pids = [each.pid for each in daemon.workers()]

    def attack() -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    run_in_child(attack, uid=BOT)


def steal_sockets(pids: list[int]) -> list[int]:
    """What the workers hold of their connections, by the kernel's own door for whoever may trace a process."""
    libc, found = ctypes.CDLL(None, use_errno=True), []
    for pid in pids:
        with contextlib.suppress(OSError):
            handle = os.pidfd_open(pid)
            for each in Path(f"/proc/{pid}/fd").iterdir():
                if "socket" in str(each.readlink()):
                    stolen = libc.syscall(PIDFD_GETFD, handle, int(each.name), 0)
                    if stolen >= 0:
                        found.append(stolen)
    return found


def flood(pids: list[int], frame: bytes, over: Path) -> Callable[[], None]:
    """That frame, again and again, in the name of the workers, until there is that file."""

    def attack() -> None:
        stolen = steal_sockets(pids)
        for each in stolen:
            os.set_blocking(each, False)
        while not over.exists():
            for each in stolen:
                with contextlib.suppress(OSError):
                    os.write(each, frame * 50)

    return attack


def frame(kind: bytes, data: object) -> bytes:
    payload = json.dumps(data).encode()
    return struct.pack("!cI", kind, len(payload)) + payload


def asleep(daemon: RootDaemon, name: str) -> bool:
    """The step of that bot is at work."""
    for each in daemon.workers():
        with contextlib.suppress(psutil.Error):
            if each.cmdline() == ["sleep", SECONDS[name]]:
                return True
    return False


def test_a_worker_that_is_killed_in_the_middle_is_told_and_the_next_one_is_begun(daemon: RootDaemon) -> None:
    daemon.breach("killed")
    wait_until(lambda: asleep(daemon, "killed"), "the step is at work")
    signal_all(daemon, signal.SIGKILL)
    daemon.wait_logged(rf"killed: run sleep 601: .*the worker of {BOT}: it ended, and did not say how far it got")
    daemon.breach("other0")
    daemon.wait_halted("other0")

    assert daemon.get("/healthz") == b"ok\n"
    wait_until(lambda: not asleep(daemon, "killed"), "what it started is ended, too")


def test_workers_that_are_stopped_keep_nobody_else_from_being_halted(daemon: RootDaemon) -> None:
    """Nor their own bot, in what needs no worker."""
    signal_all(daemon, signal.SIGSTOP)
    try:
        daemon.breach("stopped", "other1")
        took = daemon.wait_halted("stopped", "other1")
        daemon.wait_halts_over("other1")
        assert daemon.get("/healthz") == b"ok\n"
    finally:
        signal_all(daemon, signal.SIGCONT)
    daemon.wait_logged("stopped: set TRADING = false in halt.py: TRADING = false")

    assert took < 40  # a call to a worker that stands still takes a minute


@pytest.mark.parametrize(
    ("name", "sent", "other", "told"),
    [
        (
            "logging",
            frame(b"L", [50, "forged\n2026-01-01 00:00:00,000 INFO all is well\x1b[2J"]),
            "other2",
            "it said more",
        ),
        ("counting", frame(b"C", [1, 0.5]), "other3", "it said more than any worker says|the other end is gone"),
        ("talking", struct.pack("!cI", b"A", 0xFFFFFFF0), "other4", "a frame of 4294967280 bytes is larger than any"),
    ],
    ids=["lines", "children", "bytes"],
)
def test_a_worker_that_says_things_without_end_is_let_go_and_nobody_else_waits_for_it(
    daemon: RootDaemon, name: str, sent: bytes, other: str, told: str
) -> None:
    daemon.breach(name)
    wait_until(lambda: asleep(daemon, name), "the step is at work")
    size = daemon.log_path.stat().st_size
    over = daemon.bots / f"{name}-over"
    with as_bot(flood([each.pid for each in daemon.workers()], sent, over)):
        daemon.breach(other)
        took = daemon.wait_halted(other)
        daemon.wait_halts_over(other)
        if name == "counting":  # each child is written down, and a busy machine takes minutes over a thousand
            over.touch()
        daemon.wait_logged(rf"{name}: run sleep {SECONDS[name]}: .*the worker of {BOT}: (?:{told})")
        assert daemon.get("/healthz") == b"ok\n"

    assert took < 60
    assert daemon.log_path.stat().st_size - size < 100_000
    assert not [line for line in daemon.log().splitlines() if line.startswith("2026-01-01")]


IN_OPEN, IN_CLOSE = 0x20, 0x18
"""Both are listened for: the kernel tells one that is like the one before it, and was not read yet, no second time."""


def swap_at(nth: int, bot: Path, elsewhere: Path, pids: list[int]) -> Callable[[], None]:
    """As the nth time a file of `conf` is opened, the workers stop where they are until `conf` is a link."""

    def attack() -> None:
        libc = ctypes.CDLL(None)
        heard = libc.inotify_init()
        libc.inotify_add_watch(heard, str(bot / "conf").encode(), IN_OPEN | IN_CLOSE)
        (bot / "listening").touch()
        seen = 0
        while seen < nth:
            data = os.read(heard, 4_096)
            while data:
                _, mask, _, length = struct.unpack_from("iIII", data)
                seen, data = seen + (length > 0 and mask & IN_OPEN > 0), data[16 + length :]
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError, PermissionError):  # its number may be another's by now
                    os.kill(pid, number)
            if number == signal.SIGSTOP:
                (bot / "conf").rename(bot / "was")
                (bot / "conf").symlink_to(elsewhere)

    return attack


@pytest.mark.parametrize("nth", RACES)
def test_a_folder_that_is_swapped_while_the_worker_stands_still_is_not_written_through(
    daemon: RootDaemon, nth: int
) -> None:
    """The bot's user may write what the link names, too: its rights alone would not keep us out."""
    name, elsewhere = f"race{nth}", daemon.bots / "elsewhere"
    was = snapshot(elsewhere)
    with as_bot(swap_at(nth, daemon.bots / name, elsewhere, [each.pid for each in daemon.workers()])):
        wait_until((daemon.bots / name / "listening").exists)
        daemon.breach(name)
        daemon.wait_halts_over(name)
        wait_until((daemon.bots / name / "conf").is_symlink)

    assert snapshot(elsewhere) == was
    assert b"CANARY" not in b"".join(each.read_bytes() for each in (daemon.bots / name / "was").iterdir())


def test_a_call_to_a_worker_that_reads_nothing_ends_at_its_deadline() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        began = time.monotonic()
        with pytest.raises(wire.DeadlineError):
            wire.send(ours, b"D", "x" * 4_000_000, began + 0.2)

        assert ours.gettimeout() is None
        assert time.monotonic() - began < 60


def test_sources_of_files_that_are_a_bots_alone_are_read_by_the_bots_user() -> None:
    """No target says whose they are: the broker finds it by the folder, or by `user`."""

    def prepare(daemon: RootDaemon) -> None:
        folder = daemon.bots / "files"
        folder.mkdir()
        (folder / "events.jsonl").write_text('{"equity": 1}\n')
        (folder / "bot.log").write_text("2026-12-01 10:00:00 equity=2\n")
        (folder / "state.json").write_text('{"equity": 3}')
        (folder / "bot.prom").write_text("equity 4\n")
        with contextlib.closing(sqlite3.connect(folder / "bot.db")) as db:
            db.execute("CREATE TABLE account (equity)")
            db.execute("INSERT INTO account VALUES (5)")
            db.commit()
        give(folder, BOT)
        for path in folder.iterdir():
            path.chmod(0o600)
        folder.chmod(0o700)
        daemon.sources |= {
            "1": {"type": "jsonl", "files": f"{folder}/*.jsonl", "values": {"equity": {"last": "equity"}}},
            "2": {
                "type": "log",
                "files": f"{folder}/bot.log",
                "time": "^(?P<time>[0-9: -]{19})",
                "values": {"equity": {"last": "equity=(?P<value>[0-9]+)"}},
            },
            "3": {"type": "json_file", "file": f"{folder}/state.json", "values": {"equity": "equity"}},
            "4": {"type": "textfile", "folder": str(folder)},
            "5": {
                "type": "sql",
                "file": f"{folder}/bot.db",
                "queries": [{"query": "SELECT equity FROM account", "values": {"equity": "equity"}}],
            },
        }
        for source in daemon.sources.values():
            source["every"] = "500ms"

    with root_daemon(prepare) as daemon:
        daemon.start(wait=False)

        def read() -> bool:
            with contextlib.suppress(OSError, ValueError, KeyError):
                sources = daemon.status()["sources"]
                return all(sources[name]["up"] for name in "12345")
            return False

        wait_until(read, "all of them are read", SOON)
        assert {each.uids().real for each in daemon.workers()} == {BOT}
