"""A copy of samples in memory for whoever is not on the daemon's loop: made on it, a millisecond at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from watchdog.core.errors import WatchdogError
from watchdog.core.model import Millis
from watchdog.tsdb.page import PageList
from watchdog.tsdb.page_copy import PageCopy, copy_in_slices, count_cells


async def copy_series(
    store: PageList, metrics: Collection[str], after: Millis, until: Millis, max_values: int
) -> list[PageCopy]:
    """The series of these metrics (``""``: all) with ``after < t <= until``. Raises WatchdogError when they have more values."""
    values = count_cells(store.pages, metrics, after, until)
    if values > max_values:
        cure = "ask for fewer series or a shorter time, or ask the file itself: --history series.db"
        raise WatchdogError(f"that reads {values:,} samples in memory, more than {max_values:,} — {cure}")
    slices = copy_in_slices(store.pages, metrics, after, until)
    while True:
        try:
            next(slices)
        except StopIteration as done:
            copied: list[PageCopy] = done.value
            return copied
        await asyncio.sleep(0)


def copier(
    store: PageList, loop: Callable[[], asyncio.AbstractEventLoop]
) -> Callable[[Collection[str], Millis, Millis, int], list[PageCopy]]:
    """`copy_series` for other threads than that of `loop`."""

    def copy(metrics: Collection[str], after: Millis, until: Millis, max_values: int) -> list[PageCopy]:
        copying = copy_series(store, metrics, after, until, max_values)
        return asyncio.run_coroutine_threadsafe(copying, loop()).result(5)

    return copy
