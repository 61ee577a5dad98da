"""Whose process it is: numbers, times and names are what others may choose; the account is not."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.security.conftest import Lab
from tests.security.unprivileged import BOT, STRANGER, run_in_child, snapshot, start_as
from tests.support.actions import make_action, wait_until
from watchdog.core.errors import ActionError, SourceError
from watchdog.core.target import ProcessSpec, Target
from watchdog.host import process_table
from watchdog.host.bot_process import find_process
from watchdog.sources.process import ProcessSource

COMMAND = ("sh", "-c", "sleep 600; true", "the-bot")
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """A process of that user; it ends with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def run(uid: int, *argv: str, **how: Any) -> subprocess.Popen[bytes]:
        started.append(start_as(uid, *argv, **how))
        wait_until(lambda: psutil.Process(started[-1].pid).cmdline() == list(argv))
        return started[-1]

    yield run
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(60)


def make_step(lab: Lab, verb: str, **more: Any) -> Any:
    place = {"pid_file": "bot.pid", "command": COMMAND, "log": "bot.log", **more}
    fields = {"do": "process", verb: "process", "grace": 1_000, "alive_for": 50}
    return make_action(**fields).bind(Target(repo=str(lab.bot), process=ProcessSpec(**place)))


def write_pid_file(lab: Lab, pid: int, age: float = 0) -> Path:
    path = lab.bot / "bot.pid"
    path.write_text(f"{pid}\n")
    os.chown(path, BOT, BOT)
    written = psutil.Process(pid).create_time() - age
    os.utime(path, (written, written))
    return path


@pytest.mark.parametrize("victim", [0, STRANGER])
@pytest.mark.parametrize("argv", [("sleep", "600"), COMMAND])
def test_a_pid_file_with_a_forged_time_has_nobody_elses_process_killed(
    lab: Lab, start: Start, victim: int, argv: tuple[str, ...]
) -> None:
    """Even by root, who could."""
    process = start(victim, *argv)
    write_pid_file(lab, process.pid)

    for uid in (BOT, None if victim else STRANGER):
        with pytest.raises(ActionError, match="which belongs to"):
            run_in_child(lambda: make_step(lab, "stop").capture(), uid=uid)
    assert process.poll() is None


def test_ones_own_process_that_has_got_the_number_is_not_the_bot(lab: Lab, start: Start) -> None:
    other = start(BOT, "sleep", "600")
    write_pid_file(lab, other.pid, age=3_600)

    step = make_step(lab, "stop")
    assert run_in_child(lambda: step.apply(step.capture(), "k"), uid=BOT) == "no process was running"
    assert other.poll() is None


def test_a_pid_file_that_everybody_may_write_is_not_believed_its_time(lab: Lab, start: Start) -> None:
    other = start(BOT, "sleep", "600")
    write_pid_file(lab, other.pid).chmod(0o666)

    with pytest.raises(ActionError, match="remove the file if that is not the bot"):
        run_in_child(lambda: make_step(lab, "stop").capture(), uid=BOT)


def test_the_bot_itself_is_ended_through_a_descriptor(lab: Lab, start: Start) -> None:
    bot = start(BOT, *COMMAND, cwd=lab.bot)
    write_pid_file(lab, bot.pid)
    step = make_step(lab, "stop")

    def go() -> str:
        real = os.kill

        def only_asked(pid: int, number: int) -> None:
            assert number == 0, "a number may be anybody's by the time that it is used"
            real(pid, number)

        os.kill = only_asked
        return str(step.apply(step.capture(), "k"))

    # It stays a zombie of ours until we wait: ended it is all the same.
    assert run_in_child(go, uid=BOT) == f"process {bot.pid} ended"
    assert bot.wait(60) == -15


def test_a_number_that_changes_hands_before_the_signal_is_not_killed(start: Start) -> None:
    """Once the bot is found, its number is another's."""
    other = start(BOT, "sleep", "600")
    bot = process_table.RunningProcess(other.pid, f"{process_table.boot_id()} 1")

    assert run_in_child(lambda: process_table.send_signal(bot, signal.SIGKILL), uid=BOT) is False
    assert other.poll() is None


def test_a_process_that_becomes_another_users_before_the_signal_is_not_killed(start: Start) -> None:
    other = start(STRANGER, "sleep", "600")
    running = process_table.find_running(other.pid)
    assert running is not None

    with pytest.raises(ActionError, match="belongs to another user"):
        process_table.send_signal(running, signal.SIGKILL)
    assert other.poll() is None


@pytest.mark.parametrize("verb", ["stop", "start", "restart"])
def test_a_fifo_as_pid_file_holds_no_step_up(lab: Lab, verb: str) -> None:
    os.mkfifo(lab.bot / "bot.pid")
    began = time.monotonic()

    with pytest.raises(ActionError, match=r"bot\.pid is no regular file but a FIFO"):
        run_in_child(lambda: make_step(lab, verb).capture() and make_step(lab, verb).apply({}, "k"), uid=BOT)
    assert time.monotonic() - began < 30


