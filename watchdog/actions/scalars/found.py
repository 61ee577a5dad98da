"""What every file format says of a scalar it found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from watchdog.model import ActionError

Scalar = bool | int | float | str | None
T = TypeVar("T")


class Found(NamedTuple):
    start: int
    end: int
    """Where the literal stands in the decoded text, in characters."""
    text: str
    """The literal as written, quotes and all."""
    value: Scalar
    """What it means; in a .env file always the string between the quotes."""


def only(candidates: Sequence[T], file_name: str, name: str) -> T:
    """The one place where the name is set; with none, or several, nobody can know what to change."""
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        raise ActionError(f"{name} is not set in {file_name} — add it there first")
    raise ActionError(f"{name} is set {len(candidates)} times in {file_name} — leave one of them")
