"""Prometheus' own way of reading: a page of text over HTTP."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from watchdog.core.errors import SourceError
from watchdog.core.model import Millis, Sample
from watchdog.core.protocols import SourceCache, SourceState
from watchdog.core.text import shorten
from watchdog.net import secrets
from watchdog.net.errors import HttpError
from watchdog.sources import exposition, openmetrics
from watchdog.sources.http_client import HttpSource, at_address, sent_secrets
from watchdog.sources.interval import Interval

ACCEPT_TEXT = "text/plain;version=0.0.4;q=1,text/*;q=0.5,*/*;q=0.1"
ACCEPT_OPENMETRICS = (
    f"{openmetrics.CONTENT_TYPE};version=1.0.0;q=1,text/plain;version=0.0.4;q=0.5,text/*;q=0.4,*/*;q=0.1"
)
"""Many servers send OpenMetrics to whoever so much as names it, whatever the q: it is not named unless it is wanted."""


class ScrapeSource(HttpSource):
    """A metrics page in the Prometheus text format, the kind every client library writes, or in OpenMetrics."""

    reads_needed: ClassVar[int] = 1

    type: Literal["scrape"]
    every: Interval = 1_000
    """Time from one read to the next."""
    max_bytes: int = Field(10 * 2**20, ge=1)
    """Most bytes of a page, unpacked. A larger page is refused whole."""
    openmetrics: bool = False
    """Ask for OpenMetrics first, in which counters say when they began. Where a server speaks nothing else, it is read anyway."""

    def read(self, state: SourceState, cache: SourceCache, now: Millis) -> list[Sample]:
        """Every sample of the page, or SourceError and none. State: when the newest counter began, in OpenMetrics. Cache: the
        connection, the lines of the last page."""
        try:
            return self._read(state, cache, now)
        except SourceError as fault:  # it may quote what is served, and that what was sent
            raise SourceError(secrets.hide(str(fault), *cache.get("sent", ()))) from None

    def _read(self, state: SourceState, cache: SourceCache, now: Millis) -> list[Sample]:
        if "page" not in cache:
            cache["page"], cache["openmetrics"] = exposition.PageCache(), openmetrics.OpenMetricsCache()
        deadline = self.read_deadline()
        limits = exposition.PageLimits(self.max_series, deadline)
        try:
            headers = self.request_headers(ACCEPT_OPENMETRICS if self.openmetrics else ACCEPT_TEXT)
            cache["sent"] = sent_secrets(self.url, headers)
            page = self.fetcher(cache).get(self.url, headers, deadline.total, self.max_bytes)
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
            raise at_address(self.url, fault) from None
