"""What every file format says of a value it found."""

from __future__ import annotations

from collections.abc import Sequence
from types import EllipsisType
from typing import NamedTuple, TypeVar

from watchdog.actions.values.value_tree import ValueNode
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
    items: tuple[tuple[int, int], ...] | None = None
    """Of a list: where each item's literal stands."""
    is_block: bool = False
    """A list of YAML's, one item behind each dash. Its text begins right behind the colon of its key."""


def as_flag_value(value: object) -> Scalar | tuple[Scalar, ...] | EllipsisType:
    """The value as a flag has it; an ellipsis for what is none."""
    if isinstance(value, list | tuple) and all(isinstance(each, Scalar) for each in value):
        return tuple(value)
    return value if isinstance(value, Scalar) else ...


def value_at_node(node: ValueNode, meaning: object, text: str, file_name: str, name: str) -> LocatedValue:
    """The flag at that node, which means that to Python. ActionError when a flag cannot be what stands there."""
    value = as_flag_value(meaning)
    if node.members is not None:
        raise ActionError(f"{name} in {file_name} is no single value — name one of the keys below it")
    if holds_collections(node):
        kind = "maps" if any(item.members is not None for item in node.items or ()) else "lists"
        raise ActionError(
            f"{name} in {file_name} is a list of {kind} — name a value in one of its members, as {name}[0]"
            + ("" if kind == "lists" else f".key or {name}[key=value].key")
        )
    if isinstance(value, EllipsisType):
        raise ActionError(f"{name} in {file_name} is a {type(meaning).__name__}, not a flag")
    if node.items is None and "\n" in text[node.start : node.end]:
        raise ActionError(f"{name} in {file_name} stands on several lines — write it on one")
    items = None if node.items is None else tuple((item.start, item.end) for item in node.items)
    return LocatedValue(node.start, node.end, text[node.start : node.end], value, items)


def holds_collections(node: ValueNode) -> bool:
    """Whether it is a list of maps, or of lists."""
    return any(item.members is not None or item.items is not None for item in node.items or ())


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
