"""A few words for writing series down, and for asking one expression at one time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from watchdog.model import Labels
from watchdog.promql import Pages, Result, evaluate, page_of, parse
from watchdog.promql.nodes import NAME
from watchdog.promql.pages import STALE_BITS

GONE = float(np.array(STALE_BITS, np.int64).view(np.float64))
"""The stale marker, as a source would send it."""

Written = Mapping[str, Iterable[tuple[float, float]]]


def key(series: str) -> Labels:
    """``m{a=x,b=y}`` → labels with the name."""
    name, _, rest = series.partition("{")
    pairs = [pair.partition("=") for pair in rest.rstrip("}").split(",") if pair]
    return tuple(sorted([(NAME, name), *((label, value) for label, _, value in pairs)]))


def labels(text: str) -> Labels:
    """``a=x,b=y`` → labels."""
    return tuple(sorted((pair.split("=")[0], pair.split("=")[1]) for pair in text.split(",") if pair))


def pages(*written: Written, begin: float = 0) -> Pages:
    """One page for each: series → points as (seconds, value)."""
    return Pages(
        page_of(
            {key(name): [(round(t * 1_000), v) for t, v in points] for name, points in page.items()}, int(begin * 1_000)
        )
        for page in written
    )


def every(step: float, values: Iterable[float], start: float = 0) -> list[tuple[float, float]]:
    """Points at equal distance."""
    return [(start + step * i, value) for i, value in enumerate(values)]


def run(text: str, series: Pages, *times: float, since: float | None = None) -> Result:
    at = np.array([round(t * 1_000) for t in times], np.int64)
    return evaluate(parse(text), series, at, None if since is None else round(since * 1_000))


def at(text: str, series: Pages, t: float, since: float | None = None) -> dict[Labels, float]:
    """The instant vector, without names."""
    return run(text, series, t, since=since).at(0)


def number(text: str, series: Pages, t: float, since: float | None = None) -> float | None:
    """The value of the only series, None when there is none."""
    found = at(text, series, t, since)
    assert len(found) <= 1
    return next(iter(found.values()), None)
