"""What is wrong in a file, where exactly, and what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from typing import NamedTuple

from watchdog.model import WatchdogError

MOST_NAMES = 300
"""Names that are compared with one that is not known: each costs some 5 µs, and a file may hold thousands of both."""


class Place(NamedTuple):
    """Counted from 1, as editors do."""

    line: int
    column: int


class Problem(NamedTuple):
    """One mistake at one place."""

    file: str
    line: int
    column: int
    what: str
    cure: str = ""

    def __str__(self) -> str:
        cure = f" — {self.cure}" if self.cure else ""
        return f"{self.file}:{self.line}:{self.column}: {self.what}{cure}"


class ConfigError(WatchdogError):
    """Every mistake of every file, one per line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(set(problems))
        super().__init__("\n".join(map(str, self.problems)))


def one_line(text: str) -> str:
    """What a file holds as it may be printed: nothing that moves a cursor."""
    return "".join(char if char.isprintable() else "�" for char in " ".join(text.split()))


def short(value: object) -> str:
    """Something from a file as it may stand in a sentence."""
    text = one_line(str(value))
    return text if len(text) <= 60 else text[:59] + "…"


def nearest(name: object, known: Collection[str]) -> str:
    """The cure for a name that is not known: the one that was probably meant, or those that there are."""
    if not known:
        return ""
    few = list(known)[:MOST_NAMES]
    close = difflib.get_close_matches(str(name)[:100].lower(), [each.lower() for each in few], n=1)
    if close:
        return f"did you mean {next(each for each in known if each.lower() == close[0])}?"
    listed = sorted(known)
    more = f" and {len(listed) - 12} more" if len(listed) > 12 else ""
    return f"known: {', '.join(map(short, listed[:12]))}{more}"
