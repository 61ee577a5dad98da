"""Test files and Prometheus's rule files: YAML as Prometheus reads it, and the place of every word.

Not `documents.yaml_loader`, which refuses what our own files should not hold: these files may use anchors and merge keys, and
what looks like a number in a label stays the text that it is.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from watchdog.core.model import Labels, Millis
from watchdog.documents.document import MAX_PROBLEMS, TOO_MANY_PROBLEMS
from watchdog.documents.problems import Position, Problem, one_line, shorten, suggest
from watchdog.prometheus_rules.syntax import parse_number, parse_prometheus_duration

_LOADER: Any = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
_MAX_BYTES = 16 << 20
_MAX_DEPTH = 50
"""libyaml's composer recurses on the C stack, and dies of what is deeper than any rule file."""


@dataclass(slots=True)
class CellFile:
    """One file, with what is wrong in it."""

    file: str
    problems: list[Problem] = field(default_factory=list)
    max_values: int = 1_000_000
    """Values that are read of the file: aliases can make a small one very long."""
    value_count: int = 0

    def count_values(self, cell: Cell, more: int) -> bool:
        """Whether so many more values may be read."""
        before, self.value_count = self.value_count, self.value_count + more
        if self.value_count > self.max_values >= before:
            cell.report(f"the file stands for more than {self.max_values} values", "write out what its aliases copy")
        return self.value_count <= self.max_values

    def report(self, position: Position, what: str, cure: str = "") -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(self.file, position.line, position.column, one_line(what), one_line(cure)))
        elif len(self.problems) == MAX_PROBLEMS:
            what, cure = TOO_MANY_PROBLEMS
            self.problems.append(Problem(self.file, position.line, position.column, what, cure))


class Cell:
    """A value in a file. Reading it as something that it is not reports the mistake and goes on with an empty value."""

    __slots__ = ("_node", "cell_file")

    def __init__(self, node: yaml.Node, sheet: CellFile) -> None:
        self._node = node
        self.cell_file = sheet

    @property
    def position(self) -> Position:
        mark = self._node.start_mark
        return Position(mark.line + 1, mark.column + 1)

    @property
    def is_null(self) -> bool:
        return isinstance(self._node, yaml.ScalarNode) and self._node.tag == "tag:yaml.org,2002:null"

    def report(self, what: str, cure: str = "") -> None:
        self.cell_file.report(self.position, what, cure)

    def as_text(self) -> str:
        if not isinstance(self._node, yaml.ScalarNode):
            self.report("text should stand here, not a list or a set of keys")
            return ""
        return str(self._node.value)

    def as_number(self) -> float:
        text = self.as_text()
        try:
            return parse_number(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        except ValueError:
            self.report(f"{shorten(text)!r} is no number")
            return 0.0

    def as_bool(self) -> bool:
        text = self.as_text()
        if text.lower() not in ("true", "false"):
            self.report(f"{shorten(text)!r} is neither true nor false")
        return text.lower() == "true"

    def as_duration(self) -> Millis:
        try:
            return parse_prometheus_duration(self.as_text())
        except ValueError as error:
            self.report(str(error), "a duration reads like 30s, 5m or 1h30m")
            return 0

    def known_items(self, known: Collection[str]) -> dict[str, Cell]:
        """The values of a set of keys; what is empty is left out. `known`: other keys are mistakes."""
        found = {}
        for key, value, position in self._pairs():
            if key not in known:
                self.cell_file.report(position, f"there is no key {shorten(key)}", suggest(key, known))
            elif not value.is_null:
                found[key] = value
        return found

    def as_labels(self) -> Labels:
        """Names and texts, such as labels; sorted."""
        return tuple(sorted((key, value.as_text()) for key, value, _ in self._pairs()))

    def as_dict(self) -> dict[str, Cell]:
        """Names and whatever they hold, in the order of the file."""
        return {key: value for key, value, _ in self._pairs()}

    def has_key(self, key: str) -> bool:
        """Whether it is a set of keys with this one among them. Reports nothing."""
        return isinstance(self._node, yaml.MappingNode) and any(each.value == key for each, _ in self._node.value)

    def as_list(self) -> list[Cell]:
        if not isinstance(self._node, yaml.SequenceNode):
            self.report("a list should stand here", "begin each entry with -")
            return []
        nodes = self._node.value if self.cell_file.count_values(self, len(self._node.value)) else []
        return [Cell(node, self.cell_file) for node in nodes]

    def _pairs(self) -> Iterator[tuple[str, Cell, Position]]:
        if not isinstance(self._node, yaml.MappingNode):
            self.report("a set of keys should stand here", "write key: value")
            return
        if not self.cell_file.count_values(self, len(self._node.value)):
            return
        seen = set()
        merged: list[Cell] = []
        for key, value in self._node.value:
            position = Position(key.start_mark.line + 1, key.start_mark.column + 1)
            if not isinstance(key, yaml.ScalarNode):
                self.cell_file.report(position, "a key should stand here, not a list or a set of keys")
            elif key.tag == "tag:yaml.org,2002:merge":
                merged += (
                    [Cell(value, self.cell_file)]
                    if isinstance(value, yaml.MappingNode)
                    else Cell(value, self.cell_file).as_list()
                )
            elif key.value in seen:
                self.cell_file.report(position, f"{shorten(key.value)} stands here twice", "keep one of them")
            else:
                seen.add(key.value)
                yield str(key.value), Cell(value, self.cell_file), position
        for source in merged:
            for name, cell, position in source._pairs():
                if name not in seen:
                    seen.add(name)
                    yield name, cell, position


def load_cells(path: Path, file: str) -> tuple[CellFile, Cell | None]:
    """The file, and what stands in it; None when nothing can be read, and ``problems`` says why."""
    sheet = CellFile(file)
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        sheet.report(Position(1, 1), "there is no such file", "check the path")
        return sheet, None
    except OSError as error:
        sheet.report(Position(1, 1), f"cannot be read: {error.strerror}")
        return sheet, None
    if len(raw) > _MAX_BYTES:
        sheet.report(Position(1, 1), f"is larger than {_MAX_BYTES >> 20} MiB", "split it")
        return sheet, None
    try:
        text = raw.decode("utf-8-sig")
        if _too_deep(text):
            sheet.report(Position(1, 1), f"is nested deeper than {_MAX_DEPTH} levels", "check the brackets")
            return sheet, None
        node = yaml.compose(text, Loader=_LOADER)
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8", "replace").split("\n")
        sheet.report(Position(len(before), len(before[-1]) + 1), f"byte 0x{raw[error.start]:02x} is not UTF-8")
        return sheet, None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        position = Position(mark.line + 1, mark.column + 1) if mark is not None else Position(1, 1)
        what = re.sub(r"\s+", " ", str(getattr(error, "problem", None) or error))
        sheet.report(position, f"this is no YAML: {shorten(what)}", "check the indentation and the quotes above")
        return sheet, None
    if node is None:
        sheet.report(Position(1, 1), "the file is empty")
        return sheet, None
    return sheet, Cell(node, sheet)


def _too_deep(text: str) -> bool:
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            return True
    return False
