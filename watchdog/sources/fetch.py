"""One HTTP GET that keeps to a total time and a number of bytes.

requests counts its time-out anew for every read of the socket, so a server that drips a byte a second would
hold a thread for ever. Here each read of the socket is given what is left of the whole.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit, urlunsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

from watchdog.model import Millis, SourceError
from watchdog.units import show_duration

CHUNK = 64 * 1024

_running = threading.local()  # .until: monotonic seconds; each thread has one request under way at most


class Page(NamedTuple):
    content_type: str
    """Lower case, without parameters; empty when the server does not say."""
    body: bytes


class Fetcher:
    """A kept connection. For one thread at a time."""

    def __init__(self) -> None:
        self._session = requests.Session()
        self._session.trust_env = False  # neither proxies nor .netrc: what is read is what stands in the file
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Adapter())

    def get(self, url: str, headers: Mapping[str, str], timeout: Millis, max_bytes: int, *, expect: int = 200) -> Page:
        """The page at `url`, unpacked. Raises SourceError with what happened and the cure, never with a header."""
        _running.until = time.monotonic() + timeout / 1_000
        try:
            with self._session.get(
                url, headers=dict(headers), stream=True, allow_redirects=False, timeout=timeout / 1_000
            ) as response:
                if response.status_code != expect:
                    raise SourceError(f"{shown(url)} answered {_status(response, url)}")
                body = _capped(response, url, max_bytes)
                content_type = response.headers.get("Content-Type", "")
        except (requests.RequestException, HTTPError, OSError, UnicodeError) as fault:
            raise SourceError(f"{shown(url)}: {_cause(fault, timeout)}") from None
        return Page(content_type.partition(";")[0].strip().lower(), body)


def shown(url: str) -> str:
    """The address without what may be secret in it."""
    return urlunsplit(urlsplit(url)._replace(query="", fragment=""))


def _capped(response: requests.Response, url: str, max_bytes: int) -> bytes:
    body = bytearray()
    for chunk in response.iter_content(CHUNK):  # unpacked: a small answer may unfold into a large page
        body += chunk
        if len(body) > max_bytes:
            raise SourceError(f"{shown(url)} sends more than {max_bytes} bytes — raise max_bytes if that is right")
    return bytes(body)


def _status(response: requests.Response, url: str) -> str:
    status = response.status_code
    reason = f"{status} {response.reason or ''}".strip()
    if response.is_redirect:
        return f"{reason}, a redirect — put {shown(urljoin(url, response.headers['Location']))} in url if that is it"
    if status in (401, 403):
        return f"{reason} — check token_file or headers"
    if status == 404:
        return f"{reason} — check the path in url"
    return f"{reason} — see the log of that server"


def _cause(fault: BaseException, timeout: Millis) -> str:
    """In our own words: the libraries' texts repeat header values and addresses."""
    chain = list(_chain(fault))
    if any(isinstance(each, TimeoutError | requests.Timeout) for each in chain):
        return f"no whole answer within {show_duration(timeout)} — is the server hung, or timeout too short?"
    if any(isinstance(each, ConnectionRefusedError) for each in chain):
        return "nobody listens there — is the server running, and the port right?"
    if any(isinstance(each, requests.exceptions.InvalidHeader) for each in chain):
        return "a header holds a character that HTTP does not allow — check headers and token_file"
    if any(isinstance(each, http.client.IncompleteRead) for each in chain):
        return "the answer broke off half-way — did the server go down?"
    if any(isinstance(each, requests.exceptions.ContentDecodingError) for each in chain):
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


def _chain(fault: BaseException | None) -> Iterator[BaseException]:
    """The error, what it came from, and so on; the libraries wrap each other's errors several deep."""
    while fault is not None:
        yield fault
        fault = fault.__cause__ or fault.__context__


class _Timed(io.RawIOBase):
    """The reading end of a socket; every read may take only the time that is left in all."""

    def __init__(self, sock: socket.socket, raw: io.RawIOBase) -> None:
        self._sock = sock
        self._raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = _running.until - time.monotonic()
        if left <= 0:
            raise TimeoutError("deadline")
        self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_Timed(sock, self.fp.detach()))


class _Connection(HTTPConnection):
    response_class = _Response


class _TlsConnection(HTTPSConnection):
    response_class = _Response


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
