"""CSV → samples. Wide: a column of times, one column a series. Long: time, series, value.

Read in chunks and column by column: a year of samples a second fits into memory. What is said about a mistake is the
same as if it were read cell by cell.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from watchdog.history.file import EPOCH_MS, Chunk, parse_series, parse_time, time_column
from watchdog.history.gather import Gathered, HistoryError
from watchdog.model import Labels
from watchdog.promql.pages import STALE, Floats, Ints

_STALE = "stale"
"""A cell that says: from here on the series is gone, as when a scrape fails."""
_ZULU = "dddd-dd-ddTdd:dd:dd.dddZ"


class _Block(NamedTuple):
    """Rows, column by column."""

    lines: Sequence[int]
    """The line of each row, its last one."""
    columns: list[list[str]]


def read(name: str, chunks: Iterator[Chunk], found: Gathered) -> None:
    """`name`: of the file, for errors. Raises HistoryError with file, line and cure."""
    header, rest = _header(name, chunks)
    at = time_column(header)
    if at is None:
        raise HistoryError(f"{name}:1: no column of times — the first line names one t, time or timestamp")
    columns = [column.strip().lower() for column in header]
    if "series" in columns and "value" in columns:
        cure = "put series with several labels in quotes, and double the quotes inside"
        blocks = (_block(name, chunk, len(header), cure) for chunk in rest)
        _long(name, blocks, at, columns.index("series"), columns.index("value"), found)
    else:
        _wide(name, (_block(name, chunk, len(header), "is a comma missing?") for chunk in rest), at, header, found)


def _header(name: str, chunks: Iterator[Chunk]) -> tuple[list[str], Iterator[Chunk]]:
    """The first row that says anything, and what follows it."""
    for chunk in chunks:
        for line, row in _rows(name, chunk):
            text = chunk.text.split("\n", line - chunk.line + 1)
            return row, _follow(Chunk(line + 1, text[-1] if len(text) > line - chunk.line + 1 else ""), chunks)
    return [], iter(())


def _follow(first: Chunk, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    if first.text:
        yield first
    yield from chunks


def _rows(name: str, chunk: Chunk) -> Iterator[tuple[int, list[str]]]:
    """Rows with the number of their last line; empty ones left out."""
    reader = csv.reader(io.StringIO(chunk.text, newline="\n"))
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield chunk.line + reader.line_num - 1, row
    except csv.Error as error:
        raise HistoryError(f"{name}:{chunk.line + reader.line_num - 1}: {error} — check the quotes") from None


def _block(name: str, chunk: Chunk, width: int, cure: str) -> _Block:
    text = chunk.text if chunk.text.endswith("\n") else chunk.text + "\n"
    if '"' not in text and "\r" not in text and _is_plain(text, width):
        cells = text[:-1].replace("\n", ",").split(",")
        return _Block(range(chunk.line, chunk.line + len(cells) // width), [cells[i::width] for i in range(width)])
    lines, rows = [], []
    for line, row in _rows(name, chunk):
        if len(row) != width:
            raise HistoryError(f"{name}:{line}: has {len(row)} cells, the first line {width} — {cure}")
        lines.append(line)
        rows.append(row)
    return _Block(lines, [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)])


def _is_plain(text: str, width: int) -> bool:
    """Every line has as many cells as the first line of the file, and says something. For text without quotes."""
    data = np.frombuffer(text.encode(), np.uint8)
    ends = data == 10
    marks = np.flatnonzero(ends | (data == 44))
    if marks.size % width:
        return False
    rows = ends[marks].reshape(-1, width)
    lengths = np.diff(marks[width - 1 :: width], prepend=-1)
    return bool(rows[:, -1].all() and not rows[:, :-1].any() and (lengths > width).all())


def _wide(name: str, blocks: Iterable[_Block], at: int, header: list[str], found: Gathered) -> None:
    keys: dict[int, Labels] = {}
    for column, text in enumerate(header):
        if column != at:
            try:
                keys[column] = found.key(*parse_series(text))
            except ValueError as error:
                raise HistoryError(f"{name}:1: column {column + 1}: {error}") from None
    if len(set(keys.values())) < len(keys):
        raise HistoryError(f"{name}:1: two columns are the same series — rename or remove one")
    begin: int | None = None
    for block in blocks:
        t = _times(name, block, at)
        if not t.size:
            continue
        begin = min(int(t.min()), begin if begin is not None else int(t[0]))
        for column, key in keys.items():
            places, values = _cells(name, block, column)
            found.add(key, t if places is None else t[places], values, begin=begin)


def _long(name: str, blocks: Iterable[_Block], at: int, series: int, value: int, found: Gathered) -> None:
    known: dict[str, int] = {}
    keys: list[Labels] = []
    for block in blocks:
        names = block.columns[series]
        for text in dict.fromkeys(names):
            if text not in known:
                try:
                    keys.append(found.key(*parse_series(text)))
                except ValueError as error:
                    raise HistoryError(f"{name}:{block.lines[names.index(text)]}: {error}") from None
                known[text] = len(keys) - 1
        t = _times(name, block, at)
        try:
            v = np.array(list(map(float, block.columns[value])), np.float64)
        except ValueError:
            v = _floats(
                [_value(name, line, text.strip()) for line, text in zip(block.lines, block.columns[value], strict=True)]
            )
        which = np.array([known[text] for text in names], np.intp)
        order = np.argsort(which, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(which[order])) + 1) if order.size else ():
            found.add(keys[which[rows[0]]], t[rows], v[rows])


def _times(name: str, block: _Block, at: int) -> Ints:
    """As `parse_time` reads them."""
    cells = block.columns[at]
    try:
        numbers = np.array(list(map(float, cells)), np.float64)
    except ValueError:
        if (stamps := _zulu(cells)) is not None:
            return stamps
    else:
        if (np.abs(numbers) < 1e15).all():
            return np.rint(np.where(np.abs(numbers) >= EPOCH_MS, numbers, numbers * 1_000)).astype(np.int64)
    times = []
    for line, text in zip(block.lines, cells, strict=True):
        try:
            times.append(parse_time(text))
        except ValueError as error:
            raise HistoryError(f"{name}:{line}: {error}") from None
    return np.array(times, np.int64)


def _zulu(cells: list[str]) -> Ints | None:
    """Times that all read like 2026-01-31T12:00:00Z, with or without milliseconds; None when they do not."""
    pattern = _ZULU if len(cells[0]) == len(_ZULU) else _ZULU[:19] + "Z"
    stamps = np.array(cells)
    if stamps.dtype.itemsize != 4 * len(pattern):
        return None
    chars = stamps.view(np.uint32).reshape(len(cells), -1)
    for place, char in enumerate(pattern):
        column = chars[:, place]
        if not (((column >= 48) & (column <= 57)) if char == "d" else column == ord(char)).all():
            return None
    try:
        return stamps.astype(f"U{len(pattern) - 1}").astype("datetime64[ms]").astype(np.int64)
    except ValueError:  # a thirteenth month
        return None


def _cells(name: str, block: _Block, column: int) -> tuple[np.ndarray | None, Floats]:
    """Rows that hold a value, and the values; None for all rows."""
    cells = block.columns[column]
    try:
        return None, np.array(list(map(float, cells)), np.float64)
    except ValueError:
        pass
    try:
        values = np.array([float(text) for text in cells if text], np.float64)
        return np.flatnonzero(np.fromiter(map(bool, cells), np.bool_, len(cells))), values
    except ValueError:
        pass
    places, said = [], []
    for place, text in enumerate(cells):
        if text := text.strip():
            places.append(place)
            said.append(_value(name, block.lines[place], text))
    return np.array(places, np.intp), _floats(said)


_GONE = -sys.float_info.max
"""Stands in for the stale marker, whose bits a Python float need not keep."""


def _value(name: str, line: int, text: str) -> float:
    if text.lower() == _STALE:
        return _GONE
    try:
        return float(text)
    except ValueError:
        raise HistoryError(
            f"{name}:{line}: {text!r} is no number — leave the cell empty where nothing was measured"
        ) from None


def _floats(values: list[float]) -> Floats:
    v = np.array(values, np.float64)
    return np.where(v == _GONE, STALE, v)
