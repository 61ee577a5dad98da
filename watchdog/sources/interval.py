"""How often sources are read, and how long that may take."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from watchdog.core.model import Duration, Millis
from watchdog.core.units import format_duration

READ_DEADLINE_MS: Millis = 10_000
"""Milliseconds after which a read hangs that nothing else limits."""
MIN_INTERVAL_MS = 50
"""Milliseconds; below that the reading itself is what the machine would be busy with."""


def _validate_interval(value: Millis) -> Millis:
    if value < MIN_INTERVAL_MS:
        raise ValueError(f"{format_duration(value)} is too short — say at least {format_duration(MIN_INTERVAL_MS)}")
    return value


Interval = Annotated[Duration, AfterValidator(_validate_interval)]
"""A duration that is long enough to do something in: ``every``, ``timeout``."""
