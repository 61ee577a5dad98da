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
from watchdog.offline.init.kpis import is_recognised
from watchdog.offline.init.pace import usual_gap
from watchdog.sources.json_path import to_number
from watchdog.sources.timestamps import parse_timestamp

_MAX_TABLES = 30
_LIMIT_SECONDS = 5.0
_PROGRESS_STEPS = 10_000
_NEWEST_ROWS = 30
_GAIN_COLUMNS = ("close_profit_abs", "close_profit", *GAIN_NAMES)
"""What a trade brought; where it is closed and where it still runs have columns of their own, the first is meant."""
_CLOSED_COLUMNS = ("close_date", "closed_at", "close_time", "exit_time", "exit_date")
_EVENTS = re.compile(
    r"(?i)(.*[_-])?(orders?|fills?|executions?|transactions?|trades?|deals?|locks?|pairlocks|events?|logs?|migrations?|sessions?|users?|candles?|klines?|ohlcv|ticks?|quotes?)"
)
"""Tables whose newest row says what happened last, not how the bot is doing."""
Cell = str | int | float | None


class Table(NamedTuple):
    name: str
    columns: list[str]
    newest: list[list[Cell]]
    """The rows that were inserted last, the newest first, a cell a column."""
    has_row_ids: bool = True


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
    has_row_ids = True
    try:
        cursor = database.execute(f"SELECT * FROM {quote_name(name)} ORDER BY rowid DESC LIMIT {_NEWEST_ROWS}")  # noqa: S608 - quoted
    except sqlite3.OperationalError:
        cursor = database.execute(f"SELECT * FROM {quote_name(name)} LIMIT 1")  # noqa: S608 - quoted
        has_row_ids = False
    rows = [[None if isinstance(cell, bytes) else cell for cell in row] for row in cursor.fetchall()]
    return Table(name, [each[0] for each in cursor.description], rows, has_row_ids)


def draft_database(path: Path) -> tuple[list[dict[str, Any]], float | None]:
    """`queries` of an `sql` entry, and how many s lie between two rows of the slowest table whose newest row is read. Raises
    ActionError."""
    tables: list[Table] = call_owner(path.parent, None, read_tables, path)
    queries: list[dict[str, Any]] = []
    gaps: list[float] = []
    taken: set[str] = set()
    for table in tables:
        if len(taken) >= MAX_VALUES:
            break
        drafted = _draft_table(table, taken)
        queries += drafted
        # A table of which nothing is judged is read as often as the others, however seldom something is written there.
        for at in (each["time"] for each in drafted if "time" in each and any(map(is_recognised, each["values"]))):
            cells = [row[table.columns.index(at)] for row in table.newest]
            times = [found / 1_000 for cell in cells if (found := parse_timestamp(cell, 1 << 52)) is not None]
            gaps += [gap] if (gap := usual_gap(times)) is not None else []
    return queries, max(gaps, default=None)


def _draft_table(table: Table, taken: set[str]) -> list[dict[str, Any]]:
    row = dict(zip(table.columns, table.newest[0], strict=False)) if table.newest else dict.fromkeys(table.columns)
    at = next((name for name in TIME_NAMES if is_time(row.get(name))), None)
    at = at or next((name for name, cell in row.items() if looks_like_time(name, cell)), None)
    gain = next((name for name in _GAIN_COLUMNS if name in row), None)
    queries = []
    if gain is not None:
        queries += _draft_trades(table, gain, taken)
    elif at is not None and (values := _draft_values(table, row, at, taken)):
        selected = ", ".join(map(quote_name, [*values.values(), at]))
        query = f"SELECT {selected} FROM {quote_name(table.name)} ORDER BY {quote_name(at)} DESC LIMIT 1"  # noqa: S608 - quoted
        queries.append({"query": query, "values": values, "time": at})
    return queries


def _draft_trades(table: Table, gain: str, taken: set[str]) -> list[dict[str, Any]]:
    """How many were won and lost, since the first of them; how many were lost in a row; how many are open."""
    column = quote_name(gain)
    query = (
        f"SELECT coalesce(sum({column} > 0), 0) AS won, coalesce(sum({column} < 0), 0) AS lost "  # noqa: S608 - quoted
        f"FROM {quote_name(table.name)}"
    )
    won = metric_name(table.name if table.name.endswith("s") else f"{table.name}s", "won_total", taken=taken)
    lost = won.replace("won", "lost")
    taken |= {won, lost}
    values = {won: "won", lost: "lost"}
    if "is_open" in table.columns:
        query = query.replace(" FROM ", ", coalesce(sum(is_open), 0) AS open_now FROM ")
        opened = metric_name("open", won.removesuffix("_won_total"), taken=taken)
        taken.add(opened)
        values[opened] = "open_now"
    queries: list[dict[str, Any]] = [{"query": query, "values": values}]
    order = next((name for name in _CLOSED_COLUMNS if name in table.columns), "rowid" if table.has_row_ids else None)
    if order is not None and "losing_streak" not in taken:
        taken.add("losing_streak")
        at, source = quote_name(order), quote_name(table.name)
        query = (
            f"SELECT count(*) AS streak FROM {source} WHERE {column} < 0 "  # noqa: S608 - quoted
            f"AND coalesce({at} > (SELECT max({at}) FROM {source} WHERE {column} > 0), 1)"
        )
        queries.append({"query": query, "values": {"losing_streak": "streak"}})
    return queries


def _draft_values(table: Table, row: Mapping[str, Cell], at: str, taken: set[str]) -> dict[str, str]:
    """Metric → column, of what is a number in the newest row."""
    values: dict[str, str] = {}
    for column, cell in row.items():
        if column == at or is_id(column) or to_number(cell) is None or looks_like_time(column, cell):
            continue
        name = metric_name(column)
        if _EVENTS.fullmatch(table.name) and not is_recognised(name):
            continue
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
