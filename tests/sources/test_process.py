from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from pydantic import ValidationError

from tests.sources.conftest import MakeSystemctl, StartProcess
from watchdog.core.errors import SourceError
from watchdog.core.protocols import SourceCache, SourceState
from watchdog.core.target import Target
from watchdog.host import cgroup, procfs
from watchdog.sources import ProcessSource

NOW = 1_700_000_000_000
USE = {"process_resident_memory_bytes", "process_cpu_seconds_total", "process_threads", "process_open_fds"}
TIMES = {"process_start_time_seconds", "process_age_seconds"}


def make_source(**fields: object) -> ProcessSource:
    return ProcessSource.model_validate({"type": "process", **fields})


@dataclass
class Memory:
    """What the daemon keeps of a source: the state as the JSON that it is, the cache as it is."""

    state: str = "{}"
    cache: SourceCache = field(default_factory=dict)


def read(source: ProcessSource, memory: Memory | None = None, now: int = NOW) -> dict[str, float]:
    memory = memory or Memory()
    state: SourceState = json.loads(memory.state)
    found = {name: value for name, _, _, value in source.read(state, memory.cache, now)}
    memory.state = json.dumps(state)
    return found


def wait_until(holds: Callable[[], object]) -> None:
    until = time.monotonic() + 90
    while not holds():
        assert time.monotonic() < until, "did not come about"
        time.sleep(0.005)


