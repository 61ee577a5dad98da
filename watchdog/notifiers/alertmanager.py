"""Alertmanager, by its v2 API: what fires is told as alerts, which it groups, routes, silences and resolves."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from watchdog.core.errors import NotifyError
from watchdog.core.model import Alert, Duration, Labels, Message, Millis, SecretFile, Severity
from watchdog.net import secrets
from watchdog.net.address import validate_url
from watchdog.net.credentials import BasicAuth, TlsSettings
from watchdog.net.deadline import Deadline
from watchdog.net.errors import HttpError, is_transient_status, parse_retry_after
from watchdog.notifiers.channel import Channel

TIMEOUT = 10.0
"""Seconds for one request in all."""
ALERTNAME = "TradingWatchdog"
"""`alertname` of what is no rule's."""
SEVERITY_LABELS: dict[Severity, str] = {"info": "info", "warn": "warning", "crit": "critical"}
"""What Prometheus's own alerts say, and so what people route by."""

_MAX_ALERTS = 200
"""In one request."""
_MAX_BYTES = 1 << 16
"""Of an answer."""
_ANY_STATUS = range(100, 600)
_NO_NAME_CHARACTERS = re.compile(r"[^a-zA-Z0-9_]")


class AlertmanagerNotifier(Channel):
    """Alerts in Alertmanager, for as long as they fire."""

    model_config = ConfigDict(hide_input_in_errors=True)

    type: Literal["alertmanager"]
    url: str
    """Where Alertmanager is, up to its `/api`: `http://127.0.0.1:9093`."""
    token_file: SecretFile | None = None
    """File with a bearer token; read anew each time, so it may be rotated."""
    basic: BasicAuth | None = None
    """Name and password, for HTTP basic authentication."""
    tls: TlsSettings | None = None
    """For https: a CA of your own, a certificate of ours."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Labels that each alert gets, to route by; those of a rule and a series win. `watchdog` is
    the host's name unless you say it."""
    resend: Duration = 60_000
    """How often what fires is told again; less than half of Alertmanager's `resolve_timeout`. `1m` when not said."""

    @field_validator("url")
    @classmethod
    def _validate_url(cls, url: str) -> str:
        cure = "give its name and password as basic: {user: …, password_file: …}"
        example = "http://127.0.0.1:9093, or with the path that Alertmanager lies under"
        url = validate_url(url, example, credentials_cure=cure)
        if "?" in url or "#" in url or re.search(r"/api(/|$)", url):
            raise ValueError(f"an address reads like {example} — leave out what follows, as /api/v2/alerts")
        return url.rstrip("/")

    @field_validator("labels")
    @classmethod
    def _validate_labels(cls, labels: dict[str, str]) -> dict[str, str]:
        for name in labels:
            if not re.fullmatch("[a-zA-Z_][a-zA-Z0-9_]*", name):
                raise ValueError("this is no name of a label — it has letters, digits and _, and begins with no digit")
            if name in ("alertname", "target", "severity", "incident"):
                raise ValueError(f"{name} is said by the watchdog itself — call yours otherwise")
        return labels

    @field_validator("resend")
    @classmethod
    def _validate_resend(cls, resend: Millis) -> Millis:
        if not 1_000 <= resend <= 3_600_000:
            raise ValueError(
                "it is told again every 1s to 1h — say less than half of Alertmanager's resolve_timeout (5m, as a rule)"
            )
        return resend

    @model_validator(mode="after")
    def _validate_authorization(self) -> AlertmanagerNotifier:
        if self.token_file is not None and self.basic is not None:
            raise ValueError("token_file and basic say the same thing — keep one")
        if self.tls is not None and not self.url.startswith("https:"):
            raise ValueError("tls is of no use to an address that is not https — write https, or leave it out")
        return self

    def send(self, message: Message) -> None:
        """What the message is about, as it is now; of a message alone, one alert that ends by itself. Raises NotifyError only."""
        if message.alerts is None:
            self.publish([message_alert(message)])
        else:
            self.publish(message.alerts)

    def publish(self, alerts: Sequence[Alert]) -> None:
        """See `core.protocols.AlertingNotifier`. Asks also where there are none: delivered is what Alertmanager says is ok."""
        rendered = [render_alert(alert, self.labels) for alert in alerts]
        for start in range(0, max(1, len(rendered)), _MAX_ALERTS):
            self._post(json.dumps(rendered[start : start + _MAX_ALERTS]).encode())

    def _post(self, body: bytes) -> None:
        from watchdog.net.fetch import HttpFetcher  # http.client and ssl: paid when something is told

        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "trading-watchdog"}
        try:
            headers |= self._authorization()
            answer = HttpFetcher(None if self.tls is None else self.tls.files()).request(
                *("POST", f"{self.url}/api/v2/alerts", headers, Deadline.after(round(TIMEOUT * 1_000))),
                *(_MAX_BYTES, body, _ANY_STATUS),
            )
        except secrets.SecretError as error:
            raise NotifyError(str(error)) from None
        except HttpError as error:
            what = (
                "Alertmanager cannot be reached" if error.kind != "deadline" else "Alertmanager gave no answer in time"
            )
            raise NotifyError(f"{what}: {error}") from None
        if answer.status != 200:
            raise _refusal_error(answer.status, answer.body, answer.retry_after, headers.get("Authorization", ""))

    def _authorization(self) -> dict[str, str]:
        """Raises SecretError."""
        if self.token_file is not None:
            return {"Authorization": f"Bearer {secrets.read_token(self.token_file)}"}
        return {} if self.basic is None else {"Authorization": self.basic.authorization("basic")}


