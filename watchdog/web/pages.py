"""What stands at which path."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry

from watchdog.core.errors import WatchdogError
from watchdog.core.inbox import RETRY_LATER, InboxReply
from watchdog.core.text import escape
from watchdog.core.units import with_json_numbers
from watchdog.web.guard import content_security_policy
from watchdog.web.metrics_format import choose_format
from watchdog.web.pacing import Pacer
from watchdog.web.query_process import MAX_WAITING, QueryUnavailableError
from watchdog.web.status_page import STYLE_HASH, render_status_page

Status = dict[str, Any]

_MAX_STATUS_READERS = 16
"""Readers of the status at a time, so that those of /healthz and /metrics always find room."""


class PageRequest(NamedTuple):
    params: Mapping[str, str]
    """What stands in the address after the question mark."""
    accept: str
    """The reader's Accept header."""
    reader: int
    """File descriptor of the reader's socket: it may go."""


class Response(NamedTuple):
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    code: int = 200
    headers: Mapping[str, str] = {}
    on_sent: Callable[[], None] | None = None
    """Called when the reader has it, or is gone."""

    @classmethod
    def text(cls, text: str, code: int = 200, headers: Mapping[str, str] | None = None) -> Response:
        return cls(f"{text}\n".encode(errors="replace"), code=code, headers=headers or {})

    @classmethod
    def json(cls, value: object, code: int = 200, headers: Mapping[str, str] | None = None) -> Response:
        def encode(value: object) -> str:
            return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))

        try:
            text = encode(value)
        except ValueError:  # a number that JSON has not: readers are told all the rest
            text = encode(with_json_numbers(value))
        return cls(text.encode(errors="replace"), "application/json", code, headers or {})

    @classmethod
    def of(cls, reply: InboxReply) -> Response:
        """To whoever sent something to a source."""
        if reply.code == 204:
            return cls(b"", code=204, headers=reply.headers)
        return cls.text(escape(reply.text), reply.code, reply.headers)


PageHandler = Callable[[PageRequest], Response]
"""May raise ReaderGoneError, and TimeoutError when the daemon has no time for it."""


def build_routes(
    registry: CollectorRegistry,
    health: Callable[[], str | None],
    status: Callable[[], Status],
    query: Callable[[Mapping[str, str], int], bytes],
    notes: Callable[[], Sequence[str]] = list,
) -> dict[str, PageHandler]:
    """By path. `health` says what is wrong, or None. `status` may block for a moment: it asks the daemon's own loop.

    `query` is given what stands in the address (expr, at, from, to, step) and the reader's file descriptor, and answers in
    JSON; it raises WatchdogError where that is wrong. `notes`: what to know of who is well.
    """
    pacer = Pacer()
    status_readers = threading.BoundedSemaphore(_MAX_STATUS_READERS)
    query_readers = threading.BoundedSemaphore(1 + MAX_WAITING)

    def metrics(asked: PageRequest) -> Response:
        encode, content_type = choose_format(asked.accept)
        return pacer.make(f"metrics {content_type}", lambda: Response(encode(registry), content_type))

    def healthz(_: PageRequest) -> Response:
        problem = health()
        if problem is not None:
            return Response.text(escape(problem), 503)
        return Response.text("\n".join(["ok", *map(escape, notes())]))

    def home(_: PageRequest) -> Response:
        policy = {"Content-Security-Policy": content_security_policy(STYLE_HASH)}
        return of_status(
            "home", lambda: Response(render_status_page(status()).encode(), "text/html; charset=utf-8", headers=policy)
        )

    def api_status(_: PageRequest) -> Response:
        return of_status("status", lambda: Response.json(status()))

    def of_status(name: str, build: Callable[[], Response]) -> Response:
        if not status_readers.acquire(blocking=False):
            return Response.text("too many readers at once - ask again in a moment", 503, RETRY_LATER)
        try:
            return pacer.make(name, build)
        finally:
            status_readers.release()

    def api_query(asked: PageRequest) -> Response:
        if not query_readers.acquire(blocking=False):
            return Response.json(
                {"error": "other queries are being answered — ask again in a moment"}, 503, RETRY_LATER
            )
        try:  # an answer may be large: the next one is not made before somebody has taken it
            return Response(query(asked.params, asked.reader), "application/json", on_sent=query_readers.release)
        except BaseException as error:
            query_readers.release()
            if isinstance(error, QueryUnavailableError):
                return Response.json({"error": str(error)}, 503, RETRY_LATER)
            if isinstance(error, WatchdogError):
                return Response.json({"error": str(error)}, 400)
            raise

    return {"/": home, "/metrics": metrics, "/healthz": healthz, "/api/status": api_status, "/api/query": api_query}
