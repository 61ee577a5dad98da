"""A JSON API: one request, and of its answer as many values as one likes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, WithJsonSchema, model_validator

from watchdog.core.errors import SourceError
from watchdog.core.model import Millis, Sample, Secret
from watchdog.core.protocols import Match, SourceCache, SourceState
from watchdog.core.schedule import Zone
from watchdog.core.text import shorten
from watchdog.net.deadline import Deadline
from watchdog.net.errors import HttpError
from watchdog.net.secrets import SecretError, hide
from watchdog.sources.http_client import HttpSource, at_address, sent_secrets
from watchdog.sources.http_login import Login
from watchdog.sources.interval import Interval
from watchdog.sources.json_document import parse_document
from watchdog.sources.json_path import JsonPath
from watchdog.sources.json_values import JsonValues, Limits, Timing, extract

if TYPE_CHECKING:
    from watchdog.net.fetch import FetchedPage


def _write_body(body: object) -> object:
    """A set of keys, or a list, as the JSON that is sent."""
    return json.dumps(body, allow_nan=False) if isinstance(body, dict | list) else body


Body = Annotated[
    Secret,
    BeforeValidator(_write_body),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object"}, {"type": "array"}]}),
]


class HttpJsonSource(HttpSource):
    """Values out of the JSON that an HTTP API answers, with a login where it wants one."""

    reads_needed: ClassVar[int] = 1

    type: Literal["http_json"]
    every: Interval = 5_000
    """Time from one read to the next."""
    method: Literal["GET", "POST"] = "GET"
    """How it is asked. It is asked again and again: it must change nothing."""
    body: Body | None = None
    """What is sent with POST: keys, sent as JSON, or a text, sent as it is."""
    login: Login | None = None
    """Where a token is had first, for an API that wants one."""
    values: JsonValues
    """Metric → JMESPath to its number, or more: see `path`."""
    time: JsonPath | None = None
    """JMESPath to the time of the document. When not said, its values are from the time of the read."""
    zone: Zone = "UTC"
    """Time zone of times that name none."""

    @model_validator(mode="after")
    def _validate_method(self) -> HttpJsonSource:
        if self.body is not None and self.method != "POST":
            raise ValueError("a body goes with a POST — say method: POST")
        return self

    def _authorizations(self) -> list[str]:
        said = super()._authorizations()
        return [*said, "login"] if self.login is not None and self.login.is_authorization else said

    def read(self, state: SourceState, cache: SourceCache, now: Millis) -> list[Sample]:  # noqa: ARG002
        """Cache: the connection, and the token of the login."""
        try:
            return self._read(cache, now)
        except SourceError as fault:  # it may quote what is answered, and that what was sent
            raise SourceError(hide(str(fault), *self._sent_secrets(cache))) from None

    def _sent_secrets(self, cache: SourceCache) -> list[str]:
        """What the last request held that an answer might quote."""
        headers, body = cache.get("sent", ({}, None))
        return sent_secrets(self.url, headers, "" if body is None else body.decode(), repr(self.values))

    def _read(self, cache: SourceCache, now: Millis) -> list[Sample]:
        deadline = self.read_deadline()
        document = self._read_document(cache, deadline, now)
        try:
            return extract(document, self.values, self._timing(now), Limits(self.max_series, deadline))
        except SourceError as fault:
            raise at_address(self.url, fault) from None

    def explain(self, now: Millis) -> list[Match]:
        """What each expression matches in the answer."""
        from watchdog.sources.json_explain import explain  # paid when somebody asks

        cache = SourceCache()
        try:
            found = explain(self._read_document(cache, self.read_deadline(), now), self.values, self._timing(now))
        except SourceError as fault:
            raise SourceError(hide(str(fault), *self._sent_secrets(cache))) from None
        secrets = self._sent_secrets(cache)
        return [each.map_texts(lambda text: hide(text, *secrets)) for each in found]

    def _timing(self, now: Millis) -> Timing:
        return Timing(now, now, self.time, self.zone)

    def _read_document(self, cache: SourceCache, deadline: Deadline, now: Millis) -> Any:
        try:
            page = self._ask(cache, deadline, now)
        except (HttpError, SecretError) as error:
            raise SourceError(str(error)) from None
        try:
            return parse_document(page.body)
        except SourceError as fault:
            is_json = "json" in page.content_type or not page.content_type
            note = "" if is_json else f" answers {shorten(page.content_type, 60)}"
            raise at_address(self.url, fault, note) from None

    def _ask(self, cache: SourceCache, deadline: Deadline, now: Millis) -> FetchedPage:
        """The answer. A token that is taken no more is renewed, once. Raises SourceError, HttpError, SecretError."""
        headers = self.request_headers()
        if self.login is None:
            return self._send(cache, headers, deadline)
        is_new = self.login.add_token(headers, self.fetcher(cache), cache, deadline, now)
        try:
            return self._send(cache, headers, deadline)
        except HttpError as error:
            if error.status != 401:
                raise
            self.login.forget_token(cache, now, was_new=is_new, answered=error.what)
        self.login.add_token(headers, self.fetcher(cache), cache, deadline, now)
        try:
            return self._send(cache, headers, deadline)
        except HttpError as error:
            if error.status == 401:
                self.login.forget_token(cache, now, was_new=True, answered=error.what)
            raise

    def _send(self, cache: SourceCache, headers: dict[str, str], deadline: Deadline) -> FetchedPage:
        body = None
        if self.method == "POST":
            body = b"" if self.body is None else self.body.get_secret_value().encode(errors="replace")
            if not any(name.lower() == "content-type" for name in headers):
                headers = {**headers, "Content-Type": "application/json"}
        cache["sent"] = headers, body
        return self.fetcher(cache).request(self.method, self.url, headers, deadline, self.max_bytes, body)
