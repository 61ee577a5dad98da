"""A list of YAML's with an item behind each dash: those that stay are as they were, and new ones look like them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from watchdog.actions.values.list_items import Item, most_common, rearrange
from watchdog.actions.values.located_value import LocatedValue, Scalar
from watchdog.core.errors import ActionError

_COLON = re.compile(r"[ \t]*:")
_AHEAD = re.compile(r"[ \t]*-[ \t]*")
_BEHIND = re.compile(r"(?:[ \t]+#[^\r\n]*|[ \t]*)(?=\r?\n|\r?\Z)")


def span(text: str, key_end: int, items: Sequence[tuple[int, int]], file_name: str, name: str) -> tuple[int, int]:
    """From behind the colon to the end of the last item's line. ActionError when its lines cannot be told apart."""
    colon = _COLON.match(text, key_end) if key_end >= 0 else None
    lines = [_line_of(text, start, end) for start, end in items]
    indents = {text[line[0] : start].partition("-")[0] for line, (start, _) in zip(lines, items, strict=True) if line}
    if colon is None or None in lines or len(indents) != 1 or not lines or not lines[-1]:
        raise ActionError(
            f"{name} in {file_name} is written in a way that is not followed — write an item on each line: - A"
        )
    return colon.end(), lines[-1][1]


def _line_of(text: str, start: int, end: int) -> tuple[int, int] | None:
    """The beginning and the end of an item's line; None: it is not alone there."""
    begins = max(text.rfind("\n", 0, start), text.rfind("\ufeff", 0, 1)) + 1
    behind = _BEHIND.match(text, end)
    if "\n" in text[start:end] or _AHEAD.fullmatch(text, begins, start) is None or behind is None:
        return None
    return begins, behind.end()


def rewrite(text: str, found: LocatedValue, wanted: Sequence[Scalar], format_item: Callable[[Scalar], str]) -> str:
    """The list as text, with what stands between its key and it."""
    newline = "\r\n" if "\r\n" in found.text else "\n"
    old, position = list[Item](), found.start
    for start, end in found.items or ():
        line = _line_of(text, start, end)
        assert line is not None
        begins, ends = line
        old.append(Item(text[position:begins], text[begins:start], text[start:end], text[end:ends]))
        position = ends + _newline_at(text, ends)
    head, old[0] = old[0].comments, Item("", old[0].lead, old[0].literal, old[0].trail)
    lead = most_common([item.lead for item in old if not item.lead.endswith("-")]) or f"{old[0].lead} "
    items, carried = rearrange(
        old,
        found.value if isinstance(found.value, tuple) else (),
        wanted,
        lambda value: Item("", lead, format_item(value), "", is_new=True),
    )
    if not items:
        return " []" + (head + carried).rstrip("\r\n")
    lines = "".join(f"{item.comments}{item.lead}{item.literal}{item.trail}{newline}" for item in items)
    return (head + lines + carried).removesuffix(newline)


def replace(found: LocatedValue, text: str, literal: str) -> str:
    """A single value in the list's place."""
    head = text[found.start : (found.items or ((found.end, 0),))[0][0]].rpartition("\n")[0]
    return f" {literal}{head.rstrip()}"


def _newline_at(text: str, position: int) -> int:
    return 2 if text.startswith("\r\n", position) else int(text.startswith("\n", position))
