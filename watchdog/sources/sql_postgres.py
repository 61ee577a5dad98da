"""PostgreSQL, asked by libpq: nothing is written, nothing is loaded that is too much, and no silence is waited out.

Each read is one transaction: READ ONLY, of one moment, with the server's own time limit, rolled back at its end. Each query is
the body of a cursor, which the server takes for one SELECT and nothing else.
"""

from __future__ import annotations

import os
import select
import socket
import weakref
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from watchdog.core.errors import SourceError
from watchdog.core.model import Millis
from watchdog.core.text import shorten
from watchdog.core.units import format_duration
from watchdog.net import secrets
from watchdog.net.deadline import Deadline
from watchdog.net.received import ReceivedBytes
from watchdog.sources.sql_rows import Budget, QuerySpec, ReadLimits, Table, rows_too_large_error
from watchdog.sources.sql_session import ConnectionLostError

if TYPE_CHECKING:
    import psycopg

_BATCH = 100
_WIRE_FACTOR, _WIRE_EXTRA = 4, 1 << 20
"""By how much more may come over the wire than rows are counted as: a number is written out, a byte as two."""
_SERVER_SHARE = 0.8
"""Of the time that is left: the server's own word that a query took too long is worth more than silence."""
_CURES = {
    "28": "mend the user in the url, and password_file",
    "3D": "mend the database's name in the url",
    "53": "the server has no room for one more; its log says more",
    "42501": "GRANT SELECT on it to the url's user",
    "42P01": "mend the table's name, or write its schema before it",
    "42703": "mend the column's name",
    "42601": "a query is one SELECT: mend it",
    "25006": "a query only reads: leave out what writes",
}
"""By SQLSTATE, or its class."""


