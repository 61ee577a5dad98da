"""Servers of databases: a real PostgreSQL, by our own connection and by SQLAlchemy's, and servers that are none."""

from __future__ import annotations

import contextlib
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.postgres import PASSWORD, Postgres, postgres
from watchdog.core.errors import SourceError
from watchdog.core.model import Sample
from watchdog.core.protocols import SourceCache
from watchdog.net.deadline import Deadline
from watchdog.sources import SqlSource
from watchdog.sources.sql_alchemy import AlchemySession
from watchdog.sources.sql_rows import QuerySpec, ReadLimits, Table

__all__ = ["postgres"]

NOW = 1_700_000_000_000
LONG_TIMEOUT = 60_000


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(f"{PASSWORD}\n")
    path.chmod(0o600)
    return path


Ask = Callable[..., list[Sample]]


@pytest.fixture
def ask(postgres: Postgres, password_file: Path) -> Iterator[Ask]:
    """Reads by one connection."""
    cache = SourceCache()

    def read(*queries: str | dict[str, Any], **fields: Any) -> list[Sample]:
        return make_source(postgres.url, password_file, *queries, **fields).read({}, cache, NOW)

    yield read
    close(cache)


def close(cache: SourceCache) -> None:
    if "session" in cache:
        cache["session"].close()


def make_source(url: str, password_file: Path | None, *queries: str | dict[str, Any], **fields: Any) -> SqlSource:
    """A query that is only a text says one number: `v`."""
    entries = [{"query": each, "values": {"v": "v"}} if isinstance(each, str) else each for each in queries]
    secret = {} if password_file is None else {"password_file": str(password_file)}
    return SqlSource.model_validate(
        {"type": "sql", "url": url, "timeout": LONG_TIMEOUT, "queries": entries, **secret, **fields}
    )


def error_of(ask: Ask, *queries: str | dict[str, Any], **fields: Any) -> str:
    with pytest.raises(SourceError) as caught:
        ask(*queries, **fields)
    said = str(caught.value)
    assert caught.value.__cause__ is None
    assert "\n" not in said
    assert PASSWORD not in said
    assert " — " in said
    return said


# ─ PostgreSQL: what is read ─


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("1.25::numeric", 1.25),
        ("9007199254740993::bigint", 9007199254740992.0),
        ("true", 1.0),
        ("'-1e3'::text", -1000.0),
        ("'1 min 500 ms'::interval", 60.5),
        ("2.5::real", 2.5),
    ],
)
def test_a_number_is_one_whatever_its_type(ask: Ask, cell: str, value: float) -> None:
    assert ask(f"SELECT {cell} AS v") == [Sample("v", (), NOW, value)]


def test_what_is_no_number_is_absent(ask: Ask) -> None:
    cells = ["NULL", "'NaN'::numeric", "'NaN'::float8", "'Infinity'::float8", "'{}'::json", "'x'::text", "ARRAY[1]"]
    query = {
        "query": "SELECT 5 AS v, " + ", ".join(f"{cell} AS n{number}" for number, cell in enumerate(cells)),
        "values": {"v": "v", **{f"n{number}": f"n{number}" for number in range(len(cells))}},
    }

    assert ask(query) == [Sample("v", (), NOW, 5.0)]


@pytest.mark.parametrize(
    ("cell", "t"),
    [
        ("'2023-11-14 22:56:40+01'::timestamptz", 1_699_999_000_000),
        ("'2023-11-14 22:56:40.5'::timestamp", 1_699_999_000_500),
        ("'2023-11-14'::date", 1_699_916_400_000),
        ("1699999000::numeric", 1_699_999_000_000),
        ("'2023-11-14 22:56:40'::text", 1_699_999_000_000),
        ("'2099-01-01'::date", NOW),
    ],
)
def test_times_of_every_type_are_read_in_the_zone_of_the_entry(ask: Ask, cell: str, t: int) -> None:
    query = {"query": f"SELECT 1 AS v, {cell} AS t", "values": {"v": "v"}, "time": "t"}

    assert ask(query, zone="Europe/Berlin") == [Sample("v", (), t, 1.0)]


