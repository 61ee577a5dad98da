"""What can be read of a database that a bot keeps."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from watchdog.core.errors import ActionError
from watchdog.host.owned_path import call_owner
from watchdog.offline.init.draft import MAX_VALUES, metric_name
from watchdog.offline.init.json_drafts import GAIN_NAMES, TIME_NAMES, is_id, is_time, looks_like_time
from watchdog.sources.json_path import to_number

_MAX_TABLES = 30
_LIMIT_SECONDS = 5.0
_PROGRESS_STEPS = 10_000
Cell = str | int | float | None


class Table(NamedTuple):
    name: str
    columns: list[str]
    newest: list[Cell]
    """The row that was inserted last, a cell a column; empty: it has no row."""


def read_tables(path: Path) -> list[Table]:
    """For who may read the database. Raises ActionError."""
    ends = time.monotonic() + _LIMIT_SECONDS
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=_LIMIT_SECONDS)) as database:
            database.execute("PRAGMA query_only = 1")
            database.set_progress_handler(lambda: int(time.monotonic() > ends), _PROGRESS_STEPS)
            names = database.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name LIMIT ?",
                (_MAX_TABLES,),
            )
            return [_read_table(database, name) for (name,) in names.fetchall()]
    except sqlite3.Error as problem:
        raise ActionError(f"{path} cannot be read as a database: {problem}") from None


def _read_table(database: sqlite3.Connection, name: str) -> Table:
    try:
        cursor = database.execute(f"SELECT * FROM {quote_name(name)} ORDER BY rowid DESC LIMIT 1")  # noqa: S608 - quoted
    except sqlite3.OperationalError:  # a table without row ids
        cursor = database.execute(f"SELECT * FROM {quote_name(name)} LIMIT 1")  # noqa: S608 - quoted
    row = cursor.fetchone()
    columns = [each[0] for each in cursor.description]
    return Table(name, columns, [] if row is None else [None if isinstance(cell, bytes) else cell for cell in row])


def draft_database(path: Path) -> list[dict[str, Any]]:
    """`queries` of an `sql` entry. Raises ActionError."""
    tables: list[Table] = call_owner(path.parent, None, read_tables, path)
    queries: list[dict[str, Any]] = []
    taken: set[str] = set()
    for table in tables:
        if len(taken) < MAX_VALUES:
            queries += _draft_table(table, taken)
    return queries


def _draft_table(table: Table, taken: set[str]) -> list[dict[str, Any]]:
    row = dict(zip(table.columns, table.newest, strict=False))
    at = next((name for name in TIME_NAMES if is_time(row.get(name))), None)
    at = at or next((name for name, cell in row.items() if looks_like_time(name, cell)), None)
    gain = next((name for name in GAIN_NAMES if name in row), None)
    queries = []
    if gain is not None:
        queries.append(_draft_trades(table, gain, taken))
    elif at is not None and (values := _draft_values(table, row, at, taken)):
        selected = ", ".join(map(quote_name, [*values.values(), at]))
        query = f"SELECT {selected} FROM {quote_name(table.name)} ORDER BY {quote_name(at)} DESC LIMIT 1"  # noqa: S608 - quoted
        queries.append({"query": query, "values": values, "time": at})
    return queries


def _draft_trades(table: Table, gain: str, taken: set[str]) -> dict[str, Any]:
    """How many were won and lost, since the first of them."""
    column = quote_name(gain)
    query = (
        f"SELECT coalesce(sum({column} > 0), 0) AS won, coalesce(sum({column} < 0), 0) AS lost "  # noqa: S608 - quoted
        f"FROM {quote_name(table.name)}"
    )
    won = metric_name(table.name if table.name.endswith("s") else f"{table.name}s", "won_total", taken=taken)
    lost = won.replace("won", "lost")
    taken |= {won, lost}
    return {"query": query, "values": {won: "won", lost: "lost"}}


def _draft_values(table: Table, row: Mapping[str, Cell], at: str, taken: set[str]) -> dict[str, str]:
    """Metric → column, of what is a number in the newest row."""
    values: dict[str, str] = {}
    for column, cell in row.items():
        if column == at or is_id(column) or to_number(cell) is None or looks_like_time(column, cell):
            continue
        name = metric_name(column)
        if name in taken:
            name = metric_name(table.name, column, taken=taken)
        taken.add(name)
        values[name] = column
    return values


def quote_name(name: str) -> str:
    """A name of a table or a column, as SQL has it: plain where it is a word."""
    words: Sequence[str] = name.split("_")
    if all(word.isascii() and word.isalnum() for word in words) and name[0].isalpha() and not _KEYWORDS.fullmatch(name):
        return name
    return '"' + name.replace('"', '""') + '"'


_KEYWORDS = re.compile(
    "ALL|AND|AS|ASC|BETWEEN|BY|CASE|CHECK|COLUMN|CREATE|DEFAULT|DELETE|DESC|DISTINCT|DROP|ELSE|END|EXISTS|FROM|GROUP|HAVING|IN|"
    "INDEX|INSERT|INTO|IS|JOIN|KEY|LIKE|LIMIT|NOT|NULL|ON|OR|ORDER|PRIMARY|REFERENCES|SELECT|SET|TABLE|THEN|TO|TRANSACTION|"
    "TRIGGER|UNION|UNIQUE|UPDATE|USING|VALUES|VIEW|WHEN|WHERE|WITH",
    re.IGNORECASE,
)
