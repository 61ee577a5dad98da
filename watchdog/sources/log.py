"""What a bot writes into its log, as counters and values."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from watchdog.core.errors import ActionError, SourceError
from watchdog.core.model import FilePath, Millis, Sample
from watchdog.core.protocols import Match, SourceCache, SourceState
from watchdog.core.target import Target
from watchdog.host.owned_path import owner_of
from watchdog.sources.interval import Interval
from watchdog.sources.log_reader import LogReading, LogResult, LogState
from watchdog.sources.log_rules import LogRules
from watchdog.sources.owner_files import ask_owner, to_source_error
from watchdog.sources.source_model import SourceModel

if TYPE_CHECKING:
    from watchdog.sources.log_journal import Unit

_WILDCARDS = re.compile(r"[*?\[]")
_MIN_READ_MS = 500
"""That the reading of files may take, however often they are read."""
_ANSWER_MS = 500
"""Of the time that a read may take, what is left for the answer of whoever reads."""


class LogSource(SourceModel, LogRules):
    """Regular expressions over a bot's log, in files or in systemd's journal, as counters and values."""

    reads_needed: ClassVar[int] = 1

    type: Literal["log"]
    files: FilePath | None = None
    """The log: a path whose last part may hold `*`, `?` and `[…]`. What it is rotated to is read, too."""
    unit: str | None = None
    """Instead of files: systemd's journal of this unit."""
    user: str | None = None
    """`files`: as whom they are read; when not said, the owner of their folder. `unit`: the user whose own manager has it."""
    every: Interval = 1_000
    """Time from one read to the next."""
    timeout: Interval = 5_000
    """Most time one read may take. What is left of files after `every`, of a journal after this, is read by the next ones."""
    max_bytes: int = Field(8 * 2**20, ge=2 * 2**20, le=256 * 2**20)
    """Most bytes that one read takes; the next one goes on from there."""

    @field_validator("files")
    @classmethod
    def _validate_files(cls, files: str | None) -> str | None:
        if files is None:
            return None
        folder, name = os.path.split(files)
        if not name:
            raise ValueError("files ends with the name of a file — say bot.log, or bot*.log")
        if _WILDCARDS.search(folder):
            raise ValueError("wildcards stand in the name of the file only — watch each folder by a source of its own")
        return files

    @field_validator("unit")
    @classmethod
    def _validate_unit(cls, unit: str | None) -> str | None:
        if unit is not None and not re.fullmatch(r"[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]{0,254}", unit, re.ASCII):
            raise ValueError("a unit reads like trading-bot.service, without wildcards")
        return unit

    @model_validator(mode="after")
    def _validate_place(self) -> LogSource:
        if (self.files is None) is (self.unit is None):
            raise ValueError("say exactly one of files and unit")
        return self

    @property
    def deadline(self) -> Millis:
        return self.timeout + _ANSWER_MS

    @property
    def identity(self) -> str:
        return f"{self.files or self.unit}{'' if self.user is None else f' of {self.user}'}"

    def owner(self) -> Target:
        """As whom it is read, see `core.protocols.OwnedSource`."""
        return Target() if self.files is None else owner_of(Path(self.files).parent, self.user)

    def read(self, state: SourceState, cache: SourceCache, now: Millis) -> list[Sample]:
        """What came of all events so far. State: `LogState`. Cache: of which time the counters were that were said last; of a log
        that is not there yet, that it was not."""
        deadline = time.monotonic() + self.timeout / 1_000
        try:
            before = LogState.model_validate(state)
        except ValidationError:
            before = LogState()  # nothing that this version wrote
        try:
            result, lag = self._follow(before, cache, now, deadline)
        except ActionError as error:  # of the journal
            raise to_source_error(error, "mend unit or user") from None
        state.clear()
        state.update(result.state.model_dump(mode="json"))
        cache["at"] = result.at
        return [*result.samples, *(Sample(name, (), now, float(value)) for name, value in lag.items())]

    def explain(self, now: Millis) -> tuple[Match, ...]:
        """What each expression finds in the newest events."""
        from watchdog.sources import log_files, log_journal

        deadline = time.monotonic() + self.timeout / 1_000
        try:
            if self.files is None:
                return log_journal.explain_newest(self._unit, self, now, deadline)
            found = self._ask_owner(self.files, log_files.explain_log, _rules(self), now)
        except ActionError as error:  # of the journal
            raise to_source_error(error, "mend unit or user") from None
        return tuple(found)

    def _follow(
        self, before: LogState, cache: SourceCache, now: Millis, deadline: float
    ) -> tuple[LogResult, dict[str, float]]:
        """What is so now, and by how much that lags behind. Raises ActionError, SourceError."""
        from watchdog.sources import log_files, log_journal

        previous: Millis | None = cache.get("at")
        if self.files is None:
            reading = LogReading(self, before, now, self.every, previous)
            result, lag = log_journal.follow_unit(self._unit, reading, before, self, now, self.max_bytes, deadline)
            return result, {"log_lag_seconds": lag}
        before = before if before.files else before.model_copy(update={"files": cache.get("absent", {})})
        # what was read is kept, and judged, when a read ends: so one of a long log ends soon, and the next goes on
        soon = min(max(self.every, _MIN_READ_MS), round((deadline - time.monotonic()) * 1_000))
        budget = log_files.LogBudget(self.max_bytes, soon, self.every)
        args = (_rules(self), before, previous, now, budget)
        read: log_files.LogRead = self._ask_owner(self.files, log_files.read_log_events, *args)
        if not read.there:
            cache["absent"] = read.result.state.files
            raise SourceError(f"no file is called {self.files} — mend files, or does the bot write its log?")
        cache.pop("absent", None)
        return read.result, {"log_lag_bytes": read.behind, "log_skipped_lines_total": read.skipped}

    @property
    def _unit(self) -> Unit:
        from watchdog.sources.log_journal import Unit

        return Unit(self.unit or "", self.user)

    def _ask_owner(self, files: str, function: Callable[..., Any], *args: Any) -> Any:
        folder = Path(files).parent
        missing = f"there is no folder {folder} — mend files"
        return ask_owner(folder, self.user, function, files, *args, missing=missing, cure="mend files or user")


def _rules(source: LogSource) -> LogRules:
    """Without all that whoever reads has no need of."""
    return LogRules.model_construct(**{name: getattr(source, name) for name in LogRules.model_fields})
