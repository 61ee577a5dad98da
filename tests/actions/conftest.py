"""A repository with a bad merge in it, and a broom for processes."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.actions.helpers import V1, V2, Repo


@pytest.fixture
def bot(tmp_path: Path) -> Repo:
    """main: v1, then a merged branch (tag `x-merge`) that changes, adds and removes files, then a later commit."""
    repo = Repo(tmp_path / "bot")
    repo.commit("v1", config__py=V1, old__py="old\n", run__sh="#!/bin/sh\n", notes__md="a\nb\nc\n")
    repo.git("tag", "v1")
    repo.git("checkout", "-q", "-b", "feature")
    repo.commit("feature x", config__py=V2, old__py=None, x___a__py="a\n", x___b__py="b\n", run__sh="#!/bin/sh\nexec x\n")
    repo.git("checkout", "-q", "main")
    repo.git("merge", "-q", "--no-ff", "-m", "Merge feature x", "feature")
    repo.git("tag", "x-merge")
    repo.commit("later", later__py="later\n", notes__md="a\nb\nc\nd\n")
    return repo


@pytest.fixture
def children() -> Iterator[None]:
    """Nothing that a test started outlives it."""
    before = {process.pid for process in psutil.process_iter()}
    yield
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid not in before and process.environ().get("OF_TEST") == str(os.getpid()):
                os.kill(process.pid, signal.SIGKILL)
