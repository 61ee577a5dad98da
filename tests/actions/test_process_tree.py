"""A bot is ended with all that it has begun, or what is left is told; and nothing else is."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from tests.support.actions import json_round_trip, make_action, wait_until
from tests.support.processes import is_alive
from watchdog.core.errors import ActionError
from watchdog.core.protocols import Action
from watchdog.core.target import ProcessSpec, Target
from watchdog.host import process_table, process_tree
from watchdog.host.bot_identity import BotPlace
from watchdog.host.bot_process import describe_all

pytestmark = pytest.mark.slow

SLEEP = "import time\ntime.sleep(600)\n"
NOTE = "import os\nopen('begun', 'a').write(f'{os.getpid()}\\n')\n"
CHILD = NOTE + SLEEP
STUBBORN = "import signal\nsignal.signal(15, signal.SIG_IGN)\n"
DOUBLE_FORK = "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        {}\n    os._exit(0)\nos.wait()\n"


class Bot:
    """A folder with a bot in it, and all that it has begun, which notes itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "child.py").write_text(CHILD)
        self.started: list[subprocess.Popen[bytes]] = []

    def write(self, script: str) -> None:
        (self.folder / "bot.py").write_text(f"import os, subprocess, sys, time\n{script}{SLEEP}")

    def start(self, *wrapper: str, **how: Any) -> subprocess.Popen[bytes]:
        """As a person does it."""
        words = wrapper or (sys.executable, "bot.py")
        self.started.append(subprocess.Popen(words, cwd=self.folder, **how))
        return self.started[-1]

    def begun(self, number: int) -> list[int]:
        """Numbers of that many children, once they run."""
        noted = self.folder / "begun"
        wait_until(lambda: noted.exists() and len(noted.read_text().split()) >= number)
        return [int(pid) for pid in noted.read_text().split()]

    def make_step(self, verb: str, grace: int = 3_000) -> Action:
        place = ProcessSpec(pid_file="bot.pid", command=(sys.executable, "bot.py"))
        step = make_action(do="process", **{verb: "process"}, grace=grace, alive_for=50)
        return step.bind(Target(repo=str(self.folder), process=place))

    def stop(self, grace: int = 3_000) -> str:
        step = self.make_step("stop", grace)
        before = json_round_trip(step.capture())
        said = step.apply(before, "k")
        assert step.state(before) == "after"
        return said


@pytest.fixture
def bot(tmp_path: Path) -> Iterator[Bot]:
    made = Bot(tmp_path / "bot")
    yield made
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cwd() == str(made.folder):
                process.kill()
    for started in made.started:
        started.kill()
        started.wait(60)


BEGINS = {
    "in a session of its own": "subprocess.Popen([sys.executable, 'child.py'], start_new_session=True)\n",
    "in a group of its own": "subprocess.Popen([sys.executable, 'child.py'], process_group=0)\n",
    "by setsid": "subprocess.Popen(['setsid', sys.executable, 'child.py'])\n",
    "a grandchild": "subprocess.Popen(['sh', '-c', f'{sys.executable} child.py & wait'], start_new_session=True)\n",
    "stubborn": f"subprocess.Popen([sys.executable, '-c', {STUBBORN + CHILD!r}], start_new_session=True)\n",
}


@pytest.mark.parametrize("how", BEGINS)
@pytest.mark.parametrize("ours", [True, False])
def test_what_a_bot_has_begun_does_not_outlive_it(bot: Bot, how: str, ours: bool) -> None:
    bot.write(BEGINS[how])
    if ours:
        bot.make_step("start").apply({"pid": None}, "k")
    else:
        bot.start()
    child = bot.begun(1)[0]
    bot.stop(grace=300 if how == "stubborn" else 20_000)

    assert not is_alive(child)


def test_what_is_handed_on_to_init_is_ended_where_we_started_the_bot(bot: Bot) -> None:
    bot.write(
        DOUBLE_FORK.format("os.chdir('/'); os.execv(sys.executable, ['x', '-c', 'import time; time.sleep(600)'])")
    )
    bot.write(
        (bot.folder / "bot.py").read_text().replace("os.chdir", "open('begun', 'w').write(f'{os.getpid()}'); os.chdir")
    )
    bot.make_step("start").apply({"pid": None}, "k")
    child = bot.begun(1)[0]
    assert psutil.Process(child).ppid() != int((bot.folder / "bot.pid").read_text())
    bot.stop()

    assert not is_alive(child)


def test_what_is_handed_on_to_init_is_told_where_another_started_the_bot(bot: Bot) -> None:
    bot.write(DOUBLE_FORK.format("os.execv(sys.executable, ['python', 'child.py'])"))
    started = bot.start()
    child = bot.begun(1)[0]
    wait_until(
        lambda: psutil.Process(child).ppid() != started.pid and psutil.Process(child).cmdline()[-1] == "child.py"
    )
    step = bot.make_step("stop")
    before = step.capture()

    with pytest.raises(
        ActionError, match=rf"ended.*, but process {child} \('python child.py'\) may have been begun by it"
    ):
        step.apply(before, "k")
    assert not is_alive(started.pid)
    assert is_alive(child)  # it may be somebody else's


