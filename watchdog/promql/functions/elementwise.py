"""Functions of single numbers that numpy lacks, or means otherwise than PromQL."""

from __future__ import annotations

import numpy as np

from watchdog.tsdb.page import Bools, Floats


def sign(v: Floats) -> Floats:
    return np.where(v < 0, -1.0, np.where(v > 0, 1.0, v))


def round_to(v: Floats, nearest: Floats | None = None) -> Floats:
    inverse = 1.0 / (np.float64(1.0) if nearest is None else nearest)  # inverted for accuracy, as in Prometheus
    return np.floor(v * inverse + 0.5) / inverse


def clamp(v: Floats, low: Floats | float, high: Floats | float) -> Floats:
    """NaN wins over everything but the infinity that no number exceeds, as in Go."""
    capped = np.where((v == -np.inf) | np.equal(high, -np.inf), -np.inf, np.minimum(high, v))
    return np.where((capped == np.inf) | np.equal(low, np.inf), np.inf, np.maximum(low, capped))


def clamp_has_result(low: Floats, high: Floats) -> Bools:
    return ~(high < low)


def clamp_min(v: Floats, low: Floats | float) -> Floats:
    return clamp(v, low, np.inf)


def clamp_max(v: Floats, high: Floats | float) -> Floats:
    return clamp(v, -np.inf, high)


def degrees(v: Floats) -> Floats:
    return v * 180 / np.pi


def radians(v: Floats) -> Floats:
    return v * np.pi / 180
