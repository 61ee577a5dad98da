"""Hours of the day and days of the week, on the clocks of some place: `{between, days, timezone}`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, time, timedelta
from functools import lru_cache
from typing import Annotated
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
from pydantic import BeforeValidator

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MINUTES_PER_DAY = 1_440
_MINUTES_PER_WEEK = 7 * _MINUTES_PER_DAY
_OFFSET_GRID = 15 * 60_000
"""ms: every offset from UTC in use, and every change of one, is a multiple of 15 minutes."""


def parse_between(value: object) -> object:
    """``09:30-16:00``. Raises ValueError with the cure."""
    if value is not None:
        parse_minutes(value)
    return value


def parse_minutes(value: object) -> tuple[int, int]:
    """First and last minute of the day; the second is smaller when it goes over midnight."""
    match = re.fullmatch(r"\s*(\d\d?):(\d\d)\s*(?:-|–)\s*(\d\d?):(\d\d)\s*", str(value))
    if match is None:
        raise ValueError(f'between reads like "09:30-16:00", not {value!r}')
    start, end = int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])
    if int(match[2]) > 59 or int(match[4]) > 59 or start >= _MINUTES_PER_DAY or end > _MINUTES_PER_DAY:
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
        parse_weekdays(listed)
        return listed
    raise ValueError(f"days reads like [mon-fri] or [sat, sun], not {value!r}")


def parse_weekdays(days: Sequence[object]) -> frozenset[int]:
    """Monday is 0."""
    numbers: set[int] = set()
    for text in days:
        first, _, last = str(text).strip().lower().partition("-")
        if first not in DAYS or (last and last not in DAYS):
            raise ValueError(f"{text!r} is no day of the week — say {', '.join(DAYS)}, or mon-fri")
        start, end = DAYS.index(first), DAYS.index(last or first)
        numbers |= {day % 7 for day in range(start, end + 1 if end >= start else end + 8)}
    if not numbers:
        raise ValueError("days is empty — name one, such as [mon-fri]")
    return frozenset(numbers)


def parse_zone(value: object) -> object:
    """A name of the time zone database. Raises ValueError with the cure."""
    if not _is_zone(value):
        if not _is_zone("Europe/Berlin"):
            raise ValueError("this machine has no files of time zones — apt-get install tzdata, or pip install tzdata")
        raise ValueError(f"{value!r} is no time zone — say one such as Europe/Berlin or America/New_York")
    return value


def _is_zone(name: object) -> bool:
    try:
        ZoneInfo(name if isinstance(name, str) else "")
    except (ValueError, KeyError, OSError):
        return False
    return True


Zone = Annotated[str, BeforeValidator(parse_zone)]


_TIME_OF_DAY = re.compile(r"\s*(\d\d?):(\d\d)\s*")


def parse_time_of_day(value: object) -> object:
    """``08:00``. Raises ValueError with the cure."""
    match = _TIME_OF_DAY.fullmatch(str(value))
    if match is None or int(match[1]) > 23 or int(match[2]) > 59:
        raise ValueError(f'a time of the day reads like "08:00", from 00:00 to 23:59, not {value!r}')
    return f"{int(match[1]):02}:{match[2]}"


def parse_weekday(value: object) -> object:
    """One of `DAYS`. Raises ValueError with the cure."""
    day = str(value).strip().lower()
    if day not in DAYS:
        raise ValueError(f"{value!r} is no day of the week — say one of {', '.join(DAYS)}")
    return day


TimeOfDay = Annotated[str, BeforeValidator(parse_time_of_day)]
Weekday = Annotated[str, BeforeValidator(parse_weekday)]


def last_occurrence(at: str, day: str | None, zone: str, now: int) -> int:
    """The last time up to `now` (both ms since the epoch) at which the clocks there showed `at`, on that day of the week or on any.

    Once a day, whatever is done to the clocks: of an hour that comes twice the first counts, and one that is left out is as
    much later.
    """
    place = ZoneInfo(zone)
    today = datetime.fromtimestamp(now / 1_000, place).date()
    hours, minutes = map(int, at.split(":"))
    for back in range(15):
        then = today - timedelta(days=back)
        t = round(datetime.combine(then, time(hours, minutes), place).timestamp() * 1_000)
        if t <= now and day in (None, DAYS[then.weekday()]):
            return t
    raise AssertionError("a day of the week comes within two weeks")


@lru_cache(maxsize=256)
def _open_minutes(between: str | None, days: tuple[str, ...] | None) -> npt.NDArray[np.bool_]:
    """For each minute of the week, from Monday 00:00 local time, whether it is inside."""
    start, end = (0, _MINUTES_PER_DAY) if between is None else parse_minutes(between)
    length = end - start if end > start else end + _MINUTES_PER_DAY - start
    week = np.zeros(_MINUTES_PER_WEEK, np.bool_)
    for day in range(7) if days is None else parse_weekdays(days):
        week[(day * _MINUTES_PER_DAY + start + np.arange(length)) % _MINUTES_PER_WEEK] = True
    return week


@lru_cache(maxsize=4_096)
def _utc_offset(zone: str, stretch: int) -> int:
    """Minutes ahead of UTC during one stretch of `_OFFSET_GRID`."""
    utc_offset = datetime.fromtimestamp(stretch * _OFFSET_GRID / 1_000, ZoneInfo(zone)).utcoffset()
    return 0 if utc_offset is None else round(utc_offset.total_seconds() / 60)


def in_schedule(between: str | None, days: tuple[str, ...] | None, zone: str, t: int) -> bool:
    """Whether a time (ms since the epoch) lies in those hours of those days there."""
    minute = t // 60_000 + _utc_offset(zone, t // _OFFSET_GRID) + 3 * _MINUTES_PER_DAY  # the epoch began on a Thursday
    return bool(_open_minutes(between, days)[minute % _MINUTES_PER_WEEK])


def in_schedule_at(
    between: str | None, days: tuple[str, ...] | None, zone: str, times: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """`in_schedule` for many times [n]."""
    stretches, inverse = np.unique(times // _OFFSET_GRID, return_inverse=True)
    offsets = np.array([_utc_offset(zone, int(stretch)) for stretch in stretches], np.int64)
    minutes = times // 60_000 + offsets[inverse] + 3 * _MINUTES_PER_DAY
    inside_mask: npt.NDArray[np.bool_] = _open_minutes(between, days)[minutes % _MINUTES_PER_WEEK]
    return inside_mask
