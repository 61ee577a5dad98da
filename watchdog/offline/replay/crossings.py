"""Where verdicts turn to another kind, and which of those turns come to anything.

A value that goes to and fro across its limit pends and drops over and over. What it takes to trip, or to clear, is a run of one
kind that lasts (or N bad ones of M): replay looks closely at how those begin, and passes over the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from watchdog.rules import KIND_BAD
from watchdog.rules.state_machine import MachineConfig
from watchdog.tsdb.page import Bools, Ints


class Crossings(NamedTuple):
    """The turns of some rows at many times."""

    edges: Ints
    """Ascending: places at which a verdict is of another kind than the time before."""
    hard: Ints
    """Those of them at which it is not a number that went from one side of a limit to the other."""
    kinds: npt.NDArray[np.int8] | None = None
    """[rows, n]; None: always the same."""


class LabelSetRow:
    """One label set: how it may trip while it does not fire, and clear while it does."""

    def __init__(
        self, kinds: npt.NDArray[np.int8], times: Ints, newest: Ints, machine_config: MachineConfig, well: int
    ) -> None:
        patience = machine_config.patience
        bad: Bools = kinds == KIND_BAD
        self._trips = (
            _CountWindow(bad, newest, patience.n, patience.m)
            if patience.m
            else _LastingRuns(bad, times, patience.duration)
        )
        self._clears = _LastingRuns(kinds == well, times, machine_config.clear_for)

    def next_relevant(self, fires: bool, start: int, stop: int) -> int | None:
        """From where on to look closely, from `start` until before `stop`; None: nothing comes of it."""
        return (self._clears if fires else self._trips).next_relevant(start, stop)


class _LastingRuns:
    """Runs of what must last a while."""

    def __init__(self, held: Bools, times: Ints, least: int) -> None:
        turned = np.flatnonzero(held[1:] != held[:-1]) + 1
        bounds = np.concatenate(([0], turned, [held.size]))
        starts, stops = bounds[:-1], bounds[1:]
        mine = slice(0, None, 2) if held.size and held[0] else slice(1, None, 2)
        self._starts, self._stops = starts[mine], stops[mine]
        self._long = self._starts[times[self._stops - 1] - times[self._starts] >= least]

    def next_relevant(self, start: int, stop: int) -> int | None:
        """Where the first run begins that lasts, or that goes on at the end."""
        at = int(self._long.searchsorted(start))
        found = int(self._long[at]) if at < self._long.size and self._long[at] < stop else None
        last = int(self._starts.searchsorted(stop)) - 1
        if last >= 0 and self._stops[last] >= stop and (begun := max(start, int(self._starts[last]))) < stop:
            return begun if found is None else min(found, begun)
        return found


class _CountWindow:
    """Places at which N of the last M evaluations were bad."""

    def __init__(self, bad: Bools, newest: Ints, n: int, m: int) -> None:
        fresh = np.ones(bad.size, np.bool_)
        np.greater(newest[1:], newest[:-1], out=fresh[1:])
        self._evaluated, self._m = np.flatnonzero(fresh), m
        count = np.zeros(self._evaluated.size + 1, np.int64)
        np.cumsum(bad[self._evaluated], out=count[1:])
        evaluated = np.cumsum(fresh)
        self._enough = np.flatnonzero(bad & (count[evaluated] - count[np.maximum(evaluated - m, 0)] >= n))

    def next_relevant(self, start: int, stop: int) -> int | None:
        """So far ahead of the first one, or of the end, that none of those M is missed."""
        at = int(self._enough.searchsorted(start))
        until = min(int(self._enough[at]) + 1, stop) if at < self._enough.size else stop
        back = int(self._evaluated.searchsorted(until)) - self._m - 1
        return max(start, int(self._evaluated[back]) if back >= 0 else 0)


def next_relevant(
    rows: Sequence[LabelSetRow], fires: Sequence[bool], crossings: Crossings, edge: int, size: int
) -> int:
    """From where on, not before an edge, some row must be looked at closely, when none of them is half-way to anything now.

    `size`: how many times there are.
    """
    at = int(crossings.hard.searchsorted(edge))
    stop = int(crossings.hard[at]) if at < crossings.hard.size else size
    if stop <= edge:
        return edge
    found = [
        place
        for row, firing in zip(rows, fires, strict=True)
        if (place := row.next_relevant(firing, edge, stop)) is not None
    ]
    return min(found) if found else int(crossings.edges[int(crossings.edges.searchsorted(stop)) - 1])
