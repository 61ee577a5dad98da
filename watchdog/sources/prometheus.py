"""Another server's metrics: instant queries of Prometheus, and of all that speak its API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal
from urllib.parse import urlencode, urlsplit

from pydantic import Field, StringConstraints, model_validator

from watchdog.core.errors import SourceError
from watchdog.core.model import Millis, Sample
from watchdog.core.protocols import Match, SourceCache, SourceState
from watchdog.core.text import quote_label
from watchdog.net.deadline import Deadline
from watchdog.net.errors import HttpError
from watchdog.net.secrets import SecretError
from watchdog.sources.http_client import HttpSource, at_address, secret_texts
from watchdog.sources.interval import Interval
from watchdog.sources.prometheus_answer import error_text, parse_vector
from watchdog.sources.series_limits import REFUSED_FACTOR
from watchdog.sources.source_model import MetricName

if TYPE_CHECKING:
    from watchdog.net.fetch import FetchedPage

_WITH_TEXT = frozenset({200, *range(400, 600)})
"""Statuses with which the API says in its body what is wrong."""
_WHOLE = {"partial_response": "false", "deny_partial_response": "1"}
"""Asks Thanos and VictoriaMetrics for all or nothing; others pass it over."""
_TENANT_HEADER = "X-Scope-OrgID"
_MAX_FOUND = 5

Query = Annotated[str, StringConstraints(min_length=1, max_length=10_000, strip_whitespace=True)]


class PrometheusSource(HttpSource):
    """What queries return at Prometheus, Mimir, Thanos or VictoriaMetrics."""

    reads_needed: ClassVar[int] = 1

    type: Literal["prometheus"]
    every: Interval = 15_000
    """Time from one read to the next."""
    max_bytes: int = Field(10 * 2**20, ge=1)
    """Most bytes of one answer, unpacked. A larger one is refused whole."""
    queries: dict[MetricName, Query] = Field(min_length=1)
    """Metric → PromQL. Each is asked as it stands: what the server knows and we do not, it may use."""
    tenant: str | None = Field(None, min_length=1, max_length=150)
    """Whose data, where a server keeps several apart (Mimir, Cortex): the header `X-Scope-OrgID`."""

    @model_validator(mode="after")
    def _validate_tenant(self) -> PrometheusSource:
        if self.tenant is not None:
            if any(name.lower() == _TENANT_HEADER.lower() for name in self.headers):
                raise ValueError(f"tenant and a header {_TENANT_HEADER} say the same thing — keep one")
            if not (self.tenant.isascii() and self.tenant.isprintable()):
                raise ValueError("a tenant has letters, digits and signs of ASCII")
        if urlsplit(self.url).query:
            raise ValueError("url is the server's root, without a query — write it in queries")
        return self

    def read(self, state: SourceState, cache: SourceCache, now: Millis) -> list[Sample]:  # noqa: ARG002
        """All answers, or none. A query that returns nothing delivers nothing. Cache: the connection."""
        deadline, samples = self.read_deadline(), list[Sample]()
        for name, query in self.queries.items():
            at = samples[0].t if samples else None  # all at one time, by the server's clock
            most = REFUSED_FACTOR * self.max_series - len(samples)
            samples += self._ask(name, query, cache, deadline, now, most, at)
        return samples

    def explain(self, now: Millis) -> list[Match]:
        """What each query returns."""
        deadline, cache = self.read_deadline(), SourceCache()
        matches = []
        for name, query in self.queries.items():
            try:
                found = self._ask(name, query, cache, deadline, now, REFUSED_FACTOR * self.max_series)
            except SourceError as error:
                matches.append(Match(f"queries.{name}", query, (), (), str(error)))
                continue
            shown = tuple(_show(sample) for sample in found[:_MAX_FOUND])
            matches.append(Match(f"queries.{name}", query, shown, (), "" if shown else "it returns nothing"))
        return matches

    def _ask(
        self,
        name: str,
        query: str,
        cache: SourceCache,
        deadline: Deadline,
        now: Millis,
        max_series: int,
        at: Millis | None = None,
    ) -> list[Sample]:
        url = f"{self.url.rstrip('/')}/api/v1/query"
        form = {"query": query, "timeout": f"{max(1, deadline.milliseconds_left())}ms", **_WHOLE}
        if at is not None:
            form["time"] = f"{at / 1_000:.3f}"
        try:
            headers = self.request_headers() | {"Content-Type": "application/x-www-form-urlencoded"}
            if self.tenant is not None:
                headers[_TENANT_HEADER] = self.tenant
            page = self.fetcher(cache).request(
                "POST", url, headers, deadline, self.max_bytes, urlencode(form).encode(), _WITH_TEXT
            )
        except (HttpError, SecretError) as error:
            raise SourceError(str(error)) from None
        hidden = secret_texts(headers)
        if page.status != 200:
            raise _refused(url, name, page, hidden)
        try:
            return parse_vector(page.body, name, now, max_series, hidden)
        except SourceError as fault:
            raise at_address(url, fault, f", query {name}") from None


def _refused(url: str, name: str, page: FetchedPage, hidden: Sequence[str]) -> SourceError:
    """An answer with another status: what the API says of it, else what the status means."""
    from watchdog.net.exchange_errors import status_error

    text = error_text(page.body, hidden)
    if text is None:
        return SourceError(str(status_error(url, page.status, None)))
    cure = "mend the query" if page.status in (400, 422) else "look at that server"
    return at_address(url, SourceError(f"{text} — {cure}"), f", query {name}")


def _show(sample: Sample) -> str:
    labels = ", ".join(f"{name}={quote_label(text)}" for name, text in sample.labels)
    return f"{{{labels}}} {sample.v:g}" if labels else f"{sample.v:g}"
