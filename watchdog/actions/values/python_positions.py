"""Where a node of Python's ast stands in the text: ast counts lines as Python does, and columns in bytes of UTF-8."""

from __future__ import annotations

import ast
import re

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|$)")


class PositionTable:
    """A line of thousands of items is gone through once."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._starts = [found.start() for found in _LINE.finditer(text)]
        self._columns: dict[int, list[int] | None] = {}
        """Of a line with other characters than ASCII: the column in characters of each byte."""

    def span(self, node: ast.expr) -> tuple[int, int]:
        """From which character to which."""
        end = self._character(node.end_lineno or node.lineno, node.end_col_offset or 0)
        return self._character(node.lineno, node.col_offset), end

    def _character(self, line: int, column: int) -> int:
        start = self._starts[line - 1]
        if line not in self._columns:
            found = _LINE.match(self._text, start)
            assert found is not None
            self._columns[line] = None if found[0].isascii() else _byte_columns(found[0])
        columns = self._columns[line]
        return start + (column if columns is None else columns[column])


def _byte_columns(line: str) -> list[int]:
    columns: list[int] = []
    for place, character in enumerate(line):
        columns += [place] * len(character.encode("utf-8", "surrogatepass"))
    return [*columns, len(line)]
