"""A log in files, as its owner reads it: other people's lines are looked at here, and only what came of them goes on."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from watchdog.core.errors import ActionError
from watchdog.core.model import Millis
from watchdog.core.protocols import Match
from watchdog.host import tail
from watchdog.sources.log_reader import LogReading, LogResult, LogState, NotedLine, assemble, explain_events
from watchdog.sources.log_rules import LogRules

_NEWEST_BYTES = 256 * 1_024
"""Of what was written ahead of the first read: where last values are looked for, and what `explain` looks at."""
_Size = Annotated[int, Field(ge=0, lt=1 << 53)]


class LogRead(NamedTuple):
    result: LogResult
    there: bool
    """False: no file has such a name."""
    behind: _Size
    """Bytes that were written and are not read yet."""
    skipped: _Size
    """Lines that were too long to be looked at, so far."""


class LogBudget(NamedTuple):
    """Of one read."""

    max_bytes: int
    timeout_ms: int
    every: Millis
    """From one read to the next."""


def read_log_events(
    files: str, rules: LogRules, before: LogState, previous: Millis | None, now: Millis, budget: LogBudget
) -> LogRead:
    """Reads on. `previous`: of which time the counters were that were said last; None: the state says it. Raises ActionError."""
    deadline = time.monotonic() + budget.timeout_ms / 1_000
    state: dict[str, Any] = dict(before.files)
    is_first = not state
    reading = LogReading(rules, before, now, budget.every, previous)
    try:
        if is_first:
            reading.seed(assemble(rules, _newest(files), now))
        lines = tail.read_new_lines(files, state, budget.max_bytes, deadline)
        assert isinstance(lines, Generator)
        with contextlib.closing(lines):  # then `state` stands for what came out of it
            for number, line in enumerate(lines):
                if not number:
                    deadline = max(deadline, time.monotonic() + tail.LEAST_TIME)
                reading.add(line)
                if time.monotonic() >= deadline:
                    break
        there = tail.matches_any(files)
    except FileNotFoundError:
        raise _no_folder(files) from None
    behind = int(state.get("behind", 0))
    result = reading.end(behind=behind > 0)
    result.state.files = state
    return LogRead(result, there, behind, int(state.get("skipped_lines", 0)))


def explain_log(files: str, rules: LogRules, now: Millis) -> tuple[Match, ...]:
    """What the expressions find in the newest events. Raises ActionError."""
    try:
        lines = _newest(files)
        if not lines and not tail.matches_any(files):
            raise ActionError(f"no file is called {files} — mend files, or does the bot write its log?")
    except FileNotFoundError:
        raise _no_folder(files) from None
    return explain_events(rules, assemble(rules, lines, now), now)


def _newest(files: str) -> list[NotedLine]:
    return [NotedLine(line) for line in tail.newest_lines(files, _NEWEST_BYTES)]


def _no_folder(files: str) -> ActionError:
    return ActionError(f"there is no folder {Path(files).parent} — mend files")
