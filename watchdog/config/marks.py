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

from watchdog.config.document import Document
from watchdog.config.events import Reader, StopError
from watchdog.config.problem import Place, short

MAX_BYTES = 4 << 20
"""Ten thousand rules fit into one file, ten times as many do not."""

LOADERS: tuple[Any, ...] = (*([yaml.CLoader] if yaml.__with_libyaml__ else []), yaml.SafeLoader)
"""The first is used; the others must say the same."""

# What YAML cannot hold, and what old YAML takes for the end of a line while editors do not.
_ALIEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")


def read(path: Path, file: str) -> Document:
    """The document in a file. Never raises for what a file may be or hold: see ``problems``."""
    try:
        told = path.stat()
        if not stat.S_ISREG(told.st_mode):
            return _unread(file, "is no regular file", "name a .yaml file")
        if told.st_size > MAX_BYTES:
            return _unread(file, f"is larger than {MAX_BYTES // 1024} KiB", "split it: rules/ may hold many files")
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)  # a file may grow after stat
    except FileNotFoundError:
        return _unread(file, "there is no such file", "check the path")
    except OSError as error:
        return _unread(file, f"cannot be read: {error.strerror}", "check owner and mode of the file and its folders")
    return parse(raw, file)


def _unread(file: str, what: str, cure: str) -> Document:
    document = Document(file, whole=False)
    document.report(Place(1, 1), what, cure)
    return document


def parse(raw: bytes, file: str, loader: Any = LOADERS[0]) -> Document:
    """The document in some bytes."""
    if len(raw) > MAX_BYTES:
        return _unread(file, f"is larger than {MAX_BYTES // 1024} KiB", "split it: rules/ may hold many files")
    document = Document(file)
    try:
        text = raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        document.whole = False
        document.report(
            _place(raw[: error.start].decode("utf-8")),
            f"byte 0x{raw[error.start]:02x} is not UTF-8",
            "save the file as UTF-8",
        )
        return document
    if alien := _ALIEN.search(text):
        document.whole = False
        document.report(
            _place(text[: alien.start()]), f"character U+{ord(alien[0]):04X} does not belong in a file", "delete it"
        )
        return document
    try:
        Reader(document).read(loader(text).get_event)
    except StopError:
        document.whole = False
    except yaml.YAMLError as error:
        document.whole = False
        document.report(*_broken(error, text))
    if not document.whole:
        document.data = None  # half a value is none
    return document


def _place(before: str) -> Place:
    """Where the text behind `before` stands."""
    lines = re.split("\r\n|\r|\n", before)
    return Place(len(lines), len(lines[-1].removeprefix("\ufeff")) + 1)


_UNALIGNED = (
    "neither a key nor the end of what is above",
    "check the indentation, and that quotes hold the whole text",
)
_UNSAID = ("a colon is missing", "each line reads key: value")
_CURES = {
    # the parser's words: ours, and the cure
    "escape": ("this \\ means nothing", "double it, or use single quotes"),
    "mapping values are not allowed": (
        "a colon where none can be",
        "put text that holds ': ' in quotes, or check the indentation of this line and the one above",
    ),
    "cannot start any token": ("a text cannot start with this character", "put it in quotes"),
    "tab character": ("a tab where spaces should be", "indent with spaces"),
    "flow mapping": ("a , or } is missing", "close the bracket, or put text that holds {, } or , in quotes"),
    "flow sequence": ("a , or ] is missing", "close the bracket, or put text that holds [, ] or , in quotes"),
    "quoted scalar": ("a quote is opened here and never closed", "close it"),
    "simple key": _UNSAID,
    "expected ':'": _UNSAID,
    "block mapping": _UNALIGNED,
    "block collection": _UNALIGNED,
    "block sequence": _UNALIGNED,
}


def _broken(error: yaml.YAMLError, text: str) -> tuple[Place, str, str]:
    """The parser's complaint in an operator's words."""
    problem = str(getattr(error, "problem", None) or "the text has no shape")
    context = str(getattr(error, "context", None) or "")
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    said = f"{problem} {context}"
    if "quoted scalar" in context and "escape" not in said:
        mark = getattr(error, "context_mark", None) or mark
    place = Place(mark.line + 1, mark.column + 1) if mark is not None else Place(1, 1)
    lines = re.split("\r\n|\r|\n", text)
    line = lines[place.line - 1] if place.line <= len(lines) else ""
    indent = line[: len(line) - len(line.lstrip())]
    if "\t" in indent:
        return Place(place.line, indent.index("\t") + 1), "a tab in the indentation", "indent with spaces"
    for sign, (what, cure) in _CURES.items():
        if sign in said:
            return place, what, cure
    return place, f"this is no YAML: {short(problem)}", ""
