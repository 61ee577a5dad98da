"""Keeping a scrape of 50 series: reading the page, parsing it, keeping what it says."""

from __future__ import annotations

import requests
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.cases import make_gauges
from benchmarks.evaluator import SampleFeed
from benchmarks.measure import measure_rate, no_preparation
from benchmarks.metrics_server import metrics_text, separate_process
from benchmarks.table import TableRow
from watchdog.sources import exposition
from watchdog.sources.scrape import ScrapeSource
from watchdog.tsdb.head import Head


def measure_rows(seconds: float) -> list[TableRow]:
    page = metrics_text(breach=False)
    store = Head({"gauge": 300_000})
    feed = SampleFeed(store, make_gauges(50, 420))
    batch = feed.next_samples()

    last = exposition.PageCache()

    def parse() -> int:
        exposition.parse_samples(page, 0, last)
        return 1

    def parse_theirs() -> int:
        return min(1, sum(len(family.samples) for family in text_string_to_metric_families(page.decode())))

    def advance() -> None:
        batch[:] = feed.next_samples()

    def keep() -> int:
        store.ingest("bot", feed.now, batch)
        return 1

    parsed, parsed_theirs = (
        measure_rate(no_preparation, parse, seconds),
        measure_rate(no_preparation, parse_theirs, seconds),
    )
    kept = measure_rate(advance, keep, seconds)
    with separate_process() as url:
        source, session = ScrapeSource(type="scrape", url=url), requests.Session()
        session.trust_env = False
        cache: dict[str, object] = {}

        def read() -> int:
            return min(1, len(source.read({}, cache, 0)))

        def read_theirs() -> int:
            text = session.get(url, timeout=10).text
            return min(1, sum(len(family.samples) for family in text_string_to_metric_families(text)))

        whole, whole_theirs = (
            measure_rate(no_preparation, read, seconds),
            measure_rate(no_preparation, read_theirs, seconds),
        )
        session.close()
    client, both = "prometheus_client", "requests + prometheus_client"
    return [
        TableRow("page of 50 series: parse", 1e6 / parsed, "µs", {client: 1e6 / parsed_theirs}, more_is_better=False),
        TableRow(
            "page of 50 series: fetch and parse", 1e6 / whole, "µs", {both: 1e6 / whole_theirs}, more_is_better=False
        ),
        TableRow("page of 50 series: keep", 1e6 / kept, "µs", more_is_better=False),
    ]
