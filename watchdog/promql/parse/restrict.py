"""An expression's text, with one more matcher in each of its selectors: what somebody may see of the series."""

from __future__ import annotations

import re
from collections.abc import Iterable

from watchdog.tsdb.labels import TARGET_LABEL, Matcher

_TOKEN = re.compile(
    r"""(?P<skip> \s+ | \#[^\r\n]* )
      | (?P<string> "(?:\\.|[^"\\])*"? | '(?:\\.|[^'\\])*'? | `[^`]*`? )
      | (?P<number> (?:[0-9]|\.[0-9]) [\w.]* )
      | (?P<word> [A-Za-z_:][\w:]* )
      | (?P<sign> . )""",
    re.VERBOSE | re.DOTALL,
)
_LABELS_FOLLOW = frozenset(("by", "without", "on", "ignoring", "group_left", "group_right"))
_NEVER_NAMES = frozenset(("atan2", "bool", "inf", "nan", "on", "ignoring", "group_left", "group_right"))
_OPERATORS = frozenset(("and", "or", "unless", "offset", "by", "without"))
"""Names of metrics, too, where an operand stands: `and and and` joins two."""


def own_or_shared(target: str) -> str:
    """The matcher of what is a target's own or nobody's: ``target=~"alpha|"``."""
    return _as_written(f"{re.escape(target)}|")


def find_own_or_shared(matchers: Iterable[Matcher]) -> str:
    """That matcher, where one of these is it; else nothing."""
    found = (each.value for each in matchers if (each.label, each.op) == (TARGET_LABEL, "=~"))
    return next((_as_written(value) for value in found if value.endswith("|")), "")


def _as_written(pattern: str) -> str:
    escaped = pattern.replace("\\", "\\\\").replace('"', '\\"')
    return f'{TARGET_LABEL}=~"{escaped}"'


def restrict_selectors(text: str, matcher: str) -> str:
    """``equity`` → ``equity{MATCHER}``, ``x{a="b"}`` → ``x{MATCHER, a="b"}``. All else stays."""
    parts = [(str(found.lastgroup), found[0]) for found in _TOKEN.finditer(text)]
    out: list[str] = []
    index = 0
    operand = True  # whether one comes next
    while index < len(parts):
        kind, part = parts[index]
        following = _next(parts, index + 1)
        word = part.lower()
        labels_follow = kind == "word" and word in _LABELS_FOLLOW and _text(parts, following) == "("
        if labels_follow or (kind, part) == ("sign", "["):  # in brackets stand durations
            closing = ")" if labels_follow else "]"
            end = next((at for at in range(index, len(parts)) if parts[at] == ("sign", closing)), len(parts) - 1)
            out += [each for _, each in parts[index : end + 1]]
            index = end + 1
            operand = labels_follow and word not in ("by", "without")
            continue
        if kind == "sign" and part == "{":
            index, operand = _braces(parts, index, out, matcher), False
            continue
        out.append(part)
        if kind == "word" and _is_metric(word, parts, following, operand):
            operand = False
            if _text(parts, following) == "{":
                out += [each for _, each in parts[index + 1 : following]]
                index = _braces(parts, following, out, matcher)
                continue
            out.append(f"{{{matcher}}}")
        elif kind == "word":
            operand = word not in ("inf", "nan")
        elif kind != "skip":
            operand = kind == "sign" and part != ")"
        index += 1
    return "".join(out)


def _is_metric(word: str, parts: list[tuple[str, str]], following: int, operand: bool) -> bool:
    """Whether a word names a metric: it is no call, no grouping and no operator."""
    after = _text(parts, following)
    if after == "(" or word in _NEVER_NAMES or (word in _OPERATORS and not operand):
        return False
    return after.lower() not in ("by", "without") or _text(parts, _next(parts, following + 1)) != "("


def _braces(parts: list[tuple[str, str]], index: int, out: list[str], matcher: str) -> int:
    """Copies ``{…}`` with the matcher in it; the index behind it."""
    empty = _text(parts, _next(parts, index + 1)) == "}"
    out.append("{" + matcher + ("" if empty else ", "))
    index += 1
    while index < len(parts):
        out.append(parts[index][1])
        index += 1
        if parts[index - 1] == ("sign", "}"):
            break
    return index


def _next(parts: list[tuple[str, str]], index: int) -> int:
    while index < len(parts) and parts[index][0] == "skip":
        index += 1
    return index


def _text(parts: list[tuple[str, str]], index: int) -> str:
    return parts[index][1] if index < len(parts) else ""
