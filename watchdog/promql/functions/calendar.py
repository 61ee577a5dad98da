"""`hour`, `day_of_week` and their relatives: parts of a UTC date, from seconds since the epoch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from watchdog.tsdb.page import Floats, Ints

_DAY = 86_400
_MAX_SECONDS = 4e11
"""Seconds, some 12,000 years: beyond it there is no calendar, and the answer is NaN."""


def _days(seconds: Ints) -> Ints:
    return seconds // _DAY


def _months(seconds: Ints) -> Ints:
    """Since January 1970."""
    return _days(seconds).astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)


def _first_day(months: Ints) -> Ints:
    """Days from the epoch to the first of a month."""
    return months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)


def _date_part(of: Callable[[Ints], Ints]) -> Callable[[Floats], Floats]:
    def read(v: Floats) -> Floats:
        known = np.abs(v) < _MAX_SECONDS  # NaN is not
        seconds = np.where(known, v, 0.0).astype(np.int64)  # cut towards zero, as in Prometheus
        return np.where(known, of(seconds).astype(np.float64), np.nan)

    return read


minute = _date_part(lambda s: s // 60 % 60)
hour = _date_part(lambda s: s // 3_600 % 24)
day_of_week = _date_part(lambda s: (_days(s) + 4) % 7)  # 1970 began on a Thursday; 0 is Sunday
day_of_month = _date_part(lambda s: _days(s) - _first_day(_months(s)) + 1)
day_of_year = _date_part(lambda s: _days(s) - _first_day(_months(s) // 12 * 12) + 1)
days_in_month = _date_part(lambda s: _first_day(_months(s) + 1) - _first_day(_months(s)))
month = _date_part(lambda s: _months(s) % 12 + 1)
year = _date_part(lambda s: _months(s) // 12 + 1970)
