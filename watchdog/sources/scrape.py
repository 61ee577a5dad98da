"""Prometheus' own way of reading: a page of text over HTTP."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from watchdog.core.errors import SourceError
from watchdog.core.model import Millis, Sample, Secret, SecretFile
from watchdog.core.protocols import SourceCache, SourceState
from watchdog.core.text import shorten
from watchdog.net import secrets
from watchdog.net.address import redact_url, validate_url
from watchdog.net.deadline import Deadline
from watchdog.net.errors import HttpError
from watchdog.sources import exposition, openmetrics
from watchdog.sources.http_client import secret_texts
from watchdog.sources.interval import READ_DEADLINE_MS, Interval
from watchdog.sources.source_model import SourceModel

ACCEPT_TEXT = "text/plain;version=0.0.4;q=1,text/*;q=0.5,*/*;q=0.1"
ACCEPT_OPENMETRICS = (
    f"{openmetrics.CONTENT_TYPE};version=1.0.0;q=1,text/plain;version=0.0.4;q=0.5,text/*;q=0.4,*/*;q=0.1"
)
"""Many servers send OpenMetrics to whoever so much as names it, whatever the q: it is not named unless it is wanted."""


class ScrapeSource(SourceModel):
    """A metrics page in the Prometheus text format, the kind every client library writes, or in OpenMetrics."""

    reads_needed: ClassVar[int] = 1

    type: Literal["scrape"]
    url: str
    """Address of the page; http or https. Redirects are not followed and proxies of the environment not used."""
    every: Interval = 1_000
    """Time from one read to the next."""
    timeout: Interval | None = None
    """Most time one read may take in all, the page's parsing included. Not said: `every`, within 500 ms and 10 s."""
    max_bytes: int = Field(10 * 2**20, ge=1)
    """Most bytes of a page, unpacked. A larger page is refused whole."""
    openmetrics: bool = False
    """Ask for OpenMetrics first, in which counters say when they began. Where a server speaks nothing else, it is read anyway."""
    headers: dict[str, Secret] = Field(default_factory=dict)
    """More request headers."""
    token_file: SecretFile | None = None
    """File with a bearer token; read anew each time, so it may be rotated."""

    @field_validator("url")
    @classmethod
    def _validate_url(cls, url: str) -> str:
        cure = "give its name and password as headers: {Authorization: …}"
        return validate_url(url, "http://127.0.0.1:8000/metrics", credentials_cure=cure)

    @model_validator(mode="after")
    def _validate_authorization(self) -> ScrapeSource:
        if self.token_file is not None and any(name.lower() == "authorization" for name in self.headers):
            raise ValueError("token_file and an Authorization header say the same thing — keep one")
        return self

    @property
    def deadline(self) -> Millis:
        """A read ends by itself, but for the looking up of a name."""
        return self.timeout if self.timeout is not None else READ_DEADLINE_MS

    @property
    def identity(self) -> str:
        return re.split("[?#]", self.url)[0]

    def read(self, state: SourceState, cache: SourceCache, now: Millis) -> list[Sample]:
        """Every sample of the page, or SourceError and none. State: when the newest counter began, in OpenMetrics. Cache: the
        connection, the lines of the last page."""
        try:
            return self._read(state, cache, now)
        except SourceError as fault:  # it may quote what is served, and that what was sent
            raise SourceError(secrets.hide(str(fault), *cache.get("sent", ()))) from None

    def _read(self, state: SourceState, cache: SourceCache, now: Millis) -> list[Sample]:
        from watchdog.net.fetch import HttpFetcher  # http.client and ssl: paid when a page is read

        if "fetcher" not in cache:
            cache["fetcher"], cache["page"] = HttpFetcher(), exposition.PageCache()
            cache["openmetrics"] = openmetrics.OpenMetricsCache()
        fetcher: HttpFetcher = cache["fetcher"]
        limit = self.timeout if self.timeout is not None else max(500, min(self.every, 10_000))
        limits = exposition.PageLimits(self.max_series, Deadline.after(limit))
        try:
            headers = self._request_headers()
            cache["sent"] = secret_texts(
                {name: headers[name] for name in (*self.headers, "Authorization") if name in headers}
            )
            page = fetcher.get(self.url, headers, limit, self.max_bytes)
        except (HttpError, secrets.SecretError) as error:
            raise SourceError(str(error)) from None
        try:
            if page.content_type == openmetrics.CONTENT_TYPE:  # it looks alike, and is not: times are seconds
                return openmetrics.parse_samples(page.body, now, state, cache["openmetrics"], limits)
            if page.content_type and not page.content_type.startswith("text/"):
                raise SourceError(
                    f"it serves {shorten(page.content_type, 60)} — it must be text/plain, the Prometheus text format, or "
                    f"{openmetrics.CONTENT_TYPE}"
                )
            return exposition.parse_samples(page.body, now, cache["page"], limits)
        except SourceError as fault:
            raise SourceError(f"{redact_url(self.url)}: {fault}") from None

    def _request_headers(self) -> dict[str, str]:
        headers = {
            "Accept": ACCEPT_OPENMETRICS if self.openmetrics else ACCEPT_TEXT,
            "Accept-Encoding": "gzip",
            "User-Agent": "trading-watchdog",
        }
        headers |= {name: value.get_secret_value() for name, value in self.headers.items()}
        if self.token_file is not None:
            headers["Authorization"] = f"Bearer {secrets.read_token(self.token_file)}"
        return headers
