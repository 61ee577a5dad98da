"""One HTTP request with a total deadline and a bounded answer. No redirects, no proxies, no retries: sent at most once."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from watchdog.core.errors import ActionError

MAX_BODY_BYTES = 1 << 20
"""Bytes of an answer."""


class HttpResponse(NamedTuple):
    status: int
    body: bytes

    def json(self) -> Any:
        """What it says as JSON; None when it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


def send_request(method: str, url: str, headers: Mapping[str, str], body: object, deadline: float) -> HttpResponse:
    """Ask `url`; `body`, unless None, goes as JSON. `until` is monotonic seconds.

    Raises ActionError, with `may_have_happened` from the moment at which the first byte was sent.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    data = None if body is None else json.dumps(body).encode()
    own = {"User-Agent": "trading-watchdog", "Accept": "application/json"}
    own |= {} if data is None else {"Content-Type": "application/json"}
    connection = http.client.HTTPConnection(host, port)
    sent = False
    try:
        with contextlib.closing(_connect(host, port, deadline)) as plain, _abort_at(deadline, plain):
            wire = (
                ssl.create_default_context().wrap_socket(plain, server_hostname=host)
                if parts.scheme == "https"
                else plain
            )
            with contextlib.closing(wire):
                connection.sock = wire
                connection.auto_open = 0
                sent = True
                target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
                connection.request(method, target, data, {**own, **headers, "Connection": "close"})
                with contextlib.closing(connection.getresponse()) as response:
                    read = response.read(MAX_BODY_BYTES + 1)
                if time.monotonic() >= deadline:
                    raise TimeoutError  # cut off at the deadline: what was read may be half of it
    except (OSError, http.client.HTTPException, ValueError) as problem:
        late = isinstance(problem, TimeoutError) or time.monotonic() >= deadline
        why = (
            "no answer in time"
            if late
            else getattr(problem, "strerror", None) or str(problem) or type(problem).__name__
        )
        cure = "see whether it runs, and hears on that address" if not sent else "look whether it did what it was asked"
        raise ActionError(f"{redact_url(url)}: {why} — {cure}", may_have_happened=sent) from None
    if len(read) > MAX_BODY_BYTES:
        raise ActionError(
            f"{redact_url(url)} answers with more than {MAX_BODY_BYTES >> 10} KiB", may_have_happened=True
        )
    return HttpResponse(response.status, read)


def redact_url(url: str) -> str:
    """The address without what may be secret in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _connect(host: str, port: int, deadline: float) -> socket.socket:
    connected = socket.create_connection((host, port), max(deadline - time.monotonic(), 0.001))
    connected.settimeout(max(deadline - time.monotonic(), 0.001))
    return connected


@contextlib.contextmanager
def _abort_at(deadline: float, wire: socket.socket) -> Iterator[None]:
    """A socket's time-out counts anew for every read: a server that drips would hold us for ever. This ends it."""
    handle = wire.dup()

    def end() -> None:
        with contextlib.suppress(OSError):
            handle.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(max(deadline - time.monotonic(), 0), end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        handle.close()
