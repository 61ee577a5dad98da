"""The command lines that README and the pages show."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

CHECKOUT = Path(__file__).parents[2]
PAGES = (
    CHECKOUT / "README.md",
    *sorted((CHECKOUT / "docs").rglob("*.md")),
    *sorted((CHECKOUT / "rules").rglob("*.md")),
    *sorted((CHECKOUT / "examples").rglob("*.md")),
)
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LANGUAGES = ("", "sh", "bash", "console")
_OPERATORS = ("&&", "||", "|", ">", ";")


class ShownCommand(NamedTuple):
    page: str
    line: int
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def shown_blocks(path: Path) -> list[list[str]]:
    """The lines of each block without a language, or of a shell; what stands behind a # is none of the command."""
    text = path.read_text(encoding="utf-8")
    return [
        [line for raw in re.sub(r"\\\n", " ", found[2]).splitlines() if (line := _without_comment(raw))]
        for found in _BLOCK.finditer(text)
        if found[1] in _LANGUAGES
    ]


def shown_commands(program: str = "trading-watchdog") -> Iterator[ShownCommand]:
    """Every call of that program, in the order of the pages; of a line with several commands, each."""
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        for block in _BLOCK.finditer(text):
            first = text[: block.start(2)].count("\n") + 1
            for number, raw in enumerate(block[2].splitlines() if block[1] in _LANGUAGES else (), first):
                words: list[str] = []
                for word in [*_split(_without_comment(raw)), ";"]:
                    if word not in _OPERATORS:
                        words.append(word)
                        continue
                    words = words[1:] if words[:1] in (["sudo"], ["$"]) else words
                    if words and Path(words[0]).name == program:
                        yield ShownCommand(str(path.relative_to(CHECKOUT)), number, tuple(words[1:]))
                    words = []


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:
        return []  # no command line: an error that is shown, a drawing


def _without_comment(line: str) -> str:
    return re.sub(r"(?:^|\s)#.*$", "", line).rstrip()
