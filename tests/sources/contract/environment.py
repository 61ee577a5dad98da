"""What the sources' far ends may lean on, and the union of them all."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import TypeAdapter

from tests.sources.conftest import MakeSystemctl
from tests.support.raw_http_server import Behaviour, RawHttpServer, StartServer
from tests.support.senders import Web
from watchdog.core import model
from watchdog.core.protocols import PulledSource, PushedSource
from watchdog.sources import AnySource

NOW = 1_700_000_000_000
SOURCE_CLASSES: tuple[type[model.ConfigModel], ...] = get_args(get_args(AnySource)[0])
TYPES = {get_args(member.model_fields["type"].annotation)[0]: member for member in SOURCE_CLASSES}
PULLED = [kind for kind, member in TYPES.items() if hasattr(member, "read")]
PUSHED = [kind for kind, member in TYPES.items() if hasattr(member, "receive")]
ADAPTER: TypeAdapter[AnySource] = TypeAdapter(AnySource)


class Environment:
    """What the examples may lean on."""

    def __init__(
        self,
        start_server: StartServer,
        fake_systemctl: MakeSystemctl,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        web: Web,
    ) -> None:
        self.web = web
        self.systemctl, self.folder, self.monkeypatch = fake_systemctl, folder, monkeypatch
        self._start_server = start_server
        self.servers: list[RawHttpServer] = []
        self._sockets: list[socket.socket] = []

    def serve(self, behave: Behaviour) -> RawHttpServer:
        self.servers.append(self._start_server(behave))
        return self.servers[-1]

    def take_port(self, kind: socket.SocketKind) -> int:
        """One on which somebody else listens."""
        self._sockets.append(socket.socket(socket.AF_INET, kind))
        self._sockets[-1].bind(("127.0.0.1", 0))
        return int(self._sockets[-1].getsockname()[1])

    def take_silent_port(self) -> int:
        """One on which somebody listens, and says nothing."""
        self._sockets.append(socket.create_server(("127.0.0.1", 0)))
        return int(self._sockets[-1].getsockname()[1])

    def open_files(self) -> int:
        """What the far ends of ours hold open: their side of each connection is still there for a moment when ours is gone."""
        return sum(connection.fileno() >= 0 for server in self.servers for connection in server.open_connections)

    def close(self) -> None:
        for each in self._sockets:
            each.close()


Make = Callable[[Environment], dict[str, Any]]
"""The fields of an entry, once there is something that it can be about."""


def make_source(kind: str, fields: dict[str, Any]) -> PulledSource:
    source = ADAPTER.validate_python({"type": kind, **fields})
    assert isinstance(source, PulledSource)
    return source


def make_pushed(kind: str, fields: dict[str, Any]) -> PushedSource:
    source = ADAPTER.validate_python({"type": kind, **fields})
    assert isinstance(source, PushedSource)
    return source
