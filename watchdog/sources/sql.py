"""A database: rows of queries as samples."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal, TypeVar
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, Field, field_validator, model_validator

from watchdog.core.errors import SourceError, install_command
from watchdog.core.model import ConfigModel, FilePath, FrozenList, Millis, Sample, SecretFile
from watchdog.core.protocols import Match, SourceCache, SourceState
from watchdog.core.schedule import Zone
from watchdog.core.target import Target
from watchdog.host.owned_path import owner_of
from watchdog.net import secrets
from watchdog.net.address import redact_url
from watchdog.net.deadline import Deadline
from watchdog.sources import sql_rows
from watchdog.sources.interval import Interval
from watchdog.sources.owner_files import ask_owner
from watchdog.sources.series_limits import REFUSED_FACTOR
from watchdog.sources.source_model import LabelName, MetricName, SourceModel
from watchdog.sources.sql_rows import QuerySpec, ReadLimits, Table
from watchdog.sources.sql_session import Session, query_server

T = TypeVar("T")

_SCHEME = re.compile(r"([a-z][a-z0-9]*)(\+[a-z0-9_]+)?://")
_POSTGRES = ("postgresql://", "postgres://", "postgresql+psycopg://")
_COMMENT = re.compile(r"\s+|--[^\n]*\n?|/\*.*?\*/|\(", re.DOTALL)
_FIRST_WORDS = ("SELECT", "WITH", "VALUES", "TABLE", "SHOW", "PRAGMA")
_MAX_QUERY = 20_000
"""Characters."""
_PASSWORD_CURE = (
    "an address is shown in logs and in the journal — write the password into a file and name it: password_file"  # noqa: S105
)


def _validate_query(text: str) -> str:
    if len(text) > _MAX_QUERY or "\0" in text:
        raise ValueError(f"a query is a text of at most {_MAX_QUERY} characters")
    place = 0
    while skipped := _COMMENT.match(text, place):
        place = skipped.end()
    if not re.match(rf"({'|'.join(_FIRST_WORDS)})\b", text[place:], re.IGNORECASE):
        raise ValueError("a query only reads — it begins with SELECT, WITH or VALUES")
    return text


Query = Annotated[str, AfterValidator(_validate_query)]
ColumnName = Annotated[str, Field(min_length=1, max_length=200)]


class SqlQuery(ConfigModel):
    """One query, and what its columns are."""

    query: Query
    """One SELECT, as the database understands it."""
    values: dict[MetricName, ColumnName] = Field(min_length=1)
    """Metric → column with its number. Each row makes a sample of each; NULL makes none."""
    labels: FrozenList[LabelName] | dict[LabelName, ColumnName] = ()
    """Columns that become labels: a list of their names, or label → column. NULL makes none."""
    time: ColumnName | None = None
    """Column with the time of the row. Not said: the time of the read."""

    def spec(self) -> QuerySpec:
        labels = self.labels if isinstance(self.labels, Mapping) else {name: name for name in self.labels}
        return QuerySpec(self.query, dict(self.values), dict(labels), self.time)


class SqlSource(SourceModel):
    """Queries to a database: SQLite, PostgreSQL, or another that SQLAlchemy knows. Nothing is ever written."""

    reads_needed: ClassVar[int] = 1

    type: Literal["sql"]
    file: FilePath | None = None
    """A SQLite file. Read beside its writer; nothing beside it is made or removed."""
    user: str | None = None
    """As whom the file is read; when not said, the owner of its folder."""
    url: str | None = None
    """Address of a server, as SQLAlchemy writes them, without a password: `postgresql://bot@db/trades`."""
    password_file: SecretFile | None = None
    """File with the password; read whenever a connection is made."""
    every: Interval = 10_000
    """Time from one read to the next."""
    timeout: Interval = 5_000
    """Most time one read may take in all: connecting, and every query."""
    max_bytes: int = Field(10 * 2**20, ge=1)
    """Most bytes of all rows of a read. More are refused whole."""
    zone: Zone = "UTC"
    """Time zone of times that name none."""
    queries: FrozenList[SqlQuery] = Field(min_length=1, max_length=100)
    """What is asked; all of it sees the database at one moment."""

    @field_validator("url")
    @classmethod
    def _validate_url(cls, url: str | None) -> str | None:
        return None if url is None else _check_url(url)

    @model_validator(mode="after")
    def _validate_database(self) -> SqlSource:
        if (self.file is None) is (self.url is None):
            raise ValueError("say exactly one of file and url")
        if self._sqlite_path is not None and self.password_file is not None:
            raise ValueError("a SQLite file has no password — leave password_file out")
        if self._sqlite_path is None and self.user is not None:
            raise ValueError(
                "user says as whom a file is read — the server's user stands in the url: postgresql://bot@db/trades"
            )
        return self

    @property
    def deadline(self) -> Millis:
        """A read ends by itself, but for the looking up of a name."""
        return self.timeout

    @property
    def identity(self) -> str:
        return self._place

    @property
    def _sqlite_path(self) -> Path | None:
        if self.file is not None:
            return Path(self.file)
        return _sqlite_path(self.url or "")

    @property
    def _place(self) -> str:
        return str(self._sqlite_path or redact_url(self.url or ""))

    def owner(self) -> Target:
        """As whom it is read, see `core.protocols.OwnedSource`."""
        return Target() if (path := self._sqlite_path) is None else owner_of(path.parent, self.user)

    def read(self, state: SourceState, cache: SourceCache, now: Millis) -> list[Sample]:  # noqa: ARG002
        """A sample for each number of each row, or SourceError and none. Cache: the connection to a server."""
        from watchdog.sources.sql_file import query_sqlite

        return self._ask(cache, query_sqlite, sql_rows.to_samples, now)

    def explain(self, now: Millis) -> Sequence[Match]:
        from watchdog.sources.sql_file import explain_sqlite

        cache = SourceCache()
        try:
            return self._ask(cache, explain_sqlite, sql_rows.explain, now)
        finally:
            if (session := cache.get("session")) is not None:
                session.close()

    def _ask(
        self,
        cache: SourceCache,
        of_file: Callable[[Path, tuple[QuerySpec, ...], ReadLimits, str, Millis], list[T]],
        of_tables: Callable[[Sequence[QuerySpec], Sequence[Table], str, Millis], list[T]],
        now: Millis,
    ) -> list[T]:
        queries = tuple(query.spec() for query in self.queries)
        limits = ReadLimits(self.timeout, REFUSED_FACTOR * self.max_series, self.max_bytes)
        try:
            if (path := self._sqlite_path) is not None:
                asked = (path, queries, limits, self.zone, now)
                missing = "there is no such folder — mend the path"
                found: list[T] = ask_owner(
                    path.parent, self.user, of_file, *asked, missing=missing, cure="mend the path, or user"
                )
                return found
            return of_tables(queries, query_server(self._open_session, cache, queries, limits), self.zone, now)
        except SourceError as error:
            raise SourceError(f"{self._place}: {error}") from None

    def _open_session(self, deadline: Deadline) -> Session:
        url, password = self.url or "", None
        if self.password_file is not None:
            try:
                password = secrets.read_secret(self.password_file, "password_file").strip("\r\n")
            except secrets.SecretError as error:
                raise SourceError(str(error)) from None
            if not password:
                raise SourceError(f"password_file {self.password_file} is empty — write the password into it")
        if url.startswith(_POSTGRES):
            from watchdog.sources.sql_postgres import PostgresSession

            return PostgresSession.open(url, password, deadline)
        from watchdog.sources.sql_alchemy import AlchemySession

        return AlchemySession.open(url, password, deadline)


def _check_url(url: str) -> str:
    """Raises ValueError, which never quotes it: a secret may stand in it."""
    try:
        parts = urlsplit(url)
        well = _SCHEME.match(url) is not None and url.isprintable() and " " not in url and parts.port != 0
    except ValueError:
        well = False
    if not well:
        raise ValueError("an address of a database reads like postgresql://bot@db:5432/trades — mend it")
    if parts.password is not None or any(
        "password" in key.lower() or key.lower() == "pwd" for key, _ in parse_qsl(parts.query)
    ):
        raise ValueError(_PASSWORD_CURE)
    if url.startswith("sqlite"):
        if _sqlite_path(url) is None:
            raise ValueError(
                "a SQLite address reads like sqlite:////var/lib/bot/trades.sqlite — else say file: trades.sqlite"
            )
        return url
    for module, package in _packages(url):
        if importlib.util.find_spec(module) is None:
            raise ValueError(f"the package {module} is missing — {install_command(package)}")
    if url.startswith(_POSTGRES):
        from watchdog.sources.sql_postgres import settings_of

        settings_of(url)  # raises
    return url


def _packages(url: str) -> tuple[tuple[str, str], ...]:
    """Modules that such an address needs, and what brings them."""
    if url.startswith(_POSTGRES):
        return (("psycopg", "'psycopg[binary]'"),)
    return (("sqlalchemy", "'sqlalchemy>=2'"),)


def _sqlite_path(url: str) -> Path | None:
    """The file that an address of SQLite's names by its full path, and nothing else."""
    found = re.fullmatch(r"sqlite(\+[a-z0-9_]+)?:///(/[^?#]+)", url)
    return None if found is None else Path(found[2])
