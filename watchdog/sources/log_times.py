"""When a line of a log was written, as the log itself says it: in the log's own zone and format."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo

from watchdog.core.model import Millis
from watchdog.sources.timestamps import parse_timestamp

_MAX_TEXT = 64
"""Characters of a time stamp."""
_FRESH_MS: Millis = 15 * 60_000
"""A line that would be as young as that was written just now."""
_DISORDER_MS: Millis = 60_000
"""By which lines of one log may stand in the wrong order: threads write them."""
_YEAR = re.compile("%[Yycx]")
_DAY = re.compile("%[djcxUWV]")
_DAY_MS: Millis = 86_400_000


def validate_time_format(text: str) -> str:
    """For a field of a model. Raises ValueError with the cure."""
    example = datetime(2000, 2, 28, 13, 4, 5, tzinfo=UTC)
    cure = "it reads like %d/%b/%Y:%H:%M:%S"
    try:
        read = datetime.strptime(example.strftime(text), text)  # noqa: DTZ007 - whether it can be read at all
    except (ValueError, re.error) as problem:
        raise ValueError(f"no format of a time ({str(problem)[:80]}) — {cure}") from None
    if (read.hour, read.minute) != (13, 4):
        raise ValueError(f"a format without hour and minute says no time — {cure}")
    return text


class LogClock:
    """Reads the time stamps of one log as they look at one moment."""

    def __init__(self, time_format: str | None, zone: tzinfo, now: Millis) -> None:
        """`time_format`: as in `strptime`; None: ISO 8601, or a number since the epoch. `zone`: of what names none."""
        self._format = time_format
        self._zone = zone
        self._now = now

    def parse(self, text: str, before: Millis | None = None) -> Millis | None:
        """Milliseconds since the epoch, not later than now; None for what says no time. `before`: the event before it.

        An hour that the clocks go through twice says two times. It is the second one where that is just now, or where
        the first would lie ahead of the event before: a log is written in its order.
        """
        if len(text) > _MAX_TEXT:
            return None
        first = self._parse(text, self._zone)
        if first is None or (second := self._second_pass(text, first)) is None:
            return first
        if second > self._now:
            return first
        if self._now - second <= _FRESH_MS or before is None or first < before - _DISORDER_MS:
            return second
        return first

    def _second_pass(self, text: str, first: Millis) -> Millis | None:
        """The same reading of the clock after it was put back; None for one that comes once only."""
        moment = datetime.fromtimestamp(first / 1_000, self._zone)
        offset, later_offset = (moment.replace(fold=fold).utcoffset() or timedelta(0) for fold in (0, 1))
        gap = offset - later_offset
        if moment.fold or gap <= timedelta(0) or self._parse(text, UTC) == first:
            return None
        return first + round(gap.total_seconds() * 1_000)

    def _parse(self, text: str, zone: tzinfo) -> Millis | None:
        if self._format is None:
            return parse_timestamp(text, self._now, zone)
        for said, slack in self._dated(text, self._format):
            try:
                moment = datetime.strptime(*said)  # noqa: DTZ007 - the zone follows
                found = round((moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp() * 1_000)
            except (ValueError, OverflowError):
                continue
            if found <= self._now + slack:
                return min(found, self._now)
        return None

    def _dated(self, text: str, written: str) -> list[tuple[tuple[str, str], Millis]]:
        """With the year or the day that the format leaves out: the newest first, and how far ahead of now it may lie."""
        today = datetime.fromtimestamp(self._now / 1_000, self._zone)
        if not _DAY.search(written):
            days = [today + timedelta(days=number) for number in (1, 0, -1)]
            return [((f"{day:%Y-%m-%d} {text}", f"%Y-%m-%d {written}"), _DAY_MS // 24) for day in days]
        if not _YEAR.search(written):
            years = (today.year + 1, today.year, today.year - 1)
            return [((f"{year:04} {text}", f"%Y {written}"), _DAY_MS) for year in years]
        return [((text, written), 1 << 60)]
