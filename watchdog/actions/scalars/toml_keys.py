"""A path of keys in a TOML file. A small scanner says where each value stands; the standard library says what it means."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Sequence
from typing import Any

from watchdog.actions.scalars.found import Found, Node, Scalar, alike, along, only, picked
from watchdog.model import ActionError

_GAP = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_KEY = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'""")
_TEXT = re.compile(r""""{3}(?:[^\\]|\\.)*?"{3,5}|'{3}.*?'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'""", re.DOTALL)
_PLAIN = re.compile(r"[^,\]}#\n]*")


def find(text: str, file_name: str, name: str) -> Found:
    try:
        whole: dict[str, Any] = tomllib.loads(text.removeprefix("\ufeff"))
        tables = list(_Scanner(text).tables())
    except (ValueError, RecursionError) as problem:
        raise ActionError(f"{file_name} is no TOML: {problem}") from None
    found: list[tuple[str, Node]] = []
    for table, members in tables:
        for keys, node in members:
            path = ".".join((*table, *keys))
            if path == name:
                found.append((path, node))
            elif name.startswith(f"{path}."):
                found += [(name, inner) for inner in along(node, name[len(path) + 1 :])]
    _, node = only(found, file_name, name)
    place = picked(node, text, file_name, name)
    if not any(alike(place.value, tuple(v) if isinstance(v, list) else v) for v in _values(whole, name)):
        raise ActionError(f"{name} in {file_name} cannot be told from its neighbours — change it by hand")
    return place


def _values(table: object, path: str) -> Iterator[object]:
    if isinstance(table, dict):
        for key, value in table.items():
            if key == path:
                yield value
            elif path.startswith(f"{key}."):
                yield from _values(value, path[len(key) + 1 :])


def write(value: Scalar | Sequence[Scalar], file_name: str, name: str) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(write(each, file_name, name) for each in value)}]"
    if value is None:
        raise ActionError(f"{name} in {file_name}: TOML has no null — say a value")
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, float):
        return re.sub(r"^(-?\d+)e", r"\1.0e", repr(value))
    return str(value).lower()


class _Scanner:
    """Takes the text for TOML, as tomllib has found it to be."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 1 if text.startswith("\ufeff") else 0

    def tables(self) -> Iterator[tuple[tuple[str, ...], list[tuple[tuple[str, ...], Node]]]]:
        """Each table's keys with what stands under it. What is in a list of tables cannot be named and is left out."""
        table: tuple[str, ...] = ()
        lists: list[tuple[str, ...]] = []
        members: list[tuple[tuple[str, ...], Node]] = []
        while self._skip(_GAP) < len(self.text):
            if not self.text.startswith("[", self.at):
                members.append((self._keys(), self._assigned()))
                continue
            if not self._in(table, lists):
                yield table, members
            many = self.text.startswith("[[", self.at)
            self.at += 1 + many
            self._skip(_SPACE)
            table, members = self._keys(), []
            self.at += 1 + many
            if many:
                lists.append(table)
        if not self._in(table, lists):
            yield table, members

    def _in(self, table: tuple[str, ...], lists: Sequence[tuple[str, ...]]) -> bool:
        return any(table[: len(one)] == one for one in lists)

    def _keys(self) -> tuple[str, ...]:
        keys = []
        while True:
            word = self._match(_KEY)
            keys.append(str(_meaning(word)) if word[0] in "\"'" else word)
            self._skip(_SPACE)
            if not self.text.startswith(".", self.at):
                return tuple(keys)
            self.at += 1
            self._skip(_SPACE)

    def _assigned(self) -> Node:
        self._match(re.compile("="))
        self._skip(_SPACE)
        return self._value()

    def _value(self) -> Node:
        start = self.at
        match self.text[start : start + 1]:
            case "{":
                members = []
                for _ in self._items("}"):
                    keys = self._keys()
                    members.append((".".join(keys), self._assigned()))
                return Node(start, self.at, {}, members)
            case "[":
                values = [self._value().value for _ in self._items("]")]
                return Node(start, self.at, values)
            case "'" | '"':
                word = self._match(_TEXT)
                return Node(start, self.at, _meaning(word))
        word = self._match(_PLAIN).rstrip()
        self.at = start + len(word)
        return Node(start, self.at, _meaning(word))

    def _items(self, close: str) -> Iterator[None]:
        self.at += 1
        while not self.text.startswith(close, self._skip(_GAP)):
            yield
            if self.text.startswith(",", self._skip(_GAP)):
                self.at += 1
        self.at += 1

    def _skip(self, gap: re.Pattern[str]) -> int:
        self._match(gap)
        return self.at

    def _match(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        if found is None:
            raise ValueError(f"line {self.text.count(chr(10), 0, self.at) + 1} cannot be followed")
        self.at = found.end()
        return found[0]


def _meaning(word: str) -> Any:
    return tomllib.loads(f"x = {word}")["x"]
