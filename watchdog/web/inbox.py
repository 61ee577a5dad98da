"""What is sent to sources: whose it is, and that those who send keep no reader of a page waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from email.message import Message
from urllib.parse import unquote

from watchdog.core.inbox import RETRY_LATER, InboxEndpoint, InboxError, InboxHandler, InboxReply, InboxRequest
from watchdog.core.telemetry import log
from watchdog.web.request_body import RequestBody

_MAX_HANDLED = 4
"""Requests that are parsed at a time; more of them would not be done sooner."""
_MAX_LINE = 12
"""Requests that are parsed or wait for that: each holds a thread that a reader of a page cannot have meanwhile."""
_MAX_WAIT = 0.5
"""Seconds that one more waits for its turn."""
_REOPENING = 10.0
"""Seconds for which a source that was closed may be on its way back: a reload closes it before it opens it anew."""
_BUSY = InboxReply(429, "too much is sent at once - send it again in a moment", RETRY_LATER)
_AWAY = InboxReply(503, "this source is being opened anew - send it again in a moment", RETRY_LATER)


class Inbox:
    """Which source is told where. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._endpoints: dict[str, InboxEndpoint] = {}
        """By prefix; one stays when its last source is gone."""
        self._handlers: dict[tuple[str, str], InboxHandler] = {}
        self._closed_at: dict[tuple[str, str], float] = {}
        self._turns = threading.BoundedSemaphore(_MAX_HANDLED)
        self._line = threading.BoundedSemaphore(_MAX_LINE)

    def register(self, endpoint: InboxEndpoint, name: str, handler: InboxHandler) -> Callable[[], None]:
        key = (endpoint.prefix, name)

        def close() -> None:
            with self._lock:
                if self._handlers.get(key) is handler:
                    del self._handlers[key]
                    self._closed_at[key] = time.monotonic()

        with self._lock:
            self._endpoints[endpoint.prefix] = endpoint
            self._handlers[key] = handler
            self._closed_at.pop(key, None)
        return close

    def find_endpoint(self, path: str) -> InboxEndpoint | None:
        """None: nothing is told there."""
        parts = path.split("/", 2)
        return self._endpoints.get(parts[1]) if len(parts) > 2 and not parts[0] else None

    def answer(
        self, endpoint: InboxEndpoint, method: str, path: str, headers: Message, body: RequestBody
    ) -> InboxReply:
        """`path` may hold a secret, and is neither logged nor repeated."""
        try:
            name, *parts = (unquote(part, errors="strict") for part in path.split("/")[2:])
        except UnicodeDecodeError:
            return endpoint.refusal
        key = (endpoint.prefix, name)
        with self._lock:
            handler, closed_at = self._handlers.get(key), self._closed_at.get(key)
            any_handler = next(
                (each for (prefix, _), each in self._handlers.items() if prefix == endpoint.prefix), None
            )
        if handler is None and closed_at is not None and time.monotonic() - closed_at < _REOPENING:
            return _AWAY
        if handler is None and any_handler is None:
            return endpoint.refusal
        scheme, _, token = headers.get("Authorization", "").strip().partition(" ")
        token = token.strip() if scheme.lower() == "bearer" else ""
        content_type = headers.get("Content-Type", "").partition(";")[0].strip().lower()
        mine = False

        def read_body(max_bytes: int) -> bytes:
            """Whoever waits for a sender keeps nobody else from his turn."""
            give_turn_back()
            found = body.read(max_bytes)
            take_turn()
            return found

        def refuse_body(_: int) -> bytes:
            raise InboxError(*endpoint.refusal)

        def take_turn() -> None:
            nonlocal mine
            if not self._line.acquire(blocking=False):
                raise InboxError(*_BUSY)
            mine = self._turns.acquire(timeout=_MAX_WAIT)
            if not mine:
                self._line.release()
                raise InboxError(*_BUSY)

        def give_turn_back() -> None:
            nonlocal mine
            mine = False
            self._turns.release()
            self._line.release()

        try:
            take_turn()
            if handler is not None:
                return handler(InboxRequest(method, tuple(parts), token, content_type, read_body))
            if any_handler is not None:  # so that a name that is none takes as long as one that is
                with suppress(InboxError):
                    any_handler(InboxRequest(method, (), "", content_type, refuse_body))
            return endpoint.refusal
        except InboxError as refusal:
            return refusal.reply
        except OSError:
            raise
        except Exception:
            log.exception("web: what is sent to /%s/%s broke it", endpoint.prefix, name)
            return InboxReply(500, "Internal Server Error")
        finally:
            if mine:
                give_turn_back()
