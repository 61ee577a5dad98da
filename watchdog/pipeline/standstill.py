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
    """The last one, or step of the clock forward; both in wall time."""

    since: Millis
    until: Millis
    is_step: bool = False
    """The clock was set: only who asks it what time it is takes something for older by that."""

    def shift(self, step: Millis) -> Standstill:
        """The clock was set back."""
        return self._replace(since=self.since + step, until=self.until + step)


def await_first_write(trackers: Iterable[CheckTracker], config: Config, standstill: Standstill) -> None:
    """A bot that slept as well has the age that a rule allows, or as long as it has slept where that is less, to write anew: until
    then an age from ahead of the standstill trips nothing. An age grows by itself: it asks what time it is, or is told in
    seconds by who writes it."""
    queries = config.queries()
    ages = {
        name: reads_clock(config.parse_expr(kpi.expr)) or (kpi.unit == "seconds" and not standstill.is_step)
        for name, kpi in queries.items()
    }
    for tracker in trackers:
        check = tracker.check
        if check.operator in ("above", "at_least", "expr") and ages.get(check.query):
            patience = min(standstill.until - standstill.since, _allowed_age(check))
            tracker.machine_config = tracker.machine_config._replace(
                awake_since=standstill.until, age_counts_from=standstill.until + patience
            )


def _allowed_age(check: Check) -> Millis:
    known = check.operator != "expr" and math.isfinite(check.limit)
    return round(check.limit * 1_000) if known else _USUAL_AGE
