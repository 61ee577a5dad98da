"""node_exporter's textfile convention: whoever has something to say leaves a file in Prometheus's text format in a folder."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

from pydantic import Field, field_validator

from watchdog.core.errors import SourceError
from watchdog.core.model import FilePath, Labels, Millis, Sample
from watchdog.core.protocols import SourceCache, SourceState
from watchdog.core.target import Target
from watchdog.core.telemetry import log
from watchdog.core.text import shorten
from watchdog.host.owned_path import owner_of
from watchdog.net.deadline import Deadline
from watchdog.sources import exposition
from watchdog.sources.interval import READ_DEADLINE_MS, Interval
from watchdog.sources.owner_files import ask_owner
from watchdog.sources.source_model import SourceModel
from watchdog.sources.textfile_folder import TextFile, read_folder

_ERROR, _WRITTEN = "textfile_scrape_error", "textfile_mtime_seconds"
_MAX_AHEAD: Millis = 60_000
"""By which the clock of whoever writes may be ahead of ours. A file from later than that would look fresh for ever."""


class TextfileSource(SourceModel):
    """The `*.prom` files of a folder, as node_exporter's textfile collector reads them."""

    reads_needed: ClassVar[int] = 1
    deadline: ClassVar[Millis] = READ_DEADLINE_MS

    type: Literal["textfile"]
    folder: FilePath
    """Where the files lie."""
    files: str = "*.prom"
    """Which of them: a pattern for their names, with `*` and `?`."""
    user: str | None = None
    """As whom it is read; when not said, the owner of the folder."""
    every: Interval = 30_000
    """Time from one read to the next. What is older than three times as long is not believed."""
    max_bytes: int = Field(2**20, ge=1, le=2**23)
    """Most bytes of a file. A larger one is refused whole."""

    @field_validator("files")
    @classmethod
    def _validate_files(cls, files: str) -> str:
        if not files or "/" in files or files.startswith(".") or len(files) > 100:
            raise ValueError("files is a pattern for names in the folder, such as *.prom")
        return files

    @property
    def identity(self) -> str:
        return f"{self.folder}/{self.files}"

    def owner(self) -> Target:
        """As whom it is read, see `core.protocols.OwnedSource`."""
        return owner_of(Path(self.folder), self.user)

    def read(self, state: SourceState, cache: SourceCache, now: Millis) -> list[Sample]:  # noqa: ARG002
        """The samples of all files that are well, as old as their files; and which files there are. Cache: the lines that each
        file had, and what was wrong with it."""
        deadline = Deadline.after(self.deadline)
        folder, missing = Path(self.folder), f"there is no folder {self.folder} — mend folder"
        asked = (folder, self.files, self.max_bytes)
        files: tuple[TextFile, ...] = ask_owner(
            folder, self.user, read_folder, *asked, missing=missing, cure="mend folder, or user"
        )
        if not files:
            raise SourceError(f"there is no file {self.files} in {self.folder} — mend folder, or see who writes them")
        known: dict[str, exposition.PageCache] = cache.get("pages", {})
        pages = cache["pages"] = {each.name: known.get(each.name, exposition.PageCache()) for each in files}
        parsed = [self._parse(each, pages[each.name], now, deadline) for each in files]
        parsed = _without_shared_series(parsed)
        problems = {each.name: each.problem for each in parsed if each.problem is not None}
        self._tell(problems, cache)
        if len(problems) == len(parsed):
            name, problem = next(iter(problems.items()))
            cure = "" if " — " in problem else " — see who writes it"
            raise SourceError(f"{self.folder}: no file can be read: {shorten(name, 80)}: {problem}{cure}")
        return [
            *(sample for each in parsed if each.problem is None for sample in each.samples),
            *(
                Sample(_WRITTEN, (("file", each.name),), now, each.written / 1_000)
                for each in files
                if each.written is not None and each.name
            ),
            Sample(_ERROR, (), now, 1.0 if problems else 0.0),
        ]

    def _parse(self, file: TextFile, page: exposition.PageCache, now: Millis, deadline: Deadline) -> _Parsed:
        if file.text is None or file.written is None:
            return _Parsed(file.name, [], shorten(file.problem or "it cannot be read", 400))
        if file.written > now + _MAX_AHEAD:
            return _Parsed(file.name, [], "it is from a time that has not come yet — mend the clock of who writes it")
        written = min(file.written, now)
        try:
            found = exposition.parse_samples(
                file.text.encode("utf-8", "replace"), written, page, exposition.PageLimits(self.max_series, deadline)
            )
        except SourceError as fault:
            return _Parsed(file.name, [], str(fault))
        if taken := {_ERROR, _WRITTEN} & {sample.name for sample in found}:
            return _Parsed(file.name, [], f"it has {min(taken)}, which the watchdog says — give it another name")
        # A file knows of nothing that came after it.
        return _Parsed(file.name, [each if each.t <= written else each._replace(t=written) for each in found], None)

    def _tell(self, problems: dict[str, str], cache: SourceCache) -> None:
        """The log says once what is wrong with a file."""
        for name, problem in problems.items():
            if cache.get("problems", {}).get(name) != problem:
                log.warning("textfile %s/%s: %s", self.folder, shorten(name, 80), problem)
        cache["problems"] = problems


class _Parsed(NamedTuple):
    name: str
    samples: list[Sample]
    problem: str | None
    """Why there are none."""


def _without_shared_series(files: list[_Parsed]) -> list[_Parsed]:
    """Which of two files is right about a series nobody knows."""
    times: Counter[tuple[str, Labels]] = Counter(sample[:2] for file in files for sample in file.samples)
    if len(times) == sum(times.values()):
        return files
    checked = []
    for file in files:
        shared = next((sample for sample in file.samples if times[sample[:2]] > 1), None)
        if shared is not None:
            problem = f"a series of {shared.name} stands in another file, too — which of the two holds is unknown"
            checked.append(_Parsed(file.name, [], problem))
        else:
            checked.append(file)
    return checked
