"""One process of this machine, found by its systemd unit, its pid file or its command line."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import PrivateAttr, field_validator, model_validator

from watchdog.core.errors import ActionError
from watchdog.core.model import FilePath, Millis, Regex, Sample
from watchdog.core.pattern import search_pattern
from watchdog.core.protocols import SourceCache, SourceState
from watchdog.core.target import ProcessSpec, Target
from watchdog.host.owned_path import owner_of
from watchdog.sources.interval import READ_DEADLINE_MS, Interval
from watchdog.sources.source_model import SourceModel

if TYPE_CHECKING:
    import psutil


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
    _target: Target | None = PrivateAttr(None)
    """The one whose bot the pid file is of."""

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

    def bind(self, targets: Iterable[Target]) -> Self:
        """The same source that knows the target whose process has its pid file, and so what its bot looks like."""
        if self.pid_file is None or self.user is not None:
            return self
        for target in targets:
            with contextlib.suppress(ActionError):
                spec = None if target.process is None else target.process.resolve(target.repo)
                if spec is not None and os.path.realpath(_pid_file_of(spec)) == os.path.realpath(self.pid_file):
                    bound = self.model_copy()
                    bound._target = target.model_copy(update={"process": spec})
                    return bound
        return self

    @property
    def identity(self) -> str:
        return self._display_name() if self.user is None else f"{self._display_name()} of {self.user}"

    def owner(self) -> Target:
        """As whom its pid file is read, see `core.protocols.OwnedSource`."""
        if self.pid_file is None:
            return Target()
        if self._target is not None:
            return self._target
        return owner_of(Path(self.pid_file).parent, None if (self.user or "").isdecimal() else self.user)

    def read(self, state: SourceState, cache: SourceCache, now: Millis) -> list[Sample]:
        """``process_up`` always; the rest when it is up. State: which process it is, whose, since when, and how many others
        were there before. Cache: its cpu seconds."""
        from watchdog.host import procfs  # psutil's 2 MB: paid when it is read

        values: dict[str, float] = {}
        if self.unit is not None:
            process = procfs.find_by_unit(self.unit, values)
        elif self.pid_file is not None:
            process = self._find_by_pid_file(Path(self.pid_file), state, cache)
        else:
            process = procfs.find_by_cmdline(search_pattern(self.cmdline or ""), self.user, state)
        measured = procfs.process_metrics(process, self.children, state, cache, now, self._display_name())
        values["process_up"] = 0.0 if measured is None else 1.0
        values |= measured or {}
        if self.unit is None:  # systemd counts for its units
            values["process_restarts_total"] = float(state.get("restarts", 0))
        return [Sample(name, (), now, value) for name, value in values.items()]

    def _find_by_pid_file(self, path: Path, state: SourceState, cache: SourceCache) -> psutil.Process | None:
        from watchdog.host import procfs

        if self._target is not None and self._target.process is not None:
            with contextlib.suppress(ActionError):  # nobody may ask the owner: then by what can be read of it here
                return procfs.find_by_target(self._target, self._target.process, state)
        return procfs.find_by_pid_file(path, self.user, state, cache)

    def _display_name(self) -> str:
        return self.unit or self.pid_file or f"the process {self.cmdline!r}"


def _pid_file_of(spec: ProcessSpec) -> Path:
    return Path(spec.cwd or "/", spec.pid_file)
