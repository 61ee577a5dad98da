from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydantic import ValidationError

from tests.support.actions import json_round_trip, killed_at, make_action, wait_until
from tests.support.processes import is_alive
from watchdog.core.errors import ActionError
from watchdog.core.protocols import Action
from watchdog.core.target import ProcessSpec, Target
from watchdog.host import bot_process, child_process

NONE_RUNS: dict[str, Any] = {"pid": None, "begun": None, "more": [], "note": "", "wrong": ""}
SLEEPING_BOT = "import time; print('up', flush=True); time.sleep(600)"


class BotFolder:
    """A folder with a bot in it; ends whatever ran there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.marker = f"of-{folder.parent.name}-{os.getpid()}"

    def make_target(self, script: str = SLEEPING_BOT, **more: Any) -> Target:
        command = (sys.executable, "-c", script, self.marker)
        place = {"pid_file": "bot.pid", "command": command, "log": "bot.log", **more}
        return Target(repo=str(self.folder), process=ProcessSpec(**place))

    def make_step(
        self, verb: str, script: str = SLEEPING_BOT, grace: int = 5_000, alive_for: int = 50, **more: Any
    ) -> Action:
        fields = {"do": "process", verb: "process", "grace": grace, "alive_for": alive_for}
        return make_action(**fields).bind(self.make_target(script, **more))

    def start_bot(self, script: str = SLEEPING_BOT, **more: Any) -> psutil.Process:
        step = self.make_step("start", script, **more)
        step.apply(step.capture(), "k")
        return psutil.Process(self.pid())

    def pid(self) -> int:
        return int((self.folder / "bot.pid").read_text())

    def running_bots(self) -> list[int]:
        """Living processes with our marker in their arguments, but for those that start one."""
        found = []
        for running in psutil.process_iter():
            try:
                argv = running.cmdline()
                if self.marker in argv and running.status() != psutil.STATUS_ZOMBIE and "-I" not in argv:
                    found.append(running.pid)
            except psutil.Error:
                continue
        return found


@pytest.fixture
def bot_folder(tmp_path: Path) -> Iterator[BotFolder]:
    folder = tmp_path / "bot"
    folder.mkdir()
    made = BotFolder(folder)
    yield made
    for pid in made.running_bots():
        os.kill(pid, signal.SIGKILL)


def test_a_started_bot_is_nobodys_child_and_its_pid_file_names_it(bot_folder: BotFolder) -> None:
    step = bot_folder.make_step("start")
    before = json_round_trip(step.capture())
    assert (before, step.state(before)) == (NONE_RUNS, "before")
    assert step.apply(before, "k") == f"process {bot_folder.pid()} runs"

    bot = psutil.Process(bot_folder.pid())
    assert step.state(before) == "after"
    assert bot.pid not in [process.pid for process in psutil.Process().children(recursive=True)]
    assert os.getsid(bot.pid) == bot.pid
    assert bot.cwd() == str(bot_folder.folder)


def test_a_bot_gets_its_environment_its_log_and_nothing_else_of_ours(
    bot_folder: BotFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OURS", "ours")
    monkeypatch.setenv("LISTED", "listed")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/ours")
    script = (
        "import os, signal, sys, time\n"
        "names = [os.environ.get(n) for n in ('OURS', 'LISTED', 'MORE', 'NOTIFY_SOCKET')]\n"
        "print(names, sorted(os.listdir('/proc/self/fd'))[:4], repr(sys.stdin.read()), flush=True)\n"
        "ignored = next(l for l in open('/proc/self/status') if l.startswith('SigBlk'))\n"
        "print(ignored, file=sys.stderr, flush=True)\n"
        "time.sleep(600)\n"
    )
    (bot_folder.folder / "bot.log").write_text("earlier\n")
    with (bot_folder.folder / "open").open("w") as ours:
        os.set_inheritable(ours.fileno(), True)
        bot_folder.start_bot(script, env={"MORE": "m"}, inherit=["LISTED"])
    wait_until(lambda: "SigBlk" in (bot_folder.folder / "bot.log").read_text())

    earlier, names, signals, *_ = (bot_folder.folder / "bot.log").read_text().splitlines()
    assert earlier == "earlier"
    assert names == "[None, 'listed', 'm', None] ['0', '1', '2', '3'] ''"  # 3 is the listing itself
    assert int(signals.split()[1], 16) == 0


def test_a_start_of_what_runs_already_does_nothing(bot_folder: BotFolder) -> None:
    bot = bot_folder.start_bot()
    step = bot_folder.make_step("start")
    before = step.capture()

    assert step.state(before) == "after"
    assert step.apply(before, "k") == f"process {bot.pid} runs already"
    assert bot_folder.running_bots() == [bot.pid]


def test_a_restart_ends_the_old_bot_and_starts_a_new_one(bot_folder: BotFolder) -> None:
    old = bot_folder.start_bot()
    step = bot_folder.make_step("restart")
    before = json_round_trip(step.capture())
    assert step.state(before) == "before"
    said = step.apply(before, "k")

    assert not is_alive(old)
    assert step.state(before) == "after"
    assert bot_folder.running_bots() == [bot_folder.pid()]
    assert said == f"process {old.pid} ended; process {bot_folder.pid()} runs"


def test_a_restart_that_has_happened_is_not_done_again(bot_folder: BotFolder) -> None:
    bot_folder.start_bot()
    step = bot_folder.make_step("restart")
    before = step.capture()
    step.apply(before, "k")
    new = bot_folder.pid()
    assert step.apply(before, "k") == f"process {new} runs already"
    assert bot_folder.pid() == new


def test_a_restart_of_a_dead_bot_starts_it(bot_folder: BotFolder) -> None:
    old = bot_folder.start_bot()
    old.kill()
    wait_until(lambda: not is_alive(old))
    step = bot_folder.make_step("restart")
    before = step.capture()
    assert before == NONE_RUNS
    step.apply(before, "k")

    assert step.state(before) == "after"
    assert bot_folder.running_bots() == [bot_folder.pid()]


def test_a_stop_ends_the_bot_and_its_pid_file(bot_folder: BotFolder) -> None:
    bot = bot_folder.start_bot()
    step = bot_folder.make_step("stop")
    before = json_round_trip(step.capture())
    assert step.state(before) == "before"
    assert step.apply(before, "k") == f"process {bot.pid} ended"

    assert step.state(before) == "after"
    assert not (bot_folder.folder / "bot.pid").exists()
    assert step.apply(before, "k") == "no process was running"


def test_a_stopped_bot_stands_until_somebody_starts_it(bot_folder: BotFolder) -> None:
    bot_folder.start_bot()
    step = bot_folder.make_step("stop")
    captured = json_round_trip(step.capture())
    step.apply(captured, "k")
    assert list(step.lasting_states(captured)) == ["after"]

    bot_folder.start_bot()

    assert list(step.lasting_states(captured)) == ["before"]


def test_a_bot_that_ignores_sigterm_is_killed_after_its_grace(bot_folder: BotFolder) -> None:
    bot = bot_folder.start_bot(
        "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    )
    wait_until(lambda: "up" in (bot_folder.folder / "bot.log").read_text())
    step = bot_folder.make_step("stop", grace=200)
    assert step.apply(step.capture(), "k") == f"process {bot.pid} was killed after 0.2 s"

    assert not is_alive(bot)


def test_a_bot_that_ends_in_order_is_given_its_time(bot_folder: BotFolder) -> None:
    script = (
        "import signal, sys, time\n"
        "def end(*_):\n    time.sleep(0.3); print('closed', flush=True); sys.exit()\n"
        "signal.signal(15, end); print('up', flush=True); time.sleep(600)\n"
    )
    bot_folder.start_bot(script)
    wait_until(lambda: "up" in (bot_folder.folder / "bot.log").read_text())
    step = bot_folder.make_step("stop")
    step.apply(step.capture(), "k")

    assert "closed" in (bot_folder.folder / "bot.log").read_text()


def test_the_bots_children_do_not_outlive_it(bot_folder: BotFolder) -> None:
    script = (
        "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)', sys.argv[1]])"
    )
    bot = bot_folder.start_bot(script)
    wait_until(lambda: len(bot_folder.running_bots()) == 2)
    step = bot_folder.make_step("stop")
    step.apply(step.capture(), "k")

    assert not is_alive(bot)
    assert bot_folder.running_bots() == []


def test_a_bot_that_dies_at_once_is_told_with_its_exit_status_and_log(bot_folder: BotFolder) -> None:
    (bot_folder.folder / "bot.log").write_text("old trouble\n")
    step = bot_folder.make_step("start", "import sys; sys.exit('no such exchange')", alive_for=30_000)
    with pytest.raises(ActionError, match=r"exit status 1 — its log: no such exchange$") as caught:
        step.apply(step.capture(), "k")

    assert not caught.value.may_have_happened
    assert not (bot_folder.folder / "bot.pid").exists()
    assert step.state(NONE_RUNS) == "before"


def test_a_bot_that_a_signal_ends_at_once_is_told_with_it(bot_folder: BotFolder) -> None:
    step = bot_folder.make_step("start", "import os; os.kill(os.getpid(), 6)", alive_for=30_000)
    with pytest.raises(ActionError, match="killed by SIGABRT"):
        step.apply(step.capture(), "k")


def test_what_cannot_be_started_is_not_stopped_first(bot_folder: BotFolder) -> None:
    bot = bot_folder.start_bot()
    for more, why in (
        ({"command": ("no-such-program", bot_folder.marker)}, "no-such-program is no program"),
        ({"pid_file": "none/bot.pid"}, "no folder"),
    ):
        with pytest.raises(ActionError, match=why):
            bot_folder.make_step("restart", **more).capture()

    assert bot_folder.running_bots() == [bot.pid]


def test_a_program_that_the_kernel_refuses_is_told(bot_folder: BotFolder) -> None:
    (bot_folder.folder / "broken").write_bytes(b"\x7fELF nonsense")
    (bot_folder.folder / "broken").chmod(0o755)
    step = bot_folder.make_step("start", command=("./broken", bot_folder.marker))
    with pytest.raises(ActionError, match=r"\./broken: Exec format error"):
        step.apply(step.capture(), "k")

    assert not (bot_folder.folder / "bot.pid").exists()


def test_a_log_that_cannot_be_written_is_told_before_the_bot_runs(bot_folder: BotFolder) -> None:
    step = bot_folder.make_step("start", log="none/bot.log")
    with pytest.raises(ActionError, match=r"none/bot\.log: No such file"):
        step.apply(step.capture(), "k")

    assert bot_folder.running_bots() == []


# Whose process it is


@contextlib.contextmanager
def foreign_process() -> Iterator[subprocess.Popen[bytes]]:
    """Another process; it goes with the test, however that ends."""
    with subprocess.Popen(["sleep", "600"]) as other:
        try:
            yield other
        finally:
            other.kill()


def test_a_number_that_another_process_got_is_never_killed(bot_folder: BotFolder) -> None:
    with foreign_process() as other:
        pid_file = bot_folder.folder / "bot.pid"
        pid_file.write_text(f"{other.pid}\n")
        os.utime(pid_file, (1_000_000_000,) * 2)  # written long before that process began
        step = bot_folder.make_step("restart")
        before = step.capture()
        assert before["pid"] is None
        step.apply(before, "k")

        assert other.poll() is None
        assert bot_folder.running_bots() == [bot_folder.pid()]


def test_a_process_older_than_the_pid_file_that_does_not_look_like_the_bot_is_a_question_for_people(
    bot_folder: BotFolder,
) -> None:
    with foreign_process() as other:
        pid_file = bot_folder.folder / "bot.pid"
        pid_file.write_text(f"{other.pid}\n")
        os.utime(pid_file, (pid_file.stat().st_mtime + 3_600,) * 2)
        step = bot_folder.make_step("restart")
        with pytest.raises(ActionError, match="runs 'sleep 600' — remove the file if that is not the bot"):
            step.capture()

        assert step.state(NONE_RUNS) == "unknown"
        assert other.poll() is None


def test_a_bot_whose_pid_file_was_written_by_hand_later_is_the_bot(bot_folder: BotFolder) -> None:
    bot = bot_folder.start_bot()
    pid_file = bot_folder.folder / "bot.pid"
    os.utime(pid_file, (pid_file.stat().st_mtime + 3_600,) * 2)

    assert bot_folder.make_step("stop").capture()["pid"] == bot.pid


def test_a_bot_whose_clock_was_set_since_is_still_the_bot(bot_folder: BotFolder) -> None:
    bot = bot_folder.start_bot()
    pid_file = bot_folder.folder / "bot.pid"
    os.utime(pid_file, (pid_file.stat().st_mtime - 3_600,) * 2)

    assert bot_folder.make_step("restart").capture()["pid"] == bot.pid


@pytest.mark.parametrize("content", ["abc", "-5", "0", "1", "99999999999", "ourselves"])
def test_a_pid_file_with_nonsense_is_refused(bot_folder: BotFolder, content: str) -> None:
    (bot_folder.folder / "bot.pid").write_text(content.replace("ourselves", str(os.getpid())))
    with pytest.raises(ActionError, match="holds no process id"):
        bot_folder.make_step("stop").capture()


def test_an_empty_pid_file_and_a_dead_process_are_no_bot(bot_folder: BotFolder) -> None:
    (bot_folder.folder / "bot.pid").write_text("")
    assert bot_folder.make_step("stop").capture()["pid"] is None
    with subprocess.Popen(["true"]) as dead:
        dead.wait()
    (bot_folder.folder / "bot.pid").write_text(f"{dead.pid}")
    assert bot_folder.make_step("stop").capture()["pid"] is None


# Never two


def test_two_starts_at_once_are_one_bot(bot_folder: BotFolder) -> None:
    step = bot_folder.make_step("start")
    before = step.capture()
    results: list[object] = []

    def start() -> None:
        try:
            results.append(step.apply(before, "k"))
        except ActionError as error:
            results.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(bot_folder.running_bots()) == 1
    assert all(str(bot_folder.pid()) in str(result) for result in results), results


@pytest.mark.parametrize("operation", ["start", "restart"])
@pytest.mark.parametrize("look", [1, 2])
def test_a_bot_that_is_started_after_we_looked_is_not_started_twice(
    bot_folder: BotFolder, monkeypatch: pytest.MonkeyPatch, operation: str, look: int
) -> None:
    step, another = bot_folder.make_step(operation), bot_folder.make_step("start")
    before = step.capture()
    find_bot, looks = bot_process.find_bot, iter(range(1, 100))

    def find_bot_and_lose_the_race(*args: Any) -> Any:
        found = find_bot(*args)
        if next(looks) == look:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("watchdog.actions.process.find_bot", find_bot)
                another.apply(before, "another")
        return found

    monkeypatch.setattr("watchdog.actions.process.find_bot", find_bot_and_lose_the_race)

    said = step.apply(before, "k")

    assert bot_folder.running_bots() == [bot_folder.pid()]
    assert said == f"process {bot_folder.pid()} runs, started by somebody else"


def test_a_start_that_is_slow_to_begin_is_not_started_twice(bot_folder: BotFolder) -> None:
    """The first start was given up; it must not become a second bot when it gets on."""
    step = bot_folder.make_step("start")
    before = step.capture()
    pid_file = bot_folder.folder / "bot.pid"
    step.apply(before, "k")
    bot = bot_folder.pid()
    run = child_process.run

    def late(argv: Sequence[str], **how: Any) -> child_process.CommandResult:
        late_argv = [word.replace(f'"seen": "{bot}\\n"', '"seen": null') for word in argv]
        return run(late_argv, **how)

    psutil.Process(bot).kill()
    wait_until(lambda: not bot_folder.running_bots())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(child_process, "run", late)
        with pytest.raises(ActionError, match="another start was faster"):
            step.apply(before, "k")

    assert bot_folder.running_bots() == []
    assert pid_file.exists()


def _apply_killed_at(nth: int, step: Action, before: Any, note: Path) -> None:
    """In a process of its own: apply, and die ahead of the nth signal, unlink, program or look at a process."""
    left, kill, me = [nth], os.kill, os.getpid()

    def point(real: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **how: Any) -> Any:
            left[0] -= 1
            if not left[0]:
                kill(me, signal.SIGKILL)
            return real(*args, **how)

        return counted

    def noted(pid: int, started: float) -> None:
        note.write_text(f"{pid} {started}")

    child_process.on_child_started.set(noted)
    for module, name in ((signal, "pidfd_send_signal"), (os, "unlink"), (subprocess, "Popen"), (os, "scandir")):
        setattr(module, name, point(getattr(module, name)))
    step.apply(before, "k")


@pytest.mark.slow
def test_killed_at_any_point_of_a_restart_there_is_exactly_one_bot_in_the_end(bot_folder: BotFolder) -> None:
    bot_folder.start_bot()
    note = bot_folder.folder / "note"
    for nth in range(1, 60):
        step = bot_folder.make_step("restart")
        before = json_round_trip(step.capture())
        note.unlink(missing_ok=True)
        survived = not killed_at(-1, partial(_apply_killed_at, nth, step, before, note))
        if note.exists():
            number, started = note.read_text().split()
            child_process.terminate_leftover(int(number), float(started), 30)
        assert len(bot_folder.running_bots()) <= 1
        assert step.state(before) in ("before", "after")
        if step.state(before) == "before":
            step.apply(before, "k")

        assert step.state(before) == "after", nth
        assert bot_folder.running_bots() == [bot_folder.pid()]
        if survived:
            assert nth > 6
            return
    pytest.fail("it never got through")


# The step as written


def test_a_process_needs_a_place() -> None:
    with pytest.raises(ActionError, match="the target has no process"):
        make_action(do="process", restart="process").bind(Target(repo="/srv/bot"))
    with pytest.raises(ActionError, match="the target has no process, but a unit"):
        make_action(do="process", stop="process").bind(Target(unit="bot.service"))
    with pytest.raises(ActionError, match="give it a cwd"):
        make_action(do="process", stop="process").bind(Target(process=ProcessSpec(pid_file="p", command=("c",))))


@pytest.mark.parametrize(
    "fields",
    [{}, {"restart": "process", "stop": "process"}, {"restart": "bot"}, {"stop": "process", "timeout": 5_000}],
)
def test_a_step_that_says_no_one_thing_is_refused_at_load(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        make_action(do="process", **fields)


def test_a_bot_of_another_user_is_told(bot_folder: BotFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    bot_folder.start_bot()
    step = bot_folder.make_step("stop")
    before = step.capture()

    def refused(held: int, number: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(signal, "pidfd_send_signal", refused)
    with pytest.raises(ActionError, match="belongs to another user"):
        step.apply(before, "k")
    monkeypatch.undo()


def test_a_step_takes_no_longer_than_its_timeout(bot_folder: BotFolder) -> None:
    fields = {"do": "process", "start": "process", "grace": 100, "alive_for": 100, "timeout": 1_000}
    step = make_action(**fields).bind(bot_folder.make_target())
    folder = os.open(bot_folder.folder, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    began = time.monotonic()
    with pytest.raises(ActionError, match="not done after") as caught:
        step.apply(step.capture(), "k")
    os.close(folder)

    assert caught.value.may_have_happened
    assert time.monotonic() - began < 60
