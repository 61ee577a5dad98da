"""When something was, as bots write it: numbers since the epoch in whatever unit, or ISO 8601."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, tzinfo

from watchdog.core.model import Millis

_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?")
_UNITS = ((1e11, 1_000.0), (1e14, 1.0), (1e17, 1e-3), (math.inf, 1e-6))
"""Below that many it is s, ms, µs, ns: from 1973 to 5138 no two of them can be confused."""
_MAX_TEXT = 64


def parse_timestamp(value: object, now: Millis, zone: tzinfo = UTC) -> Millis | None:
    """Milliseconds since the epoch; None for what says no time. `zone`: of a text that names none.

    What lies ahead of `now` is now: two clocks differ, and nothing is known of the future.
    """
    found = _parse(value, zone)
    return None if found is None else min(found, now)


def _parse(value: object, zone: tzinfo) -> Millis | None:
    if isinstance(value, str):
        text = value.strip()
        if len(text) > _MAX_TEXT:
            return None
        if _NUMBER.fullmatch(text):
            return _parse_number(float(text))
        try:
            moment = datetime.fromisoformat(text.replace(",", "."))
            return round((moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp() * 1_000)
        except (ValueError, OverflowError):
            return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _parse_number(value)
    return None


def _parse_number(value: float) -> Millis | None:
    try:
        size = abs(float(value))
    except OverflowError:
        return None
    if not size or not math.isfinite(size):
        return None  # nobody's clock stands at 1970: it was never set
    factor = next(factor for limit, factor in _UNITS if size < limit)
    found = float(value) * factor
    return round(found) if abs(found) < 1 << 53 else None
