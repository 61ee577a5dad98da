"""Which process is the bot: found without its pid file, told from the bot next door, never guessed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.actions import json_round_trip, make_action, wait_until
from tests.support.processes import is_alive
from watchdog.core.errors import ActionError
from watchdog.core.protocols import Action
from watchdog.core.target import ProcessSpec, Target
from watchdog.host.bot_identity import BotPlace, ProcessFacts
from watchdog.host.bot_process import find_bot, find_process

SCRIPT = "import time; time.sleep(600)\n"
COMMAND = (sys.executable, "bot.py")
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """A process as a person starts it; it ends with the test, and its children with it."""
    started: list[subprocess.Popen[bytes]] = []

    def run(folder: Path, *argv: str, **how: Any) -> subprocess.Popen[bytes]:
        words = argv or COMMAND
        started.append(subprocess.Popen(words, cwd=folder, start_new_session=True, **how))
        wait_until(lambda: psutil.Process(started[-1].pid).cmdline()[-1:] == [words[-1]])
        return started[-1]

    yield run
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(60)


def make_folder(tmp_path: Path, name: str) -> Path:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "bot.py").write_text(SCRIPT)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path, "bot")


def make_step(folder: Path, verb: str, **more: Any) -> Action:
    place = {"pid_file": "bot.pid", "command": COMMAND, **more}
    fields = {"do": "process", verb: "process", "grace": 2_000, "alive_for": 50}
    return make_action(**fields).bind(Target(repo=str(folder), process=ProcessSpec(**place)))


def spec(folder: Path, **more: Any) -> ProcessSpec:
    return ProcessSpec(**{"pid_file": "bot.pid", "command": COMMAND, "cwd": str(folder), **more})


def stop(folder: Path, **more: Any) -> str:
    step = make_step(folder, "stop", **more)
    before = json_round_trip(step.capture())
    assert step.state(before) == "before"
    said = step.apply(before, "k")
    assert step.state(before) == "after"
    return said


# The bot next door


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [-3_600, 0, 3_600])
@pytest.mark.parametrize("verb", ["stop", "restart"])
def test_a_stale_number_that_the_bot_next_door_has_got_is_not_the_bot(
    tmp_path: Path, folder: Path, start: Start, verb: str, seconds: int
) -> None:
    """The same relative command, and a file that was written at any time."""
    other = start(make_folder(tmp_path, "next door"))
    (folder / "bot.pid").write_text(f"{other.pid}\n")
    written = psutil.Process(other.pid).create_time() + seconds
    os.utime(folder / "bot.pid", (written, written))
    step = make_step(folder, verb)
    before = step.capture()

    assert before["pid"] is None
    step.apply(before, "k")
    assert is_alive(other.pid)
    if verb == "restart":
        assert stop(folder).endswith("ended")
    assert is_alive(other.pid)


def test_both_bots_run_and_each_is_found_by_its_own_folder(tmp_path: Path, folder: Path, start: Start) -> None:
    next_door = make_folder(tmp_path, "next door")
    bot, other = start(folder), start(next_door)

    assert [each.pid for each in find_bot(spec(folder)).bots] == [bot.pid]
    assert [each.pid for each in find_bot(spec(next_door)).bots] == [other.pid]


@pytest.mark.parametrize(
    "words",
    [
        ("tail", "-f", "bot.py"),  # what looks at the script
        (sys.executable, "-m", "timeit", "-n", "1", "-s", SCRIPT, "bot.py"),
        (sys.executable, "-c", SCRIPT),
    ],
)
def test_another_program_in_the_bots_folder_is_not_the_bot(folder: Path, start: Start, words: tuple[str, ...]) -> None:
    other = start(folder, *words, stdout=subprocess.DEVNULL)

    assert find_bot(spec(folder)) == find_bot(spec(folder))._replace(bots=(), parts=(), doubtful=())
    assert is_alive(other.pid)


def test_a_second_bot_with_other_arguments_from_the_same_folder_is_not_the_bot(folder: Path, start: Start) -> None:
    commands = [(*COMMAND, "--pair", pair) for pair in ("BTC", "ETH")]
    one, other = (start(folder, *command) for command in commands)

    assert stop(folder, command=commands[0]).startswith(f"process {one.pid} ended")
    assert is_alive(other.pid)


@pytest.mark.parametrize(
    "words",
    [
        ("bot", "-u", "bot.py"),
        ("bot", "{folder}/bot.py"),
        ("bot", "./bot.py"),
        ("bot", "../bot/bot.py"),
    ],
)
def test_the_same_command_in_other_words_is_the_bot(folder: Path, start: Start, words: tuple[str, ...]) -> None:
    bot = start(folder, *(word.format(folder=folder) for word in words), executable=sys.executable)

    assert find_process(spec(folder)) == find_bot(spec(folder)).bots[0]
    assert find_bot(spec(folder)).bots[0].pid == bot.pid


def test_a_script_that_its_first_line_starts_is_the_bot(folder: Path, start: Start) -> None:
    (folder / "run").write_text(f"#!{sys.executable}\n{SCRIPT}")
    (folder / "run").chmod(0o755)
    bot = start(folder, "./run", "live")

    assert stop(folder, command=("./run", "live")).startswith(f"process {bot.pid} ended")


def test_a_virtual_environment_is_followed_to_its_interpreter(folder: Path, start: Start) -> None:
    (folder / "venv").mkdir()
    (folder / "venv/python").symlink_to(os.path.realpath(sys.executable))
    bot = start(folder, "venv/python", "bot.py")

    assert stop(folder, command=("venv/python", "bot.py")).startswith(f"process {bot.pid} ended")


def test_a_bot_that_leaves_its_folder_is_known_by_the_full_path_of_its_script(folder: Path, start: Start) -> None:
    (folder / "bot.py").write_text(f"import os; os.chdir('/'); {SCRIPT}")
    bot = start(folder, sys.executable, f"{folder}/bot.py")
    wait_until(lambda: psutil.Process(bot.pid).cwd() == "/")

    assert stop(folder).startswith(f"process {bot.pid} ended")


def test_a_bot_that_leaves_its_folder_and_says_nothing_of_it_is_a_question_for_people(
    folder: Path, start: Start
) -> None:
    command = (sys.executable, "wandering.py")  # another test's would be as doubtful
    (folder / "wandering.py").write_text(f"import os; os.chdir('/'); {SCRIPT}")
    variables = {name: value for name, value in os.environ.items() if name != "PWD"}
    bot = start(folder, *command, env=variables)
    wait_until(lambda: psutil.Process(bot.pid).cwd() == "/")
    step = make_step(folder, "stop", command=command)

    with pytest.raises(ActionError, match=f"nobody can tell that it is gone: process {bot.pid} runs .* in /"):
        step.capture()
    assert step.state({"pid": None}) == "unknown"
    (folder / "bot.pid").write_text(str(bot.pid))
    with pytest.raises(ActionError, match="remove the file if that is not the bot"):
        step.capture()
    assert is_alive(bot.pid)


def test_a_bot_that_leaves_its_folder_and_was_begun_there_is_the_one_that_its_pid_file_names(
    folder: Path, start: Start
) -> None:
    command = (sys.executable, "moving.py")
    (folder / "moving.py").write_text(f"import os; os.chdir('/'); {SCRIPT}")
    bot = start(folder, *command, env={**os.environ, "PWD": str(folder)})
    wait_until(lambda: psutil.Process(bot.pid).cwd() == "/")
    (folder / "bot.pid").write_text(str(bot.pid))

    assert stop(folder, command=command) == f"process {bot.pid} ended"


def test_a_bot_of_an_older_release_is_never_taken_for_gone(tmp_path: Path, start: Start) -> None:
    """A link leads to the newest one."""
    old, new = make_folder(tmp_path, "1"), make_folder(tmp_path, "2")
    current = tmp_path / "current"
    current.symlink_to(old)
    bot = start(current, env={**os.environ, "PWD": str(current)})
    current.unlink()
    current.symlink_to(new)
    place = {"pid_file": str(tmp_path / "bot.pid"), "cwd": str(current)}

    with pytest.raises(ActionError, match="end it if that is the bot"):
        make_step(current, "restart", **place).capture()
    (tmp_path / "bot.pid").write_text(str(bot.pid))
    assert find_process(spec(current, pid_file=str(tmp_path / "bot.pid"))) is not None


def test_what_runs_with_another_variable_than_is_said_is_not_surely_the_bot(folder: Path, start: Start) -> None:
    start(folder, env={**os.environ, "PAIR": "ETH"})

    finding = find_bot(spec(folder, env={"PAIR": "BTC"}))
    assert (finding.bots, len(finding.doubtful)) == ((), 1)
    assert "another PAIR than is said" in finding.doubtful[0]


def test_two_bots_of_ours_with_one_command_are_told_apart_by_their_pid_files(folder: Path) -> None:
    started = []
    for name in ("one.pid", "other.pid"):
        step = make_step(folder, "start", pid_file=name)
        try:
            step.apply({"pid": None}, "k")
        finally:
            started.append(int((folder / name).read_text()))
    try:
        assert started[0] != started[1]
        assert stop(folder, pid_file="one.pid") == f"process {started[0]} ended"
        assert is_alive(started[1])
        (folder / "other.pid").unlink()
        assert "other.pid is not there" in stop(folder, pid_file="other.pid")
    finally:
        for pid in started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("facts", "verdict"),
    [
        ({"words": ("./bot",), "program": None, "folder": None, "folder_id": None}, "doubtful"),
        ({"words": ("ssh-agent", "-s"), "program": None, "folder": None, "folder_id": None}, "unlike"),
        ({"words": (), "program": None}, "unlike"),  # a thread of the kernel's
        ({"words": ("./bot",), "folder": None, "folder_id": None}, "doubtful"),
        ({"words": ("./bot",), "program": None}, "doubtful"),
        ({"words": ("./bot",)}, "bot"),
    ],
)
def test_what_is_not_readable_is_neither_the_bot_nor_another(folder: Path, facts: dict[str, Any], verdict: str) -> None:
    (folder / "bot").write_bytes(b"\x7fELF")
    (folder / "bot").chmod(0o755)
    place = BotPlace(spec(folder, command=("./bot",)))
    readable = ProcessFacts(7, (), str(folder / "bot"), str(folder), place.folder_id, {})

    assert place.compare(readable._replace(**facts), named=False).verdict == verdict


# Without a pid file


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "bot.pid is not there"),
        ("", "bot.pid is empty"),
        ("4194304", "bot.pid names process 4194304, which is not there"),
        ("other", "which runs 'sleep 600'"),
        ("garbage", "holds no process id but 'garbage'"),
    ],
)
def test_a_bot_whose_pid_file_is_missing_or_wrong_is_found_and_stopped(
    folder: Path, start: Start, text: str | None, said: str
) -> None:
    bot, other = start(folder), start(folder.parent, "sleep", "600")
    if text is not None:
        (folder / "bot.pid").write_text(text.replace("other", str(other.pid)))

    told = stop(folder)
    assert told.startswith(f"process {bot.pid} ended (")
    assert said in told
    assert not is_alive(bot.pid)
    assert is_alive(other.pid)


def test_a_restart_without_a_pid_file_ends_the_old_bot_first(folder: Path, start: Start) -> None:
    bot = start(folder)
    step = make_step(folder, "restart")
    before = json_round_trip(step.capture())
    assert before["pid"] == bot.pid
    step.apply(before, "k")

    assert not is_alive(bot.pid)
    assert step.state(before) == "after"
    assert [str(each.pid) for each in find_bot(spec(folder)).bots] == [(folder / "bot.pid").read_text().strip()]
    stop(folder)


def test_a_start_finds_a_bot_that_no_pid_file_names(folder: Path, start: Start) -> None:
    bot = start(folder)
    step = make_step(folder, "start")

    assert step.state(step.capture()) == "after"
    assert step.apply({"pid": None}, "k") == f"process {bot.pid} runs already"


def test_a_pid_file_that_holds_something_else_is_not_written_over(folder: Path, start: Start) -> None:
    start(folder)
    (folder / "bot.pid").write_text("precious")

    for verb in ("start", "restart"):
        with pytest.raises(ActionError, match="holds no process id but 'precious'"):
            make_step(folder, verb).capture()
    assert (folder / "bot.pid").read_text() == "precious"


def test_a_halt_ends_all_that_surely_are_the_bot_and_a_restart_refuses(folder: Path, start: Start) -> None:
    bots = [start(folder) for _ in range(2)]
    (folder / "bot.pid").write_text(str(bots[0].pid))

    for verb in ("start", "restart"):
        step = make_step(folder, verb)
        with pytest.raises(ActionError, match="it runs 2 times") as refused:
            step.capture()
        assert all(str(bot.pid) in str(refused.value) for bot in bots)
        assert step.state({"pid": None}) == "unknown"
    stop(folder)
    assert not any(is_alive(bot.pid) for bot in bots)


def test_forked_workers_are_not_several_bots(folder: Path, start: Start) -> None:
    (folder / "bot.py").write_text(f"import os; os.fork(); os.fork(); {SCRIPT}")
    bot = start(folder)
    wait_until(lambda: len(psutil.Process(bot.pid).children(recursive=True)) == 3)

    finding = find_bot(spec(folder))
    assert [each.pid for each in finding.bots] == [bot.pid]
    assert stop(folder) == f"process {bot.pid} ended (bot.pid is not there)"


def test_a_bot_with_more_arguments_than_are_said_is_never_taken_for_gone(folder: Path, start: Start) -> None:
    bot = start(folder, *COMMAND, "--verbose")
    step = make_step(folder, "stop")

    with pytest.raises(ActionError, match="nobody can tell that it is gone") as unsure:
        step.capture()
    assert str(bot.pid) in str(unsure.value)
    with pytest.raises(ActionError, match="end it if that is the bot"):
        make_step(folder, "restart").capture()
    assert is_alive(bot.pid)


@pytest.mark.slow
@pytest.mark.parametrize("wrapper", [("nohup", "sh", "-c"), ("sh", "-c")])
def test_a_bot_within_a_wrapper_is_found(folder: Path, start: Start, wrapper: tuple[str, ...]) -> None:
    text = f"{sys.executable} bot.py; true"
    shell = start(folder, *wrapper, text, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: psutil.Process(shell.pid).children())
    (folder / "bot.pid").write_text(str(shell.pid))  # as `echo $!` writes it

    said = stop(folder)
    assert "bot.pid names process" in said
    assert shell.wait(60) == 0  # it ended by itself, and got no signal


def test_what_a_wrapper_of_the_command_has_left_is_found(folder: Path, start: Start) -> None:
    command = ("sh", "-c", f"{sys.executable} bot.py")
    bot = start(folder)

    assert stop(folder, command=command).startswith(f"process {bot.pid} ended")


@pytest.mark.parametrize("sets", [-7_200, 7_200])
def test_a_bot_that_was_known_is_the_bot_whatever_became_of_clock_and_file(
    folder: Path, start: Start, sets: int
) -> None:
    command = (sys.executable, "vanishing.py")
    (folder / "vanishing.py").write_text(f"open('began', 'w'); {SCRIPT}")
    bot = start(folder, *command)
    wait_until((folder / "began").exists)  # the script was read
    pid_file = folder / "bot.pid"
    pid_file.write_text(str(bot.pid))
    step = make_step(folder, "stop", command=command)
    before = json_round_trip(step.capture())
    moved = psutil.Process(bot.pid).create_time() + sets
    os.utime(pid_file, (moved, moved))
    (folder / "vanishing.py").unlink()

    assert step.state(before) == "before"
    assert step.apply(before, "k") == f"process {bot.pid} ended"


@pytest.mark.parametrize("sets", [-7_200, 7_200])
def test_at_first_sight_no_time_tells_whether_it_is_the_bot(folder: Path, start: Start, sets: int) -> None:
    bot = start(folder)
    pid_file = folder / "bot.pid"
    pid_file.write_text(str(bot.pid))
    moved = psutil.Process(bot.pid).create_time() + sets
    os.utime(pid_file, (moved, moved))

    assert stop(folder) == f"process {bot.pid} ended"
