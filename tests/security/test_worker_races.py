"""The real worker does whole steps while its own user swaps what lies on the way, at random moments, all the time.

Who swaps is told by inotify of each thing that happens in the bot's folder, so the swaps come between the worker's calls.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.security.test_swapped_paths import COMPONENTS, contents, make_world
from tests.security.unprivileged import BOT, OUTSIDE, become, snapshot
from tests.support.actions import make_action
from tests.support.property_settings import examples
from tests.worker.conftest import forked_server  # noqa: F401 - a fixture
from watchdog.core.errors import ActionError
from watchdog.core.executor import CallOwner, call_deadline
from watchdog.core.target import Target
from watchdog.host import file_state, landlock
from watchdog.rollback import backup
from watchdog.rollback.undo import UndoStep
from watchdog.worker.client import WorkerExecutor

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two other users"),
    pytest.mark.usefixtures("forked_server"),
]
KINDS = ("link", "link", "link", "link to nothing", "FIFO", "folder", "gone")
_IN_ALL = 0xFFF & ~0x1  # all but reads


class Lab:
    """A bot's folder and one beside it, and whoever acts on the first."""

    def __init__(self, top: Path) -> None:
        self.bot, self.outside = make_world(top)
        self.top = top
        self.executor = WorkerExecutor()
        self.target = Target(repo=str(self.bot))
        self.call: CallOwner = partial(self.executor.call, self.target)

    def make_anew(self, *, repository: bool) -> None:
        shutil.rmtree(self.bot, ignore_errors=True)
        shutil.rmtree(self.top / "copies", ignore_errors=True)
        make_world(self.top)
        if repository:
            for size in (1, 2):
                (self.bot / "conf/config.py").write_text(f"FEATURE = True\nSIZE = {size}\n")
                self._git("init", "-q")
                self._git("add", "-A")
                self._git("commit", "-q", "-m", f"number {size}")
            shutil.rmtree(self.outside / ".git", ignore_errors=True)
            shutil.copytree(self.bot / ".git", self.outside / ".git")
        for folder in (self.bot, self.outside):
            for path in (folder, *folder.rglob("*")):
                os.chown(path, BOT, BOT, follow_symlinks=False)

    def _git(self, *args: str) -> None:
        who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "safe.directory=*")
        subprocess.run(["git", *who, *args], cwd=self.bot, check=True, capture_output=True)

    def step(self, **fields: Any) -> None:
        self._act(make_action(**fields).bind(self.target))

    def _act(self, action: Any) -> None:
        step = self.executor.act_as_owner(action, self.target)
        before = step.capture()
        with contextlib.suppress(ActionError):
            step.preview(before)
        backup.back_up(self.top / "copies", step.touched_paths(before), str(self.bot), self.call)
        try:
            step.apply(before, "k")
        finally:
            step.state(before)

    def back_up_and_undo(self) -> None:
        paths = [self.bot / "conf/config.py", self.bot / "data", self.bot / "live/none.json"]
        saved = backup.back_up(self.top / "copies", paths, str(self.bot), self.call)
        for one in saved:
            left = self.call(file_state.file_state, Path(one.path))
            was = {**one.was, "mode": 0o600} if one.was["kind"] == "file" else one.was
            self._act(UndoStep(path=one.path, was=was, copy_of=one.copy, left=left, repo=None))


ACTIONS: dict[str, Callable[[Lab], None]] = {
    "flag": lambda lab: lab.step(do="flag", file="conf/config.py", set={"FEATURE": False}),
    "archive": lambda lab: lab.step(do="archive", paths=["data/state", "one.json"], into="kept/deep"),
    "restore": lambda lab: lab.step(do="restore", file="live/state.json", **{"from": "backups/state.json"}),
    "undo": Lab.back_up_and_undo,
    "git": lambda lab: lab.step(do="git", revert="HEAD"),
}
PLACES = {
    **COMPONENTS,
    "git": [
        *("conf", "conf/config.py", ".git", ".git/objects", ".git/refs", ".git/refs/heads", ".git/index", ".git/HEAD"),
        *(".git/logs", ".git/logs/HEAD", ".git/config", ".git/packed-refs", ".git/refs/watchdog", ".git/info"),
    ],
}


