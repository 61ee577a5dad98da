"""A login: a request that answers a token, which goes with all others until the server takes it no more."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from pydantic import Field, field_validator

from watchdog.core.errors import SourceError
from watchdog.core.model import ConnectionModel, Millis, Secret, SecretFile
from watchdog.core.protocols import SourceCache
from watchdog.core.text import shorten
from watchdog.net import secrets
from watchdog.net.address import redact_url
from watchdog.net.credentials import BasicAuth
from watchdog.net.deadline import Deadline
from watchdog.net.errors import HttpError
from watchdog.net.http import validate_header
from watchdog.sources.http_client import (
    Headers,
    at_address,
    plain_headers,
    secret_texts,
    set_header,
    validate_api_url,
)
from watchdog.sources.json_document import parse_document
from watchdog.sources.json_path import JsonPath, search

if TYPE_CHECKING:
    from watchdog.net.fetch import HttpFetcher

_PAUSE: Millis = 30_000
"""Until a login that was refused is tried again: whoever counts wrong passwords locks an account."""
_MAX_BYTES = 2**20
_MAX_TOKEN = 16 << 10
"""Characters; no server takes a longer header, and none would say that this is why."""
_SUCCESS = range(200, 300)


class Login(ConnectionModel):
    """A POST that answers a token. It is sent with all other requests, and renewed when the server answers 401."""

    url: str
    """Where to log in; often not where the data is."""
    body: dict[str, Secret | bool | int | float] = Field(default_factory=dict)
    """What is sent, as JSON: `{username: bot, password: "${BOT_PASSWORD}"}`."""
    body_files: dict[str, SecretFile] = Field(default_factory=dict)
    """More of it, from files: `{password: /etc/trading-watchdog/bot.password}`."""
    form: bool = False
    """`true`: `body` is sent as a form, as OAuth 2 has it, not as JSON."""
    headers: Headers = Field(default_factory=dict)
    """Request headers of the login; those of the source are not sent there."""
    basic: BasicAuth | None = None
    """Name and password of the login, for HTTP basic authentication."""
    token: JsonPath = "access_token"  # noqa: S105
    """JMESPath to the token in the answer."""
    header: str = "Authorization: Bearer"
    """The header that carries the token, and what stands ahead of it there; `X-Auth-Token` alone for one without."""

    @field_validator("url")
    @classmethod
    def _validate_url(cls, url: str) -> str:
        return validate_api_url(url)

    @field_validator("header")
    @classmethod
    def _validate_header(cls, header: str) -> str:
        validate_header(*_split_header(header))
        return header

    @property
    def is_authorization(self) -> bool:
        """Whether it fills the Authorization header."""
        return _split_header(self.header)[0].lower() == "authorization"

    def add_token(
        self, headers: dict[str, str], fetcher: HttpFetcher, cache: SourceCache, deadline: Deadline, now: Millis
    ) -> bool:
        """Puts the token into the headers of a request; whether it is a new one. Raises SourceError, HttpError, SecretError."""
        token = cache.get("token")
        is_new = token is None
        if is_new:
            _ensure_rested(cache, now)
            try:
                token = cache["token"] = self._fetch_token(fetcher, deadline)
            except SourceError as error:
                _rest(cache, now, error)
                raise
        name, prefix = _split_header(self.header)
        set_header(headers, name, f"{prefix} {token}".strip())
        return is_new

    def forget_token(self, cache: SourceCache, now: Millis, *, was_new: bool, answered: str) -> None:
        """The server does not take it. Raises SourceError when it never did."""
        cache.pop("token", None)
        if was_new:
            error = _refused(f"{answered} with a token that {redact_url(self.url)} has just given")
            _rest(cache, now, error)
            raise error

    def _fetch_token(self, fetcher: HttpFetcher, deadline: Deadline) -> str:
        """Raises SourceError for an answer that asking again does not better."""
        headers = plain_headers(self.headers)
        set_header(headers, "Content-Type", "application/x-www-form-urlencoded" if self.form else "application/json")
        if self.basic is not None:
            set_header(headers, "Authorization", self.basic.authorization("login.basic"))
        try:
            body = self._request_body()
            sent = urlencode(body) if self.form else json.dumps(body)
            page = fetcher.request("POST", self.url, headers, deadline, _MAX_BYTES, sent.encode(), _SUCCESS)
        except HttpError as error:
            if error.status is not None and 400 <= error.status < 500:
                raise _refused(error.what) from None
            raise
        try:
            token = search(self.token, parse_document(page.body))
        except SourceError as fault:  # it may quote what is answered, and that what was sent
            hidden = (*secret_texts(headers), *(text for text in body.values() if isinstance(text, str)))
            raise at_address(self.url, SourceError(secrets.hide(str(fault), *hidden))) from None
        if not isinstance(token, str) or len(token) > _MAX_TOKEN or not secrets.TOKEN_PATTERN.fullmatch(token):
            raise _refused(f"{redact_url(self.url)} answers no token at {shorten(self.token, 60)}")
        return token

    def _request_body(self) -> dict[str, Any]:
        said: dict[str, Any] = {
            name: value.get_secret_value() if isinstance(value, Secret) else value for name, value in self.body.items()
        }
        for name, file in self.body_files.items():
            said[name] = secrets.read_secret(file, f"login.body_files.{name}").rstrip("\r\n")
        return said


def _refused(what: str) -> SourceError:
    return SourceError(f"{what} — check login; it is tried again every {_PAUSE // 1_000} s")


def _rest(cache: SourceCache, now: Millis, error: SourceError) -> None:
    cache["login_refused"] = now, str(error)


def _ensure_rested(cache: SourceCache, now: Millis) -> None:
    """Raises what was said last until the pause is over."""
    refused_at, error = cache.get("login_refused", (None, ""))
    if refused_at is not None and 0 <= now - refused_at < _PAUSE:
        raise SourceError(error)
    cache.pop("login_refused", None)


def _split_header(header: str) -> tuple[str, str]:
    name, _, prefix = header.partition(":")
    return name.strip(), prefix.strip()
