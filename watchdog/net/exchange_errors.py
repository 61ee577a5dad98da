"""What went wrong when a server was asked, in our own words: the libraries' texts repeat header values and addresses."""

from __future__ import annotations

import http.client
import socket
import ssl
import zlib
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urljoin

from watchdog.core.model import Millis
from watchdog.core.units import format_duration
from watchdog.net.address import redact_url
from watchdog.net.errors import HttpError, HttpErrorKind


class InvalidHeaderError(ValueError):
    """A header that may not be sent."""


_MAX_SHOWN_URL = 200
"""Characters; a longer address is not shown."""


def status_error(url: str, status: int, location: str | None) -> HttpError:
    """An answer with another status than the expected one. `location`: that header of the answer.

    The server's own words for the status are not told: they may be anything, also what it was sent.
    """
    answered = f"{status} {http.client.responses.get(status, '')}".strip()
    cure = "see the log of that server"
    if status in (301, 302, 303, 307, 308) and location:
        answered = f"{answered}, a redirect"
        cure = f"put {_redirect_target(url, location)} in url if that is it"
    elif status in (401, 403):
        cure = "check token_file or headers"
    elif status == 404:
        cure = "check the path in url"
    what = f"{redact_url(url)} answered {answered}"
    return HttpError("status", what, cure, may_have_happened=True, status=status)


def _redirect_target(url: str, location: str) -> str:
    """Where a redirect leads, for people."""
    try:
        target = redact_url(urljoin(url, location))
    except ValueError:
        target = ""
    return target if target.isprintable() and 0 < len(target) <= _MAX_SHOWN_URL else "where it leads"


def size_error(url: str, max_bytes: int) -> HttpError:
    """An answer of more than `max_bytes`."""
    what = f"{redact_url(url)} sends more than {max_bytes} bytes"
    return HttpError("too_large", what, "raise max_bytes if that is right", may_have_happened=True)


def exchange_error(url: str, fault: BaseException, timeout: Millis, *, may_have_happened: bool) -> HttpError:
    """What became of the exchange, from whatever a library raised. `timeout`: all the time there was."""
    kind, what, cure = _describe_failure(fault, timeout)
    return HttpError(kind, f"{redact_url(url)}: {what}", cure, may_have_happened=may_have_happened)


class _Failure(NamedTuple):
    kind: HttpErrorKind
    what: str
    cure: str


def _describe_failure(fault: BaseException, timeout: Millis) -> _Failure:
    chain = list(_exception_chain(fault))
    if any(isinstance(each, TimeoutError) for each in chain):
        within = f"no whole answer within {format_duration(timeout)}"
        return _Failure("deadline", within, "is the server hung, or timeout too short?")
    if any(isinstance(each, ConnectionRefusedError) for each in chain):
        return _Failure("refused", "nobody listens there", "is the server running, and the port right?")
    if any(isinstance(each, InvalidHeaderError) for each in chain):
        what = "a header holds a character that HTTP does not allow"
        return _Failure("invalid", what, "check headers and token_file")
    if any(isinstance(each, http.client.IncompleteRead) for each in chain):
        return _Failure("broken_off", "the answer broke off half-way", "did the server go down?")
    if any(isinstance(each, zlib.error) for each in chain):
        return _Failure("encoding", "the answer could not be unpacked", "its Content-Encoding is not what it says")
    for each in chain:
        if isinstance(each, ssl.SSLError):
            why = each.reason or type(each).__name__
            return _Failure("tls", f"TLS failed: {why}", "check the certificate, and https in url")
    if any(isinstance(each, socket.gaierror) for each in chain):
        return _Failure("unknown_host", "the host's name could not be resolved", "check url")
    for each in chain:
        if isinstance(each, OSError) and each.strerror:
            what = f"{each.strerror[:1].lower()}{each.strerror[1:]}"
            return _Failure("connection", what, "check url and the network")
    if any(isinstance(each, http.client.HTTPException) and "headers" in str(each) for each in chain):
        return _Failure("protocol", "the answer has more than 100 headers", "is this the right address? send fewer")
    failed = f"the connection failed ({type(chain[-1]).__name__})"
    return _Failure("protocol", failed, "check that this is an HTTP server")


def _exception_chain(fault: BaseException | None) -> Iterator[BaseException]:
    """The error, what it came from, and so on."""
    while fault is not None:
        yield fault
        fault = fault.__cause__ or fault.__context__
