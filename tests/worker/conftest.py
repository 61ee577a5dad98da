"""A bot's folder, workers for it that are really processes, and what they are asked to do."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.security.unprivileged import BOT
from watchdog.core.executor import call_deadline
from watchdog.core.target import Target
from watchdog.host.account import Account, become
from watchdog.worker import launch
from watchdog.worker.client import WorkerExecutor
from watchdog.worker.server import Server, preload


class World(NamedTuple):
    """`bot` and `outside` are folders of the user as whom the workers run: `BOT` where the tests are root's."""

    bot: Path
    outside: Path
    executor: WorkerExecutor
    target: Target

    def call(self, function: Callable[..., Any], *args: Any, seconds: float = 60) -> Any:
        token = call_deadline.set(time.monotonic() + seconds)
        try:
            return self.executor.call(self.target, function, *args)
        finally:
            call_deadline.reset(token)

    def write(self, name: str, text: str, mode: int = 0o644) -> Path:
        """A file of the bot's."""
        path = self.bot / name
        path.write_text(text)
        path.chmod(mode)
        give(path)
        return path


def give(path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(path, BOT, BOT, follow_symlinks=False)


@pytest.fixture
def world() -> Iterator[World]:
    top = Path(tempfile.mkdtemp(prefix="workers-"))  # pytest's own folders are closed to other users
    top.chmod(0o755)
    bot, outside = top / "bot", top / "outside"
    for folder in (bot, outside):
        folder.mkdir()
        give(folder)
    executor = WorkerExecutor()
    try:
        yield World(bot, outside, executor, Target(repo=str(bot)))
    finally:
        executor.close()
        shutil.rmtree(top)


@pytest.fixture
def forked_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers are forked of this process, with all that tests have changed in it."""

    preload()

    def begin(account: Account) -> launch.ForkServer:
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            try:
                ours.close()
                become(account)
                Server(theirs, control=True).serve()
            finally:
                os._exit(0)
        theirs.close()
        return launch.ForkServer(ours)

    monkeypatch.setattr(launch, "begin", begin)
