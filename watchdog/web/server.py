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

from watchdog.core.errors import WatchdogError
from watchdog.core.telemetry import log
from watchdog.core.text import escape
from watchdog.web.status_page import render_status_page

Status = dict[str, Any]

_MAX_CONNECTIONS = 32
"""Readers at a time; one more is turned away, for each holds a thread."""
_SOCKET_TIMEOUT = 10.0
"""Seconds that a reader may keep us waiting for its next byte; and for all of them, when others are turned away."""


class Response(NamedTuple):
    body: str | bytes
    content_type: str = "text/plain; charset=utf-8"
    code: int = 200


PageHandler = Callable[[Mapping[str, str], str], Response]
"""What stands in the address, and the reader's Accept header → what it is told."""


def build_routes(
    registry: CollectorRegistry,
    health: Callable[[], str | None],
    status: Callable[[], Status],
    query: Callable[[Mapping[str, str]], Status],
) -> dict[str, PageHandler]:
    """By path. `health` says what is wrong, or None. `status` and `query` may block for a moment: they ask the daemon's
    own loop.

    `query` is given what stands in the address (expr, at, from, to, step); it raises WatchdogError where that is wrong.
    """

    def metrics(_: Mapping[str, str], accept: str) -> Response:
        encode, content_type = choose_encoder(accept)
        return Response(encode(registry), content_type)

    def healthz(*_: object) -> Response:
        problem = health()
        return Response("ok\n") if problem is None else Response(f"{escape(problem)}\n", code=503)

    def home(*_: object) -> Response:
        return Response(render_status_page(status()), "text/html; charset=utf-8")

    def api_status(*_: object) -> Response:
        return _json_response(status())

    def api_query(asked: Mapping[str, str], _: str) -> Response:
        try:
            return _json_response(query(asked))
        except WatchdogError as error:
            return _json_response({"error": str(error)}, 400)

    return {"/": home, "/metrics": metrics, "/healthz": healthz, "/api/status": api_status, "/api/query": api_query}


def _forbid_cross_site(*_: object) -> Response:
    """Any web page can have a browser on this machine ask us what costs time."""
    return Response("these pages are not for other web sites\n", code=403)


def _json_response(value: object, code: int = 200) -> Response:
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Response(text, "application/json", code)


class WebServer:
    """A running web server. `port` is the one that was really bound."""

    def __init__(self, routes: Mapping[str, PageHandler], host: str, port: int) -> None:
        """Binds at once. Raises OSError when the address is taken or not ours."""
        self._server = _ThreadedServer(routes, host, port)
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


class _ThreadedServer(socketserver.ThreadingTCPServer):
    """One thread a reader. Not HTTPServer, which asks the name service for our own name before it starts."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, routes: Mapping[str, PageHandler], host: str, port: int) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.routes = routes
        self._slots = threading.BoundedSemaphore(_MAX_CONNECTIONS)
        self._connections: dict[socket.socket, float] = {}
        super().__init__((host, port), _HttpHandler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._slots.acquire(blocking=False):
            self._connections[request] = time.monotonic()
            super().process_request(request, client_address)
            return
        self.shutdown_request(request)
        for (
            reader,
            since,
        ) in self._connections.copy().items():  # one that drips its request a byte at a time never falls silent
            if time.monotonic() - since > _SOCKET_TIMEOUT:
                with contextlib.suppress(OSError):
                    reader.shutdown(socket.SHUT_RDWR)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.pop(request, None)
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - a reader went away, or is slow
        log.debug("web: a reader was lost", exc_info=True)


class _HttpHandler(BaseHTTPRequestHandler):
    """One request; the connection is closed after it, so that no idle one holds a thread."""

    server: _ThreadedServer
    server_version = "trading-watchdog"
    sys_version = ""
    timeout = _SOCKET_TIMEOUT

    def do_GET(self) -> None:
        try:
            address = urlsplit(self.path)
        except ValueError:  # such as http://[
            self.send_error(400)
            return
        page = self.server.routes.get(address.path)
        if self.headers.get("Sec-Fetch-Site") == "cross-site" and self.headers.get("Sec-Fetch-Dest") != "document":
            page = _forbid_cross_site
        try:
            reply = (
                Response("Not Found", code=404)
                if page is None
                else page(dict(parse_qsl(address.query, keep_blank_values=True)), self.headers.get("Accept", ""))
            )
        except Exception:
            log.exception("web: %s broke", address.path)
            reply = Response("Internal Server Error", code=500)
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
