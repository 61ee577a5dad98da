"""One file: what it says, and where each word of it stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from watchdog.config.problem import Place, Problem, one_line

MOST = 1_000
"""Mistakes of one file that are listed: whoever made more has made one mistake many times."""

Loc = tuple[str | int, ...]
"""Keys and list positions from the top of a file down."""


@dataclass
class Document:
    """A file as it was read."""

    file: str
    data: Any = None
    key_at: dict[Loc, Place] = field(default_factory=dict)
    val_at: dict[Loc, Place] = field(default_factory=dict)
    spoilt: set[Loc] = field(default_factory=set)
    """Where something was reported already, so that what stands there means nothing. See `spoil`."""
    around: set[Loc] = field(default_factory=set)
    """Everything that holds something spoilt."""
    problems: list[Problem] = field(default_factory=list)
    whole: bool = True
    """False: reading stopped half-way; names that nobody knows may be defined in the rest."""

    @property
    def full(self) -> bool:
        """So much is wrong that the rest is not looked at."""
        return len(self.problems) > MOST

    def report(self, place: Place, what: str, cure: str = "") -> None:
        if self.full:
            return
        if len(self.problems) == MOST:
            what, cure = f"there are more than {MOST} mistakes; the rest is not listed", "mend those above first"
        self.problems.append(Problem(self.file, place.line, place.column, one_line(what), one_line(cure)))

    def spoil(self, path: Loc) -> None:
        self.spoilt.add(path)
        self.around.update(path[:length] for length in range(len(path) + 1))

    def is_spoilt(self, path: Loc) -> bool:
        """Whether what stands at `path`, or something around it, was refused."""
        return bool(self.spoilt) and any(path[:length] in self.spoilt for length in range(len(path) + 1))

    def holds_spoilt(self, path: Loc) -> bool:
        """Whether something at `path`, around it or within it was refused."""
        return path in self.around or self.is_spoilt(path)
