from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import pytest

from tests.support.raw_http_server import start_server  # noqa: F401 – a fixture
from watchdog.net import http
from watchdog.net.deadline import Deadline
from watchdog.net.fetch import HttpFetcher

LONG_TIMEOUT = 60_000  # for servers that answer: a busy machine must not fail the test
SHORT_TIMEOUT = 60  # for servers that never will
TIMEOUT_ONCE_ASKED = 3_000  # for servers that never will, and must have been asked by then


class Ask(Protocol):
    def __call__(
        self,
        url: str,
        *,
        timeout: int = LONG_TIMEOUT,
        max_bytes: int = 1 << 20,
        headers: Mapping[str, str] | None = None,
    ) -> bytes: ...


def ask_once(
    url: str, *, timeout: int = LONG_TIMEOUT, max_bytes: int = 1 << 20, headers: Mapping[str, str] | None = None
) -> bytes:
    deadline = Deadline.after(timeout)
    return http.request("GET", url, deadline=deadline, max_bytes=max_bytes, headers=headers, expect=200).body


def fetch_page(
    url: str, *, timeout: int = LONG_TIMEOUT, max_bytes: int = 1 << 20, headers: Mapping[str, str] | None = None
) -> bytes:
    return HttpFetcher().get(url, headers or {}, timeout, max_bytes).body


@pytest.fixture(params=[ask_once, fetch_page], ids=["http", "fetch"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """The body at an address, by either client."""
    client: Ask = request.param
    return client
