"""Any other database that SQLAlchemy knows, by whatever driver its address names.

What holds for all of them: one connection, one transaction that is rolled back, so many rows and bytes. That nothing can be
written, and that a query ends in time, is for the server to see to: it is told so where we know how.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from watchdog.core.errors import SourceError, install_command
from watchdog.core.text import shorten
from watchdog.core.units import format_duration
from watchdog.net import secrets
from watchdog.net.deadline import Deadline
from watchdog.sources.sql_rows import Budget, QuerySpec, ReadLimits, Table
from watchdog.sources.sql_session import ConnectionLostError

if TYPE_CHECKING:
    import sqlalchemy

_BATCH = 100
_OPTIONS = {"no_parameters": True, "stream_results": True, "max_row_buffer": _BATCH}
"""Of a query, in which a % is no parameter."""
_DRIVER_TIMEOUTS = {
    "pymysql": ("connect_timeout", "read_timeout", "write_timeout"),
    "mysqldb": ("connect_timeout", "read_timeout", "write_timeout"),
    "mysqlconnector": ("connection_timeout",),
    "asyncmy": ("connect_timeout",),
    "pymssql": ("login_timeout", "timeout"),
    "pyodbc": ("timeout",),
}
"""What each driver calls the seconds that it waits for a server."""
_TIMED_OUT = ("timeout", "timed out", "max_statement_time", "maximum statement execution time")


class AlchemySession:
    def __init__(self, connection: sqlalchemy.Connection, *hidden: str) -> None:
        """`hidden`: secrets, which no error may show."""
        self._connection = connection
        self._hidden = hidden
        self._closer = weakref.finalize(self, _close, connection)

    @classmethod
    def open(cls, url: str, password: str | None, deadline: Deadline) -> AlchemySession:
        """Raises SourceError."""
        import sqlalchemy
        from sqlalchemy import exc

        hidden = () if password is None else (password,)
        try:
            address = sqlalchemy.make_url(url)
            if password is not None:
                address = address.set(password=password)
            seconds = max(1, math.ceil(deadline.remaining()))
            timeouts = dict.fromkeys(_DRIVER_TIMEOUTS.get(address.get_driver_name(), ()), seconds)
            engine = sqlalchemy.create_engine(address, poolclass=sqlalchemy.NullPool, connect_args=timeouts)
            return cls(engine.connect(), *hidden)
        except exc.NoSuchModuleError:
            kind = shorten(url.partition("://")[0], 40)
            raise SourceError(f"SQLAlchemy knows no database {kind} — install the package of its dialect") from None
        except ModuleNotFoundError as missing:
            package = missing.name or "of the driver"
            raise SourceError(f"the package {package} is missing — {install_command(package)}") from None
        except exc.SQLAlchemyError as problem:
            said = _words_of(problem, hidden)
            raise SourceError(f"no connection: {said} — start the server, or mend the url and password_file") from None
        except (OSError, ValueError, TypeError) as problem:
            said = secrets.redact(str(problem), *hidden)
            raise SourceError(f"no connection: {said} — mend the url") from None

    def query(self, queries: Sequence[QuerySpec], limits: ReadLimits, deadline: Deadline) -> list[Table]:
        from sqlalchemy import exc

        tables, budget = list[Table](), Budget(limits)
        try:
            try:
                for statement in self._first_statements(deadline):
                    self._connection.exec_driver_sql(statement)
                for query in queries:
                    tables.append(self._query_one(query, budget))
                    deadline.remaining()
            finally:
                self._connection.rollback()
        except (exc.SQLAlchemyError, OSError, ValueError) as problem:
            raise self._explain(problem, len(tables) + 1, deadline) from None
        return tables

    def _first_statements(self, deadline: Deadline) -> list[str]:
        """By which the server itself holds us to reading, and to the time."""
        dialect, left = self._connection.dialect, max(1, deadline.milliseconds_left())
        if dialect.name in ("mysql", "mariadb"):
            limit = (
                f"SET SESSION max_statement_time = {left / 1_000:.3f}"
                if getattr(dialect, "is_mariadb", False)
                else f"SET SESSION max_execution_time = {left}"
            )
            return [limit, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"]
        if dialect.name == "postgresql":
            read_only = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"
            return [read_only, f"SELECT set_config('statement_timeout', '{left}', true)"]
        return []

    def _query_one(self, query: QuerySpec, budget: Budget) -> Table:
        with self._connection.exec_driver_sql(query.query, execution_options=_OPTIONS) as result:
            if not result.returns_rows:
                return Table((), [])
            rows: list[tuple[Any, ...]] = []
            while batch := result.fetchmany(_BATCH):
                rows += budget.take(batch)
            return Table(tuple(result.keys()), rows)

    def _explain(self, problem: Exception, number: int, deadline: Deadline) -> SourceError:
        from sqlalchemy import exc

        said = _words_of(problem, self._hidden)
        slow = (
            f"query {number} did not end within {format_duration(deadline.total)} — an index helps, or fewer rows, or "
            "a longer timeout"
        )
        if not deadline.milliseconds_left():
            return ConnectionLostError(slow)
        if self._connection.invalidated or (isinstance(problem, exc.DBAPIError) and problem.connection_invalidated):
            return ConnectionLostError(f"the connection ended: {said} — the server's log says why")
        if any(words in said.lower() for words in _TIMED_OUT):
            return SourceError(slow)
        return SourceError(f"query {number} fails: {said} — mend the query; it is one SELECT, and its user may read it")

    def close(self) -> None:
        self._closer()


def _close(connection: sqlalchemy.Connection) -> None:
    with suppress(Exception):  # of a server that is gone, whatever its driver makes of that
        connection.close()


def _words_of(problem: Exception, hidden: Sequence[str]) -> str:
    """What the driver itself said: SQLAlchemy adds the statement, its parameters, and an address."""
    original = getattr(problem, "orig", None) or problem
    last = original.args[-1] if original.args else ""
    text = last if isinstance(last, str) else str(original)
    return shorten(secrets.redact(text.partition("\n")[0], *hidden), 250)
