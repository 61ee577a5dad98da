"""Hours of the day and days of the week, on the clocks of some place: `{between, days, timezone}`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = 1_440
_WEEK = 7 * _DAY
_GRID = 15 * 60_000
"""ms: every offset from UTC in use, and every change of one, is a multiple of 15 minutes."""


def parse_between(value: object) -> object:
    """``09:30-16:00``. Raises ValueError with the cure."""
    if value is not None:
        minutes(value)
    return value


def minutes(value: object) -> tuple[int, int]:
    """First and last minute of the day; the second is smaller when it goes over midnight."""
    found = re.fullmatch(r"\s*(\d\d?):(\d\d)\s*(?:-|–)\s*(\d\d?):(\d\d)\s*", str(value))
    if found is None:
        raise ValueError(f'between reads like "09:30-16:00", not {value!r}')
    start, end = int(found[1]) * 60 + int(found[2]), int(found[3]) * 60 + int(found[4])
    if int(found[2]) > 59 or int(found[4]) > 59 or start >= _DAY or end > _DAY:
        raise ValueError(f"{value!r}: hours go from 00:00 to 24:00")
    if start == end:
        raise ValueError(f"{value!r} is no time at all — leave between away for the whole day")
    return start, end


def parse_days(value: object) -> object:
    """``[mon-fri, sun]`` or one such text. Raises ValueError with the cure."""
    if value is None:
        return None
    listed = [value] if isinstance(value, str) else value
    if isinstance(listed, list | tuple):
        weekdays(listed)
        return listed
    raise ValueError(f"days reads like [mon-fri] or [sat, sun], not {value!r}")


def weekdays(days: Sequence[object]) -> frozenset[int]:
    """Monday is 0."""
    found: set[int] = set()
    for text in days:
        first, _, last = str(text).strip().lower().partition("-")
        if first not in DAYS or (last and last not in DAYS):
            raise ValueError(f"{text!r} is no day of the week — say {', '.join(DAYS)}, or mon-fri")
        start, end = DAYS.index(first), DAYS.index(last or first)
        found |= {day % 7 for day in range(start, end + 1 if end >= start else end + 8)}
    if not found:
        raise ValueError("days is empty — name one, such as [mon-fri]")
    return frozenset(found)


def parse_zone(value: object) -> object:
    """A name of the time zone database. Raises ValueError with the cure."""
    try:
        ZoneInfo(value if isinstance(value, str) else "")
    except (ValueError, KeyError, OSError):
        raise ValueError(f"{value!r} is no time zone — say one such as Europe/Berlin or America/New_York") from None
    return value


@lru_cache(maxsize=256)
def _open_minutes(between: str | None, days: tuple[str, ...] | None) -> npt.NDArray[np.bool_]:
    """For each minute of the week, from Monday 00:00 local time, whether it is inside."""
    start, end = (0, _DAY) if between is None else minutes(between)
    length = end - start if end > start else end + _DAY - start
    week = np.zeros(_WEEK, np.bool_)
    for day in range(7) if days is None else weekdays(days):
        week[(day * _DAY + start + np.arange(length)) % _WEEK] = True
    return week


@lru_cache(maxsize=4_096)
def _offset(zone: str, at: int) -> int:
    """Minutes ahead of UTC during one stretch of `_GRID`."""
    there = datetime.fromtimestamp(at * _GRID / 1_000, ZoneInfo(zone)).utcoffset()
    return 0 if there is None else round(there.total_seconds() / 60)


def inside(between: str | None, days: tuple[str, ...] | None, zone: str, t: int) -> bool:
    """Whether a time (ms since the epoch) lies in those hours of those days there."""
    minute = t // 60_000 + _offset(zone, t // _GRID) + 3 * _DAY  # the epoch began on a Thursday
    return bool(_open_minutes(between, days)[minute % _WEEK])


def inside_at(
    between: str | None, days: tuple[str, ...] | None, zone: str, times: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """`inside` for many times [n]."""
    stretches, where = np.unique(times // _GRID, return_inverse=True)
    offsets = np.array([_offset(zone, int(stretch)) for stretch in stretches], np.int64)
    minutes = times // 60_000 + offsets[where] + 3 * _DAY
    chosen: npt.NDArray[np.bool_] = _open_minutes(between, days)[minutes % _WEEK]
    return chosen
