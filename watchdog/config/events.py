"""The parser's events → plain data with places, on a stack of our own: nothing recurses.

Reading goes on behind a mistake wherever the text still has a shape.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml

from watchdog.config.document import Document, Loc
from watchdog.config.problem import Place, short

MAX_DEPTH = 30
MAX_NODES = 400_000
MAX_TEXT = 10_000
"""Characters of one key or value."""

_NUMBER = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_WHOLE = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_IMPOSSIBLE = re.compile("[\0\ud800-\udfff]")
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}


def scalar(text: str) -> str | int | float | bool | None:
    """An unquoted word by YAML 1.2's core rules, without octal and hexadecimal; ``007`` stays text, as it was meant.

    Raises ValueError for a number that would not be kept exactly.
    """
    if text in _WORDS:
        return _WORDS[text]  # type: ignore[no-any-return]
    if _WHOLE.fullmatch(text):
        if len(text.lstrip("+-")) > 18:
            raise ValueError("a whole number has at most 18 digits")
        return int(text)
    if _NUMBER.fullmatch(text):
        number = float(text)
        if number in (float("inf"), float("-inf")):
            raise ValueError("the number is too large")
        return number
    return text


class StopError(Exception):
    """What follows cannot be understood."""


@dataclass(slots=True)
class _Frame:
    """A mapping or list that is being filled."""

    path: Loc
    into: dict[str, Any] | list[Any]
    dead: bool = False
    """Within something that was refused: only walked over."""
    is_key: bool = False
    """Stands where a key should."""
    key: str | None = None
    """Of a mapping: the key whose value comes next; None: a key comes next."""
    dead_value: bool = False
    """The value that comes next is left out."""

    @property
    def expects_key(self) -> bool:
        return self.key is None and isinstance(self.into, dict)

    def consumed(self) -> None:
        self.key, self.dead_value = None, False


class Reader:
    def __init__(self, document: Document) -> None:
        self.document = document
        self.frames: list[_Frame] = []
        self.nodes = 0
        self.begun = False

    def read(self, get_event: Callable[[], Any]) -> None:
        """All events, the end of the stream last. Ten thousand rules are half a million of them: no chain of tests."""
        handlers: dict[type, Callable[[Any, Place], None]] = {
            yaml.ScalarEvent: self._leaf,
            yaml.AliasEvent: self._leaf,
            yaml.MappingStartEvent: lambda event, place: self._open(event, place, {}),
            yaml.SequenceStartEvent: lambda event, place: self._open(event, place, []),
            yaml.MappingEndEvent: lambda _, __: self._close(),
            yaml.SequenceEndEvent: lambda _, __: self._close(),
            yaml.DocumentStartEvent: lambda _, place: self._start(place),
        }
        while (kind := type(event := get_event())) is not yaml.StreamEndEvent:
            if handler := handlers.get(kind):
                mark = event.start_mark
                handler(event, Place(mark.line + 1, mark.column + 1))

    def _start(self, place: Place) -> None:
        if self.begun:
            self._stop(place, "a second document starts here", "one file, one document: delete the ---")
        self.begun = True

    def _report(self, place: Place, what: str, cure: str) -> None:
        self.document.report(place, what, cure)
        if self.document.full:
            raise StopError

    def _stop(self, place: Place, what: str, cure: str) -> None:
        self.document.report(place, what, cure)
        raise StopError

    def _count(self, place: Place) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            self._stop(place, f"the file holds more than {MAX_NODES} values", "split it: rules/ may hold many files")

    def _open(self, event: Any, place: Place, into: dict[str, Any] | list[Any]) -> None:
        self._count(place)
        if len(self.frames) >= MAX_DEPTH:
            self._stop(place, f"nested deeper than {MAX_DEPTH} levels", "no setting needs that: check the brackets")
        frame = self.frames[-1] if self.frames else None
        if frame is not None and frame.expects_key:
            if not frame.dead:
                self._report(
                    place,
                    "a key should stand here, not a list or a set of keys",
                    "put text that starts with { or [ in quotes",
                )
                self.document.spoil(frame.path)
            self.frames.append(_Frame(frame.path, into, dead=True, is_key=True))
            return
        path = self._path()
        dead = frame is not None and (frame.dead or frame.dead_value)
        if not dead:
            self.document.val_at[path] = place
            self._properties(event, place, path)
            self._put(into)
        self.frames.append(_Frame(path, into, dead=dead))

    def _close(self) -> None:
        done = self.frames.pop()
        if self.frames:
            frame = self.frames[-1]
            if done.is_key:
                frame.key, frame.dead_value = "", True
            else:
                frame.consumed()

    def _leaf(self, event: Any, place: Place) -> None:
        self._count(place)
        frame = self.frames[-1] if self.frames else None
        if frame is not None and frame.expects_key:
            self._key(frame, event, place)
            return
        if frame is None or not (frame.dead or frame.dead_value):
            path = self._path()
            self.document.val_at[path] = place
            self._put(self._value(event, place, path))
        if frame is not None:
            frame.consumed()

    def _key(self, frame: _Frame, event: Any, place: Place) -> None:
        frame.key, frame.dead_value = "", True
        if frame.dead:
            return
        if isinstance(event, yaml.AliasEvent):
            self._refuse_alias(event, place, frame.path)
            return
        text = str(event.value)
        path = (*frame.path, text)
        if len(text) > MAX_TEXT:
            self._check_text(text, place, frame.path)
        elif path in self.document.key_at:
            self._report(
                place,
                f"{short(text)} stands here twice, first in line {self.document.key_at[path].line}",
                "keep one of them",
            )
        elif text == "<<" and event.implicit[0]:
            self._report(place, "<< copies keys from elsewhere", "write the keys out")
            self.document.spoil(frame.path)
        else:
            frame.key, frame.dead_value = text, False
            self.document.key_at[path] = place
            self._properties(event, place, frame.path)
            self._check_text(text, place, frame.path)

    def _value(self, event: Any, place: Place, path: Loc) -> Any:
        if isinstance(event, yaml.AliasEvent):
            self._refuse_alias(event, place, path)
            return None
        self._properties(event, place, path)
        text = str(event.value)
        if not event.implicit[0] or len(text) > MAX_TEXT:
            self._check_text(text, place, path)
            return text if len(text) <= MAX_TEXT else None
        try:
            return scalar(text)
        except ValueError as error:
            self._report(place, str(error), "put it in quotes if it is a name")
            self.document.spoil(path)
            return None

    def _refuse_alias(self, event: Any, place: Place, path: Loc) -> None:
        self._report(
            place,
            f"*{short(event.anchor)} points to another place",
            "write it out, or put text that starts with * in quotes",
        )
        self.document.spoil(path)

    def _properties(self, event: Any, place: Place, path: Loc) -> None:
        """A tag could make anything of a value, an anchor only serves aliases."""
        if event.anchor is None and event.tag is None:
            return
        if event.anchor is not None:
            self._report(
                place,
                f"&{short(event.anchor)} gives a place a name",
                "delete it, or put text that starts with & in quotes",
            )
        else:
            self._report(
                place, f"the tag {short(event.tag)} is not read", "delete it, or put text that starts with ! in quotes"
            )
            self.document.spoil(path)

    def _check_text(self, text: str, place: Place, path: Loc) -> None:
        """Escapes in quotes can make what a file itself cannot hold."""
        if len(text) > MAX_TEXT:
            self._report(
                place,
                f"the text is {len(text)} characters long, at most {MAX_TEXT} are read",
                "is a quote or a | missing its end?",
            )
            self.document.spoil(path)
        elif _IMPOSSIBLE.search(text):
            self._report(place, "the text holds a character that no system takes", "remove the \\0 or \\ud…")
            self.document.spoil(path)

    def _path(self) -> Loc:
        if not self.frames:
            return ()
        frame = self.frames[-1]
        return (*frame.path, len(frame.into) if isinstance(frame.into, list) else frame.key or "")

    def _put(self, value: Any) -> None:
        if not self.frames:
            self.document.data = value
            return
        frame = self.frames[-1]
        if isinstance(frame.into, list):
            frame.into.append(value)
        else:
            frame.into[frame.key or ""] = value
