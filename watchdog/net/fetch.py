"""One HTTP GET that keeps to a total time and a number of bytes.

Time-outs of sockets are counted anew for every read, so a server that drips a byte a second would hold a thread for ever.
Here each read of the socket is given what is left of the whole. The standard library's client is all this takes: a richer
one costs more time for each page than reading it does, and 19 MB.
"""

from __future__ import annotations

import base64
import http.client
import io
import select
import socket
import ssl
import time
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit, urlunsplit

from watchdog.core.errors import SourceError
from watchdog.core.model import Millis
from watchdog.core.units import format_duration

CHUNK_BYTES = 64 * 1024
_SAFE_URL_CHARACTERS = "!#$%&'()*+,/:;=?@[]~"
"""What the path and the query of a URL may hold."""


class FetchedPage(NamedTuple):
    content_type: str
    """Lower case, without parameters; empty when the server does not say."""
    body: bytes


class HttpFetcher:
    """A kept connection. For one thread at a time."""

    def __init__(self) -> None:
        self._connection: _Connection | _TlsConnection | None = None
        self._origin: tuple[str, str] | None = None

    def get(
        self, url: str, headers: Mapping[str, str], timeout: Millis, max_bytes: int, *, expect: int = 200
    ) -> FetchedPage:
        """The page at `url`, unpacked. Raises SourceError with what happened and the cure, never with a header.

        Redirects are not followed; proxies and .netrc of the environment are not used.
        """
        clock = _Deadline(time.monotonic() + timeout / 1_000)
        kept, response = False, None
        try:
            response = self._get_response(urlsplit(url), headers, clock)
            if response.status != expect:
                raise SourceError(f"{redact_url(url)} answered {_describe_status(response, url)}")
            body = _read_body(response, url, max_bytes)
            content_type = response.headers.get("Content-Type") or ""
            kept = not response.will_close
        except (http.client.HTTPException, OSError, ValueError, zlib.error) as fault:
            raise SourceError(f"{redact_url(url)}: {_describe_failure(fault, timeout)}") from None
        finally:
            if not kept:
                if response is not None:
                    response.close()
                self._close_connection()
        return FetchedPage(content_type.partition(";")[0].strip().lower(), body)

    def _get_response(self, url: SplitResult, headers: Mapping[str, str], clock: _Deadline) -> http.client.HTTPResponse:
        """Status and headers. A kept connection that the server has closed is replaced, once."""
        origin = (url.scheme, url.netloc)
        if self._connection is not None and (self._origin != origin or _is_stale(self._connection.sock)):
            self._close_connection()
        if self._connection is not None:
            try:
                return self._send_request(self._connection, url, headers, clock)
            except (ConnectionError, http.client.RemoteDisconnected):
                self._close_connection()  # it was closed just now: nothing of an answer has come
        kind = _TlsConnection if url.scheme == "https" else _Connection
        self._connection, self._origin = kind(url.hostname or "", url.port, timeout=clock.remaining()), origin
        return self._send_request(self._connection, url, headers, clock)

    def _send_request(
        self, connection: _Connection | _TlsConnection, url: SplitResult, headers: Mapping[str, str], clock: _Deadline
    ) -> http.client.HTTPResponse:
        target = quote(urlunsplit(("", "", url.path or "/", url.query, "")), safe=_SAFE_URL_CHARACTERS)
        connection.clock = clock
        connection.putrequest("GET", target, skip_accept_encoding=True)
        if url.username is not None:
            pair = f"{unquote(url.username)}:{unquote(url.password or '')}".encode()
            connection.putheader("Authorization", f"Basic {base64.b64encode(pair).decode()}")
        for name, value in headers.items():
            try:
                connection.putheader(name, value)
            except ValueError:  # also what does not fit Latin-1
                raise _InvalidHeaderError from None
        if connection.sock is not None:
            connection.sock.settimeout(clock.remaining())
        connection.endheaders()
        return connection.getresponse()

    def _close_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __del__(self) -> None:
        self._close_connection()


class _InvalidHeaderError(ValueError):
    """A header that may not be sent."""


class _Deadline(NamedTuple):
    expires_at: float
    """Monotonic seconds."""

    def remaining(self) -> float:
        left = self.expires_at - time.monotonic()
        if left <= 0:
            raise TimeoutError("deadline")
        return left


def _is_stale(sock: socket.socket | None) -> bool:
    """Whether a connection at rest has something to read: the end, or what nobody asked for."""
    if sock is None:
        return True
    look = select.poll()
    look.register(sock, select.POLLIN)
    return bool(look.poll(0))


