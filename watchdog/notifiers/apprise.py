"""All that the library apprise reaches: e-mail, Discord, PagerDuty, Teams, ntfy and a hundred more."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from pydantic import ConfigDict, field_validator, model_validator

from watchdog.core.errors import NotifyError, install_command
from watchdog.core.model import Message, Secret, SecretFile, Severity
from watchdog.net.errors import is_transient_status
from watchdog.notifiers.channel import MessageChannel
from watchdog.notifiers.text import title_line
from watchdog.notifiers.token import load_token

if TYPE_CHECKING:
    from watchdog.notifiers.apprise_client import Service

TIMEOUT = 20.0
"""Seconds for one message in all."""
CREDENTIAL_DESCRIPTION = "address of apprise's (discord://…, mailtos://…)"

_URL_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[!-~]+")
_REFUSED_SCHEMES = {
    **dict.fromkeys(("dbus", "qt", "kde", "glib", "gio", "gnome", "macosx", "windows"), "a desktop's"),
    "syslog": "this machine's own log",
    "blink1": "a device of this machine",
    "vapid": "a service that keeps its keys and receivers in files",
    "file": "a file",
}
"""Scheme → what it is: what reaches nobody elsewhere, or touches what is on this machine."""
_REFUSED_PARAMETERS = ("attach", "keyfile", "subfile", "pgp", "pgppub", "pgpprv", "pgpkey")
"""Files that a service would read."""
_PING = re.compile(r"@(?=everyone|here|channel|all\b)|<(?=[@!#&])", re.IGNORECASE)
_ZERO_WIDTH = "\u2060"
_STATUS = re.compile(r"\berror[=:] ?([1-5][0-9]{2})\b")
_NOBODY_ANSWERED = re.compile(r"connection error|socket|timed? ?out|could not connect", re.IGNORECASE)


class AppriseNotifier(MessageChannel):
    """Messages by the library apprise, to the service that its address names."""

    model_config = ConfigDict(hide_input_in_errors=True)

    type: Literal["apprise"]
    url: Secret | None = None
    """Address of one service as apprise writes it: `discord://ID/TOKEN`. All of it is a secret."""
    url_file: SecretFile | None = None
    """File with that address; read anew for each message."""

    @field_validator("url")
    @classmethod
    def _validate_url(cls, url: Secret | None) -> Secret | None:
        if url is not None:
            text = url.get_secret_value().strip()
            if (why := refuse(text)) is not None:
                raise ValueError(why)
            if not _URL_PATTERN.fullmatch(text):
                raise ValueError(f"this is no {CREDENTIAL_DESCRIPTION} — write one address, without spaces")
        return url

    @model_validator(mode="after")
    def _validate_credentials(self) -> AppriseNotifier:
        if (self.url is None) == (self.url_file is None):
            raise ValueError("say exactly one of url and url_file")
        return self

    def send(self, message: Message) -> None:
        """Delivered is what apprise says is ok. Raises NotifyError only."""
        url = load_token(self.url, self.url_file, _URL_PATTERN, CREDENTIAL_DESCRIPTION, "url_file")
        if (hanging := _deliveries.get(url)) is not None and hanging.is_alive():
            raise NotifyError("the last delivery by apprise still hangs — it is tried again")
        title, body = render_message(message)
        errors: list[NotifyError | None] = []
        delivery = threading.Thread(
            target=lambda: errors.append(_deliver(url, message.severity, title, body)), name="apprise", daemon=True
        )
        _deliveries[url] = delivery
        delivery.start()
        delivery.join(TIMEOUT)
        if delivery.is_alive():
            raise NotifyError(f"apprise gave no answer within {TIMEOUT:g} s — it is tried again")
        _deliveries.pop(url, None)
        if (error := errors[0]) is not None:
            raise error


_deliveries: dict[str, threading.Thread] = {}
"""Address → the delivery that was begun last: services are asked by threads of their own, since none can be ended from outside."""


def refuse(url: str) -> str | None:
    """Why that address is not used, without quoting it; None: as far as can be told before apprise reads it, it is."""
    scheme, _, rest = url.partition("://")
    return refuse_parts(scheme, re.findall(r"[?&]([^=&#]+)=", rest))


def refuse_parts(scheme: str, parameters: Iterable[str]) -> str | None:
    """The same of its scheme and the names of its parameters."""
    scheme = scheme.lower()
    if (what := _REFUSED_SCHEMES.get(scheme)) is not None:
        return f"{scheme}:// is {what}, and tells nobody elsewhere — name a service that is reached over the network"
    for name in parameters:
        if name.lower() in _REFUSED_PARAMETERS:
            return f"?{name.lower()}= would make a service read a file of this machine — leave it out"
    return None


def render_message(message: Message) -> tuple[str, str]:
    """Title and body: plain text, in which nothing calls a whole channel together."""
    title, body = title_line(message), "\n".join(message.lines)
    return _PING.sub(rf"\g<0>{_ZERO_WIDTH}", title), _PING.sub(rf"\g<0>{_ZERO_WIDTH}", body) or title


def _deliver(url: str, severity: Severity, title: str, body: str) -> NotifyError | None:
    """In a thread of its own. None once it is delivered. Raises nothing: what the library says may quote the address."""
    try:
        service = _open_service(url)
        said = service.notify(severity, title, body)
    except NotifyError as error:
        return error
    except Exception as fault:
        return NotifyError(f"apprise failed ({type(fault).__name__}) — check the address, and the network")
    return None if said is None else _refusal_error(service.name, said)


@lru_cache(64)
def _open_service(url: str) -> Service:
    """Kept, since some pace themselves and some log in. Raises NotifyError."""
    try:
        from watchdog.notifiers import apprise_client  # half a second and 30 MB: paid when the first message goes out
    except ImportError:
        raise NotifyError(f"the package apprise is missing — {install_command('apprise')}", permanent=True) from None
    return apprise_client.open_service(url, refuse_parts)


def _refusal_error(service: str, said: str) -> NotifyError:
    """From the library's own log, which quotes others: only a status is taken from it."""
    found = _STATUS.search(said)
    if found is None:
        if _NOBODY_ANSWERED.search(said):
            return NotifyError(f"{service} cannot be reached — check the network, and the address")
        return NotifyError(
            f"{service} did not take it, and apprise says no more — check the address; it is tried again"
        )
    status = int(found[1])
    if is_transient_status(status):
        slow = "asks to slow down" if status == 429 else "is in trouble"
        return NotifyError(f"{service} {slow} (HTTP {status}) — it is tried again")
    if 400 <= status < 500:
        cure = "check the address, and that what it names was not deleted or its key exchanged"
        return NotifyError(f"{service} refused: HTTP {status} — {cure}", permanent=True)
    return NotifyError(f"HTTP {status} came instead of {service}'s answer — is a proxy in between?")
