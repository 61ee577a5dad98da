"""`NAME=value` in a .env file, as shells, systemd and dotenv readers understand it; where they do not agree it is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from watchdog.actions.values.located_value import LocatedValue, Scalar, exactly_one
from watchdog.core import redaction
from watchdog.core.errors import ActionError, UnreadableError

_ASSIGNMENT = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_]\w*)[ \t]*=[ \t]*", re.ASCII)
_BOOL_PAIRS = (("true", "false"), ("1", "0"), ("yes", "no"), ("on", "off"), ("y", "n"), ("t", "f"))
_COMMENT = re.compile(r"(?:^|(?<=\s))#")
_SHELL = re.compile(
    r"""
    (?P<blank>(?:[ \t\r\n]|\\\n)++) | (?P<comment>\#[^\n]*+) | (?P<operator>[;&|<>()])
    | (?P<word>(?:[^ \t\r\n;&|<>()'"\\]++ | '[^']*+' | "(?:[^"\\]|\\.)*+" | \\(?:.|\Z))++)
    """,
    re.VERBOSE | re.DOTALL,
)
_SHELL_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)\+?=", re.ASCII)
_SIGNS = re.compile("[;&|<>()]")
"""They end a command to a shell."""
_EXPANDED = re.compile(r"[$`\\]")
_CHANGED_BARE = re.compile(r"""[$`\\'"]""")
"""To some readers such a text is another than it looks."""


class _Place(NamedTuple):
    """Where the name is set, line by line as dotenv readers go."""

    start: int
    """Of the name."""
    found: LocatedValue | None
    """None: the value stands on several lines."""
    behind: str
    """What follows the value on its line."""


def find_value(text: str, file_name: str, name: str) -> LocatedValue:
    places = _find_by_line(text, name)
    words, shell_places = _find_by_shell(text, name)
    if (
        odd := next((start for start in shell_places if all(start != place.start for place in places)), None)
    ) is not None:
        why = "not at the beginning of its line: a shell takes it for set, other readers do not"
        raise _disagreement(text, odd, file_name, name, why)
    place = exactly_one(places, file_name, name)
    if words is not None and place.start not in words:
        why = "within what a shell takes for a value that began in a line above"
        raise _disagreement(text, place.start, file_name, name, why)
    if re.search(r"(?:\A|\n)[ \t]*[#;][^\n]*\\\r?\n[^\n]*\Z", text[: place.start]):
        why = "below a comment that ends in a backslash, which goes on to some readers"
        raise _disagreement(text, place.start, file_name, name, why)
    if place.found is None:
        raise ActionError(f"{name} in {file_name} stands on several lines — write it on one")
    if (wrong := _doubt(place, None if words is None else words.get(place.start))) is not None:
        raise _disagreement(text, place.start, file_name, name, wrong)
    return place.found


def _disagreement(text: str, start: int, file_name: str, name: str, why: str) -> ActionError:
    line = text.count("\n", 0, start) + 1
    return UnreadableError(
        f"{name} in {file_name}, line {line}, is {why} — write {name}='…' on a line of its own, in one pair of quotes"
    )


def _doubt(place: _Place, shell_end: int | None) -> str | None:
    """Why shells, systemd, Docker and dotenv readers see different values, or other values on its line.

    `shell_end`: where a shell's word ends that begins with the name.
    """
    assert place.found is not None
    written = place.found.text
    if written[:1] in ("'", '"'):
        if place.behind.strip() and not re.match(r"[ \t]+#", place.behind):
            return "put together of several pieces, which readers understand differently"
        return None
    if re.search("['\"]", written) and shell_end not in (None, place.found.end):
        return "put together with quotes in its middle, which readers understand differently"
    if _SIGNS.search(written):
        return "cut at a sign such as ; or & by a shell, and by no other reader"
    if any(_SHELL_ASSIGNMENT.match(word) for word in written.split()[1:]):
        return "followed by another assignment to a shell, and a single text to other readers"
    return "continued on the next line to some readers" if written.endswith("\\") else None


def all_values(text: str) -> list[tuple[str, str]]:
    """Each name that is set, line by line, and all that is written behind its sign."""
    return [(name, text[start:end].strip()) for name, _, start, end in _assignments(text)]


def _find_by_line(text: str, name: str) -> list[_Place]:
    found: list[_Place] = []
    for sets, begins, start, ends in _assignments(text):
        if sets != name:
            continue
        item, behind, line_end = None, "", _line_end(text, start)
        if text[start : start + 1] in ("'", '"'):
            close = _closing_quote(text, start)
            if close is not None and close < line_end:
                item = LocatedValue(start, close + 1, text[start : close + 1], text[start + 1 : close])
                behind = text[close + 1 : line_end].rstrip("\r\n")
        else:
            plain = _COMMENT.split(text[start:ends].rstrip("\r\n"), maxsplit=1)[0].rstrip()
            if not plain:  # right behind the sign: after a blank it would be no value to a shell
                start = text.rindex("=", 0, start) + 1
            item = LocatedValue(start, start + len(plain), plain, plain)
        found.append(_Place(begins, item, behind))
    return found


def _assignments(text: str) -> Iterator[tuple[str, int, int, int]]:
    """Line by line: a name, where it begins, where its value does, and where the line ends that this ends in."""
    position = 0
    while position < len(text):
        end = _line_end(text, position)
        if sets := _ASSIGNMENT.match(text, position, end):
            start = sets.end()
            if text[start : start + 1] in ("'", '"'):
                close = _closing_quote(text, start)
                end = len(text) if close is None else max(end, _line_end(text, close))
            yield sets[1], sets.start(1), start, end
        position = end


def _find_by_shell(text: str, name: str) -> tuple[dict[int, int] | None, list[int]]:
    """(where words begin and end, where the name is set). None: a quote does not end, and a shell refuses all of it."""
    words, sets = dict[int, int](), list[int]()
    position = 1 if text.startswith("\ufeff") else 0
    while position < len(text):
        token = _SHELL.match(text, position)
        if token is None:
            return None, []
        if token.lastgroup == "word":
            words[position] = token.end()
            assignment = _SHELL_ASSIGNMENT.match(token[0])
            if assignment and assignment[1] == name:
                sets.append(position)
        position = token.end()
    return words, sets


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


def is_text_of(found: LocatedValue, value: Scalar) -> bool:
    """Whether that text is how the value is written."""
    text = str(found.value)
    if isinstance(value, bool):
        word = _bool_pair(text)
        return word is not None and word[2] == value
    return text == ("" if value is None else str(value))


def has_value(found: LocatedValue, value: Scalar, file_name: str, name: str) -> bool:
    """Raises ActionError where the same characters are another text to some readers."""
    is_same = is_text_of(found, value)
    changed = _EXPANDED if found.text.startswith('"') else _CHANGED_BARE
    if (
        is_same
        and not found.text.startswith("'")
        and changed.search(found.text[1:-1] if changed is _EXPANDED else found.text)
    ):
        raise ActionError(
            f"{name} in {file_name} holds a quote, $, ` or \\, which some readers take for something else — write it in '…'"
        )
    return is_same


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
    raise ActionError(
        f"{name} in {file_name}: {redaction.blot_value(name, repr(text))} cannot be written so that every reader understands it"
    )
