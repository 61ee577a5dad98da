"""One WebSocket of Slack's, read by a thread of its own.

The library's `Connection` opens it, says who we are and sends. Its reading is not used: it takes a closed connection for a quiet
one, at full speed, and loses what comes in pieces.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlsplit

from slack_sdk.proxy_env_variable_loader import load_http_proxy_from_env
from slack_sdk.socket_mode.builtin.connection import Connection
from slack_sdk.socket_mode.builtin.frame_header import FrameHeader

from watchdog.core.errors import NotifyError
from watchdog.notifiers.slack_client import SILENT_LOGGER

MAX_MESSAGE = 4 << 20
"""Bytes of one message; no envelope is nearly as long."""
STEP_TIMEOUT = 10.0
"""Seconds that the way to Slack may take; then, that a look at the socket waits."""
_CHUNK = 1 << 16


class FrameReader:
    """Whole messages out of the bytes of a WebSocket (RFC 6455), as a client hears them."""

    def __init__(self, receive: Callable[[int], bytes]) -> None:
        """`receive`: as of a socket."""
        self._receive = receive
        self._buffer = bytearray()
        self._parts: tuple[int, bytearray] | None = None

    def read(self) -> tuple[int, bytes] | None:
        """Opcode and content of the next message; None: it is not whole yet, and nothing came for a while. Raises OSError when
        nothing more will come."""
        try:
            while True:
                self._fill(1)
                if (
                    self._buffer[0] == 0x0A
                ):  # no frame begins so: the library leaves the last character of the headers to us
                    del self._buffer[:1]
                    continue
                self._fill(2)
                first, second = self._buffer[0], self._buffer[1]
                extra = {126: 2, 127: 8}.get(second & 0x7F, 0)
                self._fill(2 + extra)
                length = int.from_bytes(self._buffer[2 : 2 + extra], "big") if extra else second & 0x7F
                if second & 0x80 or length > MAX_MESSAGE:
                    raise ConnectionError("no frame of a server's")
                self._fill(2 + extra + length)
                content = bytes(self._buffer[2 + extra : 2 + extra + length])
                del self._buffer[: 2 + extra + length]
                if (message := self._join(first & 0x0F, content, is_last=bool(first & 0x80))) is not None:
                    return message
        except TimeoutError:
            return None

    def _fill(self, size: int) -> None:
        while len(self._buffer) < size:
            received = self._receive(_CHUNK)
            if not received:
                raise ConnectionResetError("closed")
            self._buffer += received

    def _join(self, opcode: int, content: bytes, *, is_last: bool) -> tuple[int, bytes] | None:
        if opcode >= FrameHeader.OPCODE_CLOSE:
            return opcode, content
        if self._parts is None or opcode != FrameHeader.OPCODE_CONTINUATION:
            self._parts = opcode, bytearray()
        kind, parts = self._parts
        parts += content
        if len(parts) > MAX_MESSAGE:
            raise ConnectionError("too long a message")
        if not is_last:
            return None
        self._parts = None
        return kind, bytes(parts)


class SlackWebSocket:
    """Text goes to `hear`, and its end, once, to `end`: both in another thread."""

    def __init__(self, url: str, *, is_test: bool, hear: Callable[[str], None], end: Callable[[], None]) -> None:
        """`is_test`: a Slack on this machine may do without TLS. Raises NotifyError."""
        self._hear, self._end = hear, end
        self._socket: socket.socket | None = None
        self._closed = threading.Event()
        self.received = 0
        """Messages, of any kind."""
        self._fault: Exception | None = None
        self._connection = Connection(
            _checked(url, is_test=is_test),
            SILENT_LOGGER,
            proxy=load_http_proxy_from_env(SILENT_LOGGER),
            receive_timeout=STEP_TIMEOUT,
            on_error_listener=self._note_fault,
        )

    def open(self) -> None:
        """Blocks. Raises NotifyError."""
        self._connection.connect()
        self._socket = self._connection.sock
        if self._socket is None:
            raise NotifyError(f"Slack's WebSocket cannot be opened{self._describe_fault()} — check the network")
        self._socket.settimeout(STEP_TIMEOUT)
        threading.Thread(target=self._read, name="slack-socket", daemon=True).start()
        if self._closed.is_set():  # meanwhile
            self.close()

    def send(self, text: str) -> None:
        """Blocks. Raises OSError where it has ended."""
        try:
            self._connection.send(text)
        except Exception as fault:
            raise ConnectionResetError("closed") from fault

    def ping(self) -> None:
        """Blocks. What comes back counts as received."""
        with suppress(OSError):  # who reads finds that out, too
            self._connection.ping("watchdog")

    def close(self) -> None:
        """Whoever reads ends, and closes it."""
        self._closed.set()
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _read(self) -> None:
        assert self._socket is not None
        reader = FrameReader(self._socket.recv)
        try:
            while not self._closed.is_set():
                if (message := reader.read()) is None:
                    continue
                self.received += 1
                opcode, content = message
                if opcode == FrameHeader.OPCODE_TEXT:
                    self._hear(content.decode("utf-8", "replace"))
                elif opcode == FrameHeader.OPCODE_PING:
                    self._connection.pong(content)
                elif opcode == FrameHeader.OPCODE_CLOSE:
                    break
        except (OSError, ValueError, AttributeError):  # the last: closed under its hands
            pass
        finally:
            self._connection.disconnect()
            self._end()

    def _note_fault(self, fault: Exception) -> None:
        self._fault = fault

    def _describe_fault(self) -> str:
        """In our own words: the library's quote the address."""
        fault = self._fault
        if isinstance(fault, ssl.SSLError):
            return f" ({fault.reason or 'TLS'})"
        if isinstance(fault, OSError):
            return f" ({fault.strerror or type(fault).__name__})"
        return "" if fault is None else f" ({type(fault).__name__})"


def _checked(url: str, *, is_test: bool) -> str:
    """The library speaks TLS to port 443 and to no other."""
    try:
        parts = urlsplit(url)
        secure = parts.scheme == "wss" and parts.port in (None, 443)
    except ValueError:
        parts, secure = urlsplit(""), False
    if not parts.hostname or not (secure or (is_test and parts.scheme == "ws")):
        raise NotifyError("Slack named an address for its WebSocket that is none of wss://host/ — is api right?")
    return url
