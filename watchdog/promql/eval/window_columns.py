"""Which columns of a page the windows hold."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from watchdog.core.model import Millis
from watchdog.promql.functions.windows import CHUNK_SIZE, ColumnIndices, to_array
from watchdog.tsdb.page import TIME_MIN, Ints, SeriesPage

MIN_VECTORIZED_TIMES = 16
"""So many times are worth more than a look at each."""


class WindowColumns(NamedTuple):
    """Which columns of a page each window holds: those from `firsts` until before `lasts`. Empty where first >= last.

    `lasts` a range: none is empty; `firsts` too: all of the windows slide.
    """

    firsts: ColumnIndices
    """[times]"""
    lasts: ColumnIndices
    """[times]"""
    sliding_slice: slice = slice(0, 0)
    """Of these times the windows slide: each begins and ends `step` columns after the one before."""
    step: int = 0
    evenly_spaced: bool = False
    """The columns of the body lie at equal distances, and its windows' ends with them."""
    newest_age: Millis | None = None
    """How long before its end the last column of each window lies, where that is the same for all."""


def find_window_columns(page: SeriesPage, ends: Ints, span: Millis, samples_after: Millis = TIME_MIN) -> WindowColumns:
    """The windows ``(end - span, end]``, as if nothing up to `samples_after` were there."""
    t = page.t
    if ends.size < MIN_VECTORIZED_TIMES:
        firsts, lasts = t.searchsorted(ends - span, "right"), t.searchsorted(ends, "right")
        return WindowColumns(
            firsts if samples_after == TIME_MIN else np.maximum(firsts, t.searchsorted(samples_after, "right")), lasts
        )
    held = _cached_lookups(page, ends)
    if (pace := held.get("pace")) is None:
        pace = held["pace"] = uniform_spacing(ends)
    low, high = (int(ends[0]), int(ends[-1])) if pace else (int(ends.min()), int(ends.max()))
    start, stop = int(t.searchsorted(max(low - span, samples_after), "right")), int(t.searchsorted(high, "right"))
    near = t[start:stop]
    apart = pace and stop - start > 1 and cached_spacing(page, start, stop)
    if apart and pace % apart == 0:
        step = pace // apart
        first, last = ((int(ends[0]) - back - int(near[0])) // apart + 1 for back in (span, 0))
        moves = step * (ends.size - 1)
        held_by_all = last >= 1 and last > first and last + moves <= near.size
        froms, untils = (range(start + at, start + at + moves + 1, step) for at in (first, last))
        age = (int(ends[0]) - int(near[0])) % apart
        if held_by_all and first >= 0:
            return WindowColumns(froms, untils, slice(0, ends.size), step, True, age)
        firsts = np.arange(froms.start, froms.stop, step)
        np.clip(firsts, start, stop, out=firsts)
        from_, until = max(0, -(first // step)), min(ends.size, (near.size - last) // step + 1)
        body = slice(from_, max(from_, until)) if last > first else slice(0, 0)
        if held_by_all:  # only the beginning of history is missing
            return WindowColumns(firsts, untils, body, step, True, age)
        return WindowColumns(firsts, np.clip(to_array(untils), start, stop), body, step, True)
    found: list[Ints] = []
    buckets: BucketSearch | None = None
    for back in (span, 0):
        if (places := held.get(f"back {back}")) is None or samples_after != TIME_MIN:
            if near.size > ends.size or near.size < MIN_VECTORIZED_TIMES:
                places = near.searchsorted(ends - back, "right")
            else:
                buckets = buckets or BucketSearch(near)
                places = buckets.searchsorted(ends - back)
            places += start
            if samples_after == TIME_MIN:
                held[f"back {back}"] = places
        found.append(places)
    return WindowColumns(found[0], found[1], *find_sliding_slice(found[0], found[1]))


class BucketSearch:
    """Ascending times in buckets of about their distance. A search begins at its bucket and is over after a step or two,
    which costs half of what halving does."""

    def __init__(self, t: Ints) -> None:
        self._first = int(t[0])
        self._shift = max(0, ((int(t[-1]) - self._first) // t.size).bit_length() - 1)
        self._begun = np.bincount(((t - self._first) >> self._shift) + 1)
        np.cumsum(self._begun, out=self._begun)
        self._t = np.append(t, -TIME_MIN)

    def searchsorted(self, asked: Ints) -> Ints:
        """Of each how many times lie at or before it."""
        bucket = (asked - self._first) >> self._shift
        np.clip(bucket, 0, self._begun.size - 1, out=bucket)
        found = self._begun.take(bucket, mode="clip")  # where all is within, the fastest mode
        later = self._t.take(found, mode="clip") <= asked
        found += later
        which = np.flatnonzero(later)
        for _ in range(_MAX_LINEAR_STEPS):
            if not which.size:
                return found
            which = which[self._t[found[which]] <= asked[which]]
            found[which] += 1
        found[which] = self._t.searchsorted(asked[which], "right")
        return found


_MAX_LINEAR_STEPS = 8
"""After so many steps many times lie in one bucket, and halving is faster."""


def newest_sample_times(page: SeriesPage, ends: Ints, lasts: ColumnIndices) -> Ints:
    """Newest sample times of windows that are not empty. Not to be written to: all who ask at the same times share them."""
    held = _cached_lookups(page, ends)
    slides = isinstance(lasts, range)
    known: tuple[ColumnIndices, Ints] | None = held.get("newest")
    if known is not None and (known[0] == lasts if slides and isinstance(known[0], range) else known[0] is lasts):
        return known[1]
    newest = (
        page.t[lasts.start - 1 : lasts.stop - 1 : lasts.step] if isinstance(lasts, range) else page.t.take(lasts - 1)
    )
    newest.flags.writeable = False
    held["newest"] = lasts, newest
    return newest


def uniform_spacing(t: Ints) -> Millis:
    """The distance between any two neighbours, when it is always the same; else 0."""
    if t.size < 2:
        return 0
    apart = int(t[1] - t[0])
    if apart <= 0 or int(t[-1] - t[0]) != apart * (t.size - 1):
        return 0
    for start in range(0, t.size - 1, CHUNK_SIZE):
        some = t[start : start + CHUNK_SIZE + 1]
        if (some[1:] - some[:-1] != apart).any():
            return 0
    return apart


def _cached_lookups(page: SeriesPage, ends: Ints) -> dict[str, Any]:
    """What was found out of these very times, which nobody can write to: many expressions ask for the same ones."""
    if ends.flags.writeable:
        return {}
    for t, asked, held in page.lookup_cache:
        if asked is ends and t is page.t:
            return held
    page.lookup_cache = [*page.lookup_cache[1 - _MAX_CACHED_LOOKUPS :], (page.t, ends, {})]
    return page.lookup_cache[-1][2]


_MAX_CACHED_LOOKUPS = 4
"""So many asked last are remembered: what is asked in chunks is asked by one expression after the other."""


def announce_spacing(page: SeriesPage, ends: Ints, interval: Millis) -> None:
    """Tells ahead that these times, which nobody can write to, lie `pace` apart. 0: that is not known."""
    if interval:
        _cached_lookups(page, ends)["pace"] = interval


def cached_spacing(page: SeriesPage, start: int, stop: int) -> Millis:
    """The spacing of these columns; what was found out of them before is remembered."""
    known = page.spacing_cache
    if known is not None and known[0] is page.t and known[1] <= start <= known[2]:
        from_, until, apart = known[1:]
        if stop <= until:
            return apart
        if uniform_spacing(page.t[until - 1 : stop]) == apart:
            page.spacing_cache = page.t, from_, stop, apart
            return apart
        return 0
    apart = uniform_spacing(page.t[start:stop])
    if apart:
        page.spacing_cache = page.t, start, stop, apart
    return apart


def find_sliding_slice(firsts: Ints, lasts: Ints) -> tuple[slice, int]:
    """The longest stretch in which windows move on by the same number of columns."""
    none = slice(0, 0), 0
    step = int(firsts[firsts.size // 2] - firsts[firsts.size // 2 - 1])
    some = np.arange(0, firsts.size - 1, 1 + firsts.size // 256)
    slides = (firsts[some + 1] - firsts[some] == step) & (lasts[some + 1] - lasts[some] == step)
    if step < 1 or 2 * np.count_nonzero(slides) < some.size:
        return none  # or here and there only
    moved, ended = np.diff(firsts), np.diff(lasts)
    breaks = np.flatnonzero((moved != step) | (ended != step))
    edges = np.concatenate(([-1], breaks, [moved.size]))
    longest = int(np.argmax(np.diff(edges)))
    body = slice(int(edges[longest]) + 1, int(edges[longest + 1]) + 1)
    return (
        (body, step)
        if body.stop - body.start >= MIN_VECTORIZED_TIMES and lasts[body.start] > firsts[body.start]
        else none
    )
