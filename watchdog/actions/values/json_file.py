"""A path of keys in a JSON file, which may hold comments and trailing commas as bots' configurations do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from watchdog.actions.values.located_value import LocatedValue, Scalar, value_at_node
from watchdog.actions.values.value_path import parse_path
from watchdog.actions.values.value_tree import ValueNode, find_node
from watchdog.core.errors import UnreadableError

COMMENT = re.compile(r"//[^\r\n]*|/\*(?:(?!\*/)[\s\S])*+\*/")
_GAP = re.compile(r"(?:[ \t\r\n]++|//[^\r\n]*|/\*.*?\*/)*", re.DOTALL)
_STRING = re.compile(r'"[^"\\\x00-\x1f]*+(?:\\.[^"\\\x00-\x1f]*+)*"')
_WORD = re.compile(r"[A-Za-z0-9+.\-]+")


def find_value(text: str, file_name: str, name: str) -> LocatedValue:
    try:
        root = read_tree(text)
    except ValueError as problem:
        raise UnreadableError(f"{file_name} is no JSON: {problem}") from None
    node = find_node(root, parse_path(name), file_name, name, _meaning).node
    return value_at_node(node, _meaning(node), text, file_name, name)


def read_tree(text: str) -> ValueNode:
    """All that it holds. Raises ValueError."""
    return _JsonScanner(text).parse()


def _meaning(node: ValueNode) -> object:
    return node.value if node.items is None else [_meaning(item) for item in node.items]


def format_literal(value: Scalar | Sequence[Scalar]) -> str:
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)


class _JsonScanner:
    """Raises ValueError with the line where the text is no JSON."""

    def __init__(self, text: str) -> None:
        self.text, self.position = text, 1 if text.startswith("\ufeff") else 0

    def parse(self) -> ValueNode:
        self._skip_gap()
        node = self._parse_value()
        self._skip_gap()
        if self.position != len(self.text):
            raise self._syntax_error("something follows its end")
        return node

    def _parse_value(self) -> ValueNode:
        start = self.position
        match self.text[start : start + 1]:
            case "{":
                members = []
                for _ in self._iterate_items("}"):
                    key = self._parse_string()
                    self._skip_gap()
                    if not self.text.startswith(":", self.position):
                        raise self._syntax_error("a colon is missing")
                    self.position += 1
                    self._skip_gap()
                    members.append((key, self._parse_value()))
                return ValueNode(start, self.position, {}, members)
            case "[":
                items = [self._parse_value() for _ in self._iterate_items("]")]
                return ValueNode(start, self.position, [], items=items)
            case '"':
                value: object = self._parse_string()
                return ValueNode(start, self.position, value)
        word = _WORD.match(self.text, start)
        if word is None:
            raise self._syntax_error("a value is missing")
        self.position = word.end()
        try:
            return ValueNode(start, self.position, json.loads(word[0]))
        except ValueError:
            raise self._syntax_error("what stands there is no value") from None

    def _iterate_items(self, close: str) -> Iterator[None]:
        """Past the opening bracket, then at each item; past the closing bracket in the end."""
        self.position += 1
        self._skip_gap()
        while not self.text.startswith(close, self.position):
            yield
            self._skip_gap()
            if self.text.startswith(",", self.position):
                self.position += 1
                self._skip_gap()
            elif not self.text.startswith(close, self.position):
                raise self._syntax_error(f"a comma or {close} is missing")
        self.position += 1

    def _parse_string(self) -> str:
        found = _STRING.match(self.text, self.position)
        if found is None:
            raise self._syntax_error("a text in double quotes is missing")
        self.position = found.end()
        try:
            return str(json.loads(found[0]))
        except ValueError:
            raise self._syntax_error("a text holds an escape that JSON does not know") from None

    def _skip_gap(self) -> None:
        found = _GAP.match(self.text, self.position)
        assert found is not None
        self.position = found.end()

    def _syntax_error(self, what: str) -> ValueError:
        return ValueError(f"line {self.text.count(chr(10), 0, self.position) + 1}: {what}")
