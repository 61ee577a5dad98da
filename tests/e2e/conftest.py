from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import E2EHarness


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[E2EHarness]:
    one = E2EHarness(tmp_path)
    one.write_config()
    one.restart_bot()
    yield one
    one.close()
