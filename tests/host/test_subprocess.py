from __future__ import annotations

import os
import pwd
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.support.actions import wait_until
from tests.support.processes import is_alive
from watchdog.core.errors import ActionError
from watchdog.host import child_process


def run_shell(script: str, timeout_ms: float = 20_000, limit: int = 64 * 1024) -> child_process.CommandResult:
    return child_process.run(["sh", "-c", script], timeout_ms=timeout_ms, output_limit=limit)


def test_code_and_both_streams_come_back() -> None:
    ran = run_shell("echo out; echo err >&2; exit 3")

    assert (ran.exit_code, ran.stdout, ran.stderr, ran.truncated) == (3, "out\n", "err\n", False)


def test_a_child_that_prints_megabytes_on_both_pipes_does_not_hang_and_its_end_is_kept() -> None:
    ran = child_process.run(
        [
            sys.executable,
            "-c",
            "import sys\nfor n in range(60000):\n print('o', n); print('e' * 60, n, file=sys.stderr)",
        ],
        timeout_ms=60_000,
        output_limit=1_000,
    )

    assert ran.stdout.endswith("o 59999\n")
    assert ran.stderr.endswith("e 59999\n")
    assert len(ran.stdout_bytes) == 1_000
    assert ran.truncated


def test_output_of_exactly_the_limit_is_not_cut() -> None:
    assert not run_shell("printf 12345", limit=5).truncated
    assert run_shell("printf 123456", limit=5).truncated


def test_of_a_program_of_which_only_the_beginning_is_wanted_no_more_is_waited_for() -> None:
    ran = child_process.run(
        ["sh", "-c", "printf 123456; exec sleep 100"], timeout_ms=20_000, output_limit=5, beginning=True
    )
    short = child_process.run(["sh", "-c", "printf 1234"], timeout_ms=20_000, output_limit=5, beginning=True)

    assert (ran.stdout, ran.truncated) == ("12345", True)
    assert (short.exit_code, short.stdout, short.truncated) == (0, "1234", False)


def test_of_a_program_of_which_the_beginning_is_wanted_what_came_ahead_of_the_deadline_counts() -> None:
    late = ["sh", "-c", "printf 1; exec sleep 100"]

    assert child_process.run(late, timeout_ms=300, output_limit=5, beginning=True)[1:5:3] == ("1", True)
    with pytest.raises(ActionError, match="not done after"):
        child_process.run(["sleep", "100"], timeout_ms=100, output_limit=5, beginning=True)


def test_a_programs_last_words_are_read_though_it_ends_between_our_look_at_its_pipes_and_our_look_at_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Late(selectors.DefaultSelector):
        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            events = super().select(timeout)
            if not events and not Late.was:  # as when a busy machine lets us wait right here
                Late.was = True
                os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
            return events

        was = False

    monkeypatch.setattr(selectors, "DefaultSelector", Late)

    assert run_shell("sleep 0.3; echo out").stdout == "out\n"
    assert Late.was


def test_stdin_is_empty_unless_input_is_given() -> None:
    assert run_shell("cat; echo end").stdout == "end\n"


def test_input_larger_than_a_pipe_arrives_whole() -> None:
    data = os.urandom(500_000)

    assert child_process.run(["cat"], timeout_ms=20_000, input=data, output_limit=1 << 20).stdout_bytes == data


def test_a_child_that_does_not_read_its_input_is_no_error() -> None:
    assert child_process.run(["true"], timeout_ms=20_000, input=b"x" * 500_000).exit_code == 0


