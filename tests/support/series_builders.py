"""A few words for writing series down, and for asking one expression at one time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from watchdog.core.model import Labels
from watchdog.promql import QueryResult, evaluate, parse
from watchdog.tsdb.labels import METRIC_NAME_LABEL
from watchdog.tsdb.page import STALE_BITS, PageList, page_from_samples

STALE_MARKER = float(np.array(STALE_BITS, np.int64).view(np.float64))
"""The stale marker, as a source would send it."""

SeriesPoints = Mapping[str, Iterable[tuple[float, float]]]


def series_key(series: str) -> Labels:
    """``m{a=x,b=y}`` → labels with the name."""
    name, _, rest = series.partition("{")
    pairs = [pair.partition("=") for pair in rest.rstrip("}").split(",") if pair]
    return tuple(sorted([(METRIC_NAME_LABEL, name), *((label, value) for label, _, value in pairs)]))


def parse_labels(text: str) -> Labels:
    """``a=x,b=y`` → labels."""
    return tuple(sorted((pair.split("=")[0], pair.split("=")[1]) for pair in text.split(",") if pair))


def make_pages(*written: SeriesPoints, begin: float = 0) -> PageList:
    """One page for each: series → points as (seconds, value)."""
    return PageList(
        page_from_samples(
            {series_key(name): [(round(t * 1_000), v) for t, v in points] for name, points in page.items()},
            int(begin * 1_000),
        )
        for page in written
    )


def evenly_spaced(step: float, values: Iterable[float], start: float = 0) -> list[tuple[float, float]]:
    """Points at equal distance."""
    return [(start + step * i, value) for i, value in enumerate(values)]


def evaluate_times(text: str, series: PageList, *times: float, since: float | None = None) -> QueryResult:
    at = np.array([round(t * 1_000) for t in times], np.int64)
    return evaluate(parse(text), series, at, None if since is None else round(since * 1_000))


def instant_vector(text: str, series: PageList, t: float, since: float | None = None) -> dict[Labels, float]:
    """The instant vector, without names."""
    return evaluate_times(text, series, t, since=since).vector_at(0)


def single_value(text: str, series: PageList, t: float, since: float | None = None) -> float | None:
    """The value of the only series, None when there is none."""
    found = instant_vector(text, series, t, since)
    assert len(found) <= 1
    return next(iter(found.values()), None)
