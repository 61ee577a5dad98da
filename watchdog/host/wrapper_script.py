"""What a shell script starts, as far as its text says: a bot is often started by a ``run.sh`` that puts it in its own place."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import NamedTuple

SHELLS = frozenset(("sh", "bash", "dash", "zsh", "ksh", "ash"))
MAX_SCRIPT = 64 << 10
UNKNOWN = "\N{REPLACEMENT CHARACTER}"
"""Within a word: what only a running shell knows."""
_MAX_LINES = 2_000
_MAX_VALUE = 1_000
"""Characters of a variable that is known: one that says another twice, line by line, would soon be longer than all memory."""
_BUILTINS = re.compile(
    r":|\.|\[\[?|cd|source|echo|printf|sleep|set|unset|test|trap|wait|read|local|exit|return|true|false|ulimit|umask|done|fi|esac|"
    r"for|case|break|continue|shift|eval|pwd|mkdir|rm|touch|date"
)
_BEFORE = frozenset(("do", "then", "else", "if", "elif", "while", "until", "!", "{", "time"))
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL | re.ASCII)
_SUBSTITUTION = re.compile(r"\$\([^()]*\)|`[^`]*`")
_VARIABLE = re.compile(r"\$(?:\{(\w+|[@*#?$!])(?:(:?-)([^{}]*))?\}|(\w+|[@*#?$!])|\{)", re.ASCII)
_SIGNS = re.compile(r"[;&|()<>]+")


class StartedCommand(NamedTuple):
    words: tuple[str, ...]
    """With `UNKNOWN` in those that are not known whole."""
    is_it: bool
    """It takes the script's own place (``exec``), nothing else in the script does, and it is known whole."""


def list_started(text: str, arguments: Sequence[str], variables: Mapping[str, str]) -> list[StartedCommand]:
    """The programs that the script starts when it is given these arguments."""
    known, found = dict(variables), list[StartedCommand]()
    for line in text.replace("\\\n", " ").splitlines()[:_MAX_LINES]:
        for words in _split(line, arguments, known):
            if (started := _started(words, known)) is not None:
                found.append(started)
    is_clear = sum(each.is_it for each in found) == 1
    return [each._replace(is_it=each.is_it and is_clear and UNKNOWN not in "".join(each.words)) for each in found]


def _split(line: str, arguments: Sequence[str], known: Mapping[str, str]) -> list[list[str]]:
    """The commands of a line, as words; without redirections."""
    lexer = shlex.shlex(_SUBSTITUTION.sub(UNKNOWN, line), posix=True, punctuation_chars=";&|()<>")
    lexer.whitespace_split, lexer.commenters = True, "#"
    try:
        tokens = list(lexer)
    except ValueError:  # a quote that goes on in the next line
        return []
    commands: list[list[str]] = [[]]
    is_target = False
    for token in tokens:
        if _SIGNS.fullmatch(token):
            is_target = token.strip("&|") in ("<", ">", ">>", "<<", "<<<")
            if not is_target:
                commands.append([])
            elif commands[-1] and commands[-1][-1] in ("1", "2"):
                commands[-1].pop()
        elif is_target:
            is_target = False
        elif token in ("$@", "${@}", "$*", "${*}"):
            commands[-1] += arguments
        else:
            commands[-1].append(_VARIABLE.sub(lambda match: _value(match, arguments, known), token))
    return [each for each in commands if each]


def _value(variable: re.Match[str], arguments: Sequence[str], known: Mapping[str, str]) -> str:
    name, instead = variable[1] or variable[4] or "", variable[3]
    if name.isdigit() and 0 < int(name) <= len(arguments):
        return arguments[int(name) - 1]
    if name in known:
        return known[name]
    return UNKNOWN if instead is None or "$" in instead else instead


def _started(words: list[str], known: dict[str, str]) -> StartedCommand | None:
    while words and words[0] in _BEFORE:
        words = words[1:]
    is_export = words[:1] == ["export"]
    set_here = list(takewhile(bool, map(_ASSIGNMENT.fullmatch, words[is_export:])))
    words = words[is_export + len(set_here) :]
    if is_export or not words:
        set_to = {each[1]: each[2] for each in set_here if each is not None}
        known.update({name: value if len(value) <= _MAX_VALUE else UNKNOWN for name, value in set_to.items()})
        return None
    is_it = words[0] == "exec"
    words = words[is_it:]
    while is_it and words and words[0].startswith("-"):
        words = words[2 if words[0] == "-a" else 1 :]
    if not words or _BUILTINS.fullmatch(words[0]) or words[0] == UNKNOWN:
        return None
    return StartedCommand(tuple(words), is_it)
