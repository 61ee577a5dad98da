"""The past as files and servers tell it → Pages, for everything that asks about the past: query and replay.

One file a format: `series_db` for our series.db, `csv_format` for CSV, `text_format` and `openmetrics` for what
Prometheus writes, `prometheus_api` for a range API; `page_builder` is where their samples come together.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from watchdog.core.model import Millis
from watchdog.offline.history import csv_format, openmetrics, prometheus_api, series_db
from watchdog.offline.history.page_builder import HistoryError, PageBuilder, QueryRange
from watchdog.offline.history.text_format import Chunk, is_csv, read_chunks, read_lines
from watchdog.promql.eval.window_columns import cached_spacing
from watchdog.tsdb.block_reader import TIME_MAX as _EVER
from watchdog.tsdb.labels import SOURCE_LABEL, retarget_key
from watchdog.tsdb.page import Ints, PageList

__all__ = ["HistoryError", "QueryRange", "last_sample_time", "load", "page_intervals", "sample_interval", "time_span"]

ALL_TIME = (-_EVER, _EVER)
DEFAULT_SOURCE = "history"
"""The `source` label of series that bring none."""


def load(
    names: Sequence[str],
    *,
    metrics: Collection[str] = (),
    span: QueryRange | None = None,
    source: str = DEFAULT_SOURCE,
    within: tuple[Millis, Millis] = ALL_TIME,
    target_by_source: Mapping[str, str] | None = None,
    max_samples: int | None = None,
) -> PageList:
    """Everything that files and servers know of the past, as one.

    `names`: paths of files, or addresses (http://…) of Prometheus-compatible servers. `metrics` and `span`: what a
    server is asked for, and when; it cannot be asked for everything. Of a series.db, `metrics` are read and what lies
    `within` (after, until). `target_by_source`: whose each source is by now; what it said
    before is that target's, too. `max_samples`: of a single series.db, more than that are refused. Raises HistoryError with the
    place and the cure.
    """
    pages = _load(names, metrics, span, source, within, max_samples)
    if target_by_source:
        for page in pages.pages:
            page.keys = [
                retarget_key(key, target_by_source) if dict(key).get(SOURCE_LABEL) in target_by_source else key
                for key in page.keys
            ]
    return pages


def _load(
    names: Sequence[str],
    metrics: Collection[str],
    span: QueryRange | None,
    source: str,
    within: tuple[Millis, Millis],
    max_samples: int | None,
) -> PageList:
    if len(names) == 1 and series_db.is_series_db(Path(names[0])):
        return PageList(series_db.read_pages(Path(names[0]), metrics, *within, max_samples=max_samples))
    found = PageBuilder(source)
    for name in names:
        if name.startswith(("http://", "https://")):
            if span is None:
                raise HistoryError(f"{name}: a server is asked for a time — say --from, --to and --step")
            prometheus_api.fetch_series(name, sorted(metrics), span, found)
            continue
        path = Path(name)
        if series_db.is_series_db(path):
            for page in series_db.read_pages(path, metrics, *within):
                found.add_page(page)
            continue
        chunks = read_chunks(path)
        first = next(chunks, Chunk(1, ""))
        if is_csv(path, first.text.partition("\n")[0]):
            csv_format.parse_csv(name, itertools.chain([first], chunks), found)
        else:
            openmetrics.parse_openmetrics(name, read_lines(path), found)
    return found.build()


def last_sample_time(names: Sequence[str]) -> Millis | None:
    """When the history ends, where all of it is a series.db: known without reading it. Raises HistoryError."""
    if not all(series_db.is_series_db(Path(name)) for name in names):
        return None
    return max((t for name in names if (t := series_db.last_sample_time(Path(name))) is not None), default=None)


def time_span(pages: PageList) -> tuple[int, int]:
    """First and last sample time, ms. Raises HistoryError when there is no sample at all."""
    held = [page.t for page in pages.pages if page.t.size]
    if not held:
        raise HistoryError("the history holds no sample — check the files")
    return min(int(t[0]) for t in held), max(int(t[-1]) for t in held)


def page_intervals(pages: PageList) -> dict[int, int]:
    """By the id of a page: ms between two of its samples, where it has two."""
    return {
        id(page): cached_spacing(page, 0, page.t.size) or _median_gap(page.t) for page in pages.pages if page.t.size > 1
    }


def sample_interval(pages: PageList, metrics: Collection[str], intervals: Mapping[int, int]) -> int:
    """ms between two samples, where they come slowest: over the pages that hold one of these metrics, else over all.

    0 when nowhere two samples are held. ``""`` among the metrics: all pages. `intervals`: the `page_intervals` of the pages.
    """
    named = [
        intervals[id(page)]
        for page in pages.pages
        if id(page) in intervals and any(any(True for _ in page.rows_named(name)) for name in metrics if name)
    ]
    chosen = named if named and "" not in metrics else intervals.values()
    return max(chosen, default=0)


def _median_gap(t: Ints) -> int:
    """The median distance of neighbours; of a hundred thousand of them, spread over all, where they are more."""
    some = max(1, t.size // 100_000)
    gaps = t[1::some] - t[:-1:some][: t[1::some].size]
    least = int(gaps.min())
    return least if least == int(gaps.max()) else int(np.median(gaps))
