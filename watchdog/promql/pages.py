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

from watchdog.model import Labels, Millis
from watchdog.promql.nodes import NAME, Matcher

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Rows = slice | npt.NDArray[np.intp]

STALE_BITS = 0x7FF0000000000002
ABSENT_BITS = 0x7FF0000000000003
STALE = np.array(STALE_BITS, np.int64).view(np.float64)
ABSENT = np.array(ABSENT_BITS, np.int64).view(np.float64)
"""0-d arrays, not scalars: they are copied bit by bit, never through a float register that might quieten them."""

_EITHER = STALE_BITS >> 1
NEVER: Millis = -(1 << 62)


WATCHED: Ints = np.zeros((0, 2), np.int64)
"""Nothing was missed."""


def missing(v: Floats) -> Bools:
    """Which cells hold no value. Same shape; a measured NaN is a value."""
    return np.asarray((v.view(np.int64) >> 1) == _EITHER)


class Page:
    """Series that share one row of timestamps. Readers use the attributes and change nothing."""

    __slots__ = (
        "begins",
        "forgotten",
        "gap",
        "gap_max",
        "keys",
        "looked",
        "paced",
        "rewritten",
        "t",
        "trimmed",
        "unwatched",
        "v",
    )

    t: Ints
    """[n] ms, strictly ascending."""
    v: Floats
    """[rows, n]; `STALE` and `ABSENT` where there is no value."""
    keys: list[Labels]
    """One per row, with `__name__`, sorted by label name."""
    begins: Ints
    """[rows] ms: since when each series has been watched, whether or not it was there. Survives trimming."""
    trimmed: Millis
    """Samples up to this time may have been forgotten."""
    gap: Ints
    """[rows] ms: newest cell without a value. Windows that begin later need no second look."""
    gap_max: Millis
    """The greatest of `gap`."""
    unwatched: Ints
    """[n, 2] ms, ascending: when nobody watched since `begins`, from and until; the watchdog was down."""
    forgotten: int
    """Columns that were there and are gone on the left."""
    rewritten: int
    """Another number whenever anything changed but for columns that came on the right or went on the left."""

    paced: tuple[Ints, int, int, Millis] | None
    """A stretch of these very `t` (from, until before) that was found to be at equal distances, and the distance."""
    looked: list[tuple[Ints, Ints, dict[str, Any]]]
    """These very `t`, the times they were last asked for, and where those lie."""

    def __init__(self, t: Ints, v: Floats, keys: Sequence[Labels], begin: Millis | Ints) -> None:
        """`begin`: for all rows, or one each."""
        self.paced = None
        self.looked = []
        self.t, self.v, self.keys, self.trimmed = t, v, list(keys), NEVER
        self.begins = np.array(np.broadcast_to(np.asarray(begin, np.int64), (len(self.keys),)))
        self.unwatched = WATCHED
        self.forgotten = self.rewritten = 0
        self.mind_gaps()

    @property
    def begin(self) -> Millis:
        """Since when the longest watched series of the page has been watched."""
        return int(self.begins.min()) if self.begins.size else NEVER

    def mind_gaps(self) -> None:
        """Works out `gap` and `gap_max` anew from all cells."""
        self.gap = np.full(len(self.keys), NEVER, np.int64)
        holes = missing(self.v)
        rows = np.flatnonzero(holes.any(axis=1))
        if rows.size:
            self.gap[rows] = self.t[self.t.size - 1 - np.argmax(holes[rows, ::-1], axis=1)]
        self.gap_max = int(self.gap.max()) if self.gap.size else NEVER

    def rows_where(self, accepts: Callable[[Labels], bool]) -> list[int]:
        """Rows whose key is accepted, ascending."""
        return [row for row, key in enumerate(self.keys) if accepts(key)]

    def rows_named(self, name: str) -> Iterable[int]:
        """Rows of one metric, ascending. Pages with many rows keep an index."""
        return self.rows_where(lambda key: (NAME, name) in key)


def page_of(samples: Mapping[Labels, Iterable[tuple[Millis, float]]], begin: Millis) -> Page:
    """A page from whole series: key (with `__name__`, sorted) → points, in any order. For replays and tests."""
    series = {key: sorted(dict(points).items()) for key, points in samples.items()}
    t = np.array(sorted({at for points in series.values() for at, _ in points}), np.int64)
    v = np.full((len(series), t.size), ABSENT, np.float64)
    for row, points in enumerate(series.values()):
        if points:
            v[row, np.searchsorted(t, [at for at, _ in points])] = np.array([value for _, value in points], np.float64)
    return Page(t, v, list(series), begin)


@dataclass(frozen=True, slots=True, eq=False)
class Picked:
    """The rows of one page that a selector reads."""

    page: Page
    rows: Rows
    """A slice where they lie side by side, which costs no copy."""
    keys: tuple[Labels, ...]
    bare: tuple[Labels, ...]
    """The keys without `__name__`."""
    begin: Millis
    """Since when all of them have been watched."""


class Series(Protocol):
    """Where an evaluation finds its pages."""

    @property
    def generation(self) -> object:
        """Another object whenever a selector might pick other rows than before."""
        ...

    def select(self, name: str | None, matchers: tuple[Matcher, ...]) -> Sequence[Picked]:
        """The pages with series that match, and their rows there. `name` None: any metric."""
        ...


class Pages:
    """Series held as a plain list of pages. Call `changed` after rows or pages came or went."""

    def __init__(self, pages: Iterable[Page] = ()) -> None:
        self.pages: list[Page] = list(pages)
        self.generation: object = object()

    def changed(self) -> None:
        self.generation = object()

    def select(self, name: str | None, matchers: tuple[Matcher, ...]) -> Sequence[Picked]:
        picked = []
        for page in self.pages:
            rows = list(page.rows_where(partial(_all, matchers)) if name is None else page.rows_named(name))
            if name is not None and matchers:
                rows = [row for row in rows if _all(matchers, page.keys[row])]
            if rows:
                picked.append(_pick(page, rows))
        return picked


def _all(matchers: tuple[Matcher, ...], key: Labels) -> bool:
    labels = dict(key)
    return all(matcher.accepts(labels.get(matcher.label, "")) for matcher in matchers)


def _pick(page: Page, rows: list[int]) -> Picked:
    keys = tuple(page.keys[row] for row in rows)
    together = rows[-1] - rows[0] + 1 == len(rows)
    chosen: Rows = slice(rows[0], rows[-1] + 1) if together else np.array(rows, np.intp)
    return Picked(page, chosen, keys, tuple(map(bare, keys)), int(page.begins[chosen].max()))


def bare(key: Labels) -> Labels:
    """The labels without the metric's name."""
    return tuple(pair for pair in key if pair[0] != NAME)
