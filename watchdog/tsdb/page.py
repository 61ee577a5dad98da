"""The read side of the series: what an evaluation is given.

A page holds series that were sampled together: one row of timestamps, one row of values per series. A cell that holds
no value is one of two NaNs, told apart from a measured NaN by their bits:

- `STALE`: the series was gone at that time, as Prometheus marks it. An instant selector that meets it finds nothing.
- `ABSENT`: the series says nothing about that time, because another series of the page brought the column. Selectors
  look past it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from watchdog.core.model import Labels, Millis
from watchdog.tsdb.labels import METRIC_NAME_LABEL, Matcher, labels_without_name

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Rows = slice | npt.NDArray[np.intp]

STALE_BITS = 0x7FF0000000000002
ABSENT_BITS = 0x7FF0000000000003
STALE = np.array(STALE_BITS, np.int64).view(np.float64)
ABSENT = np.array(ABSENT_BITS, np.int64).view(np.float64)
"""0-d arrays, not scalars: they are copied bit by bit, never through a float register that might quieten them."""

_MISSING_BITS = STALE_BITS >> 1
TIME_MIN: Millis = -(1 << 62)


NO_DOWNTIME: Ints = np.zeros((0, 2), np.int64)
"""Nothing was missed."""


def is_missing(v: Floats) -> Bools:
    """Which cells hold no value. Same shape; a measured NaN is a value."""
    return np.asarray((v.view(np.int64) >> 1) == _MISSING_BITS)


def shift_times(times: Ints, step: Millis) -> Ints:
    """Those that say something (neither `TIME_MIN` nor its like ahead), so much later."""
    return np.where(np.abs(times) == -TIME_MIN, times, times + step)


class SeriesPage:
    """Series that share one row of timestamps. Readers use the attributes and change nothing."""

    __slots__ = (
        "downtimes",
        "keys",
        "last_gap",
        "lookup_cache",
        "newest_gap",
        "rewrite_count",
        "source",
        "spacing_cache",
        "t",
        "trimmed_columns",
        "trimmed_until",
        "v",
        "watched_since",
    )

    t: Ints
    """[n] ms, strictly ascending."""
    v: Floats
    """[rows, n]; `STALE` and `ABSENT` where there is no value."""
    keys: list[Labels]
    """One per row, with `__name__`, sorted by label name."""
    watched_since: Ints
    """[rows] ms: since when each series has been watched, whether or not it was there. Survives trimming."""
    trimmed_until: Millis
    """Samples up to this time may have been forgotten."""
    last_gap: Ints
    """[rows] ms: newest cell without a value. Windows that begin later need no second look."""
    newest_gap: Millis
    """The greatest of `last_gap`."""
    downtimes: Ints
    """[n, 2] ms, ascending: when nobody watched since `watched_since`, from and until, see `WatchedSpans`."""
    trimmed_columns: int
    """Columns that were there and are gone on the left."""
    rewrite_count: int
    """Another number whenever anything changed but for columns that came on the right or went on the left."""

    source: str | None
    """Whose series these are, where several pages may hold series of one source: what one of them was last told, all were, also
    those that had gone by then. None: this page has them all."""
    spacing_cache: tuple[Ints, int, int, Millis] | None
    """A stretch of these very `t` (from, until before) that was found to be at equal distances, and the distance."""
    lookup_cache: list[tuple[Ints, Ints, dict[str, Any]]]
    """These very `t`, the times they were last asked for, and where those lie."""

    def __init__(self, t: Ints, v: Floats, keys: Sequence[Labels], watched_since: Millis | Ints) -> None:
        """`watched_since`: for all rows, or one each."""
        self.spacing_cache = self.source = None
        self.lookup_cache = []
        self.t, self.v, self.keys, self.trimmed_until = t, v, list(keys), TIME_MIN
        self.watched_since = np.array(np.broadcast_to(np.asarray(watched_since, np.int64), (len(self.keys),)))
        self.downtimes = NO_DOWNTIME
        self.trimmed_columns = self.rewrite_count = 0
        self.update_gaps()

    @property
    def first_watched(self) -> Millis:
        """Since when the longest watched series of the page has been watched."""
        return int(self.watched_since.min()) if self.watched_since.size else TIME_MIN

    def update_gaps(self) -> None:
        """Works out `last_gap` and `newest_gap` anew from all cells."""
        self.last_gap = np.full(len(self.keys), TIME_MIN, np.int64)
        holes = is_missing(self.v)
        rows = np.flatnonzero(holes.any(axis=1))
        if rows.size:
            self.last_gap[rows] = self.t[self.t.size - 1 - np.argmax(holes[rows, ::-1], axis=1)]
        self.newest_gap = int(self.last_gap.max()) if self.last_gap.size else TIME_MIN

    def rows_where(self, accepts: Callable[[Labels], bool]) -> list[int]:
        """Rows whose key is accepted, ascending."""
        return [row for row, key in enumerate(self.keys) if accepts(key)]

    def rows_named(self, name: str) -> Iterable[int]:
        """Rows of one metric, ascending. Pages with many rows keep an index."""
        return self.rows_where(lambda key: (METRIC_NAME_LABEL, name) in key)


def page_from_samples(samples: Mapping[Labels, Iterable[tuple[Millis, float]]], watched_since: Millis) -> SeriesPage:
    """A page from whole series: key (with `__name__`, sorted) → points, in any order. For replays and tests."""
    series = {key: sorted(dict(points).items()) for key, points in samples.items()}
    t = np.array(sorted({at for points in series.values() for at, _ in points}), np.int64)
    v = np.full((len(series), t.size), ABSENT, np.float64)
    for row, points in enumerate(series.values()):
        if points:
            v[row, np.searchsorted(t, [at for at, _ in points])] = np.array([value for _, value in points], np.float64)
    return SeriesPage(t, v, list(series), watched_since)


@dataclass(frozen=True, slots=True, eq=False)
class PageSelection:
    """The rows of one page that a selector reads."""

    page: SeriesPage
    rows: Rows
    """A slice where they lie side by side, which costs no copy."""
    keys: tuple[Labels, ...]
    keys_without_name: tuple[Labels, ...]
    """The keys without `__name__`."""
    watched_since: Millis
    """Since when all of them have been watched."""


class Querier(Protocol):
    """Where an evaluation finds its pages."""

    @property
    def generation(self) -> object:
        """Another object whenever a selector might pick other rows than before."""
        ...

    def select(self, name: str | None, matchers: tuple[Matcher, ...]) -> Sequence[PageSelection]:
        """The pages with series that match, and their rows there. `name` None: any metric."""
        ...


class PageList:
    """Series held as a plain list of pages. Call `invalidate` after rows or pages came or went."""

    def __init__(self, pages: Iterable[SeriesPage] = ()) -> None:
        self.pages: list[SeriesPage] = list(pages)
        self.generation: object = object()

    def invalidate(self) -> None:
        self.generation = object()

    def pages_where(self, matchers: tuple[Matcher, ...]) -> Sequence[SeriesPage]:  # noqa: ARG002 - who knows more does better
        """All pages with series that match, and maybe others."""
        return self.pages

    def select(self, name: str | None, matchers: tuple[Matcher, ...]) -> Sequence[PageSelection]:
        picked = []
        for page in self.pages_where(matchers):
            rows = list(page.rows_where(partial(_matches_all, matchers)) if name is None else page.rows_named(name))
            if name is not None and matchers:
                rows = [row for row in rows if _matches_all(matchers, page.keys[row])]
            if rows:
                picked.append(_select_rows(page, rows))
        return picked


def _matches_all(matchers: tuple[Matcher, ...], key: Labels) -> bool:
    labels = dict(key)
    return all(matcher.matches(labels.get(matcher.label, "")) for matcher in matchers)


def _select_rows(page: SeriesPage, rows: list[int]) -> PageSelection:
    keys = tuple(page.keys[row] for row in rows)
    together = rows[-1] - rows[0] + 1 == len(rows)
    chosen: Rows = slice(rows[0], rows[-1] + 1) if together else np.array(rows, np.intp)
    return PageSelection(
        page, chosen, keys, tuple(map(labels_without_name, keys)), int(page.watched_since[chosen].max())
    )
