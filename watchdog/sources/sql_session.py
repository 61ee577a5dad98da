"""One connection to a database server, kept between reads: how it is made, used and replaced. The same for all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from watchdog.core.errors import SourceError
from watchdog.core.protocols import SourceCache
from watchdog.net.deadline import Deadline
from watchdog.sources.sql_rows import QuerySpec, ReadLimits, Table


class ConnectionLostError(SourceError):
    """Nothing is wrong with the queries: another connection may have an answer."""


class Session(Protocol):
    """A connection that is open, in no transaction."""

    def query(self, queries: Sequence[QuerySpec], limits: ReadLimits, deadline: Deadline) -> list[Table]:
        """What they answer, and nothing is changed by it. Raises SourceError; ConnectionLostError: it is of no use any more."""
        ...

    def close(self) -> None:
        """Also when it is lost."""
        ...


def query_server(
    open_session: Callable[[Deadline], Session], cache: SourceCache, queries: Sequence[QuerySpec], limits: ReadLimits
) -> list[Table]:
    """By the connection that is in the cache, or a new one, which is kept there. Raises SourceError.

    A kept one may have ended since, by a restart of the server or a firewall's clock: it is replaced, once.
    """
    deadline = Deadline.after(limits.timeout)
    kept: Session | None = cache.pop("session", None)
    if kept is not None:
        try:
            return _query_and_keep(kept, cache, queries, limits, deadline)
        except ConnectionLostError:
            if not deadline.milliseconds_left():
                raise
    return _query_and_keep(open_session(deadline), cache, queries, limits, deadline)


def _query_and_keep(
    session: Session, cache: SourceCache, queries: Sequence[QuerySpec], limits: ReadLimits, deadline: Deadline
) -> list[Table]:
    try:
        tables = session.query(queries, limits, deadline)
    except ConnectionLostError:
        session.close()
        raise
    except SourceError:
        cache["session"] = session
        raise
    cache["session"] = session
    return tables
