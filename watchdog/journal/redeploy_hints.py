"""What brings back what an incident's repairs took away, once its cause is fixed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from watchdog.journal.runs import PlanRun, Step


def redeploy_hints(runs: Iterable[tuple[PlanRun, Sequence[Step]]]) -> tuple[list[str], list[str]]:
    """(commands, the newest commit first; changes to files, in words): of what was not undone."""
    commits: list[str] = []
    files: list[str] = []
    for run, steps in runs:
        if run.part == "undo" and run.outcome == "proven":
            return [], []
        for step in steps:
            before = step.before
            if step.status != "done" or not isinstance(before, dict) or step.phase != "level":
                continue
            if before.get("new") and before.get("old") and not before.get("already", True):
                commits.append(f"git -C {before['repo']} revert {before['new'][:12]}")
            elif step.diff and "file" in before:
                files.append(step.say)
    return commits[::-1], files
