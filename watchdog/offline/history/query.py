"""One question to series of the past or of now: when, and what the answer looks like to programs."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from watchdog.core.model import Millis
from watchdog.core.units import json_number, parse_duration
from watchdog.offline.history import series_db
from watchdog.offline.history.page_builder import HistoryError, PageBuilder
from watchdog.offline.history.text_format import parse_time
from watchdog.promql import (
    EvaluationLimits,
    Expr,
    QueryResult,
    evaluate,
    metric_names,
    parse,
    reads_beyond,
    required_lookback,
)
from watchdog.tsdb import block_reader
from watchdog.tsdb.page import Ints, PageList, Querier

MAX_POINTS = 11_000
"""Times that one question may ask for; as many as Prometheus answers."""
MAX_SAMPLES = 20_000_000
"""Samples of the past that one question may read in the daemon: 320 MB for a moment."""
EVER: Millis = block_reader.TIME_MAX
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


class ReadRange(NamedTuple):
    """What of the past an expression reads at some times."""

    metrics: frozenset[str]
    """``""``: of every metric."""
    after: Millis
    until: Millis
    """Samples with ``after < t <= until``."""


def find_read_range(expr: Expr, times: Ints) -> ReadRange:
    longest = max(required_lookback(expr).values(), default=0)
    until = EVER if reads_beyond(expr) else int(times[-1])
    return ReadRange(frozenset(metric_names(expr)), int(times[0]) - longest, until)


def run_query(
    text: str, series: Querier, times: Ints, limits: EvaluationLimits | None = None
) -> tuple[QueryResult, dict[str, Any]]:
    """The result, and as JSON: times in ms; per series its labels and a value for each time, null where there is none.

    Numbers that JSON does not know are the texts "NaN", "+Inf" and "-Inf". Raises PromqlError.
    """
    result = evaluate(parse(text), series, times, limits=limits)
    return result, {"expr": text, "times": times.tolist(), "series": list(_series_as_json(result))}


def encode_answer(text: str, times: Ints, result: QueryResult, max_bytes: int) -> bytes:
    """The JSON of `run_query` as text. Raises HistoryError as soon as it would be longer."""
    head = json.dumps({"expr": text, "times": times.tolist()}, ensure_ascii=False, separators=(",", ":"))
    parts = [head[:-1].encode(errors="replace") + b',"series":[']
    size = len(parts[0]) + len(b"]}")
    least = size + 2 * result.values.size  # a digit and a comma for each
    for number, one in enumerate(_series_as_json(result) if least <= max_bytes else ()):
        encoded = json.dumps(one, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
        parts.append(b"," + encoded if number else encoded)
        size += len(parts[-1])
        if size > max_bytes:
            break
    if max(size, least) > max_bytes:
        cells = f"{len(result.keys):,} series × {times.size:,} times"
        raise HistoryError(
            f"the answer of {cells} is more than {max_bytes >> 20} MiB — ask for fewer series, or a longer step"
        )
    return b"".join(parts) + b"]}"


def _series_as_json(result: QueryResult) -> Iterator[dict[str, Any]]:
    for row, key in enumerate(result.keys):
        cells = zip(result.values[row].tolist(), result.present[row].tolist(), strict=True)
        yield {"labels": dict(key), "values": [json_number(v) if there else None for v, there in cells]}


def metrics_in(text: str) -> set[str]:
    """The metrics that an expression reads. Raises PromqlError."""
    return metric_names(parse(text))


def with_stored_history(path: Path, series: PageList, reads: ReadRange) -> PageList:
    """`series`, which are a copy of what is in memory, and before that what series.db holds, where that is read.

    Raises HistoryError when that would be too much.
    """
    if series.pages and all(page.trimmed_until <= reads.after for page in series.pages):
        return series
    if not series_db.is_series_db(path):
        return series
    found = PageBuilder("")
    stored = series_db.read_pages(path, reads.metrics, reads.after, reads.until, max_samples=MAX_SAMPLES)
    for page in (*series.pages, *stored):
        found.add_page(page)
    return found.build()
