"""Lines of JSON that a bot writes into files: counted, added up, and the newest of them taken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator

from watchdog.core.model import FilePath, Millis, Sample
from watchdog.core.protocols import Match, SourceCache, SourceState
from watchdog.core.schedule import Zone
from watchdog.core.target import Target
from watchdog.host.owned_path import owner_of
from watchdog.sources.interval import READ_DEADLINE_MS, Interval
from watchdog.sources.json_path import JsonPath
from watchdog.sources.jsonl_values import LineValues
from watchdog.sources.owner_files import ask_owner
from watchdog.sources.series_limits import DEFAULT_MAX_SERIES
from watchdog.sources.source_model import SourceModel

if TYPE_CHECKING:
    from watchdog.sources.jsonl_reader import JsonlResult, JsonlSpec


class JsonlSource(SourceModel):
    """JSON lines of rotating files: counters, sums and last values."""

    reads_needed: ClassVar[int] = 1
    deadline: ClassVar[Millis] = READ_DEADLINE_MS

    type: Literal["jsonl"]
    files: FilePath
    """The file, or files: `*`, `?` and `[…]` may stand in the last part. What rotation makes of them is read as well."""
    user: str | None = None
    """As whom they are read, by name; when not said, as the owner of their folder."""
    every: Interval = 1_000
    """Time from one read to the next."""
    max_bytes: int = Field(64 * 2**20, ge=2**21)
    """Most bytes of one read; what is left is read the next time."""
    max_series: int = Field(DEFAULT_MAX_SERIES, ge=1, le=20_000)
    """Most series that are kept of it. Known ones stay, new ones are left out."""
    values: LineValues
    """Metric → what of the lines it is: `count`, `sum` or `last`."""
    time: JsonPath | None = None
    """JMESPath to when it was, in each line. When not said, a line is from the time of the read that brought it."""
    zone: Zone = "UTC"
    """Time zone of times that name none."""

    @field_validator("files")
    @classmethod
    def _validate_files(cls, files: str) -> str:
        folder, _, name = files.rpartition("/")
        if any(sign in folder for sign in "*?["):
            raise ValueError("wildcards may stand in the file's name only — say one source for each folder")
        if not name:
            raise ValueError("that is a folder — say its files, such as events*.jsonl")
        return files

    @property
    def identity(self) -> str:
        return self.files

    def owner(self) -> Target:
        """As whom it is read, see `core.protocols.OwnedSource`."""
        return owner_of(Path(self.files).parent, self.user)

    def read(self, state: SourceState, cache: SourceCache, now: Millis) -> list[Sample]:
        """State: how far the files were read, and what the values stand at. Cache: when the counters were said last."""
        from watchdog.sources.jsonl_reader import read_jsonl  # jmespath: paid when it is read

        seconds = min(max(self.every, 500), READ_DEADLINE_MS // 2) / 1_000
        result: JsonlResult = self._ask(read_jsonl, self._spec(), state, cache.get("at"), now, seconds)
        state.clear()
        state.update(result.state)
        cache["at"] = result.at
        return list(result.samples)

    def explain(self, now: Millis) -> list[Match]:
        """What each expression matches in the newest lines."""
        from watchdog.sources.jsonl_explain import explain_jsonl  # paid when somebody asks

        return list(self._ask(explain_jsonl, self._spec(), now))

    def _ask(self, function: Callable[..., Any], *args: Any) -> Any:
        folder = Path(self.files).parent
        missing = f"there is no folder {folder} — is the path of files right?"
        return ask_owner(folder, self.user, function, *args, missing=missing, cure="mend files, or user")

    def _spec(self) -> JsonlSpec:
        from watchdog.sources.jsonl_reader import JsonlSpec

        return JsonlSpec(self.files, self.values, self.time, self.zone, self.every, self.max_bytes, self.max_series)
