"""Who may tell a source something over HTTP, and how it comes to hear it."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable

from watchdog.core.errors import SourceError
from watchdog.core.inbox import RETRY_LATER, InboxEndpoint, InboxError, InboxHandler, http_inbox
from watchdog.core.telemetry import log
from watchdog.net import secrets

_TOKEN = re.compile(r"[!-~]{16,}")
"""One that nobody guesses."""


def open_inbox(endpoint: InboxEndpoint, name: str, token_file: str, handler: InboxHandler) -> Callable[[], None]:
    """From now on `handler` is told; what is returned ends that. Raises SourceError."""
    inbox = http_inbox.get()
    if inbox is None:
        raise SourceError("nobody serves HTTP here — only the daemon can take what is sent, at its web: address")
    try:
        _read_token(token_file)
    except secrets.SecretError as error:
        raise SourceError(str(error)) from None
    return inbox.register(endpoint, name, handler)


class TokenCheck:
    """Who has the token of one source. For any thread."""

    def __init__(self, name: str, token_file: str) -> None:
        self._name, self._token_file = name, token_file
        self._said: str | None = None
        """Why it cannot be read: said once, for anybody may ask."""

    def admits(self, given: str) -> bool:
        """Whether it is the token in the file, which is read anew each time. Raises InboxError when it cannot be read."""
        try:
            wanted = _read_token(self._token_file)
        except secrets.SecretError as error:
            if str(error) != self._said:
                self._said = str(error)
                log.warning("source %s takes nothing: %s", self._name, error)
            raise InboxError(503, "the watchdog cannot read this source's token", RETRY_LATER) from None
        self._said = None
        return hmac.compare_digest(given.encode(errors="replace"), wanted.encode())


def _read_token(token_file: str) -> str:
    return secrets.read_token(token_file, pattern=_TOKEN, description="token of 16 characters or more")
