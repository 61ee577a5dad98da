"""A path of keys in a JSON file, which may hold comments and trailing commas as bots' configurations do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from watchdog.actions.scalars.found import Found, Node, Scalar, along, only, picked
from watchdog.model import ActionError

_GAP = re.compile(r"(?:[ \t\r\n]|//[^\r\n]*|/\*.*?\*/)*", re.DOTALL)
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"')
_WORD = re.compile(r"[A-Za-z0-9+.\-]+")


def find(text: str, file_name: str, name: str) -> Found:
    try:
        root = _Scanner(text).whole()
    except (ValueError, RecursionError) as problem:
        raise ActionError(f"{file_name} is no JSON: {problem}") from None
    return picked(only(list(along(root, name)), file_name, name), text, file_name, name)


def write(value: Scalar | Sequence[Scalar]) -> str:
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)


class _Scanner:
    """Raises ValueError with the line where the text is no JSON."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 1 if text.startswith("\ufeff") else 0

    def whole(self) -> Node:
        self._gap()
        node = self._value()
        self._gap()
        if self.at != len(self.text):
            raise self._bad("something follows its end")
        return node

    def _value(self) -> Node:
        start = self.at
        match self.text[start : start + 1]:
            case "{":
                members = []
                for _ in self._items("}"):
                    key = self._string()
                    self._gap()
                    if not self.text.startswith(":", self.at):
                        raise self._bad("a colon is missing")
                    self.at += 1
                    self._gap()
                    members.append((key, self._value()))
                return Node(start, self.at, {}, members)
            case "[":
                values = [self._value().value for _ in self._items("]")]
                return Node(start, self.at, values)
            case '"':
                value: object = self._string()
                return Node(start, self.at, value)
        word = _WORD.match(self.text, start)
        if word is None:
            raise self._bad("a value is missing")
        self.at = word.end()
        try:
            return Node(start, self.at, json.loads(word[0]))
        except ValueError:
            raise self._bad(f"{word[0]!r} is no value") from None

    def _items(self, close: str) -> Iterator[None]:
        """Past the opening bracket, then at each item; past the closing bracket in the end."""
        self.at += 1
        self._gap()
        while not self.text.startswith(close, self.at):
            yield
            self._gap()
            if self.text.startswith(",", self.at):
                self.at += 1
                self._gap()
            elif not self.text.startswith(close, self.at):
                raise self._bad(f"a comma or {close} is missing")
        self.at += 1

    def _string(self) -> str:
        found = _STRING.match(self.text, self.at)
        if found is None:
            raise self._bad("a text in double quotes is missing")
        self.at = found.end()
        try:
            return str(json.loads(found[0]))
        except ValueError:
            raise self._bad(f"{found[0]} is no text") from None

    def _gap(self) -> None:
        found = _GAP.match(self.text, self.at)
        assert found is not None
        self.at = found.end()

    def _bad(self, what: str) -> ValueError:
        return ValueError(f"line {self.text.count(chr(10), 0, self.at) + 1}: {what}")
