"""Hours that come back each week, as people write them: `{between, days, timezone}`."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import BeforeValidator, model_validator

from watchdog.core.model import ConfigModel, FrozenList, Millis
from watchdog.core.schedule import Zone, in_schedule, in_schedule_at, parse_between, parse_days

_MINUTE = 60_000
_LONGEST = 8 * 1_440
"""Minutes within which hours begin, and end: a week, and a day for clocks that are put forward or back."""


class Hours(ConfigModel):
    """Base of hours that have a beginning and an end."""

    called: ClassVar[str] = "this"
    """In the error that it has no end."""

    between: Annotated[str | None, BeforeValidator(parse_between)] = None
    """Hours of the day, `"22:00-23:30"`; over midnight belongs to the day it begins on."""
    days: Annotated[FrozenList[str] | None, BeforeValidator(parse_days)] = None
    """Days of the week: `[mon-fri]`, `[sat, sun]`."""
    timezone: Zone = "UTC"
    """Whose clock is meant."""

    @model_validator(mode="after")
    def _has_an_end(self) -> Hours:
        if self.between is None and self.days is None:
            raise ValueError(f"{self.called} needs between or days: it has an end")
        return self

    def active_at(self, t: Millis) -> bool:
        return in_schedule(self.between, self.days, self.timezone, t)

    def end_after(self, t: Millis) -> Millis | None:
        """The first minute after `t` outside of them; None: there is none."""
        minutes = (t // _MINUTE + 1 + np.arange(_LONGEST)) * _MINUTE
        outside = np.flatnonzero(~in_schedule_at(self.between, self.days, self.timezone, minutes))
        return int(minutes[outside[0]]) if outside.size else None

    def start_before(self, t: Millis) -> Millis | None:
        """When the hours that `t` is in have begun; None: they go back for ever."""
        minutes = (t // _MINUTE - np.arange(_LONGEST)) * _MINUTE
        outside = np.flatnonzero(~in_schedule_at(self.between, self.days, self.timezone, minutes))
        return int(minutes[outside[0]]) + _MINUTE if outside.size else None
