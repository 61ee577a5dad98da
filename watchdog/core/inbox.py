"""How a source that is told over HTTP gets at what is sent to it: see `HttpInbox`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import NamedTuple, Protocol

from watchdog.core.errors import WatchdogError

RETRY_LATER: Mapping[str, str] = {"Retry-After": "1"}
"""Of a reply that is another one in a moment."""


class InboxReply(NamedTuple):
    code: int
    text: str = ""
    """One line for whoever sent it; none with 204."""
    headers: Mapping[str, str] = {}


class InboxError(WatchdogError):
    """What was sent is not taken. Its text is for whoever sent it."""

    def __init__(self, code: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.reply = InboxReply(code, text, headers or {})


class InboxRequest(NamedTuple):
    method: str
    parts: tuple[str, ...]
    """What stands in the address behind the source's name, part by part; a secret may be among it."""
    token: str
    """What the Authorization header says after `Bearer`; empty where it does not, and then nobody's."""
    content_type: str
    """In small letters, without parameters; empty where it is not said."""
    read_body: Callable[[int], bytes]
    """All of what is sent, unpacked, up to so many bytes. Until it is called nothing of it is waited for, so the sender is to
    be known by then. Raises InboxError."""


InboxHandler = Callable[[InboxRequest], InboxReply]
"""In any thread, several at a time. May raise InboxError."""


class InboxEndpoint(NamedTuple):
    """Where all sources of one type are told: ``/PREFIX/NAME…``."""

    prefix: str
    methods: tuple[str, ...]
    refusal: InboxReply
    """To a name that none of them has: the same as to a token that is not the source's, so that nobody finds out names."""


class HttpInbox(Protocol):
    """The web server, as sources see it."""

    def register(self, endpoint: InboxEndpoint, name: str, handler: InboxHandler) -> Callable[[], None]:
        """From now on what is sent there is the handler's, until what is returned is called."""
        ...


http_inbox: ContextVar[HttpInbox | None] = ContextVar("http_inbox", default=None)
"""Where sources are told over HTTP. The daemon sets it ahead of its sources; None: it serves no pages."""
