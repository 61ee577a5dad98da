"""How often sources are read."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from watchdog.model import Duration, Millis
from watchdog.units import show_duration

LEAST = 50
"""Milliseconds; below that the reading itself is what the machine would be busy with."""


def _not_too_short(value: Millis) -> Millis:
    if value < LEAST:
        raise ValueError(f"{show_duration(value)} is too short — say at least {show_duration(LEAST)}")
    return value


Span = Annotated[Duration, AfterValidator(_not_too_short)]
"""A duration that is long enough to do something in: ``every``, ``timeout``."""
