"""The parser's events → plain data with places, on a stack of our own: nothing recurses.

Reading goes on behind a mistake wherever the text still has a shape.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml

from watchdog.documents.document import Document, KeyPath
from watchdog.documents.problems import Position, shorten

MAX_DEPTH = 30
MAX_NODES = 400_000
MAX_TEXT = 10_000
"""Characters of one key or value."""

_NUMBER = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_INVALID_CHARACTERS = re.compile("[\0\ud800-\udfff]")
_KEYWORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}

_SWITCH_WORDS = frozenset(("on", "off", "yes", "no"))


def parse_scalar(text: str) -> str | int | float | bool | None:
    """An unquoted word by YAML 1.2's core rules, without octal and hexadecimal; ``007`` stays text, as it was meant.

    Raises ValueError for a number that would not be kept exactly.
    """
    if text in _KEYWORDS:
        return _KEYWORDS[text]  # type: ignore[no-any-return]
    if _INTEGER.fullmatch(text):
        if len(text.lstrip("+-")) > 18:
            raise ValueError("a whole number has at most 18 digits")
        return int(text)
    if _NUMBER.fullmatch(text):
        number = float(text)
        if number in (float("inf"), float("-inf")):
            raise ValueError("the number is too large")
        return number
    return text


class StopParsingError(Exception):
    """What follows cannot be understood."""


@dataclass(slots=True)
class _Frame:
    """A mapping or list that is being filled."""

    path: KeyPath
    container: dict[str, Any] | list[Any]
    ignored: bool = False
    """Within something that was refused: only walked over."""
    is_key: bool = False
    """Stands where a key should."""
    key: str | None = None
    """Of a mapping: the key whose value comes next; None: a key comes next."""
    ignore_value: bool = False
    """The value that comes next is left out."""

    @property
    def expects_key(self) -> bool:
        return self.key is None and isinstance(self.container, dict)

    def value_done(self) -> None:
        self.key, self.ignore_value = None, False


class EventReader:
    def __init__(self, document: Document) -> None:
        self.document = document
        self.frames: list[_Frame] = []
        self.nodes = 0
        self.started = False

    def read_events(self, get_event: Callable[[], Any]) -> None:
        """All events, the end of the stream last. Ten thousand rules are half a million of them: no chain of tests."""
        handlers: dict[type, Callable[[Any, Position], None]] = {
            yaml.ScalarEvent: self._on_scalar,
            yaml.AliasEvent: self._on_scalar,
            yaml.MappingStartEvent: lambda event, place: self._on_collection_start(event, place, {}),
            yaml.SequenceStartEvent: lambda event, place: self._on_collection_start(event, place, []),
            yaml.MappingEndEvent: lambda _, __: self._on_collection_end(),
            yaml.SequenceEndEvent: lambda _, __: self._on_collection_end(),
            yaml.DocumentStartEvent: lambda _, place: self._on_document_start(place),
        }
        while (kind := type(event := get_event())) is not yaml.StreamEndEvent:
            if handler := handlers.get(kind):
                mark = event.start_mark
                handler(event, Position(mark.line + 1, mark.column + 1))

    def _on_document_start(self, position: Position) -> None:
        if self.started:
            self._stop(position, "a second document starts here", "one file, one document: delete the ---")
        self.started = True

    def _report(self, position: Position, what: str, cure: str) -> None:
        self.document.report(position, what, cure)
        if self.document.has_too_many_problems:
            raise StopParsingError

    def _stop(self, position: Position, what: str, cure: str) -> None:
        self.document.report(position, what, cure)
        raise StopParsingError

    def _count_node(self, position: Position) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            self._stop(position, f"the file holds more than {MAX_NODES} values", "split it: rules/ may hold many files")

    def _on_collection_start(self, event: Any, position: Position, into: dict[str, Any] | list[Any]) -> None:
        self._count_node(position)
        if len(self.frames) >= MAX_DEPTH:
            self._stop(position, f"nested deeper than {MAX_DEPTH} levels", "no setting needs that: check the brackets")
        frame = self.frames[-1] if self.frames else None
        if frame is not None and frame.expects_key:
            if not frame.ignored:
                self._report(
                    position,
                    "a key should stand here, not a list or a set of keys",
                    "put text that starts with { or [ in quotes",
                )
                self.document.reject(frame.path)
            self.frames.append(_Frame(frame.path, into, ignored=True, is_key=True))
            return
        path = self._path()
        dead = frame is not None and (frame.ignored or frame.ignore_value)
        if not dead:
            self.document.value_positions[path] = position
            self._check_tag_and_anchor(event, position, path)
            self._append_value(into)
        self.frames.append(_Frame(path, into, ignored=dead))

    def _on_collection_end(self) -> None:
        done = self.frames.pop()
        if self.frames:
            frame = self.frames[-1]
            if done.is_key:
                frame.key, frame.ignore_value = "", True
            else:
                frame.value_done()

    def _on_scalar(self, event: Any, position: Position) -> None:
        self._count_node(position)
        frame = self.frames[-1] if self.frames else None
        if frame is not None and frame.expects_key:
            self._set_key(frame, event, position)
            return
        if frame is None or not (frame.ignored or frame.ignore_value):
            path = self._path()
            self.document.value_positions[path] = position
            self._append_value(self._scalar_value(event, position, path))
        if frame is not None:
            frame.value_done()

    def _set_key(self, frame: _Frame, event: Any, position: Position) -> None:
        frame.key, frame.ignore_value = "", True
        if frame.ignored:
            return
        if isinstance(event, yaml.AliasEvent):
            self._refuse_alias(event, position, frame.path)
            return
        text = str(event.value)
        path = (*frame.path, text)
        if len(text) > MAX_TEXT:
            self._check_text(text, position, frame.path)
        elif path in self.document.key_positions:
            self._report(
                position,
                f"{shorten(text)} stands here twice, first in line {self.document.key_positions[path].line}",
                "keep one of them",
            )
        elif text == "<<" and event.implicit[0]:
            self._report(position, "<< copies keys from elsewhere", "write the keys out")
            self.document.reject(frame.path)
        else:
            frame.key, frame.ignore_value = text, False
            self.document.key_positions[path] = position
            self._check_tag_and_anchor(event, position, frame.path)
            self._check_text(text, position, frame.path)

    def _scalar_value(self, event: Any, position: Position, path: KeyPath) -> Any:
        if isinstance(event, yaml.AliasEvent):
            self._refuse_alias(event, position, path)
            return None
        self._check_tag_and_anchor(event, position, path)
        text = str(event.value)
        if not event.implicit[0] or len(text) > MAX_TEXT:
            self._check_text(text, position, path)
            return text if len(text) <= MAX_TEXT else None
        if text.lower() in _SWITCH_WORDS:
            self.document.switch_words[path] = text
        try:
            return parse_scalar(text)
        except ValueError as error:
            self._report(position, str(error), "put it in quotes if it is a name")
            self.document.reject(path)
            return None

    def _refuse_alias(self, event: Any, position: Position, path: KeyPath) -> None:
        self._report(
            position,
            f"*{shorten(event.anchor)} points to another place",
            "write it out, or put text that starts with * in quotes",
        )
        self.document.reject(path)

    def _check_tag_and_anchor(self, event: Any, position: Position, path: KeyPath) -> None:
        """A tag could make anything of a value, an anchor only serves aliases."""
        if event.anchor is None and event.tag is None:
            return
        if event.anchor is not None:
            self._report(
                position,
                f"&{shorten(event.anchor)} gives a place a name",
                "delete it, or put text that starts with & in quotes",
            )
        else:
            self._report(
                position,
                f"the tag {shorten(event.tag)} is not read",
                "delete it, or put text that starts with ! in quotes",
            )
            self.document.reject(path)

    def _check_text(self, text: str, position: Position, path: KeyPath) -> None:
        """Escapes in quotes can make what a file itself cannot hold."""
        if len(text) > MAX_TEXT:
            self._report(
                position,
                f"the text is {len(text)} characters long, at most {MAX_TEXT} are read",
                "is a quote or a | missing its end?",
            )
            self.document.reject(path)
        elif _INVALID_CHARACTERS.search(text):
            self._report(position, "the text holds a character that no system takes", "remove the \\0 or \\ud…")
            self.document.reject(path)

    def _path(self) -> KeyPath:
        if not self.frames:
            return ()
        frame = self.frames[-1]
        return (*frame.path, len(frame.container) if isinstance(frame.container, list) else frame.key or "")

    def _append_value(self, value: Any) -> None:
        if not self.frames:
            self.document.data = value
            return
        frame = self.frames[-1]
        if isinstance(frame.container, list):
            frame.container.append(value)
        else:
            frame.container[frame.key or ""] = value
