from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sources.conftest import MakeSystemctl
from tests.sources.contract.environment import Environment
from tests.support.raw_http_server import StartServer
from tests.support.senders import Web


@pytest.fixture
def environment(
    start_server: StartServer,
    fake_systemctl: MakeSystemctl,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    web: Web,
) -> Iterator[Environment]:
    world = Environment(start_server, fake_systemctl, tmp_path, monkeypatch, web)
    yield world
    world.close()