def test_labels_of_every_type_are_text(ask: Ask) -> None:
    query = {
        "query": "SELECT 1 AS v, 'a%b'::text AS a, 1.50::numeric AS b, true AS c, '2023-11-14'::date AS d, NULL AS e, "
        "'12345678-1234-5678-1234-567812345678'::uuid AS f",
        "values": {"v": "v"},
        "labels": ["a", "b", "c", "d", "e", "f"],
    }

    (found,) = ask(query)
    assert dict(found.labels) == {
        "a": "a%b",
        "b": "1.50",
        "c": "true",
        "d": "2023-11-14",
        "f": "12345678-1234-5678-1234-567812345678",
    }
    made = {"query": "SELECT 1 AS v, '{\"a\": 1}'::json AS a", "values": {"v": "v"}, "labels": ["a"]}
    assert "a dict in the column a, which makes no label — CAST it to text" in error_of(ask, made)


def test_many_rows_are_fetched_and_too_many_are_not(ask: Ask) -> None:
    query = {"query": "SELECT g AS v, g AS g FROM generate_series(1, 350) AS g", "values": {"v": "v"}, "labels": ["g"]}

    assert [sample.v for sample in ask(query)] == list(range(1, 351))
    endless = "WITH RECURSIVE c(v) AS (SELECT 1 UNION ALL SELECT 1 - v FROM c) SELECT v FROM c"
    assert "more than 400 rows" in error_of(ask, endless, max_series=100)
    assert "larger than 50 KiB" in error_of(ask, "SELECT 1 AS v, repeat('x', 1000) FROM pg_attribute", max_bytes=51_200)


@pytest.mark.parametrize("by_socket", [False, True])
@pytest.mark.slow
def test_a_row_that_is_too_large_is_not_waited_for(postgres: Postgres, password_file: Path, by_socket: bool) -> None:
    url = f"postgresql://postgres@/trades?host={postgres.folder}&port={postgres.port}" if by_socket else postgres.url
    source = make_source(url, None if by_socket else password_file, HUGE, max_bytes=100_000)
    cache = SourceCache()
    make_source(url, None if by_socket else password_file, "SELECT 1 AS v").read({}, cache, NOW)

    for _ in range(2):
        with pytest.raises(SourceError, match=r"the rows are larger than 100,?000|the rows are larger than 97\.7 KiB"):
            source.read({}, cache, NOW)

    assert make_source(url, None if by_socket else password_file, "SELECT 1 AS v").read({}, cache, NOW)
    close(cache)
    ended = "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE application_name = 'trading-watchdog'"
    postgres.execute(ended)  # one may still be at work on its row


HUGE = "SELECT 1 AS v, repeat('x', 200000000) AS blob"


def test_json_that_is_nested_too_deeply_is_an_error_of_its_query(ask: Ask) -> None:
    said = error_of(ask, "SELECT 1 AS v, (repeat('[', 3000) || repeat(']', 3000))::json AS deep")

    assert "query 1 fails: maximum recursion depth exceeded" in said
    assert ask("SELECT 1 AS v")


def test_each_read_is_a_transaction_that_only_reads_at_one_moment_with_a_limit_of_the_servers(
    ask: Ask, postgres: Postgres
) -> None:
    settings = ["transaction_read_only", "transaction_isolation", "cursor_tuple_fraction", "application_name"]
    columns = ", ".join(f"current_setting('{name}') AS {name}" for name in settings)
    query = {
        "query": f"SELECT extract(epoch FROM current_setting('statement_timeout')::interval) AS v, {columns}",
        "values": {"v": "v"},
        "labels": settings,
    }
    (found,) = ask(query, timeout=10_000)

    assert dict(found.labels) == {
        "transaction_read_only": "on",
        "transaction_isolation": "repeatable read",
        "cursor_tuple_fraction": "1",
        "application_name": "trading-watchdog",
    }
    assert 1 < found.v <= 9
    with postgres.connect() as connection:
        states = connection.execute(
            "SELECT state FROM pg_stat_activity WHERE application_name = 'trading-watchdog'"
        ).fetchall()
    assert states == [("idle",)]


