"""A copy of what some expression reads, for readers elsewhere: made in slices, so that whoever owns the pages is not held up."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable
from typing import NamedTuple

import numpy as np

from watchdog.core.model import Labels, Millis
from watchdog.tsdb.page import Floats, Ints, SeriesPage

_SLICE_CELLS = 250_000
"""Values that are copied at once: 2 MB, about a millisecond."""


class PageCopy(NamedTuple):
    """What a page was, a stretch of it: see `SeriesPage`."""

    t: Ints
    v: Floats
    keys: list[Labels]
    watched_since: Ints
    trimmed_until: Millis
    downtimes: Ints

    def page(self) -> SeriesPage:
        made = SeriesPage(self.t, self.v, self.keys, self.watched_since)
        made.trimmed_until, made.downtimes = self.trimmed_until, self.downtimes
        return made


class _Stretch(NamedTuple):
    rows: list[int]
    t: Ints
    """The page's own: to be copied before anything changes."""


def count_cells(pages: Iterable[SeriesPage], names: Collection[str], after: Millis, until: Millis) -> int:
    """How many values `copy_in_slices` would copy."""
    return sum(len(part.rows) * part.t.size for part in (_find(page, names, after, until) for page in pages))


def copy_in_slices(
    pages: Iterable[SeriesPage], names: Collection[str], after: Millis, until: Millis
) -> Generator[None, None, list[PageCopy]]:
    """The series of these metrics (``""``: all) with ``after < t <= until``, as the generator's return value.

    Between two yields the pages may grow and be trimmed. A page of which rows or columns went meanwhile is begun again.
    """
    copied = []
    for page in list(pages):
        while (part := _find(page, names, after, until)).rows and part.t.size:
            rows, keys, t = part.rows, page.keys, part.t.copy()
            made = PageCopy(
                t,
                np.empty((len(rows), t.size)),
                [keys[row] for row in rows],
                page.watched_since[rows],
                page.trimmed_until,
                page.downtimes.copy(),
            )
            some = max(1, _SLICE_CELLS // t.size)
            for start in range(0, len(rows), some):
                first = int(page.t.searchsorted(t[0]))
                if page.keys is not keys or not np.array_equal(page.t[first : first + t.size], t):
                    break
                made.v[start : start + some] = page.v[rows[start : start + some], first : first + t.size]
                yield
            else:
                copied.append(made)
                break
    return copied


def _find(page: SeriesPage, names: Collection[str], after: Millis, until: Millis) -> _Stretch:
    rows = (
        list(range(len(page.keys))) if "" in names else sorted(row for name in names for row in page.rows_named(name))
    )
    first, last = page.t.searchsorted([after, until], "right").tolist()
    return _Stretch(rows, page.t[first:last])
