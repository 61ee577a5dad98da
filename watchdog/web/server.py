"""Serves the pages over HTTP, and takes what is sent to sources, in threads of their own: a stuck page delays no rollback,
a slow reader or sender no other.

The standard library's server is all that five pages take: a framework costs 4 MB, a twelfth of a start, and ten wake-ups
a second.
"""

from __future__ import annotations

import contextlib
import io
import re
import select
import socket
import socketserver
import threading
import time
from collections.abc import Collection, Mapping
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from watchdog.config.models import Web
from watchdog.core.errors import WatchdogError
from watchdog.core.inbox import RETRY_LATER, InboxEndpoint, InboxError, http_inbox
from watchdog.core.telemetry import log
from watchdog.net.address import host_and_port
from watchdog.web.guard import SECURITY_HEADERS, content_security_policy, own_names, refuse_host, refuse_other_site
from watchdog.web.inbox import Inbox
from watchdog.web.pages import PageHandler, PageRequest, Response
from watchdog.web.query_process import ReaderGoneError
from watchdog.web.request_body import RequestBody
from watchdog.web.request_head import HEAD_END, is_sound

_MAX_CONNECTIONS = 32
"""Readers and senders at a time, for each holds a thread; for one more the one that keeps us waiting longest has to go."""
_PATIENCE = 10.0
"""Seconds for a whole request to come, with all that is sent in it, and for a whole answer to be taken."""
_IDLE = 75.0
"""Seconds for which the connection of a sender is kept that sends nothing more."""
_DRAIN_TIME = 1.0
"""Seconds for which a sender is heard out that has its answer already …"""
_MAX_DRAINED = 4 << 20
"""… and bytes: an answer that meets what nobody reads is taken away from whoever should have it."""
_KEPT = (200, 204, 400, 429, 503)
"""Answers after which a sender sends more, over the same connection."""
_MAX_HEAD = 64 * 1024
"""Bytes of a request with all its headers."""
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