@pytest.mark.parametrize(
    "query",
    [
        "WITH x AS (INSERT INTO guarded VALUES (2) RETURNING a) SELECT a AS v FROM x",
        "WITH x AS (SELECT 1) DELETE FROM guarded",
        "SELECT 1 AS v; DELETE FROM guarded",
        "SELECT 1 AS v; COMMIT; DELETE FROM guarded",
        "SELECT add_to_guarded() AS v",
        "SELECT set_config('transaction_read_only', 'off', true) AS v",
        "SELECT nextval('guarded_number') AS v",
        "SELECT 1 AS v INTO copied",
        "SELECT a AS v FROM guarded FOR UPDATE",
        "SHOW server_version",
    ],
)
def test_a_query_that_does_more_than_read_is_refused_by_the_server(ask: Ask, postgres: Postgres, query: str) -> None:
    postgres.execute(
        "CREATE TABLE IF NOT EXISTS guarded(a int)",
        "TRUNCATE guarded",
        "INSERT INTO guarded VALUES (1)",
        "CREATE SEQUENCE IF NOT EXISTS guarded_number",
        "GRANT ALL ON guarded TO bot",
        "GRANT ALL ON guarded_number TO bot",
        "CREATE OR REPLACE FUNCTION add_to_guarded() RETURNS int LANGUAGE sql AS 'INSERT INTO guarded VALUES (3) RETURNING a'",
    )

    assert "query 1 fails: " in error_of(ask, query, "SELECT a AS v FROM guarded")
    with postgres.connect() as connection:
        assert connection.execute("SELECT a FROM guarded").fetchall() == [(1,)]
    assert ask("SELECT a AS v FROM guarded") == [Sample("v", (), NOW, 1.0)]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT v FROM nowhere", 'relation "nowhere" does not exist — mend the table\'s name'),
        ("SELECT nothing AS v", 'column "nothing" does not exist — mend the column\'s name'),
        ("SELECT FROM WHERE", "syntax error .* — a query is one SELECT"),
        ("SELECT 1 / 0 AS v", "division by zero — mend the query"),
        ("SELECT a AS v FROM hidden", "permission denied for table hidden — GRANT SELECT"),
        ("SELECT 'infinity'::timestamptz AS v", "timestamp too large .* — mend the query"),
    ],
)
def test_what_the_server_says_of_a_query_is_told_with_the_cure(
    ask: Ask, postgres: Postgres, query: str, said: str
) -> None:
    postgres.execute("CREATE TABLE IF NOT EXISTS hidden(a int)")

    with pytest.raises(SourceError, match=f"query 2 fails: {said}"):
        ask("SELECT 1 AS v", query)


def test_explain_shows_what_a_query_answers(postgres: Postgres, password_file: Path) -> None:
    query = {"query": "SELECT 1.5::numeric AS equity, now() AS t", "values": {"equity": "Equity"}, "time": "t"}
    matches = make_source(postgres.url, password_file, query).explain(NOW)

    assert matches[0].found[0] == "equity = 1.5"
    assert matches[1].nearest == ("equity",)
    assert watchers(postgres) == 0


# ─ PostgreSQL: connections ─