def test_a_fifo_as_pid_file_holds_no_source_up(lab: Lab) -> None:
    os.mkfifo(lab.bot / "bot.pid")

    with pytest.raises(SourceError, match="no regular file but a FIFO"):
        run_in_child(lambda: up(ProcessSource(type="process", pid_file=str(lab.bot / "bot.pid"))), seconds=5)


def test_a_start_writes_and_logs_through_no_link_and_into_no_fifo(lab: Lab) -> None:
    (lab.bot / "bot.pid.trading-watchdog").symlink_to(lab.outside / "state.json")
    was = snapshot(lab.outside)

    step = make_step(lab, "start", log="bot.log")
    said = step.apply(step.capture(), "k")
    pid = int((lab.bot / "bot.pid").read_text())
    assert said == f"process {pid} runs"
    assert snapshot(lab.outside) == was
    assert make_step(lab, "stop").apply({"pid": None}, "k") == f"process {pid} ended"

    (lab.bot / "fifo").unlink(missing_ok=True)
    os.mkfifo(lab.bot / "fifo")
    os.chown(lab.bot / "fifo", BOT, BOT)
    for log, why in (("fifo", "fifo"), ("link", "leads out of")):
        if log == "link":
            (lab.bot / log).symlink_to(lab.outside / "state.json")
        step = make_step(lab, "start", log=log)
        with pytest.raises(ActionError, match=why):
            step.apply(step.capture(), "k")
        assert not (lab.bot / "bot.pid").exists()
    assert snapshot(lab.outside) == was


# The source


def up(source: ProcessSource, state: dict[str, Any] | None = None) -> float:
    samples = source.read({} if state is None else state, {}, int(time.time() * 1_000))
    return next(value for name, _, _, value in samples if name == "process_up")


def make_look_alike(start: Start, uid: int, word: str) -> subprocess.Popen[bytes]:
    return start(uid, "sh", "-c", "sleep 600; true", word)


def test_a_look_alike_of_another_user_neither_blinds_the_source_nor_is_taken_for_the_bot(start: Start) -> None:
    word = f"bot-{os.getpid()}-{time.monotonic_ns()}"
    source = ProcessSource(type="process", cmdline=re.escape(word))
    state: dict[str, Any] = {}
    bot = make_look_alike(start, BOT, word)
    assert up(source, state) == 1
    make_look_alike(start, STRANGER, word)

    assert up(source, state) == 1
    assert str(bot.pid) in state["process"]
    os.killpg(bot.pid, signal.SIGKILL)
    bot.wait(60)
    assert up(source, state) == 0


def test_with_a_user_that_holds_from_the_first_read_on(start: Start) -> None:
    word = f"bot-{os.getpid()}-{time.monotonic_ns()}"
    make_look_alike(start, STRANGER, word)
    for user in (str(BOT), "nobody"):
        assert up(ProcessSource(type="process", cmdline=re.escape(word), user=user)) == 0
    assert up(ProcessSource(type="process", cmdline=re.escape(word), user=str(STRANGER))) == 1


def test_at_first_sight_of_two_users_processes_nobody_guesses(start: Start) -> None:
    word = f"bot-{os.getpid()}-{time.monotonic_ns()}"
    make_look_alike(start, STRANGER, word)
    make_look_alike(start, BOT, word)

    with pytest.raises(SourceError, match=f"say user: {BOT} or {STRANGER}"):
        up(ProcessSource(type="process", cmdline=re.escape(word)))


def test_a_pid_file_names_processes_of_its_owner_only(lab: Lab, start: Start) -> None:
    path = write_pid_file(lab, start(STRANGER, "sleep", "600").pid)
    with pytest.raises(SourceError, match=f"say user: {STRANGER}"):
        up(ProcessSource(type="process", pid_file=str(path)))
    assert up(ProcessSource(type="process", pid_file=str(path), user=str(BOT))) == 0
    os.chown(path, 0, 0)  # as a starter that runs as root writes it
    assert up(ProcessSource(type="process", pid_file=str(path))) == 1


def test_a_user_that_is_not_there_is_told() -> None:
    with pytest.raises(SourceError, match="there is no user no-such-user"):
        up(ProcessSource(type="process", cmdline="x", user="no-such-user"))


def test_the_journal_knows_a_bot_that_has_become_another_program(lab: Lab, start: Start) -> None:
    bot = start(BOT, "sleep", "600")
    write_pid_file(lab, bot.pid, age=-3_600)
    spec = make_step(lab, "stop").place
    known = process_table.find_running(bot.pid)

    assert run_in_child(lambda: find_process(spec, known), uid=BOT) == known
    with pytest.raises(ActionError, match="runs 'sleep 600'"):
        run_in_child(lambda: find_process(spec), uid=BOT)
