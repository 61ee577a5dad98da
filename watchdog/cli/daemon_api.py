"""What the commands ask of the running daemon, over its web address."""

from __future__ import annotations

from watchdog.config import Config
from watchdog.core.model import Millis
from watchdog.net import http
from watchdog.net.deadline import Deadline
from watchdog.net.response import HttpResponse

_MAX_BYTES = 512 * 1024 * 1024


def daemon_address(loaded: Config) -> str:
    """Host and port at which the daemon of this configuration is asked."""
    host = "127.0.0.1" if loaded.web.host in ("0.0.0.0", "::", "") else loaded.web.host  # noqa: S104 – where to ask
    return f"{f'[{host}]' if ':' in host else host}:{loaded.web.port}"


def ask_daemon(loaded: Config, target: str, timeout: Millis) -> HttpResponse:
    """Its answer to a GET of `target` (path and query), of any status. Raises HttpError."""
    url = f"http://{daemon_address(loaded)}{target}"
    return http.request("GET", url, deadline=Deadline.after(timeout), max_bytes=_MAX_BYTES)
