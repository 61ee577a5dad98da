"""What queries answered: rows as samples, and which columns a person could have meant. The same for every database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from watchdog.core.errors import SourceError
from watchdog.core.model import Labels, Millis, Sample
from watchdog.core.protocols import Match
from watchdog.core.text import shorten
from watchdog.core.units import format_value
from watchdog.sources.json_path import to_label, to_number
from watchdog.sources.timestamps import parse_timestamp

_MAX_CELL = 60
"""Characters of a cell that is shown."""
_MAX_SHOWN = 3
_MAX_COLUMNS = 12


class QuerySpec(NamedTuple):
    """One query of an entry, as it travels to whoever asks it."""

    query: str
    values: dict[str, str]
    """Metric → column."""
    labels: dict[str, str]
    """Label → column."""
    time: str | None
    """The column with the time of the row."""

    def columns(self) -> dict[str, str]:
        """Key in the entry → column."""
        named = {f"values.{metric}": column for metric, column in self.values.items()}
        named |= {f"labels.{label}": column for label, column in self.labels.items()}
        return named if self.time is None else {**named, "time": self.time}


class ReadLimits(NamedTuple):
    """What all queries of one read may take together."""

    timeout: Millis
    max_rows: int
    max_bytes: int


class Table(NamedTuple):
    """What one query answered."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


class Budget:
    """What is left of the limits while rows come in."""

    def __init__(self, limits: ReadLimits) -> None:
        self._limits = limits
        self._rows, self._bytes = limits.max_rows, limits.max_bytes

    def take(self, rows: Iterable[Sequence[Any]]) -> list[tuple[Any, ...]]:
        """These rows. Raises SourceError when they are too many, or too large."""
        taken = []
        for row in rows:
            self._rows -= 1
            if self._rows < 0:
                raise SourceError(
                    f"there are more than {self._limits.max_rows} rows — count or sum in the query (GROUP BY, LIMIT), or "
                    "raise max_series, of which four times as many are read"
                )
            self._bytes -= sum(8 if isinstance(cell, int | float) or cell is None else _size(cell) for cell in row)
            if self._bytes < 0:
                raise rows_too_large_error(self._limits.max_bytes)
            taken.append(tuple(row))
        return taken


def rows_too_large_error(max_bytes: int) -> SourceError:
    return SourceError(
        f"the rows are larger than {format_value(max_bytes, 'bytes')} — name the columns that are needed instead of *, or "
        "raise max_bytes"
    )


def _size(cell: Any) -> int:
    if isinstance(cell, str | bytes | bytearray | memoryview):
        return len(cell)
    if isinstance(cell, Mapping):
        return sum(_size(each) for pair in cell.items() for each in pair)
    return sum(map(_size, cell)) if isinstance(cell, list | tuple) else 32


def to_samples(queries: Sequence[QuerySpec], tables: Sequence[Table], zone: str, now: Millis) -> list[Sample]:
    """A sample for each value of each row. Raises SourceError, also when there is none."""
    found: dict[tuple[str, Labels], Sample] = {}
    for number, (query, table) in enumerate(zip(queries, tables, strict=True), 1):
        places = {column: _find_column(table, column, number) for column in query.columns().values()}
        for row in table.rows:
            t = now if query.time is None else to_time(row[places[query.time]], ZoneInfo(zone), now)
            if t is None:
                continue
            labels = _labels_of(query, row, places, number)
            for metric, column in query.values.items():
                value = to_value(row[places[column]])
                if value is None:
                    continue
                if (metric, labels) in found:
                    shown = ", ".join(f"{name}={shorten(text, _MAX_CELL)!r}" for name, text in labels)
                    raise SourceError(
                        f"query {number} says {metric} of {{{shown}}} a second time — GROUP BY, or LIMIT 1, leaves one row "
                        "for each; a column in labels tells rows apart"
                    )
                found[metric, labels] = Sample(metric, labels, t, value)
    if not found:
        raise SourceError(_describe_nothing(queries, tables))
    return list(found.values())


def _describe_nothing(queries: Sequence[QuerySpec], tables: Sequence[Table]) -> str:
    if not any(table.rows for table in tables):
        what = "the query found no row" if len(queries) == 1 else f"none of the {len(queries)} queries found a row"
        return f"{what} — has the bot written there yet, and is WHERE right?"
    columns = sorted({column for query in queries for column in query.values.values()})
    what = f"no row has a number in {shorten(', '.join(columns), 200)}"
    if all(query.time is None for query in queries):
        return f"{what} — name columns that hold numbers"
    return f"{what} and a time beside it — name columns that hold numbers, and times that can be read"