def message_alert(message: Message) -> Alert:
    """A message as an alert of its own, which Alertmanager resolves by itself."""
    named = {"alertname": ALERTNAME, "severity": SEVERITY_LABELS[message.severity]}
    if message.incident is not None:
        named["incident"] = str(message.incident)
    if message.key:
        named["message"] = message.key
    return Alert(tuple(sorted(named.items())), describe_annotations(message.title, message.lines))


def describe_annotations(summary: str, lines: Sequence[str]) -> Labels:
    """As templates of Alertmanager expect them."""
    said = {"summary": summary, "description": "\n".join(lines)}
    return tuple((name, text) for name, text in said.items() if text)


def render_alert(alert: Alert, more: Mapping[str, str]) -> dict[str, Any]:
    """As the API takes it. One without an end is over when it was not told again within Alertmanager's `resolve_timeout`."""
    labels = {"watchdog": socket.gethostname(), **more} | {_label_name(name): text for name, text in alert.labels}
    rendered: dict[str, Any] = {
        "labels": {name: text for name, text in labels.items() if text},
        "annotations": {_label_name(name): text for name, text in alert.annotations},
    }
    if alert.starts is not None:
        rendered["startsAt"] = _format_time(alert.starts)
    if alert.ends is not None:
        rendered["endsAt"] = _format_time(max(alert.ends, alert.starts or 0))
    return rendered


def _label_name(name: str) -> str:
    """One that every Alertmanager takes."""
    name = _NO_NAME_CHARACTERS.sub("_", name)
    return name if name and not name[0].isdigit() else f"_{name}"


def _format_time(t: Millis) -> str:
    return datetime.fromtimestamp(t / 1_000, UTC).isoformat(timespec="milliseconds")


def _refusal_error(status: int, body: bytes, retry_after: str | None, authorization: str) -> NotifyError:
    """What an answer that is no success means for us."""
    if status == 429:
        return NotifyError("Alertmanager asks to slow down (HTTP 429)", retry_after=parse_retry_after(retry_after))
    if is_transient_status(status):
        return NotifyError(f"Alertmanager is in trouble (HTTP {status}) — it is tried again")
    if status < 400:
        return NotifyError(
            f"HTTP {status} came instead of Alertmanager's answer — is a proxy in between, and url right?"
        )
    said = _explanation(body, authorization)
    if status in (401, 403):
        cure = "check token_file or basic, and what Alertmanager (or the proxy before it) wants"
    elif status in (404, 405):
        cure = "check url: the address up to /api, with the path of --web.route-prefix; version 0.16 or newer is needed"
    else:
        cure = "check url"
    return NotifyError(f"Alertmanager refused: HTTP {status}{f' ({said})' if said else ''} — {cure}", permanent=True)


def _explanation(body: bytes, authorization: str) -> str:
    """Alertmanager says why in one JSON string, or in an object. What a proxy says is a page, and not shown."""
    try:
        said = json.loads(body)
    except ValueError:
        return ""
    text = said.get("message") if isinstance(said, dict) else said
    if not isinstance(text, str):
        return ""
    token = authorization.partition(" ")[2]
    return secrets.redact(text, authorization, token, secrets.password_of(authorization))