class WebServer:
    """A running web server. `port` is the one that was really bound."""

    def __init__(
        self,
        routes: Mapping[str, PageHandler],
        host: str,
        port: int,
        hosts: Collection[str] = (),
        inbox: Inbox | None = None,
    ) -> None:
        """Binds at once. `hosts`: more names under which it may be asked. `inbox`: where what is sent goes. Raises OSError
        when the address is taken or not ours."""
        self._server = _ThreadedServer(routes, host, port, own_names(host, hosts), inbox or Inbox())
        self.port: int = self._server.server_address[1]
        # It looks for its end once a poll: `close` wakes it instead, and an idle watchdog sleeps.
        self._thread = threading.Thread(target=self._server.serve_forever, args=(3_600.0,), name="web", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """No reader is waited for, and no sender."""
        for each in (self._server.socket, *self._server.waiting.copy()):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _ThreadedServer(socketserver.ThreadingTCPServer):
    """One thread a reader. Not HTTPServer, which asks the name service for our own name before it starts."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 1_024

    def __init__(
        self, routes: Mapping[str, PageHandler], host: str, port: int, names: Collection[str], inbox: Inbox
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.routes, self.names, self.inbox = routes, names, inbox
        self._slots = threading.BoundedSemaphore(_MAX_CONNECTIONS)
        self.waiting: dict[socket.socket, None] = {}
        """Readers that we wait for, in the order in which they began to keep us waiting."""
        super().__init__((host, port), _HttpHandler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._slots.acquire(blocking=False):
            slowest = next(iter(self.waiting.copy()), None)
            if slowest is not None:
                with contextlib.suppress(OSError):
                    slowest.shutdown(socket.SHUT_RDWR)
            if not self._slots.acquire(timeout=1.0):
                self.shutdown_request(request)
                return
        self.waiting[request] = None
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no more threads
            self._forget(request)
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._forget(request)

    def _forget(self, request: socket.socket) -> None:
        self.waiting.pop(request, None)
        self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - a reader went away, or is slow
        log.debug("web: a reader was lost", exc_info=True)


class _Target(NamedTuple):
    """What is asked for."""

    path: str
    query: str
    authorities: list[str]
    """Under which name we are asked; exactly one, as a rule."""


class _HttpHandler(BaseHTTPRequestHandler):
    """One request; the connection is closed after it, so that no idle one holds a thread. Only who sends samples keeps it:
    it saves the making of a connection each time, and the first to go are those that are idle."""

    server: _ThreadedServer
    connection: socket.socket
    disable_nagle_algorithm = True

    def handle(self) -> None:
        self._begun: bytes | None = b""
        """What has come of the next request; None: there is none."""
        while self._begun is not None:
            self.requestline, self.command, self.close_connection = "", "", True
            self._endpoint: InboxEndpoint | None = None
            head = self._receive_head()
            self._begun = None
            if len(head) > _MAX_HEAD and not HEAD_END.search(head, 0, _MAX_HEAD):
                self._send(Response.text("the request is too long", 431 if b"\n" in head[:_MAX_HEAD] else 414))
            elif head and not is_sound(head):
                self._send(Response.text("the headers are none", 400))
            elif head:
                self.rfile.close()
                self.rfile = io.BytesIO(head)
                self.handle_one_request()

    def _receive_head(self) -> bytes:
        """The request with its headers and what came with them, or more than is read; nothing where it did not come."""
        head, kept = self._begun or b"", self.connection not in self.server.waiting
        self.server.waiting[self.connection] = None
        if kept and not head:
            self.connection.settimeout(_IDLE)
            with contextlib.suppress(TimeoutError):
                head = self.connection.recv(8_192)
            if not head:
                return b""
        self._deadline = time.monotonic() + _PATIENCE
        while not HEAD_END.search(head) and len(head) <= _MAX_HEAD:
            self.connection.settimeout(max(0.001, self._deadline - time.monotonic()))
            some = self.connection.recv(8_192)
            if not some:
                return b""
            head += some
        self.server.waiting.pop(self.connection, None)
        return head

    def parse_request(self) -> bool:
        """Whether it is one that is answered by a page, or by a source; if not, it has been answered."""
        if not super().parse_request():
            return False
        self._endpoint = self.server.inbox.find_endpoint(self._split_target().path)
        methods = ("GET", "HEAD") if self._endpoint is None else self._endpoint.methods
        if self.request_version == "HTTP/0.9":
            self._send(Response.text("this is no request", 400))
        elif self.command not in methods:
            why = "these pages are only read" if self._endpoint is None else f"this takes {' and '.join(methods)}"
            self._send(Response.text(why, 405, {"Allow": ", ".join(methods)}))
        else:
            return True
        return False

    def _split_target(self) -> _Target:
        target, authorities = self.path, self.headers.get_all("Host", [])
        if target[:7].lower() == "http://":
            authority, _, rest = target[7:].partition("/")
            target, authorities = f"/{rest}", [authority]
        path, _, query = target.partition("#")[0].partition("?")
        return _Target(path, query, authorities)

    def do_GET(self) -> None:
        if self._endpoint is not None:
            self._take(self._endpoint)
            return
        reply = self._answer()
        try:
            self._send(reply)
        finally:
            if reply.on_sent is not None:
                reply.on_sent()

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        self.do_GET()

    def _take(self, endpoint: InboxEndpoint) -> None:
        """What is sent to a source."""
        target = self._split_target()
        body = None
        try:
            body = RequestBody(self.headers, self.rfile.read(), self.connection, self._deadline, self.server.waiting)
            reply = self._refuse(target) or Response.of(
                self.server.inbox.answer(endpoint, self.command, target.path, self.headers, body)
            )
        except InboxError as refusal:
            reply = Response.of(refusal.reply)
        finished = body is not None and body.finished
        asked = [text.strip().lower() for text in self.headers.get("Connection", "").split(",")]
        keep = finished and self.request_version == "HTTP/1.1" and "close" not in asked and reply.code in _KEPT
        self._send(reply, keep=keep)
        if keep and body is not None:
            self._begun = body.rest
        elif not finished:
            self._drain_body()

    def _drain_body(self) -> None:
        """Reads away what is still being sent, for a moment."""
        deadline, left = time.monotonic() + _DRAIN_TIME, _MAX_DRAINED
        self.server.waiting[self.connection] = None
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            while left > 0 and (patience := deadline - time.monotonic()) > 0:
                self.connection.settimeout(patience)
                some = self.connection.recv(65_536)
                if not some:
                    return
                left -= len(some)

    def _refuse(self, target: _Target) -> Response | None:
        """Of those whom we are not for; None: it may be answered."""
        given = target.authorities
        if len(given) > 1 or (not given and self.request_version != "HTTP/1.0"):
            return Response.text("a request has one Host header", 400)
        authority = given[0].strip() if given else ""
        refused = (refuse_host(authority, self.server.names) if given else None) or refuse_other_site(
            self.headers,  # type: ignore[arg-type]  # a Message is as good as a mapping
            target.path,
            authority,
        )
        return None if refused is None else Response.text(refused[1], refused[0])

    def _answer(self) -> Response:
        target = self._split_target()
        refused = self._refuse(target)
        if refused is not None:
            return refused
        path, query = target.path, target.query
        page = self.server.routes.get(path)
        if page is None:
            return Response.text("there is no such page", 404)
        try:
            if _BAD_ESCAPE.search(query):
                raise ValueError
            params = dict(parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=32))
        except ValueError:  # bytes that are no UTF-8 as well
            return Response.text("what stands after the ? cannot be read: check its percent signs", 400)
        try:
            return page(PageRequest(params, self.headers.get("Accept", ""), self.connection.fileno()))
        except ReaderGoneError:
            raise
        except TimeoutError:
            return Response.text("the watchdog is too busy to say it - ask again in a moment", 503, RETRY_LATER)
        except Exception:
            log.exception("web: %s broke", path)
            return Response.text("Internal Server Error", 500)

    def _send(self, reply: Response, *, keep: bool = False) -> None:
        self.server.waiting[self.connection] = None
        self.request_version = "HTTP/1.0"  # else the oldest readers would get no headers
        self.protocol_version = "HTTP/1.0" if self._endpoint is None else "HTTP/1.1"
        self.send_response_only(reply.code)
        policy = {"Content-Security-Policy": content_security_policy()}
        about = {"Content-Type": reply.content_type, "Content-Length": str(len(reply.body))}
        ends = {"Connection": "keep-alive" if keep else "close"}
        for name, value in {
            **(about if reply.code != 204 else {}),
            **ends,
            **SECURITY_HEADERS,
            **policy,
            **reply.headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        deadline, left = time.monotonic() + _PATIENCE, memoryview(b"" if self.command == "HEAD" else reply.body)
        while left:
            self.connection.settimeout(max(0.001, deadline - time.monotonic()))
            left = left[self.connection.send(left) :]
        if keep:
            self.server.waiting.pop(self.connection, None)
            return
        if self.command == "HEAD":
            return
        with contextlib.suppress(OSError):  # what came after the request: unread, it would take the answer away
            for _ in range(16):
                if not select.select([self.connection], [], [], 0)[0] or not self.connection.recv(65_536):
                    break

    def handle_expect_100(self) -> bool:
        """It is told to go on when it is known who it is, and what is sent is waited for."""
        return True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """What the standard library refuses: in one line, and nothing of it repeated."""
        texts = {
            414: "the request is too long",
            431: "the headers are too many or too long",
            505: "HTTP/1.1 is spoken here",
        }
        self._send(Response.text(texts.get(code, "this is no request"), code))

    def log_message(self, *args: object) -> None:
        """Who reads a page is nobody's news."""


def start_server(settings: Web, routes: Mapping[str, PageHandler]) -> WebServer:
    """Where the configuration says, with the inbox of sources that are told. `routes`: of `build_routes`.

    Raises WatchdogError when the address is not to be had.
    """
    host, port = settings.host, settings.port
    try:
        server = WebServer(routes, host, port, settings.hosts, inbox := Inbox())
    except OSError as error:
        raise WatchdogError(
            f"cannot listen on {host_and_port(host, port)}: {error.strerror} — set web.listen"
        ) from None
    http_inbox.set(inbox)
    log.info("http://%s/metrics", host_and_port(host, server.port))
    return server
