"""The items of a list as they are written, and which of them stay: what lists in brackets and lists behind dashes share."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Comments = str
"""Lines between two items that hold comments, or nothing; they stay, whoever goes."""


@dataclass(frozen=True, slots=True)
class Item:
    """One item, with what belongs to it."""

    comments: Comments
    lead: str
    """What stands between them, or the item ahead, and the literal: blanks, a line's end, a dash."""
    literal: str
    trail: str
    """What follows it on its line, a comma aside."""
    mid: str = ""
    """What stands between it and its comma."""
    is_new: bool = False


def rearrange(
    old: Sequence[Item], values: Sequence[object], wanted: Sequence[object], make_item: Callable[[Any], Item]
) -> tuple[list[Item], Comments]:
    """An item for each wanted value: the one that is there where there is one, with its comments; and the comments of those at
    the end that go. The comments above one that goes stay above the next."""
    free: dict[object, deque[int]] = {}
    for place, value in enumerate(values):
        free.setdefault(_identity(value), deque()).append(place)
    taken = [found.popleft() if (found := free.get(_identity(value))) else None for value in wanted]
    kept, above, carried = {*taken}, dict[int, str](), ""
    for place, item in enumerate(old):
        above[place], carried = carried + item.comments, ""
        if place not in kept:
            carried = above[place]
    items = [
        make_item(value)
        if place is None
        else Item(above[place], old[place].lead, old[place].literal, old[place].trail, old[place].mid)
        for place, value in zip(taken, wanted, strict=True)
    ]
    return items, carried


def _identity(value: object) -> object:
    return type(value), value


def most_common(texts: Sequence[str]) -> str | None:
    """The first of those that are most often there."""
    return max(texts, key=texts.count) if texts else None
