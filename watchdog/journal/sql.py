"""What the repositories need of a database: statements, whose errors are the journal's own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol


class Row(Protocol):
    """By position and by column."""

    def __getitem__(self, key: int | str, /) -> Any: ...

    def __iter__(self) -> Iterator[Any]: ...

    def keys(self) -> list[str]: ...


class SqlSession(Protocol):
    """An open database. Each call raises JournalError or JournalUnavailableError where it is the journal's fault."""

    def query(self, sql: str, *args: object) -> Sequence[Row]: ...

    def query_one(self, sql: str, *args: object) -> Row | None: ...

    def execute(self, sql: str, *args: object) -> None:
        """Only within a transaction."""

    def insert(self, sql: str, *args: object) -> int:
        """The id of the new row, which the statement returns. Only within a transaction."""
        ...

    def insert_once(self, sql: str, *args: object) -> int | None:
        """The same of a statement that leaves out what conflicts with a row that is there; None: it did."""
        ...

    def execute_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """Only within a transaction."""


class SqlRepository:
    """What is read, or what is written, of one subject."""

    def __init__(self, sql: SqlSession) -> None:
        self._sql = sql
