"""A JSON file that the bot keeps, and writes anew whenever something changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from watchdog.core.model import FilePath, Millis, Sample
from watchdog.core.protocols import Match, SourceCache, SourceState
from watchdog.core.schedule import Zone
from watchdog.core.target import Target
from watchdog.host.owned_path import owner_of
from watchdog.sources.interval import READ_DEADLINE_MS, Interval
from watchdog.sources.json_path import JsonPath
from watchdog.sources.json_values import JsonValues
from watchdog.sources.owner_files import ask_owner
from watchdog.sources.source_model import SourceModel

AGE_METRIC = "json_file_age_seconds"


class JsonFileSource(SourceModel):
    """Values out of a state file in JSON that the bot rewrites."""

    reads_needed: ClassVar[int] = 1
    deadline: ClassVar[Millis] = READ_DEADLINE_MS

    type: Literal["json_file"]
    file: FilePath
    """The file that the bot rewrites."""
    user: str | None = None
    """As whom it is read; when not said, the owner of the folder."""
    every: Interval = 5_000
    """Time from one read to the next."""
    max_bytes: int = Field(2**20, ge=1)
    """Most bytes of the file. A larger one is refused whole."""
    values: JsonValues
    """Metric → JMESPath to its number, or more: see `path`."""
    time: JsonPath | None = None
    """JMESPath to the time of the document. When not said, its values are from when the file was written last."""
    zone: Zone = "UTC"
    """Time zone of times that name none."""

    @field_validator("values")
    @classmethod
    def _validate_values(cls, values: dict[str, Any]) -> dict[str, Any]:
        if AGE_METRIC in values:
            raise ValueError(f"{AGE_METRIC} is what the source itself says of the file — give yours another name")
        return values

    @property
    def identity(self) -> str:
        return self.file if self.user is None else f"{self.file} of {self.user}"

    def owner(self) -> Target:
        """As whom it is read, see `core.protocols.OwnedSource`."""
        return owner_of(Path(self.file).parent, self.user)

    def read(self, state: SourceState, cache: SourceCache, now: Millis) -> list[Sample]:  # noqa: ARG002
        """What the document says, as of the time that it says, and how old the file is, as of now."""
        from watchdog.sources.state_file import read_samples

        found = self._ask_owner(read_samples, now)
        return [*found.samples, Sample(AGE_METRIC, (), now, max(0, now - found.modified) / 1_000)]

    def explain(self, now: Millis) -> list[Match]:
        """What each expression matches in the file."""
        from watchdog.sources.state_file import explain_file

        matches: list[Match] = self._ask_owner(explain_file, now)
        return matches

    def _ask_owner(self, function: Callable[..., Any], now: Millis) -> Any:
        from watchdog.sources.state_file import StateFile

        path = Path(self.file)
        asked = StateFile(path, self.max_bytes, self.values, self.time, self.zone, self.max_series)
        missing = f"{path.parent} is not there — does the bot write {path.name} there?"
        return ask_owner(path.parent, self.user, function, asked, now, missing=missing, cure="check file, and user")
