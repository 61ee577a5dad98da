"""A server on loopback that answers what it is told to, or else what the real service would."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, cast
from urllib.parse import parse_qs

from watchdog.core.model import Message

Json = dict[str, Any]
MESSAGE = Message(
    key="incident/7/opened",
    severity="crit",
    title="Drawdown of <hmm-bot> & co: 10 %",
    lines=("1 - equity / max <above 7 %>", "halt starts"),
)
"""Every mark that a chat could take for its own."""
PNG = b"\x89PNG\r\n\x1a\n" + b"a picture" * 10
"""As much of a picture as the servers look at."""


class Request(NamedTuple):
    path: str
    headers: Mapping[str, str]
    body: bytes

    def fields(self) -> Json:
        """What the body holds, in whatever form clients send it; files as bytes."""
        kind = next((value for name, value in self.headers.items() if name.lower() == "content-type"), "")
        if "json" in kind:
            return cast("Json", json.loads(self.body or b"{}"))
        if "multipart" in kind:
            parts: Any = message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + self.body).get_payload()
            return {
                str(part.get_param("name", header="content-disposition")): (
                    part.get_payload(decode=True) if part.get_filename() else part.get_payload(decode=True).decode()
                )
                for part in parts
            }
        return {name: values[-1] for name, values in parse_qs(self.body.decode(), keep_blank_values=True).items()}


class Response(NamedTuple):
    status: int = 200
    body: bytes | str | Json = b""
    headers: Mapping[str, str] = {}


HANG = Response(status=-1)
"""Takes the request and never answers."""
CLOSE_CONNECTION = Response(status=-2)
"""Takes the request and closes the connection."""


class FakeServer:
    """Answers what `responses` holds next, else what the real service would. Everything received is in `requests`."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.responses: deque[Response] = deque()
        self._stopping = threading.Event()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = Request(self.path, dict(self.headers.items()), body)
                fake.requests.append(request)
                answer = fake.responses.popleft() if fake.responses else fake.respond(request)
                if answer.status < 0:
                    self.close_connection = True
                    if answer is HANG:
                        fake._stopping.wait()
                    return
                data = json.dumps(answer.body) if isinstance(answer.body, dict) else answer.body
                data = data.encode() if isinstance(data, str) else data
                self.send_response(answer.status)
                for name, value in {"Content-Length": str(len(data)), **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                with suppress(OSError):
                    self.wfile.write(data)

            do_GET = do_POST  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def queue_response(
        self, status: int = 200, body: bytes | str | Json = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        """The next request without an answer yet gets this one."""
        self.responses.append(Response(status, body, headers or {}))

    def respond(self, request: Request) -> Response:
        raise NotImplementedError

    def close(self) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
