"""What of the store is not written down yet: copied where samples are kept, written down by another thread."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from watchdog.model import Labels, Millis
from watchdog.promql import LOOKBACK
from watchdog.promql.pages import ABSENT, NEVER, Floats, Ints
from watchdog.series import Store
from watchdog.series.shelf import AHEAD, Shelf


class Sheet(NamedTuple):
    """What is new of some series; `ABSENT` where there is nothing."""

    keys: list[Labels]
    t: Ints
    v: Floats
    """[keys, times]"""


class Batch(NamedTuple):
    """What is new since the last one."""

    now: Millis
    since: Millis
    """Everything after this time is in it; what was before is written down, or lost."""
    sheets: list[Sheet]
    watched: dict[str, tuple[Millis, Millis]]
    """Source → since when it has been watched without a break, and until when."""
    marks: dict[Labels, Millis]
    """Until when each series is in it."""


class Feed:
    """Remembers how far each series is written down. A series only moves forward, so one time says it all."""

    def __init__(self, store: Store, now: Millis) -> None:
        """`now`: of the boot. What is in the store by then was put back, and is written down somewhere."""
        self._store = store
        self._since = now
        self._marks: dict[Labels, Millis] = {}
        for shelf in store.pages:
            if isinstance(shelf, Shelf):
                self._marks.update(zip(shelf.keys, shelf.last.tolist(), strict=True))

    def collect(self, now: Millis) -> Batch:
        """Everything since the last batch that was `done`, five minutes of it at most: so long everything is held."""
        back = now < self._since  # the clock was set back
        since = now - LOOKBACK if back else max(self._since, now - LOOKBACK)
        sheets: list[Sheet] = []
        marks: dict[Labels, Millis] = {}
        for shelf in self._store.pages:
            if isinstance(shelf, Shelf) and shelf.t.size:
                known = np.array([self._marks.get(key, NEVER) for key in shelf.keys], np.int64)
                sheets += _sheets(shelf, np.minimum(known, since) if back else known, since)
                marks.update(zip(shelf.keys, shelf.last.tolist(), strict=True))
        return Batch(now, since, sheets, self._store.watches(), marks)

    def done(self, batch: Batch) -> None:
        """It is written down."""
        self._since, self._marks = batch.now, batch.marks


def _sheets(shelf: Shelf, known: Ints, since: Millis) -> list[Sheet]:
    found = []
    fresh = np.flatnonzero(shelf.last > known)
    marks = np.maximum(known[fresh], since - AHEAD)
    for mark in np.unique(marks):
        rows = fresh[marks == mark]
        last = shelf.last[rows]
        columns = slice(int(shelf.t.searchsorted(mark, "right")), int(shelf.t.searchsorted(last.max(), "right")))
        t, v = shelf.t[columns].copy(), shelf.v[rows, columns]
        if t.size:
            v[t[None, :] > last[:, None]] = ABSENT  # what stands there is not theirs yet
            found.append(Sheet([shelf.keys[row] for row in rows], t, v))
    return found
