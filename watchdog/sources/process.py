"""One process of this machine, found by its systemd unit, its pid file or its command line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import field_validator, model_validator

from watchdog.core.model import FilePath, Millis, Regex, Sample
from watchdog.core.pattern import search_pattern
from watchdog.core.protocols import SourceCache, SourceState
from watchdog.core.target import Target
from watchdog.host.owned_path import owner_of
from watchdog.sources.interval import READ_DEADLINE_MS, Interval
from watchdog.sources.source_model import SourceModel


class ProcessSource(SourceModel):
    """Life, memory, processor time and restarts of one process."""

    reads_needed: ClassVar[int] = 2
    deadline: ClassVar[Millis] = READ_DEADLINE_MS

    type: Literal["process"]
    unit: str | None = None
    """Find it as the main process of this systemd unit."""
    pid_file: FilePath | None = None
    """Find it by the process id in this file."""
    cmdline: Regex | None = None
    """Find it by a regular expression, searched in the command line (arguments joined by spaces)."""
    user: str | None = None
    """Whose process it must be, by name or number; when not said, the owner of `pid_file`, or of the first that `cmdline` found."""
    children: bool = False
    """Add memory and processor time of its descendants."""
    every: Interval = 1_000
    """Time from one read to the next."""

    @field_validator("unit")
    @classmethod
    def _validate_unit(cls, unit: str | None) -> str | None:
        if unit is not None and not re.fullmatch(r"[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]*", unit):
            raise ValueError("a unit reads like trading-bot.service, without wildcards")
        return unit

    @field_validator("cmdline")
    @classmethod
    def _validate_cmdline(cls, cmdline: str | None) -> str | None:
        if cmdline is not None and not cmdline.strip():
            raise ValueError("an empty expression finds every process — say what the command line holds")
        return cmdline

    @model_validator(mode="after")
    def _validate_one_selector(self) -> ProcessSource:
        if sum(way is not None for way in (self.unit, self.pid_file, self.cmdline)) != 1:
            raise ValueError("say exactly one of unit, pid_file and cmdline")
        if self.unit is not None and self.user is not None:
            raise ValueError("a unit's process is systemd's to name — leave user out")
        return self

    @property
    def identity(self) -> str:
        return self._display_name() if self.user is None else f"{self._display_name()} of {self.user}"

    def owner(self) -> Target:
        """As whom its pid file is read, see `core.protocols.OwnedSource`."""
        if self.pid_file is None:
            return Target()
        return owner_of(Path(self.pid_file).parent, None if (self.user or "").isdecimal() else self.user)

    def read(self, state: SourceState, cache: SourceCache, now: Millis) -> list[Sample]:
        """``process_up`` always; the rest when it is up. State: which process it is, whose, since when, and how many others
        were there before. Cache: its cpu seconds."""
        from watchdog.host import procfs  # psutil's 2 MB: paid when it is read

        values: dict[str, float] = {}
        if self.unit is not None:
            process = procfs.find_by_unit(self.unit, values)
        elif self.pid_file is not None:
            process = procfs.find_by_pid_file(Path(self.pid_file), self.user)
        else:
            process = procfs.find_by_cmdline(search_pattern(self.cmdline or ""), self.user, state)
        measured = procfs.process_metrics(process, self.children, state, cache, now, self._display_name())
        values["process_up"] = 0.0 if measured is None else 1.0
        values |= measured or {}
        if self.unit is None:  # systemd counts for its units
            values["process_restarts_total"] = float(state.get("restarts", 0))
        return [Sample(name, (), now, value) for name, value in values.items()]

    def _display_name(self) -> str:
        return self.unit or self.pid_file or f"the process {self.cmdline!r}"
