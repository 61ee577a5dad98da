"""The page that is read every second: a request on a kept connection, with a total deadline and a bounded answer.

The standard library's client is all this takes: that of `http` costs more time for each page than reading it does, and
20 MB. Policy, errors and deadline are the same.
"""

from __future__ import annotations

import http.client
import select
import socket
import ssl
import zlib
from collections.abc import Container, Mapping
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

from watchdog.core.model import Millis
from watchdog.net.deadline import Deadline
from watchdog.net.exchange_errors import InvalidHeaderError, exchange_error, status_error
from watchdog.net.secrets import basic_authorization
from watchdog.net.tls import TlsFiles, open_context
from watchdog.net.unpack import unpack
from watchdog.net.wire import deadline_response, open_socket

CHUNK_BYTES = 64 * 1024
_OK = (200,)
_SAFE_URL_CHARACTERS = "!#$%&'()*+,/:;=?@[]~"
"""What the path and the query of a URL may hold."""


class FetchedPage(NamedTuple):
    content_type: str
    """Lower case, without parameters; empty when the server does not say."""
    body: bytes
    status: int = 200
    retry_after: str | None = None
    """What the server says of when to ask again, as it stands there."""


class HttpFetcher:
    """A kept connection. For one thread at a time."""

    def __init__(self, tls: TlsFiles | None = None) -> None:
        """`tls`: what certificates are verified by, and who we are, where the system's own will not do."""
        self._tls = tls
        self._sent = False
        self._connection: _Connection | _TlsConnection | None = None
        self._origin: tuple[str, str] | None = None

    def get(self, url: str, headers: Mapping[str, str], timeout: Millis, max_bytes: int) -> FetchedPage:
        """The page at `url`, unpacked. Raises HttpError with what happened and the cure, never with a header.

        Redirects are not followed; proxies and .netrc of the environment are not used.
        """
        return self.request("GET", url, headers, Deadline.after(timeout), max_bytes)

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        deadline: Deadline,
        max_bytes: int,
        body: bytes | None = None,
        expect: Container[int] = _OK,
    ) -> FetchedPage:
        """What is answered, in the same way. `expect`: the statuses that will do. Also raises SecretError, for a file of
        `tls`.

        What is asked here is asked again at the next read anyway. So also a POST is sent once more when the connection was
        kept and turns out to be closed before anything of an answer has come.
        """
        kept, response, self._sent = False, None, False
        try:
            response = self._get_response(method, urlsplit(url), headers, body, deadline)
            if response.status not in expect:
                raise status_error(url, response.status, response.headers.get("Location"))
            content = _read_body(response, url, max_bytes)
            content_type = response.headers.get("Content-Type") or ""
            kept = not response.will_close
        except (http.client.HTTPException, OSError, ValueError, zlib.error) as fault:
            may_have_happened = self._sent and method != "GET"
            raise exchange_error(url, fault, deadline.total, may_have_happened=may_have_happened) from None
        finally:
            if not kept:
                if response is not None:
                    response.close()
                self._close_connection()
        retry_after = response.headers.get("Retry-After")
        return FetchedPage(content_type.partition(";")[0].strip().lower(), content, response.status, retry_after)

    def _get_response(
        self, method: str, url: SplitResult, headers: Mapping[str, str], body: bytes | None, deadline: Deadline
    ) -> http.client.HTTPResponse:
        """Status and headers. A kept connection that the server has closed is replaced, once."""
        origin = (url.scheme, url.netloc)
        if self._connection is not None and (self._origin != origin or _is_stale(self._connection.sock)):
            self._close_connection()
        if self._connection is not None:
            try:
                return self._send_request(self._connection, method, url, headers, body, deadline)
            except (ConnectionError, http.client.RemoteDisconnected):
                self._close_connection()  # it was closed just now: nothing of an answer has come
        if url.scheme == "https":
            context = None if self._tls is None else open_context(self._tls)
            self._connection = _TlsConnection(url.hostname or "", url.port, context=context)
        else:
            self._connection = _Connection(url.hostname or "", url.port)
        self._origin = origin
        return self._send_request(self._connection, method, url, headers, body, deadline)

    def _send_request(
        self,
        connection: _Connection | _TlsConnection,
        method: str,
        url: SplitResult,
        headers: Mapping[str, str],
        body: bytes | None,
        deadline: Deadline,
    ) -> http.client.HTTPResponse:
        target = quote(urlunsplit(("", "", url.path or "/", url.query, "")), safe=_SAFE_URL_CHARACTERS)
        connection.deadline = deadline
        connection.putrequest(method, target, skip_accept_encoding=True)
        if url.username is not None:
            authorization = basic_authorization(unquote(url.username), unquote(url.password or ""))
            connection.putheader("Authorization", authorization)
        for name, value in headers.items():
            try:
                connection.putheader(name, value)
            except ValueError:  # also what does not fit Latin-1
                raise InvalidHeaderError from None
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        if connection.sock is None:
            connection.connect()
        connection.sock.settimeout(deadline.remaining())
        self._sent = True
        connection.endheaders(body)
        return connection.getresponse()

    def _close_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __del__(self) -> None:
        self._close_connection()


def _is_stale(sock: socket.socket | None) -> bool:
    """Whether a connection at rest has something to read: the end, or what nobody asked for."""
    if sock is None:
        return True
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def _read_body(response: http.client.HTTPResponse, url: str, max_bytes: int) -> bytes:
    chunks = iter(partial(response.read, CHUNK_BYTES), b"")
    body = unpack(chunks, response.headers.get("Content-Encoding"), url, max_bytes)
    if response.length:
        raise http.client.IncompleteRead(b"", response.length)
    return body


class _Connection(http.client.HTTPConnection):
    deadline: Deadline
    response_class: Any = deadline_response  # called as a method of the connection, whose deadline it needs

    def connect(self) -> None:
        self.sock = open_socket(self.host, self.port, self.deadline)


class _TlsConnection(http.client.HTTPSConnection):
    deadline: Deadline
    response_class: Any = deadline_response
    _context: ssl.SSLContext

    def connect(self) -> None:
        self.sock = self._context.wrap_socket(
            open_socket(self.host, self.port, self.deadline), server_hostname=self.host
        )
