"""A path of keys in a TOML file. A small scanner says where each value stands; the standard library says what it means."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from watchdog.actions.values.located_value import LocatedValue, Scalar, same_value, value_at_node
from watchdog.actions.values.value_path import parse_path
from watchdog.actions.values.value_tree import ValueNode, find_node
from watchdog.core.errors import ActionError, UnreadableError

COMMENT = re.compile(r"#[^\n]*")
_GAP = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_KEY = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'""")
_TEXT = re.compile(r""""{3}(?:[^\\]|\\.)*?"{3,5}|'{3}.*?'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'""", re.DOTALL)
_DOTTED = re.compile(r"""(?:[\w-]+|"[^"\n]*"|'[^'\n]*')(?:[ \t]*\.[ \t]*(?:[\w-]+|"[^"\n]*"|'[^'\n]*'))*""")
MAX_KEY_PARTS = 64
"""The standard library takes time by their square."""
_BARE_VALUE = re.compile(r"[^,\]}#\n]*")


def find_value(text: str, file_name: str, name: str) -> LocatedValue:
    if holds_long_key(text):
        raise UnreadableError(f"{file_name} holds a key of more than {MAX_KEY_PARTS} parts — no flag can be set there")
    try:
        whole: dict[str, Any] = tomllib.loads(text.removeprefix("\ufeff"))
        root = _TomlScanner(text).read()
    except ValueError as problem:
        raise UnreadableError(f"{file_name} is no TOML: {problem}") from None
    found = find_node(root, parse_path(name), file_name, name, _meaning)
    place = value_at_node(found.node, _meaning(found.node), text, file_name, name)
    there: Any = whole
    for step in found.steps:
        there = there[step]
    if not same_value(place.value, tuple(there) if isinstance(there, list) else there):
        raise ActionError(f"{name} in {file_name} cannot be told from its neighbours — change it by hand")
    return place


def holds_long_key(text: str) -> bool:
    """Whether a key has too many parts for it to be read in little time."""
    return any(found[0].count(".") >= MAX_KEY_PARTS for found in _DOTTED.finditer(text))


def format_literal(value: Scalar | Sequence[Scalar], file_name: str, name: str) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(format_literal(each, file_name, name) for each in value)}]"
    if value is None:
        raise ActionError(f"{name} in {file_name}: TOML has no null — say a value")
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, float):
        return re.sub(r"^(-?\d+)e", r"\1.0e", repr(value))
    return str(value).lower()


class _TomlScanner:
    """Takes the text for TOML, as tomllib has found it to be."""

    def __init__(self, text: str) -> None:
        self.text, self.position = text, 1 if text.startswith("\ufeff") else 0

    def read(self) -> ValueNode:
        root = _Table()
        table = root
        while self._skip(_GAP) < len(self.text):
            if not self.text.startswith("[", self.position):
                *way, key = self._parse_keys()
                table.below(way).values.append((key, self._parse_assignment()))
                continue
            many = self.text.startswith("[[", self.position)
            self.position += 1 + many
            self._skip(_SPACE)
            *way, key = self._parse_keys()
            self.position += 1 + many
            above = root.below(way)
            table = above.add_to_list(key) if many else above.below((key,))
        return root.node()

    def _parse_keys(self) -> tuple[str, ...]:
        keys = []
        while True:
            word = self._match(_KEY)
            keys.append(str(_parse_literal(word)) if word[0] in "\"'" else word)
            self._skip(_SPACE)
            if not self.text.startswith(".", self.position):
                return tuple(keys)
            self.position += 1
            self._skip(_SPACE)

    def _parse_assignment(self) -> ValueNode:
        self._match(re.compile("="))
        self._skip(_SPACE)
        return self._parse_value()

    def _parse_value(self) -> ValueNode:
        start = self.position
        match self.text[start : start + 1]:
            case "{":
                table = _Table()
                for _ in self._iterate_items("}"):
                    *way, key = self._parse_keys()
                    table.below(way).values.append((key, self._parse_assignment()))
                return table.node()._replace(start=start, end=self.position)
            case "[":
                items = [self._parse_value() for _ in self._iterate_items("]")]
                return ValueNode(start, self.position, None, items=items)
            case "'" | '"':
                word = self._match(_TEXT)
                return ValueNode(start, self.position, word)
        word = self._match(_BARE_VALUE).rstrip()
        if not word:
            raise ValueError(f"line {self._line()} lacks a value")
        self.position = start + len(word)
        return ValueNode(start, self.position, word)

    def _iterate_items(self, close: str) -> Iterator[None]:
        self.position += 1
        while not self.text.startswith(close, self._skip(_GAP)):
            yield
            if self.text.startswith(",", self._skip(_GAP)):
                self.position += 1
        self.position += 1

    def _skip(self, gap: re.Pattern[str]) -> int:
        self._match(gap)
        return self.position

    def _line(self) -> int:
        return self.text.count("\n", 0, self.position) + 1

    def _match(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.position)
        if found is None:
            raise ValueError(f"line {self._line()} cannot be followed")
        self.position = found.end()
        return found[0]


@dataclass(slots=True)
class _Table:
    """What headers and dotted keys in several places add to."""

    values: list[tuple[str, ValueNode]] = field(default_factory=list)
    tables: dict[str, _Table | list[_Table]] = field(default_factory=dict)

    def below(self, way: Sequence[str]) -> _Table:
        """The table under those keys; of a list of tables, its last."""
        table = self
        for key in way:
            inner = table.tables.setdefault(key, _Table())
            table = inner[-1] if isinstance(inner, list) else inner
        return table

    def add_to_list(self, key: str) -> _Table:
        tables = self.tables.setdefault(key, [])
        if not isinstance(tables, list):
            raise ValueError(f"{key} is a table and a list of tables")
        tables.append(_Table())
        return tables[-1]

    def node(self) -> ValueNode:
        members = [*self.values]
        for key, inner in self.tables.items():
            if isinstance(inner, list):
                members.append((key, ValueNode(-1, -1, None, items=[table.node() for table in inner])))
            else:
                members.append((key, inner.node()))
        return ValueNode(-1, -1, None, members)


def _meaning(node: ValueNode) -> object:
    """What a literal means is asked of the few that matter."""
    if node.items is not None:
        return [_meaning(item) for item in node.items]
    return {} if node.members is not None else _parse_literal(node.value)


def _parse_literal(word: str) -> Any:
    return tomllib.loads(f"x = {word}")["x"]
