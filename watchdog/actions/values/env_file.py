"""`NAME=value` in a .env file, as shells, systemd and dotenv readers understand it."""

from __future__ import annotations

import re

from watchdog.actions.values.located_value import LocatedValue, Scalar, exactly_one
from watchdog.core.errors import ActionError

_LINE = re.compile(r"[^\n]*\n?")
_ASSIGNMENT = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_]\w*)[ \t]*=[ \t]*", re.ASCII)
_BOOL_PAIRS = (("true", "false"), ("1", "0"), ("yes", "no"), ("on", "off"), ("y", "n"), ("t", "f"))


def find_value(text: str, file_name: str, name: str) -> LocatedValue:
    found: list[LocatedValue | None] = []
    position = 0
    while position < len(text):
        line = _LINE.match(text, position)
        assert line is not None
        end = line.end()
        if sets := _ASSIGNMENT.match(text, position, line.end()):
            start, quote = sets.end(), text[sets.end() : sets.end() + 1]
            if quote and quote in "'\"":
                close = _closing_quote(text, start)
                end = len(text) if close is None else max(end, _line_end(text, close))
                item = None
                if close is not None and close < line.end():
                    item = LocatedValue(start, close + 1, text[start : close + 1], text[start + 1 : close])
            else:
                plain = re.split(r"(?:^|(?<=\s))#", line[0][start - position :].rstrip("\r\n"), maxsplit=1)[0].rstrip()
                item = LocatedValue(start, start + len(plain), plain, plain)
            if sets[1] == name:
                found.append(item)
        position = end
    place = exactly_one(found, file_name, name)
    if place is None:
        raise ActionError(f"{name} in {file_name} stands on several lines — write it on one")
    return place


def _closing_quote(text: str, start: int) -> int | None:
    quote, position = text[start], start + 1
    while position < len(text):
        if text[position] == "\\" and quote == '"':
            position += 1
        elif text[position] == quote:
            return position
        position += 1
    return None


def _line_end(text: str, position: int) -> int:
    newline = text.find("\n", position)
    return len(text) if newline < 0 else newline + 1


def _bool_pair(text: str) -> tuple[str, str, bool] | None:
    """The pair (true word, false word) that the text is one of, in the text's own case, and which it is."""
    for pair in _BOOL_PAIRS:
        if text.lower() in pair:
            recase = str.upper if text.isupper() and len(text) > 1 else str.title if text[:1].isupper() else str.lower
            return recase(pair[0]), recase(pair[1]), text.lower() == pair[0]
    return None


def truth_words(text: str) -> tuple[str, ...]:
    """The words for true and for false, in its own case, that go with a text which is one of them; empty: it is none."""
    pair = _bool_pair(text)
    return () if pair is None else pair[:2]


def has_value(found: LocatedValue, value: Scalar) -> bool:
    text = str(found.value)
    if isinstance(value, bool):
        word = _bool_pair(text)
        return word is not None and word[2] == value
    return text == ("" if value is None else str(value))


def to_text(value: Scalar, written: str) -> str:
    """The value as text; a bool in the words that stand there."""
    if isinstance(value, bool):
        yes, no, _ = _bool_pair(written) or ("true", "false", True)
        return yes if value else no
    return "" if value is None else str(value)


def format_literal(value: Scalar, found: LocatedValue, file_name: str, name: str) -> str:
    text = to_text(value, str(found.value))
    quote = found.text[:1] if found.text[:1] in ("'", '"') else ""
    # Shells, systemd and dotenv readers agree on these only.
    safe = {"'": r"[^'\\\r\n]*", '"': r'[^"\\$`\r\n]*', "": r"[\w./:@%+,=-]*"}
    for style in (quote, "'", '"'):
        if re.fullmatch(safe[style], text) and text.isprintable():
            return f"{style}{text}{style}"
    raise ActionError(f"{name} in {file_name}: {text!r} cannot be written so that every reader understands it")
