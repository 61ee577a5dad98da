"""When replay's rounds are: as the daemon's, or at a step of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from watchdog.core.model import Millis
from watchdog.promql.eval.window_columns import announce_spacing, cached_spacing
from watchdog.tsdb.page import Ints, SeriesPage

ROUND_MS: Millis = 1_000


class RoundTimes:
    """Evenly spaced rounds, and without a step of its own the samples of some pages too."""

    def __init__(self, samples: Sequence[SeriesPage], start: Millis, every: Millis | None) -> None:
        self._pages, self._start = samples, start
        self._sampled_pages = [] if every is not None else samples
        self._interval = ROUND_MS if every is None else every
        self._cached: tuple[Millis, Millis, list[Ints]] | None = None

    def between(self, first: Millis, last: Millis, at_once: int) -> list[Ints]:
        """All of them, inclusive, ascending, so many at a time. `first` is one of the evenly spaced.

        Who asks next for the same gets the same arrays.
        """
        if self._cached is None or self._cached[:2] != (first, last):
            self._cached = first, last, self._between(first, last, at_once)
        return self._cached[2]

    def _between(self, first: Millis, last: Millis, at_once: int) -> list[Ints]:
        interval, end = self._interval, last + 1
        even_times = np.arange(first, end, interval, dtype=np.int64)
        more = [t for page in self._sampled_pages if (t := _off_grid(page, first, end, interval)).size]
        times = _merge_times(even_times, more) if more else even_times
        times.flags.writeable = False
        parts = [times[at : at + at_once] for at in range(0, times.size, at_once)]
        for part in parts:
            for page in self._pages:
                announce_spacing(page, part, interval if times.size == even_times.size else 0)
        return parts

    def first_from(self, earliest: Millis) -> Millis:
        """The first one from `earliest` on."""
        first = self._start + -(-(earliest - self._start) // self._interval) * self._interval
        return min(
            [
                first,
                *(
                    int(page.t[at])
                    for page in self._sampled_pages
                    if (at := page.t.searchsorted(earliest)) < page.t.size
                ),
            ]
        )

    def last_until(self, until: Millis) -> Millis:
        """The last one up to `until`."""
        last = self._start + (until - self._start) // self._interval * self._interval
        return max(
            [
                last,
                *(
                    int(page.t[at - 1])
                    for page in self._sampled_pages
                    if (at := page.t.searchsorted(until, "right")) > 0
                ),
            ]
        )


def _off_grid(page: SeriesPage, low: Millis, high: Millis, interval: Millis) -> Ints:
    """The samples from `low` until before `high`; none when all of them are evenly spaced rounds as well."""
    start, stop = int(page.t.searchsorted(low)), int(page.t.searchsorted(high))
    t = page.t[start:stop]
    if (
        stop - start > 1
        and (int(t[0]) - low) % interval == 0
        and (apart := cached_spacing(page, start, stop))
        and apart % interval == 0
    ):
        return t[:0]
    return t


def _merge_times(even_times: Ints, more: list[Ints]) -> Ints:
    times = np.concatenate((even_times, *more))
    times.sort(kind="stable")  # runs that are sorted already are merged
    fresh = np.ones(times.size, np.bool_)
    np.not_equal(times[1:], times[:-1], out=fresh[1:])
    return times[fresh]
