"""What of the store is not written down yet: copied where samples are kept, written down by another thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from watchdog.core.model import Labels, Millis
from watchdog.tsdb.head import Head
from watchdog.tsdb.head_page import MAX_AHEAD, HeadPage
from watchdog.tsdb.labels import LOOKBACK_DELTA
from watchdog.tsdb.late_samples import LateSamples, NewSamples
from watchdog.tsdb.page import ABSENT, TIME_MIN, Ints


class StateSnapshot(NamedTuple):
    """What a source remembers, at the moment at which the samples were copied."""

    identity: str
    """Of the source that left it."""
    text: str
    """JSON."""


NO_STATES: Mapping[str, StateSnapshot] = MappingProxyType({})


class WriteBatch(NamedTuple):
    """What is new since the last one."""

    now: Millis
    since: Millis
    """Everything after this time is in it; what was before is written down, or lost."""
    samples: list[NewSamples]
    watched: dict[str, list[tuple[Millis, Millis]]]
    """Source → the spans in which it was watched without a break, as far as they may be other ones than the last time."""
    written_until: dict[Labels, Millis]
    """Until when each series is in it."""
    states: Mapping[str, StateSnapshot]
    """By source: what it remembers, which stands for its samples up to the last one in it."""
    late: Sequence[NewSamples] = ()
    """Those of `samples` that `LateSamples` has kept."""
    shifted: Millis = 0
    """By how much the clock had been set until then."""


class WriteBuffer:
    """Remembers how far each series is written down. A series only moves forward, so one time says it all."""

    def __init__(self, store: Head, now: Millis) -> None:
        """`now`: of the boot. What is in the store by then was put back, and is written down somewhere."""
        self._head = store
        self._late = store.late_samples = LateSamples()
        self._since = now
        self._shifted: Millis = 0
        self._written_until: dict[Labels, Millis] = {}
        for shelf in store.pages:
            if isinstance(shelf, HeadPage):
                self._written_until.update(zip(shelf.keys, shelf.last_written.tolist(), strict=True))

    def collect(self, now: Millis, states: Mapping[str, StateSnapshot] = NO_STATES) -> WriteBatch:
        """Everything since the last batch that was `mark_written`, five minutes of it at most: so long everything is held.

        `states`: as they are now; nothing may be ingested between their making and this.
        """
        back = now < self._since  # the clock was set back
        since = now - LOOKBACK_DELTA if back else max(self._since, now - LOOKBACK_DELTA)
        sheets: list[NewSamples] = []
        marks: dict[Labels, Millis] = {}
        for shelf in self._head.pages:
            if isinstance(shelf, HeadPage) and shelf.t.size:
                known = np.array([self._written_until.get(key, TIME_MIN) for key in shelf.keys], np.int64)
                sheets += _new_samples(shelf, np.minimum(known, since) if back else known, since)
                marks.update(zip(shelf.keys, shelf.last_written.tolist(), strict=True))
        late = list(self._late.waiting)
        spans = self._head.watched.spans(since - LOOKBACK_DELTA)  # what was the end of one may have become later since
        return WriteBatch(now, since, late + sheets, spans, marks, dict(states), late, self._shifted)

    def mark_written(self, batch: WriteBatch) -> None:
        """It is written down."""
        step = self._shifted - batch.shifted  # the clock was set meanwhile
        self._since = batch.now + step
        self._written_until = batch.written_until if not step else _shift(batch.written_until, step)
        self._late.drop(batch.late)

    def shift(self, step: Millis) -> None:
        """The clock was set, and the store has moved along: what is written down stays as it is."""
        self._shifted += step
        self._since += step
        self._written_until = _shift(self._written_until, step)
        self._late.shift(step)


def _shift(times: Mapping[Labels, Millis], step: Millis) -> dict[Labels, Millis]:
    return {key: at if at == TIME_MIN else at + step for key, at in times.items()}


def _new_samples(shelf: HeadPage, known: Ints, since: Millis) -> list[NewSamples]:
    found = []
    fresh = np.flatnonzero(shelf.last_written > known)
    marks = np.maximum(known[fresh], since - MAX_AHEAD)
    for mark in np.unique(marks):
        rows = fresh[marks == mark]
        last = shelf.last_written[rows]
        columns = slice(int(shelf.t.searchsorted(mark, "right")), int(shelf.t.searchsorted(last.max(), "right")))
        t, v = shelf.t[columns].copy(), shelf.v[rows, columns]
        if t.size:
            v[t[None, :] > last[:, None]] = ABSENT  # what stands there is not theirs yet
            found.append(NewSamples([shelf.keys[row] for row in rows], t, v))
    return found
