"""What a range function is given: one window of several series, or many windows of one series."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from watchdog.core.model import Millis
from watchdog.tsdb.page import Floats, Ints

IndexArray = npt.NDArray[np.intp]


class Window(NamedTuple):
    """The samples of some series in one window. All of them have a sample at each of the times."""

    t: Ints
    """[n] ms, ascending; n is at least 1."""
    v: Floats
    """[rows, n]"""
    start: Millis
    """Exclusive."""
    end: Millis
    """Inclusive."""
    evaluated_at: Millis
    """The time of evaluation: `end`, but for offset and @."""


RangeKernel = Callable[..., Floats | None]
"""[rows] from one window, and from scalars where the function takes any; None: too few samples to say anything."""

ColumnIndices = Ints | range
"""Of each window a place among the samples; a range where windows follow each other at equal distances."""


def to_array(columns: ColumnIndices) -> Ints:
    return np.arange(columns.start, columns.stop, columns.step) if isinstance(columns, range) else columns


CHUNK_SIZE = 32_768
"""Windows that are worked out together: what is touched on the way stays in the processor's cache."""


class WindowBatch:
    """Many windows of one series, none of them empty.

    They slide when `firsts` and `lasts` are ranges: each holds as many samples as the one before. Then everything is read
    as slices.
    """

    __slots__ = (
        "counts",
        "ends",
        "evaluated_at",
        "evenly_spaced",
        "firsts",
        "lasts",
        "samples_per_window",
        "size",
        "span",
        "step",
        "t",
        "v",
    )

    def __init__(
        self,
        t: Ints,
        v: Floats,
        firsts: ColumnIndices,
        lasts: ColumnIndices,
        ends: Ints,
        evaluated_at: Ints,
        span: Millis,
        *,
        evenly_spaced: bool = False,
    ) -> None:
        self.t, self.v = t, v
        """[n] ms and values."""
        self.firsts, self.lasts = firsts, lasts
        """[windows] first sample, and the one after the last."""
        self.ends, self.evaluated_at, self.span = ends, evaluated_at, span
        self.size = len(firsts)
        self.step = firsts.step if isinstance(firsts, range) and self.size else 0
        """How many samples each begins after the one before, when they slide; else 0."""
        self.evenly_spaced = evenly_spaced and bool(self.step)
        """They slide over samples at equal distance, and their ends with them: all are alike but for the values."""
        self.samples_per_window = int(lasts[0] - firsts[0]) if self.step else 0
        """Samples of each, when they slide."""
        self.counts: Ints | int = self.samples_per_window if self.step else to_array(lasts) - to_array(firsts)

    def first(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Of something said of each sample: what is said of the first of each window."""
        return (
            x[slice(self.firsts.start, self.firsts.stop, self.step)]
            if isinstance(self.firsts, range)
            else x[self.firsts]
        )

    def last(self, x: npt.NDArray[Any], back: int = 1) -> npt.NDArray[Any]:
        """… of the last, or of one so many before the end."""
        if isinstance(self.lasts, range):
            return x[slice(self.lasts.start - back, self.lasts.stop - back, self.step)]
        return x[self.lasts - back]

    def sample_slice(self) -> slice:
        """The samples that they read, from the first to the last of them."""
        if self.step:
            return slice(int(self.firsts[0]), int(self.lasts[-1]))
        return slice(int(to_array(self.firsts).min()), int(to_array(self.lasts).max()))

    def subset(self, which: slice | IndexArray) -> WindowBatch:
        """Some of them."""
        if isinstance(which, slice):
            firsts, lasts = self.firsts[which], self.lasts[which]
            return WindowBatch(
                self.t,
                self.v,
                firsts,
                lasts,
                self.ends[which],
                self.evaluated_at[which],
                self.span,
                evenly_spaced=self.evenly_spaced,
            )
        firsts, lasts = to_array(self.firsts)[which], to_array(self.lasts)[which]
        return WindowBatch(self.t, self.v, firsts, lasts, self.ends[which], self.evaluated_at[which], self.span)

    def chunks(self) -> Iterator[tuple[slice, WindowBatch]]:
        """So many at a time as fit the cache with what they read."""
        longest = self.counts if isinstance(self.counts, int) else int(self.counts.max(initial=0))
        most = max(CHUNK_SIZE, 2 * longest) // max(1, self.step) + 1
        for start in range(0, self.size, most):
            some = slice(start, min(start + most, self.size))
            yield some, self if most >= self.size else self.subset(some)

    def sample_rows(self) -> Iterator[tuple[IndexArray, Floats]]:
        """The samples themselves, a row for each window: which windows, and [those, n]. Windows of one length together."""
        firsts = to_array(self.firsts)
        if self.step:
            groups = [np.arange(self.size)]
        else:
            order = np.argsort(self.counts, kind="stable")
            groups = np.split(order, np.flatnonzero(np.diff(np.asarray(self.counts)[order])) + 1) if self.size else []
        for group in groups:
            n = int(self.lasts[int(group[0])] - self.firsts[int(group[0])])
            view = np.lib.stride_tricks.sliding_window_view(self.v, n)
            most = max(1, 4 * CHUNK_SIZE // n)
            for start in range(0, group.size, most):
                some = group[start : start + most]
                yield some, view[firsts[some]]


BatchKernel = Callable[..., Floats]
"""[windows] of one series; NaN where the kernel would say nothing (see `RangeFunction.min_samples`)."""


def apply_to_rows(windows: WindowBatch, *args: float, kernel: RangeKernel) -> Floats:
    """A kernel that looks at values alone: the windows of one length are rows to it."""
    result = np.empty(windows.size)
    for some, rows in windows.sample_rows():
        first = int(some[0])
        got = kernel(_make_window(windows, first, rows), *args)
        assert got is not None
        result[some] = got
    return result


def apply_to_even_rows(windows: WindowBatch, *args: float, kernel: RangeKernel) -> Floats:
    """A kernel that looks at times too: windows are rows to it where their samples lie alike, one by one where they do not."""
    if windows.evenly_spaced:
        return apply_to_rows(windows, *args, kernel=kernel)
    result = np.empty(windows.size)
    for i in range(windows.size):
        got = kernel(_make_window(windows, i, windows.v[None, windows.firsts[i] : windows.lasts[i]]), *args)
        assert got is not None
        result[i] = got[0]
    return result


def _make_window(windows: WindowBatch, i: int, v: Floats) -> Window:
    end = int(windows.ends[i])
    return Window(
        windows.t[windows.firsts[i] : windows.lasts[i]], v, end - windows.span, end, int(windows.evaluated_at[i])
    )


def in_chunks(of: Callable[[WindowBatch], Floats], windows: WindowBatch) -> Floats:
    """So many windows at a time as fit the cache."""
    if windows.size <= max(2 * windows.samples_per_window, 2_048):
        return of(windows)
    result = np.empty(windows.size)
    for some, part in windows.chunks():
        result[some] = of(part)
    return result
