"""The README's first command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest


@pytest.mark.parametrize(
    "start",
    [
        (),
        pytest.param(("--from", "2345", "--seed", "2"), marks=pytest.mark.slow),
        pytest.param(("--from", "4700", "--seed", "3"), marks=pytest.mark.slow),  # it comes to the end of the data
    ],
    ids=" ".join,
)
def test_the_demo_rolls_the_bad_version_back_and_leaves_nothing_behind(start: tuple[str, ...], tmp_path: Path) -> None:
    """The same story, wherever in the market's data it begins, and whatever the bad version makes of it."""
    pytest.importorskip("hmmlearn")

    done = subprocess.run(
        [sys.executable, "-m", "watchdog", "demo", "--json", "--keep", str(tmp_path / "night"), *start],
        capture_output=True,
        text=True,
        timeout=400,
        umask=0,  # whoever lets a group write his files may look at it, too
    )

    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["plan"], result["level"], result["outcome"]) == ("rollback", "version", "proven")
    assert 0 < result["detected_s"] < result["rolled_back_s"] < result["recovered_s"]
    # Tripped and what is done; what did not help and what comes next; the end; and what the slow rules add meanwhile.
    assert 2 <= result["messages"] <= 8
    repo = tmp_path / "night" / "bot"
    assert _tree(repo, result["head_after"]) == _tree(repo, "v1") != _tree(repo, result["bad_commit"])
    left = [process for process in psutil.process_iter() if _runs_in(process, tmp_path)]
    assert left == []


def test_the_demo_begins_only_where_there_are_bars_to_learn_from() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "watchdog", "demo", "--from", "9"], capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 1
    assert "no bar 9 to begin at — say one from 1010 to 5030" in done.stderr


def _runs_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return str(folder) in " ".join([process.cwd(), *process.cmdline()])
    except psutil.Error:
        return False


def _tree(repo: Path, commit: str) -> str:
    done = subprocess.run(
        ["git", "rev-parse", f"{commit}^{{tree}}"], cwd=repo, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
