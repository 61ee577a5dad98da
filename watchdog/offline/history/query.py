"""One question to series of the past or of now: when, and what the answer looks like to programs."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from watchdog.core.model import Labels, Millis
from watchdog.core.units import parse_duration
from watchdog.offline.history import series_db
from watchdog.offline.history.page_builder import HistoryError, PageBuilder
from watchdog.offline.history.text_format import parse_time
from watchdog.promql import QueryResult, evaluate, metric_names, parse, required_lookback
from watchdog.tsdb.labels import METRIC_NAME_LABEL
from watchdog.tsdb.page import Ints, PageList, SeriesPage

MAX_POINTS = 11_000
"""Times that one question may ask for; as many as Prometheus answers."""
_MAX_SAMPLES = 20_000_000
"""Samples of the past that one question may read in the daemon: 320 MB for a moment."""
_DEFAULT_POINTS = 300
"""Times that are asked for when no step is said."""


class QueryTimes(NamedTuple):
    """What a person said: texts as they stand on the command line or in an address; None where nothing was said."""

    at: str | None = None
    start: str | None = None
    end: str | None = None
    step: str | None = None

    def times(self, now: Millis) -> Ints:
        """The times asked for, ms, ascending. `now`: what ``now`` means, and the end when none is said.

        Raises HistoryError with the cure.
        """
        if self.start is None:
            if self.end is not None or self.step is not None:
                raise HistoryError("--to and --step belong to --from — say when it begins, or --at for one time")
            return np.array([parse_moment(self.at or "now", now)], np.int64)
        if self.at is not None:
            raise HistoryError("--at is one time and --from many — say one of them")
        start, end = parse_moment(self.start, now), parse_moment(self.end or "now", now)
        if end < start:
            raise HistoryError("--to lies before --from — swap them")
        step = (
            max(1_000, math.ceil((end - start) / _DEFAULT_POINTS / 1_000) * 1_000)
            if self.step is None
            else parse_step(self.step)
        )
        if (end - start) // step + 1 > MAX_POINTS:
            least = math.ceil((end - start) / (MAX_POINTS - 1) / 1_000)
            raise HistoryError(f"that is more than {MAX_POINTS} times — take a --step of at least {least}s")
        return start + step * np.arange((end - start) // step + 1, dtype=np.int64)


def parse_moment(text: str, now: Millis) -> Millis:
    """``now``, ``now-1h30m``, or a time as it stands in a file → ms. Raises HistoryError with the cure."""
    relative = re.fullmatch(r"\s*now\s*+(?:-\s*(\S+)\s*)?", text)
    try:
        if relative is None:
            return parse_time(text)
        return now - (parse_duration(relative[1]) if relative[1] else 0)
    except ValueError as error:
        raise HistoryError(f"{error}; or now-1h") from None


def parse_step(text: str) -> Millis:
    """A step. Raises HistoryError."""
    try:
        step = parse_duration(text)
    except ValueError as error:
        raise HistoryError(str(error)) from None
    if step < 1:
        raise HistoryError("a step of nothing leads nowhere — say 1s or more")
    return step


def run_query(text: str, series: PageList, times: Ints) -> tuple[QueryResult, dict[str, Any]]:
    """The result, and as JSON: times in ms; per series its labels and a value for each time, null where there is none.

    Numbers that JSON does not know are the texts "NaN", "+Inf" and "-Inf". Raises PromqlError.
    """
    result = evaluate(parse(text), series, times)
    as_json = {
        "expr": text,
        "times": times.tolist(),
        "series": [
            {
                "labels": dict(key),
                "values": [_json_value(v) if there else None for v, there in zip(values, present, strict=True)],
            }
            for key, values, present in zip(result.keys, result.values.tolist(), result.present.tolist(), strict=True)
        ],
    }
    return result, as_json


def metrics_in(text: str) -> set[str]:
    """The metrics that an expression reads. Raises PromqlError."""
    return metric_names(parse(text))


def copy_pages(series: PageList, names: Collection[str]) -> PageList:
    """A copy of all series of these metrics; ``""``: of everything. For readers in another thread."""
    copied = []
    for page in series.pages:
        rows = [row for row, key in enumerate(page.keys) if "" in names or dict(key)[METRIC_NAME_LABEL] in names]
        if rows:
            keys: list[Labels] = [page.keys[row] for row in rows]
            mine = SeriesPage(page.t.copy(), page.v[rows], keys, page.watched_since[rows])
            mine.trimmed_until, mine.downtimes = page.trimmed_until, page.downtimes.copy()
            copied.append(mine)
    return PageList(copied)


def with_stored_history(path: Path, text: str, series: PageList, times: Ints) -> PageList:
    """`series`, which are a copy of what is in memory, and before that what series.db holds, where that is read.

    Raises HistoryError when that would be too much, PromqlError.
    """
    after = int(times[0]) - max(required_lookback(parse(text)).values(), default=0)
    if series.pages and all(page.trimmed_until <= after for page in series.pages):
        return series
    if not series_db.is_series_db(path):
        return series
    found = PageBuilder("")
    for page in (
        *series.pages,
        *series_db.read_pages(path, metrics_in(text), after, int(times[-1]), max_samples=_MAX_SAMPLES),
    ):
        found.add_page(page)
    return found.build()


def _json_value(v: float) -> float | str:
    return v if math.isfinite(v) else "NaN" if v != v else "+Inf" if v > 0 else "-Inf"