def watchers(postgres: Postgres) -> int:
    """Connections of ours; what we have closed the server notices soon."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'trading-watchdog'"
    deadline = time.monotonic() + 20
    with postgres.connect() as connection:
        while True:
            (count,) = connection.execute(query).fetchone() or (0,)
            if not count or time.monotonic() > deadline:
                return int(count)
            deadline = min(deadline, time.monotonic() + 1)


def test_one_connection_is_kept_and_goes_with_the_cache(postgres: Postgres, password_file: Path) -> None:
    source, cache = make_source(postgres.url, password_file, "SELECT pg_backend_pid() AS v"), SourceCache()
    processes = {source.read({}, cache, NOW)[0].v for _ in range(3)}

    assert len(processes) == 1
    assert watchers(postgres) == 1
    cache.clear()
    assert watchers(postgres) == 0


def test_a_connection_that_the_server_has_ended_is_replaced(postgres: Postgres, ask: Ask) -> None:
    (before,) = ask("SELECT pg_backend_pid() AS v")
    postgres.execute(f"SELECT pg_terminate_backend({before.v:.0f}, 20000)")

    (after,) = ask("SELECT pg_backend_pid() AS v")
    assert after.v != before.v


def test_a_query_that_ends_its_connection_is_asked_once_of_a_new_one_and_no_more(postgres: Postgres, ask: Ask) -> None:
    postgres.execute("CREATE SEQUENCE IF NOT EXISTS looks")
    ask("SELECT 1 AS v")

    said = error_of(ask, "SELECT pg_terminate_backend(pg_backend_pid())::int AS v")

    assert "the connection ended: terminating connection due to administrator command — the server's log" in said
    assert ask("SELECT 1 AS v") == [Sample("v", (), NOW, 1.0)]


def test_a_wrong_password_is_told_without_it(postgres: Postgres, password_file: Path) -> None:
    password_file.write_text("hush-hush")
    source = make_source(postgres.url, password_file, "SELECT 1 AS v")

    with pytest.raises(SourceError) as caught:
        source.read({}, {}, NOW)

    assert 'password authentication failed for user "bot"' in str(caught.value)
    assert "mend the user in the url, and password_file" in str(caught.value)
    assert "hush" not in str(caught.value)
    password_file.write_text(PASSWORD)  # it is read whenever a connection is made
    cache = SourceCache()
    assert source.read({}, cache, NOW)
    close(cache)


@pytest.mark.parametrize(("text", "said"), [("\n", "is empty — write the password"), (None, "cannot be read")])
def test_a_password_file_that_holds_none_is_told(
    postgres: Postgres, password_file: Path, text: str | None, said: str
) -> None:
    password_file.unlink()
    if text is not None:
        password_file.write_text(text)
        password_file.chmod(0o600)

    with pytest.raises(SourceError, match=said):
        make_source(postgres.url, password_file, "SELECT 1 AS v").read({}, {}, NOW)


def test_a_server_is_reached_by_a_socket_too_and_a_database_that_is_not_there_is_told(postgres: Postgres) -> None:
    url = f"postgresql://postgres@/{{}}?host={postgres.folder}&port={postgres.port}"

    cache = SourceCache()
    assert make_source(url.format("trades"), None, "SELECT 1 AS v").read({}, cache, NOW)
    close(cache)
    with pytest.raises(SourceError, match='database "nowhere" does not exist — mend the database\'s name in the url'):
        make_source(url.format("nowhere"), None, "SELECT 1 AS v").read({}, {}, NOW)


# ─ PostgreSQL: time ─


def test_the_server_ends_a_query_that_takes_too_long_and_the_connection_is_kept(ask: Ask) -> None:
    (before,) = ask("SELECT pg_backend_pid() AS v")

    assert "query 1 did not end within 2 s — an index helps" in error_of(
        ask, "SELECT 1 AS v FROM pg_sleep(100)", timeout=2_000
    )
    assert ask("SELECT pg_backend_pid() AS v") == [before]


def test_a_table_that_somebody_has_locked_is_waited_for_until_the_deadline(ask: Ask, postgres: Postgres) -> None:
    postgres.execute("CREATE TABLE IF NOT EXISTS held(a int)", "GRANT SELECT ON held TO bot")
    with postgres.connect() as connection, connection.transaction():
        connection.execute("LOCK TABLE held")

        assert " within 300 ms" in error_of(ask, "SELECT count(*) AS v FROM held", timeout=300)


@contextlib.contextmanager
def relay(port: int) -> Iterator[tuple[int, threading.Event]]:
    """A port that leads to another one, until the event is set: from then on what the server says is not passed on."""
    silent, listener = threading.Event(), socket.create_server(("127.0.0.1", 0))
    sockets = [listener]

    def copy(source: socket.socket, sink: socket.socket, *, held: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if held and silent.is_set():
                    continue
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                ours, _ = listener.accept()
                theirs = socket.create_connection(("127.0.0.1", port))
                sockets.extend((ours, theirs))
                for arguments, held in (((ours, theirs), False), ((theirs, ours), True)):
                    threads.append(threading.Thread(target=copy, args=arguments, kwargs={"held": held}))
                    threads[-1].start()

    threads = [threading.Thread(target=accept)]
    threads[0].start()
    try:
        yield listener.getsockname()[1], silent
    finally:
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(60)
        for each in sockets:
            each.close()


def test_a_server_that_falls_silent_is_left_at_the_deadline_and_another_connection_is_made(
    postgres: Postgres, password_file: Path
) -> None:
    with relay(postgres.port) as (port, silent):
        url = postgres.url.replace(str(postgres.port), str(port))
        cache = SourceCache()
        make_source(url, password_file, "SELECT 1 AS v").read({}, cache, NOW)
        silent.set()
        began = time.monotonic()

        with pytest.raises(SourceError, match="no answer within 300 ms — look whether the server is well"):
            make_source(url, password_file, "SELECT 1 AS v", timeout=300).read({}, cache, NOW)

        assert time.monotonic() - began < 5
        assert not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
        assert cache == {}
        silent.clear()
        assert make_source(url, password_file, "SELECT 1 AS v").read({}, cache, NOW)
        close(cache)


def test_a_server_that_accepts_and_says_nothing_is_left_at_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url, began = f"postgresql://bot@127.0.0.1:{server.getsockname()[1]}/trades", time.monotonic()

        with pytest.raises(SourceError, match="no answer within 60 ms"):
            make_source(url, None, "SELECT 1 AS v", timeout=60).read({}, {}, NOW)

        assert time.monotonic() - began < 2


def test_where_no_server_is_that_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    with pytest.raises(
        SourceError, match=r"^postgresql://127.0.0.1:\d+/x: no connection: .*refused — start the server"
    ):
        make_source(f"postgresql://bot@127.0.0.1:{port}/x", None, "SELECT 1 AS v").read({}, {}, NOW)


def test_a_server_that_is_none_is_told(password_file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            ours, _ = server.accept()
            with ours:
                ours.recv(1_000)
                ours.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"postgresql://bot@127.0.0.1:{server.getsockname()[1]}/x?sslmode=disable"
        source = make_source(url, password_file, "SELECT 1 AS v")
        with pytest.raises(SourceError, match=r"no connection: .* — start the server, or mend host and port"):
            source.read({}, {}, NOW)
        thread.join()


# ─ others, by SQLAlchemy ─


def by_alchemy(url: str, *queries: str, password: str | None = None, timeout: int = LONG_TIMEOUT) -> list[Table]:
    deadline = Deadline.after(timeout)
    session = AlchemySession.open(url, password, deadline)
    try:
        return session.query(
            [QuerySpec(each, {"v": "v"}, {}, None) for each in queries], ReadLimits(timeout, 500, 10_000), deadline
        )
    finally:
        session.close()


@pytest.fixture
def alchemy_url(postgres: Postgres) -> str:
    return postgres.url.replace("postgresql://", "postgresql+psycopg://")


def test_rows_of_any_database_are_read(alchemy_url: str, tmp_path: Path) -> None:
    query = "SELECT 1.5 AS v, 'a%(x)s:b' AS a"

    for url in (alchemy_url, f"sqlite:///{tmp_path}/x"):
        (table,) = by_alchemy(url, query, password=PASSWORD if "bot@" in url else None)
        assert table.columns == ("v", "a")
        assert [(float(v), a) for v, a in table.rows] == [(1.5, "a%(x)s:b")]


def test_too_many_rows_of_any_database_are_refused(alchemy_url: str) -> None:
    with pytest.raises(SourceError, match="more than 500 rows"):
        by_alchemy(alchemy_url, "SELECT * FROM generate_series(1, 1000000) AS v", password=PASSWORD)


def test_what_writes_is_taken_back_whatever_the_database(tmp_path: Path, alchemy_url: str, postgres: Postgres) -> None:
    postgres.execute("CREATE SEQUENCE IF NOT EXISTS kept", "GRANT ALL ON SEQUENCE kept TO bot")
    with pytest.raises(SourceError, match="read-only transaction — mend the query"):
        by_alchemy(alchemy_url, "SELECT nextval('kept') AS v", password=PASSWORD)
    url = f"sqlite:///{tmp_path}/x"
    with contextlib.closing(sqlite3.connect(tmp_path / "x")) as database:
        database.execute("CREATE TABLE t(v)")
    assert by_alchemy(url, "INSERT INTO t VALUES (1)") == [Table((), [])]
    assert by_alchemy(url, "SELECT v FROM t") == [Table(("v",), [])]
    with pytest.raises(SourceError, match="query 1 fails: no such table: u — mend the query"):
        by_alchemy(url, "SELECT v FROM u")


def test_a_query_that_takes_too_long_is_ended_where_the_server_can_be_told(alchemy_url: str) -> None:
    with pytest.raises(SourceError, match="query 1 did not end within 300 ms"):
        by_alchemy(alchemy_url, "SELECT 1 AS v FROM pg_sleep(100)", password=PASSWORD, timeout=300)


def test_what_alchemy_says_is_told_without_address_statement_and_secret(alchemy_url: str) -> None:
    with pytest.raises(SourceError) as caught:
        by_alchemy(alchemy_url, "SELECT 1 AS v", password="hush-hush")
    with pytest.raises(SourceError) as of_query:
        by_alchemy(alchemy_url, "SELECT 'hush' AS v, nothing", password=PASSWORD)

    for said in (str(caught.value), str(of_query.value)):
        assert "hush" not in said
        assert "sqlalche" not in said
        assert "\n" not in said


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql+aiomysql://bot@db/x", "the package aiomysql is missing — .* -m pip install aiomysql"),
        ("nosuch://bot@db/x", "SQLAlchemy knows no database nosuch — install the package of its dialect"),
    ],
)
def test_a_database_that_nothing_here_speaks_to_is_told(url: str, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        make_source(url, None, "SELECT 1 AS v").read({}, {}, NOW)
