"""Whatever hangs is ended when its caller has had enough, and only then; whoever ends unasked is begun anew."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.actions import make_action, wait_until
from tests.support.processes import is_alive
from tests.worker.conftest import World, give
from tests.worker.processes import running, servers, sessions
from watchdog.core.errors import ActionError
from watchdog.core.target import Target
from watchdog.host import child_process, file_state
from watchdog.host.child_process import on_child_started
from watchdog.rollback.commands import run_command
from watchdog.worker import client, functions, launch, program
from watchdog.worker.functions import Function

pytestmark = pytest.mark.slow


def command(*argv: str, **more: Any) -> Any:
    return make_action(do="command", run=argv, check=["true"], **more)


def apply(world: World, action: Any, *, seconds: float = 60) -> Any:
    return world.call(functions.apply, action.bind(world.target), {}, {}, "k", None, None, seconds=seconds)


def programs(world: World) -> list[psutil.Process]:
    """What the workers have under way."""
    return [each for session in sessions(world.executor) for each in session.children()]


def spin(digits: int) -> str:
    """In C, with the interpreter's lock held, for longer than anybody waits."""
    return str(len(str(7 ** (10**digits))))


def wait_for_ever(_: str) -> str:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    threading.Event().wait()
    return ""


@pytest.fixture
def more_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table as it is in a server that is forked of us: it gets these too."""
    more = {f"{each.__module__}.{each.__qualname__}": Function(each) for each in (spin, wait_for_ever)}
    monkeypatch.setattr(functions, "FUNCTIONS", {**functions.FUNCTIONS, **more})
    functions._codecs.cache_clear()


@pytest.mark.usefixtures("more_functions", "forked_server")
@pytest.mark.parametrize(("hang", "argument"), [(spin, 9), (wait_for_ever, "")])
def test_a_call_that_hangs_in_whatever_is_ended_at_its_deadline(world: World, hang: Any, argument: Any) -> None:
    world.call(functions.get_ready, str(world.bot))
    began = time.monotonic()
    with pytest.raises(ActionError, match="did not end in time") as ended:
        world.call(hang, argument, seconds=0.5)

    assert ended.value.may_have_happened
    assert time.monotonic() - began < 60
    (idle,) = world.executor._accounts.values()
    assert [each.kind.confined for each in idle._idle] == [True]  # the one that hung is not used again
    assert world.call(file_state.file_state, world.bot / "x") == {"kind": "absent"}


@pytest.mark.slow
def test_what_a_call_that_was_given_up_has_started_is_ended(world: World) -> None:
    apply(world, command("true"))
    started: list[int] = []
    token = on_child_started.set(lambda pid, _: started.append(pid))
    try:
        with pytest.raises(ActionError, match="did not end in time"):
            apply(world, command("sh", "-c", "trap '' TERM; sleep 600 & sleep 600"), seconds=5)
    finally:
        on_child_started.reset(token)

    (pid,) = started
    wait_until(lambda: not is_alive(pid))
    wait_until(lambda: not running(sessions(world.executor)))


def test_a_program_is_written_down_ahead_of_whatever_it_says(world: World) -> None:
    """The step does not go on until the caller has: what it says meanwhile waits."""
    gate, told = threading.Event(), threading.Event()
    answers: list[str] = []
    alive: list[bool] = []
    noted: list[int] = []
    until_told = f"until test -e {world.bot}/end; do sleep 0.05; done"

    def note(pid: int, began: float) -> None:
        noted.append(pid)
        alive.append(child_process.is_running(pid, began))
        told.set()
        assert gate.wait(60)

    def run() -> None:
        on_child_started.set(note)
        answers.append(apply(world, command("sh", "-c", until_told)))

    thread = threading.Thread(target=run)
    thread.start()
    assert told.wait(60)
    (world.bot / "end").touch()
    wait_until(lambda: not is_alive(noted[0]))
    assert not answers
    gate.set()
    thread.join(60)
    assert answers
    assert alive[0]


@pytest.fixture
def ignoring() -> Iterator[None]:
    """As `nohup trading-watchdog run &` begins us."""
    before = {
        number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("ignoring")
@pytest.mark.parametrize("forked", [False, True])
def test_a_program_ignores_no_signal_that_we_ignore(world: World, forked: bool, request: pytest.FixtureRequest) -> None:
    """A bot that is started with SIGINT ignored never hears of it: Python installs no handler then."""
    if forked:
        request.getfixturevalue("forked_server")
    apply(world, command("sh", "-c", f"grep SigIgn /proc/self/status > {world.target.repo}/ignored"))

    ignored = int((Path(world.target.repo or "") / "ignored").read_text().split()[1], 16)
    assert [number for number in signal.Signals if ignored >> (number - 1) & 1] == []


CALLER = """
import sys, time
from pathlib import Path
from tests.support.actions import make_action
from watchdog.core.target import Target
from watchdog.host.child_process import on_child_started
from watchdog.worker.client import WorkerExecutor
target = Target(repo=sys.argv[1])
on_child_started.set(lambda pid, began: print(pid, flush=True))
action = make_action(do="command", run=["sh", "-c", "sleep 1; echo done > " + sys.argv[1] + "/done"], check=["true"])
WorkerExecutor().act_as_owner(action.bind(target), target).apply({}, "k")
"""


def test_a_program_goes_on_when_its_caller_is_killed_and_all_else_ends(world: World) -> None:
    caller = subprocess.Popen(
        [sys.executable, "-c", CALLER, str(world.bot)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert caller.stdout is not None
    program = int(caller.stdout.readline())
    beneath = psutil.Process(caller.pid).children(recursive=True)
    caller.kill()
    caller.wait()
    caller.stdout.close()

    wait_until((world.bot / "done").exists)
    wait_until(lambda: not running([one for one in beneath if one.pid != program]))


def test_a_worker_that_is_killed_at_any_moment_is_told_as_not_known_and_the_next_call_works(world: World) -> None:
    world.call(functions.get_ready, str(world.bot))
    action = command("sleep", "0.2")
    said: list[str | ActionError] = []

    def run() -> None:
        try:
            said.append(apply(world, action))
        except ActionError as error:
            said.append(error)

    for delay in (0.0, 0.001, 0.003, 0.01, 0.03, 0.1):
        thread = threading.Thread(target=run)
        thread.start()
        time.sleep(delay)
        for session in sessions(world.executor):
            session.kill()
        thread.join(60)
        outcome = said.pop()
        assert isinstance(outcome, str) or outcome.may_have_happened
        assert world.call(file_state.file_state, world.bot / "x") == {"kind": "absent"}
    assert apply(world, action)


def test_a_server_that_was_killed_is_begun_anew(world: World) -> None:
    world.call(functions.get_ready, str(world.bot))
    (server,) = servers(world.executor)
    children = server.children()
    server.kill()
    wait_until(lambda: not running([server, *children]))

    assert world.call(file_state.file_state, world.bot / "x") == {"kind": "absent"}
    (other,) = servers(world.executor)
    assert other.pid != server.pid


def test_one_that_ends_ahead_of_its_question_has_done_nothing_and_another_is_asked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection still looked sound: the kernel takes a moment to end a process."""
    apply(world, command("true"))
    (session,) = sessions(world.executor)
    session.suspend()
    wait_until(lambda: session.status() == psutil.STATUS_STOPPED)  # until then it may still read
    send = client._send

    def send_and_kill(*args: Any) -> None:
        send(*args)
        with contextlib.suppress(psutil.NoSuchProcess):  # the other one was asked
            session.kill()

    with monkeypatch.context() as patch:
        patch.setattr(client, "_send", send_and_kill)
        apply(world, command("sh", "-c", f"echo done >> {world.bot}/effects"))

    assert (world.bot / "effects").read_text() == "done\n"
    assert not is_alive(session)


