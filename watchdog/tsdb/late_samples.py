"""Samples that come long after their time, as a source tells them of a time that the watchdog slept through.

No expression looks so far back, or none of them may judge by it; what is written down each minute is what came since the
last one. So these are kept for the history alone, until they are written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from watchdog.core.model import Labels, Millis
from watchdog.tsdb.head_page import HeadPage, RowIndices
from watchdog.tsdb.page import ABSENT, ABSENT_BITS, TIME_MIN, Floats, Ints

_MAX_CELLS = 2_000_000
"""Of all that wait: 16 MB. What is over is no history."""
_MAX_SERIES = 100_000


class NewSamples(NamedTuple):
    """What is new of some series; `ABSENT` where there is nothing."""

    keys: list[Labels]
    t: Ints
    v: Floats
    """[keys, times]"""


class LateSamples:
    """Of all sources, until they are written down."""

    def __init__(self) -> None:
        self.waiting: list[NewSamples] = []
        self._until: dict[Labels, Millis] = {}
        """Series → up to when late ones came of it: what a source says again is not new."""

    def keep(self, page: HeadPage, rows: RowIndices, t: Ints, v: Floats, before: Millis) -> None:
        """Of one read, ahead of its being held: row, time and value of each sample. `before`: what is late."""
        known = np.array([self._until.get(page.keys[row], TIME_MIN) for row in rows], np.int64)
        late = np.flatnonzero((t < before) & (t > np.maximum(page.last_written[rows], known)))
        if not late.size:
            return
        mine, row_places = np.unique(rows[late], return_inverse=True)
        times, columns = np.unique(t[late], return_inverse=True)
        if sum(each.v.size for each in self.waiting) + mine.size * times.size > _MAX_CELLS:
            return
        cells = np.full((mine.size, times.size), ABSENT, np.float64)
        cells[row_places, columns] = v[late]
        keys = [page.keys[row] for row in mine]
        self.waiting.append(NewSamples(keys, times, cells))
        if len(self._until) > _MAX_SERIES:
            self._until.clear()
        for key, newest in zip(keys, _newest(times, cells), strict=True):
            self._until[key] = newest

    def shift(self, step: Millis) -> None:
        """The clock was set: what a series has said by now moves along."""
        self._until = {key: until + step for key, until in self._until.items()}

    def drop(self, written: Sequence[NewSamples]) -> None:
        """They are written down."""
        gone = {id(each) for each in written}
        self.waiting = [each for each in self.waiting if id(each) not in gone]


def _newest(times: Ints, cells: Floats) -> list[Millis]:
    """Of each row the time of its last sample."""
    there = cells.view(np.int64) != ABSENT_BITS
    return [int(times[np.flatnonzero(row)[-1]]) for row in there]
