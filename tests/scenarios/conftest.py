from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.harness import ScenarioHarness
from watchdog.actions.git import repository


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here cuts the power; nothing waits for disks."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setitem(repository._ENV, "GIT_TEST_FSYNC", "false")


@pytest.fixture
def make_harness(tmp_path: Path) -> Iterator[Callable[..., ScenarioHarness]]:
    made: list[ScenarioHarness] = []

    def build(**said: Any) -> ScenarioHarness:
        made.append(ScenarioHarness(tmp_path, **said))
        return made[-1]

    yield build
    for one in made:
        one.close()
