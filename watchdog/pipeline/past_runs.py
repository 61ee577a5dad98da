"""What rules have started on a target lately, for cooldowns and budgets."""

from __future__ import annotations

from watchdog.core.model import Millis
from watchdog.core.target import Target
from watchdog.journal.storage import Journal
from watchdog.rules.guard import PastRun


def list_past_runs(journal: Journal, name: str, target: Target, now: Millis) -> list[PastRun]:
    """Of the target `name`, as far back as anything counts."""
    since = now - max([target.cooldown, *(budget.per for budget in target.budget)])
    return [
        PastRun(run.kind, run.queued, run.ended, run.incident)
        for run in journal.runs.list_recent_automatic(name, since)
    ]
