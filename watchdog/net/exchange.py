"""One exchange for a client library that makes requests of urllib's: with as much of the answer as there is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http.client import HTTPException, IncompleteRead
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from watchdog.net.deadline import Deadline
from watchdog.net.errors import BrokenOffError


class Reply(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


class _NoRedirects(HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Where a redirect leads is not who the token in our headers is for."""


def exchange(request: Request, deadline: Deadline, is_done: Callable[[int, bytes], bool], max_bytes: int) -> Reply:
    """Asks, and reads the answer as far as it comes, and no further than `max_bytes`; a refusal is an answer too.

    `is_done` (status, what came) says that the answer is good enough: what breaks it off then counts for nothing. Raises
    TimeoutError (also within URLError), URLError when there is no connection, and BrokenOffError.
    """
    opener = build_opener(_NoRedirects)
    try:
        try:
            response = opener.open(request, timeout=deadline.remaining())
        except HTTPError as refusal:
            response = refusal
        with response:
            body = b""
            try:
                while len(body) < max_bytes and (chunk := response.read1(1 << 16)):
                    body += chunk
                    deadline.remaining()
                length = response.headers.get("Content-Length", "")
                if length.isdecimal() and len(body) < min(int(length), max_bytes):
                    raise IncompleteRead(b"")
            except (OSError, HTTPException):
                if not is_done(response.status, body):
                    raise
            return Reply(response.status, dict(response.headers.items()), body)
    except (TimeoutError, URLError):
        raise
    except (OSError, HTTPException) as fault:
        why = fault.strerror if isinstance(fault, OSError) and fault.strerror else type(fault).__name__
        raise BrokenOffError(why) from None


def post_bytes(url: str, data: bytes, deadline: Deadline, max_bytes: int) -> Reply:
    """Raises as `exchange` does; ValueError where `url` is no address over HTTP."""
    if not url.startswith(("http://", "https://")):
        raise ValueError("no address over HTTP")
    headers = {"Content-Type": "application/octet-stream"}
    request = Request(url, data, headers, method="POST")  # noqa: S310
    return exchange(request, deadline, lambda status, _: 200 <= status <= 299, max_bytes)
