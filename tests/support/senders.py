"""A web server to which bots may send, and a bot that sends."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from watchdog.core.inbox import http_inbox
from watchdog.core.model import Sample
from watchdog.core.protocols import SourceState
from watchdog.web.inbox import Inbox
from watchdog.web.pages import Response
from watchdog.web.server import WebServer

TOKEN = "a-token-of-the-bots-own"


class Web:
    """A running server; sources that are opened meanwhile are told there."""

    def __init__(self, folder: Path) -> None:
        self.inbox = Inbox()
        self.server = WebServer({"/healthz": lambda _: Response.text("ok")}, "127.0.0.1", 0, (), self.inbox)
        self.token_file = folder / "token"
        self.token_file.write_text(f"{TOKEN}\n")
        self.token_file.chmod(0o600)

    @property
    def port(self) -> int:
        return self.server.port

    def ask(
        self, method: str, path: str, body: bytes | str | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        """Status and text of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def push(
        self,
        name: str,
        body: bytes | str,
        kind: str = "application/json",
        *,
        method: str = "POST",
        token: str = TOKEN,
        more: Mapping[str, str] | None = None,
    ) -> tuple[int, str]:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": kind, **(more or {})}
        return self.ask(method, f"/push/{name}", body, headers)

    def close(self) -> None:
        self.server.close()


@pytest.fixture
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    running = Web(tmp_path_factory.mktemp("web"))
    before = http_inbox.set(running.inbox)
    yield running
    http_inbox.reset(before)
    running.close()


class Heard:
    """Takes what a source delivers."""

    def __init__(self) -> None:
        self.made: list[tuple[list[Sample], SourceState]] = []
        self.waiting = 0
        """What it says to each delivery."""
        self._changed = threading.Condition()

    def __call__(self, samples: Sequence[Sample], state: SourceState) -> int:
        with self._changed:
            self.made.append((list(samples), state))
            self._changed.notify_all()
        return self.waiting

    @property
    def state(self) -> SourceState:
        return self.made[-1][1]

    @property
    def values(self) -> dict[str, float]:
        """Series, as they are written → what it was last."""
        return {describe(sample): sample.v for sample in self.made[-1][0]}

    def wait_until(self, condition: Callable[[Heard], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: bool(self.made) and condition(self), 30), "it was not delivered"


def describe(sample: Sample) -> str:
    labels = ",".join(f'{name}="{value}"' for name, value in sample.labels)
    return f"{sample.name}{{{labels}}}" if labels else sample.name
