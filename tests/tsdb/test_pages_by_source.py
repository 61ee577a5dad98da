"""A selector that says whose series it wants is answered from those pages, and says what it would of all of them."""

from __future__ import annotations

from itertools import product

import pytest

from watchdog.core.model import Sample
from watchdog.core.pattern import whole_pattern
from watchdog.tsdb.head import Head
from watchdog.tsdb.labels import Matcher
from watchdog.tsdb.page import PageList

START = 1_700_000_000_000


def matcher(label: str, op: str, value: str) -> Matcher:
    return Matcher(label, op, value, whole_pattern(value) if "~" in op else None)  # type: ignore[arg-type]


@pytest.mark.parametrize("owners", [None, {"a": "bot", "b": "other"}])
def test_a_selector_finds_the_same_series_as_in_all_pages(owners: dict[str, str] | None) -> None:
    head = Head({"long": 3_600_000}, owners)
    said = [
        matcher(label, op, value)
        for label, op, value in product(("source", "target"), ("=", "!=", "=~", "!~"), ("a", "bot", "bot|", ""))
    ]

    def compare() -> None:
        for one, name in product(said, ("m", "long", "up", None)):
            found = [(each.page, each.keys) for each in head.select(name, (one,))]
            expected = [(each.page, each.keys) for each in PageList.select(PageList(head.pages), name, (one,))]
            assert found == expected, (one, name)

    for number, source in enumerate("abc"):
        samples = [Sample(name, (("target", "bot"),), START + number, 1.0) for name in ("m", "long")]
        head.ingest(source, START + number, samples)
        compare()
    head.set_target_by_source({"c": "bot"})
    compare()
    head.set_lookback({"m": 7_200_000})
    compare()
