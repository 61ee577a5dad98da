"""Sums, means and extremes of the rows of a matrix.

Each result depends on the values of its row and their order, on nothing else: not on the rows beside it, not on where
the row lies in memory, not on what was computed before. That is why live and replay agree bit for bit.

Sums and means are corrected by their own residue, so that they are right to the last place or next to it, as the
compensated sums of Prometheus are. The mean of a constant is that constant: a rule at its very limit depends on it.
Where great numbers cancel each other out the residue is not enough, and the row is summed exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from watchdog.tsdb.page import Floats

_SPLIT_FACTOR = 134_217_729.0  # 2**27 + 1: parts a float into two halves whose products are exact
_CANCELLATION_RATIO = 2.0**20  # the sum is so much smaller than what was summed: 20 of 53 bits are lost


def row_sum(w: Floats) -> Floats:
    """Sum of each row. [rows, n] → [rows]"""
    n = w.shape[1]
    plain: Floats = np.add.reduce(w, axis=1)
    if n <= 2:
        return plain
    mean = plain / n
    rest = np.add.reduce(w - mean[:, None], axis=1)
    product = mean * n
    scaled = mean * _SPLIT_FACTOR
    high = scaled - (scaled - mean)
    error = (high * n - product) + (mean - high) * n  # what rounding took from the product
    exact = product + (error + rest)
    sums = np.where(np.isfinite(exact), exact, plain)
    for row in _cancelling_rows(w, sums / n):
        sums[row] = _exact_sum(w[row])
    return sums


def row_mean(w: Floats) -> Floats:
    """Mean of each row; does not overflow where the sum would. [rows, n] → [rows]"""
    n = w.shape[1]
    first: Floats = np.add.reduce(w, axis=1) / n
    result: Floats = first + np.add.reduce(w - first[:, None], axis=1) / n
    wild = ~np.isfinite(result)
    if wild.any():
        shared = row_sum(w[wild] / n)
        result[wild] = np.where(np.isfinite(w[wild]).all(axis=1), shared, first[wild])
    for row in _cancelling_rows(w, result) if n > 2 else ():
        result[row] = _exact_sum(w[row]) / n
    return result


def _cancelling_rows(w: Floats, means: Floats) -> Iterable[int]:
    """Rows whose greatest value dwarfs their mean."""
    greatest = np.maximum(np.maximum.reduce(w, axis=1), -np.minimum.reduce(w, axis=1))
    cancelled = (greatest > np.abs(means) * _CANCELLATION_RATIO) & (greatest < np.inf)
    return np.flatnonzero(cancelled).tolist() if cancelled.any() else ()


def _exact_sum(row: Floats) -> float:
    try:
        return math.fsum(row)
    except OverflowError:  # on the way, though perhaps not in the end
        return math.fsum(row / _CANCELLATION_RATIO**3) * _CANCELLATION_RATIO**3


def row_variance(w: Floats) -> Floats:
    """Population variance of each row. [rows, n] → [rows]"""
    return np.asarray(np.add.reduce(np.square(w - row_mean(w)[:, None]), axis=1) / w.shape[1])


def row_quantile(w: Floats, q: Floats | float) -> Floats:
    """Quantile of each row, between two values by their weighted mean; NaN is less than every number. `q`: for all, or
    one each; beyond 0 and 1 it gives an infinity."""
    q = np.broadcast_to(np.asarray(q, np.float64), w.shape[:1])
    n = w.shape[1]
    nans = np.isnan(w)
    ranked = np.sort(np.where(nans, -np.inf, w), axis=1)
    ranked[np.arange(n) < nans.sum(axis=1)[:, None]] = np.nan
    inside = (q >= 0) & (q <= 1)
    rank = np.where(inside, q, 0.0) * (n - 1)
    low = np.floor(rank)
    weight, rows, lower = rank - low, np.arange(len(w)), low.astype(np.intp)
    found = ranked[rows, lower] * (1 - weight) + ranked[rows, np.minimum(lower + 1, n - 1)] * weight
    return np.where(inside, found, np.where(np.isnan(q), np.nan, np.where(q < 0, -np.inf, np.inf)))


def linear_regression(t: Floats, v: Floats) -> tuple[Floats, Floats]:
    """Least squares of each row of `v` [rows, n] over the times `t` [n]: slope, and the value at time 0. [rows] each.

    Distances from the means, not sums of squares: nothing great cancels out."""
    at = float(row_mean(t[None, :])[0])
    apart = t - at
    middle = row_mean(v)
    slope = np.add.reduce(apart * (v - middle[:, None]), axis=1) / np.add.reduce(np.square(apart))
    constant = (v == v[:, :1]).all(axis=1)
    flat = np.where(np.isinf(v[:, 0]), np.nan, 0.0)
    slope = np.where(constant, flat, slope)
    return slope, np.where(constant, v[:, 0] + flat, middle - slope * at)


def row_max(w: Floats) -> Floats:
    """Maximum of each row, NaN only when all is NaN. Adding zero makes -0 and 0 one value, whatever the order."""
    return np.asarray(np.fmax.reduce(w, axis=1) + 0.0)


def row_min(w: Floats) -> Floats:
    """Minimum of each row, NaN only when all is NaN."""
    return np.asarray(np.fmin.reduce(w, axis=1) + 0.0)


def power(base: Floats, exponent: Floats) -> Floats:
    """``base ^ exponent``. numpy squares where the exponent is one single 2 and calls pow elsewhere; we always square."""
    base, exponent = (np.ascontiguousarray(side) for side in np.broadcast_arrays(base, exponent))
    return np.where(exponent == 2.0, base * base, np.power(base, exponent))
