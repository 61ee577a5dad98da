"""Prometheus' own way of reading: a page of text over HTTP."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from watchdog.core.errors import SourceError
from watchdog.core.model import ConfigModel, Millis, Sample
from watchdog.core.protocols import SourceState
from watchdog.net import secrets
from watchdog.net.address import redact_url, validate_url
from watchdog.net.errors import HttpError
from watchdog.sources import exposition
from watchdog.sources.interval import Interval

ACCEPT = "text/plain;version=0.0.4;q=1,text/*;q=0.5"


class ScrapeSource(ConfigModel):
    """A metrics page in the Prometheus text format, the kind every client library writes."""

    type: Literal["scrape"]
    url: str
    """Address of the page; http or https. Redirects are not followed and proxies of the environment not used."""
    every: Interval = 1_000
    """Time from one read to the next."""
    timeout: Interval | None = None
    """Most time one read may take in all. Not said: `every`, within 500 ms and 10 s."""
    max_bytes: int = Field(10 * 2**20, ge=1)
    """Most bytes of a page, unpacked. A larger page is refused whole."""
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    """More request headers."""
    token_file: str | None = None
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

    def read(self, state: SourceState, now: Millis) -> list[Sample]:
        """Every sample of the page, or SourceError and none. The kept connection lives in ``memo["fetcher"]``."""
        from watchdog.net.fetch import HttpFetcher  # http.client and ssl: paid when a page is read

        if "fetcher" not in state:
            state["fetcher"], state["page"] = HttpFetcher(), exposition.PageCache()
        fetcher: HttpFetcher = state["fetcher"]
        limit = self.timeout if self.timeout is not None else max(500, min(self.every, 10_000))
        try:
            page = fetcher.get(self.url, self._request_headers(), limit, self.max_bytes)
        except (HttpError, secrets.SecretError) as error:
            raise SourceError(str(error)) from None
        if page.content_type and not page.content_type.startswith("text/"):
            # OpenMetrics looks alike but counts timestamps in seconds: never guess.
            raise SourceError(
                f"{redact_url(self.url)} serves {page.content_type} — it must be the Prometheus text format, text/plain"
            )
        try:
            return exposition.parse_samples(page.body, now, state["page"])
        except SourceError as fault:
            raise SourceError(f"{redact_url(self.url)}: {fault}") from None

    def _request_headers(self) -> dict[str, str]:
        headers = {"Accept": ACCEPT, "Accept-Encoding": "gzip", "User-Agent": "trading-watchdog"}
        headers |= {name: value.get_secret_value() for name, value in self.headers.items()}
        if self.token_file is not None:
            headers["Authorization"] = f"Bearer {secrets.read_token(self.token_file)}"
        return headers
