"""`rate`, `increase`, `delta`, `irate` and `idelta`: of one window of several rows, and of many windows of one row."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from watchdog.core.model import Millis
from watchdog.promql.functions import folds
from watchdog.promql.functions.windows import Window, WindowBatch, in_chunks, to_array
from watchdog.tsdb.page import Floats


def _extrapolated_rate(window: Window, *, counter: bool, per_second: bool) -> Floats | None:
    """What `rate`, `increase` and `delta` share."""
    t, v = window.t, window.v
    if t.size < 2:
        return None
    lost: Floats | float = 0.0
    if counter:
        resets = v[:, 1:] < v[:, :-1]
        if resets.any():
            lost = folds.fold_sum(np.where(resets, v[:, :-1], 0.0))
    return _extrapolate(
        v[:, 0],
        v[:, -1],
        lost,
        t.size - 1,
        int(t[-1] - t[0]),
        int(t[0] - window.start),
        int(window.end - t[-1]),
        window.end - window.start,
        counter=counter,
        per_second=per_second,
    )


def _extrapolated_rates(windows: WindowBatch, *, counter: bool, per_second: bool) -> Floats:
    v = windows.v
    lost: Floats | float = 0.0
    if counter:
        base = windows.sample_slice()
        near = v[base]
        resets = near[1:] < near[:-1]
        if resets.any():
            lost = in_chunks(_counter_reset_corrections, windows)
    first, last = windows.first(windows.t), windows.last(windows.t)
    spaced: tuple[Any, Any, Any] = (last - first, first - (windows.ends - windows.span), windows.ends - last)
    if windows.evenly_spaced:  # alike for all of them
        spaced = tuple(int(x[0]) for x in spaced)  # type: ignore[assignment]
    return _extrapolate(
        windows.first(v),
        windows.last(v),
        lost,
        windows.counts - 1,
        *spaced,
        windows.span,
        counter=counter,
        per_second=per_second,
    )


def _counter_reset_corrections(windows: WindowBatch) -> Floats:
    """What counters lost at their resets. At least one window of two samples."""
    base = windows.sample_slice()
    near = windows.v[base]
    steps = np.zeros(near.size)
    np.copyto(steps[1:], near[:-1], where=near[1:] < near[:-1])
    if windows.step:
        return (
            folds.sum_sliding(steps[1:], windows.samples_per_window - 1)[:: windows.step]
            if windows.samples_per_window > 1
            else np.zeros(windows.size)
        )
    counts = np.maximum(np.asarray(windows.counts) - 1, 1)  # of a single sample nothing is said
    firsts = np.minimum(to_array(windows.firsts) - base.start + 1, near.size - 1)
    return folds.fold_windows((steps,), firsts, counts, folds.add)[0]


def _extrapolate(
    first: Any,
    last: Any,
    lost: Any,
    steps: Any,
    sampled: Any,
    to_start: Any,
    to_end: Any,
    span: Millis,
    *,
    counter: bool,
    per_second: bool,
) -> Floats:
    """Operation by operation as Prometheus 3 does it.

    The change between the first and the last sample, stretched to the window's edges where samples lie close enough
    to them (1.1 × the mean distance), by half a distance where they do not; a counter never to before its zero.
    The distances are in ms.
    """
    result = last - first + lost
    to_start, to_end, sampled = to_start / 1_000, to_end / 1_000, sampled / 1_000
    distance = sampled / steps
    threshold = distance * 1.1
    to_start, to_end = _edge_extension(to_start, threshold, distance), _edge_extension(to_end, threshold, distance)
    if counter:
        rises = (result > 0) & (first >= 0)
        to_zero = sampled * (first / np.where(rises, result, 1.0))
        to_start = np.where(rises & (to_zero < to_start), to_zero, to_start)
    factor = (sampled + to_start + to_end) / sampled
    if per_second:
        factor = factor / (span / 1_000)
    return np.asarray(result * factor)


def _edge_extension(away: Any, threshold: Any, distance: Any) -> Any:
    if isinstance(away, float):
        return distance / 2 if away >= threshold else away
    return np.where(away >= threshold, distance / 2, away)


def _instant_rate(window: Window, *, counter: bool, per_second: bool) -> Floats | None:
    """`irate` and `idelta`."""
    if window.t.size < 2:
        return None
    apart = int(window.t[-1] - window.t[-2])
    return _instant_change(window.v[:, -2], window.v[:, -1], apart, counter=counter, per_second=per_second)


def _instant_rates(windows: WindowBatch, *, counter: bool, per_second: bool) -> Floats:
    apart = windows.last(windows.t) - windows.last(windows.t, 2)
    return _instant_change(
        windows.last(windows.v, 2), windows.last(windows.v), apart, counter=counter, per_second=per_second
    )


def _instant_change(before: Any, last: Any, apart: Any, *, counter: bool, per_second: bool) -> Floats:
    change = last - before
    if counter:
        change = np.where(last < before, last, change)
    return np.asarray(change / (apart / 1_000) if per_second else change)


rate = partial(_extrapolated_rate, counter=True, per_second=True)
rates = partial(_extrapolated_rates, counter=True, per_second=True)
increase = partial(_extrapolated_rate, counter=True, per_second=False)
increases = partial(_extrapolated_rates, counter=True, per_second=False)
delta = partial(_extrapolated_rate, counter=False, per_second=False)
deltas = partial(_extrapolated_rates, counter=False, per_second=False)
instant_rate = partial(_instant_rate, counter=True, per_second=True)
instant_rates = partial(_instant_rates, counter=True, per_second=True)
instant_delta = partial(_instant_rate, counter=False, per_second=False)
instant_deltas = partial(_instant_rates, counter=False, per_second=False)
