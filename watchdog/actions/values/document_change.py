"""How a file changes, for people: the values that are other, each under its name, and no secret. The one helper for all diffs.

Of a file whose format is known, what is told is key by key; of any other, line by line, cut down to what differs.
"""

from __future__ import annotations

import configparser
import difflib
import hashlib
import json
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import yaml

from watchdog.actions.values import editor, env_file, json_file, toml_file, yaml_file
from watchdog.actions.values.value_tree import ValueNode
from watchdog.core import redaction
from watchdog.core.errors import ActionError
from watchdog.core.text import shorten
from watchdog.host.atomic_file import MAX_BYTES

_MAX_SHOWN = 300
"""Characters of a line, or value."""
_MAX_CHANGES = 2_000
_MAX_LEAVES = 100_000
_MAX_WRITTEN = 4 * MAX_BYTES
"""Characters of all leaves, with the keys on the way to each: an alias, or a section of defaults, stands in many places. What
holds more is told line by line."""
_MAX_LINES = 20_000
_MAX_PIECES = 400
"""Of lines, and of pieces of a line, that are compared one with another; of more all that lies between the first and the last
that differ is told."""
_PIECE = re.compile(r"[^,;{}\[\]()]*[,;{}\[\]()]?")
_PLAIN_KEY = re.compile(r"[^.\[\]\"'\s=]+")
_CODE = (".py", ".js", ".ts", ".go", ".rs", ".c", ".h", ".cpp", ".java")
_TOP = "\0"
"""The section of keys that stand above the first one."""
_MARK = re.compile("\0[^\0]*\0")
"""A secret, by its digest, until it is told whether it has changed."""
_DIGITS = str.maketrans({f"{digit:x}": chr(0xE000 + digit) for digit in range(16)})
"""Those of a digest, as none of a secret are: a mark has not the shape of another secret."""
_NAMES_OF_NAMES = ("name", "key", "id", "Name", "Key")

Leaves = Mapping[tuple[str | int, ...], str]
"""What is written at the end of each way through a document."""
_Leaf = tuple[tuple[str | int, ...], str]


def describe_change(old: bytes | None, new: bytes | None, path: str, name: str | None = None) -> str:
    """Lines as of a diff: ``-name: old``, ``+name: new``, below the file's name; empty when nothing differs. None: no file.

    `name` says the format by its ending, where `path` does not.
    """
    if old == new:
        return ""
    shown = shorten(path, _MAX_SHOWN).lstrip("/")
    head = f"--- {'/dev/null' if old is None else f'a/{shown}'}\n+++ {'/dev/null' if new is None else f'b/{shown}'}\n"
    was, now = old or b"", new or b""
    if max(len(was), len(now)) > MAX_BYTES or b"\0" in was + now:
        kind = "Binary file" if b"\0" in was + now else "File"
        return f"{kind} {shown} changes from {len(was)} to {len(now)} bytes\n"
    changes = _changed_leaves(was, now, name or path)
    if changes is None:
        texts = (text.decode("utf-8", "replace") for text in (was, now))
        changes = list(_changed_lines(*texts, is_code=PurePath(name or path).suffix in _CODE))
    if not changes:
        return f"{head}# nothing but comments, or how it is laid out\n"
    more = len(changes) - _MAX_CHANGES
    return (
        head + "".join(f"{line}\n" for line in changes[:_MAX_CHANGES]) + (f"# {more} more lines\n" if more > 0 else "")
    )


def _changed_leaves(old: bytes, new: bytes, name: str) -> list[str] | None:
    """None: it cannot be told key by key."""
    try:
        kind = editor.file_format(name)
        if kind == "python":
            return None
        was, now = (_read_leaves(text.decode("utf-8").removeprefix("\ufeff"), kind) for text in (old, new))
    except (ValueError, ActionError, yaml.YAMLError, configparser.Error, RecursionError, MemoryError):
        return None
    lines: list[str] = []
    for way in dict.fromkeys([*was, *now]):
        before, after = was.get(way), now.get(way)
        if before != after:
            lines += [
                f"{sign}{_said(way)}: {_shown((*way, *_named_beside(way, leaves)), text)}"
                if len(lines) < _MAX_CHANGES
                else ""
                for sign, text, leaves in (
                    ("-", before, was),
                    ("+", after, now),
                )  # what is more is counted, and not told
                if text is not None
            ]
    return lines


def _shown(way: Sequence[str | int], written: str) -> str:
    return shorten(redaction.blot_value([str(step) for step in way], written), _MAX_SHOWN)


def _named_beside(way: Sequence[str | int], leaves: Leaves) -> list[str]:
    """What a member calls itself: ``{name: API_KEY, value: …}`` is a value of that name."""
    if not way or str(way[-1]).lower() not in ("value", "val", "default", "content"):
        return []
    beside = (leaves.get((*way[:-1], name)) for name in _NAMES_OF_NAMES)
    return [text.strip("\"'") for text in beside if text is not None]


def _said(way: Sequence[str | int]) -> str:
    text = ""
    for step in way:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            key = step if _PLAIN_KEY.fullmatch(step) else json.dumps(step, ensure_ascii=False)
            text += f"{'.' if text else ''}{redaction.blot_text(key)}"
    return shorten(text, _MAX_SHOWN) or "all of it"


def _read_leaves(text: str, kind: str) -> Leaves:
    """Raises ValueError, too, for what holds too many of them."""
    leaves: dict[tuple[str | int, ...], str] = {}
    written = 0
    for number, (way, leaf) in enumerate(_all_leaves(text, kind)):
        written += len(leaf) + sum(1 + (len(step) if isinstance(step, str) else 0) for step in way)
        if number >= _MAX_LEAVES or written > _MAX_WRITTEN:
            raise ValueError("it holds too much to be told key by key")
        leaves[way] = leaf
    return leaves


