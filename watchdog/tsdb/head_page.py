"""A page that grows: the samples of series that come from one source and are kept equally long."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from watchdog.core.model import Labels, Millis
from watchdog.tsdb.labels import METRIC_NAME_LABEL
from watchdog.tsdb.page import (
    ABSENT,
    ABSENT_BITS,
    STALE,
    STALE_BITS,
    TIME_MIN,
    Floats,
    Ints,
    SeriesPage,
    is_missing,
    shift_times,
)

RETENTION_SLACK: Millis = 60_000
"""How much longer than asked for samples are kept: an evaluation may look a little into the past."""
MAX_AHEAD: Millis = 600_000
"""How far ahead of `now` a sample may be."""

_AT_ONCE: Millis = 1_000
"""How far ahead of `now` a time may lie that is of now."""

RowIndices = npt.NDArray[np.intp]


class HeadPage(SeriesPage):
    """A page that grows at the right and is trimmed at the left."""

    __slots__ = (
        "_by_name",
        "_end",
        "_first",
        "_t",
        "_v",
        "gone_since",
        "last_written",
        "next_drop",
        "now",
        "retention",
        "row_of",
    )

    retention: Millis
    """Samples may be forgotten when they are this old."""
    last_written: Ints
    """[rows] ms: newest mark of each series, a value or the note that it was gone."""
    gone_since: Ints
    """[rows] ms: since when each series is gone; `TIME_MIN`: it is there."""
    row_of: dict[Labels, int]

    def __init__(
        self, keep: Millis, t: Ints, v: Floats, keys: list[Labels], begins: Ints, last: Ints, gone: Ints
    ) -> None:
        super().__init__(t, v, keys, begins)
        self.retention, self.last_written, self.gone_since = keep, last, gone
        self._t, self._v, self._first, self._end = t, v, 0, t.size
        self.now = self.next_drop = TIME_MIN
        self._build_index()

    @classmethod
    def empty(cls, keep: Millis) -> HeadPage:
        none = np.zeros(0, np.int64)
        return cls(keep, none, np.zeros((0, 0)), [], none, none.copy(), none.copy())

    def _build_index(self) -> None:
        self.row_of = {key: row for row, key in enumerate(self.keys)}
        self._by_name: dict[str, list[int]] = {}
        for row, key in enumerate(self.keys):
            self._by_name.setdefault(dict(key)[METRIC_NAME_LABEL], []).append(row)

    def _update_views(self) -> None:
        self.t = self._t[self._first : self._end]
        self.v = self._v[: len(self.keys), self._first : self._end]

    def rows_named(self, name: str) -> Iterable[int]:
        return self._by_name.get(name, ())

    # ─ rows ─

    def rename_series(self, keys: list[Labels]) -> None:
        """The same series under other labels, row by row."""
        self.keys = keys
        self._build_index()

    def add_series(self, keys: list[Labels], begins: list[Millis], now: Millis) -> None:
        """New series, not there yet."""
        height, old, new = len(self._v), len(self.keys), len(keys)
        if old + new > height:
            grown = np.empty((max(4, 2 * height, old + new), self._v.shape[1]))
            grown[:old, self._first : self._end] = self.v
            self._v = grown
        self._v[old : old + new, self._first : self._end] = STALE
        for key in keys:
            self.row_of[key] = len(self.keys)
            self._by_name.setdefault(dict(key)[METRIC_NAME_LABEL], []).append(len(self.keys))
            self.keys.append(key)
        newest = int(self.t[-1]) if self.t.size else TIME_MIN
        self.watched_since = np.concatenate((self.watched_since, np.array(begins, np.int64)))
        self.last_written = np.concatenate((self.last_written, np.full(new, TIME_MIN)))
        self.gone_since = np.concatenate((self.gone_since, np.full(new, now)))
        self.last_gap = np.concatenate((self.last_gap, np.full(new, newest)))
        self.newest_gap = max(self.newest_gap, newest)
        self._update_views()

    def drop_gone_series(self, now: Millis) -> bool:
        """Forgets series that are gone for good, every now and then. Says whether it did."""
        if now < self.next_drop:
            return False
        self.next_drop = now + max(self.retention // 4, RETENTION_SLACK)
        stays = np.flatnonzero((self.gone_since == TIME_MIN) | (self.gone_since > now - self.retention))
        if stays.size == len(self.keys):
            return False
        self._trim()
        self._v = self.v[stays]
        self._t, self._first, self._end = self.t.copy(), 0, self.t.size
        self.keys = [self.keys[row] for row in stays]
        self.watched_since, self.last_written, self.gone_since = (
            self.watched_since[stays],
            self.last_written[stays],
            self.gone_since[stays],
        )
        self.last_gap = self.last_gap[stays]
        self.newest_gap = int(self.last_gap.max()) if stays.size else TIME_MIN
        self._build_index()
        self._update_views()
        return True

    # ─ columns ─

    def _trim(self) -> None:
        """Lets go of the columns that nothing reads any more."""
        old = int(self.t.searchsorted(self.now - self.retention, "right"))
        if old:
            self.trimmed_until = int(self.t[old - 1])
            self._first += old
            self.trimmed_columns += old
            self._update_views()

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
        self._update_views()  # who writes into a column that is there already writes into what they show

    def truncate_after(self, now: Millis) -> None:
        """The clock was set back: what was noted at times that have not come yet is forgotten."""
        self._end = self._first + int(self.t.searchsorted(now))
        self.rewrite_count += 1
        self._update_views()
        self.now, self.next_drop = now, TIME_MIN
        self.trimmed_until = min(self.trimmed_until, now)
        self.watched_since = np.minimum(self.watched_since, now)
        self.last_written = np.minimum(self.last_written, now - 1)
        self.gone_since = np.full(len(self.keys), now)
        self.update_gaps()

    def shift(self, step: Millis, now: Millis) -> None:
        """The clock was set by `step`, and it is `now`: all there is moves along. What lies ahead even so came from a clock
        that was right before, and is forgotten: it would stand in the way of what comes next."""
        self._t = self._t + step
        self.rewrite_count += 1
        self.spacing_cache, self.lookup_cache = None, []
        self.watched_since = shift_times(self.watched_since, step)
        self.last_written = shift_times(self.last_written, step)
        self.gone_since = shift_times(self.gone_since, step)
        self.last_gap = shift_times(self.last_gap, step)
        self.now, self.next_drop, self.trimmed_until, self.newest_gap = (
            at if at == TIME_MIN else at + step
            for at in (self.now, self.next_drop, self.trimmed_until, self.newest_gap)
        )
        self._update_views()
        if self.t.size and self.t[-1] > now + _AT_ONCE:
            self.truncate_after(now)

    def find_or_add_column(self, t: Millis) -> int:
        """The column of that time, in `self.t`; made when there is none, without a value. What is gone is marked so."""
        self._make_room()
        if not self.t.size or t > self.t[-1]:
            self._t[self._end] = t
            self._v[: len(self.keys), self._end] = np.where(self.gone_since == TIME_MIN, ABSENT, STALE)
            self._end += 1
            at = self._end - self._first - 1
        else:
            at = int(self.t.searchsorted(t))
            self.rewrite_count += 1
            if self.t[at] == t:
                return at
            here, rows = self._first + at, len(self.keys)
            self._t[here + 1 : self._end + 1] = self._t[here : self._end].copy()
            self._v[:rows, here + 1 : self._end + 1] = self._v[:rows, here : self._end].copy()
            self._t[here] = t
            self._v[:rows, here] = ABSENT
            self._end += 1
        np.maximum(self.last_gap, t, out=self.last_gap)
        self._update_views()
        return at

    def _write_column(self, t: Millis, rows: RowIndices, v: Floats) -> None:
        """One cell of each of these rows."""
        before = self.last_gap[rows]
        column = self.find_or_add_column(t)
        self.v[rows, column] = v
        self.last_gap[rows] = np.where(is_missing(self.v[rows, column]), np.maximum(before, t), before)
        self.newest_gap = int(self.last_gap.max())
        self.last_written[rows] = t

    # ─ samples ─

    def append_full_row(self, now: Millis, at: Millis, v: Floats) -> bool:
        """The usual case of `append`, one sample for each row, in their order, all of one time that is newer than every
        other. False: nothing was taken, because it is not that simple."""
        if v.size != len(self.keys) or not self.t.size or at <= self.t[-1]:
            return False
        if not max(self.now, now) - self.retention < at <= max(self.now, now) + MAX_AHEAD or (v != v).any():
            return False
        self.now = max(self.now, now)
        self._make_room()
        end = self._end
        self._t[end] = at
        self._v[: v.size, end] = v
        self._end = end + 1
        self.last_written[:] = at
        self.gone_since[:] = TIME_MIN
        self._update_views()
        return True

    def append(self, now: Millis, rows: RowIndices, t: Ints, v: Floats) -> None:
        """What one read of the source says of this shelf: row, time and value of each sample."""
        self.now = max(self.now, now)
        there = self.gone_since == TIME_MIN
        there[rows] = False
        leaving = np.flatnonzero(there)
        if rows.size and not leaving.size and self._append_simple(rows, t, v):
            return
        fresh = np.flatnonzero((t <= self.now + MAX_AHEAD) & (t > self.now - self.retention))
        fresh = fresh[np.argsort(t[fresh], kind="stable")]
        for same in np.split(fresh, np.flatnonzero(np.diff(t[fresh])) + 1) if fresh.size else ():
            self._append_at(int(t[same[0]]), *_drop_duplicates(rows[same], v[same]))
        if leaving.size:
            self._mark_gone(leaving, now)

    def _append_simple(self, rows: RowIndices, t: Ints, v: Floats) -> bool:
        """The usual case: one time for all, newer than everything, one sample per series, and no marks among them."""
        at = int(t[0])
        if (
            (t != at).any()
            or (self.t.size and at <= self.t[-1])
            or not self.now - self.retention < at <= self.now + MAX_AHEAD
        ):
            return False
        if is_missing(v).any() or (at <= self.last_written[rows]).any() or np.bincount(rows).max() > 1:
            return False
        self.gone_since[rows] = TIME_MIN
        self._write_column(at, rows, v)
        return True

    def _append_at(self, at: Millis, rows: RowIndices, v: Floats) -> None:
        forward = self.last_written[rows] < at
        rows, v = rows[forward], v[forward].copy()
        if not rows.size:
            return
        bits = v.view(np.int64)
        bits[bits == ABSENT_BITS] = np.array(np.nan).view(np.int64)
        self._write_column(at, rows, v)
        back = rows[self.gone_since[rows] != TIME_MIN]
        if back.size and at < self.t[-1]:  # as gone as it was, later columns had it gone as well
            self.v[back, int(self.t.searchsorted(at)) + 1 :] = ABSENT
            self.rewrite_count += 1
        self.gone_since[rows] = np.where(bits == STALE_BITS, at, TIME_MIN)

    def _mark_gone(self, rows: RowIndices, now: Millis) -> None:
        """These series are gone since `now`; one that is ahead of it, since its newest sample."""
        when = np.maximum(self.last_written[rows] + 1, now)
        for at in np.unique(when):
            leaving = rows[when == at]
            self._write_column(int(at), leaving, STALE)
            self.gone_since[leaving] = at

    def latest_sample(self, row: int) -> tuple[Millis, float] | None:
        """Newest value of a series, however old."""
        if self.gone_since[row] == TIME_MIN and self.t.size:
            at = int(self.t.searchsorted(self.last_written[row]))
            if at < self.t.size and self.t[at] == self.last_written[row]:
                return int(self.t[at]), float(self.v[row, at])
        held = np.flatnonzero(~is_missing(self.v[row]))
        return (int(self.t[held[-1]]), float(self.v[row, held[-1]])) if held.size else None


def _drop_duplicates(rows: RowIndices, v: Floats) -> tuple[RowIndices, Floats]:
    """A sample said twice counts once: the first one, as in Prometheus."""
    _, first = np.unique(rows, return_index=True)
    first.sort()
    return rows[first], v[first]


def merge_head_pages(parts: list[tuple[HeadPage, RowIndices]], keep: Millis) -> HeadPage:
    """One shelf of these rows. Where a series is in several parts, the first part that has a value speaks."""
    t = np.unique(np.concatenate([shelf.t for shelf, _ in parts]))
    now = max(shelf.now for shelf, _ in parts)
    old = int(t.searchsorted(now - keep, "right"))
    trimmed, t = int(t[old - 1]) if old else TIME_MIN, t[old:]
    places: dict[Labels, int] = {}
    for shelf, rows in parts:
        for row in rows:
            places.setdefault(shelf.keys[row], len(places))
    v = np.full((len(places), t.size), ABSENT, np.float64)
    begins, last, gone = (np.full(len(places), TIME_MIN, np.int64) for _ in range(3))
    for shelf, rows in reversed(parts):
        first = int(shelf.t.searchsorted(t[0])) if t.size else shelf.t.size
        columns = t.searchsorted(shelf.t[first:])
        for row in rows:
            place = places[shelf.keys[row]]
            cells = shelf.v[row, first:]
            v[place, columns] = np.where(is_missing(cells), v[place, columns], cells)
            v[place, columns] = np.where(is_missing(v[place, columns]), cells, v[place, columns])
            begins[place] = max(begins[place], shelf.watched_since[row], shelf.trimmed_until)
            last[place], gone[place] = max(last[place], shelf.last_written[row]), shelf.gone_since[row]
    joined = HeadPage(keep, t, v, list(places), begins, last, gone)
    joined.now, joined.trimmed_until, joined.downtimes = now, trimmed, parts[0][0].downtimes
    return joined


def page_of_gone_series(
    keep: Millis, t: Ints, v: Floats, keys: list[Labels], begins: list[Millis], end: Millis
) -> HeadPage:
    """A shelf of what was, gone since `end`: all its series until they are delivered again."""
    over = max(end, int(t[-1])) + 1
    marks = np.full((len(keys), 1), STALE, np.float64)
    cells = np.ascontiguousarray(np.concatenate((v, marks), axis=1))
    last = np.full(len(keys), over, np.int64)
    shelf = HeadPage(keep, np.append(t, over), cells, keys, np.array(begins, np.int64), last, last.copy())
    shelf.now = over
    return shelf
