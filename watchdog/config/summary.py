"""`summary:` in watchdog.yaml: when people are told how it goes, and where."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from watchdog.core.model import ConfigModel, FrozenList
from watchdog.core.schedule import TimeOfDay, Weekday, Zone

SummaryKind = Literal["daily", "weekly"]
SUMMARY_KINDS: tuple[SummaryKind, ...] = ("daily", "weekly")


class DailySummary(ConfigModel):
    """Once a day."""

    at: TimeOfDay = "08:00"
    """What the clocks in `timezone` show then."""


class WeeklySummary(ConfigModel):
    """Once a week."""

    day: Weekday = "mon"
    """Day of the week: `mon` … `sun`."""
    at: TimeOfDay = "08:00"
    """What the clocks in `timezone` show then."""


class Summary(ConfigModel):
    """How it goes, told at a time of the day without anybody asking."""

    daily: DailySummary | None = None
    """Once a day: `{at: "08:00"}`."""
    weekly: WeeklySummary | None = None
    """Once a week: `{day: mon, at: "08:00"}`."""
    timezone: Zone = "UTC"
    """Whose clock `at` means, and the times in the summary: `Europe/Berlin`."""
    notify: FrozenList[str] | None = None
    """Channels that get it, whatever their `from`. When not said, those with `from: info`."""

    @model_validator(mode="after")
    def _validate_times(self) -> Summary:
        if self.daily is None and self.weekly is None:
            raise ValueError('summary needs daily, weekly or both: daily: {at: "08:00"}')
        if self.notify is not None and not self.notify:
            raise ValueError("notify names no channel — name one, or leave it out for those with from: info")
        return self

    def schedule(self, kind: SummaryKind) -> tuple[str, str | None] | None:
        """(time of the day, day of the week); None: this kind is not asked for."""
        if kind == "daily":
            return None if self.daily is None else (self.daily.at, None)
        return None if self.weekly is None else (self.weekly.at, self.weekly.day)
