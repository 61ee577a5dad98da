"""One value in a text file, found and replaced, and not a byte beside it. Pure: bytes in, bytes out.

Python (`NAME`, `Class.NAME`, `NAME.key`), YAML, TOML, JSON with comments (`a.b.c`, a path of keys: `value_path`), INI
(`section.key`) and .env files (`NAME`). What is not plainly one literal in one place is refused with an ActionError: a guess
could switch on what should be off. No text of the file is quoted in an error but what the name leads to, and no secret.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import math
import re
import tokenize
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Literal

from watchdog.actions.values import (
    block_list,
    bracket_list,
    env_file,
    ini_file,
    json_file,
    python_file,
    toml_file,
    yaml_file,
)
from watchdog.actions.values.located_value import LocatedValue, Scalar, Value, same_value
from watchdog.actions.values.shown_values import note, show_value
from watchdog.actions.values.value_path import Key, key_names, last_key, parse_path
from watchdog.actions.values.value_types import type_problem
from watchdog.core.errors import ActionError, MissingError, UnreadableError
from watchdog.documents.problems import MAX_COMPARED_NAMES
from watchdog.host.atomic_file import MAX_BYTES

__all__ = [
    "Scalar",
    "Value",
    "ensure_same_types",
    "file_format",
    "get_values",
    "has_values",
    "note_values",
    "set_values",
    "validate_values",
]

FileFormat = Literal["python", "yaml", "json", "toml", "ini", "env"]
_SUFFIXES: Mapping[str, FileFormat] = {
    ".py": "python",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".json": "json",
    ".jsonc": "json",
    ".toml": "toml",
    ".ini": "ini",
    ".cfg": "ini",
    ".env": "env",
}
_WORD = re.compile(r"[A-Za-z_][\w-]*")
_MAX_TYPOS = 4


def file_format(file_name: str) -> FileFormat:
    """By the file's name. Raises ValueError with the cure."""
    name = PurePath(file_name).name.lower()
    found = _SUFFIXES.get(PurePath(name).suffix)
    if found is None and (name == ".env" or name.startswith(".env.")):
        found = "env"
    if found is None:
        kinds = ", ".join(_SUFFIXES)
        raise ValueError(
            f"a flag lives in a file that ends in one of {kinds}, not in {file_name!r} — or use do: command"
        )
    return found


def validate_values(file_name: str, values: Mapping[str, Value]) -> None:
    """Refuse what could never be found or written in such a file. Raises ValueError with the cure."""
    sort = file_format(file_name)
    for name, value in values.items():
        _validate_name(name, sort)
        if isinstance(value, tuple) and sort in ("ini", "env"):
            raise ValueError(f"{name}: {file_name} has no lists — write the text as it should stand there")
        if any(
            isinstance(each, float) and not math.isfinite(each)
            for each in (value if isinstance(value, tuple) else [value])
        ):
            raise ValueError(f"{name}: {value} is no value for a flag")


def _validate_name(name: str, sort: FileFormat) -> None:
    if sort == "env":
        if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
            raise ValueError(f"{name!r} is no name for a .env file")
    elif sort == "ini":
        if not name.strip("."):
            raise ValueError(f"{name!r} is no section.key of an INI file")
    else:
        first = parse_path(name)[0]
        if sort == "python" and (not isinstance(first, Key) or first.is_quoted or not first.text.isidentifier()):
            raise ValueError(f"{name!r} is no Python name — a flag there is a top-level NAME = value")


def get_values(content: bytes, file_name: str, names: Iterable[str]) -> dict[str, str]:
    """Each name's literal as it is written in the file. Raises ActionError when one is not plainly there."""
    text, _ = _decode(content, file_name)
    return {name: _find_value(text, file_name, name).text for name in names}


def note_values(content: bytes, file_name: str, names: Iterable[str]) -> dict[str, str]:
    """What stands under each name, in a line that may be kept and told: as it is written, a list on one line; of a secret
    `redaction.BLOT` and a digest. Equal while the value is. Raises ActionError when one is not plainly there."""
    text, _ = _decode(content, file_name)
    return {name: note(name, _find_value(text, file_name, name)) for name in names}