class Swapper:
    """A process of the bot's user; one thing is swapped at a time, and put back."""

    def __init__(self, lab: Lab, places: list[str], seed: int) -> None:
        self._random = random.Random(seed)
        self._often = self._random.choice((0.002, 0.01, 0.05, 0.2, 0.7))
        self._lab, self._places = lab, places
        self._pid = os.fork()
        if self._pid == 0:
            try:
                become(BOT)
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                self._run()
            finally:
                os._exit(1)

    def stop(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)

    def _run(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        heard = libc.inotify_init1(0)
        for folder, folders, _ in os.walk(self._lab.bot):
            libc.inotify_add_watch(heard, os.fsencode(folder), _IN_ALL)
            folders[:] = [name for name in folders if folder.count("/") < 8]
        while True:
            os.read(heard, 1 << 16)
            if self._random.random() < self._often:
                time.sleep(self._random.random() ** 3 * 0.004)
                self._swap(self._random.choice(self._places), self._random.choice(KINDS))

    def _swap(self, place: str, kind: str) -> None:
        path = self._lab.bot / place
        aside = path.with_name(f"{path.name}-was")
        there = self._lab.outside / place.replace(".trading-watchdog", "").replace("/.git", "/git").replace("/.", "/")
        with contextlib.suppress(OSError):
            path.rename(aside)
        with contextlib.suppress(OSError):
            if kind == "link":
                path.symlink_to(there)
            elif kind == "link to nothing":
                path.symlink_to(self._lab.top / "made-through-a-link")
            elif kind == "FIFO":
                os.mkfifo(path)
            elif kind == "folder":
                path.mkdir()
        time.sleep(self._random.random() ** 2 * 0.01)
        with contextlib.suppress(OSError):
            if path.is_symlink() or not path.is_dir():
                path.unlink(missing_ok=True)
            else:
                path.rmdir()
        with contextlib.suppress(OSError):
            aside.rename(path)


@pytest.fixture
def lab() -> Iterator[Lab]:
    top = Path(tempfile.mkdtemp(prefix="races-"))
    top.chmod(0o755)
    made = Lab(top)
    try:
        yield made
    finally:
        made.executor.close()
        shutil.rmtree(top)


@pytest.mark.slow
@pytest.mark.parametrize("confined", [True, False], ids=["with Landlock", "without"])
@pytest.mark.parametrize("action", ACTIONS)
def test_however_things_are_swapped_while_a_worker_acts_nothing_outside_is_changed_or_read(
    action: str, confined: bool, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    if action == "git" and not confined:
        pytest.skip("git resolves names itself: there it is Landlock that holds it")
    if confined and landlock.abi_version() < 2:
        pytest.skip("needs a kernel with Landlock")
    if not confined:
        monkeypatch.setattr(landlock, "abi_version", lambda: 0)
    outcomes = {"done": 0, "refused": 0}
    call_deadline.set(None)
    for seed in range(examples(25)):
        lab.make_anew(repository=action == "git")
        was = snapshot(lab.outside)
        swapper = Swapper(lab, PLACES[action], seed)
        said = ""
        try:
            ACTIONS[action](lab)
            outcomes["done"] += 1
        except ActionError as error:
            said = str(error)
            outcomes["refused"] += 1
        finally:
            swapper.stop()

        assert snapshot(lab.outside) == was, (seed, said)
        assert OUTSIDE.decode() not in said
        assert not any(OUTSIDE in content for content in (*contents(lab.bot), *contents(lab.top / "copies"))), seed
        assert {path.name for path in lab.top.iterdir()} <= {"bot", "outside", "copies"}, seed
    sys.stderr.write(f"{action} {'with' if confined else 'without'} Landlock: {outcomes}\n")


@pytest.mark.parametrize("action", ACTIONS)
def test_undisturbed_the_worker_does_each_of_them(action: str, lab: Lab) -> None:
    lab.make_anew(repository=action == "git")
    before = snapshot(lab.bot)
    ACTIONS[action](lab)

    assert snapshot(lab.bot) != before
    assert not list(lab.bot.rglob(".*trading-watchdog"))
