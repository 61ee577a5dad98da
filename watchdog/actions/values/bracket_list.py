"""A list in brackets, with other items: those that stay are as they were, with their comments, and new ones look like them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from watchdog.actions.values.list_items import Item, most_common, rearrange
from watchdog.actions.values.located_value import LocatedValue, Scalar
from watchdog.core.errors import ActionError

_BLANKS_AT_END = re.compile(r"[ \t\r\n]*\Z")
_REST_OF_LINE = re.compile(r"[^\r\n]*")
_MAX_ITEMS = 20_000


def rewrite(
    found: LocatedValue,
    wanted: Sequence[Scalar],
    comment: re.Pattern[str],
    format_item: Callable[[Scalar], str],
    *,
    brackets: tuple[int, int] = (1, 1),
    single_has_comma: bool = False,
) -> str | None:
    """The list as text; None: something stands between the items that is neither blank, comma nor comment.

    `brackets`: characters of the opening and of the closing one, 0 for a tuple of Python's that has none. `single_has_comma`:
    a list of one item is none without a comma behind it.
    """
    text, opened, closed = found.text, brackets[0], len(found.text) - brackets[1]
    old_values = found.value if isinstance(found.value, tuple) else ()
    if max(len(old_values), len(wanted)) > _MAX_ITEMS:
        raise ActionError(f"a list of more than {_MAX_ITEMS} items is not edited — do it by hand")
    old, ends_with_comma, tail = _take_apart(found, comment, opened, closed) or (None, False, "")
    if old is None:
        return None
    newline = "\r\n" if "\r\n" in text else "\n"
    gap = _usual_gap(old, tail, newline)
    items, carried = rearrange(
        old, old_values, wanted, lambda value: Item("", gap, format_item(value), "", is_new=True)
    )
    tail = carried + (tail if "\n" in tail or not carried else newline + tail)
    if not items:
        return text[:opened] + (tail if tail.strip() else "") + text[closed:]
    if not old and not tail.strip():
        tail = ""
    elif not old:  # comments alone: they stay above what comes
        above = tail.rstrip()
        items[0] = Item(above, items[0].lead, items[0].literal, "", is_new=True)
        tail = newline + _indent_of(tail)
    comma_at_end = (ends_with_comma and bool(old)) or (single_has_comma and len(items) == 1)
    if single_has_comma and len(old) == 1 and len(items) > 1:
        comma_at_end = "\n" in text  # it was there for the sake of the one
    written, open_comment = text[:opened], False
    for place, item in enumerate(items):
        lead = item.lead
        if place == 0 and old and not item.comments and "\n" not in lead:
            lead = old[0].lead
        elif place > 0 and "\n" not in lead and (not old or lead == old[0].lead):
            lead = gap if old else " "
        if open_comment and "\n" not in item.comments + lead:
            lead = newline + _indent_of(lead or gap)
        is_last = place == len(items) - 1
        written += (
            item.comments + lead + item.literal + item.mid + ("," if not is_last or comma_at_end else "") + item.trail
        )
        open_comment = bool(item.trail.strip())
    return written + (newline if open_comment and "\n" not in tail else "") + tail + text[closed:]


def _take_apart(
    found: LocatedValue, comment: re.Pattern[str], opened: int, closed: int
) -> tuple[list[Item], bool, str] | None:
    """The items, whether a comma follows the last, and what stands behind all; None: they cannot be told apart."""
    text, spans = found.text, [(start - found.start, end - found.start) for start, end in found.items or ()]
    is_gap = re.compile(rf"(?:[ \t\r\n]++|{comment.pattern})*+")
    items: list[Item] = []
    position, has_comma = opened, False
    for place, (start, end) in enumerate(spans):
        above = text[position:start]
        if is_gap.fullmatch(above) is None or start < position:
            return None
        blanks = _BLANKS_AT_END.search(above)
        assert blanks is not None
        until = spans[place + 1][0] if place + 1 < len(spans) else closed
        behind = is_gap.match(text, end, until)
        assert behind is not None
        has_comma = text.startswith(",", behind.end()) and behind.end() < until
        if has_comma:
            mid, position = behind[0], behind.end() + 1
            if "\n" in mid:
                return None  # commas at the beginnings of lines
        elif place + 1 < len(spans):
            return None
        else:
            mid, position = "", end
        trail = _REST_OF_LINE.match(text, position, until)
        assert trail is not None
        ends_line = trail.end() < until and trail[0].strip()
        if ends_line and is_gap.fullmatch(trail[0]) is None:
            return None
        shown = trail[0].rstrip() if ends_line else ""
        items.append(Item(above[: blanks.start()], blanks[0], text[start:end], shown, mid))
        position += len(shown)
    tail = text[position:closed]
    return (items, has_comma, tail) if is_gap.fullmatch(tail) else None


def _usual_gap(items: Sequence[Item], tail: str, newline: str) -> str:
    """What stands ahead of a further item."""
    common = most_common([item.lead for item in items[1:]])
    if common is not None:
        return common
    if items:
        return items[0].lead if "\n" in items[0].lead else " "
    return newline + _indent_of(tail.rstrip()) if tail.strip() else ""


def _indent_of(text: str) -> str:
    """Of its last line."""
    line = text.rpartition("\n")[2]
    return line[: len(line) - len(line.lstrip(" \t"))]
