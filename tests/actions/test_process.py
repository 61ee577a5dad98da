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

from tests.actions.helpers import action, killed_at, through_journal, wait_for
from watchdog.actions import child
from watchdog.model import Action, ActionError, ProcessPlace, Target

SLEEPS = "import time; print('up', flush=True); time.sleep(600)"


class Place:
    """A folder with a bot in it; ends whatever ran there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.marker = f"of-{folder.parent.name}-{os.getpid()}"

    def target(self, script: str = SLEEPS, **more: Any) -> Target:
        command = (sys.executable, "-c", script, self.marker)
        place = {"pid_file": "bot.pid", "command": command, "log": "bot.log", **more}
        return Target(repo=str(self.folder), process=ProcessPlace(**place))

    def step(self, verb: str, script: str = SLEEPS, grace: int = 5_000, alive_for: int = 50, **more: Any) -> Action:
        fields = {"do": "process", verb: "process", "grace": grace, "alive_for": alive_for}
        return action(**fields).at(self.target(script, **more))

    def start(self, script: str = SLEEPS, **more: Any) -> psutil.Process:
        step = self.step("start", script, **more)
        step.apply(step.before(), "k")
        return psutil.Process(self.pid())

    def pid(self) -> int:
        return int((self.folder / "bot.pid").read_text())

    def bots(self) -> list[int]:
        """Living processes with our marker in their arguments, but for those that start one."""
        found = []
        for process in psutil.process_iter():
            try:
                argv = process.cmdline()
                if self.marker in argv and process.status() != psutil.STATUS_ZOMBIE and "-I" not in argv:
                    found.append(process.pid)
            except psutil.Error:
                continue
        return found


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    folder = tmp_path / "bot"
    folder.mkdir()
    made = Place(folder)
    yield made
    for pid in made.bots():
        os.kill(pid, signal.SIGKILL)


def ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_a_started_bot_is_nobodys_child_and_its_pid_file_names_it(place: Place) -> None:
    step = place.step("start")
    before = through_journal(step.before())
    assert (before, step.state(before)) == ({"pid": None, "create_time": None}, "before")
    assert step.apply(before, "k") == f"process {place.pid()} runs"

    bot = psutil.Process(place.pid())
    assert step.state(before) == "after"
    assert bot.pid not in [process.pid for process in psutil.Process().children(recursive=True)]
    assert os.getsid(bot.pid) == bot.pid
    assert bot.cwd() == str(place.folder)


def test_a_bot_gets_its_environment_its_log_and_nothing_else_of_ours(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OURS", "kept")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/ours")
    script = (
        "import os, signal, sys, time\n"
        "names = [os.environ.get(n) for n in ('OURS', 'MORE', 'NOTIFY_SOCKET')]\n"
        "print(names, sorted(os.listdir('/proc/self/fd'))[:4], repr(sys.stdin.read()), flush=True)\n"
        "ignored = next(l for l in open('/proc/self/status') if l.startswith('SigBlk'))\n"
        "print(ignored, file=sys.stderr, flush=True)\n"
        "time.sleep(600)\n"
    )
    (place.folder / "bot.log").write_text("earlier\n")
    with (place.folder / "open").open("w") as ours:
        os.set_inheritable(ours.fileno(), True)
        place.start(script, env={"MORE": "m"})
    wait_for(lambda: "SigBlk" in (place.folder / "bot.log").read_text())

    earlier, names, signals, *_ = (place.folder / "bot.log").read_text().splitlines()
    assert earlier == "earlier"
    assert names == "['kept', 'm', None] ['0', '1', '2', '3'] ''"  # 3 is the listing itself
    assert int(signals.split()[1], 16) == 0


def test_a_start_of_what_runs_already_does_nothing(place: Place) -> None:
    bot = place.start()
    step = place.step("start")
    before = step.before()

    assert step.state(before) == "after"
    assert step.apply(before, "k") == f"process {bot.pid} runs already"
    assert place.bots() == [bot.pid]


def test_a_restart_ends_the_old_bot_and_starts_a_new_one(place: Place) -> None:
    old = place.start()
    step = place.step("restart")
    before = through_journal(step.before())
    assert step.state(before) == "before"
    said = step.apply(before, "k")

    assert ended(old)
    assert step.state(before) == "after"
    assert place.bots() == [place.pid()]
    assert said == f"process {old.pid} ended; process {place.pid()} runs"


def test_a_restart_that_has_happened_is_not_done_again(place: Place) -> None:
    place.start()
    step = place.step("restart")
    before = step.before()
    step.apply(before, "k")
    new = place.pid()
    assert step.apply(before, "k") == f"process {new} runs already"
    assert place.pid() == new


def test_a_restart_of_a_dead_bot_starts_it(place: Place) -> None:
    old = place.start()
    old.kill()
    wait_for(lambda: ended(old))
    step = place.step("restart")
    before = step.before()
    assert before == {"pid": None, "create_time": None}
    step.apply(before, "k")

    assert step.state(before) == "after"
    assert place.bots() == [place.pid()]


def test_a_stop_ends_the_bot_and_its_pid_file(place: Place) -> None:
    bot = place.start()
    step = place.step("stop")
    before = through_journal(step.before())
    assert step.state(before) == "before"
    assert step.apply(before, "k") == f"process {bot.pid} ended"

    assert step.state(before) == "after"
    assert not (place.folder / "bot.pid").exists()
    assert step.apply(before, "k") == "no process was running"


def test_a_bot_that_ignores_sigterm_is_killed_after_its_grace(place: Place) -> None:
    bot = place.start(
        "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    )
    wait_for(lambda: "up" in (place.folder / "bot.log").read_text())
    step = place.step("stop", grace=200)
    assert step.apply(step.before(), "k") == f"process {bot.pid} was killed after 0.2 s"

    assert ended(bot)


def test_a_bot_that_ends_in_order_is_given_its_time(place: Place) -> None:
    script = (
        "import signal, sys, time\n"
        "def end(*_):\n    time.sleep(0.3); print('closed', flush=True); sys.exit()\n"
        "signal.signal(15, end); print('up', flush=True); time.sleep(600)\n"
    )
    place.start(script)
    wait_for(lambda: "up" in (place.folder / "bot.log").read_text())
    step = place.step("stop")
    step.apply(step.before(), "k")

    assert "closed" in (place.folder / "bot.log").read_text()


def test_the_bots_children_do_not_outlive_it(place: Place) -> None:
    script = (
        "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)', sys.argv[1]])"
    )
    bot = place.start(script)
    wait_for(lambda: len(place.bots()) == 2)
    step = place.step("stop")
    step.apply(step.before(), "k")

    assert ended(bot)
    assert place.bots() == []


def test_a_bot_that_dies_at_once_is_told_with_its_exit_status_and_log(place: Place) -> None:
    (place.folder / "bot.log").write_text("old trouble\n")
    step = place.step("start", "import sys; sys.exit('no such exchange')", alive_for=30_000)
    with pytest.raises(ActionError, match=r"exit status 1 — its log: no such exchange$") as caught:
        step.apply(step.before(), "k")

    assert not caught.value.may_have_happened
    assert not (place.folder / "bot.pid").exists()
    assert step.state({"pid": None, "create_time": None}) == "before"


def test_a_bot_that_a_signal_ends_at_once_is_told_with_it(place: Place) -> None:
    step = place.step("start", "import os; os.kill(os.getpid(), 6)", alive_for=30_000)
    with pytest.raises(ActionError, match="killed by SIGABRT"):
        step.apply(step.before(), "k")


def test_what_cannot_be_started_is_not_stopped_first(place: Place) -> None:
    bot = place.start()
    for more, why in (
        ({"command": ("no-such-program", place.marker)}, "no-such-program is no program"),
        ({"pid_file": "none/bot.pid"}, "no folder"),
    ):
        with pytest.raises(ActionError, match=why):
            place.step("restart", **more).before()

    assert place.bots() == [bot.pid]


def test_a_program_that_the_kernel_refuses_is_told(place: Place) -> None:
    (place.folder / "broken").write_bytes(b"\x7fELF nonsense")
    (place.folder / "broken").chmod(0o755)
    step = place.step("start", command=("./broken", place.marker))
    with pytest.raises(ActionError, match=r"\./broken: Exec format error"):
        step.apply(step.before(), "k")

    assert not (place.folder / "bot.pid").exists()


def test_a_log_that_cannot_be_written_is_told_before_the_bot_runs(place: Place) -> None:
    step = place.step("start", log="none/bot.log")
    with pytest.raises(ActionError, match=r"none/bot\.log: No such file"):
        step.apply(step.before(), "k")

    assert place.bots() == []


# Whose process it is


@contextlib.contextmanager
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """Another process; it goes with the test, however that ends."""
    with subprocess.Popen(["sleep", "600"]) as other:
        try:
            yield other
        finally:
            other.kill()


def test_a_number_that_another_process_got_is_never_killed(place: Place) -> None:
    with stranger() as other:
        pid_file = place.folder / "bot.pid"
        pid_file.write_text(f"{other.pid}\n")
        os.utime(pid_file, (1_000_000_000,) * 2)  # written long before that process began
        step = place.step("restart")
        before = step.before()
        assert before["pid"] is None
        step.apply(before, "k")

        assert other.poll() is None
        assert place.bots() == [place.pid()]


def test_a_process_older_than_the_pid_file_that_does_not_look_like_the_bot_is_a_question_for_people(
    place: Place,
) -> None:
    with stranger() as other:
        pid_file = place.folder / "bot.pid"
        pid_file.write_text(f"{other.pid}\n")
        os.utime(pid_file, (pid_file.stat().st_mtime + 3_600,) * 2)
        step = place.step("restart")
        with pytest.raises(ActionError, match="runs 'sleep 600' — remove the file if that is not the bot"):
            step.before()

        assert step.state({"pid": None, "create_time": None}) == "unknown"
        assert other.poll() is None


def test_a_bot_whose_pid_file_was_written_by_hand_later_is_the_bot(place: Place) -> None:
    bot = place.start()
    pid_file = place.folder / "bot.pid"
    os.utime(pid_file, (pid_file.stat().st_mtime + 3_600,) * 2)

    assert place.step("stop").before()["pid"] == bot.pid


def test_a_bot_whose_clock_was_set_since_is_still_the_bot(place: Place) -> None:
    bot = place.start()
    pid_file = place.folder / "bot.pid"
    os.utime(pid_file, (pid_file.stat().st_mtime - 3_600,) * 2)

    assert place.step("restart").before()["pid"] == bot.pid


@pytest.mark.parametrize("content", ["abc", "-5", "0", "1", "99999999999", "ourselves"])
def test_a_pid_file_with_nonsense_is_refused(place: Place, content: str) -> None:
    (place.folder / "bot.pid").write_text(content.replace("ourselves", str(os.getpid())))
    with pytest.raises(ActionError, match="holds no process id"):
        place.step("stop").before()


def test_an_empty_pid_file_and_a_dead_process_are_no_bot(place: Place) -> None:
    (place.folder / "bot.pid").write_text("")
    assert place.step("stop").before()["pid"] is None
    with subprocess.Popen(["true"]) as dead:
        dead.wait()
    (place.folder / "bot.pid").write_text(f"{dead.pid}")
    assert place.step("stop").before()["pid"] is None


# Never two


def test_two_starts_at_once_are_one_bot(place: Place) -> None:
    step = place.step("start")
    before = step.before()
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

    assert len(place.bots()) == 1
    assert all(str(place.pid()) in str(result) for result in results), results


def test_a_start_that_is_slow_to_begin_is_not_started_twice(place: Place) -> None:
    """The first start was given up; it must not become a second bot when it gets on."""
    step = place.step("start")
    before = step.before()
    pid_file = place.folder / "bot.pid"
    step.apply(before, "k")
    bot = place.pid()
    run = child.run

    def late(argv: Sequence[str], **how: Any) -> child.Ran:
        late_argv = [word.replace(f'"seen": "{bot}\\n"', '"seen": null') for word in argv]
        return run(late_argv, **how)

    psutil.Process(bot).kill()
    wait_for(lambda: not place.bots())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(child, "run", late)
        with pytest.raises(ActionError, match="another start was faster"):
            step.apply(before, "k")

    assert place.bots() == []
    assert pid_file.exists()


def _up_to(nth: int, step: Action, before: Any, note: Path) -> None:
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

    child.on_child.set(noted)
    for module, name in ((os, "kill"), (os, "unlink"), (subprocess, "Popen"), (psutil, "Process")):
        setattr(module, name, point(getattr(module, name)))
    step.apply(before, "k")


def test_killed_at_any_point_of_a_restart_there_is_exactly_one_bot_in_the_end(place: Place) -> None:
    place.start()
    note = place.folder / "note"
    for nth in range(1, 60):
        step = place.step("restart")
        before = through_journal(step.before())
        note.unlink(missing_ok=True)
        survived = not killed_at(-1, partial(_up_to, nth, step, before, note))
        if note.exists():
            number, started = note.read_text().split()
            child.leftover(int(number), float(started), 30)
        assert len(place.bots()) <= 1
        assert step.state(before) in ("before", "after")
        if step.state(before) == "before":
            step.apply(before, "k")

        assert step.state(before) == "after", nth
        assert place.bots() == [place.pid()]
        if survived:
            assert nth > 6
            return
    pytest.fail("it never got through")


# The step as written


def test_a_process_needs_a_place() -> None:
    with pytest.raises(ActionError, match="the target has no process"):
        action(do="process", restart="process").at(Target(repo="/srv/bot"))
    with pytest.raises(ActionError, match="give it a cwd"):
        action(do="process", stop="process").at(Target(process=ProcessPlace(pid_file="p", command=("c",))))


@pytest.mark.parametrize(
    "fields",
    [{}, {"restart": "process", "stop": "process"}, {"restart": "bot"}, {"stop": "process", "timeout": 5_000}],
)
def test_a_step_that_says_no_one_thing_is_refused_at_load(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        action(do="process", **fields)


def test_a_bot_of_another_user_is_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.start()
    step = place.step("stop")
    before = step.before()

    def refused(pid: int, number: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "kill", refused)
    with pytest.raises(ActionError, match="belongs to another user"):
        step.apply(before, "k")
    monkeypatch.undo()


def test_a_step_takes_no_longer_than_its_timeout(place: Place) -> None:
    fields = {"do": "process", "start": "process", "grace": 100, "alive_for": 100, "timeout": 1_000}
    step = action(**fields).at(place.target())
    folder = os.open(place.folder, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    began = time.monotonic()
    with pytest.raises(ActionError, match="not done after") as caught:
        step.apply(step.before(), "k")
    os.close(folder)

    assert caught.value.may_have_happened
    assert time.monotonic() - began < 60
