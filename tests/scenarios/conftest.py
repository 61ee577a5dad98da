from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.harness import ScenarioHarness


@pytest.fixture
def make_harness(tmp_path: Path) -> Iterator[Callable[..., ScenarioHarness]]:
    made: list[ScenarioHarness] = []

    def build(**said: Any) -> ScenarioHarness:
        made.append(ScenarioHarness(tmp_path, **said))
        return made[-1]

    yield build
    for one in made:
        one.close()