@pytest.mark.slow
def test_at_the_deadline_the_whole_group_is_ended_and_it_may_have_happened(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with pytest.raises(ActionError, match="not done after") as caught:
        run_shell(f"sleep 300 & echo $! > {pids}; echo $$ >> {pids}; wait", timeout_ms=5_000)

    assert caught.value.may_have_happened
    wait_until(lambda: not any(is_alive(int(pid)) for pid in pids.read_text().split()))


def test_a_child_that_ignores_sigterm_is_killed() -> None:
    with pytest.raises(ActionError):
        run_shell("trap '' TERM; echo $$; while :; do sleep 0.05; done", timeout_ms=300)


def test_a_grandchild_that_keeps_the_pipes_open_is_not_waited_for(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    began = time.monotonic()
    ran = run_shell(f"sleep 300 & echo $! > {pid}; echo done", timeout_ms=200_000)

    os.kill(int(pid.read_text()), signal.SIGKILL)  # it is left alone: it was started on purpose
    assert ran.stdout == "done\n"
    assert time.monotonic() - began < 100


def test_a_missing_program_says_so_and_nothing_happened() -> None:
    with pytest.raises(ActionError, match="no-such-program was not found") as caught:
        child_process.run(["no-such-program"], timeout_ms=1_000)

    assert not caught.value.may_have_happened


def test_a_missing_folder_is_not_taken_for_a_missing_program(tmp_path: Path) -> None:
    with pytest.raises(ActionError, match="no folder"):
        child_process.run(["true"], cwd=tmp_path / "none", timeout_ms=1_000)


def test_a_script_without_a_first_line_or_a_right_to_run_is_explained(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("echo\n")
    script.chmod(0o644)
    with pytest.raises(ActionError, match=r"chmod \+x"):
        child_process.run([str(script)], timeout_ms=1_000)
    script.chmod(0o755)
    with pytest.raises(ActionError, match="#!/bin/sh"):
        child_process.run([str(script)], timeout_ms=1_000)


def test_the_child_is_noted_with_its_start_right_after_it() -> None:
    noted: list[tuple[int, float]] = []
    token = child_process.on_child_started.set(lambda pid, started: noted.append((pid, started)))
    try:
        ran = run_shell("echo $$")
    finally:
        child_process.on_child_started.reset(token)

    assert [pid for pid, _ in noted] == [int(ran.stdout)]
    assert 0 <= noted[0][1] - (child_process.start_time(os.getpid()) or 0) < 100_000


def test_a_child_that_cannot_be_noted_is_ended() -> None:
    noted: list[int] = []

    def fail(pid: int, started: float) -> None:
        noted.append(pid)
        raise RuntimeError("the journal is full")

    token = child_process.on_child_started.set(fail)
    try:
        with pytest.raises(RuntimeError):
            run_shell("sleep 300")
    finally:
        child_process.on_child_started.reset(token)

    assert not is_alive(noted[0])


def test_a_program_gets_what_every_one_needs_and_what_is_listed_and_nothing_else_of_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("NOTIFY_SOCKET", "CREDENTIALS_DIRECTORY", "SLACK_BOT_TOKEN", "API_KEY"):
        monkeypatch.setenv(name, "ours")
    monkeypatch.delenv("LC_CTYPE", raising=False)  # Python itself sets it where no locale is
    monkeypatch.setenv("LC_TIME", "C")
    ran = child_process.run(["env"], env={"MODE": "live"}, inherit=["API_KEY"], timeout_ms=20_000)
    got = dict(line.split("=", 1) for line in ran.stdout.splitlines())

    assert got.keys() - set(child_process._PASSED_ON) == {"MODE", "API_KEY", "LC_TIME"}
    assert {"PATH", "HOME", "USER"} <= got.keys()
    assert (got["API_KEY"], got["MODE"]) == ("ours", "live")


def test_a_service_without_a_home_gives_its_programs_the_one_of_its_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "USER", "LOGNAME"):
        monkeypatch.delenv(name, raising=False)
    who = pwd.getpwuid(os.geteuid())

    assert run_shell("echo $HOME $USER $LOGNAME").stdout.split() == [who.pw_dir, who.pw_name, who.pw_name]


def test_a_listed_variable_that_is_not_set_is_one_clear_error_before_anything_is_started(tmp_path: Path) -> None:
    with pytest.raises(ActionError, match="the environment has no API_KEY — set it for the service") as caught:
        child_process.run(["touch", str(tmp_path / "it")], inherit=["API_KEY"], timeout_ms=20_000)

    assert not caught.value.may_have_happened
    assert not list(tmp_path.iterdir())


def test_a_leftover_child_is_waited_for() -> None:
    with subprocess.Popen(["sleep", "0.3"], start_new_session=True) as running:
        started = psutil.Process(running.pid).create_time()
        child_process.terminate_leftover(running.pid, started, 30)

        assert not is_alive(running.pid)
        assert running.wait() == 0


def test_a_leftover_child_that_does_not_end_is_ended_with_its_group() -> None:
    with subprocess.Popen(["sh", "-c", "sleep 300 & wait"], start_new_session=True) as running:
        parent = psutil.Process(running.pid)
        wait_until(parent.children)
        grandchild = parent.children()[0].pid
        child_process.terminate_leftover(running.pid, parent.create_time(), 0.1)

        assert not is_alive(running.pid)
        wait_until(lambda: not is_alive(grandchild))


@pytest.mark.parametrize("sets", [-7_200, 7_200])
def test_a_leftover_child_is_known_again_after_the_clock_was_set(sets: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen(["sleep", "300"], start_new_session=True) as running:
        began = child_process.start_time(running.pid)
        assert began is not None
        real = child_process.boot_time()
        monkeypatch.setattr(child_process, "boot_time", lambda: real + sets)
        child_process.terminate_leftover(running.pid, began, 0)

        assert not is_alive(running.pid)


@pytest.mark.parametrize("earlier", [60.0, 1.0])
def test_another_process_with_the_number_of_a_leftover_is_left_alone(earlier: float) -> None:
    with subprocess.Popen(["sleep", "300"], start_new_session=True) as running:
        try:
            began = child_process.start_time(running.pid)
            assert began is not None
            child_process.terminate_leftover(running.pid, began - earlier, 0)

            assert is_alive(running.pid)
        finally:
            running.kill()


def test_the_end_of_an_output_is_one_printable_line() -> None:
    assert child_process.last_lines("a\n\n  b\x1b[0m\nc\nd\n", lines=2) == "c | d"
    assert child_process.last_lines("a\x1b\n", lines=2) == "a\\x1b"
    assert len(child_process.last_lines("x" * 1_000)) == 301
