"""Whether a value is of the type of the one that it replaces.

Where True stood a bot takes any text for true, ``'off'`` too; where a number stood it stops at a text, or goes on with it. So
a truth value is replaced by a truth value only, a number by a number, a text by a text, a list by a list of what it held.
What is null says no type and may become anything; and anything may become null but a truth value, which has no third one.

.env and INI files hold nothing but text. There it is the word that tells: one of true/false, 1/0, on/off … is replaced by its
counterpart only, a number by a number, and any other text by any text.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Literal

from watchdog.actions.values import env_file
from watchdog.actions.values.located_value import LocatedValue, Scalar, Value
from watchdog.core import redaction
from watchdog.core.text import shorten

Type = Literal["true or false", "a number", "a text", "a list", "null"]

_NUMBER = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_YAML_SWITCHES = {"off": "false", "no": "false", "on": "true", "yes": "true"}
"""Truth values to those who read YAML 1.1, and texts in the watchdog's own files, which are YAML 1.2."""
_MEANT = {**_YAML_SWITCHES, "false": "false", "true": "true"}
_MAX_SHOWN = 40


def type_problem(found: LocatedValue, value: Value, file_format: str, keys: Sequence[str] = ()) -> str | None:
    """What keeps the value from standing there, with the cure: the end of a sentence that begins with its name. None: nothing."""
    if file_format in ("env", "ini"):
        return None if isinstance(value, tuple) else _word_problem(str(found.value), value, keys)
    there, new = _types(found, file_format), _type(value)
    if "null" in there or new in there or (new == "null" and "true or false" not in there):
        return _item_problem(found, value, keys)
    new_words = {"true or false": "a truth value", "null": "neither"}.get(new, new)
    written = shorten(redaction.blot_value(keys, found.text), _MAX_SHOWN)
    said = f"is {there[0]} there ({written}), and {_show(value, keys)} is {new_words}"
    if is_yaml_switch(value) and there[0] == "true or false":
        said += " in these files, not a truth value as in older YAML: the bot may well take it for true"
    return f"{said} — {_cure(there, value)}"


def is_yaml_switch(value: object) -> str | None:
    """Of a word that older YAML takes for a truth value: which one, as it is to be written."""
    return _YAML_SWITCHES.get(value.lower()) if isinstance(value, str) else None


def _item_problem(found: LocatedValue, value: Value, keys: Sequence[str]) -> str | None:
    """Of lists: they go on holding what they held."""
    if not isinstance(found.value, tuple) or not isinstance(value, tuple):
        return None
    held = dict.fromkeys(_type(each) for each in found.value if each is not None)
    for each in value:
        if held and each is not None and (new := _type(each)) not in held:
            return f"holds {' and '.join(held)} there, and {_show(each, keys)} is {new} — {_cure([*held], each)}"
    return None


def _types(found: LocatedValue, file_format: str) -> list[Type]:
    """What it is to its readers: 1e-5 in YAML is a text to some, and a number to others."""
    kind = _type(found.value)
    is_number = file_format == "yaml" and kind == "a text" and _NUMBER.fullmatch(found.text)
    return [kind, "a number"] if is_number else [kind]


def _type(value: Value) -> Type:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a text"
    return "a list"


def _cure(there: Collection[Type], value: Value) -> str:
    if "true or false" in there:
        meant = _MEANT.get(value.lower(), "true or false") if isinstance(value, str) else "true or false"
        return f"write {meant}, without quotes"
    if "a number" in there:
        is_number = isinstance(value, str) and _NUMBER.fullmatch(value)
        return f"write {value}, without quotes" if is_number else "write a number"
    if "a text" in there:
        return "write a text, in quotes"
    return "write a list: [A, B]"


def _show(value: Value, keys: Sequence[str]) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case None:
            return "null"
        case tuple():
            return f"[{shorten(', '.join(_show(each, keys) for each in value), _MAX_SHOWN)}]"
    if isinstance(value, str):
        return redaction.blot_value(keys, repr(shorten(value, _MAX_SHOWN)))
    return redaction.blot_value(keys, str(value))


def _word_problem(written: str, value: Scalar, keys: Sequence[str]) -> str | None:
    """Where all is text."""
    words, number = env_file.truth_words(written), bool(_NUMBER.fullmatch(written))
    shown = shorten(redaction.blot_value(keys, written), _MAX_SHOWN)
    text = "" if value is None else str(value)
    if isinstance(value, bool):
        if words or not written:
            return None
        return f"is {shown!r} there, which is no word for true or false — write the text that should stand there"
    if text in words or (number and (not text or _NUMBER.fullmatch(text))):
        return None
    if words and (number or len(written) > 1):
        meant = _MEANT.get(text.lower(), "true or false")
        return f"is {shown} there, whose counterpart is not {_show(value, keys)} — write {meant}: it gets the file's own word"
    return f"is a number there ({shown}), and {_show(value, keys)} is none — write a number" if number else None
