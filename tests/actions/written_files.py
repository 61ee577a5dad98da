"""Configuration files as people write them, in every format: comments, quotes, indents, line ends, lists over lines.

Each is made of a plain document, so that a test knows what its format's own parser must find in it.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from typing import Any, NamedTuple

import yaml
from hypothesis import strategies as st

KEYS = st.sampled_from(["a", "size", "pair_whitelist", "key-1", "UP", "n", "on_x", "ä", "a.b"])
PLAIN = st.text("abcXYZ/:09_-. #,'[]{}äß€", min_size=1, max_size=10)
SCALARS = st.integers(-(10**6), 10**6) | st.booleans() | PLAIN | st.sampled_from([0.5, -1.25, 1e-05, 2.5e9])
LISTS = st.lists(PLAIN, max_size=5) | st.lists(st.integers(0, 9), min_size=1, max_size=4)
MAPS = st.dictionaries(KEYS, SCALARS | LISTS, min_size=1, max_size=3)
DOCUMENTS = st.dictionaries(
    KEYS, SCALARS | LISTS | LISTS | MAPS | st.lists(MAPS, min_size=1, max_size=3), min_size=1, max_size=4
)


class Written(NamedTuple):
    name: str
    text: str
    document: Any
    read: Callable[[str], Any]
    """The format's own parser."""


class Writer:
    """Asks for a style wherever there are several."""

    def __init__(self, draw: st.DrawFn, comment: str) -> None:
        self.draw, self.comment, self.number = draw, comment, 0

    def chance(self) -> bool:
        return self.draw(st.booleans())

    def remark(self) -> str:
        """Behind something on its line: a comment of its own, or nothing."""
        self.number += 1
        return f"  {self.comment} c{self.number} = 1 [x]" if self.chance() else ""

    def lines(self, indent: str) -> str:
        """Ahead of something: comments and empty lines."""
        return self.draw(st.sampled_from(["", "", "\n", f"{indent}{self.comment} own, {self.number}\n"]))

    def brackets(self, items: list[str], indent: str, pair: str, *, commas: bool = True, lines: bool = True) -> str:
        """In one line, in one a item, or in between; with a comma at the end or without."""
        style = self.draw(st.sampled_from(["line", "line", "items", "items", "mixed"])) if lines else "line"
        if not items or style == "line":
            pad = " " if self.chance() else ""
            return f"{pair[0]}{pad}{', '.join(items)}{pad}{pair[1]}" if items else pair
        inner, last = f"{indent}  ", "," if commas and self.chance() else ""
        if style == "mixed":
            return (
                f"{pair[0]}\n{inner}"
                + f",\n{inner}".join([", ".join(items[:2]), *([", ".join(items[2:])] if items[2:] else [])])
                + f"{last}\n{indent}{pair[1]}"
            )
        rows = [
            f"{self.lines(inner)}{inner}{item}{',' if n < len(items) - 1 else last}{self.remark()}\n"
            for n, item in enumerate(items)
        ]
        return f"{pair[0]}{self.remark()}\n{''.join(rows)}{self.lines(inner)}{indent}{pair[1]}"


def _json_value(w: Writer, value: Any, indent: str) -> str:
    if isinstance(value, dict):
        return w.brackets(
            [f"{json.dumps(k)}: {_json_value(w, v, indent + '  ')}" for k, v in value.items()], indent, "{}"
        )
    if isinstance(value, list):
        return w.brackets([_json_value(w, each, indent + "  ") for each in value], indent, "[]")
    return json.dumps(value, ensure_ascii=w.chance())


def _read_json(text: str) -> Any:
    """Strings hold no slashes in twos, and no comma ahead of a bracket but for a blank."""
    plain = re.sub(r'("(?:[^"\\]|\\.)*")|//[^\n]*', lambda found: found[1] or "", text)
    return json.loads(re.sub(r'("(?:[^"\\]|\\.)*")|,(?=\s*[\]}])', lambda found: found[1] or "", plain))


def _python_value(w: Writer, value: Any, indent: str) -> str:
    if isinstance(value, dict):
        return w.brackets([f"{k!r}: {_python_value(w, v, indent + '  ')}" for k, v in value.items()], indent, "{}")
    if isinstance(value, list):
        items = [_python_value(w, each, indent + "  ") for each in value]
        if len(items) > 1 and w.chance():
            return w.brackets(items, indent, "()")
        return w.brackets(items, indent, "[]")
    text = repr(value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) and w.chance() else text


def _read_python(text: str) -> Any:
    scope: dict[str, Any] = {}
    exec(text, scope)
    return _without_tuples(scope["CONFIG"])


