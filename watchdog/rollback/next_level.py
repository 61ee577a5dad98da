"""A person wants a repair to give its level up, and to go on with the next one."""

from __future__ import annotations

from watchdog.journal.runs import NEXT_LEVEL_MARK, PlanRun


class NextLevelError(Exception):
    """The level is given up at this boundary; who wants it."""


def check_next_level(run: PlanRun, level: int | None) -> None:
    """Raises NextLevelError when the level that the run tries, if it tries one, is to be given up."""
    wanted = run.marks.get(NEXT_LEVEL_MARK)
    if wanted is not None and wanted["level"] == level:
        raise NextLevelError(f"given up for the next level by {wanted['who']}")
