from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.raw_http_server import StartServer, start_server
from tests.support.senders import web

__all__ = ["StartServer", "start_server", "web"]

StartProcess = Callable[..., "subprocess.Popen[bytes]"]
MakeSystemctl = Callable[[str], None]


@pytest.fixture
def start_process() -> Iterator[StartProcess]:
    """Starts real processes; they end with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def run(*words: str) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(words, start_new_session=True))
        return started[-1]

    yield run
    for process in started:
        if process.returncode is None:
            try:
                os.killpg(process.pid, 9)
            except ProcessLookupError:
                process.kill()
        process.wait(60)


@pytest.fixture
def fake_systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeSystemctl:
    """Puts a `systemctl` of the test's own first in PATH: a shell script with the given body."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def become(body: str) -> None:
        program = folder / "systemctl"
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    return become


@pytest.fixture
def open_folder() -> Iterator[Callable[[int], Path]]:
    """Makes folders of other users'; pytest's own are closed to them."""
    top = Path(tempfile.mkdtemp(prefix="sources-"))
    top.chmod(0o755)

    def make(uid: int) -> Path:
        folder = top / str(uid)
        folder.mkdir()
        os.chown(folder, uid, uid)
        return folder

    yield make
    shutil.rmtree(top)
