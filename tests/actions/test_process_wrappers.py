"""A bot that is started by a script of its own, writes a title over its arguments, or is kept running by somebody else."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.actions.test_process_identity import Start, folder, make_folder, make_step, start, stop
from tests.support.actions import json_round_trip, wait_until
from tests.support.processes import is_alive
from watchdog.core.errors import ActionError
from watchdog.core.target import ProcessSpec
from watchdog.host import child_process
from watchdog.host.bot_identity import BotPlace, ProcessFacts
from watchdog.host.wrapper_script import UNKNOWN, list_started

__all__ = ["folder", "start"]

PYTHON = sys.executable
Launch = Callable[..., "subprocess.Popen[bytes]"]


def write_script(folder: Path, text: str) -> str:
    (folder / "run.sh").write_text(text)
    (folder / "run.sh").chmod(0o755)
    return "./run.sh"


@pytest.fixture
def launch(folder: Path) -> Iterator[Launch]:
    """A command that is another one by and by; it ends with the test, and what it has begun with it."""
    started: list[subprocess.Popen[bytes]] = []

    def run(*words: str) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(words, cwd=folder, start_new_session=True))
        wait_until(lambda: find_python(started[-1].pid))
        return started[-1]

    yield run
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(60)


def find_python(pid: int) -> list[int]:
    """What runs the bot: that process, or a child of it."""
    root = psutil.Process(pid)
    return [each.pid for each in (root, *root.children()) if each.cmdline()[-1:] == ["bot.py"]]


@pytest.mark.parametrize(
    "text",
    [
        f"#!/bin/sh\nexec {PYTHON} bot.py\n",
        f'#!/bin/sh\ncd "$(dirname "$0")"\nPY={PYTHON}\nexec "$PY" bot.py "$@" >> bot.log 2>&1\n',
        f"#!/bin/sh\nset -eu\nexport MODE=live\nMODE=dry exec {PYTHON} \\\n  -u bot.py\n",
    ],
)
def test_a_bot_whose_script_has_put_it_in_its_own_place_is_found_without_its_pid_file(
    folder: Path, start: Start, launch: Launch, text: str
) -> None:
    script = write_script(folder, text)
    bot = launch(script)
    neighbour = start(make_folder(folder.parent, "next door"), PYTHON, "bot.py")
    stop(folder, command=[script])

    assert bot.wait(10) != 0
    assert is_alive(neighbour.pid)


def test_a_shells_text_is_followed_as_a_script_is(folder: Path, launch: Launch) -> None:
    command = ["sh", "-c", f"cd . && exec {PYTHON} bot.py"]
    bot = launch(*command)
    stop(folder, command=command)

    assert bot.wait(10) != 0


@pytest.mark.parametrize(
    "text",
    [f"#!/bin/sh\n{PYTHON} bot.py\n", f"#!/bin/sh\n[ -f x ] && exec {PYTHON} bot.py $KEY\nexec {PYTHON} other.py\n"],
)
@pytest.mark.parametrize("verb", ["stop", "restart"])
def test_what_a_script_may_have_started_is_not_taken_for_gone(folder: Path, start: Start, text: str, verb: str) -> None:
    script = write_script(folder, text)
    bot = start(folder)
    with pytest.raises(ActionError, match=rf"process {bot.pid} runs .*bot\.py.* if that is the bot"):
        make_step(folder, verb, command=[script]).capture()

    assert is_alive(bot.pid)


def test_what_else_runs_in_the_folder_is_no_bot_of_the_scripts(folder: Path, start: Start) -> None:
    script = write_script(folder, f"#!/bin/sh\necho bot.py\nsleep 5\n{PYTHON} bot.py\n")
    start(folder, "sleep", "600")
    start(folder, "tail", "-f", "bot.py")
    start(folder, PYTHON, "-c", "import time; time.sleep(600)")
    before = make_step(folder, "stop", command=[script]).capture()

    assert before["pid"] is None


@pytest.mark.parametrize(
    ("title", "found"), [("gunicorn: master [app]", "doubtful"), ("-python3", "unlike"), ("python", "unlike")]
)
def test_a_title_over_the_arguments_hides_whether_it_is_the_bot(folder: Path, title: str, found: str) -> None:
    place = BotPlace(ProcessSpec(pid_file="bot.pid", command=(PYTHON, "bot.py"), cwd=str(folder)))
    at = folder.stat()
    facts = ProcessFacts(7, (title,), os.path.realpath(PYTHON), str(folder), (at.st_dev, at.st_ino), {})

    assert place.compare(facts, named=False).verdict == found


def test_a_bot_that_somebody_keeps_running_is_not_started_beside_that_one(folder: Path, launch: Launch) -> None:
    loop = launch("sh", "-c", f"while :; do {PYTHON} bot.py; sleep 0.7; done")
    step = make_step(folder, "restart")
    before = json_round_trip(step.capture())
    said = step.apply(before, "k")

    (second,) = find_python(loop.pid)
    assert f"process {second} runs, started by somebody else" in said
    assert step.state(before) == "after"


def test_who_may_start_it_a_second_time_is_told(folder: Path, launch: Launch) -> None:
    loop = launch("sh", "-c", f"while :; do {PYTHON} bot.py; sleep 600; done")
    step = make_step(folder, "restart")
    before = json_round_trip(step.capture())
    said = step.apply(before, "k")
    stop(folder)

    assert re.search(
        rf"but it had been started by process {loop.pid} .*: see that it is not started twice; process", said
    )


def started(text: str, *arguments: str, **variables: Any) -> list[tuple[tuple[str, ...], bool]]:
    return [(each.words, each.is_it) for each in list_started(text, arguments, variables)]


def test_what_a_script_starts_is_read_from_its_text() -> None:
    assert started('exec a "$@" > log 2>&1 &', "x", "y") == [(("a", "x", "y"), True)]
    assert started("A=1 exec -a name b $1 ${2} ${3:-z}", "x") == [(("b", "x", UNKNOWN, "z"), False)]
    assert started("P=/opt\nwhile :; do $P/a -c $KEY; sleep 1; done", KEY="k") == [(("/opt/a", "-c", "k"), False)]
    assert started("exec a $(date)") == [(("a", UNKNOWN), False)]
    assert started("exec a\nexec b") == [(("a",), False), (("b",), False)]
    assert started("# exec a\nexport PATH\nx='unfinished\nexec b # c") == [(("b",), True)]
    assert started("exec") == started("") == started("exec $X") == []


def test_a_variable_that_doubles_line_by_line_is_not_followed() -> None:
    doubled = 'A="$A$A"\n'
    assert started(f"A=xx\n{doubled * 2}exec $A") == [(("xx" * 4,), True)]
    (((_, word), is_it),) = started(f"A=xx\n{doubled * 24}exec b $A")
    assert set(word) == {UNKNOWN}
    assert len(word) < 2_000
    assert not is_it


def test_what_a_script_starts_is_looked_up_once_and_not_for_each_process(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helpers = "helper --all files\n" * 50
    script = write_script(folder, f"#!/bin/sh\n{helpers}exec {PYTHON} bot.py\n")
    place = BotPlace(ProcessSpec(pid_file="bot.pid", command=(script,), cwd=str(folder)))
    looked_up: list[str] = []
    find = child_process.find_program

    def find_program(word: str, *where: Any) -> str | None:
        looked_up.append(word)
        return find(word, *where)

    monkeypatch.setattr(child_process, "find_program", find_program)
    counts = []
    for pid in range(3):
        facts = ProcessFacts(pid, ("/bin/other", "x"), "/bin/other", "/", None, {})
        assert place.compare(facts, named=False).verdict == "unlike"
        counts.append(len(looked_up))

    assert 0 < counts[0] < 20
    assert counts[2] - counts[0] <= 2  # what each calls itself
