"""One HTTP request with a total deadline and a bounded answer. No redirects, no proxies, no retries: sent at most once."""

from __future__ import annotations

from collections.abc import Mapping

from watchdog.net.address import validate_url
from watchdog.net.deadline import Deadline
from watchdog.net.errors import HttpError
from watchdog.net.response import HttpResponse


def request(
    method: str,
    url: str,
    *,
    deadline: Deadline,
    max_bytes: int,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    expect: int | None = None,
) -> HttpResponse:
    """Ask `url` once, on a connection of its own; certificates are verified against the system's.

    `max_bytes`: of the answer, unpacked. `expect`: the only status that will do; None when any will. A name and a
    password in the address are sent as basic authentication. Raises HttpError, with `may_have_happened` from the moment
    at which the first byte is sent.
    """
    headers = {name: value.strip() for name, value in (headers or {}).items()}
    try:
        validate_url(url, "http://127.0.0.1:8080/")
        for name, value in headers.items():
            validate_header(name, value)
    except ValueError as error:  # the library would say so in words that quote it
        raise HttpError("invalid", "nothing was asked", str(error)) from None

    from watchdog.net import session  # and with it requests, which a daemon that only scrapes goes without

    return session.send_request(method, url, headers, body, deadline, max_bytes, expect)


def validate_header(name: str, value: str) -> None:
    """Raises ValueError, without the value, for what cannot be sent as a header."""
    if not name or not all(c.isascii() and (c.isalnum() or c in "!#$%&'*+-.^_`|~") for c in name):
        raise ValueError(f"{name!r} is no name of a header")
    if not value.isascii() or not value.isprintable():
        raise ValueError(f"the value of {name} cannot be sent in a header")
