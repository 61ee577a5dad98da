"""A YAML file → plain data, and for every key and value the place where it stands.

Only what cannot surprise is read: YAML 1.2 scalars (``no`` is text, ``1:30`` is text), no tags, no anchors, one
document, limited size and depth.
"""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Any

import yaml

from watchdog.documents.document import Document
from watchdog.documents.problems import Position, shorten
from watchdog.documents.yaml_events import EventReader, StopParsingError

MAX_BYTES = 4 << 20
"""Ten thousand rules fit into one file, ten times as many do not."""

LOADERS: tuple[Any, ...] = (*([yaml.CLoader] if yaml.__with_libyaml__ else []), yaml.SafeLoader)
"""The first is used; the others must say the same."""

# What YAML cannot hold, and what old YAML takes for the end of a line while editors do not.
_FORBIDDEN_CHARACTERS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")


def load_document(path: Path, file: str) -> Document:
    """The document in a file. Never raises for what a file may be or hold: see ``problems``."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return _unreadable(file, "is no regular file", "name a .yaml file")
        if status.st_size > MAX_BYTES:
            return _unreadable(file, f"is larger than {MAX_BYTES // 1024} KiB", "split it: rules/ may hold many files")
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)  # a file may grow after stat
    except FileNotFoundError:
        if path.is_symlink():
            return _unreadable(
                file, f"is a link to {path.readlink()}, which is not there", "mend the link, or remove it"
            )
        return _unreadable(file, "there is no such file", "check the path")
    except OSError as error:
        return _unreadable(
            file, f"cannot be read: {error.strerror}", "check owner and mode of the file and its folders"
        )
    return parse_document(raw, file)


def _unreadable(file: str, what: str, cure: str) -> Document:
    document = Document(file, complete=False)
    document.report(Position(1, 1), what, cure)
    return document


def parse_document(raw: bytes, file: str, loader: Any = LOADERS[0]) -> Document:
    """The document in some bytes."""
    if len(raw) > MAX_BYTES:
        return _unreadable(file, f"is larger than {MAX_BYTES // 1024} KiB", "split it: rules/ may hold many files")
    document = Document(file)
    try:
        text = raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        document.complete = False
        document.report(
            _position_after(raw[: error.start].decode("utf-8")),
            f"byte 0x{raw[error.start]:02x} is not UTF-8",
            "save the file as UTF-8",
        )
        return document
    if forbidden := _FORBIDDEN_CHARACTERS.search(text):
        document.complete = False
        document.report(
            _position_after(text[: forbidden.start()]),
            f"character U+{ord(forbidden[0]):04X} does not belong in a file",
            "delete it",
        )
        return document
    try:
        EventReader(document).read_events(loader(text).get_event)
    except StopParsingError:
        document.complete = False
    except yaml.YAMLError as error:
        document.complete = False
        document.report(*_describe_yaml_error(error, text))
    if not document.complete:
        document.data = None  # half a value is none
    return document


def _position_after(before: str) -> Position:
    """Where the text behind `before` stands."""
    lines = re.split("\r\n|\r|\n", before)
    return Position(len(lines), len(lines[-1].removeprefix("\ufeff")) + 1)


_BAD_INDENTATION = (
    "neither a key nor the end of what is above",
    "check the indentation, and that quotes hold the whole text",
)
_MISSING_COLON = ("a colon is missing", "each line reads key: value")
_YAML_ERRORS = {
    # the parser's words: ours, and the cure
    "escape": ("this \\ means nothing", "double it, or use single quotes"),
    "mapping values are not allowed": (
        "a colon where none can be",
        "put text that holds ': ' in quotes, or check the indentation of this line and the one above",
    ),
    "cannot start any token": ("a text cannot start with this character", "put it in quotes"),
    "tab character": ("a tab where spaces should be", "indent with spaces"),
    "flow mapping": ("a , or } is missing", "close the bracket, or put text that holds {, }, [, ] or , in quotes"),
    "flow sequence": ("a , or ] is missing", "close the bracket, or put text that holds {, }, [, ] or , in quotes"),
    "quoted scalar": ("a quote is opened here and never closed", "close it"),
    "simple key": _MISSING_COLON,
    "expected ':'": _MISSING_COLON,
    "block mapping": _BAD_INDENTATION,
    "block collection": _BAD_INDENTATION,
    "block sequence": _BAD_INDENTATION,
}


def _describe_yaml_error(error: yaml.YAMLError, text: str) -> tuple[Position, str, str]:
    """The parser's complaint in an operator's words."""
    problem = str(getattr(error, "problem", None) or "the text has no shape")
    context = str(getattr(error, "context", None) or "")
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    message = f"{problem} {context}"
    if "quoted scalar" in context and "escape" not in message:
        mark = getattr(error, "context_mark", None) or mark
    position = Position(mark.line + 1, mark.column + 1) if mark is not None else Position(1, 1)
    lines = re.split("\r\n|\r|\n", text)
    line = lines[position.line - 1] if position.line <= len(lines) else ""
    indent = line[: len(line) - len(line.lstrip())]
    if "\t" in indent:
        return Position(position.line, indent.index("\t") + 1), "a tab in the indentation", "indent with spaces"
    for sign, (what, cure) in _YAML_ERRORS.items():
        if sign in message:
            return position, what, cure
    return position, f"this is no YAML: {shorten(problem)}", ""
