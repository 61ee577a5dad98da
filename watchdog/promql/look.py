"""One time, and what is read at it: columns of pages, and functions over them, each found once for all who ask."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from watchdog.model import Millis
from watchdog.promql.functions import RANGE
from watchdog.promql.nodes import RangeCall
from watchdog.promql.pages import Page
from watchdog.promql.running import KINDS, Room, Running
from watchdog.promql.selectors import NONE
from watchdog.promql.windows import Window


class Unusual(Exception):  # noqa: N818 - no error: the longer way is taken
    """These samples are not for the short way."""


class Spot(NamedTuple):
    """Where a selector reads: everything that reads there shares one `View` at each time."""

    page: int
    at: Millis | None
    offset: Millis
    span: Millis
    whole: bool
    """Whether all of the window is read, rather than its newest cell."""


class View:
    """The columns of one page that are read at one time."""

    __slots__ = ("cell", "clean", "end", "first", "last", "newest", "page", "sampled", "until")

    def __init__(self, page: Page, spot: Spot, now: Millis, since: Millis) -> None:
        t, span = page.t, spot.span
        self.page = page
        self.end = end = (now if spot.at is None else spot.at) - spot.offset
        size, begin = t.size, max(end - span, since)
        last = size if size and t.item(-1) <= end else int(t.searchsorted(end, "right"))
        if spot.whole or not last:
            self.first = int(t.searchsorted(begin, "right"))
        else:  # nothing but the newest is read
            self.first = last - (t.item(last - 1) > begin)
        first, self.last = self.first, last
        self.cell = page.v.item
        self.until = now
        """Until when nothing that is read here changes, as long as no samples come."""
        if first >= last:
            self.newest, self.clean, self.sampled = NONE, True, 0
            return
        self.sampled = newest = t.item(last - 1)
        oldest = t.item(first)
        self.newest = newest + now - end
        self.clean = page.gap_max < oldest
        if end == now and last == size:
            self.until = (oldest if spot.whole else newest) + span


class Shared:
    """A function over the same window of some rows of a page, which are worked out together."""

    def __init__(
        self, node: RangeCall, page: Page, number: int, spot: Spot, args: tuple[float, ...], room: Room
    ) -> None:
        self.func, self.kernel, self.args = node.func, RANGE[node.func], args
        self.page, self.number, self.spot = page, number, spot
        self.rows: list[int] = []
        self._runs, self._room = node.func in KINDS, room
        self._running: dict[int, Running] = {}

    def values(self, look: Look, row: int) -> dict[int, float | None]:
        """Row → value; `row` is among them. All of them when there is little to read, else that row alone."""
        view = look.view(self.number, self.page, self.spot)
        first, last = view.first, view.last
        if first >= last:
            return dict.fromkeys(self.rows)
        if not view.clean:
            raise Unusual
        rows = self.rows
        together = len(rows) > (_MANY if self._runs else 1) and last - first <= _LONG
        if not together:
            if self._runs:
                running = self._running.get(row)
                if running is None:
                    running = self._running[row] = Running(self.func, self.page, row, self._room)
                x = running.value(first, last)
                if x is not None:
                    return {row: x}
            rows = [row]
        low, high = min(rows), max(rows) + 1
        v = self.page.v[low:high, first:last] if high - low <= 2 * len(rows) else self.page.v[rows, first:last]
        window = Window(self.page.t[first:last], v, view.end - self.spot.span, view.end, look.now)
        with np.errstate(all="ignore"):
            got = self.kernel(window, *self.args)
        if got is None:
            return dict.fromkeys(rows)
        if len(got) == len(rows) and high - low > 2 * len(rows):
            return dict(zip(rows, got.tolist(), strict=True))
        return dict(zip(range(low, high), got.tolist(), strict=True))


_MANY = 16
"""Rows from which on to work them out together is faster than what each remembers of the last look."""
_LONG = 4_096
"""Samples in a window from which on a row costs more than the call: then each is worked out when it is asked for."""


class Look:
    """One time, and what was read at it so far."""

    __slots__ = ("kernels", "now", "since", "views")

    def __init__(self, now: Millis, since: Millis) -> None:
        self.now, self.since = now, since
        self.views: dict[int, View] = {}
        """By the number of the spot."""
        self.kernels: dict[Shared, dict[int, float | None]] = {}

    def view(self, number: int, page: Page, spot: Spot) -> View:
        known = self.views.get(number)
        if known is None:
            known = self.views[number] = View(page, spot, self.now, self.since)
        return known


class Common:
    """What the plans over some series share."""

    def __init__(self) -> None:
        self.numbers: dict[Spot, int] = {}
        self.shared: dict[object, Shared] = {}
        self.room = Room()
