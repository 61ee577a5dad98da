from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.rollback.harness import RollbackHarness


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[[], Path]:
    """A new folder for each life that a test tries."""
    numbers = itertools.count()

    def folder() -> Path:
        place = tmp_path / str(next(numbers))
        place.mkdir()
        return place

    return folder


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[RollbackHarness]:
    made = RollbackHarness(tmp_path)
    yield made
    made.journal.close()