def test_what_lies_in_the_units_control_group_that_is_the_bots_own_is_ended(
    bot: Bot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing of one in which another is the main process, as in a session or beside a supervisor."""
    bot.write(DOUBLE_FORK.format("os.environ.clear(); os.execv(sys.executable, ['python', 'child.py'])"))
    (bot.folder / "child.py").write_text(f"{NOTE}os.chdir('/')\n{SLEEP}")
    started = bot.start()
    child = bot.begun(1)[0]
    wait_until(lambda: psutil.Process(child).cwd() == "/")
    held = {started.pid, child}
    monkeypatch.setattr(process_tree, "unit_of_process", lambda pid: "bot.service" if pid in held else None)
    running = process_table.find_running(started.pid)
    assert running is not None
    place = BotPlace(ProcessSpec(pid_file="bot.pid", command=(sys.executable, "bot.py"), cwd=str(bot.folder)))

    for main, begun in ((child, set()), (started.pid, {child})):
        monkeypatch.setattr(process_tree, "unit_status", lambda *_, main=main: SimpleNamespace(main_pid=main))
        tree = process_tree.ProcessTree([running], place)
        assert {each.pid for each in tree.living()} == {started.pid, *begun}
    assert tree.end(20) is False
    assert not is_alive(child)


def test_a_bot_that_leads_no_group_is_ended_without_its_neighbours(bot: Bot) -> None:
    """Started from somebody's shell, which lives on with all else that was started from there."""
    bot.write(BEGINS["in a session of its own"])
    shell = bot.start("sh", "-c", f"sleep 600 & {sys.executable} bot.py; sleep 600", start_new_session=True)
    child = bot.begun(1)[0]
    neighbours = [each for each in psutil.Process(shell.pid).children() if each.name() == "sleep"]
    assert len(neighbours) == 1
    bot.stop()

    assert not is_alive(child)
    assert shell.poll() is None
    assert is_alive(neighbours[0])
    os.killpg(shell.pid, signal.SIGKILL)


def test_a_bot_that_is_started_again_is_not_stopped(bot: Bot) -> None:
    bot.write("")
    loop = bot.start("sh", "-c", f"while :; do {sys.executable} bot.py; done", start_new_session=True)
    wait_until(lambda: psutil.Process(loop.pid).children())
    step = bot.make_step("stop")
    before = step.capture()
    assert before["pid"] != loop.pid

    with pytest.raises(ActionError, match=rf"runs, started again by process {loop.pid} \('sh -c while"):
        step.apply(before, "k")
    assert step.state(before) == "before"
    os.killpg(loop.pid, signal.SIGKILL)


def test_what_forks_while_it_is_ended_is_ended_to_the_last(bot: Bot) -> None:
    """Each of its children begins two others before it ends, in a session of its own."""
    breeds = (
        "import os, signal, sys, time\n"
        "def breed(*_):\n    for _ in range(2):\n        if os.fork() == 0:\n            os.setsid()\n            return\n"
        "signal.signal(15, breed)\n"
    )
    bot.write(f"{breeds}\nopen('begun', 'w').write('1')\nwhile time.sleep(0.02) is None: pass\n")
    bot.make_step("start").apply({"pid": None}, "k")
    bot.begun(1)
    assert "was killed" in bot.stop(grace=300)

    assert not [each for each in psutil.process_iter() if _folder(each) == str(bot.folder) and is_alive(each)]


def _folder(process: psutil.Process) -> str:
    try:
        return process.cwd()
    except psutil.Error:
        return ""


def test_what_a_killed_bot_has_left_is_ended_by_a_stop_and_refuses_a_start(bot: Bot) -> None:
    bot.write(BEGINS["in a session of its own"])
    bot.make_step("start").apply({"pid": None}, "k")
    child = bot.begun(1)[0]
    os.kill(int((bot.folder / "bot.pid").read_text()), signal.SIGKILL)
    wait_until(lambda: not is_alive(int((bot.folder / "bot.pid").read_text())))

    with pytest.raises(ActionError, match=rf"process {child} .* is left of it"):
        bot.make_step("start").capture()
    bot.stop()
    assert not is_alive(child)


@pytest.mark.parametrize("verb", ["stop", "restart"])
def test_a_step_that_was_cut_off_goes_on_with_what_is_left(bot: Bot, verb: str) -> None:
    """Nobody marked the child, and its parent is gone: it was noted ahead of the act."""
    bot.write(BEGINS["in a session of its own"])
    started = bot.start()
    child = bot.begun(1)[0]
    step = bot.make_step(verb)
    before = json_round_trip(step.capture())
    started.kill()
    started.wait(60)

    assert step.state(before) == "before"
    step.apply(before, "k")
    assert step.state(before) == "after"
    assert not is_alive(child)


def test_a_restart_leaves_nothing_of_the_old_bot(bot: Bot) -> None:
    bot.write(BEGINS["in a session of its own"])
    bot.start()
    child = bot.begun(1)[0]
    step = bot.make_step("restart")
    step.apply(json_round_trip(step.capture()), "k")

    assert not is_alive(child)
    bot.stop()


def test_a_watchdog_that_was_started_from_within_a_bot_is_spared(bot: Bot) -> None:
    (bot.folder / "trading-watchdog").write_text(CHILD)
    bot.write("subprocess.Popen([sys.executable, './trading-watchdog'], start_new_session=True)\n")
    bot.start()
    watchdog = bot.begun(1)[0]
    step = bot.make_step("stop")

    with contextlib.suppress(ActionError):
        step.apply(step.capture(), "k")
    assert is_alive(watchdog)


def test_we_are_never_part_of_what_is_ended() -> None:
    """Not even where the bot is above us."""
    own = process_table.find_running(os.getppid())
    assert own is not None
    place = BotPlace(ProcessSpec(pid_file="/nowhere/bot.pid", command=("x",), cwd="/"))

    living = [each.pid for each in process_tree.ProcessTree([own], place).living()]
    assert os.getpid() not in living


class EndlessTable:
    """Of a bot that has begun another one whenever it is looked at; what is in it gets no signal."""

    def __init__(self, root: process_table.ProcessEntry) -> None:
        self.root, self.newest, self.told = root, 0, list[tuple[int, int]]()

    def list_entries(self) -> dict[int, process_table.ProcessEntry]:
        self.newest += 1
        entries = {
            2**22 + number: self.root._replace(pid=2**22 + number, parent=self.root.pid, ticks=number)
            for number in range(max(1, self.newest - 20), self.newest + 1)
        }
        return {self.root.pid: self.root, **entries}

    def send_signal(self, process: process_table.RunningProcess, number: int) -> bool:
        self.told.append((process.pid, number))
        return True


def test_what_goes_on_starting_others_is_given_up_in_time(bot: Bot, monkeypatch: pytest.MonkeyPatch) -> None:
    root = process_table.ProcessEntry(2**22, True, 1, 2**22, 2**22, 0)
    table = EndlessTable(root)
    for name in ("list_entries", "send_signal"):
        monkeypatch.setattr(process_tree, name, getattr(table, name))
    monkeypatch.setattr(process_tree, "is_own", lambda _: True)
    monkeypatch.setattr(process_tree, "_KILL_TIME", 0.3)
    place = BotPlace(ProcessSpec(pid_file="bot.pid", command=("x",), cwd=str(bot.folder)))
    tree = process_tree.ProcessTree([root.process], place)
    began = time.monotonic()

    with pytest.raises(ActionError, match="it goes on starting others") as raised:
        tree.end(0.1)
    assert time.monotonic() - began < 5
    assert raised.value.may_have_happened
    assert "and 17 others" in str(raised.value)
    assert (root.pid, signal.SIGKILL) in table.told
    assert (2**22 + table.newest - 1, signal.SIGKILL) in table.told


def test_a_look_that_takes_too_long_is_no_proof_that_it_has_ended(bot: Bot, monkeypatch: pytest.MonkeyPatch) -> None:
    started = bot.start("sleep", "600")
    running = process_table.find_running(started.pid)
    assert running is not None
    place = BotPlace(ProcessSpec(pid_file="bot.pid", command=("sleep", "600"), cwd=str(bot.folder)))
    tree = process_tree.ProcessTree([running], place)
    began = time.monotonic()
    entries = {n: process_table.ProcessEntry(n, True, 1, n, n, n) for n in range(2**22, 2**22 + 1_000)}
    monkeypatch.setattr(process_tree, "list_entries", lambda: entries)
    monkeypatch.setattr(process_tree.ProcessTree, "_is_part", lambda *_: time.sleep(0.01))
    monkeypatch.setattr(process_tree, "_KILL_TIME", 0.1)
    monkeypatch.setattr(process_tree, "_LAST_LOOK", 0.1)

    with pytest.raises(ActionError, match="something is left of it"):
        tree.end(0.1)
    assert time.monotonic() - began < 5


def test_of_many_processes_five_are_named() -> None:
    many = [process_table.RunningProcess(2**22 + number, "x 1") for number in range(40)]

    said = describe_all(many)
    assert said.count("process") == 5
    assert said.endswith(" and 35 others")
    assert describe_all(many[:6]).endswith(" and 1 other")
    assert "other" not in describe_all(many[:5])
    assert describe_all([]) == ""


def test_a_session_whose_number_is_used_again_is_none_of_the_bots(bot: Bot) -> None:
    other = bot.start("sleep", "600", start_new_session=True)
    past = process_table.RunningProcess(other.pid, f"{process_table.boot_id()} 1")
    place = BotPlace(ProcessSpec(pid_file="bot.pid", command=("x",), cwd=str(bot.folder)))

    assert process_tree.ProcessTree([past], place).living() == []
