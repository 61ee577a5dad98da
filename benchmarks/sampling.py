"""Keeping a scrape of 50 series: reading the page, parsing it, keeping what it says."""

from __future__ import annotations

import requests
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.bot import apart, page_text
from benchmarks.data import gauges
from benchmarks.evaluator import Feed
from benchmarks.measure import nothing, rate
from benchmarks.table import Row
from watchdog.series import Store
from watchdog.sources import exposition
from watchdog.sources.scrape import Scrape


def rows(seconds: float) -> list[Row]:
    page = page_text(breach=False)
    store = Store({"gauge": 300_000})
    feed = Feed(store, gauges(50, 420))
    batch = feed.next()

    last = exposition.Remembered()

    def parse() -> int:
        exposition.samples(page, 0, last)
        return 1

    def parse_theirs() -> int:
        return min(1, sum(len(family.samples) for family in text_string_to_metric_families(page.decode())))

    def advance() -> None:
        batch[:] = feed.next()

    def keep() -> int:
        store.keep("bot", feed.now, batch)
        return 1

    parsed, parsed_theirs = rate(nothing, parse, seconds), rate(nothing, parse_theirs, seconds)
    kept = rate(advance, keep, seconds)
    with apart() as url:
        source, session = Scrape(type="scrape", url=url), requests.Session()
        session.trust_env = False
        memo: dict[str, object] = {}

        def read() -> int:
            return min(1, len(source.read(memo, 0)))

        def read_theirs() -> int:
            text = session.get(url, timeout=10).text
            return min(1, sum(len(family.samples) for family in text_string_to_metric_families(text)))

        whole, whole_theirs = rate(nothing, read, seconds), rate(nothing, read_theirs, seconds)
        session.close()
    client, both = "prometheus_client", "requests + prometheus_client"
    return [
        Row("page of 50 series: parse", 1e6 / parsed, "µs", {client: 1e6 / parsed_theirs}, more_is_better=False),
        Row("page of 50 series: fetch and parse", 1e6 / whole, "µs", {both: 1e6 / whole_theirs}, more_is_better=False),
        Row("page of 50 series: keep", 1e6 / kept, "µs", more_is_better=False),
    ]
