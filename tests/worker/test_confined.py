"""What deals with files alone is held to them, to a temporary folder of its own and to so much memory; nothing else is."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.security.unprivileged import BOT
from tests.support.actions import make_action, wait_until
from tests.worker.conftest import World, give
from tests.worker.processes import servers, sessions
from watchdog.core.errors import ActionError
from watchdog.core.protocols import NeededFiles
from watchdog.host import file_state, landlock
from watchdog.rollback.commands import run_command
from watchdog.worker import functions, scratch
from watchdog.worker.confine import MAX_MEMORY
from watchdog.worker.functions import Function

pytestmark = pytest.mark.slow

needs_landlock = pytest.mark.skipif(landlock.abi_version() < 2, reason="needs a kernel with Landlock")


def read(repo: str, path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError as error:
        raise ActionError(type(error).__name__) from None


def write(repo: str, path: str) -> str:
    try:
        Path(path).write_text("written")
    except OSError as error:
        raise ActionError(type(error).__name__) from None
    return "written"


def take(repo: str, size: int) -> int:
    return len(bytearray(size))


def program_takes(repo: str, size: int) -> int:
    return subprocess.run(["sh", "-c", f"head -c {size} /dev/zero | tail -n 1"], capture_output=True).returncode


def where(repo: str) -> str:
    with tempfile.NamedTemporaryFile(delete=False) as file:
        return file.name


def is_confined(repo: str) -> bool:
    status = Path("/proc/self/status").read_text()
    return "NoNewPrivs:\t1" in status


def number(repo: str) -> int:
    return os.getpid()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, forked_server: None) -> None:
    """The table has functions that look about."""
    more = {
        f"{each.__module__}.{each.__qualname__}": Function(each, lambda repo, *_: NeededFiles((), repo))
        for each in (read, write, take, program_takes, where, number)
    }
    monkeypatch.setattr(functions, "FUNCTIONS", {**functions.FUNCTIONS, **more})
    functions._codecs.cache_clear()


@needs_landlock
@pytest.mark.usefixtures("asked")
def test_its_own_rights_reach_further_than_it_does(world: World) -> None:
    repo, outside = str(world.bot), world.outside / "theirs"
    outside.write_text("precious")
    give(outside)

    assert world.call(write, repo, str(world.bot / "x")) == "written"
    for function in (read, write):
        with pytest.raises(ActionError, match="PermissionError"):
            world.call(function, repo, str(outside))
    assert outside.read_text() == "precious"


@needs_landlock
def test_a_command_a_person_named_reaches_what_its_user_does(world: World) -> None:
    world.call(file_state.file_state, world.bot / "x")
    assert world.call(run_command, ("touch", str(world.outside / "made")), None, {}, 5_000.0) == (0, "")
    assert (world.outside / "made").exists()


@pytest.mark.usefixtures("asked")
def test_memory_ends_it_and_the_programs_that_it_starts_and_nobody_else(world: World) -> None:
    repo = str(world.bot)
    little = 16 << 20  # beside what the process of the tests holds, of which this worker is a copy
    assert world.call(take, repo, little) == little
    with pytest.raises(ActionError, match="1024 MB of memory"):
        world.call(take, repo, MAX_MEMORY)
    assert world.call(program_takes, repo, little) == 0
    assert world.call(program_takes, repo, MAX_MEMORY) == 1
    assert world.call(take, repo, 10) == 10


@needs_landlock
@pytest.mark.usefixtures("asked")
def test_a_release_that_is_exchanged_is_acted_on_where_it_is_now(world: World) -> None:
    """A deployment that changes a link, or puts another folder in the place of the old one."""
    for name in ("one", "two"):
        (world.bot / name).mkdir()
        give(world.bot / name)
    live = world.bot / "live"
    for name in ("one", "two", "one"):
        live.unlink(missing_ok=True)
        live.symlink_to(world.bot / name)
        assert world.call(write, str(live), str(live / f"by {name}")) == "written"
        assert (world.bot / name / f"by {name}").exists()
    shutil.move(world.bot / "one", world.bot / "was")
    (world.bot / "one").mkdir()
    give(world.bot / "one")
    assert world.call(write, str(live), str(live / "again")) == "written"
    assert (world.bot / "one/again").exists()


@needs_landlock
@pytest.mark.parametrize("step", ["archive", "restore"])
def test_who_writes_a_file_is_seen_though_landlock_hides_it(world: World, step: str) -> None:
    world.write("state.json", "{}")
    world.write("state.json.backup", '{"n": 1}')
    fields: dict[str, Any] = {"do": "archive", "paths": ["state.json"], "into": "kept"}
    if step == "restore":
        fields = {"do": "restore", "file": "state.json", "from": "state.json.backup"}
    action = make_action(**fields).bind(world.target)
    owner: dict[str, Any] = {"user": BOT, "group": BOT, "extra_groups": ()} if os.geteuid() == 0 else {}
    with (world.bot / "state.json").open("a") as opened:
        writer = subprocess.Popen(["sleep", "60"], stdout=opened, **owner)
    try:
        with pytest.raises(ActionError, match=f"is being written by sleep .{writer.pid}. — stop that first"):
            world.call(functions.capture, action, {}, ())
    finally:
        writer.kill()
        writer.wait()
    captured = world.call(functions.capture, action, {}, ())
    assert world.call(functions.apply, action, {}, captured, "k", None, None)


@pytest.mark.usefixtures("asked")
def test_without_landlock_all_works_within_the_other_limits(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "abi_version", lambda: 0)
    outside = world.outside / "theirs"

    assert world.call(write, str(world.bot), str(outside)) == "written"
    with pytest.raises(ActionError, match="memory"):
        world.call(take, str(world.bot), MAX_MEMORY)
    assert world.call(file_state.file_state, outside)["kind"] == "file"


@pytest.mark.usefixtures("asked")
def test_what_lies_in_its_temporary_folder_is_gone_with_it_when_it_is_killed(world: World) -> None:
    repo = str(world.bot)
    made = Path(world.call(where, repo))
    assert made.exists()
    assert made.parent.stat().st_mode & 0o777 == 0o700
    session = world.call(number, repo)
    os.kill(session, signal.SIGKILL)

    wait_until(lambda: not made.parent.exists())
    other = Path(world.call(where, repo))
    assert other.parent != made.parent
    world.executor.close()
    wait_until(lambda: not other.parent.parent.exists())


def test_what_a_killed_server_left_behind_is_removed_by_the_next_and_of_the_living_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = tmp_path / "trading-watchdog-worker-left"
    (left / "1").mkdir(parents=True)
    (tmp_path / "trading-watchdog-worker-link").symlink_to(tmp_path / "other")
    (tmp_path / "other").mkdir()
    living = scratch.ScratchFolders()
    there = living.new()
    there.mkdir()
    scratch.ScratchFolders()

    assert not left.exists()
    assert there.exists()
    assert (tmp_path / "other").exists()
    living.close()
    assert not there.exists()


def test_what_is_asked_first_decides_and_another_process_is_asked_the_other_thing(world: World) -> None:
    world.executor.warm_up(world.target)
    world.call(run_command, ("true",), None, {}, 5_000.0)
    world.call(file_state.file_state, world.bot / "x")
    world.call(file_state.file_state, world.outside / "x")
    world.call(file_state.file_state, world.bot / "x")

    assert len(servers(world.executor)) == 1
    assert len(sessions(world.executor)) == 3
