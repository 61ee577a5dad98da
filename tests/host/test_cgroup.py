from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchdog.host import cgroup
from watchdog.host.cgroup import process_limits

PID = 42
MIB = 2**20
UNLIMITED = "9223372036854771712"
"""As version 1 writes it."""


class Machine:
    """A /proc and a /sys/fs/cgroup of the test's own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.proc, self.groups = folder, folder / "proc", folder / "groups"
        (self.proc / str(PID)).mkdir(parents=True)
        monkeypatch.setattr(cgroup, "MOUNTS", folder / "mountinfo")
        self.mount("/", self.groups)

    def mount(self, root: str, folder: Path, kind: str = "cgroup2", options: str = "rw,nsdelegate") -> None:
        with (self.folder / "mountinfo").open("a") as file:
            file.write("20 1 8:1 / / rw shared:1 - ext4 /dev/sda rw\n")
            file.write(f"31 20 0:26 {root} {folder} rw,nosuid shared:9 - {kind} {kind} {options}\n")

    def mount_version_1(self) -> None:
        (self.folder / "mountinfo").unlink()
        self.mount("/", self.groups / "memory", "cgroup", "rw,memory")
        self.mount("/", self.groups / "cpu,cpuacct", "cgroup", "rw,cpu,cpuacct")
        self.mount("/", self.groups / "unified")

    def put(self, *places: str) -> None:
        """Where the process is, as /proc says it."""
        (self.proc / str(PID) / "cgroup").write_text("".join(f"{place}\n" for place in places))

    def set(self, group: str, **files: str) -> None:
        folder = self.groups / group
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name.replace("__", ".")).write_text(f"{text}\n")

    def read(self) -> dict[str, float]:
        return process_limits(PID, self.proc)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_memory_is_a_share_of_what_the_control_group_may_use(machine: Machine) -> None:
    machine.put("0::/system.slice/bot.service")
    machine.set(
        "system.slice/bot.service",
        memory__max=str(100 * MIB),
        memory__current=str(60 * MIB),
        memory__stat=f"anon 1\ninactive_file {10 * MIB}\nactive_file {MIB}",
        memory__events="low 0\nhigh 0\nmax 7\noom 1\noom_kill 3",
        cpu__max="50000 100000",
    )
    machine.set("system.slice", memory__max="max", cpu__max="max 100000")

    assert machine.read() == {
        "process_memory_limit_bytes": 100 * MIB,
        "process_memory_limit_ratio": 0.5,  # what the file cache gives back first is not counted
        "process_oom_kills_total": 3,
        "process_cpu_limit_cores": 0.5,
    }


def test_without_a_limit_there_is_no_share_and_the_machine_is_none(machine: Machine) -> None:
    machine.put("0::/bot")
    machine.set("bot", memory__max="max", memory__current="5", memory__stat="inactive_file 0", cpu__max="max 100000")

    assert machine.read() == {}


def test_the_tightest_limit_up_the_tree_counts(machine: Machine) -> None:
    machine.put("0::/trading/bot")
    machine.set(
        "trading", memory__max="100", memory__current="10", memory__stat="inactive_file 0", cpu__max="150000 100000"
    )
    machine.set(
        "trading/bot", memory__max="400", memory__current="10", memory__stat="inactive_file 0", cpu__max="400000 100000"
    )

    found = machine.read()
    assert (found["process_memory_limit_bytes"], found["process_cpu_limit_cores"]) == (100, 1.5)


def test_the_share_is_that_of_the_group_that_is_nearest_to_its_limit(machine: Machine) -> None:
    machine.put("0::/trading/bot")
    machine.set("trading", memory__max="1000", memory__current="900", memory__stat="inactive_file 0")
    machine.set("trading/bot", memory__max="400", memory__current="100", memory__stat="inactive_file 0")

    found = machine.read()
    assert (found["process_memory_limit_bytes"], found["process_memory_limit_ratio"]) == (400, 0.9)


def test_version_1_says_the_same(machine: Machine) -> None:
    machine.mount_version_1()
    machine.put("12:cpu,cpuacct:/docker/ab", "5:memory:/docker/ab", "1:name=systemd:/docker/ab", "0::/docker/ab")
    machine.set(
        "memory/docker/ab",
        memory__limit_in_bytes="1000",
        memory__usage_in_bytes="700",
        memory__stat="inactive_file 1\ntotal_inactive_file 200",
        memory__oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 2",
    )
    machine.set("memory/docker", memory__limit_in_bytes=UNLIMITED, memory__usage_in_bytes="9")
    machine.set("cpu,cpuacct/docker/ab", cpu__cfs_quota_us="25000", cpu__cfs_period_us="100000")
    machine.set("cpu,cpuacct/docker", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")

    assert machine.read() == {
        "process_memory_limit_bytes": 1000,
        "process_memory_limit_ratio": 0.5,
        "process_oom_kills_total": 2,
        "process_cpu_limit_cores": 0.25,
    }


def test_a_container_that_sees_its_own_part_of_the_tree_finds_itself_there(machine: Machine) -> None:
    (machine.folder / "mountinfo").unlink()
    machine.mount("/docker/ab", machine.groups)
    machine.put("0::/docker/ab/worker")
    machine.set("worker", memory__max="10", memory__current="5", memory__stat="inactive_file 0")
    machine.set(".", memory__max="8", memory__current="6", memory__stat="inactive_file 0")

    found = machine.read()
    assert (found["process_memory_limit_bytes"], found["process_memory_limit_ratio"]) == (8, 0.75)


@pytest.mark.parametrize("place", ["/../other/bot", "/..", "/bot/../../etc", "elsewhere", ""])
def test_what_lies_outside_of_the_part_that_is_seen_is_absent(place: str, machine: Machine) -> None:
    machine.put(f"0::{place}")
    machine.set(".", cpu__max="max 1")
    (machine.folder / "other" / "bot").mkdir(parents=True)
    (machine.folder / "other" / "bot" / "memory.max").write_text("1\n")

    assert machine.read() == {}


def test_the_mount_of_another_container_is_not_looked_through(machine: Machine) -> None:
    (machine.folder / "mountinfo").unlink()
    machine.mount("/docker/ab", machine.groups)
    machine.put("0::/docker/abc")
    machine.set("c", memory__max="1")
    machine.set(".", memory__max="1")

    assert machine.read() == {}


def test_a_mount_whose_folder_has_a_blank_in_its_name_is_found(machine: Machine) -> None:
    (machine.folder / "mountinfo").unlink()
    machine.groups = machine.folder / "my groups"
    machine.mount("/", Path(str(machine.groups).replace(" ", "\\040")))
    machine.put("0::/bot")
    machine.set("bot", cpu__max="100000 100000")

    assert machine.read() == {"process_cpu_limit_cores": 1}


def test_a_process_that_has_ended_has_no_limits(machine: Machine) -> None:
    assert machine.read() == {}


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_no_file_is_too_odd_to_be_read(tmp_path_factory: pytest.TempPathFactory, places: bytes, said: bytes) -> None:
    folder = tmp_path_factory.mktemp("odd")
    with pytest.MonkeyPatch.context() as patch:
        machine = Machine(folder, patch)
        (machine.proc / str(PID) / "cgroup").write_bytes(places + b"\n0::/bot\n")
        machine.set("bot")
        for name in ("memory.max", "memory.current", "memory.stat", "memory.events", "cpu.max"):
            (machine.groups / "bot" / name).write_bytes(said)

        assert all(value >= 0 for value in machine.read().values())


# ─ the kernel's own ─


@pytest.fixture
def real_group() -> Iterator[Path]:
    """A control group that limits memory, of either version."""
    roots = {2: Path("/sys/fs/cgroup"), 1: Path("/sys/fs/cgroup/memory")}
    version = 2 if (roots[2] / "cgroup.controllers").exists() else 1
    folder = roots[version] / f"watchdog-test-{os.getpid()}"
    limit = folder / ("memory.max" if version == 2 else "memory.limit_in_bytes")
    try:
        folder.mkdir()
        limit.write_text(str(64 * MIB))
    except OSError as problem:
        with suppress(OSError):
            folder.rmdir()
        pytest.skip(f"needs control groups that may be written: {problem.strerror}")
    yield folder
    folder.rmdir()


HOG = """\
import pathlib, sys
pathlib.Path(sys.argv[1], "cgroup.procs").write_text("0")
held = bytearray(int(sys.argv[2]) << 20)
held[::4096] = b"x" * len(held[::4096])
print("ready", flush=True)
sys.stdin.read()
"""
"""Goes into the group, and holds so many MiB."""


def test_a_process_in_a_real_control_group_is_measured_by_its_limit(real_group: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOG, str(real_group), "32"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as hog:
        assert hog.stdout is not None
        assert hog.stdout.readline() == "ready\n"
        found = process_limits(hog.pid, Path("/proc"))
        hog.communicate("")

    assert found["process_memory_limit_bytes"] == 64 * MIB
    assert 0.45 < found["process_memory_limit_ratio"] < 1
    assert found["process_oom_kills_total"] == 0


def test_a_real_kill_for_want_of_memory_is_counted(real_group: Path, tmp_path: Path) -> None:
    (tmp_path / "hog.py").write_text(HOG)
    script = 'echo 0 > "$2/cgroup.procs"; "$0" "$1" "$2" 300; echo killed; read _'
    words = ["sh", "-c", script, sys.executable, str(tmp_path / "hog.py"), str(real_group)]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as bot:
        assert bot.stdout is not None
        assert bot.stdout.readline() == "killed\n"
        found = process_limits(bot.pid, Path("/proc"))
        bot.communicate("\n")

    assert found["process_oom_kills_total"] == 1


@pytest.mark.parametrize(
    ("places", "unit"),
    [
        ("0::/system.slice/bot.service", "bot.service"),
        ("0::/system.slice/bot.service/workers", "bot.service"),
        ("0::/system.slice/system-bot.slice/bot@one.service", "bot@one.service"),
        ("4:memory:/x\n1:name=systemd:/system.slice/bot.service\n0::/", "bot.service"),
        ("0::/user.slice/user-1000.slice/session-3.scope", None),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/bot.service", None),
        ("0::/system.slice/docker-0a1b.scope", None),
        ("0::/", None),
    ],
)
def test_a_unit_is_one_of_the_systems_and_no_session_of_a_user(
    places: str, unit: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroup, "_read", lambda *_: places)

    assert cgroup.unit_of_process(7) == unit
