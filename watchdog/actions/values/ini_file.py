"""`key = value` under `[section]` in an INI file, as configparser and its like read it; named `section.key`."""

from __future__ import annotations

import re

from watchdog.actions.values import env_file
from watchdog.actions.values.located_value import LocatedValue, Scalar, exactly_one
from watchdog.core.errors import ActionError

_SECTION = re.compile(r"\[([^\]\r\n]+)\][ \t]*(?:[;#].*)?")
_KEY_END = re.compile("[=:]")
_NO_KEY = re.compile(r"[\s=:;#\[]")


def find_value(text: str, file_name: str, name: str) -> LocatedValue:
    found: list[LocatedValue] = []
    section, position, last = "", 1 if text.startswith("\ufeff") else 0, False
    for raw in text[position:].split("\n"):
        line = raw.rstrip("\r")
        if line[:1] in (" ", "\t") and line.strip() and last:
            found.append(found.pop()._replace(end=-1))  # the value goes on here
        elif heading := _SECTION.fullmatch(line):
            section, last = heading[1], False
        elif (sets := _KEY_END.search(line)) and not _NO_KEY.match(key := line[: sets.start()].strip(" \t") or "="):
            # configparser takes keys in any case; two that differ in nothing else are one.
            last = (f"{section}.{key}" if section else key).lower() == name.lower()
            if last:
                value = line[sets.end() :].lstrip(" \t")
                found.append(_located(position + len(line) - len(value), value.rstrip(" \t")))
        elif line.strip():
            last = False
        position += len(raw) + 1
    place = exactly_one(found, file_name, name)
    if place.end < 0:
        raise ActionError(f"{name} in {file_name} stands on several lines — write it on one")
    if re.search(r"(?:^|\s)[#;]", place.text) and place.text == place.value:
        raise ActionError(
            f"{name} in {file_name}: readers differ on whether its comment is part of the value — move it away"
        )
    return place


def _located(start: int, text: str) -> LocatedValue:
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" and text[0] not in text[1:-1]
    return LocatedValue(start, start + len(text), text, text[1:-1] if quoted else text)


def format_literal(value: Scalar, found: LocatedValue, file_name: str, name: str) -> str:
    text = env_file.to_text(value, str(found.value))
    quote = found.text[:1] if found.text != found.value else ""
    plain = text.isprintable() and text == text.strip() and not re.search(r"(?:^|\s)[#;]", text) and "%" not in text
    if not plain or (quote and quote in text):
        raise ActionError(f"{name} in {file_name}: {text!r} cannot be written so that every reader understands it")
    return f"{quote}{text}{quote}"
