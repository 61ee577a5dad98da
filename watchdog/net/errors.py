"""The one error of a server that gave no answer that can be used, and what a status means."""

from __future__ import annotations

import re
from typing import Final, Literal

from watchdog.core.errors import WatchdogError

HttpErrorKind = Literal[
    "broken_off",
    "connection",
    "deadline",
    "encoding",
    "invalid",
    "protocol",
    "refused",
    "status",
    "tls",
    "too_large",
    "unknown_host",
]


class HttpError(WatchdogError):
    """A server gave no answer that can be used. Reads `what — cure`; holds no header, query, name or password."""

    def __init__(
        self, kind: HttpErrorKind, what: str, cure: str, *, may_have_happened: bool = False, status: int | None = None
    ) -> None:
        """`may_have_happened`: a byte of the request was sent; the server may have done what it was asked. `status`: of an
        answer that was refused for it."""
        super().__init__(f"{what} — {cure}")
        self.kind: Final = kind
        self.what: Final = what
        self.cure: Final = cure
        self.may_have_happened: Final = may_have_happened
        self.status: Final = status


class BrokenOffError(Exception):
    """The connection ended before the answer was there. Reads as the system's own word for why."""


def is_transient_status(status: int) -> bool:
    """Whether an HTTP status is about this moment only. Other 4xx say that asking again cannot help."""
    return status in (408, 425, 429) or status >= 500


def parse_retry_after(text: object) -> float | None:
    """A Retry-After; None when it is no number (it may be a date)."""
    match = re.fullmatch(r"\s*([0-9]{1,6}(?:\.[0-9]+)?)\s*", str(text))
    return float(match[1]) if match else None