def _find_column(table: Table, column: str, number: int) -> int:
    if (count := table.columns.count(column)) == 1:
        return table.columns.index(column)
    if count:
        raise SourceError(f"query {number} has {count} columns {column} — name the one that is meant with AS")
    there = shorten(", ".join(table.columns[:_MAX_COLUMNS]) or "none", 200)
    near = _nearest(table, column)
    cure = f"did you mean {near[0]}?" if near else "name it so in the query with AS"
    raise SourceError(f"query {number} has no column {shorten(column, _MAX_CELL)}: it has {there} — {cure}")


def _nearest(table: Table, column: str) -> tuple[str, ...]:
    by_folded = {name.casefold(): name for name in table.columns}
    return tuple(by_folded[near] for near in get_close_matches(column.casefold(), by_folded, _MAX_SHOWN, 0.5))


def _labels_of(query: QuerySpec, row: tuple[Any, ...], places: Mapping[str, int], number: int) -> Labels:
    labels = []
    for label, column in query.labels.items():
        cell = row[places[column]]
        try:
            text = to_text(cell)
        except ValueError:
            raise SourceError(
                f"query {number} has a {type(cell).__name__} in the column {column}, which makes no label — CAST it to text"
            ) from None
        if text:
            labels.append((label, text))
    return tuple(sorted(labels))


def to_value(cell: Any) -> float | None:
    """A number, also one that is written as text; seconds of an interval. None for all else."""
    if isinstance(cell, Decimal):
        return to_number(float(cell)) if cell.is_finite() else None
    return to_number(cell.total_seconds() if isinstance(cell, timedelta) else cell)


def to_time(cell: Any, zone: ZoneInfo, now: Millis) -> Millis | None:
    """When a row was; `zone`: of what names none itself. None for what says no time."""
    if isinstance(cell, date):
        moment = cell if isinstance(cell, datetime) else datetime.combine(cell, time())
        try:
            return min(round((moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp() * 1_000), now)
        except (ValueError, OverflowError):
            return None
    if isinstance(cell, Decimal):
        cell = float(cell) if cell.is_finite() else None
    return parse_timestamp(cell, now, zone)


def to_text(cell: Any) -> str | None:
    """What stands in a label; None for NULL. Raises ValueError for what is no single value."""
    if cell is None:
        return None
    if isinstance(cell, Decimal | UUID | timedelta):
        return str(cell)
    if isinstance(cell, date | time):
        return cell.isoformat()
    if (text := to_label(cell)) is None:
        raise ValueError
    return text


def explain(queries: Sequence[QuerySpec], tables: Sequence[Table], zone: str, now: Millis) -> list[Match]:
    """Of each query a row of what it answers, and of each column that its entry names what stands there."""
    matches = []
    for number, (query, table) in enumerate(zip(queries, tables, strict=True)):
        example = [
            f"{shorten(name, _MAX_CELL)} = {_show(cell)}"
            for name, cell in zip(table.columns, table.rows[0] if table.rows else (), strict=False)
        ]
        key = f"queries[{number}]"
        why = "" if table.rows else f"no row, with the columns {shorten(', '.join(table.columns), 200)}"
        matches.append(Match(f"{key}.query", query.query, tuple(example), why=why))
        for name, column in query.columns().items():
            matches.append(_explain_column(f"{key}.{name}", column, table, ZoneInfo(zone), now))
    return matches


def _explain_column(key: str, column: str, table: Table, zone: ZoneInfo, now: Millis) -> Match:
    if (count := table.columns.count(column)) != 1:
        return Match(key, column, (), _nearest(table, column), f"{count} columns have that name" if count else "")
    place = table.columns.index(column)
    cells = [row[place] for row in table.rows]
    found = tuple(dict.fromkeys(_show(cell) for cell in cells[:100]))[:_MAX_SHOWN]
    part = key.split(".")[1]
    if part == "values":
        says, why = (to_value(cell) is not None for cell in cells), "no number"
    elif part == "time":
        says, why = (to_time(cell, zone, now) is not None for cell in cells), "no time"
    else:
        says, why = (cell is not None for cell in cells), "no label"
    return Match(key, column, found, why="" if any(says) or not cells else why)


def _show(cell: Any) -> str:
    if cell is None:
        return "NULL"
    if isinstance(cell, bytes | bytearray | memoryview):
        return f"{len(cell)} bytes"
    return shorten(cell if isinstance(cell, str) else str(cell), _MAX_CELL)
