"""One time, and what is read at it: columns of pages, and functions over them, each found once for all who ask."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from watchdog.core.model import Millis
from watchdog.promql.eval.context import NO_SAMPLE
from watchdog.promql.fast.incremental import IncrementalWindow, MemoryBudget
from watchdog.promql.functions.function import RangeFunction
from watchdog.promql.functions.windows import Window
from watchdog.tsdb.page import SeriesPage


class FastPathUnavailable(Exception):  # noqa: N818 - no error: the longer way is taken
    """These samples are not for the short way."""


class WindowKey(NamedTuple):
    """Where a selector reads: everything that reads there shares one `WindowView` at each time."""

    page_id: int
    at: Millis | None
    offset: Millis
    span: Millis
    whole_window: bool
    """Whether all of the window is read, rather than its newest cell."""


class WindowView:
    """The columns of one page that are read at one time."""

    __slots__ = ("end", "first", "gap_free", "last", "newest", "newest_sample_time", "page", "read_cell", "valid_until")

    def __init__(self, page: SeriesPage, spot: WindowKey, now: Millis, since: Millis) -> None:
        t, span = page.t, spot.span
        self.page = page
        self.end = end = (now if spot.at is None else spot.at) - spot.offset
        size, begin = t.size, max(end - span, since)
        last = size if size and t.item(-1) <= end else int(t.searchsorted(end, "right"))
        if spot.whole_window or not last:
            self.first = int(t.searchsorted(begin, "right"))
        else:  # nothing but the newest is read
            self.first = last - (t.item(last - 1) > begin)
        first, self.last = self.first, last
        self.read_cell = page.v.item
        self.valid_until = now
        """Until when nothing that is read here changes, as long as no samples come."""
        if first >= last:
            self.newest, self.gap_free, self.newest_sample_time = NO_SAMPLE, True, 0
            return
        self.newest_sample_time = newest = t.item(last - 1)
        oldest = t.item(first)
        self.newest = newest + now - end
        self.gap_free = page.newest_gap < oldest
        if end == now and last == size:
            self.valid_until = (oldest if spot.whole_window else newest) + span


class SharedRangeCall:
    """A function over the same window of some rows of a page, which are worked out together."""

    def __init__(
        self,
        function: RangeFunction,
        page: SeriesPage,
        number: int,
        spot: WindowKey,
        args: tuple[float, ...],
        room: MemoryBudget,
    ) -> None:
        self.kernel, self.args = function.kernel, args
        self.page, self.window_number, self.window_key = page, number, spot
        self.rows: list[int] = []
        self._incremental, self._memory_budget = function.incremental, room
        self._incremental_windows: dict[int, IncrementalWindow] = {}

    def evaluate(self, cache: RoundCache, row: int) -> dict[int, float | None]:
        """Row → value; `row` is among them. All of them when there is little to read, else that row alone."""
        view = cache.window_view(self.window_number, self.page, self.window_key)
        first, last = view.first, view.last
        if first >= last:
            return dict.fromkeys(self.rows)
        if not view.gap_free:
            raise FastPathUnavailable
        rows = self.rows
        kind = self._incremental
        together = len(rows) > (1 if kind is None else _MIN_BATCH_ROWS) and last - first <= _MAX_BATCH_SAMPLES
        if not together:
            if kind is not None:
                running = self._incremental_windows.get(row)
                if running is None:
                    running = self._incremental_windows[row] = IncrementalWindow(
                        kind, self.page, row, self._memory_budget
                    )
                x = running.value(first, last)
                if x is not None:
                    return {row: x}
            rows = [row]
        low, high = min(rows), max(rows) + 1
        v = self.page.v[low:high, first:last] if high - low <= 2 * len(rows) else self.page.v[rows, first:last]
        window = Window(self.page.t[first:last], v, view.end - self.window_key.span, view.end, cache.now)
        with np.errstate(all="ignore"):
            got = self.kernel(window, *self.args)
        if got is None:
            return dict.fromkeys(rows)
        if len(got) == len(rows) and high - low > 2 * len(rows):
            return dict(zip(rows, got.tolist(), strict=True))
        return dict(zip(range(low, high), got.tolist(), strict=True))


_MIN_BATCH_ROWS = 16
"""Rows from which on to work them out together is faster than what each remembers of the last round."""
_MAX_BATCH_SAMPLES = 4_096
"""Samples in a window from which on a row costs more than the call: then each is worked out when it is asked for."""


class RoundCache:
    """One time, and what was read at it so far."""

    __slots__ = ("call_results", "now", "samples_after", "window_views")

    def __init__(self, now: Millis, since: Millis) -> None:
        self.now, self.samples_after = now, since
        self.window_views: dict[int, WindowView] = {}
        """By the number of the spot."""
        self.call_results: dict[SharedRangeCall, dict[int, float | None]] = {}

    def window_view(self, number: int, page: SeriesPage, spot: WindowKey) -> WindowView:
        known = self.window_views.get(number)
        if known is None:
            known = self.window_views[number] = WindowView(page, spot, self.now, self.samples_after)
        return known


class PlanRegistry:
    """What the plans over some series share."""

    def __init__(self) -> None:
        self.window_numbers: dict[WindowKey, int] = {}
        self.shared_calls: dict[object, SharedRangeCall] = {}
        self.memory_budget = MemoryBudget()