def _without_tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_tuples(each) for key, each in value.items()}
    return [_without_tuples(each) for each in value] if isinstance(value, list | tuple) else value


def _yaml_scalar(w: Writer, value: Any) -> str:
    if isinstance(value, str):
        if (
            re.fullmatch(r"[a-z]{2}[a-z/]*", value)
            and value not in ("on", "no", "off", "yes", "true", "null")
            and w.chance()
        ):
            return value
        return "'" + value.replace("'", "''") + "'" if w.chance() else json.dumps(value, ensure_ascii=False)
    return (
        {True: "true", False: "false"}[value]
        if isinstance(value, bool)
        else re.sub(r"^(-?\d+)e", r"\1.0e", repr(value))
    )


def _yaml_block(w: Writer, value: dict[str, Any], indent: str) -> str:
    rows = ""
    for key, inner in value.items():
        rows += f"{w.lines(indent)}{indent}{json.dumps(key, ensure_ascii=False) if w.chance() else key}:"
        if isinstance(inner, dict):
            rows += f"{w.remark()}\n{_yaml_block(w, inner, indent + '  ')}"
        elif isinstance(inner, list) and inner and isinstance(inner[0], dict):
            rows += f"{w.remark()}\n"
            for each in inner:
                body = _yaml_block(w, each, indent + "    ").lstrip("\n")
                while body.lstrip(" ").startswith("#"):  # a comment stands ahead of the dash
                    body = body.partition("\n")[2].lstrip("\n")
                rows += f"{indent}  - {body[len(indent) + 4 :]}"
        elif isinstance(inner, list) and inner and w.chance():
            dash = indent + ("  " if w.chance() else "")
            rows += f"{w.remark()}\n" + "".join(
                f"{w.lines(dash)}{dash}- {_yaml_scalar(w, each)}{w.remark()}\n" for each in inner
            )
        elif isinstance(inner, list):
            rows += f" {w.brackets([_yaml_scalar(w, each) for each in inner], indent + '  ', '[]')}{w.remark()}\n"
        else:
            rows += f" {_yaml_scalar(w, inner)}{w.remark()}\n"
    return rows


def _toml_key(key: str) -> str:
    return key if re.fullmatch("[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)


def _toml_value(w: Writer, value: Any, *, lines: bool = True) -> str:
    if isinstance(value, dict):
        items = [f"{_toml_key(k)} = {_toml_value(w, v, lines=False)}" for k, v in value.items()]
        return w.brackets(items, "", "{}", lines=False)
    if isinstance(value, list):
        return w.brackets([_toml_value(w, each, lines=False) for each in value], "", "[]", lines=lines)
    if isinstance(value, str):
        return f"'{value}'" if "'" not in value and w.chance() else json.dumps(value, ensure_ascii=False)
    return str(value).lower() if isinstance(value, bool) else re.sub(r"^(-?\d+)e", r"\1.0e", repr(value))


def _toml_text(w: Writer, document: dict[str, Any]) -> str:
    """Tables of tables have headers of their own, or stand in a line."""
    rows, tables = "", ""
    for key, value in document.items():
        name = _toml_key(key)
        below = [value] if isinstance(value, dict) else value
        if isinstance(below, list) and below and isinstance(below[0], dict) and w.chance():
            for table in below:
                tables += f"{w.lines('')}{'[' if value is table else '[['}{name}{']' if value is table else ']]'}{w.remark()}\n"
                tables += "".join(f"{_toml_key(k)} = {_toml_value(w, v)}{w.remark()}\n" for k, v in table.items())
        else:
            rows += f"{w.lines('')}{name} = {_toml_value(w, value)}{w.remark()}\n"
    return rows + tables


@st.composite
def written_files(draw: st.DrawFn, kind: str) -> Written:
    """Of a format that nests."""
    document = draw(DOCUMENTS)
    read: Callable[[str], Any]
    match kind:
        case "json":
            w = Writer(draw, "//")
            text, read = w.lines("") + _json_value(w, document, ""), _read_json
        case "py":
            w = Writer(draw, "#")
            text, read = f"{w.lines('')}CONFIG = {_python_value(w, document, '')}{w.remark()}\n", _read_python
        case "yaml":
            w = Writer(draw, "#")
            text, read = _yaml_block(w, document, ""), yaml.safe_load
        case _:
            w = Writer(draw, "#")
            text, read = _toml_text(w, document), tomllib.loads
    if draw(st.booleans()):
        text = text.replace("\n", "\r\n")
    return Written(f"c.{kind}", text, document, read)