def has_values(content: bytes, file_name: str, values: Mapping[str, Value]) -> bool:
    """Whether every name has its value already. Raises ActionError when one is not plainly there."""
    text, _ = _decode(content, file_name)
    return all(_has_value(file_name, name, _find_value(text, file_name, name), value) for name, value in values.items())


def ensure_same_types(content: bytes, file_name: str, values: Mapping[str, Value]) -> None:
    """Raises ActionError for the first value that the bot could not take, or would take for another (`value_types`)."""
    text, _ = _decode(content, file_name)
    for name, value in values.items():
        found = _find_value(text, file_name, name)
        if _has_value(file_name, name, found, value):
            continue
        if (problem := type_problem(found, value, file_format(file_name), key_names(name))) is not None:
            raise ActionError(f"{name} in {file_name} {problem}")


def set_values(content: bytes, file_name: str, values: Mapping[str, Value]) -> bytes:
    """`content` with each name set to its value, whatever its type; what has it already stays as it is written.

    Nothing but that value's characters changes, and of a list nothing but the items that come and go; else ActionError.
    """
    text, encoding = _decode(content, file_name)
    for name, value in values.items():
        found = _find_value(text, file_name, name)
        if _has_value(file_name, name, found, value):
            continue
        literal = _rewrite(text, file_name, name, value, found, encoding)
        after = text[: found.start] + literal + text[found.end :]
        try:
            arrived = _is_there_alone(after, literal, file_name, name, value, found)
        except ActionError:
            arrived = False
        if not arrived:
            raise ActionError(
                f"{name} in {file_name} cannot be set to {show_value(name, value)} without touching more — do it by hand"
            )
        text = after
    return text.encode(encoding, "surrogateescape")


def _is_there_alone(after: str, literal: str, file_name: str, name: str, value: Value, found: LocatedValue) -> bool:
    """Whether it has the value, within the characters that were written, and these hold nothing else."""
    again = _find_value(after, file_name, name)
    if not _has_value(file_name, name, again, value):
        return False
    if found.is_block or again.is_block:
        ends = found.start + len(literal)
        beside = after[found.start : max(found.start, again.start)] + after[again.end : ends]
        return again.end <= ends and all(line.lstrip()[:1] in ("", "#") for line in beside.splitlines())
    gap = len(literal) - len(literal.lstrip(" "))
    is_empty = not again.text and not literal.strip()  # then it begins behind the blanks that follow
    return is_empty or (again.start, again.text) == (found.start + gap, literal[gap:])


def _rewrite(text: str, file_name: str, name: str, value: Value, found: LocatedValue, encoding: str) -> str:
    """What is to stand from `found.start` to its end."""
    if not isinstance(value, tuple) or found.items is None:
        literal = _format_literal(file_name, name, value, found, encoding)
        return block_list.replace(found, text, literal.lstrip(" ")) if found.is_block else literal
    quote = next((c for start, _ in found.items if (c := text[start]) in "'\""), "x")

    def format_item(item: Scalar) -> str:
        return _format_literal(file_name, name, item, found._replace(text=quote), encoding)

    if found.is_block:
        return block_list.rewrite(text, found, value, format_item)
    match file_format(file_name):
        case "python":
            literal_or_none = python_file.rewrite_list(found, value, encoding)
        case "yaml":
            literal_or_none = bracket_list.rewrite(found, value, yaml_file.COMMENT, format_item)
        case "toml":
            literal_or_none = bracket_list.rewrite(found, value, toml_file.COMMENT, format_item)
        case _:
            literal_or_none = bracket_list.rewrite(found, value, json_file.COMMENT, format_item)
    if literal_or_none is None and "\n" in found.text:
        raise ActionError(f"{name} in {file_name} is written in a way that is not followed — write one item a line")
    return _format_literal(file_name, name, value, found, encoding) if literal_or_none is None else literal_or_none


