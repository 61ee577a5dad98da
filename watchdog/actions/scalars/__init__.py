"""One scalar in a text file, found and replaced, and not a byte beside it. Pure: bytes in, bytes out.

Python (`NAME = value` at the top level), YAML (`a.b.c`, a path of keys) and .env files (`NAME=value`). What is not
plainly one literal in one place is refused with an ActionError: a guess could switch on what should be off.
"""

from __future__ import annotations

import io
import math
import re
import tokenize
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Literal

from watchdog.actions.scalars import env, python, yaml_keys
from watchdog.actions.scalars.found import Found, Scalar
from watchdog.model import ActionError

__all__ = ["Scalar", "check_names", "edited", "holds", "kind", "read"]

Kind = Literal["python", "yaml", "env"]


def kind(file_name: str) -> Kind:
    """By the file's name. Raises ValueError with the cure."""
    name = PurePath(file_name).name.lower()
    suffix = PurePath(name).suffix
    if suffix == ".py":
        return "python"
    if suffix in (".yaml", ".yml"):
        return "yaml"
    if name == ".env" or suffix == ".env" or name.startswith(".env."):
        return "env"
    raise ValueError(f"a flag lives in a .py, .yaml, .yml or .env file, not in {file_name!r} — or use do: command")


def check_names(file_name: str, values: Mapping[str, Scalar]) -> None:
    """Refuse what could never be found or written in such a file. Raises ValueError with the cure."""
    sort = kind(file_name)
    for name, value in values.items():
        if sort == "python" and not name.isidentifier():
            raise ValueError(f"{name!r} is no Python name — a flag there is a top-level NAME = value")
        if sort == "env" and not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
            raise ValueError(f"{name!r} is no name for a .env file")
        if sort == "yaml" and not all(name.split(".")):
            raise ValueError(f"{name!r} is no path of keys such as features.hmm_v2")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name}: {value} is no value for a flag")


def read(content: bytes, file_name: str, names: Iterable[str]) -> dict[str, str]:
    """Each name's literal as it is written in the file. Raises ActionError when one is not plainly there."""
    text, _ = _decoded(content, file_name)
    return {name: _find(text, file_name, name).text for name in names}


def holds(content: bytes, file_name: str, values: Mapping[str, Scalar]) -> bool:
    """Whether every name has its value already. Raises ActionError when one is not plainly there."""
    text, _ = _decoded(content, file_name)
    return all(_same(file_name, _find(text, file_name, name), value) for name, value in values.items())


def edited(content: bytes, file_name: str, values: Mapping[str, Scalar]) -> bytes:
    """`content` with each name set to its value; what has it already stays as it is written.

    One line of difference per name, at most; else ActionError.
    """
    text, encoding = _decoded(content, file_name)
    for name, value in values.items():
        found = _find(text, file_name, name)
        if _same(file_name, found, value):
            continue
        after = text[: found.start] + _written(file_name, name, value, found, encoding) + text[found.end :]
        try:
            arrived = _same(file_name, _find(after, file_name, name), value)
        except ActionError:
            arrived = False
        before_lines, after_lines = text.split("\n"), after.split("\n")
        differ = sum(old != new for old, new in zip(before_lines, after_lines, strict=False))
        if not arrived or differ != 1 or len(before_lines) != len(after_lines):
            raise ActionError(f"{name} in {file_name} cannot be set to {value!r} by changing one line — do it by hand")
        text = after
    return text.encode(encoding, "surrogateescape")


# Encodings: what is decoded must come back byte for byte.


def _decoded(content: bytes, file_name: str) -> tuple[str, str]:
    encoding = "utf-8-sig" if content.startswith(b"\xef\xbb\xbf") else "utf-8"
    errors = "strict"
    try:
        match kind(file_name):
            case "python":
                encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
            case "env":
                errors = "surrogateescape"  # other people's lines need not be UTF-8
            case "yaml":
                pass
        text = content.decode(encoding, errors)
    except (UnicodeError, SyntaxError, LookupError, ValueError) as problem:
        raise ActionError(f"{file_name} cannot be read: {problem}") from None
    if text.encode(encoding, errors) != content:
        raise ActionError(f"{file_name} would not survive being read and written as {encoding} — save it as UTF-8")
    return text, encoding


def _find(text: str, file_name: str, name: str) -> Found:
    match kind(file_name):
        case "python":
            return python.find(text, file_name, name)
        case "yaml":
            return yaml_keys.find(text, file_name, name)
        case "env":
            return env.find(text, file_name, name)


def _same(file_name: str, found: Found, value: Scalar) -> bool:
    if kind(file_name) == "env":
        return env.same(found, value)
    return type(found.value) is type(value) and found.value == value


def _written(file_name: str, name: str, value: Scalar, found: Found, encoding: str) -> str:
    match kind(file_name):
        case "python":
            return python.write(value, found, encoding)
        case "yaml":
            return yaml_keys.write(value, found)
        case "env":
            return env.write(value, found, file_name, name)
