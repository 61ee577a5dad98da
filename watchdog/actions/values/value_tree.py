"""What a nested file holds, with its places in the text; and what a path leads to in it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from watchdog.actions.values.value_path import Key, Member, Part, Place
from watchdog.core import redaction
from watchdog.core.errors import ActionError, MissingError, UnreadableError
from watchdog.core.text import shorten

_MAX_NAMED = 8
"""Members of a list that an error names."""

Step = str | int
"""A key of a mapping, or a place in a list: what a part has come to."""


class ValueNode(NamedTuple):
    """A value of a format that nests, with its place in the text."""

    start: int
    end: int
    value: Any
    """Of a scalar, what the format's own module makes a value of."""
    members: Sequence[tuple[Step, ValueNode]] | None = None
    """Of a mapping."""
    items: Sequence[ValueNode] | None = None
    """Of a list."""


class Found(NamedTuple):
    way: tuple[ValueNode, ...]
    """From the top to what is found."""
    steps: tuple[Step, ...]

    @property
    def node(self) -> ValueNode:
        return self.way[-1]


def find_node(
    root: ValueNode, parts: Sequence[Part], file_name: str, name: str, meaning: Callable[[ValueNode], object]
) -> Found:
    """The one place that the path leads to. Raises MissingError that says how far it goes, and UnreadableError for several.

    `meaning`: of a scalar's node what it is to Python.
    """
    search = _Search(file_name, name, parts, meaning)
    found = list(search.follow(Found((root,), ()), 0))
    if len(found) > 1:
        raise UnreadableError(f"{name} is set {len(found)} times in {file_name} — leave one of them")
    if not found:
        raise search.nearest or MissingError(f"{name} is not set in {file_name} — add it there first")
    return found[0]


@dataclass(slots=True)
class _Search:
    file_name: str
    name: str
    parts: Sequence[Part]
    meaning: Callable[[ValueNode], object]
    nearest: ActionError | None = None
    """Why the way that came furthest goes no further; None: a key is not there."""
    depth: int = -1

    def follow(self, so_far: Found, at: int) -> Iterator[Found]:
        node, steps = so_far.node, so_far.steps
        if at == len(self.parts):
            yield so_far
        elif node.members is not None:
            for key, inner, used in self._members(node.members, at, steps):
                yield from self.follow(Found((*so_far.way, inner), (*steps, key)), at + used)
        elif node.items is not None:
            place = self._place(node.items, at, steps)
            if place is not None:
                yield from self.follow(Found((*so_far.way, node.items[place]), (*steps, place)), at + 1)
        else:
            self._note(at, None)

    def _members(
        self, members: Sequence[tuple[Step, ValueNode]], at: int, steps: tuple[Step, ...]
    ) -> list[tuple[Step, ValueNode, int]]:
        wanted = dict(self._joined_keys(at))
        why = f"{self._there(steps)} is no list, of which [ ] names a member — name a key of it"
        self._note(at, None if wanted else MissingError(why))
        found = [(key, inner, wanted[str(key)]) for key, inner in members if str(key) in wanted]
        ways = [str(key) for key, _, used in found if at + used < len(self.parts)]
        if twice := next((key for key in ways if ways.count(key) > 1), None):
            there = self._said((*steps, twice))
            raise UnreadableError(f"{there} is set {ways.count(twice)} times in {self.file_name} — leave one of them")
        return found

    def _joined_keys(self, at: int) -> Iterator[tuple[str, int]]:
        """(key, parts that it takes): a key may hold dots itself."""
        text = ""
        for number, part in enumerate(self.parts[at:], 1):
            if not isinstance(part, Key) or (part.is_quoted and number > 1):
                return
            text = part.text if number == 1 else f"{text}.{part.text}"
            yield text, number
            if part.is_quoted:
                return

    def _place(self, items: Sequence[ValueNode], at: int, steps: tuple[Step, ...]) -> int | None:
        part, said = self.parts[at], self._said(steps)
        there = self._there(steps)
        count = f"{len(items)} members" if len(items) != 1 else "one member"
        match part:
            case Member():
                return self._member_place(part, items, at, there)
            case Place(number=number):
                pass
            case Key(text=text, is_quoted=False) if re.fullmatch("[0-9]{1,9}", text):
                number = int(text)
            case Key(text=text):
                known = self._describe_members(items)
                self._note(
                    at,
                    MissingError(
                        f"{there} is a list with {count} — name one by its place, {said}[0], or by "
                        f"a key of it, {said}[key=value]{known}"
                    ),
                )
                return None
        if number < len(items):
            return number
        which = "is empty" if not items else f"has {count}, numbered from 0"
        self._note(at, MissingError(f"{there} {which}: there is no {number} — look what is there"))
        return None

    def _member_place(self, part: Member, items: Sequence[ValueNode], at: int, there: str) -> int | None:
        values = [self._under_key(item, part.key) for item in items]
        fits = [place for place, value in enumerate(values) if value is not ... and _is_meant(value, part)]
        if len(fits) == 1:
            return fits[0]
        if fits:
            places = " and ".join(map(str, fits[:_MAX_NAMED]))
            cure = f"name one by its place: {', '.join(f'[{place}]' for place in fits[:_MAX_NAMED])}"
            self._note(
                at, UnreadableError(f"{there} has {len(fits)} members with {part.key}={part.text} ({places}) — {cure}")
            )
            return None
        known = list(dict.fromkeys(_show(part.key, value) for value in values if value is not ...))
        if known:
            more = f" and {len(known) - _MAX_NAMED} more" if len(known) > _MAX_NAMED else ""
            cure = f"there are {part.key}={f', {part.key}='.join(known[:_MAX_NAMED])}{more}"
        else:
            cure = f"none of its members has a {part.key} to be found by{self._describe_members(items)}"
        self._note(at, MissingError(f"{there} has no member with {part.key}={part.text} — {cure}"))
        return None

    def _under_key(self, item: ValueNode, key: str) -> object:
        """The scalar under that key of a member; an ellipsis for none, or several."""
        found = [inner for name, inner in item.members or () if str(name) == key]
        if len(found) != 1 or found[0].members is not None or found[0].items is not None:
            return ...
        try:
            return self.meaning(found[0])
        except ActionError:
            return ...

    def _describe_members(self, items: Sequence[ValueNode]) -> str:
        keys = dict.fromkeys(str(key) for item in items for key, _ in item.members or ())
        shown = ", ".join(shorten(key, 40) for key in [*keys][:_MAX_NAMED])
        return f"; keys are {shown}" if keys else ""

    def _said(self, steps: tuple[Step, ...]) -> str:
        """The steps as a name again."""
        text = ""
        for step in steps:
            plain = isinstance(step, int) or re.fullmatch(r"[^.\[\]\"']+", step)
            text += f"{'.' if text else ''}{step if plain else json.dumps(step, ensure_ascii=False)}"
        return text

    def _there(self, steps: tuple[Step, ...]) -> str:
        return f"{said} in {self.file_name}" if (said := self._said(steps)) else self.file_name

    def _note(self, at: int, why: ActionError | None) -> None:
        if at > self.depth:
            self.depth, self.nearest = at, why


def _is_meant(value: object, part: Member) -> bool:
    if isinstance(value, str):
        return value == part.text
    if part.is_quoted:
        return False
    if value is None:
        return part.text in ("null", "None", "~")
    if isinstance(value, bool):
        return part.text in (("true", "True") if value else ("false", "False"))
    return part.text == str(value)


def _show(key: str, value: object) -> str:
    return shorten(redaction.blot_value(key, str(value)), 40)
