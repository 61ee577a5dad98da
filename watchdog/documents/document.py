"""One file: what it says, and where each word of it stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from watchdog.documents.problems import Position, Problem, one_line

MAX_PROBLEMS = 1_000
"""Mistakes of one file that are listed: whoever made more has made one mistake many times."""

TOO_MANY_PROBLEMS = (
    f"there are more than {MAX_PROBLEMS} mistakes; the rest is not listed",
    "mend those above first",
)

KeyPath = tuple[str | int, ...]
"""Keys and list positions from the top of a file down."""


@dataclass
class Document:
    """A file as it was read."""

    file: str
    data: Any = None
    key_positions: dict[KeyPath, Position] = field(default_factory=dict)
    value_positions: dict[KeyPath, Position] = field(default_factory=dict)
    switch_words: dict[KeyPath, str] = field(default_factory=dict)
    """Unquoted on, off, yes and no: texts, and truth values to whoever knows older YAML."""
    rejected: set[KeyPath] = field(default_factory=set)
    """Where something was reported already, so that what stands there means nothing. See `reject`."""
    rejected_parents: set[KeyPath] = field(default_factory=set)
    """Everything that holds something spoilt."""
    problems: list[Problem] = field(default_factory=list)
    complete: bool = True
    """False: reading stopped half-way; names that nobody knows may be defined in the rest."""

    @property
    def has_too_many_problems(self) -> bool:
        """So much is wrong that the rest is not looked at."""
        return len(self.problems) > MAX_PROBLEMS

    def report(self, position: Position, what: str, cure: str = "") -> None:
        if self.has_too_many_problems:
            return
        if len(self.problems) == MAX_PROBLEMS:
            what, cure = TOO_MANY_PROBLEMS
        self.problems.append(Problem(self.file, position.line, position.column, one_line(what), one_line(cure)))

    def reject(self, path: KeyPath) -> None:
        self.rejected.add(path)
        self.rejected_parents.update(path[:length] for length in range(len(path) + 1))

    def is_rejected(self, path: KeyPath) -> bool:
        """Whether what stands at `path`, or something around it, was refused."""
        return bool(self.rejected) and any(path[:length] in self.rejected for length in range(len(path) + 1))

    def contains_rejected(self, path: KeyPath) -> bool:
        """Whether something at `path`, around it or within it was refused."""
        return path in self.rejected_parents or self.is_rejected(path)
