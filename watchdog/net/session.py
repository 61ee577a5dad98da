"""`requests`, held to a total deadline. Imported when the first request is made: 20 MB and a tenth of a second.

urllib3 opens connections and reads from them; these are its classes with the places overridden at which it may block.
"""

from __future__ import annotations

import http.client
import logging
import ssl
import zlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import requests
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError
from urllib3.util import parse_url

from watchdog.net.deadline import Deadline
from watchdog.net.exchange_errors import exchange_error, status_error
from watchdog.net.response import HttpResponse
from watchdog.net.secrets import basic_authorization
from watchdog.net.unpack import unpack
from watchdog.net.wire import deadline_response, open_socket

# They log addresses, with what may be secret in them. What there is to say is in HttpError.
for _name in ("urllib3.connection", "urllib3.connectionpool", "urllib3.util.retry"):
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)


_DEFAULT_HEADERS = {"User-Agent": "trading-watchdog", "Accept-Encoding": "identity", "Connection": "close"}
"""Sent unless the request says others."""
_CHUNK_BYTES = 64 * 1024
_FAULTS = (requests.RequestException, HTTPError, http.client.HTTPException, OSError, ValueError, zlib.error)
"""All that a request may end in."""


def send_request(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes | None,
    deadline: Deadline,
    max_bytes: int,
    expect: int | None,
) -> HttpResponse:
    """What `net.http.request` does, with an address and headers that have been looked at."""
    exchange = _Exchange(deadline)
    headers, parts = dict(headers), urlsplit(url)
    if parts.username is not None:
        headers["Authorization"] = basic_authorization(unquote(parts.username), unquote(parts.password or ""))
        parts = parts._replace(netloc=parts.netloc.rpartition("@")[2])
    try:
        with (
            _open_session(exchange) as session,
            session.request(
                method,
                urlunsplit(parts),
                headers=headers,
                data=body,
                timeout=deadline.remaining(),
                allow_redirects=False,
                stream=True,
            ) as response,
        ):
            if expect is not None and response.status_code != expect:
                raise status_error(url, response.status_code, response.headers.get("Location"))
            chunks = response.raw.stream(_CHUNK_BYTES, decode_content=False)
            body = unpack(chunks, response.headers.get("Content-Encoding"), url, max_bytes)
            return HttpResponse(response.status_code, response.headers, body)
    except _FAULTS as fault:
        raise exchange_error(url, fault, deadline.total, may_have_happened=exchange.sent) from None


class _Exchange:
    """One request: until when, and whether a byte of it has been sent."""

    def __init__(self, deadline: Deadline) -> None:
        self.deadline = deadline
        self.sent = False


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """None, whatever the answer says: to know where it leads, requests would read all of it, however long."""


def _open_session(exchange: _Exchange) -> requests.Session:
    session = _Session()
    session.trust_env = False  # no proxy, no .netrc, no REQUESTS_CA_BUNDLE
    session.headers = CaseInsensitiveDict(_DEFAULT_HEADERS)
    adapter = _Adapter(exchange)
    for prefix in ("http://", "https://"):
        session.mount(prefix, adapter)
    return session


class _DeadlineConnection:
    """What differs from urllib3's own connection, plain or with TLS."""

    response_class: Any = deadline_response
    _dns_host: str
    port: int
    sock: Any

    def __init__(self, *args: Any, exchange: _Exchange, **kwargs: Any) -> None:
        self.exchange, self.deadline = exchange, exchange.deadline
        super().__init__(*args, **kwargs)

    def _new_conn(self) -> Any:
        return open_socket(self._dns_host, self.port, self.deadline)

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()  # type: ignore[attr-defined]
        self.sock.settimeout(self.deadline.remaining())
        self.exchange.sent = True
        super().send(data)  # type: ignore[misc]


class _PlainConnection(_DeadlineConnection, HTTPConnection):
    pass


class _TlsConnection(_DeadlineConnection, HTTPSConnection):
    pass


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class _Adapter(HTTPAdapter):
    def __init__(self, exchange: _Exchange) -> None:
        self._exchange = exchange
        self._pool: HTTPConnectionPool | None = None
        super().__init__(max_retries=0)

    def get_connection_with_tls_context(self, request: Any, *_: Any, **__: Any) -> HTTPConnectionPool:
        """Where requests asks for its connections: a pool of one, that has our deadline."""
        url = parse_url(request.url)
        host = url.host or ""
        if url.scheme == "https":  # verified against the system's certificates, not those that requests brings along
            context = ssl.create_default_context()
            self._pool = _TlsPool(host, url.port, ssl_context=context, exchange=self._exchange)
        else:
            self._pool = _PlainPool(host, url.port, exchange=self._exchange)
        return self._pool

    def cert_verify(self, *_: Any, **__: Any) -> None:
        """The context of the pool verifies."""

    def close(self) -> None:
        if self._pool is not None:
            self._pool.close()
        super().close()