class PostgresSession:
    def __init__(self, connection: psycopg.Connection[Any], *hidden: str) -> None:
        """`hidden`: secrets, which no error may show."""
        self._connection = connection
        self._hidden = hidden
        self._closer = weakref.finalize(self, connection.close)  # whoever throws the cache away closes nothing

    @classmethod
    def open(cls, url: str, password: str | None, deadline: Deadline) -> PostgresSession:
        """Raises SourceError."""
        import psycopg
        from psycopg import conninfo, pq

        hidden = () if password is None else (password,)
        try:
            settings = conninfo.conninfo_to_dict(f"postgresql://{url.partition('://')[2]}")
            settings = {"application_name": "trading-watchdog", **settings, "client_encoding": "UTF8"}
            if password is not None:
                settings["password"] = password
            text = conninfo.make_conninfo("", **settings)
        except psycopg.Error as problem:
            said = secrets.redact(str(problem), *hidden)
            raise SourceError(
                f"libpq cannot make out the url: {said} — it reads like postgresql://bot@db/trades"
            ) from None
        server = pq.PGconn.connect_start(text.encode())
        try:
            _wait_until_connected(server, deadline)
        except TimeoutError:
            server.finish()
            raise SourceError(_describe_silence(deadline)) from None
        except _RefusedError:
            said = secrets.redact(server.get_error_message().strip().partition("\n")[0], *hidden)
            server.finish()
            raise SourceError(f"no connection: {said} — {_cure_of_refusal(said)}") from None
        server.nonblocking = 1
        connection: psycopg.Connection[Any] = psycopg.Connection(server)
        connection.autocommit = True  # transactions are begun and ended here, by name
        connection.prepare_threshold = None  # a pooler between us and the server may not know what was prepared before
        return cls(connection, *hidden)

    def query(self, queries: Sequence[QuerySpec], limits: ReadLimits, deadline: Deadline) -> list[Table]:
        import psycopg

        tables, budget = list[Table](), Budget(limits)
        try:
            with _bounded(self._connection, limits.max_bytes, deadline):
                self._connection.execute("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                try:
                    for query in queries:
                        # The first of these takes the snapshot: then the transaction can no longer be made one that writes.
                        self._limit_time(deadline)
                        tables.append(self._query_one(query, budget))
                finally:
                    if not self._connection.closed:
                        self._connection.execute("ROLLBACK")
        except (psycopg.Error, OSError, ValueError, RecursionError) as problem:  # also of a cell that cannot be read
            raise self._explain(problem, len(tables) + 1, deadline) from None
        return tables

    def _limit_time(self, deadline: Deadline) -> None:
        left: Millis = max(1, round(deadline.milliseconds_left() * _SERVER_SHARE))
        # A cursor is planned for its first rows, unless it is said that all are wanted.
        settings = "SELECT set_config('statement_timeout', %s, true), set_config('cursor_tuple_fraction', '1', true)"
        self._connection.execute(settings, [str(left)])

    def _query_one(self, query: QuerySpec, budget: Budget) -> Table:
        with self._connection.cursor(name="watchdog") as cursor:
            cursor.execute(query.query.encode())
            columns = tuple(column.name for column in cursor.description or ())
            rows: list[tuple[Any, ...]] = []
            while batch := cursor.fetchmany(_BATCH):
                rows += budget.take(batch)
                if len(batch) < _BATCH:
                    break
            return Table(columns, rows)

    def _explain(self, problem: Exception, number: int, deadline: Deadline) -> SourceError:
        """What went wrong, in words that help. `number`: the query under way."""
        import psycopg

        if not deadline.milliseconds_left():
            return ConnectionLostError(_describe_silence(deadline))
        code = (problem.sqlstate or "") if isinstance(problem, psycopg.Error) else ""
        primary = problem.diag.message_primary if isinstance(problem, psycopg.Error) else None
        said = shorten(secrets.redact(primary or str(problem).partition("\n")[0], *self._hidden), 250)
        if self._connection.closed or self._connection.broken:
            return ConnectionLostError(f"the connection ended: {said or 'without a word'} — the server's log says why")
        if code == "57014":
            return SourceError(
                f"query {number} did not end within {format_duration(deadline.total)} — an index helps, or fewer rows, or "
                "a longer timeout"
            )
        cure = _CURES.get(code) or _CURES.get(code[:2]) or "mend the query"
        return SourceError(f"query {number} fails: {said} — {cure}")

    def close(self) -> None:
        self._closer()


class _RefusedError(Exception):
    """The server, or the way to it, does not want us."""


def _wait_until_connected(server: Any, deadline: Deadline) -> None:
    """psycopg's own waits two seconds at least for each address, and for each of them anew. Raises TimeoutError, _RefusedError."""
    from psycopg import pq

    while True:
        if server.status == pq.ConnStatus.BAD:
            raise _RefusedError
        state = server.connect_poll()
        if state == pq.PollingStatus.OK:
            return
        if state == pq.PollingStatus.FAILED:
            raise _RefusedError
        poll = select.poll()
        poll.register(server.socket, select.POLLIN if state == pq.PollingStatus.READING else select.POLLOUT)
        poll.poll(deadline.remaining() * 1_000)


@contextmanager
def _bounded(connection: psycopg.Connection[Any], max_bytes: int, deadline: Deadline) -> Iterator[None]:
    """Beyond what a read may take, in bytes or in time, the connection is closed.

    libpq makes room for a row as large as the server says it is, and for a whole batch of them; and a server that says
    nothing any more is waited for without end: psycopg wakes a wait ten times a second. Raises SourceError, TimeoutError.
    """
    most = _WIRE_FACTOR * max_bytes + _WIRE_EXTRA
    wait = connection.wait

    def watched(step: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        try:
            wanted = next(step)
            while True:
                ready = yield wanted
                if not deadline.milliseconds_left():
                    connection.close()
                    raise TimeoutError
                received.note_before_read()
                wanted = step.send(ready)
                received.note_read()
                if received.count > most:
                    connection.close()
                    raise rows_too_large_error(max_bytes)
        except StopIteration as end:
            return end.value

    with socket.socket(fileno=os.dup(connection.fileno())) as same:
        received = ReceivedBytes(same)
        connection.wait = lambda step, *args, **more: wait(watched(step), *args, **more)  # type: ignore[method-assign]
        try:
            yield
        finally:
            del connection.wait


def _describe_silence(deadline: Deadline) -> str:
    return (
        f"no answer within {format_duration(deadline.total)} — look whether the server is well, or say a longer timeout"
    )


def _cure_of_refusal(said: str) -> str:
    if any(words in said for words in ("authentication failed", "password", "pg_hba", "role ")):
        return _CURES["28"]
    return _CURES["3D"] if "database " in said else "start the server, or mend host and port in the url"


def settings_of(url: str) -> Mapping[str, str]:
    """What libpq makes of such a url. Raises ValueError, which quotes nothing of it."""
    import psycopg
    from psycopg import conninfo

    try:
        found = conninfo.conninfo_to_dict(f"postgresql://{url.partition('://')[2]}")
    except psycopg.Error:
        raise ValueError("libpq cannot make out the url — it reads like postgresql://bot@db/trades") from None
    return {key: str(value) for key, value in found.items()}