def redact_url(url: str) -> str:
    """The address without what may be secret in it."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


def _read_body(response: http.client.HTTPResponse, url: str, max_bytes: int) -> bytes:
    packed = (response.headers.get("Content-Encoding") or "identity").strip().lower()
    if packed not in ("identity", "gzip", "x-gzip", "deflate"):
        raise zlib.error(packed)
    body, unpacker = bytearray(), None if packed == "identity" else _Decompressor(packed)
    while chunk := response.read(CHUNK_BYTES):
        body += chunk if unpacker is None else unpacker.feed(chunk, max_bytes + 1 - len(body))
        if len(body) > max_bytes:  # unpacked: a small answer may unfold into a large page
            raise SourceError(f"{redact_url(url)} sends more than {max_bytes} bytes — raise max_bytes if that is right")
    if response.length:
        raise http.client.IncompleteRead(b"", response.length)
    if unpacker is not None and not unpacker.finished:
        raise http.client.IncompleteRead(b"")
    return bytes(body)


class _Decompressor:
    """gzip (of several members, too) and deflate, at most so many bytes at a time."""

    def __init__(self, packed: str) -> None:
        self._bits = zlib.MAX_WBITS if packed == "deflate" else 16 + zlib.MAX_WBITS
        self._member = zlib.decompressobj(self._bits)
        self.finished = False

    def feed(self, chunk: bytes, most: int) -> bytes:
        found = b""
        while chunk and len(found) < most:
            if self._member.eof:
                self._member = zlib.decompressobj(self._bits)
            found += self._member.decompress(chunk, most - len(found))
            chunk = self._member.unused_data or self._member.unconsumed_tail
        self.finished = self._member.eof
        return found


def _describe_status(response: http.client.HTTPResponse, url: str) -> str:
    status = response.status
    reason = f"{status} {response.reason or ''}".strip()
    location = response.headers.get("Location")
    if status in (301, 302, 303, 307, 308) and location:
        return f"{reason}, a redirect — put {redact_url(urljoin(url, location))} in url if that is it"
    if status in (401, 403):
        return f"{reason} — check token_file or headers"
    if status == 404:
        return f"{reason} — check the path in url"
    return f"{reason} — see the log of that server"


def _describe_failure(fault: BaseException, timeout: Millis) -> str:
    """In our own words: the library's texts repeat header values and addresses."""
    chain = list(_exception_chain(fault))
    if any(isinstance(each, TimeoutError) for each in chain):
        return f"no whole answer within {format_duration(timeout)} — is the server hung, or timeout too short?"
    if any(isinstance(each, ConnectionRefusedError) for each in chain):
        return "nobody listens there — is the server running, and the port right?"
    if any(isinstance(each, _InvalidHeaderError) for each in chain):
        return "a header holds a character that HTTP does not allow — check headers and token_file"
    if any(isinstance(each, http.client.IncompleteRead) for each in chain):
        return "the answer broke off half-way — did the server go down?"
    if any(isinstance(each, zlib.error) for each in chain):
        return "the answer could not be unpacked — its Content-Encoding is not what it says"
    for each in chain:
        if isinstance(each, ssl.SSLError):
            return f"TLS failed: {each.reason or type(each).__name__} — check the certificate, and https in url"
    for each in chain:
        if isinstance(each, socket.gaierror):
            return "the host's name could not be resolved — check url"
    for each in chain:
        if isinstance(each, OSError) and each.strerror:
            return f"{each.strerror[:1].lower()}{each.strerror[1:]} — check url and the network"
    return f"the connection failed ({type(chain[-1]).__name__}) — check that this is an HTTP server"


def _exception_chain(fault: BaseException | None) -> Iterator[BaseException]:
    """The error, what it came from, and so on."""
    while fault is not None:
        yield fault
        fault = fault.__cause__ or fault.__context__


class _DeadlineReader(io.RawIOBase):
    """The reading end of a socket; every read may take only the time that is left in all."""

    def __init__(self, sock: socket.socket, raw: io.RawIOBase, clock: _Deadline) -> None:
        self._sock, self._raw, self._clock = sock, raw, clock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._clock.remaining())
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _deadline_response(self: Any, sock: socket.socket, *args: Any, **kwargs: Any) -> http.client.HTTPResponse:
    response = http.client.HTTPResponse(sock, *args, **kwargs)
    raw: Any = response.fp
    response.fp = io.BufferedReader(_DeadlineReader(sock, raw.detach(), self.clock))
    return response


class _Connection(http.client.HTTPConnection):
    clock: _Deadline
    response_class: Any = _deadline_response  # called as a method of the connection, whose clock it needs


class _TlsConnection(http.client.HTTPSConnection):
    clock: _Deadline
    response_class: Any = _deadline_response
