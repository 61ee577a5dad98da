"""A path of keys in a TOML file. A small scanner says where each value stands; the standard library says what it means."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Any

from watchdog.actions.values.located_value import (
    LocatedValue,
    Scalar,
    ValueNode,
    exactly_one,
    nodes_at_path,
    same_value,
    value_at_node,
)
from watchdog.core.errors import ActionError, UnreadableError

_GAP = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_KEY = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'""")
_TEXT = re.compile(r""""{3}(?:[^\\]|\\.)*?"{3,5}|'{3}.*?'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'""", re.DOTALL)
_DOTTED = re.compile(r"""(?:[\w-]+|"[^"\n]*"|'[^'\n]*')(?:[ \t]*\.[ \t]*(?:[\w-]+|"[^"\n]*"|'[^'\n]*'))*""")
MAX_KEY_PARTS = 64
"""The standard library takes time by their square."""
_BARE_VALUE = re.compile(r"[^,\]}#\n]*")


def find_value(text: str, file_name: str, name: str) -> LocatedValue:
    if any(found[0].count(".") >= MAX_KEY_PARTS for found in _DOTTED.finditer(text)):
        raise UnreadableError(f"{file_name} holds a key of more than {MAX_KEY_PARTS} parts — no flag can be set there")
    try:
        whole: dict[str, Any] = tomllib.loads(text.removeprefix("\ufeff"))
        tables = list(_TomlScanner(text).tables())
    except ValueError as problem:
        raise UnreadableError(f"{file_name} is no TOML: {problem}") from None
    found: list[tuple[str, ValueNode]] = []
    for table, members in tables:
        for keys, node in members:
            path = ".".join((*table, *keys))
            if path == name:
                found.append((path, node))
            elif name.startswith(f"{path}."):
                found += [(name, inner) for inner in nodes_at_path(node, name[len(path) + 1 :])]
    _, node = exactly_one(found, file_name, name)
    node = node._replace(value=_meaning(node.value))
    place = value_at_node(node, text, file_name, name)
    if not any(same_value(place.value, tuple(v) if isinstance(v, list) else v) for v in _values_at_path(whole, name)):
        raise ActionError(f"{name} in {file_name} cannot be told from its neighbours — change it by hand")
    return place


def _values_at_path(table: object, path: str) -> Iterator[object]:
    if isinstance(table, dict):
        for key, value in table.items():
            if key == path:
                yield value
            elif path.startswith(f"{key}."):
                yield from _values_at_path(value, path[len(key) + 1 :])


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

    def tables(self) -> Iterator[tuple[tuple[str, ...], list[tuple[tuple[str, ...], ValueNode]]]]:
        """Each table's keys with what stands under it. What is in a list of tables cannot be named and is left out."""
        table: tuple[str, ...] = ()
        lists: set[tuple[str, ...]] = set()
        members: list[tuple[tuple[str, ...], ValueNode]] = []
        while self._skip(_GAP) < len(self.text):
            if not self.text.startswith("[", self.position):
                members.append((self._parse_keys(), self._parse_assignment()))
                continue
            if not self._is_in_list(table, lists):
                yield table, members
            many = self.text.startswith("[[", self.position)
            self.position += 1 + many
            self._skip(_SPACE)
            table, members = self._parse_keys(), []
            self.position += 1 + many
            if many:
                lists.add(table)
        if not self._is_in_list(table, lists):
            yield table, members

    def _is_in_list(self, table: tuple[str, ...], lists: Set[tuple[str, ...]]) -> bool:
        return any(table[:length] in lists for length in range(1, len(table) + 1))

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
                members = []
                for _ in self._iterate_items("}"):
                    keys = self._parse_keys()
                    members.append((".".join(keys), self._parse_assignment()))
                return ValueNode(start, self.position, {}, members)
            case "[":
                values = [self._parse_value().value for _ in self._iterate_items("]")]
                return ValueNode(start, self.position, values)
            case "'" | '"':
                word = self._match(_TEXT)
                return ValueNode(start, self.position, _Word(word))
        word = self._match(_BARE_VALUE).rstrip()
        if not word:
            raise ValueError(f"line {self._line()} lacks a value")
        self.position = start + len(word)
        return ValueNode(start, self.position, _Word(word))

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


@dataclass(frozen=True, slots=True)
class _Word:
    """A literal as it is written. What it means is asked of the few that matter."""

    text: str


def _meaning(value: object) -> object:
    if isinstance(value, list):
        return [_meaning(each) for each in value]
    return _parse_literal(value.text) if isinstance(value, _Word) else value


def _parse_literal(word: str) -> Any:
    return tomllib.loads(f"x = {word}")["x"]
