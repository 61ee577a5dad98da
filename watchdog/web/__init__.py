"""`/`, /metrics, /healthz, /api/status and /api/query over HTTP, in threads of their own: a stuck page delays no rollback.

The standard library's server is all that five pages take: a framework costs 4 MB, a twelfth of a start, and ten wake-ups
a second.
"""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from watchdog.model import WatchdogError
from watchdog.telemetry import log
from watchdog.web.front import front

Status = dict[str, Any]

_MOST = 32
"""Readers at a time; one more is turned away, for each holds a thread."""
_PATIENCE = 10.0
"""Seconds that a reader may keep us waiting for its next byte; and for all of them, when others are turned away."""


class Reply(NamedTuple):
    body: str | bytes
    content_type: str = "text/plain; charset=utf-8"
    code: int = 200


Page = Callable[[Mapping[str, str], str], Reply]
"""What stands in the address, and the reader's Accept header → what it is told."""


def pages(
    registry: CollectorRegistry,
    health: Callable[[], str | None],
    status: Callable[[], Status],
    query: Callable[[Mapping[str, str]], Status],
) -> dict[str, Page]:
    """By path. `health` says what is wrong, or None. `status` and `query` may block for a moment: they ask the daemon's
    own loop.

    `query` is given what stands in the address (expr, at, from, to, step); it raises WatchdogError where that is wrong.
    """

    def metrics(_: Mapping[str, str], accept: str) -> Reply:
        encode, content_type = choose_encoder(accept)
        return Reply(encode(registry), content_type)

    def healthz(*_: object) -> Reply:
        wrong = health()
        return Reply("ok\n") if wrong is None else Reply(f"{wrong}\n", code=503)

    def home(*_: object) -> Reply:
        return Reply(front(status()), "text/html; charset=utf-8")

    def api_status(*_: object) -> Reply:
        return _json(status())

    def api_query(asked: Mapping[str, str], _: str) -> Reply:
        try:
            return _json(query(asked))
        except WatchdogError as error:
            return _json({"error": str(error)}, 400)

    return {"/": home, "/metrics": metrics, "/healthz": healthz, "/api/status": api_status, "/api/query": api_query}


def _not_for_strangers(*_: object) -> Reply:
    """Any web page can have a browser on this machine ask us what costs time."""
    return Reply("these pages are not for other web sites\n", code=403)


def _json(value: object, code: int = 200) -> Reply:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Reply(text, "application/json", code)


class Server:
    """A running web server. `port` is the one that was really bound."""

    def __init__(self, shown: Mapping[str, Page], host: str, port: int) -> None:
        """Binds at once. Raises OSError when the address is taken or not ours."""
        self._server = _Threads(shown, host, port)
        self.port: int = self._server.server_address[1]
        # It looks for its end once a poll: `close` wakes it instead, and an idle watchdog sleeps.
        self._thread = threading.Thread(target=self._server.serve_forever, args=(3_600.0,), name="web", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """No reader is waited for."""
        with contextlib.suppress(OSError):
            self._server.socket.shutdown(socket.SHUT_RDWR)
        self._server.shutdown()
        self._server.server_close()


class _Threads(socketserver.ThreadingTCPServer):
    """One thread a reader. Not HTTPServer, which asks the name service for our own name before it starts."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, shown: Mapping[str, Page], host: str, port: int) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.shown = shown
        self._free = threading.BoundedSemaphore(_MOST)
        self._open: dict[socket.socket, float] = {}
        super().__init__((host, port), _Reader)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            self._open[request] = time.monotonic()
            super().process_request(request, client_address)
            return
        self.shutdown_request(request)
        for (
            reader,
            since,
        ) in self._open.copy().items():  # one that drips its request a byte at a time never falls silent
            if time.monotonic() - since > _PATIENCE:
                with contextlib.suppress(OSError):
                    reader.shutdown(socket.SHUT_RDWR)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._open.pop(request, None)
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - a reader went away, or is slow
        log.debug("web: a reader was lost", exc_info=True)


class _Reader(BaseHTTPRequestHandler):
    """One request; the connection is closed after it, so that no idle one holds a thread."""

    server: _Threads
    server_version = "trading-watchdog"
    sys_version = ""
    timeout = _PATIENCE

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        page = self.server.shown.get(address.path)
        if self.headers.get("Sec-Fetch-Site") == "cross-site" and self.headers.get("Sec-Fetch-Dest") != "document":
            page = _not_for_strangers
        try:
            reply = (
                Reply("Not Found", code=404)
                if page is None
                else page(dict(parse_qsl(address.query, keep_blank_values=True)), self.headers.get("Accept", ""))
            )
        except Exception:
            log.exception("web: %s broke", address.path)
            reply = Reply("Internal Server Error", code=500)
        body = reply.body if isinstance(reply.body, bytes) else reply.body.encode()
        self.send_response(reply.code)
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *args: object) -> None:
        """Who reads a page is nobody's news."""
