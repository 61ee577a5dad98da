"""What a look finds: entries for watchdog.yaml, ahead of their being written."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_VALUES = 40
"""Values of one source's entry: what is more a person adds."""
_SEPARATORS = re.compile(r"[^a-zA-Z0-9]+")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass
class SourceDraft:
    """One entry under `sources:`."""

    name: str
    entry: dict[str, Any]
    about: str
    """What it is, for the comment above it."""
    todo: list[str] = field(default_factory=list)
    """What only a person can say."""
    is_bot: bool = True
    """It says how the bot is doing; not: its machine or its unit."""
    gap: float | None = None
    """s from one of its news to the next, as far as that can be seen."""
    waits_for: str | None = None
    """Why it cannot be read yet. What it will deliver is known all the same."""


@dataclass
class TargetDraft:
    """What the bot is."""

    name: str = "bot"
    unit: str | None = None
    repo: str | None = None
    process: dict[str, Any] | None = None

    def entry(self) -> dict[str, Any]:
        said = {"unit": self.unit, "repo": self.repo, "process": self.process}
        return {key: value for key, value in said.items() if value is not None}


def metric_name(*parts: str, taken: Collection[str] = ()) -> str:
    """A name for a metric, made of what a bot calls it: ``totalEquity`` → ``total_equity``. One that is not taken."""
    words = "_".join(_SEPARATORS.sub("_", _CAMEL.sub("_", part)).strip("_") for part in parts).lower()
    name = words if re.match(r"[a-z_]", words) else f"value_{words}".rstrip("_")
    name = name[:100] if name != "up" else "is_up"
    number, free = 2, name
    while free in taken:
        free, number = f"{name}_{number}", number + 1
    return free


def jmespath_key(name: str) -> str:
    """A key as a JMESPath has it: quoted where it is no plain word."""
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        return name
    return json.dumps(name)


def jmespath_text(text: str) -> str:
    """A text as a JMESPath compares with it."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def leaves(document: Mapping[str, Any], depth: int = 3) -> list[tuple[tuple[str, ...], Any]]:
    """(path, value) of all that is no object in it; lists are values."""
    found: list[tuple[tuple[str, ...], Any]] = []
    for key, value in document.items():
        if isinstance(value, dict) and depth > 1:
            found += [((key, *path), leaf) for path, leaf in leaves(value, depth - 1)]
        else:
            found.append(((key,), value))
    return found
