"""What is counted of windows: their samples, and those that differ from the one before; and the newest sample."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from watchdog.promql.functions.windows import Window, WindowBatch, to_array
from watchdog.tsdb.page import Bools, Floats

Flag = Callable[[Floats, Floats], Bools]
"""Says of samples and of those before them which are flagged."""


def differs(before: Floats, after: Floats) -> Bools:
    return np.asarray((before != after) & ~(np.isnan(before) & np.isnan(after)))


def decreased(before: Floats, after: Floats) -> Bools:
    return np.asarray(after < before)


def count_flagged(window: Window, flag: Flag) -> Floats:
    """How many samples are flagged when compared with the one before."""
    return np.asarray(np.add.reduce(flag(window.v[:, :-1], window.v[:, 1:]), axis=1, dtype=np.float64))


def count_flagged_of_batch(windows: WindowBatch, flag: Flag) -> Floats:
    """The same of many windows."""
    base = windows.sample_slice()
    v = windows.v[base]
    count = np.zeros(v.size, np.int64)
    np.cumsum(flag(v[:-1], v[1:]), out=count[1:])
    if windows.step:
        starts = slice(0, (windows.size - 1) * windows.step + 1, windows.step)
        change = count[windows.samples_per_window - 1 :][starts] - count[starts]
    else:
        change = count[to_array(windows.lasts) - 1 - base.start] - count[to_array(windows.firsts) - base.start]
    return np.asarray(change, np.float64)


changes = partial(count_flagged, flag=differs)
changes_of_batch = partial(count_flagged_of_batch, flag=differs)
resets = partial(count_flagged, flag=decreased)
resets_of_batch = partial(count_flagged_of_batch, flag=decreased)


def count_over_time(window: Window) -> Floats:
    return np.full(len(window.v), float(window.t.size))


def counts_over_time(windows: WindowBatch) -> Floats:
    return np.broadcast_to(np.asarray(windows.counts, np.float64), windows.size)


def present_over_time(window: Window) -> Floats:
    return np.ones(len(window.v))


def present_of_batch(windows: WindowBatch) -> Floats:
    return np.ones(windows.size)


def last_over_time(window: Window) -> Floats:
    return window.v[:, -1]


def last_of_batch(windows: WindowBatch) -> Floats:
    return windows.last(windows.v)
