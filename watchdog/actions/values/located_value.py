"""What every file format says of a scalar it found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import EllipsisType
from typing import Any, NamedTuple, TypeVar

from watchdog.core.errors import ActionError, MissingError, UnreadableError
from watchdog.core.model import FrozenList

Scalar = bool | int | float | str | None
Value = Scalar | FrozenList[Scalar]
"""What a flag may be: one value, or a list of values."""
T = TypeVar("T")


class LocatedValue(NamedTuple):
    start: int
    end: int
    """Where the literal stands in the decoded text, in characters."""
    text: str
    """The literal as written, quotes and all."""
    value: Scalar | tuple[Scalar, ...]
    """What it means; in .env and INI files always the string between the quotes."""


class ValueNode(NamedTuple):
    """A value of a format that nests, with its place in the text."""

    start: int
    end: int
    value: Any
    """Python's own; of a mapping `{}`, its `members` are what counts."""
    members: Sequence[tuple[str, ValueNode]] | None = None


def nodes_at_path(node: ValueNode, path: str) -> Iterator[ValueNode]:
    """Every way to follow the dotted path from the mapping; a key may hold dots itself."""
    for key, inner in node.members or ():
        if key == path:
            yield inner
        elif path.startswith(f"{key}."):
            yield from nodes_at_path(inner, path[len(key) + 1 :])


def as_flag_value(value: object) -> Scalar | tuple[Scalar, ...] | EllipsisType:
    """The value as a flag has it; an ellipsis for what is none."""
    if isinstance(value, list | tuple) and all(isinstance(each, Scalar) for each in value):
        return tuple(value)
    return value if isinstance(value, Scalar) else ...


def value_at_node(node: ValueNode, text: str, file_name: str, name: str) -> LocatedValue:
    """The flag at that node. ActionError when a flag cannot be what stands there."""
    value = as_flag_value(node.value)
    if node.members is not None:
        raise ActionError(f"{name} in {file_name} is no single value — name one of the keys below it")
    if isinstance(value, EllipsisType):
        raise ActionError(f"{name} in {file_name} is a {type(node.value).__name__}, not a flag")
    if "\n" in text[node.start : node.end]:
        raise ActionError(f"{name} in {file_name} stands on several lines — write it on one")
    return LocatedValue(node.start, node.end, text[node.start : node.end], value)


def same_value(one: object, other: object) -> bool:
    """Equal, and of the same type: ``1`` is neither ``True`` nor ``1.0``."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(same_value, one, other))
    return type(one) is type(other) and one == other


def exactly_one(candidates: Sequence[T], file_name: str, name: str) -> T:
    """The one place where the name is set; with none (MissingError), or several, nobody can know what to change."""
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        raise MissingError(f"{name} is not set in {file_name} — add it there first")
    raise UnreadableError(f"{name} is set {len(candidates)} times in {file_name} — leave one of them")