@pytest.fixture(autouse=True)
def no_control_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may be limited."""
    monkeypatch.setattr(cgroup, "MOUNTS", tmp_path / "no mounts")


@pytest.fixture
def pid_file(tmp_path: Path) -> Path:
    return tmp_path / "bot.pid"


def test_a_process_is_measured(start_process: StartProcess, pid_file: Path) -> None:
    bot = start_process("sleep", "100")
    pid_file.write_text(f"{bot.pid}\n")

    found = read(make_source(pid_file=str(pid_file)), now=int(time.time() * 1000))

    assert set(found) == {"process_up", "process_restarts_total"} | USE | TIMES
    assert found["process_up"] == 1
    assert found["process_resident_memory_bytes"] >= 4_096  # it may only just have begun
    assert found["process_threads"] == 1
    assert found["process_open_fds"] >= 3
    assert abs(found["process_start_time_seconds"] - time.time()) < 60
    assert 0 <= found["process_age_seconds"] < 60


def test_processor_time_is_a_share_of_one_core_since_the_last_read(start_process: StartProcess, pid_file: Path) -> None:
    bot = start_process("sh", "-c", "while :; do :; done")
    pid_file.write_text(str(bot.pid))
    source, memory = make_source(pid_file=str(pid_file)), Memory()

    first = read(source, memory, NOW)
    assert "process_cpu_ratio" not in first
    wait_until(lambda: sum(psutil.Process(bot.pid).cpu_times()[:2]) >= first["process_cpu_seconds_total"] + 0.1)
    bot.kill()  # before the next assertion can fail and leave it spinning
    bot = start_process("sh", "-c", "while :; do :; done")
    pid_file.write_text(str(bot.pid))
    second = read(source, memory, NOW + 2_000)
    assert "process_cpu_ratio" not in second  # another process: nothing to compare with
    wait_until(lambda: sum(psutil.Process(bot.pid).cpu_times()[:2]) >= second["process_cpu_seconds_total"] + 0.1)
    third = read(source, memory, NOW + 4_000)

    spent = third["process_cpu_seconds_total"] - second["process_cpu_seconds_total"]
    assert spent >= 0.1
    assert third["process_cpu_ratio"] == pytest.approx(spent / 2)


def test_a_clock_that_stood_still_or_went_back_gives_no_share(start_process: StartProcess, pid_file: Path) -> None:
    pid_file.write_text(str(start_process("sleep", "100").pid))
    source, memory = make_source(pid_file=str(pid_file)), Memory()
    read(source, memory, NOW)

    assert "process_cpu_ratio" not in read(source, memory, NOW)
    assert "process_cpu_ratio" not in read(source, memory, NOW - 5_000)


def test_a_start_time_does_not_move_while_the_process_lives(
    start_process: StartProcess, pid_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid_file.write_text(str(start_process("sleep", "100").pid))
    source, memory = make_source(pid_file=str(pid_file)), Memory()
    before = read(source, memory)
    real = psutil._pslinux.boot_time
    monkeypatch.setattr(psutil._pslinux, "boot_time", lambda: real() - 1)

    after = read(source, memory)

    assert after["process_start_time_seconds"] == before["process_start_time_seconds"]
    assert after["process_restarts_total"] == 0


def test_a_pid_file_that_is_not_there_means_down_and_is_no_error(pid_file: Path) -> None:
    assert read(make_source(pid_file=str(pid_file))) == {"process_up": 0, "process_restarts_total": 0}


def test_a_process_that_ended_is_down(pid_file: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait(60)
    pid_file.write_text(str(ended.pid))

    assert read(make_source(pid_file=str(pid_file)))["process_up"] == 0


def test_a_zombie_is_down(pid_file: Path) -> None:
    zombie = subprocess.Popen(["true"])
    try:
        wait_until(lambda: psutil.Process(zombie.pid).status() == psutil.STATUS_ZOMBIE)
        pid_file.write_text(str(zombie.pid))

        assert read(make_source(pid_file=str(pid_file))) == {"process_up": 0, "process_restarts_total": 0}
    finally:
        zombie.wait(60)


LARGE_BOT = "import time; held = bytearray(250 << 20); held[::4096] = b'x' * len(held[::4096]); time.sleep(100)"


def test_a_large_process_that_is_killed_is_never_up_without_its_memory(
    start_process: StartProcess, pid_file: Path
) -> None:
    source = make_source(pid_file=str(pid_file))
    for _ in range(3):
        bot = start_process(sys.executable, "-c", LARGE_BOT)
        pid_file.write_text(str(bot.pid))
        wait_until(lambda: read(source).get("process_resident_memory_bytes", 0) > 250 << 20)
        bot.kill()
        seen = [read(source)]
        while seen[-1]["process_up"]:
            seen.append(read(source))

        assert [each for each in seen if each["process_up"] and each["process_resident_memory_bytes"] < 250 << 20] == []
        assert seen[-1] == {"process_up": 0, "process_restarts_total": 0}
        bot.wait(20)


class FakeProc:
    """A /proc of our own, in which a real process can be seen as it is for a moment only."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        folder.mkdir()
        (folder / "stat").symlink_to("/proc/stat")
        monkeypatch.setattr(psutil, "PROCFS_PATH", str(folder))

    def show(self, pid: int, *, dying: bool = False) -> None:
        """As it is now; or as one that the kernel has begun to take apart: still running, and without memory."""
        own, real = self._folder / str(pid), Path("/proc", str(pid))
        own.mkdir(exist_ok=True)
        for name in ("stat", "status", "statm", "cmdline"):
            (own / name).write_bytes((real / name).read_bytes())
        if dying:
            (own / "statm").write_text("0 0 0 0 0 0 0\n")
            (own / "cmdline").write_text("")
        if not (own / "fd").exists():
            (own / "fd").symlink_to(real / "fd")


