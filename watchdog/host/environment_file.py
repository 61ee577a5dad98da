"""``NAME=value`` lines as systemd's `EnvironmentFile=` reads them: by its own rules, and by no shell."""

from __future__ import annotations

import re

_QUOTED = re.compile(r"""'([^']*)'?|"((?:[^"\\]|\\.)*)"?""", re.DOTALL)
_UNQUOTED = re.compile(r"(?:\\.|[^\\\r\n])*", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def parse_environment(text: str) -> dict[str, str]:
    """The variables of a file. What names none, or holds control characters, is passed over, as systemd does.

    Quotes are taken off, also where several stand side by side; a backslash at a line's end joins it with the next; lines
    that begin with # or ; are comments. Nothing is expanded: a dollar sign is one.
    """
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        end = _line_end(text, at)
        equals = text.find("=", at, end)
        if text[at] in " \t\r\n":
            at += 1
        elif text[at] in "#;" or equals < 0:
            at = end
        else:
            name = text[at:equals].strip()
            value, at = _read_value(text, equals + 1)
            if _NAME.fullmatch(name) and not _CONTROL.search(value):
                found[name] = value
    return found


def _line_end(text: str, at: int) -> int:
    return min((end for mark in "\r\n" if (end := text.find(mark, at)) >= 0), default=len(text))


def _read_value(text: str, at: int) -> tuple[str, int]:
    """The value that begins there, and where it ends. Behind what is not quoted, quotes are characters like others."""
    value = ""
    while True:
        while text[at : at + 1] in (" ", "\t"):
            at += 1
        if (quoted := _QUOTED.match(text, at)) is None:
            break
        value, at = value + _unquote(quoted), quoted.end()
    rest = _UNQUOTED.match(text, at)
    assert rest is not None
    return value + _unescape(rest[0]), rest.end()


def _unquote(part: re.Match[str]) -> str:
    """Between double quotes a backslash speaks for ``" \\ ` $`` and a line's end; ahead of all else it is one itself."""
    return part[1] if part[1] is not None else re.sub(r'\\(["\\`$])|\\\n', r"\1", part[2])


def _unescape(text: str) -> str:
    """Blanks at the end are not meant, unless a backslash stands ahead of them."""
    parts = re.findall(r"\\.|[^\\]", text, re.DOTALL)
    while parts and parts[-1] in (" ", "\t"):
        parts.pop()
    return "".join(part if len(part) == 1 else part[1].replace("\n", "") for part in parts)
