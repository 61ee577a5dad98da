"""CSV → samples. Wide: a column of times, one column a series. Long: time, series, value."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator

import numpy as np

from watchdog.history.file import parse_series, parse_time, time_column
from watchdog.history.gather import Gathered, HistoryError
from watchdog.model import Labels, Millis
from watchdog.promql.pages import STALE

_STALE = "stale"
"""A cell that says: from here on the series is gone, as when a scrape fails."""


def read(name: str, lines: list[str], found: Gathered) -> None:
    """`name`: of the file, for errors. Raises HistoryError with file, line and cure."""
    rows = _rows(name, lines)
    _, header = next(rows, (1, []))
    at = time_column(header)
    if at is None:
        raise HistoryError(f"{name}:1: no column of times — the first line names one t, time or timestamp")
    columns = [column.strip().lower() for column in header]
    if "series" in columns and "value" in columns:
        _long(name, rows, at, columns.index("series"), columns.index("value"), len(header), found)
    else:
        _wide(name, rows, at, header, found)


def _rows(name: str, lines: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Rows with the number of their last line; empty ones left out."""
    reader = csv.reader(line + "\n" for line in lines)
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield reader.line_num, row
    except csv.Error as error:
        raise HistoryError(f"{name}:{reader.line_num}: {error} — check the quotes") from None


def _wide(name: str, rows: Iterator[tuple[int, list[str]]], at: int, header: list[str], found: Gathered) -> None:
    keys: dict[int, Labels] = {}
    for column, text in enumerate(header):
        if column != at:
            try:
                keys[column] = found.key(*parse_series(text))
            except ValueError as error:
                raise HistoryError(f"{name}:1: column {column + 1}: {error}") from None
    if len(set(keys.values())) < len(keys):
        raise HistoryError(f"{name}:1: two columns are the same series — rename or remove one")
    times: list[Millis] = []
    cells: dict[int, tuple[list[int], list[float]]] = {column: ([], []) for column in keys}
    for line, row in rows:
        if len(row) != len(header):
            raise HistoryError(f"{name}:{line}: has {len(row)} cells, the first line {len(header)} — is a comma missing?")
        times.append(_time(name, line, row[at]))
        for column, (places, values) in cells.items():
            if text := row[column].strip():
                places.append(len(times) - 1)
                values.append(_value(name, line, text))
    t = np.array(times, np.int64)
    for column, (places, values) in cells.items():
        found.add(keys[column], t[places], _floats(values), begin=int(t.min()) if t.size else None)


def _long(
    name: str, rows: Iterator[tuple[int, list[str]]], at: int, series: int, value: int, width: int, found: Gathered
) -> None:
    keys: dict[str, Labels] = {}
    points: dict[Labels, tuple[list[Millis], list[float]]] = {}
    for line, row in rows:
        if len(row) != width:
            cure = "put series with several labels in quotes, and double the quotes inside"
            raise HistoryError(f"{name}:{line}: has {len(row)} cells, the first line {width} — {cure}")
        text = row[series]
        if text not in keys:
            try:
                keys[text] = found.key(*parse_series(text))
            except ValueError as error:
                raise HistoryError(f"{name}:{line}: {error}") from None
        times, values = points.setdefault(keys[text], ([], []))
        times.append(_time(name, line, row[at]))
        values.append(_value(name, line, row[value].strip()))
    for key, (times, values) in points.items():
        found.add(key, np.array(times, np.int64), _floats(values))


def _time(name: str, line: int, text: str) -> Millis:
    try:
        return parse_time(text)
    except ValueError as error:
        raise HistoryError(f"{name}:{line}: {error}") from None


_GONE = -sys.float_info.max
"""Stands in for the stale marker, whose bits a Python float need not keep."""


def _value(name: str, line: int, text: str) -> float:
    if text.lower() == _STALE:
        return _GONE
    try:
        return float(text)
    except ValueError:
        raise HistoryError(f"{name}:{line}: {text!r} is no number — leave the cell empty where nothing was measured") from None


def _floats(values: list[float]) -> np.ndarray:
    v = np.array(values, np.float64)
    return np.where(v == _GONE, STALE, v)