# Encodings: what is decoded must come back byte for byte.


def _decode(content: bytes, file_name: str) -> tuple[str, str]:
    if len(content) > MAX_BYTES:
        raise UnreadableError(
            f"{file_name} is larger than {MAX_BYTES >> 10} KiB — move the flags into a file of their own"
        )
    encoding = "utf-8-sig" if content.startswith(b"\xef\xbb\xbf") else "utf-8"
    errors = "strict"
    try:
        match file_format(file_name):
            case "python":
                encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
            case "env":
                errors = "surrogateescape"  # other people's lines need not be UTF-8
            case "ini":
                errors = "surrogateescape"
            case "yaml" | "json" | "toml":
                pass
        text = content.decode(encoding, errors)
    except (UnicodeError, SyntaxError, LookupError, ValueError) as problem:
        raise UnreadableError(f"{file_name} cannot be read: {problem}") from None
    if text.encode(encoding, errors) != content:
        raise UnreadableError(f"{file_name} would not survive being read and written as {encoding} — save it as UTF-8")
    return text, encoding


def _find_value(text: str, file_name: str, name: str) -> LocatedValue:
    try:
        return _find_by_format(text, file_name, name)
    except (RecursionError, MemoryError):
        raise UnreadableError(f"{file_name} is nested too deeply to be read — no flag can be set there") from None
    except MissingError:
        near = _nearest_name(text, file_name, name)
        if near is None:
            raise
        raise MissingError(f"{name} is not set in {file_name} — did you mean {near}?") from None


def _nearest_name(text: str, file_name: str, name: str) -> str | None:
    """A name that is set there and was probably meant: as it, but for the last key."""
    is_path = file_format(file_name) not in ("ini", "env")
    way, last = (
        (last_key(name) or (name, "")) if is_path else ("".join(name.rpartition(".")[:2]), name.rpartition(".")[2])
    )
    alike = (word for word in _WORD.findall(text) if last and abs(len(word) - len(last)) < _MAX_TYPOS and word != last)
    words = {word.lower(): word for word in sorted({*alike})[:MAX_COMPARED_NAMES]}
    for near in difflib.get_close_matches(last.lower(), words, n=2, cutoff=0.75):
        meant = f"{way}{words[near]}"
        with contextlib.suppress(ActionError):
            _find_by_format(text, file_name, meant)
            return meant
    return None


def _find_by_format(text: str, file_name: str, name: str) -> LocatedValue:
    match file_format(file_name):
        case "python":
            return python_file.find_value(text, file_name, name)
        case "yaml":
            return yaml_file.find_value(text, file_name, name)
        case "json":
            return json_file.find_value(text, file_name, name)
        case "toml":
            return toml_file.find_value(text, file_name, name)
        case "ini":
            return ini_file.find_value(text, file_name, name)
        case "env":
            return env_file.find_value(text, file_name, name)


def _has_value(file_name: str, name: str, found: LocatedValue, value: Value) -> bool:
    if isinstance(value, tuple) and file_format(file_name) in ("ini", "env"):
        return False
    if file_format(file_name) == "env" and not isinstance(value, tuple):
        return env_file.has_value(found, value, file_name, name)
    if file_format(file_name) == "ini" and not isinstance(value, tuple):
        return env_file.is_text_of(found, value)
    return same_value(found.value, value)


def _format_literal(file_name: str, name: str, value: Value, found: LocatedValue, encoding: str) -> str:
    match file_format(file_name):
        case "python":
            return python_file.format_literal(value, found, encoding)
        case "yaml":
            return yaml_file.format_literal(value, found)
        case "json":
            return json_file.format_literal(value)
        case "toml":
            return toml_file.format_literal(value, file_name, name)
        case "ini" if not isinstance(value, tuple):
            return ini_file.format_literal(value, found, file_name, name)
        case "env" if not isinstance(value, tuple):
            return env_file.format_literal(value, found, file_name, name)
    raise ActionError(f"{name} in {file_name} cannot be a list")