def _all_leaves(text: str, kind: str) -> Iterator[_Leaf]:
    if not text.strip():
        return
    match kind:
        case "json":
            yield from _node_leaves(json_file.read_tree(text), text, ())
        case "yaml":
            yield from _yaml_leaves(text)
        case "toml":
            if toml_file.holds_long_key(text):
                raise ValueError("a key has too many parts")
            yield from _value_leaves(tomllib.loads(text), ())
        case "ini":
            parser = configparser.RawConfigParser(allow_no_value=True)
            parser.optionxform = str  # type: ignore[assignment,method-assign]
            parser.read_string(f"[{_TOP}]\n{text}")
            for section, values in parser.items():
                for key, value in values.items():
                    yield (*([] if section == _TOP else [section]), key), value or ""
        case _:
            yield from (((name,), written) for name, written in env_file.all_values(text))


def _node_leaves(node: ValueNode, text: str, way: tuple[str | int, ...]) -> Iterator[_Leaf]:
    if node.members:
        for key, inner in node.members:
            yield from _node_leaves(inner, text, (*way, key))
    elif node.items:
        for place, inner in enumerate(node.items):
            yield from _node_leaves(inner, text, (*way, place))
    else:
        yield way, text[node.start : node.end]


def _value_leaves(value: Any, way: tuple[str | int, ...]) -> Iterator[_Leaf]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _value_leaves(inner, (*way, key))
    elif isinstance(value, list) and value:
        for place, inner in enumerate(value):
            yield from _value_leaves(inner, (*way, place))
    else:
        yield way, json.dumps(value, ensure_ascii=False, default=str)


def _yaml_leaves(text: str) -> Iterator[_Leaf]:
    """Of all documents; an alias and a tag are told by what is written."""
    yaml_file.ensure_shallow(text)
    loader = yaml_file.LOADERS[0](text)
    try:
        number = 0
        while loader.check_node():
            yield from _yaml_node_leaves(loader.get_node(), text, (number,) if number else (), 0)
            number += 1
    finally:
        loader.dispose()


def _yaml_node_leaves(node: Any, text: str, way: tuple[str | int, ...], depth: int) -> Iterator[_Leaf]:
    if depth > yaml_file.MAX_DEPTH:
        raise ValueError("it is nested too deeply")
    if isinstance(node, yaml.MappingNode) and node.value:
        for key, inner in node.value:
            step = key.value if isinstance(key, yaml.ScalarNode) else _written(key, text)
            yield from _yaml_node_leaves(inner, text, (*way, step), depth + 1)
    elif isinstance(node, yaml.SequenceNode) and node.value:
        for place, inner in enumerate(node.value):
            yield from _yaml_node_leaves(inner, text, (*way, place), depth + 1)
    else:
        yield way, _written(node, text)


def _written(node: Any, text: str) -> str:
    """As it stands in the file, where an alias is a word and not what it stands for."""
    return text[node.start_mark.index : node.end_mark.index].strip()


def _changed_lines(old: str, new: str, *, is_code: bool) -> Iterator[str]:
    """What differs of the lines that differ."""
    was, now = (redaction.blot_text(text, is_code=is_code, mark=_mark).splitlines() for text in (old, new))
    for i, j, k, m in _differences(was, now, _MAX_LINES):
        gone, come = was[i:j], now[k:m]
        if len(gone) == len(come):
            pairs = [_cut_down(one, other) for one, other in zip(gone, come, strict=True)]
            gone, come = [one for one, _ in pairs], [other for _, other in pairs]
        yield from (f"-{_reveal(line)}" for line in gone)
        yield from (f"+{_reveal(line)}" for line in come)


def _differences(old: Sequence[str], new: Sequence[str], limit: int) -> Iterator[tuple[int, int, int, int]]:
    """Stretches that differ: from where to where in the old, and in the new."""
    shorter = min(len(old), len(new))
    begins = next((n for n in range(shorter) if old[n] != new[n]), shorter)
    ends = next((n for n in range(shorter - begins) if old[-1 - n] != new[-1 - n]), shorter - begins)
    one, other = old[begins : len(old) - ends], new[begins : len(new) - ends]
    if len(one) + len(other) > limit:  # what is compared takes time by its square
        yield begins, begins + len(one), begins, begins + len(other)
        return
    for tag, i, j, k, m in difflib.SequenceMatcher(None, one, other).get_opcodes():
        if tag != "equal":
            yield begins + i, begins + j, begins + k, begins + m


def _cut_down(old: str, new: str) -> tuple[str, str]:
    """Those pieces of two lines that are not in both."""
    one, other = _PIECE.findall(old), _PIECE.findall(new)
    differ = [*_differences(one, other, _MAX_PIECES)]
    in_old = {place for i, j, _, _ in differ for place in range(i, j)}
    in_new = {place for _, _, k, m in differ for place in range(k, m)}
    return _only(one, in_old), _only(other, in_new)


def _only(pieces: Sequence[str], wanted: Collection[int]) -> str:
    """An ellipsis for each stretch that is left out, blanks and brackets aside."""
    shown = ""
    for place, piece in enumerate(pieces):
        if place in wanted or re.fullmatch(r"[\s,;{}\[\]()]*", piece):
            shown += piece
        elif not shown.endswith("…"):
            shown += "…"
    return shown


def _mark(secret: str) -> str:
    return f"\0{hashlib.sha256(secret.encode('utf-8', 'surrogatepass')).hexdigest().translate(_DIGITS)}\0"


def _reveal(line: str) -> str:
    return shorten(_MARK.sub(redaction.BLOT, line), _MAX_SHOWN)
