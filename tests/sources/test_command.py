"""A program is run for what it prints, in bounds, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.actions import wait_until
from tests.support.processes import is_alive
from watchdog.core.errors import SourceError
from watchdog.core.executor import owner_executor
from watchdog.core.model import Sample
from watchdog.core.protocols import ProgramSource
from watchdog.sources.command import CommandSource
from watchdog.worker.client import WorkerExecutor

NOW = 1_700_000_000_000
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root is somebody else")


def make(script: str, **fields: Any) -> CommandSource:
    """A source whose program is a shell script."""
    said = {"type": "command", "run": ["sh", "-c", script], "format": "nagios", "timeout": "20s", **fields}
    return CommandSource.model_validate(said)


def read(script: str, **fields: Any) -> dict[str, float]:
    return values(make(script, **fields).read({}, {}, NOW))


def values(samples: list[Sample]) -> dict[str, float]:
    return {f"{each.name}{dict(each.labels) or ''}": each.v for each in samples}


def error(script: str, **fields: Any) -> str:
    with pytest.raises(SourceError) as caught:
        make(script, **fields).read({}, {}, NOW)
    assert caught.value.__cause__ is None
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ─ a monitoring plugin ─


@pytest.mark.parametrize("status", [0, 1, 2])
def test_a_plugins_status_is_what_it_ends_with(status: int) -> None:
    found = read(f"echo 'DISK OK | /=2MB;5;6;0;7'; exit {status}")

    assert found["command_status"] == found["command_exit_status"] == status
    assert found["command_perfdata_bytes{'label': '/'}"] == 2 * 2**20
    assert found["command_perfdata_unreadable"] == 0
    assert 0 < found["command_duration_seconds"] < 20


def test_a_plugin_that_cannot_tell_has_no_status_which_is_neither_well_nor_bad() -> None:
    found = read("echo 'DISK UNKNOWN | a=U b=1'; exit 3")

    assert "command_status" not in found
    assert found["command_exit_status"] == 3
    assert found["command_perfdata{'label': 'b'}"] == 1


def test_a_plugin_that_prints_nothing_has_its_status() -> None:
    assert read("exit 2").keys() == {
        "command_status",
        "command_exit_status",
        "command_duration_seconds",
        "command_perfdata_unreadable",
    }


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("exit 4", "ended with 4 — "),
        ("echo a; echo why >&2; exit 200", "ended with 200: why — "),
        ("exit 126", r"ended with 126 \(it, or what it starts, may not be run\) — "),
        ("nothing-of-that-name-123", r"ended with 127 \(it, or what it starts, is not there\): .*not found — "),
        ("kill -9 $$", "was ended by signal 9 — "),
    ],
)
def test_what_is_no_status_of_a_plugin_says_nothing_of_the_bot(script: str, told: str) -> None:
    with pytest.raises(SourceError, match=rf"^sh: it {told}a plugin ends with 0, 1, 2 or 3$"):
        make(script).read({}, {}, NOW)


def test_what_it_prints_may_be_anything() -> None:
    found = read(r"printf 'OK \000\377 | a=1 \377=2 \000=3 b=\000\n\033[31m|c=4 d'")

    assert found["command_perfdata{'label': 'a'}"] == 1
    assert found["command_perfdata{'label': 'c'}"] == 4
    assert found["command_perfdata_unreadable"] == 2


def test_numbers_are_printed_as_they_are_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("LC_NUMERIC", "de_DE.UTF-8")

    assert read('printf "OK | a=%.1f" 1.5; [ "$LC_ALL" = C.UTF-8 ]')["command_status"] == 0
    assert read('[ "$LC_ALL" = C ]', env={"LC_ALL": "C"})["command_status"] == 0


# ─ a metrics page ─


def test_a_page_is_read_with_how_long_it_took() -> None:
    source = make("echo '# TYPE a counter'; echo 'a{b=\"c\"} 5'; echo 'd 7 1600000000000'", format="prometheus")
    samples = source.read({}, {}, NOW)

    assert samples[:2] == [Sample("a", (("b", "c"),), NOW, 5.0), Sample("d", (), 1_600_000_000_000, 7.0)]
    assert [each.name for each in samples[2:]] == ["command_exit_status", "command_duration_seconds"]


def test_nothing_on_a_page_is_from_a_time_that_has_not_come_yet() -> None:
    assert make(f"echo a 5 {NOW + 5_000}", format="prometheus").read({}, {}, NOW)[0] == Sample("a", (), NOW, 5.0)


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo a 5; exit 1", "ended with 1 — one that prints prometheus ends with 0"),
        ("echo a 5; echo no right >&2; exit 1", "ended with 1: no right — "),
        ("printf 'a 5'", "breaks off within its last line"),
        ("printf 'a 5\\nb '", "breaks off within its last line"),
        (":", "the page is empty"),
        ("echo a 5; echo a 6", "repeats a series"),
        ("printf 'a 5\\n\\377\\n'", "byte 4 of its output is not UTF-8 — "),
        ("printf 'a 5\\n\\000\\n'", "line 2 of the page is no sample"),
        ("echo command_exit_status 5", "its page has command_exit_status, which the watchdog says of it — "),
    ],
)
def test_a_page_that_is_not_wholly_right_says_nothing(script: str, told: str) -> None:
    assert told in error(script, format="prometheus")


# ─ a document ─


def test_values_are_read_out_of_a_document_with_its_own_time() -> None:
    document = '{"at": "2020-09-13T12:26:40Z", "equity": "10.5", "open": [{"s": "BTC", "n": 2}, {"s": "ETH", "n": 3}]}'
    source = make(
        f"echo '{document}'",
        format="json",
        values={"equity": "equity", "size": {"path": "open", "value": "n", "labels": {"symbol": "s"}}, "gone": "x"},
        time="at",
    )
    samples = source.read({}, {}, NOW)

    assert samples[:3] == [
        Sample("equity", (), 1_600_000_000_000, 10.5),
        Sample("size", (("symbol", "BTC"),), 1_600_000_000_000, 2.0),
        Sample("size", (("symbol", "ETH"),), 1_600_000_000_000, 3.0),
    ]
    assert [(each.name, each.t) for each in samples[3:]] == [
        ("command_exit_status", NOW),
        ("command_duration_seconds", NOW),
    ]
    (found, *_), (missed,) = (
        [each for each in source.explain(NOW) if each.key.startswith(f"values.{name}")] for name in ("equity", "gone")
    )
    assert (found.expression, found.found) == ("equity", ('"10.5"',))
    assert (missed.expression, missed.found) == ("x", ())
    assert make("exit 0").explain(NOW) == []


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo '{\"a\": 1}'; exit 1", "ended with 1 — one that prints json ends with 0"),
        ("echo '{\"a\": 1'", "no JSON at line 2"),
        (":", "it is empty — "),
        ("echo '{\"b\": 1}'", "nothing of values is there: "),
        (r"printf 'x\377'", "byte 1 of its output is not UTF-8 — have it print json"),
        ("head -c 100000 /dev/zero | tr '\\000' '['", "nested too deeply"),
    ],
)
def test_what_is_no_whole_document_says_nothing(script: str, told: str) -> None:
    assert told in error(script, format="json", values={"a": "a"})


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"format": "json"}, "format: json needs values"),
        ({"values": {"a": "a"}}, "values, time and zone are for format: json"),
        ({"time": "a"}, "values, time and zone are for format: json"),
        ({"format": "json", "values": {"command_exit_status": "a"}}, "command_exit_status is what the watchdog says"),
    ],
)
def test_values_and_the_format_json_belong_together(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make("exit 0", **fields)


# ─ bounds ─


def test_one_that_prints_more_than_it_may_is_ended_at_once_and_nothing_of_it_is_read(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    began = time.monotonic()

    assert "says more than 1000 bytes, and was ended — " in error(
        f"echo $$ > {pid}; exec yes a=1", max_bytes=1_000, timeout="300s"
    )
    assert time.monotonic() - began < 100
    assert not is_alive(int(pid.read_text()))


def test_output_of_exactly_as_much_as_it_may_print_is_read() -> None:
    assert read("printf '|a=1'", max_bytes=4)["command_perfdata{'label': 'a'}"] == 1
    assert "more than 3 bytes" in error("printf '|a=1'", max_bytes=3)


def test_a_flood_of_errors_is_passed_over() -> None:
    assert read("head -c 3000000 /dev/zero >&2; echo OK")["command_status"] == 0


def test_one_that_hears_no_sigterm_is_killed_with_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    stubborn = "trap '' TERM; echo $$; while :; do sleep 0.05; done"
    (tmp_path / "stubborn").write_text(stubborn)
    script = f"sh {tmp_path}/stubborn >> {pids} & {stubborn} >> {pids}"

    assert "sh did not end within 500 ms, and was ended — see why it hangs" in error(script, timeout="500ms")
    wait_until(lambda: not any(is_alive(int(pid)) for pid in pids.read_text().split()))


@pytest.mark.parametrize("its_pipes", ["", ">/dev/null 2>&1"], ids=["with the pipes", "without"])
def test_a_grandchild_is_not_waited_for_and_not_left_behind(its_pipes: str, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    began = time.monotonic()

    assert read(f"sleep 300 {its_pipes} & echo $! > {pid}; echo OK", timeout="200s")["command_status"] == 0
    assert time.monotonic() - began < 100
    wait_until(lambda: not is_alive(int(pid.read_text())))


def test_one_that_closes_its_pipes_is_waited_for_and_no_longer_than_it_may_take() -> None:
    assert read("exec >&- 2>&-; sleep 0.2; exit 1")["command_status"] == 1
    assert "did not end within" in error("exec >&- 2>&-; sleep 300", timeout="300ms")


def test_nothing_stands_on_its_stdin() -> None:
    assert read('[ -z "$(cat)" ]')["command_status"] == 0


def test_no_zombie_and_no_open_file_stays() -> None:
    read("exit 0")
    us = psutil.Process()
    before, children = set(os.listdir("/proc/self/fd")), set(us.children())  # noqa: PTH208
    for _ in range(3):
        read("echo OK")
        error("exit 9")

    assert set(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    assert set(us.children()) <= children


# ─ how it is run ─


def test_its_arguments_go_through_no_shell(tmp_path: Path) -> None:
    words = "$(touch x); `touch x` > x & %s"
    source = CommandSource(
        type="command", run=("sh", "-c", 'echo "a{b=\\"$1\\"} 1"', "sh", words), format="prometheus", cwd=str(tmp_path)
    )

    assert source.read({}, {}, NOW)[0].labels == (("b", words),)
    assert list(tmp_path.iterdir()) == []


def test_it_runs_where_it_is_said_and_else_at_the_root(tmp_path: Path) -> None:
    (tmp_path / "check").write_text('#!/bin/sh\n[ "$PWD" = "$1" ]\n')
    (tmp_path / "check").chmod(0o755)
    source = CommandSource(type="command", run=("./check", str(tmp_path)), format="nagios", cwd=str(tmp_path))

    assert values(source.read({}, {}, NOW))["command_status"] == 0
    assert read('[ "$PWD" = / ]')["command_status"] == 0


def test_it_sees_of_our_environment_what_is_listed_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOT_TOKEN", "t0ken")
    monkeypatch.setenv("OTHER_TOKEN", "0ther")
    script = '[ "$BOT_TOKEN$OTHER_TOKEN$A" = t0kenb ]'

    assert read(script, inherit=["BOT_TOKEN"], env={"A": "b"})["command_status"] == 0
    assert read('[ -z "$BOT_TOKEN" ]')["command_status"] == 0


def test_a_variable_that_is_not_set_is_said_and_nothing_is_run(tmp_path: Path) -> None:
    assert "the environment has no NOT_SET_123 — " in error(f"touch {tmp_path}/x", inherit=["NOT_SET_123"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("output_format", ["nagios", "prometheus"])
def test_what_it_was_given_in_secret_stands_in_no_error(output_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOT_TOKEN", "t0p-s3cret")
    source = make(
        'echo "$BOT_TOKEN $KEY"; echo "bad login: $BOT_TOKEN $KEY" >&2; exit 9',
        format=output_format,
        inherit=["BOT_TOKEN"],
        env={"KEY": "k3y-s3cret"},
    )
    with pytest.raises(SourceError, match=r"bad login: \*\*\* \*\*\*"):
        source.read({}, {}, NOW)
    assert "s3cret" not in repr(source)
    assert "s3cret" not in error('echo "a $KEY"', format="prometheus", env={"KEY": "k3y-s3cret"})


def test_an_argument_stands_in_no_error() -> None:
    for fields in ({"timeout": "100ms"}, {"cwd": "/not/there", "user": "root"}, {"max_bytes": 1}):
        assert "s3cret" not in error("echo OK; sleep 300 # s3cret", **fields)


def test_a_program_that_is_not_there_is_said(tmp_path: Path) -> None:
    for run, told in (
        (["no-such-program-123"], "no-such-program-123 was not found — "),
        (["./check"], r"\./check may not be run — "),
        ([str(tmp_path)], "may not be run — "),
    ):
        (tmp_path / "check").write_text("")
        source = CommandSource(type="command", run=tuple(run), format="nagios", cwd=str(tmp_path))
        with pytest.raises(SourceError, match=told):
            source.read({}, {}, NOW)


def test_a_folder_or_user_that_is_not_there_is_said() -> None:
    assert "/not/there: No such file or directory — mend cwd" in error("exit 0", cwd="/not/there")
    assert "there is no folder /not/there — mend cwd" in error("exit 0", cwd="/not/there", user="0")


def test_who_looks_at_programs_finds_it() -> None:
    source = make("exit 0", inherit=["A"], env={"PATH": "/opt"}, cwd="/tmp")
    assert isinstance(source, ProgramSource)
    (call,) = source.programs()

    assert call == (("sh", "-c", "exit 0"), "run", "/tmp", {"PATH": "/opt"}, ("A",))


@pytest.mark.parametrize(
    "fields", [{"run": []}, {"run": "check"}, {"format": "xml"}, {"env": {"A=B": "c"}}, {"timeout": "1ms"}]
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        make("exit 0", **fields)


# ─ by whom ─


@contextmanager
def real_workers() -> Iterator[WorkerExecutor]:
    executor = WorkerExecutor()
    token = owner_executor.set(executor)
    try:
        yield executor
    finally:
        owner_executor.reset(token)
        executor.close()


@pytest.mark.slow
@needs_root
def test_it_runs_as_the_owner_of_its_folder_or_as_whom_is_said(open_folder: Callable[[int], Path]) -> None:
    bot = open_folder(40_001)
    who = 'echo "uid $(id -u)"; echo "groups $(id -G | wc -w)"'
    with real_workers():
        for fields, uid in (
            ({"cwd": str(bot)}, 40_001),
            ({"cwd": str(bot), "user": "nobody"}, 65_534),
            ({"cwd": str(bot), "user": "65534"}, 65_534),
            ({}, 0),
        ):
            found = values(make(who, format="prometheus", **fields).read({}, {}, NOW))
            assert (found["uid"], found["groups"]) == (uid, 1)


@needs_root
def test_it_runs_as_nobody_for_whom_somebody_else_chooses_the_folder(open_folder: Callable[[int], Path]) -> None:
    bot = open_folder(40_001)
    bot.parent.chmod(0o777)
    with real_workers():
        assert "could be changed by everybody" in error("exit 0", cwd=str(bot))


@needs_root
def test_a_user_that_is_not_there_is_said() -> None:
    with real_workers():
        assert "there is no user nobody-123 on this machine" in error("exit 0", user="nobody-123")


@pytest.mark.slow
def test_a_worker_keeps_the_same_bounds(tmp_path: Path) -> None:
    with real_workers():
        assert read("echo 'OK | a=1'; exit 1")["command_status"] == 1
        assert "did not end within 300 ms" in error("trap '' TERM; sleep 300 & wait; sleep 300", timeout="300ms")
        assert "says more than 10 bytes" in error("yes", max_bytes=10)
        assert "byte 0 of its output" in error("printf '\\377\\n'", format="prometheus")


def test_what_runs_for_a_watchdog_that_is_killed_ends_with_it(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    child = os.fork()
    if child == 0:
        try:
            with real_workers():
                make(f"echo $$ > {pid}.new; mv {pid}.new {pid}; exec sleep 300", timeout="300s").read({}, {}, NOW)
        finally:
            os._exit(1)
    wait_until(pid.exists)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)

    wait_until(lambda: not is_alive(int(pid.read_text())))
