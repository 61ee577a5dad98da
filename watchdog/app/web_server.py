"""The daemon's pages, and what sources are told over HTTP: begun where the configuration says."""

from __future__ import annotations

from typing import Any

from watchdog.config.models import Web
from watchdog.core.errors import WatchdogError
from watchdog.core.inbox import http_inbox
from watchdog.core.telemetry import log
from watchdog.net.address import host_and_port
from watchdog.web.inbox import Inbox
from watchdog.web.server import WebServer


def start_web(settings: Web, routes: Any) -> WebServer:
    """`routes`: of `build_routes`. Raises WatchdogError when the address is not to be had."""
    host, port = settings.host, settings.port
    try:
        server = WebServer(routes, host, port, settings.hosts, inbox := Inbox())
    except OSError as error:
        raise WatchdogError(
            f"cannot listen on {host_and_port(host, port)}: {error.strerror} — set web.listen"
        ) from None
    http_inbox.set(inbox)
    log.info("http://%s/metrics", host_and_port(host, server.port))
    return server
