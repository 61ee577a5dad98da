"""An HTTP request: a bot's own API, an exchange's kill switch, a deployment service."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from watchdog.core import redaction
from watchdog.core.action_model import ActionModel
from watchdog.core.errors import ActionError
from watchdog.core.model import ConfigModel, Duration, FrozenList, JsonObject, SecretFile
from watchdog.core.protocols import CompletedStep, LastingChange, StepState
from watchdog.core.target import Target
from watchdog.host import child_process
from watchdog.net import http, secrets
from watchdog.net.address import redact_url, validate_url
from watchdog.net.deadline import Deadline
from watchdog.net.errors import HttpError
from watchdog.net.response import HttpResponse

_CHECK_TIMEOUT_MS = 15_000  # whoever asks for the state does not wait long
_SECRET_HEADERS = ("authorization", "cookie", "proxy-authorization", "x-api-key", "x-auth-token")


_MAX_BYTES = 1 << 20
"""Bytes of an answer."""


def _validate_url(url: str) -> str:
    cure = "put the password in token_file, the name in user"
    return validate_url(url, "http://127.0.0.1:8080/api/v1/stop", credentials_cure=cure)


class ExpectedResponse(ConfigModel):
    """What an answer must be."""

    status: FrozenList[int] = ()
    """HTTP status codes; any of 200 to 299 when not said."""
    answer: dict[str, Any] = Field(default_factory=dict)
    """Values in the JSON answer, by dotted path: ``{status: stopped, bots.0.open_trades: 0}``."""

    def mismatch(self, answer: HttpResponse) -> str | None:
        """What is not as expected, in words; None when all is."""
        if answer.status not in self.status if self.status else not 200 <= answer.status < 300:
            return f"it answered {answer.status}"
        said = answer.json() if self.answer else None
        for path, value in self.answer.items():
            found = _value_at_path(said, path)
            if found != value or isinstance(found, bool) is not isinstance(value, bool):
                shown = "not there" if found is ... else redaction.blot_value(path.split("."), json.dumps(found))
                return f"{path} is {child_process.last_words(shown, limit=60)}"
        return None


class HttpStateCheck(ConfigModel):
    """A second request that tells whether it is so. Must change nothing."""

    url: str
    """Asked with GET and the step's own headers."""
    expect: ExpectedResponse = ExpectedResponse()
    """What the answer is when it is so; another answer means that it is not."""

    _is_address = field_validator("url")(_validate_url)


