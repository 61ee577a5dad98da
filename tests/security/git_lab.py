"""A bot's repository as its own user sees it, a stranger beside it, and verbs of actions that run as one of them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil  # noqa: F401 - here, since the bot's user may not read where it is installed
import pytest

from tests.support.actions import make_action
from watchdog.actions.confinement import needed_confinement
from watchdog.core.errors import ActionError
from watchdog.core.protocols import Action
from watchdog.core.target import Target
from watchdog.host import landlock

BOT = 40001
STRANGER = 40002
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be two other users")
needs_landlock = pytest.mark.skipif(landlock.abi_version() < 2, reason="needs a kernel with Landlock")


class Outcome(NamedTuple):
    value: Any
    error: str | None
    """What the ActionError said; None: there was none."""


class GitLab(NamedTuple):
    """`bot` is the bot's repository, `outside` another folder of the bot's: its rights alone would let it be written."""

    folder: Path

    @property
    def bot(self) -> Path:
        return self.folder / "bot"

    @property
    def outside(self) -> Path:
        return self.folder / "outside"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def programs(self) -> Path:
        return self.folder / "bin"

    def git(self, *args: str, uid: int = BOT) -> str:
        who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
        environment = {"PATH": os.defpath, "HOME": str(self.home)}
        ran = subprocess.run(
            ["git", *who, *args], cwd=self.bot, env=environment, user=uid, group=uid, extra_groups=(),
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.strip()

    def write(self, name: str, text: str, mode: int = 0o644) -> None:
        """A file of the bot's."""
        path = self.bot / name
        for folder in reversed([each for each in path.parents if not each.exists()]):
            folder.mkdir()
            os.chown(folder, BOT, BOT)
        path.write_text(text)
        os.chown(path, BOT, BOT)
        path.chmod(mode)

    def program(self, name: str, text: str) -> Path:
        """A program that is found ahead of any other of its name."""
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{text}")
        path.chmod(0o755)
        return path

    def step(self, **fields: Any) -> Action:
        return make_action(do="git", **(fields or {"revert": "bad"})).bind(Target(repo=str(self.bot)))

    def act(
        self,
        call: Callable[[], Any],
        *,
        uid: int = BOT,
        confined: bool = False,
        writable: bool = True,
        seconds: int = 60,
        **fields: Any,
    ) -> Outcome:
        """What a worker does: `call` in a process of that user, with an environment of its own, held to what the step
        with these fields needs."""
        reads, writes = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reads)
            try:
                os.setgroups([])
                os.setgid(uid)
                os.setuid(uid)
                os.environ.clear()
                scratch = self.folder / f"tmp-{uid}"
                os.environ |= {"PATH": f"{self.programs}:{os.defpath}", "HOME": str(self.home), "TMPDIR": str(scratch)}
                os.environ["WATCHDOG_TOKEN"] = "s3cret"
                tempfile.tempdir = None
                signal.alarm(seconds)
                if confined:
                    needed = self.step(**fields).needed_files()
                    assert needed is not None
                    readable, may_write = needed_confinement(needed, str(self.bot), scratch, self.home)
                    if not writable:
                        readable, may_write = (*readable, self.bot), (scratch, Path("/dev/null"))
                    assert landlock.restrict((*readable, self.programs), may_write)
                answer: list[Any] = [call(), None]
            except ActionError as error:
                answer = [None, str(error)]
            except BaseException:
                answer = [None, f"not an ActionError: {traceback.format_exc()}"]
            with contextlib.suppress(BaseException):
                os.write(writes, json.dumps(answer, default=str).encode())
            os._exit(0)
        os.close(writes)
        with open(reads, "rb") as pipe:  # noqa: PTH123 - a handle
            said = pipe.read()
        os.waitpid(pid, 0)
        assert said, "it did not come to an end"
        outcome = Outcome(*json.loads(said))
        assert not (outcome.error or "").startswith("not an ActionError"), outcome.error
        return outcome

    def roll_back(self, *, confined: bool = False, **fields: Any) -> Outcome:
        """Everything a step does, one verb after the other, in one process: [the state it is left in, what it said]."""

        def verbs() -> list[str]:
            step = self.step(**fields)
            captured = step.capture()
            step.preview(captured)
            said = step.apply(captured, "k")
            return [step.state(captured), said]

        return self.act(verbs, confined=confined, **fields)


def observe(folder: Path) -> dict[str, tuple[Any, ...]]:
    """All that a folder holds: kind, rights, owner, content, and when each changed."""
    seen: dict[str, tuple[Any, ...]] = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        found = path.lstat()
        content: Any = None
        if stat.S_ISREG(found.st_mode):
            content = path.read_bytes()
        elif stat.S_ISLNK(found.st_mode):
            content = str(path.readlink())
        seen[str(path.relative_to(folder))] = (found.st_mode, found.st_uid, found.st_gid, content, found.st_mtime_ns)
    return seen


def leftovers(lab: GitLab) -> list[str]:
    """What of ours is there, beside refs."""
    ours = [path for path in lab.bot.rglob("*trading-watchdog*") if "refs" not in path.relative_to(lab.bot).parts]
    return sorted(str(path.relative_to(lab.bot)) for path in (*ours, *lab.bot.rglob("*.lock")))


@contextlib.contextmanager
def made_lab() -> Iterator[GitLab]:
    """Not below pytest's own folder, which nobody but root may enter."""
    folder = Path(tempfile.mkdtemp(prefix="watchdog-lab-"))
    try:
        folder.chmod(0o755)
        lab = GitLab(folder)
        owned = {**dict.fromkeys(("bot", "outside", "home"), BOT), **{f"tmp-{uid}": uid for uid in (BOT, STRANGER, 0)}}
        for name, uid in owned.items():
            (folder / name).mkdir()
            os.chown(folder / name, uid, uid)
        lab.programs.mkdir()
        lab.git("init", "-q", "-b", "main")
        lab.write("config.py", "SIZE = 1\n")
        lab.write("x/a.py", "a = 1\n")
        lab.write("x/old.py", "old\n")
        lab.git("add", "-A")
        lab.git("commit", "-q", "-m", "v1")
        lab.write("config.py", "SIZE = 2\n")
        lab.write("x/a.py", "a = 2\n")
        lab.write("x/new.py", "new\n")
        (lab.bot / "x/old.py").unlink()
        lab.git("add", "-A")
        lab.git("commit", "-q", "-m", "bad one")
        lab.git("tag", "bad")
        for name in ("a.py", "old.py", "new.py", "index", "HEAD", "main", "precious"):
            (lab.outside / name).write_text(f"precious {name}\n")
            os.chown(lab.outside / name, BOT, BOT)
        (lab.outside / "folder").mkdir()
        os.chown(lab.outside / "folder", BOT, BOT)
        yield lab
    finally:
        shutil.rmtree(folder, ignore_errors=True)
