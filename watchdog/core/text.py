"""What others wrote (labels, answers, log lines, names of files) as people may see it, wherever that is.

A border at which text goes out to people (a message, the log, the command line, a page) passes it through here, whatever it
is: a newline would make a second line that looks like one of ours, an escape sequence would move a terminal's cursor, a bidi
mark would turn what stands around it round, and what has no width hides. They are shown by their escapes, as Python writes
them: ``\\n``, ``\\x1b``, ``\\u202e``. A backslash stays what it is, so that to escape twice changes nothing.
"""

from __future__ import annotations

import re
import unicodedata

MAX_LABEL_CHARACTERS = 100
"""Of a label's value, where labels are told to people: more of it would fill the message."""

_INVISIBLE_LETTERS = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\uffa0\U000e0100-\U000e01ef]")
"""Letters and marks by their category, and blank on the screen; variation selectors of emoji are not among them."""
_STACKED_MARKS = 4
"""Accents on one letter; more of them would be drawn over the lines above."""
_SEPARATORS = re.compile(r'[\s",={}\\]')
"""What could be taken for the end of a value, and the beginning of the next label."""


def escape(text: str) -> str:
    """One line without a character that is not seen: controls, line breaks, bidi marks, what has no width, half surrogates.

    Letters, digits, signs and blanks of any script stay.
    """
    if text.isascii() and text.isprintable():
        return text
    return _escape(text, kept="")


def escape_lines(text: str) -> str:
    """The same for text of several lines, such as a diff: line feeds and tabs stay, and a line may end with CR LF."""
    return _escape(text.replace("\r\n", "\n"), kept="\n\t")


def shorten(text: str, limit: int) -> str:
    """`escape`, and of what is longer its beginning and how much is left out, within `limit` characters."""
    shown = escape(text[: limit + 1])  # no longer than its escapes; a megabyte is not looked through for a line
    if len(shown) <= limit and len(text) <= limit:
        return shown
    note = f"… ({len(text)} characters)"
    return shown[: max(0, limit - len(note))] + note


def quote_label(value: str) -> str:
    """A label's value as it stands among our own words: in quotes, as PromQL writes it, unless it is a single plain word;
    never long."""
    shown = shorten(value.replace("\\", "\\\\").replace('"', '\\"'), MAX_LABEL_CHARACTERS)
    return f'"{shown}"' if not value or shown != value or _SEPARATORS.search(value) else shown


def _escape(text: str, kept: str) -> str:
    shown, marks = [], 0
    for character in text:
        marks = marks + 1 if unicodedata.combining(character) else 0
        if character in kept or (_is_visible(character) and marks <= _STACKED_MARKS):
            shown.append(character)
        else:
            shown.append(character.encode("unicode_escape").decode("ascii"))
    return "".join(shown)


def _is_visible(character: str) -> bool:
    if not character.isprintable():  # of the separators only blanks are
        return unicodedata.category(character) == "Zs"
    return not _INVISIBLE_LETTERS.match(character)