def test_a_server_that_its_owner_has_stopped_holds_up_neither_calls_for_ever_nor_the_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "_CONNECT_TIMEOUT", 0.3)
    world.call(functions.get_ready, str(world.bot))
    found = [*servers(world.executor), *sessions(world.executor)]
    for process in found:
        process.suspend()

    with pytest.raises(ActionError):
        world.call(file_state.file_state, world.bot / "x", seconds=0.5)
    world.executor.close()
    for process in found[1:]:
        process.resume()
    wait_until(lambda: not running(found))


def test_close_leaves_no_process_and_no_folder_behind(world: World) -> None:
    world.executor.warm_up(world.target)
    world.call(file_state.file_state, world.bot / "x")
    apply(world, command("true"))
    found = [*servers(world.executor), *sessions(world.executor)]
    held = [each.readlink() for each in Path(f"/proc/{found[0].pid}/fd").iterdir()]
    ours = [path for path in held if path.name.startswith("trading-watchdog-worker-")]
    assert len(found) == 3
    world.executor.close()

    wait_until(lambda: not running(found))
    assert ours
    wait_until(lambda: not any(folder.exists() for folder in ours))


def test_a_halt_is_done_while_other_calls_hang(world: World) -> None:
    def hang() -> None:
        with pytest.raises(ActionError):
            apply(world, command("sleep", "600"), seconds=600)

    threads = [threading.Thread(target=hang) for _ in range(8)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(programs(world)) >= 8)
    world.write("config.py", "A = 1\n")
    flag = make_action(do="flag", file="config.py", set={"A": 2}).bind(world.target)
    captured = world.call(functions.capture, flag, {}, ())
    world.call(functions.apply, flag, {}, captured, "k", None, None)

    assert (world.bot / "config.py").read_text() == "A = 2\n"
    assert all(thread.is_alive() for thread in threads)
    for hanging in programs(world):
        hanging.kill()
    for thread in threads:
        thread.join(60)


def test_two_targets_of_one_owner_share_a_server(world: World) -> None:
    two = world.bot.parent / "two"
    two.mkdir()
    give(two)
    for folder in (world.bot, two):
        world.executor.call(Target(repo=str(folder)), file_state.file_state, folder / "x")

    assert len(servers(world.executor)) == 1
    assert len(sessions(world.executor)) == 2  # each is held to its own


def test_what_a_file_step_reads_may_be_a_fifo_and_nobody_waits(world: World) -> None:
    os.mkfifo(world.bot / "config.py")
    give(world.bot / "config.py")
    flag = make_action(do="flag", file="config.py", set={"A": 2}).bind(world.target)
    with pytest.raises(ActionError, match="FIFO"):
        world.call(functions.capture, flag, {}, (), seconds=5)


def test_what_is_inherited_is_there_during_a_call_and_not_after_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIVEN", "for this one")
    monkeypatch.setenv("SECRET", "of the daemon")
    show = ["sh", "-c", f"env > {world.bot}/env"]
    remote = world.executor.act_as_owner(
        make_action(do="command", run=show, check=["true"], inherit=["GIVEN"]).bind(world.target), world.target
    )
    remote.apply({}, "k")
    during = (world.bot / "env").read_text()
    world.call(run_command, ("sh", "-c", f"env > {world.bot}/env"), str(world.bot), {}, 5_000.0)
    after = (world.bot / "env").read_text()
    (session,) = sessions(world.executor)
    with session.oneshot():
        environment = session.environ()

    assert "GIVEN=for this one" in during
    assert "SECRET" not in during
    assert "GIVEN" not in after
    assert environment.keys() <= {*program._PASSED_ON, "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR"}
