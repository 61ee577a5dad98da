"""A page that grows: the samples of series that come from one source and are kept equally long."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from watchdog.model import Labels, Millis
from watchdog.promql import Page
from watchdog.promql.nodes import NAME
from watchdog.promql.pages import ABSENT, ABSENT_BITS, NEVER, STALE, STALE_BITS, Floats, Ints, missing

SLACK: Millis = 60_000
"""How much longer than asked for samples are kept: an evaluation may look a little into the past."""
AHEAD: Millis = 600_000
"""How far ahead of `now` a sample may be."""

Rows = npt.NDArray[np.intp]


class Shelf(Page):
    """A page that grows at the right and is trimmed at the left."""

    __slots__ = ("_by_name", "_end", "_first", "_t", "_v", "gone", "keep", "last", "now", "row_of", "sweep_at")

    keep: Millis
    """Samples may be forgotten when they are this old."""
    last: Ints
    """[rows] ms: newest mark of each series, a value or the note that it was gone."""
    gone: Ints
    """[rows] ms: since when each series is gone; `NEVER`: it is there."""
    row_of: dict[Labels, int]

    def __init__(
        self, keep: Millis, t: Ints, v: Floats, keys: list[Labels], begins: Ints, last: Ints, gone: Ints
    ) -> None:
        super().__init__(t, v, keys, begins)
        self.keep, self.last, self.gone = keep, last, gone
        self._t, self._v, self._first, self._end = t, v, 0, t.size
        self.now = self.sweep_at = NEVER
        self._index()

    @classmethod
    def empty(cls, keep: Millis) -> Shelf:
        none = np.zeros(0, np.int64)
        return cls(keep, none, np.zeros((0, 0)), [], none, none.copy(), none.copy())

    def _index(self) -> None:
        self.row_of = {key: row for row, key in enumerate(self.keys)}
        self._by_name: dict[str, list[int]] = {}
        for row, key in enumerate(self.keys):
            self._by_name.setdefault(dict(key)[NAME], []).append(row)

    def _expose(self) -> None:
        self.t = self._t[self._first : self._end]
        self.v = self._v[: len(self.keys), self._first : self._end]

    def rows_named(self, name: str) -> Iterable[int]:
        return self._by_name.get(name, ())

    # ─ rows ─

    def add(self, keys: list[Labels], begins: list[Millis], now: Millis) -> None:
        """New series, not there yet."""
        height, old, new = len(self._v), len(self.keys), len(keys)
        if old + new > height:
            grown = np.empty((max(4, 2 * height, old + new), self._v.shape[1]))
            grown[:old, self._first : self._end] = self.v
            self._v = grown
        self._v[old : old + new, self._first : self._end] = STALE
        for key in keys:
            self.row_of[key] = len(self.keys)
            self._by_name.setdefault(dict(key)[NAME], []).append(len(self.keys))
            self.keys.append(key)
        newest = int(self.t[-1]) if self.t.size else NEVER
        self.begins = np.concatenate((self.begins, np.array(begins, np.int64)))
        self.last = np.concatenate((self.last, np.full(new, NEVER)))
        self.gone = np.concatenate((self.gone, np.full(new, now)))
        self.gap = np.concatenate((self.gap, np.full(new, newest)))
        self.gap_max = max(self.gap_max, newest)
        self._expose()

    def sweep(self, now: Millis) -> bool:
        """Forgets series that are gone for good, every now and then. Says whether it did."""
        if now < self.sweep_at:
            return False
        self.sweep_at = now + max(self.keep // 4, SLACK)
        stays = np.flatnonzero((self.gone == NEVER) | (self.gone > now - self.keep))
        if stays.size == len(self.keys):
            return False
        self._trim()
        self._v = self.v[stays]
        self._t, self._first, self._end = self.t.copy(), 0, self.t.size
        self.keys = [self.keys[row] for row in stays]
        self.begins, self.last, self.gone = self.begins[stays], self.last[stays], self.gone[stays]
        self.gap = self.gap[stays]
        self.gap_max = int(self.gap.max()) if stays.size else NEVER
        self._index()
        self._expose()
        return True

    # ─ columns ─

    def _trim(self) -> None:
        """Lets go of the columns that nothing reads any more."""
        old = int(self.t.searchsorted(self.now - self.keep, "right"))
        if old:
            self.trimmed = int(self.t[old - 1])
            self._first += old
            self.forgotten += old
            self._expose()

    def _make_room(self) -> None:
        """For one more column. Moves what is left to the front of the buffer when that frees a quarter of it."""
        if self._end < self._t.size:
            return
        self._trim()
        length, width = self._end - self._first, self._t.size
        if length * 4 >= width * 3:
            width = max(64, width * 2 if width < 65_536 else width + width // 2)
        t, v = np.empty(width, np.int64), np.empty((len(self._v), width))
        t[:length], v[: len(self.keys), :length] = self.t, self.v
        self._t, self._v, self._first, self._end = t, v, 0, length

    def rewind(self, now: Millis) -> None:
        """The clock was set back: what was noted at times that have not come yet is forgotten."""
        self._end = self._first + int(self.t.searchsorted(now))
        self.rewritten += 1
        self._expose()
        self.now, self.sweep_at = now, NEVER
        self.trimmed = min(self.trimmed, now)
        self.begins = np.minimum(self.begins, now)
        self.last = np.minimum(self.last, now - 1)
        self.gone = np.full(len(self.keys), now)
        self.mind_gaps()

    def column(self, t: Millis) -> int:
        """The column of that time, in `self.t`; made when there is none, without a value. What is gone is marked so."""
        self._make_room()
        if not self.t.size or t > self.t[-1]:
            self._t[self._end] = t
            self._v[: len(self.keys), self._end] = np.where(self.gone == NEVER, ABSENT, STALE)
            self._end += 1
            at = self._end - self._first - 1
        else:
            at = int(self.t.searchsorted(t))
            self.rewritten += 1
            if self.t[at] == t:
                return at
            here, rows = self._first + at, len(self.keys)
            self._t[here + 1 : self._end + 1] = self._t[here : self._end].copy()
            self._v[:rows, here + 1 : self._end + 1] = self._v[:rows, here : self._end].copy()
            self._t[here] = t
            self._v[:rows, here] = ABSENT
            self._end += 1
        np.maximum(self.gap, t, out=self.gap)
        self._expose()
        return at

    def _fill(self, t: Millis, rows: Rows, v: Floats) -> None:
        """One cell of each of these rows."""
        before = self.gap[rows]
        column = self.column(t)
        self.v[rows, column] = v
        self.gap[rows] = np.where(missing(self.v[rows, column]), np.maximum(before, t), before)
        self.gap_max = int(self.gap.max())
        self.last[rows] = t

    # ─ samples ─

    def extend(self, now: Millis, at: Millis, v: Floats) -> bool:
        """The usual case of `take`: one sample for each row, in their order, all of one time that is newer than every
        other. False: nothing was taken, because it is not that simple."""
        if v.size != len(self.keys) or not self.t.size or at <= self.t[-1]:
            return False
        if not max(self.now, now) - self.keep < at <= max(self.now, now) + AHEAD or (v != v).any():
            return False
        self.now = max(self.now, now)
        self._make_room()
        end = self._end
        self._t[end] = at
        self._v[: v.size, end] = v
        self._end = end + 1
        self.last[:] = at
        self.gone[:] = NEVER
        self._expose()
        return True

    def take(self, now: Millis, rows: Rows, t: Ints, v: Floats) -> None:
        """What one read of the source says of this shelf: row, time and value of each sample."""
        self.now = max(self.now, now)
        there = self.gone == NEVER
        there[rows] = False
        leaving = np.flatnonzero(there)
        if rows.size and not leaving.size and self._at_once(rows, t, v):
            return
        fresh = np.flatnonzero((t <= self.now + AHEAD) & (t > self.now - self.keep))
        fresh = fresh[np.argsort(t[fresh], kind="stable")]
        for same in np.split(fresh, np.flatnonzero(np.diff(t[fresh])) + 1) if fresh.size else ():
            self._put(int(t[same[0]]), *_first_of_each(rows[same], v[same]))
        if leaving.size:
            self._leave(leaving, now)

    def _at_once(self, rows: Rows, t: Ints, v: Floats) -> bool:
        """The usual case: one time for all, newer than everything, one sample per series, and no marks among them."""
        at = int(t[0])
        if (t != at).any() or (self.t.size and at <= self.t[-1]) or not self.now - self.keep < at <= self.now + AHEAD:
            return False
        if missing(v).any() or (at <= self.last[rows]).any() or np.bincount(rows).max() > 1:
            return False
        self.gone[rows] = NEVER
        self._fill(at, rows, v)
        return True

    def _put(self, at: Millis, rows: Rows, v: Floats) -> None:
        forward = self.last[rows] < at
        rows, v = rows[forward], v[forward].copy()
        if not rows.size:
            return
        bits = v.view(np.int64)
        bits[bits == ABSENT_BITS] = np.array(np.nan).view(np.int64)
        self._fill(at, rows, v)
        back = rows[self.gone[rows] != NEVER]
        if back.size and at < self.t[-1]:  # as gone as it was, later columns had it gone as well
            self.v[back, int(self.t.searchsorted(at)) + 1 :] = ABSENT
            self.rewritten += 1
        self.gone[rows] = np.where(bits == STALE_BITS, at, NEVER)

    def _leave(self, rows: Rows, now: Millis) -> None:
        """These series are gone since `now`; one that is ahead of it, since its newest sample."""
        when = np.maximum(self.last[rows] + 1, now)
        for at in np.unique(when):
            leaving = rows[when == at]
            self._fill(int(at), leaving, STALE)
            self.gone[leaving] = at

    def newest(self, row: int) -> tuple[Millis, float] | None:
        """Newest value of a series, however old."""
        if self.gone[row] == NEVER and self.t.size:
            at = int(self.t.searchsorted(self.last[row]))
            if at < self.t.size and self.t[at] == self.last[row]:
                return int(self.t[at]), float(self.v[row, at])
        held = np.flatnonzero(~missing(self.v[row]))
        return (int(self.t[held[-1]]), float(self.v[row, held[-1]])) if held.size else None


def _first_of_each(rows: Rows, v: Floats) -> tuple[Rows, Floats]:
    """A sample said twice counts once: the first one, as in Prometheus."""
    _, first = np.unique(rows, return_index=True)
    first.sort()
    return rows[first], v[first]


def join(parts: list[tuple[Shelf, Rows]], keep: Millis) -> Shelf:
    """One shelf of these rows. Where a series is in several parts, the first part that has a value speaks."""
    t = np.unique(np.concatenate([shelf.t for shelf, _ in parts]))
    now = max(shelf.now for shelf, _ in parts)
    old = int(t.searchsorted(now - keep, "right"))
    trimmed, t = int(t[old - 1]) if old else NEVER, t[old:]
    places: dict[Labels, int] = {}
    for shelf, rows in parts:
        for row in rows:
            places.setdefault(shelf.keys[row], len(places))
    v = np.full((len(places), t.size), ABSENT, np.float64)
    begins, last, gone = (np.full(len(places), NEVER, np.int64) for _ in range(3))
    for shelf, rows in reversed(parts):
        first = int(shelf.t.searchsorted(t[0])) if t.size else shelf.t.size
        columns = t.searchsorted(shelf.t[first:])
        for row in rows:
            place = places[shelf.keys[row]]
            cells = shelf.v[row, first:]
            v[place, columns] = np.where(missing(cells), v[place, columns], cells)
            v[place, columns] = np.where(missing(v[place, columns]), cells, v[place, columns])
            begins[place] = max(begins[place], shelf.begins[row], shelf.trimmed)
            last[place], gone[place] = max(last[place], shelf.last[row]), shelf.gone[row]
    joined = Shelf(keep, t, v, list(places), begins, last, gone)
    joined.now, joined.trimmed, joined.unwatched = now, trimmed, parts[0][0].unwatched
    return joined
