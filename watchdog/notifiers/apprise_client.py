"""The library apprise behind one class. Imported when the first message goes out."""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Callable, Iterable

import apprise
from apprise.plugins import url_to_dict

from watchdog.core.errors import NotifyError
from watchdog.core.model import Severity
from watchdog.net import session  # noqa: F401 - it keeps the log of urllib3 silent, which apprise sends by

_said: contextvars.ContextVar[list[str] | None] = contextvars.ContextVar("apprise", default=None)
"""What the library logs in this thread."""


class _Collector(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if (said := _said.get()) is not None:
            said.append(record.getMessage())


# The address is the secret, and is logged in many ways. What there is to say is in NotifyError.
_logger = logging.getLogger("apprise")
_logger.setLevel(logging.WARNING)
_logger.handlers[:] = [_Collector()]
_logger.propagate = False
for _name in ("requests", "requests_oauthlib", "oauthlib", "slixmpp", "paho", "markdown"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)

_TYPES: dict[Severity, apprise.NotifyType] = {
    "info": apprise.NotifyType.INFO,
    "warn": apprise.NotifyType.WARNING,
    "crit": apprise.NotifyType.FAILURE,
}


class Service:
    """One service that messages are sent to. For one thread at a time."""

    def __init__(self, plugin: apprise.NotifyBase) -> None:
        self._plugin = plugin
        self.name = str(plugin.service_name)

    def notify(self, severity: Severity, title: str, body: str) -> str | None:
        """None once it is delivered; else what the library logged, which may quote the address and the answer."""
        said: list[str] = []
        token = _said.set(said)
        try:
            delivered = self._plugin.notify(
                body=body, title=title, notify_type=_TYPES[severity], body_format=apprise.NotifyFormat.TEXT
            )
        finally:
            _said.reset(token)
        return None if delivered else "\n".join(said)


def open_service(url: str, refuse_parts: Callable[[str, Iterable[str]], str | None]) -> Service:
    """Raises NotifyError, for good, for what apprise does not know, cannot use here, or would read files for.

    `refuse_parts`: of a scheme and the names of its parameters, why they are refused."""
    # Nothing is kept on the disk, nobody is followed elsewhere, and no plugins are loaded but its own.
    asset = apprise.AppriseAsset(app_id="trading-watchdog", app_desc="Trading Watchdog", async_mode=False)
    asset.http_redirects = False
    parts = url_to_dict(url)  # type: ignore[no-untyped-call]
    if not parts:
        raise NotifyError("apprise knows no service of that address — see its list of services", permanent=True)
    if (why := refuse_parts(str(parts.get("schema")), parts.get("qsd") or ())) is not None:
        raise NotifyError(why, permanent=True)
    parts.setdefault("overflow", apprise.OverflowMode.TRUNCATE)
    plugin = apprise.Apprise.instantiate(parts, asset=asset)
    if plugin is None:
        raise NotifyError(
            "apprise cannot use that address — see its page of the service for what it reads like, and which package it needs",
            permanent=True,
        )
    if any(isinstance(value, apprise.AppriseAttachment) and len(value) for value in vars(plugin).values()):
        raise NotifyError(
            "that address would make apprise read a file — leave template and keyfile out", permanent=True
        )
    return Service(plugin)
