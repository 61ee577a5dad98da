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

from watchdog.core.model import Labels
from watchdog.offline.history.page_builder import HistoryError, PageBuilder
from watchdog.offline.history.text_format import MIN_EPOCH_MS, Chunk, find_time_column, parse_series, parse_time
from watchdog.tsdb.page import STALE, Floats, Ints

_STALE_CELL = "stale"
"""A cell that says: from here on the series is gone, as when a scrape fails."""
_UTC_PATTERN = "dddd-dd-ddTdd:dd:dd.dddZ"


class _ColumnBlock(NamedTuple):
    """Rows, column by column."""

    lines: Sequence[int]
    """The line of each row, its last one."""
    columns: list[list[str]]


def parse_csv(name: str, chunks: Iterator[Chunk], builder: PageBuilder) -> None:
    """`name`: of the file, for errors. Raises HistoryError with file, line and cure."""
    header, rest = _parse_header(name, chunks)
    at = find_time_column(header)
    if at is None:
        raise HistoryError(f"{name}:1: no column of times — the first line names one t, time or timestamp")
    columns = [column.strip().lower() for column in header]
    if "series" in columns and "value" in columns:
        cure = "put series with several labels in quotes, and double the quotes inside"
        blocks = (_parse_block(name, chunk, len(header), cure) for chunk in rest)
        _parse_long(name, blocks, at, columns.index("series"), columns.index("value"), builder)
    else:
        _parse_wide(
            name, (_parse_block(name, chunk, len(header), "is a comma missing?") for chunk in rest), at, header, builder
        )


def _parse_header(name: str, chunks: Iterator[Chunk]) -> tuple[list[str], Iterator[Chunk]]:
    """The first row that says anything, and what follows it."""
    for chunk in chunks:
        for line, row in _parse_rows(name, chunk):
            text = chunk.text.split("\n", line - chunk.line + 1)
            return row, _prepend_chunk(Chunk(line + 1, text[-1] if len(text) > line - chunk.line + 1 else ""), chunks)
    return [], iter(())


def _prepend_chunk(first: Chunk, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    if first.text:
        yield first
    yield from chunks


def _parse_rows(name: str, chunk: Chunk) -> Iterator[tuple[int, list[str]]]:
    """Rows with the number of their last line; empty ones left out."""
    reader = csv.reader(io.StringIO(chunk.text, newline="\n"))
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield chunk.line + reader.line_num - 1, row
    except csv.Error as error:
        raise HistoryError(f"{name}:{chunk.line + reader.line_num - 1}: {error} — check the quotes") from None


def _parse_block(name: str, chunk: Chunk, width: int, cure: str) -> _ColumnBlock:
    text = chunk.text if chunk.text.endswith("\n") else chunk.text + "\n"
    if '"' not in text and "\r" not in text and _is_plain(text, width):
        cells = text[:-1].replace("\n", ",").split(",")
        return _ColumnBlock(
            range(chunk.line, chunk.line + len(cells) // width), [cells[i::width] for i in range(width)]
        )
    lines, rows = [], []
    for line, row in _parse_rows(name, chunk):
        if len(row) != width:
            raise HistoryError(f"{name}:{line}: has {len(row)} cells, the first line {width} — {cure}")
        lines.append(line)
        rows.append(row)
    return _ColumnBlock(
        lines, [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]
    )


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


def _parse_wide(name: str, blocks: Iterable[_ColumnBlock], at: int, header: list[str], builder: PageBuilder) -> None:
    keys: dict[int, Labels] = {}
    for column, text in enumerate(header):
        if column != at:
            try:
                keys[column] = builder.series_key(*parse_series(text))
            except ValueError as error:
                raise HistoryError(f"{name}:1: column {column + 1}: {error}") from None
    if len(set(keys.values())) < len(keys):
        raise HistoryError(f"{name}:1: two columns are the same series — rename or remove one")
    begin: int | None = None
    for block in blocks:
        t = _parse_times(name, block, at)
        if not t.size:
            continue
        begin = min(int(t.min()), begin if begin is not None else int(t[0]))
        for column, key in keys.items():
            places, values = _parse_cells(name, block, column)
            builder.add(key, t if places is None else t[places], values, begin=begin)


def _parse_long(
    name: str, blocks: Iterable[_ColumnBlock], at: int, series: int, value: int, builder: PageBuilder
) -> None:
    known: dict[str, int] = {}
    keys: list[Labels] = []
    for block in blocks:
        names = block.columns[series]
        for text in dict.fromkeys(names):
            if text not in known:
                try:
                    keys.append(builder.series_key(*parse_series(text)))
                except ValueError as error:
                    raise HistoryError(f"{name}:{block.lines[names.index(text)]}: {error}") from None
                known[text] = len(keys) - 1
        t = _parse_times(name, block, at)
        try:
            v = np.array(list(map(float, block.columns[value])), np.float64)
        except ValueError:
            v = _to_floats(
                [
                    _parse_value(name, line, text.strip())
                    for line, text in zip(block.lines, block.columns[value], strict=True)
                ]
            )
        which = np.array([known[text] for text in names], np.intp)
        order = np.argsort(which, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(which[order])) + 1) if order.size else ():
            builder.add(keys[which[rows[0]]], t[rows], v[rows])


def _parse_times(name: str, block: _ColumnBlock, at: int) -> Ints:
    """As `parse_time` reads them."""
    cells = block.columns[at]
    try:
        numbers = np.array(list(map(float, cells)), np.float64)
    except ValueError:
        if (stamps := _parse_utc_times(cells)) is not None:
            return stamps
    else:
        if (np.abs(numbers) < 1e15).all():
            return np.rint(np.where(np.abs(numbers) >= MIN_EPOCH_MS, numbers, numbers * 1_000)).astype(np.int64)
    times = []
    for line, text in zip(block.lines, cells, strict=True):
        try:
            times.append(parse_time(text))
        except ValueError as error:
            raise HistoryError(f"{name}:{line}: {error}") from None
    return np.array(times, np.int64)


def _parse_utc_times(cells: list[str]) -> Ints | None:
    """Times that all read like 2026-01-31T12:00:00Z, with or without milliseconds; None when they do not."""
    pattern = _UTC_PATTERN if len(cells[0]) == len(_UTC_PATTERN) else _UTC_PATTERN[:19] + "Z"
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


def _parse_cells(name: str, block: _ColumnBlock, column: int) -> tuple[np.ndarray | None, Floats]:
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
            said.append(_parse_value(name, block.lines[place], text))
    return np.array(places, np.intp), _to_floats(said)


_STALE_PLACEHOLDER = -sys.float_info.max
"""Stands in for the stale marker, whose bits a Python float need not keep."""


def _parse_value(name: str, line: int, text: str) -> float:
    if text.lower() == _STALE_CELL:
        return _STALE_PLACEHOLDER
    try:
        return float(text)
    except ValueError:
        raise HistoryError(
            f"{name}:{line}: {text!r} is no number — leave the cell empty where nothing was measured"
        ) from None


def _to_floats(values: list[float]) -> Floats:
    v = np.array(values, np.float64)
    return np.where(v == _STALE_PLACEHOLDER, STALE, v)