class HttpAction(ActionModel):
    """Sends one HTTP request, and reads back by a second one. Without a `check` it is sent at most once."""

    runs_as_owner: ClassVar[bool] = False

    do: Literal["http"]
    url: str
    """Where to; http or https."""
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"
    """HTTP method."""
    body: Any = None
    """Sent as JSON."""
    headers: dict[str, str] = Field(default_factory=dict)
    """Added to the request; no secrets, since the plan's text stands in the journal."""
    headers_file: SecretFile | None = None
    """File with one `Name: value` a line, read when the request is made: for secrets."""
    token_file: SecretFile | None = None
    """File that holds a token, sent as `Authorization: Bearer`; with `user` a password."""
    user: str | None = None
    """Makes `token_file` the password of HTTP basic authentication."""
    expect: ExpectedResponse = ExpectedResponse()
    """What the answer must be."""
    check: HttpStateCheck | None = None
    """Asks whether it is so already."""
    leaves: str | None = None
    """With `check`: what is so afterwards, until the check says no, such as `trading is stopped`. `status` says it."""
    timeout: Duration = 60_000
    """For all of it; the check is asked until it holds or this has passed."""

    _is_address = field_validator("url")(_validate_url)

    @field_validator("headers")
    @classmethod
    def _validate_public_headers(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if name.lower() in _SECRET_HEADERS:
                raise ValueError(f"the plan's text stands in the journal: put {name} in headers_file or token_file")
            http.validate_header(name, value)
        return headers

    @model_validator(mode="after")
    def _validate_request(self) -> HttpAction:
        if self.user is not None and self.token_file is None:
            raise ValueError("user needs a token_file that holds the password")
        if self.leaves is not None and self.check is None:
            raise ValueError("leaves needs a check: whether it still is so is asked, and not remembered")
        try:
            json.dumps(self.body, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            raise ValueError("body is no JSON: quote dates, leave out .nan") from None
        return self

    def bind(self, target: Target) -> Self:  # noqa: ARG002
        for key in ("headers_file", "token_file"):  # of a plan from an older journal: never a file of the bot's choice
            if not Path(getattr(self, key) or "/").is_absolute():
                raise ActionError(f"{key} {getattr(self, key)} is relative, to nothing — write the full path")
        return self

    def describe(self) -> str:
        return f"{self.method} {child_process.last_lines(redact_url(self.url), limit=100)}"

    def capture(self, completed: Sequence[CompletedStep] = ()) -> JsonObject:  # noqa: ARG002
        """``{"check": whether it held, or null}``; for people, `state` asks anew."""
        headers = self._request_headers()  # a missing secret is said ahead of the act
        if self.check is None:
            return {"check": None}
        return {"check": _check_mismatch(self.check, headers, Deadline.after(_CHECK_TIMEOUT_MS)) is None}

    def preview(self, captured: JsonObject) -> str:  # noqa: ARG002
        return (
            self.describe() if self.body is None else f"{self.describe()} {json.dumps(self.body, ensure_ascii=False)}"
        )

    def apply(self, captured: JsonObject, idempotency_key: str, incident: JsonObject | None = None) -> str:  # noqa: ARG002
        deadline = Deadline.after(self.timeout)
        headers = self._request_headers()
        answer = _ask(self.method, self.url, headers, deadline, self.body)
        said = self._redacted_excerpt(answer, headers)
        wrong = self.expect.mismatch(answer)
        if wrong is not None:
            # A server that refuses says 4xx; one that breaks may have done it first.
            refused = 300 <= answer.status < 500 and answer.status not in (408, 409, 425)
            raise ActionError(f"{self.describe()}: {wrong}{f': {said}' if said else ''}", may_have_happened=not refused)
        if self.check is not None:
            for _ in child_process.poll_until(deadline.expires_at, every=0.5):
                left = max(deadline.milliseconds_left(), 2_000)  # the last look has its time, too
                differs = _check_mismatch(self.check, headers, Deadline.after(min(left, _CHECK_TIMEOUT_MS)))
                if differs is None:
                    break
            else:
                raise ActionError(
                    f"{self.describe()} was answered {answer.status}, yet {differs}", may_have_happened=True
                )
        return f"{self.describe()}: {answer.status}{f' {said}' if said else ''}"

    def state(self, captured: JsonObject) -> StepState:  # noqa: ARG002
        if self.check is None:
            return "unknown"
        try:
            deadline = Deadline.after(min(self.timeout, _CHECK_TIMEOUT_MS))
            answer = _ask("GET", self.check.url, self._request_headers(), deadline)
        except ActionError:
            return "unknown"
        if self.check.expect.mismatch(answer) is None:
            return "after"
        return "before" if 200 <= answer.status < 300 or answer.status in (404, 410) else "unknown"

    def lasting_changes(self, captured: JsonObject | None = None) -> Sequence[LastingChange]:  # noqa: ARG002
        if self.leaves is None:
            return ()
        return (LastingChange(f"http {self.method} {redact_url(self.url)}", "left", self.leaves),)

    def _request_headers(self) -> dict[str, str]:
        headers = dict(self.headers)
        if self.headers_file is not None:
            text = _load_secret(secrets.read_secret, self.headers_file, "headers_file")
            for number, line in enumerate(text.splitlines(), 1):
                name, colon, value = line.partition(":")
                if line.strip() and not line.startswith("#"):
                    try:
                        if not colon:
                            raise ValueError
                        http.validate_header(name, value.strip())
                    except ValueError:
                        raise ActionError(f"line {number} of {self.headers_file} is no Name: value") from None
                    headers[name] = value.strip()
        if self.token_file is not None:
            if self.user is None:
                headers["Authorization"] = f"Bearer {_load_secret(secrets.read_token, self.token_file, 'token_file')}"
            else:
                password = _load_secret(secrets.read_secret, self.token_file, "token_file").strip()
                headers["Authorization"] = secrets.basic_authorization(self.user, password)
        return headers

    def _redacted_excerpt(self, answer: HttpResponse, headers: Mapping[str, str]) -> str:
        """The end of what it said, without our own secrets."""
        words = answer.body.decode("utf-8", "replace")
        for name, value in headers.items():
            for secret in (value, *value.split()) if name not in self.headers else ():
                words = words.replace(secret, "…") if len(secret) > 3 else words
        return child_process.last_words(words, limit=120)


def _ask(method: str, url: str, headers: Mapping[str, str], deadline: Deadline, body: object = None) -> HttpResponse:
    """`body`, unless None, goes as JSON. Raises ActionError."""
    data = None if body is None else json.dumps(body).encode()
    own = {"Accept": "application/json"} | ({} if data is None else {"Content-Type": "application/json"})
    try:
        return http.request(method, url, headers={**own, **headers}, body=data, deadline=deadline, max_bytes=_MAX_BYTES)
    except HttpError as error:
        cure = "look whether it did what it was asked" if error.may_have_happened else error.cure
        raise ActionError(f"{error.what} — {cure}", may_have_happened=error.may_have_happened) from None


def _check_mismatch(check: HttpStateCheck, headers: Mapping[str, str], deadline: Deadline) -> str | None:
    """None when it is so; else what is not, in words."""
    try:
        differs = check.expect.mismatch(_ask("GET", check.url, headers, deadline))
    except ActionError as error:
        return str(error)
    return None if differs is None else f"by {redact_url(check.url)} {differs}"


def _load_secret(read: Callable[[str, str], str], file: str, key: str) -> str:
    try:
        return read(file, key)
    except secrets.SecretError as problem:
        raise ActionError(str(problem)) from None


def _value_at_path(value: object, path: str) -> Any:
    """What stands at the dotted path; an ellipsis when nothing does."""
    for part in path.split("."):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return ...
    return value