def test_a_process_without_a_memory_map_is_down_and_neither_counted_nor_measured(
    start_process: StartProcess, pid_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, other = start_process("sleep", "100"), start_process("sleep", "100")
    proc = FakeProc(tmp_path / "proc", monkeypatch)
    proc.show(first.pid)
    proc.show(other.pid, dying=True)
    source, memory = make_source(pid_file=str(pid_file), children=True), Memory()
    pid_file.write_text(str(first.pid))
    assert read(source, memory)["process_up"] == 1
    known = memory.state
    pid_file.write_text(str(other.pid))

    assert read(source, memory) == {"process_up": 0, "process_restarts_total": 0}
    assert memory.state == known


def test_a_wrapper_that_outlives_the_bot_for_a_moment_is_not_taken_for_it(
    start_process: StartProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrapper = start_process("sh", "-c", "sleep 4711.25; true")
    wait_until(lambda: psutil.Process(wrapper.pid).children())
    bot = psutil.Process(wrapper.pid).children()[0]
    wait_until(lambda: bot.cmdline() == ["sleep", "4711.25"])
    source, memory = make_source(cmdline=r"sleep 4711\.25"), Memory()
    proc = FakeProc(tmp_path / "proc", monkeypatch)
    proc.show(wrapper.pid)
    proc.show(bot.pid)
    assert read(source, memory)["process_up"] == 1
    assert json.loads(memory.state)["process"].split()[-2] == str(bot.pid)

    proc.show(bot.pid, dying=True)

    assert read(source, memory) == {"process_up": 0, "process_restarts_total": 0}


def test_workers_that_outlive_the_bot_for_a_moment_are_not_taken_for_it(
    start_process: StartProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot = start_process("sh", "-c", "(while :; do sleep 50; done) & wait # unique-bot-79")
    wait_until(lambda: len(psutil.Process(bot.pid).children()) == 1)
    worker = psutil.Process(bot.pid).children()[0]
    source, memory = make_source(cmdline="unique-bot-79"), Memory()
    proc = FakeProc(tmp_path / "proc", monkeypatch)
    proc.show(bot.pid)
    proc.show(worker.pid)
    assert read(source, memory)["process_up"] == 1

    proc.show(bot.pid, dying=True)

    assert read(source, memory) == {"process_up": 0, "process_restarts_total": 0}


def test_memory_is_told_as_a_share_of_what_the_process_may_use(
    start_process: StartProcess, pid_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot = start_process("sleep", "100")
    FakeProc(tmp_path / "proc", monkeypatch).show(bot.pid)
    (tmp_path / "proc" / str(bot.pid) / "cgroup").write_text("0::/bot\n")
    (tmp_path / "groups" / "bot").mkdir(parents=True)
    for name, text in {"max": "1000", "current": "250", "stat": "inactive_file 0", "events": "oom_kill 1"}.items():
        (tmp_path / "groups" / "bot" / f"memory.{name}").write_text(f"{text}\n")
    (tmp_path / "no mounts").write_text(f"31 20 0:26 / {tmp_path}/groups rw - cgroup2 cgroup2 rw\n")
    pid_file.write_text(str(bot.pid))

    found = read(make_source(pid_file=str(pid_file)))

    assert found["process_memory_limit_bytes"] == 1000
    assert found["process_memory_limit_ratio"] == 0.25
    assert found["process_oom_kills_total"] == 1


def write_at(pid_file: Path, pid: int, seconds: float) -> None:
    """Written that long after the process began, by the clock."""
    pid_file.write_text(f"{pid}\n")
    written = psutil.Process(pid).create_time() + seconds
    os.utime(pid_file, (written, written))


def test_a_process_younger_than_its_pid_file_is_not_readable_at_first_sight(
    start_process: StartProcess, pid_file: Path
) -> None:
    write_at(pid_file, start_process("sleep", "100").pid, -3_600)

    with pytest.raises(SourceError, match="younger than the file: the number may be another's by now"):
        read(make_source(pid_file=str(pid_file)))


@pytest.mark.parametrize("sets", [-7_200, -5, 5, 7_200])
def test_a_process_that_is_known_is_up_whatever_becomes_of_clock_and_file(
    start_process: StartProcess, pid_file: Path, sets: float
) -> None:
    bot = start_process("sleep", "100")
    pid_file.write_text(f"{bot.pid}\n")
    source, memory = make_source(pid_file=str(pid_file)), Memory()
    assert read(source, memory)["process_up"] == 1
    write_at(pid_file, bot.pid, sets)
    assert read(source, memory)["process_up"] == 1
    pid_file.write_text("")
    assert read(source, memory)["process_up"] == 1
    pid_file.unlink()
    assert read(source, memory) == {**read(source, memory), "process_up": 1, "process_restarts_total": 0}
    bot.kill()
    bot.wait(60)
    assert read(source, memory) == {"process_up": 0, "process_restarts_total": 0}


@pytest.mark.parametrize("sets", [-7_200, 7_200])
def test_at_first_sight_a_process_of_the_pid_files_folder_is_the_bot_whatever_the_clock_says(
    tmp_path: Path, sets: float
) -> None:
    (tmp_path / "run").mkdir()
    for pid_file in (tmp_path / "bot.pid", tmp_path / "run/bot.pid"):
        with subprocess.Popen(["sleep", "100"], cwd=tmp_path) as bot:
            try:
                write_at(pid_file, bot.pid, sets)
                assert read(make_source(pid_file=str(pid_file)))["process_up"] == 1
            finally:
                bot.kill()


def test_a_number_that_nobody_has_written_since_is_a_strangers(start_process: StartProcess, pid_file: Path) -> None:
    """After a restart of the machine, or once all numbers have been used."""
    other = start_process("sleep", "100")
    pid_file.write_text(f"{other.pid}\n")
    source, memory = make_source(pid_file=str(pid_file)), Memory()
    read(source, memory)
    state = json.loads(memory.state)
    state["process"] = f"another-boot {other.pid} 1234"
    memory.state = json.dumps(state)

    assert read(source, memory) == {"process_up": 0, "process_restarts_total": 0}
    pid_file.write_text(f"{other.pid}\n")
    assert read(source, memory)["process_up"] == 1


# Of a target's own process


def bound(folder: Path, **more: object) -> ProcessSource:
    spec = {"pid_file": "bot.pid", "command": ["sleep", "4712"], **more}
    target = Target.model_validate({"repo": str(folder), "process": spec})
    return make_source(pid_file=str(folder / "bot.pid")).bind([Target(unit="x.service"), target])


@pytest.mark.parametrize("text", [None, "", "4194304", "stranger"])
def test_a_targets_bot_is_up_without_its_pid_file(
    start_process: StartProcess, tmp_path: Path, text: str | None
) -> None:
    with subprocess.Popen(["sleep", "4712"], cwd=tmp_path) as bot:
        try:
            if text is not None:
                (tmp_path / "bot.pid").write_text(text.replace("stranger", str(start_process("sleep", "100").pid)))
            source, memory = bound(tmp_path), Memory()
            assert read(source, memory)["process_up"] == 1
            assert json.loads(memory.state)["process"].split()[1] == str(bot.pid)
        finally:
            bot.kill()
    if text != "stranger":
        assert read(source, memory)["process_up"] == 0


def test_the_bot_next_door_is_not_a_targets(tmp_path: Path) -> None:
    (tmp_path / "next door").mkdir()
    with subprocess.Popen(["sleep", "4712"], cwd=tmp_path / "next door") as other:
        try:
            (tmp_path / "bot.pid").write_text(str(other.pid))
            assert read(bound(tmp_path))["process_up"] == 0
        finally:
            other.kill()


def test_a_targets_bot_that_runs_twice_is_not_readable(tmp_path: Path) -> None:
    both = [subprocess.Popen(["sleep", "4712"], cwd=tmp_path) for _ in range(2)]
    try:
        with pytest.raises(SourceError, match="it runs 2 times"):
            read(bound(tmp_path))
        (tmp_path / "bot.pid").write_text(str(both[0].pid))
        assert read(bound(tmp_path))["process_up"] == 1
    finally:
        for bot in both:
            bot.kill()
            bot.wait(60)


def test_a_source_with_another_pid_file_or_a_user_of_its_own_is_no_targets(tmp_path: Path) -> None:
    target = Target.model_validate({"repo": str(tmp_path), "process": {"pid_file": "bot.pid", "command": ["x"]}})
    for source in (
        make_source(pid_file=str(tmp_path / "other.pid")),
        make_source(pid_file=str(tmp_path / "bot.pid"), user="root"),
        make_source(cmdline="x"),
    ):
        assert source.bind([target]) is source


def test_the_number_of_a_thread_is_no_process(pid_file: Path) -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        pid_file.write_text(str(thread.native_id))

        assert read(make_source(pid_file=str(pid_file)))["process_up"] == 0
    finally:
        done.set()
        thread.join(60)


def test_a_number_beyond_all_processes_is_no_process(pid_file: Path) -> None:
    pid_file.write_text("4194304999")

    assert read(make_source(pid_file=str(pid_file)))["process_up"] == 0


@pytest.mark.parametrize("held", ["", "abc", "0", "-1", "12a", "99999999999", "\xff"])
def test_a_pid_file_that_holds_no_process_id_is_unreadable_not_down(held: str, pid_file: Path) -> None:
    pid_file.write_text(held)

    with pytest.raises(SourceError, match="not a process id"):
        read(make_source(pid_file=str(pid_file)))


def test_a_pid_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no regular file but a folder — the daemon's user must be able"):
        read(make_source(pid_file=str(tmp_path)))


def test_a_process_that_proc_hides_is_unreadable_not_down(
    start_process: StartProcess, pid_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid_file.write_text(str(start_process("sleep", "100").pid))
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))

    with pytest.raises(SourceError, match="hidepid"):
        read(make_source(pid_file=str(pid_file)))


def test_every_new_process_counts_as_a_restart(start_process: StartProcess, pid_file: Path) -> None:
    source, memory = make_source(pid_file=str(pid_file)), Memory()
    counted = []
    for _ in range(3):
        pid_file.write_text(str(start_process("sleep", "100").pid))
        counted += [read(source, memory)["process_restarts_total"] for _ in range(2)]
        pid_file.unlink()
        counted.append(read(source, memory)["process_restarts_total"])

    assert counted == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_restarts_are_counted_on_over_a_restart_of_the_watchdog_and_one_that_it_missed_counts(
    start_process: StartProcess, pid_file: Path
) -> None:
    source, memory = make_source(pid_file=str(pid_file)), Memory()
    for _ in range(3):
        pid_file.write_text(str(start_process("sleep", "100").pid))
        last = read(source, memory)
    assert last["process_restarts_total"] == 2

    again = read(source, Memory(memory.state))
    assert again["process_restarts_total"] == 2
    assert again["process_start_time_seconds"] == last["process_start_time_seconds"]
    assert "process_cpu_ratio" not in again
    pid_file.write_text(str(start_process("sleep", "100").pid))

    assert read(source, Memory(memory.state))["process_restarts_total"] == 3


def test_a_process_of_the_same_number_is_another_one_when_it_began_at_another_time_or_boot(
    start_process: StartProcess, pid_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid_file.write_text(str(start_process("sleep", "100").pid))
    source, memory = make_source(pid_file=str(pid_file)), Memory()
    read(source, memory)
    boot, pid, ticks = json.loads(memory.state)["process"].split()

    for other in (f"another-boot {pid} {ticks}", f"{boot} {pid} {int(ticks) - 1}"):
        known = json.dumps({"process": other, "started": 1.0, "restarts": 7})
        found = read(source, Memory(known, {"cpu": (500.0, NOW - 1_000, other)}))

        assert found["process_restarts_total"] == 8
        assert found["process_start_time_seconds"] > 1
        assert "process_cpu_ratio" not in found


def test_children_are_added_when_wanted(start_process: StartProcess, pid_file: Path) -> None:
    bot = start_process("sh", "-c", "sleep 100 & sleep 100 & wait")
    wait_until(lambda: [child.name() for child in psutil.Process(bot.pid).children()] == ["sleep", "sleep"])
    pid_file.write_text(str(bot.pid))

    alone = read(make_source(pid_file=str(pid_file)))["process_resident_memory_bytes"]
    together = read(make_source(pid_file=str(pid_file), children=True))["process_resident_memory_bytes"]

    assert together > alone


def test_processor_time_of_an_ended_child_is_not_lost(start_process: StartProcess, pid_file: Path) -> None:
    bot = start_process("sh", "-c", "sh -c 'i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done' & wait; sleep 100; :")
    wait_until(lambda: [child.name() for child in psutil.Process(bot.pid).children()] == ["sleep"])
    pid_file.write_text(str(bot.pid))

    alone = read(make_source(pid_file=str(pid_file)))["process_cpu_seconds_total"]
    together = read(make_source(pid_file=str(pid_file), children=True))["process_cpu_seconds_total"]

    assert together > alone


def test_processor_time_never_falls_when_a_child_takes_its_seconds_along(
    start_process: StartProcess, pid_file: Path
) -> None:
    pid_file.write_text(str(start_process("sleep", "100").pid))
    source, memory = make_source(pid_file=str(pid_file), children=True), Memory()
    read(source, memory, NOW)
    memory.cache["cpu"] = (500.0, NOW, memory.cache["cpu"][2])  # what a child that is gone had used

    found = read(source, memory, NOW + 1_000)

    assert (found["process_cpu_seconds_total"], found["process_cpu_ratio"]) == (500.0, 0.0)


def test_a_command_line_finds_the_process_within_its_wrapper(start_process: StartProcess) -> None:
    seconds = f"1234.{os.getpid()}"
    wrapper = start_process("sh", "-c", f"sleep {seconds}; true")
    wait_until(
        lambda: [one for one in psutil.Process(wrapper.pid).children() if one.name() == "sleep"]
    )  # begun, not forked alone

    found = read(make_source(cmdline=rf"sleep {re.escape(seconds)}$"))

    child = psutil.Process(wrapper.pid).children()[0]
    assert found["process_start_time_seconds"] == pytest.approx(child.create_time(), abs=1.5)
    assert found["process_resident_memory_bytes"] == child.memory_info().rss


def test_a_command_line_finds_the_parent_of_forked_workers(start_process: StartProcess) -> None:
    name = f"unique-bot-{os.getpid()}-"
    bot = start_process("sh", "-c", f"(while :; do sleep 50; done) & (while :; do sleep 50; done) & wait # {name}")
    wait_until(lambda: len(psutil.Process(bot.pid).children()) == 2)
    memory = Memory()

    assert read(make_source(cmdline=name), memory)["process_up"] == 1
    assert json.loads(memory.state)["process"].split()[1] == str(bot.pid)


def test_the_start_of_a_command_line_is_looked_at_and_no_more(start_process: StartProcess) -> None:
    padding = "x" * procfs.MAX_CMDLINE_BYTES
    early, late = (f"{when}-bot-{os.getpid()}-" for when in ("early", "late"))
    bot = start_process("sh", "-c", "sleep 60; true", early, padding, late)
    wait_until(lambda: len(psutil.Process(bot.pid).cmdline()) == 6)

    assert read(make_source(cmdline=early))["process_up"] == 1
    assert read(make_source(cmdline=late))["process_up"] == 0


def test_a_command_line_that_nobody_has_is_down() -> None:
    assert read(make_source(cmdline="no such bot [0-9]{9}$")) == {"process_up": 0, "process_restarts_total": 0}


def test_a_command_line_that_two_processes_have_is_an_error_that_names_them(start_process: StartProcess) -> None:
    seconds = f"4321.{os.getpid()}"
    one, other = start_process("sleep", seconds), start_process("sleep", seconds)
    both = [one.pid, other.pid]
    wait_until(lambda: all(psutil.Process(pid).cmdline() == ["sleep", seconds] for pid in both))

    with pytest.raises(SourceError, match=rf"2 processes match .*{one.pid}.*make cmdline narrower"):
        read(make_source(cmdline=rf"^sleep {re.escape(seconds)}$"))


def test_a_unit_is_measured_by_its_main_process(start_process: StartProcess, fake_systemctl: MakeSystemctl) -> None:
    bot = start_process("sleep", "100")
    fake_systemctl(
        f"printf 'LoadState=loaded\\nMainPID={bot.pid}\\nNRestarts=3\\nResult=success\\nActiveState=active\\n'"
    )

    found = read(make_source(unit="trading-bot.service"))

    assert set(found) == {
        "process_up",
        "process_restarts_total",
        "process_unit_active",
        "process_unit_result_success",
        *USE,
        *TIMES,
    }
    assert (found["process_up"], found["process_restarts_total"]) == (1, 3)
    assert (found["process_unit_active"], found["process_unit_result_success"]) == (1, 1)


def test_a_unit_that_crashed_is_down_inactive_and_without_success(fake_systemctl: MakeSystemctl) -> None:
    fake_systemctl("printf 'LoadState=loaded\\nMainPID=0\\nNRestarts=5\\nResult=exit-code\\nActiveState=failed\\n'")

    assert read(make_source(unit="trading-bot.service")) == {
        "process_up": 0,
        "process_unit_active": 0,
        "process_unit_result_success": 0,
        "process_restarts_total": 5,
    }


def test_an_old_systemd_that_counts_no_restarts_leaves_the_count_out(fake_systemctl: MakeSystemctl) -> None:
    fake_systemctl("printf 'LoadState=loaded\\nMainPID=0\\nResult=success\\nActiveState=inactive\\n'")

    assert "process_restarts_total" not in read(make_source(unit="trading-bot.service"))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            "printf 'LoadState=not-found\\nMainPID=0\\nResult=success\\nActiveState=inactive\\n'",
            "systemd knows no unit",
        ),
        ("printf 'LoadState=loaded\\nResult=success\\nActiveState=active\\n'", "has no main process"),
        ("echo 'System has not been booted with systemd' >&2; exit 1", "not been booted with systemd — use pid_file"),
        ("exit 4", "ended with 4: it said nothing — use pid_file"),
        ("echo MainPID=what", "answered what no systemd answers"),
    ],
)
def test_a_systemd_that_gives_no_facts_is_unreadable_not_down(
    body: str, said: str, fake_systemctl: MakeSystemctl
) -> None:
    fake_systemctl(body)

    with pytest.raises(SourceError, match=said):
        read(make_source(unit="trading-bot.service"))


def test_a_machine_without_systemctl_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(SourceError, match="systemctl is not on this machine — use pid_file"):
        read(make_source(unit="trading-bot.service"))


def test_a_systemctl_that_hangs_is_reported_not_awaited(
    fake_systemctl: MakeSystemctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_systemctl("exec sleep 100")
    monkeypatch.setattr(procfs, "SYSTEMCTL_TIMEOUT", 0.1)

    with pytest.raises(SourceError, match=r"no answer within 0\.1 s"):
        read(make_source(unit="trading-bot.service"))


@pytest.mark.parametrize(
    "fields",
    [{}, {"unit": "a.service", "pid_file": "p"}, {"pid_file": "p", "cmdline": "c"}],
)
def test_exactly_one_way_to_find_it_must_be_said(fields: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="exactly one of unit, pid_file and cmdline"):
        make_source(**fields)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"unit": "bot*.service"}, "without wildcards"),
        ({"unit": "--root=/x"}, "without wildcards"),
        ({"unit": ""}, "without wildcards"),
        ({"cmdline": "bot("}, "no regular expression"),
        ({"cmdline": " "}, "finds every process"),
    ],
)
def test_what_cannot_find_a_process_is_refused_at_load(fields: dict[str, str], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        make_source(**fields)
