"""`key = value` under `[section]` in an INI file, named `section.key`, as Python's configparser reads it; where others read it
differently it is refused.

To configparser a line that is indented more than its key goes on with the value, whatever it looks like, also behind comments and
empty lines; sections and keys may be indented themselves.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from watchdog.actions.values import env_file
from watchdog.actions.values.located_value import LocatedValue, Scalar, exactly_one
from watchdog.core import redaction
from watchdog.core.errors import ActionError, UnreadableError

_SECTION = re.compile(r"\[([^\]\r\n]+)\][ \t]*(?:[;#].*)?")
_KEY_END = re.compile("[=:]")
_NO_KEY = re.compile(r"[=:\[]")
_BLANKS = " \t\f\v"


class _Key(NamedTuple):
    name: str
    """With its section."""
    value: LocatedValue
    is_continued: bool = False
    continues: int = 0
    """The line of the key that it is a part of the value of; 0: of none."""


def find_value(text: str, file_name: str, name: str) -> LocatedValue:
    found = [key for key in _keys(text) if key.name.lower() == name.lower()]
    if hidden := next((key for key in found if key.continues), None):
        raise UnreadableError(
            f"{name} in {file_name} is indented below line {hidden.continues}, and so a part of that value to some readers — "
            "begin it where the other keys begin"
        )
    key = exactly_one(found, file_name, name)
    if key.is_continued:
        raise ActionError(f"{name} in {file_name} stands on several lines — write it on one")
    place = key.value
    if re.search(r"(?:^|\s)[#;]", place.text) and place.text == place.value:
        raise ActionError(
            f"{name} in {file_name}: readers differ on whether its comment is part of the value — move it away"
        )
    return place


def _keys(text: str) -> list[_Key]:
    """All that look like one. configparser takes keys in any case; two that differ in nothing else are one."""
    keys: list[_Key] = []
    section, indent, position = "", 0, 1 if text.startswith("\ufeff") else 0
    last, last_line = -1, 0  # the key whose value may go on
    for number, raw in enumerate(text[position:].split("\n"), 1):
        line = raw.rstrip("\r")
        body = line.strip(_BLANKS)
        if body and body[0] not in "#;":
            begins = len(line) - len(line.lstrip(_BLANKS))
            key = _key(line, body, section, position)
            if last >= 0 and begins > indent:
                keys[last] = keys[last]._replace(is_continued=True)
                if key is not None:
                    keys.append(key._replace(continues=last_line))
            elif heading := _SECTION.fullmatch(body):
                section, indent, last = heading[1], begins, -1
            else:
                indent, last, last_line = begins, -1, number
                if key is not None:
                    keys.append(key)
                    last = len(keys) - 1
        position += len(raw) + 1
    return keys


def _key(line: str, body: str, section: str, position: int) -> _Key | None:
    sets = _KEY_END.search(line)
    if sets is None or _NO_KEY.match(body):
        return None
    key, value = line[: sets.start()].strip(_BLANKS), line[sets.end() :].lstrip(_BLANKS)
    return _Key(
        f"{section}.{key}" if section else key, _located(position + len(line) - len(value), value.rstrip(_BLANKS))
    )


def _located(start: int, text: str) -> LocatedValue:
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" and text[0] not in text[1:-1]
    return LocatedValue(start, start + len(text), text, text[1:-1] if quoted else text)


def format_literal(value: Scalar, found: LocatedValue, file_name: str, name: str) -> str:
    text = env_file.to_text(value, str(found.value))
    quote = found.text[:1] if found.text != found.value else ""
    plain = text.isprintable() and text == text.strip() and not re.search(r"(?:^|\s)[#;]", text) and "%" not in text
    if not plain or (quote and quote in text):
        raise ActionError(
            f"{name} in {file_name}: {redaction.blot_value(name, repr(text))} cannot be written so that every reader understands it"
        )
    return f"{quote}{text}{quote}"
