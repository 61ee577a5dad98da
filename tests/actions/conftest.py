"""A repository with a bad merge in it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.actions import CONFIG_V1, CONFIG_V2, GitRepo


@pytest.fixture(scope="session")
def template_repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    repo = GitRepo(tmp_path_factory.mktemp("made") / "bot")
    repo.commit("v1", config__py=CONFIG_V1, old__py="old\n", run__sh="#!/bin/sh\n", notes__md="a\nb\nc\n")
    repo.git("tag", "v1")
    repo.git("checkout", "-q", "-b", "feature")
    repo.commit(
        "feature x", config__py=CONFIG_V2, old__py=None, x___a__py="a\n", x___b__py="b\n", run__sh="#!/bin/sh\nexec x\n"
    )
    repo.git("checkout", "-q", "main")
    repo.git("merge", "-q", "--no-ff", "-m", "Merge feature x", "feature")
    repo.git("tag", "x-merge")
    repo.commit("later", later__py="later\n", notes__md="a\nb\nc\nd\n")
    return repo.path


@pytest.fixture
def bot(tmp_path: Path, template_repo: Path) -> GitRepo:
    """main: v1, then a merged branch (tag `x-merge`) that changes, adds and removes files, then a later commit."""
    shutil.copytree(template_repo, tmp_path / "bot")
    repo = GitRepo(tmp_path / "bot")
    repo.git("update-index", "-q", "--refresh")
    return repo
