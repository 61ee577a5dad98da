"""After a standstill of the machine: how old something may be that was written ahead of it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from watchdog.config import Config
from watchdog.core.model import Millis
from watchdog.pipeline.check_tracker import CheckTracker
from watchdog.promql import reads_clock
from watchdog.rules.compile import Check

_USUAL_AGE: Millis = 60_000
"""What a condition allows, which does not say it in a number."""


class Standstill(NamedTuple):
    """A sleep of the machine, or a step of the clock forward; both in wall time."""

    since: Millis
    until: Millis
    is_step: bool = False
    """The clock was set: only who asks it what time it is takes something for older by that."""

    @property
    def duration(self) -> Millis:
        return self.until - self.since

    def shift(self, step: Millis) -> Standstill:
        """The clock was set."""
        return self._replace(since=self.since + step, until=self.until + step)

    def is_covered_by(self, newer: Standstill) -> bool:
        """Whether all that it makes look old looks so by the newer one as well, and for as long."""
        return self.duration <= newer.duration and (self.is_step or not newer.is_step)


class Standstills:
    """Those that something may still look old by: a clock is often set just after the machine has slept."""

    def __init__(self) -> None:
        self._known: list[Standstill] = []

    def note_sleep(self, since: Millis, now: Millis) -> None:
        """Nobody has watched since then."""
        self._note(Standstill(since, now))

    def follow_step(self, step: Millis, now: Millis) -> None:
        """The clock was set by `step`, and it is `now`: what was written ahead of a step forward looks as old as after a sleep."""
        self._known = [each.shift(step) for each in self._known]
        if step > 0:
            self._note(Standstill(now - step, now, is_step=True))

    def _note(self, newer: Standstill) -> None:
        self._known = [*(each for each in self._known if not each.is_covered_by(newer)), newer]

    def await_first_write(self, trackers: Iterable[CheckTracker], config: Config) -> None:
        """A bot that slept as well has the age that a rule allows, or as long as it has slept where that is less, to write anew:
        until then an age from ahead of the standstill trips nothing. An age grows by itself: it asks what time it is, or is told
        in seconds by who writes it."""
        if not self._known:
            return
        sleeps = [each for each in self._known if not each.is_step]
        found = {
            name: self._known if reads_clock(config.parse_expr(kpi.expr)) else sleeps if kpi.unit == "seconds" else []
            for name, kpi in config.queries().items()
        }
        for tracker in trackers:
            check = tracker.check
            if check.operator in ("above", "at_least", "expr") and (mine := found.get(check.query)):
                allowed = _allowed_age(check)
                counts_from, awake_since = max((each.until + min(each.duration, allowed), each.until) for each in mine)
                tracker.machine_config = tracker.machine_config._replace(
                    awake_since=awake_since, age_counts_from=counts_from
                )


def _allowed_age(check: Check) -> Millis:
    known = check.operator != "expr" and math.isfinite(check.limit)
    return round(check.limit * 1_000) if known else _USUAL_AGE
