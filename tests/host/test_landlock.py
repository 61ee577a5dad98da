"""A process that holds itself to some folders: what it can, and what it and its children cannot do any more."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from watchdog.host import landlock

SYSTEM = [
    Path(name) for name in ("/usr", "/lib", "/lib64", "/bin", "/etc", "/proc", "/dev", sys.prefix, sys.base_prefix)
]


@pytest.fixture
def places(tmp_path: Path) -> Path:
    """`in` may be written, `read` be read, `out` neither."""
    for name in ("in", "read", "out"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "file").write_text(name)
    (tmp_path / "in" / "link").symlink_to(tmp_path / "out")
    (tmp_path / "read" / "script").write_text("#!/bin/sh\necho ran\n")
    (tmp_path / "read" / "script").chmod(0o755)
    return tmp_path


def refused_within(places: Path, act: Callable[[], object]) -> str:
    """`act` in a process that is held to them: the name of the OSError that comes of it, or ``done``."""
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        said = "no OSError"
        try:
            os.chdir(places)
            assert landlock.restrict([*SYSTEM, Path("read")], [Path("in"), Path("/dev/null"), Path("in/none")])
            try:
                act()
                said = "done"
            except OSError as refusal:
                said = type(refusal).__name__ if refusal.errno != 18 else "another device"
        finally:
            os.write(writes, said.encode())
            os._exit(0)
    os.close(writes)
    with open(reads, "rb") as pipe:  # noqa: PTH123 - a handle
        said = pipe.read().decode()
    os.waitpid(pid, 0)
    return said


needs_landlock = pytest.mark.skipif(landlock.abi_version() < 3, reason="needs a kernel with Landlock")


@needs_landlock
@pytest.mark.parametrize(
    "act",
    [
        lambda: Path("in/file").write_text("x"),
        lambda: Path("in/new").write_text("x"),
        lambda: Path("in/file").rename("in/deep/file"),
        lambda: os.link("in/file", "in/deep/file"),
        lambda: Path("in/deep/../new").mkdir(),
        lambda: Path("in/new-link").symlink_to("/etc"),
        lambda: Path("in/file").unlink(),
        lambda: Path("in/deep").rmdir(),
        lambda: os.truncate("in/file", 0),
        lambda: Path("read/file").read_text(),
        lambda: Path("/dev/null").write_text("x"),
        lambda: list(Path("in").iterdir()),
        lambda: subprocess.run(["read/script"], check=True),
        lambda: subprocess.run(["git", "init", "-q", "in/repo"], check=True, env={"PATH": os.defpath}),
    ],
)
def test_within_its_folders_it_works_as_before(places: Path, act: Callable[[], object]) -> None:
    assert refused_within(places, act) == "done"


@pytest.mark.slow
@needs_landlock
@pytest.mark.parametrize(
    "act",
    [
        lambda: Path("out/file").write_text("x"),
        lambda: Path("read/file").write_text("x"),
        lambda: Path("in/link/file").write_text("x"),
        lambda: Path("in/link/new").write_text("x"),
        lambda: Path("in/../out/file").write_text("x"),
        lambda: Path("out/file").read_text(),
        lambda: Path("in/link/file").read_text(),
        lambda: list(Path("out").iterdir()),
        lambda: Path("out/new").mkdir(),
        lambda: Path("read/new").symlink_to("x"),
        lambda: Path("out/file").unlink(),
        lambda: Path("read/file").unlink(),
        lambda: Path("out/deep").rmdir(),
        lambda: os.truncate("out/file", 0),
        lambda: os.truncate("read/file", 0),
        lambda: os.mkfifo("in/fifo"),
        lambda: os.mkfifo("out/fifo"),
        lambda: os.open("read/file", os.O_RDONLY | os.O_TRUNC),
    ],
)
def test_outside_of_them_nothing_is_read_or_changed(places: Path, act: Callable[[], object]) -> None:
    assert refused_within(places, act) == "PermissionError"
    assert [(places / name / "file").read_text() for name in ("in", "read", "out")] == ["in", "read", "out"]


@needs_landlock
@pytest.mark.parametrize(
    "act",
    [
        lambda: Path("in/file").rename("out/moved"),
        lambda: Path("out/file").rename("in/moved"),
        lambda: os.link("out/file", "in/another-name"),
        lambda: os.link("read/file", "in/another-name"),
        lambda: os.link("in/file", "out/another-name"),
        lambda: Path("in/file").rename("in/link/moved"),
    ],
)
def test_nothing_goes_out_or_comes_in_by_a_rename_or_a_hard_link(places: Path, act: Callable[[], object]) -> None:
    assert refused_within(places, act) in ("PermissionError", "another device")
    assert (places / "out/file").read_text() == "out"


@needs_landlock
def test_what_it_starts_is_held_too_and_gains_no_rights(places: Path) -> None:
    lines = "echo x > out/file || exit 3; cat out/file || exit 4"

    def start() -> None:
        assert subprocess.run(["sh", "-c", lines], capture_output=True).returncode in (2, 3)
        assert "NoNewPrivs:\t1" in Path("/proc/self/status").read_text()

    assert refused_within(places, start) == "done"
    assert (places / "out/file").read_text() == "out"


@needs_landlock
def test_it_cannot_be_widened_again(places: Path) -> None:
    def widen() -> None:
        landlock.restrict([Path("/")], [Path("/")])
        Path("out/file").write_text("x")

    assert refused_within(places, widen) == "PermissionError"


def test_a_process_with_more_threads_is_not_bound_in_part(places: Path) -> None:
    if landlock.abi_version() < 3:
        pytest.skip("needs a kernel with Landlock")
    stop = threading.Event()
    other = threading.Thread(target=stop.wait)
    other.start()
    try:
        with pytest.raises(RuntimeError, match="one thread"):
            landlock.restrict([], [])
    finally:
        stop.set()
        other.join()
    assert (places / "out/file").read_text() == "out"


@pytest.mark.parametrize("abi", [0, 1])
def test_a_kernel_that_cannot_says_so_and_binds_nothing(
    abi: int, places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landlock, "abi_version", lambda: abi)

    assert landlock.restrict([], []) is False
    assert (places / "out/file").read_text() == "out"


@pytest.mark.parametrize(("abi", "bits"), [(1, 13), (2, 14), (3, 15), (4, 15), (5, 16), (7, 16), (99, 16)])
def test_a_kernel_is_asked_for_no_more_than_it_knows(abi: int, bits: int) -> None:
    assert landlock.handled_access(abi) == (1 << bits) - 1
    assert not landlock.granted_access(abi, writable=True, is_folder=True) & ~landlock.handled_access(abi)


def test_devices_sockets_and_fifos_are_granted_nowhere() -> None:
    never = landlock.MAKE_CHAR | landlock.MAKE_BLOCK | landlock.MAKE_FIFO | landlock.MAKE_SOCK | landlock.IOCTL_DEV

    assert not landlock.granted_access(7, writable=True, is_folder=True) & never
    assert not landlock.granted_access(7, writable=False, is_folder=True) & landlock.WRITE_FILE
    assert not landlock.granted_access(7, writable=True, is_folder=False) & landlock.READ_DIR
