"""A loopback HTTP server whose every byte the test decides."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

LOOPBACK_CERTIFICATE = Path(__file__).with_name("loopback_tls.pem")
"""For 127.0.0.1 and localhost, with its key; known to nobody but who names this file."""

Behaviour = Callable[["RawHttpServer", socket.socket], object]


class RawHttpServer:
    """Answers each request by calling `behave`; a behaviour that returns True keeps the connection."""

    def __init__(self, behave: Behaviour, *, secure: bool = False, client_ca: Path | None = None) -> None:
        """`client_ca`: who asks must show a certificate that comes from there."""
        self.behaviour = behave
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if secure else None
        if self._tls is not None:
            self._tls.load_cert_chain(LOOPBACK_CERTIFICATE)
            if client_ca is not None:
                self._tls.load_verify_locations(client_ca)
                self._tls.verify_mode = ssl.CERT_REQUIRED
        self.requests: list[str] = []
        """Request line and headers of each request."""
        self.bodies: list[str] = []
        """What came with each request."""
        self.connections = 0
        self.stopping = threading.Event()
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._start(self._accept)

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"{'http' if self._tls is None else 'https'}://127.0.0.1:{self.port}/metrics"

    @property
    def open_connections(self) -> tuple[socket.socket, ...]:
        """Our side of those that were made, closed ones too."""
        return tuple(self._open)

    def close(self) -> None:
        self.stopping.set()
        for each in (self._listener, *self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(5)

    def _start(self, work: Callable[[], None]) -> None:
        self._threads.append(threading.Thread(target=work, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        while not self.stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            self._start(lambda connection=connection: self._serve_connection(connection))  # type: ignore[misc]

    def _serve_connection(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
                self._open.append(connection)
            while request := _read_request(connection):
                self.requests.append(request[0])
                self.bodies.append(request[1])
                if not self.behaviour(self, connection):
                    return


def _read_request(connection: socket.socket) -> tuple[str, str] | None:
    """Head and body; None when there is no more."""
    data, length = b"", None
    while length is None or len(data.partition(b"\r\n\r\n")[2]) < length:
        more = connection.recv(65536)
        if not more:
            return None
        data += more
        if length is None and b"\r\n\r\n" in data:
            said = re.search(rb"\r\ncontent-length: *([0-9]+)\r\n", data.lower())
            length = int(said[1]) if said else 0
    head, end, body = data.decode("latin-1").partition("\r\n\r\n")
    return head + end, body


def respond_with(
    body: bytes | str, status: str = "200 OK", headers: Mapping[str, str] | None = None, length: int | None = None
) -> Behaviour:
    """A whole, well-formed answer; `length` says another Content-Length than the true one."""
    data = body.encode() if isinstance(body, str) else body
    lines = {"Content-Type": "text/plain; version=0.0.4", "Content-Length": str(length or len(data)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())

    def behave(server: RawHttpServer, connection: socket.socket) -> bool:
        connection.sendall(f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + data)
        return length is None

    return behave


def never_respond(server: RawHttpServer, connection: socket.socket) -> None:
    """Takes the request and says nothing."""
    server.stopping.wait()


def respond_slowly(start_process: bytes, byte: bytes) -> Behaviour:
    """`start`, then one byte every 5 ms without end: each single read succeeds."""

    def behave(server: RawHttpServer, connection: socket.socket) -> None:
        connection.sendall(start_process)
        while not server.stopping.wait(0.005):
            connection.sendall(byte)

    return behave


StartServer = Callable[[Behaviour], RawHttpServer]


@pytest.fixture
def start_server() -> Iterator[StartServer]:
    """Starts loopback servers; they end with the test."""
    servers: list[RawHttpServer] = []

    def start(behave: Behaviour) -> RawHttpServer:
        servers.append(RawHttpServer(behave))
        return servers[-1]

    yield start
    for server in servers:
        server.close()
