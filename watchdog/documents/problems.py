"""What is wrong in a file, where exactly, and what to do about it."""

from __future__ import annotations

import difflib
import heapq
import re
from collections.abc import Collection, Iterable
from typing import NamedTuple

from watchdog.core.errors import WatchdogError
from watchdog.core.text import escape

_BLANKS = re.compile(r"[ \t\r\n]+")
MAX_COMPARED_NAMES = 300
"""Names that are compared with one that is not known: each costs some 5 µs, and a file may hold thousands of both."""


class Position(NamedTuple):
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
    """A sentence on one line, in which what a file holds is seen for what it is."""
    return escape(_BLANKS.sub(" ", text).strip())


def shorten(value: object) -> str:
    """Something from a file as it may stand in a sentence."""
    text = escape(str(value).strip()[:61])
    return text if len(text) <= 60 else text[:59] + "…"


def closest_name(name: object, known: Collection[str]) -> str | None:
    """The one that was probably meant; None when none of them was."""
    few = list(known)[:MAX_COMPARED_NAMES]
    close = difflib.get_close_matches(str(name)[:100].lower(), [each.lower() for each in few], n=1)
    return next(each for each in known if each.lower() == close[0]) if close else None


def suggest(name: object, known: Collection[str]) -> str:
    """The cure for a name that is not known: the one that was probably meant, or those that there are."""
    if not known:
        return ""
    if (close := closest_name(name, known)) is not None:
        return f"did you mean {close}?"
    return f"known: {format_names(sorted(known))}"


def format_names(names: Collection[str]) -> str:
    """The first dozen, and how many more there are."""
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return f"{', '.join(map(shorten, list(names)[:12]))}{more}"


def unknown_name(what: str, name: str, known: Collection[str]) -> str:
    """For a person who named something that there is not: the few names that were probably meant, or those that there are."""
    text = name[:100].lower()
    close = [each for each in known if text and text in each.lower()][:3]
    if not close:
        # As much is compared as takes no time worth speaking of: the daemon answers this between two rounds.
        some = heapq.nsmallest(3 * MAX_COMPARED_NAMES, known, key=lambda each: abs(len(each) - len(text)))
        near = difflib.get_close_matches(text, [each.lower() for each in some], n=3)
        close = sorted((each for each in some if each.lower() in near), key=lambda each: near.index(each.lower()))
    if close:
        cure = f"did you mean {' or '.join(filter(None, [', '.join(close[:-1]), close[-1]]))}?"
    else:
        cure = f"known: {format_names(list(known))}" if known else "none is there yet"
    return f"there is no {what} {shorten(name)!r} — {cure}"
