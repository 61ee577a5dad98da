"""What a query is made of, and SQLite files, whatever state their writer left them in."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.support import sqlite_bot
from watchdog.core.errors import SourceError
from watchdog.core.model import Sample
from watchdog.sources import SqlSource, sql_file

NOW = 1_700_000_000_000
LONG_TIMEOUT = 20_000
KILLED_WRITER = """
import os, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA cache_size=1")
database.execute("PRAGMA synchronous=OFF")
database.execute("INSERT INTO trades VALUES (NULL, 'ETH', 'buy', 5, 1699999990)")
if sys.argv[2:]:
    database.execute("BEGIN IMMEDIATE")
    database.executemany("INSERT INTO trades VALUES (NULL, ?, 'buy', 5, 0)", [("x" * 1000,)] * 2000)
os.kill(os.getpid(), 9)
"""
REPLACING_BOT = """
import os, shutil, time
while True:
    for name in ("small", "large"):
        shutil.copy(name, "new")
        os.rename("new", "db")
        time.sleep(0.01)
"""
COUNT = {"query": "SELECT count(*) AS n FROM trades", "values": {"trades_total": "n"}}


def make_source(file: Path | None, *queries: dict[str, Any], **fields: Any) -> SqlSource:
    where = {} if file is None else {"file": str(file)}
    return SqlSource.model_validate(
        {"type": "sql", "timeout": LONG_TIMEOUT, **where, "queries": list(queries or [COUNT]), **fields}
    )


def read(file: Path, *queries: dict[str, Any], **fields: Any) -> list[Sample]:
    return make_source(file, *queries, **fields).read({}, {}, NOW)


def read_error(file: Path, *queries: dict[str, Any], **fields: Any) -> str:
    with pytest.raises(SourceError) as caught:
        read(file, *queries, **fields)
    assert caught.value.__cause__ is None
    assert "\n" not in str(caught.value)
    return str(caught.value)


def make_database(file: Path, journal: str = "DELETE") -> Path:
    with opened(file) as database:
        database.execute(f"PRAGMA journal_mode={journal}")
        database.execute("CREATE TABLE trades(id INTEGER PRIMARY KEY, symbol, side, pnl, closed_at)")
        rows = [
            ("BTC", "buy", 5, 1_699_999_000),
            ("BTC", "buy", -2.5, 1_699_999_900),
            ("ETH", "sell", 1, 1_699_999_500),
        ]
        database.execute("BEGIN")
        database.executemany("INSERT INTO trades VALUES (NULL, ?, ?, ?, ?)", rows)
        database.execute("COMMIT")
    return file


@contextmanager
def opened(file: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(file, isolation_level=None, timeout=0)) as database:
        database.execute("PRAGMA synchronous=OFF")  # processes die in these tests, disks do not
        yield database


@pytest.fixture
def trades(tmp_path: Path) -> Path:
    return make_database(tmp_path / "trades.sqlite")


def beside(file: Path) -> set[str]:
    return {path.name.removeprefix(file.name) for path in file.parent.glob(f"{file.name}*")} - {""}


def one(select: str) -> dict[str, Any]:
    """A query of one number."""
    return {"query": f"SELECT {select} AS v", "values": {"v": "v"}}


# ─ what rows become ─


def test_each_row_makes_a_sample_of_each_value_with_labels_and_time_of_its_columns(trades: Path) -> None:
    query = {
        "query": "SELECT symbol, side, count(*) AS n, sum(pnl) AS pnl, max(closed_at) AS t FROM trades GROUP BY 1, 2",
        "values": {"trades_total": "n", "pnl_sum": "pnl"},
        "labels": ["symbol", "side"],
        "time": "t",
    }

    assert sorted(read(trades, query)) == [
        Sample("pnl_sum", (("side", "buy"), ("symbol", "BTC")), 1_699_999_900_000, 2.5),
        Sample("pnl_sum", (("side", "sell"), ("symbol", "ETH")), 1_699_999_500_000, 1.0),
        Sample("trades_total", (("side", "buy"), ("symbol", "BTC")), 1_699_999_900_000, 2.0),
        Sample("trades_total", (("side", "sell"), ("symbol", "ETH")), 1_699_999_500_000, 1.0),
    ]


def test_a_label_may_be_called_otherwise_than_its_column(trades: Path) -> None:
    query = {"query": "SELECT 'a' AS x, 5 AS v", "values": {"v": "v"}, "labels": {"venue": "x"}}

    assert read(trades, query) == [Sample("v", (("venue", "a"),), NOW, 5.0)]


@pytest.mark.parametrize(
    ("cell", "value"),
    [("5", 5.0), ("'5.25'", 5.25), ("' -1e3 '", -1000.0), ("1 = 1", 1.0), ("9223372036854775807", float(2**63))],
)
def test_a_number_is_one_however_it_is_kept(trades: Path, cell: str, value: float) -> None:
    assert read(trades, one(cell)) == [Sample("v", (), NOW, value)]


@pytest.mark.parametrize("cell", ["NULL", "'n/a'", "9e999", "x'00ff'", "''", "'nan'"])
def test_what_is_no_number_is_absent_and_never_zero(trades: Path, cell: str) -> None:
    assert read(trades, one(cell), COUNT) == [Sample("trades_total", (), NOW, 3.0)]
    assert "no row has a number in v" in read_error(trades, one(cell))


def test_null_and_empty_text_make_no_label_and_numbers_make_one(trades: Path) -> None:
    query = {
        "query": "SELECT NULL AS a, '' AS b, 3 AS c, 1 AS v UNION ALL SELECT 'x', 'y', 4.5, 2",
        "values": {"v": "v"},
        "labels": ["a", "b", "c"],
    }

    assert [sample.labels for sample in read(trades, query)] == [
        (("c", "3"),),
        (("a", "x"), ("b", "y"), ("c", "4.5")),
    ]


def test_bytes_make_no_label(trades: Path) -> None:
    query = {"query": "SELECT x'00' AS a, 1 AS v", "values": {"v": "v"}, "labels": ["a"]}

    assert "a bytes in the column a, which makes no label — CAST it to text" in read_error(trades, query)


def test_text_that_is_not_utf8_is_read_all_the_same(trades: Path) -> None:
    query = {"query": "SELECT CAST(x'41ff' AS TEXT) AS a, 1 AS v", "values": {"v": "v"}, "labels": ["a"]}

    assert read(trades, query) == [Sample("v", (("a", "A\ufffd"),), NOW, 1.0)]


@pytest.mark.parametrize(
    ("cell", "t"),
    [
        ("1699999000", 1_699_999_000_000),
        ("1699999000123", 1_699_999_000_123),
        ("'1699999000.5'", 1_699_999_000_500),
        ("'2023-11-14T21:56:40Z'", 1_699_999_000_000),
        ("'2023-11-14 21:56:40'", 1_699_995_400_000),
        ("99999999999", NOW),
    ],
)
def test_the_time_of_a_row_is_that_of_its_column_and_never_ahead(trades: Path, cell: str, t: int) -> None:
    query = {"query": f"SELECT 1 AS v, {cell} AS t", "values": {"v": "v"}, "time": "t"}

    assert read(trades, query, zone="Europe/Berlin") == [Sample("v", (), t, 1.0)]


@pytest.mark.parametrize("cell", ["NULL", "'yesterday'", "x'00'"])
def test_a_row_without_the_time_that_it_should_have_says_nothing(trades: Path, cell: str) -> None:
    query = {"query": f"SELECT 1 AS v, {cell} AS t", "values": {"v": "v"}, "time": "t"}

    assert "no row has a number in v and a time beside it" in read_error(trades, query)


def test_two_rows_with_the_same_labels_are_refused(trades: Path) -> None:
    query = {"query": "SELECT symbol, pnl FROM trades", "values": {"pnl": "pnl"}, "labels": ["symbol"]}

    assert "query 1 says pnl of {symbol='BTC'} a second time — GROUP BY" in read_error(trades, query)
    assert "query 2 says trades_total of {} a second time" in read_error(trades, COUNT, COUNT)


def test_no_row_at_all_is_an_error_and_no_row_beside_others_is_none(trades: Path) -> None:
    empty = {"query": "SELECT pnl FROM trades WHERE 0", "values": {"pnl": "pnl"}}

    assert read_error(trades, empty).endswith(
        "the query found no row — has the bot written there yet, and is WHERE right?"
    )
    assert read(trades, empty, COUNT) == [Sample("trades_total", (), NOW, 3.0)]


def test_a_column_that_is_not_there_is_named_with_the_nearest(trades: Path) -> None:
    query = {"query": "SELECT 1 AS equity, 2 AS balance", "values": {"equity": "Equty"}}

    assert "query 1 has no column Equty: it has equity, balance — did you mean equity?" in read_error(trades, query)
    twice = {"query": "SELECT 1 AS equity, 2 AS equity", "values": {"equity": "equity"}}
    assert "2 columns equity — name the one that is meant with AS" in read_error(trades, twice)


# ─ what a query may do ─


@pytest.mark.parametrize(
    "query",
    [
        "WITH x AS (SELECT 1) INSERT INTO trades(symbol) SELECT 'new'",
        "SELECT 1 AS v; DELETE FROM trades",
        "WITH x AS (SELECT 1) DELETE FROM trades",
        "SELECT load_extension('libevil') AS v",
        "PRAGMA journal_mode=WAL",
        "PRAGMA user_version=7",
        "PRAGMA query_only=0",
        "PRAGMA writable_schema=1",
    ],
)
def test_a_query_that_does_more_than_read_is_refused_by_the_database(trades: Path, query: str) -> None:
    before = trades.read_bytes()

    assert " — " in read_error(trades, {"query": query, "values": {"v": "v"}})
    assert trades.read_bytes() == before
    assert beside(trades) == set()


@pytest.mark.parametrize("query", ["DELETE FROM trades", "ATTACH 'x' AS y", "", "-- SELECT\nDROP TABLE t", "SELECTED"])
def test_what_is_plainly_no_question_is_refused_when_the_file_is_read(query: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="it begins with SELECT"):
        make_source(tmp_path / "x", {"query": query, "values": {"v": "v"}})


@pytest.mark.parametrize(
    "query", ["/* all */ -- of it\n (SELECT 3 AS v)", "values (3)", "WITH x AS (SELECT 3 AS v) SELECT v FROM x"]
)
def test_a_question_may_begin_with_comments_and_in_any_case(trades: Path, query: str) -> None:
    column = "column1" if query.startswith("values") else "v"
    if query.startswith("/*"):
        query = query.replace("(", "").replace(")", "")

    assert read(trades, {"query": query, "values": {"v": column}}) == [Sample("v", (), NOW, 3.0)]


def test_what_the_database_says_of_itself_can_be_asked(trades: Path) -> None:
    query = {"query": "PRAGMA page_count", "values": {"database_pages": "page_count"}}

    assert read(trades, query) == [Sample("database_pages", (), NOW, 2.0)]


def test_a_query_without_end_is_ended(trades: Path) -> None:
    endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT max(x) AS v FROM c"
    began = time.monotonic()

    error = read_error(trades, {"query": endless, "values": {"v": "v"}}, timeout=100)

    assert "query 1 did not end within 100 ms — an index helps" in error
    assert time.monotonic() - began < 5


def test_rows_are_counted_and_weighed_as_they_come(trades: Path) -> None:
    many = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x AS v, 'abcdefgh' AS a FROM c"
    query = {"query": many, "values": {"v": "v"}, "labels": {"x": "v"}}

    assert "more than 40 rows — count or sum in the query" in read_error(trades, query, max_series=10)
    assert "larger than 1000 B — name the columns" in read_error(trades, query, max_bytes=1_000)


def test_a_text_of_megabytes_is_not_taken_in(trades: Path) -> None:
    assert "a text of more than 1 MiB" in read_error(trades, one("hex(zeroblob(2000000))"))


def test_a_mistake_in_a_query_is_told_with_the_number_of_the_query(trades: Path) -> None:
    query = {"query": "SELECT v FROM trade", "values": {"v": "v"}}

    assert "query 2 fails: no such table: trade — mend the query" in read_error(trades, COUNT, query)


# ─ states of a file ─


def test_a_file_in_wal_that_nobody_has_open_is_read_and_nothing_is_made_beside_it(tmp_path: Path) -> None:
    file = make_database(tmp_path / "trades.sqlite", "WAL")
    assert beside(file) == set()

    assert read(file) == [Sample("trades_total", (), NOW, 3.0)]
    assert beside(file) == set()


def test_what_a_writer_in_wal_has_written_is_seen_at_once_also_while_it_writes_on(tmp_path: Path) -> None:
    file = make_database(tmp_path / "trades.sqlite", "WAL")
    with opened(file) as writer:
        writer.execute("INSERT INTO trades(pnl) VALUES (1)")
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("INSERT INTO trades(pnl) VALUES (2)")

        assert read(file) == [Sample("trades_total", (), NOW, 4.0)]

        writer.execute("COMMIT")
        assert read(file) == [Sample("trades_total", (), NOW, 5.0)]
        log = file.with_name("trades.sqlite-wal").read_bytes()
        assert read(file) == [Sample("trades_total", (), NOW, 5.0)]
        assert file.with_name("trades.sqlite-wal").read_bytes() == log


@pytest.mark.parametrize("checkpoint", ["PASSIVE", "FULL", "RESTART", "TRUNCATE"])
def test_a_writer_in_wal_may_empty_its_log_however_it_likes(tmp_path: Path, checkpoint: str) -> None:
    file = make_database(tmp_path / "trades.sqlite", "WAL")
    with opened(file) as writer:
        writer.execute("SELECT * FROM trades").fetchall()
        assert beside(file) == {"-wal", "-shm"}
        assert read(file) == [Sample("trades_total", (), NOW, 3.0)]
        for count in (4.0, 5.0):
            writer.execute("INSERT INTO trades(pnl) VALUES (1)")
            assert writer.execute(f"PRAGMA wal_checkpoint({checkpoint})").fetchone()[0] == 0
            assert read(file) == [Sample("trades_total", (), NOW, count)]
    assert beside(file) == set()


def kill_writer(file: Path, *half: str) -> None:
    ended = subprocess.run([sys.executable, "-c", KILLED_WRITER, str(file), *half], timeout=60)
    assert ended.returncode == -signal.SIGKILL


def test_after_a_writer_in_wal_was_killed_what_it_committed_is_read_and_its_files_are_left_alone(
    tmp_path: Path,
) -> None:
    file = make_database(tmp_path / "trades.sqlite", "WAL")
    kill_writer(file, "half")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    assert read(file) == [Sample("trades_total", (), NOW, 4.0)]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_log_without_its_index_is_told_and_left_alone(tmp_path: Path) -> None:
    file = make_database(tmp_path / "trades.sqlite", "WAL")
    kill_writer(file)
    file.with_name("trades.sqlite-shm").unlink()

    assert "(-wal) without its index (-shm), which only a writer may make — start the bot" in read_error(file)
    assert beside(file) == {"-wal"}


def test_a_write_that_was_broken_off_is_told_and_is_not_taken_back_by_us(trades: Path) -> None:
    kill_writer(trades, "half")
    before = trades.read_bytes()

    assert "its writer was broken off in the middle (-journal) — start the bot" in read_error(trades)
    assert trades.read_bytes() == before
    with opened(trades) as writer:
        writer.execute("INSERT INTO trades(pnl) VALUES (1)")  # takes it back
    assert read(trades) == [Sample("trades_total", (), NOW, 5.0)]


@pytest.mark.parametrize("how", ["EXCLUSIVE", "WAL"])
def test_a_file_that_its_writer_keeps_for_itself_is_waited_for_until_the_deadline(tmp_path: Path, how: str) -> None:
    file = make_database(tmp_path / "trades.sqlite")
    with opened(file) as writer:
        if how == "WAL":
            writer.execute("PRAGMA locking_mode=EXCLUSIVE")
            writer.execute("PRAGMA journal_mode=WAL")
            writer.execute("INSERT INTO trades(pnl) VALUES (1)")
        else:
            writer.execute("BEGIN EXCLUSIVE")

        assert "it stayed locked: no look at it within 60 ms — PRAGMA journal_mode=WAL" in read_error(file, timeout=60)


def test_a_file_that_is_free_again_within_the_deadline_is_read(trades: Path) -> None:
    with opened(trades) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        found: list[Sample] = []
        reader = threading.Thread(target=lambda: found.extend(read(trades)))
        reader.start()
        reader.join(0.05)
        assert not found
        writer.execute("COMMIT")
        reader.join(60)

    assert found == [Sample("trades_total", (), NOW, 3.0)]


def spoil(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[100:] = b"\xff" * (len(data) - 100)
    file.write_bytes(data)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (spoil, "it is damaged, or half copied: .* — PRAGMA integrity_check says more"),
        (lambda file: os.truncate(file, 4_096), "it is damaged, or half copied"),
        (lambda file: os.truncate(file, 0), "it is empty — the bot has made no table in it yet"),
        (lambda file: os.truncate(file, 50), "it is no SQLite database, or an encrypted one — mend the path"),
        (lambda file: file.write_text("{}\n" * 100), "it is no SQLite database"),
        (lambda file: file.unlink(), "there is no such file — the bot makes it; or mend the path"),
        (lambda file: (file.unlink(), file.mkdir()), "it is no regular file — name the database itself"),
        (lambda file: [file.unlink(), subprocess.run(["mkfifo", file], check=True)], "it is no regular file"),
        (lambda file: (file.unlink(), file.symlink_to("/etc/passwd")), "is a link, .* that leads out of"),
        (lambda file: shutil.rmtree(file.parent), "there is no such folder — mend the path"),
    ],
    ids=["spoilt", "cut", "empty", "short", "text", "gone", "folder", "fifo", "link", "no folder"],
)
def test_a_file_that_cannot_be_read_is_one_clear_error(
    trades: Path, change: Callable[[Path], object], said: str
) -> None:
    change(trades)

    with pytest.raises(SourceError, match=f"^{trades}: {said}|{said}") as caught:
        read(trades)
    assert " — " in str(caught.value)


def test_a_column_whose_name_is_no_text_is_told(trades: Path) -> None:
    trades.write_bytes(trades.read_bytes().replace(b"symbol, side", b"symbol, sid\xff"))

    assert "query 1 meets a name that is no UTF-8 — name its columns with AS" in read_error(
        trades, {"query": "SELECT * FROM trades", "values": {"pnl": "pnl"}}
    )


def test_a_file_may_be_called_anything_and_be_a_link_within_its_folder(tmp_path: Path) -> None:
    file = make_database(tmp_path / "a b?c#d%41&mode=rwc.db")
    (tmp_path / "current").symlink_to(file.name)

    assert read(file) == read(tmp_path / "current") == [Sample("trades_total", (), NOW, 3.0)]


def test_a_file_that_is_replaced_all_the_time_is_read_as_one_or_the_other_or_not_at_all(tmp_path: Path) -> None:
    for name, size in (("small", 10), ("large", 3_000)):
        with opened(tmp_path / name) as database:
            database.execute(f"PRAGMA journal_mode={'WAL' if name == 'small' else 'DELETE'}")
            database.execute("CREATE TABLE t(a)")
            database.execute("BEGIN")
            database.executemany("INSERT INTO t VALUES (?)", [(size,)] * size)
            database.execute("COMMIT")
    shutil.copy(tmp_path / "small", tmp_path / "db")
    seen: set[tuple[float, ...]] = set()
    query = {"query": "SELECT count(*) AS n, sum(a) AS s FROM t", "values": {"n": "n", "s": "s"}}
    with subprocess.Popen([sys.executable, "-c", REPLACING_BOT], cwd=tmp_path) as bot:
        while len(seen) < 2:
            assert bot.poll() is None
            with suppress(SourceError):  # at each look another one
                seen.add(tuple(sample.v for sample in read(tmp_path / "db", query)))
        bot.kill()

    assert seen == {(10.0, 100.0), (3_000.0, 9_000_000.0)}
    assert beside(tmp_path / "db") == set()


def test_a_file_that_is_another_one_at_every_look_is_told(trades: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    restrain = sql_file._restrain

    def replace_and_restrain(*args: Any) -> None:
        Path(shutil.copy(trades, trades.with_name("new"))).rename(trades)
        restrain(*args)

    monkeypatch.setattr(sql_file, "_restrain", replace_and_restrain)

    assert "it is replaced again and again — write into one database" in read_error(trades)


@contextmanager
def writing_bot(file: Path) -> Iterator[subprocess.Popen[str]]:
    program = [sys.executable, sqlite_bot.__file__, str(file)]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as bot:
        assert bot.stdout is not None
        assert bot.stdout.readline() == "begun\n"
        try:
            yield bot
        finally:
            bot.kill()


@pytest.mark.slow
def test_a_bot_that_writes_all_the_time_is_never_kept_waiting_and_survives_its_death_with_its_data(
    tmp_path: Path,
) -> None:
    file = tmp_path / "trades.sqlite"
    last = "SELECT pnl FROM trades ORDER BY id DESC LIMIT 100"
    query: dict[str, Any] = {"query": f"SELECT max(id) AS n, (SELECT sum(pnl) FROM ({last})) AS pnl FROM trades"}
    query |= {"values": {"n": "n", "pnl": "pnl"}}
    counts = [0.0]

    def look() -> None:
        count, pnl = read(file, query)
        assert pnl.v == 0, "half a transaction was seen"
        assert count.v >= counts[-1]
        counts.append(count.v)

    with writing_bot(file) as bot:
        for _ in range(500):
            look()
        said, _ = bot.communicate()  # it would have ended with an error if one of its writes had met a lock
    writes, longest = said.split()
    assert bot.returncode == 0
    assert float(longest) < 2_000
    look()
    assert counts[-1] == 2 * int(writes)

    with writing_bot(file) as bot:
        while counts[-1] <= 2 * int(writes) + 10:
            look()
        bot.send_signal(signal.SIGKILL)
        bot.wait()
        look()
    look()
    assert counts[-1] == counts[-2]
    with writing_bot(file):  # finds its files as it left them
        look()


def test_two_reads_of_one_file_in_one_process_do_not_take_each_others_locks(tmp_path: Path) -> None:
    file = make_database(tmp_path / "trades.sqlite")
    slow = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT max(x) AS v FROM c, trades"
    reader = threading.Thread(target=lambda: read_error(file, {"query": slow, "values": {"v": "v"}}, timeout=1_000))
    reader.start()
    while reader.is_alive():
        read(file)
        with opened(file) as writer:
            try:
                writer.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError:
                break  # the slow read has its lock still
    else:
        raise AssertionError("a writer got in while the file was read")
    reader.join()


# ─ the entry ─


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "say exactly one of file and url"),
        ({"file": "/x", "url": "sqlite:////x"}, "say exactly one of file and url"),
        ({"url": "sqlite:///trades.sqlite"}, "else say file: trades.sqlite"),
        ({"url": "sqlite:////x?mode=rwc"}, "reads like sqlite:////var/lib/bot/trades.sqlite"),
        ({"url": "sqlite://"}, "reads like sqlite:////var/lib/bot/trades.sqlite"),
        ({"url": "postgresql://bot:hush@db/x"}, "write the password into a file and name it: password_file"),
        ({"url": "postgresql://db/x?password=hush"}, "write the password into a file"),
        ({"url": "postgresql://db/x?sslpassword=hush"}, "write the password into a file"),
        ({"url": "postgresql://db:x/hush"}, "reads like postgresql://bot@db:5432/trades"),
        ({"url": "postgresql://db/x?hush=1"}, "libpq cannot make out the url"),
        ({"url": "hush"}, "reads like postgresql://bot@db:5432/trades"),
        ({"file": "/x", "password_file": "/y"}, "leave password_file out"),
        ({"url": "postgresql://db/x", "user": "bot"}, "the server's user stands in the url"),
        ({"file": "/x", "zone": "Berlin"}, "'Berlin' is no time zone"),
        ({"file": "/x", "queries": []}, "at least 1 item"),
        ({"file": "/x", "queries": [{"query": "SELECT 1", "values": {}}]}, "at least 1 item"),
        ({"file": "/x", "queries": [{"query": "SELECT 1", "values": {"up": "v"}}]}, "up is what the watchdog says"),
        ({"file": "/x", "queries": [{**COUNT, "labels": ["source"]}]}, "the watchdog's own"),
    ],
)
def test_an_entry_that_cannot_work_is_refused_with_the_cure(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        SqlSource.model_validate({"type": "sql", "queries": [COUNT], **fields})

    errors = caught.value.errors(include_input=False)
    assert said in str([error["msg"] for error in errors])
    assert "hush" not in str([error["msg"] for error in errors])


@pytest.mark.parametrize(
    ("url", "package"), [("postgresql://db/x", "psycopg[binary]"), ("mysql+pymysql://db/x", "sqlalchemy>=2")]
)
def test_a_server_without_what_speaks_to_it_is_refused_with_the_command_that_brings_it(
    monkeypatch: pytest.MonkeyPatch, url: str, package: str
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    with pytest.raises(ValidationError, match="is missing — ") as caught:
        make_source(None, url=url)

    assert f"{sys.executable} -m pip install '{package}'" in str(caught.value)


def test_a_file_needs_no_package(trades: Path) -> None:
    program = (
        "import sys; from watchdog.sources import SqlSource\n"
        "print(SqlSource.model_validate_json(sys.argv[1]).read({}, {}, 1))\n"
        "assert not {'sqlalchemy', 'psycopg'} & set(sys.modules)\n"
    )
    said = make_source(trades).model_dump_json(exclude_unset=True)

    subprocess.run([sys.executable, "-c", program, said], check=True, timeout=60, cwd=Path(__file__).parents[2])


def test_a_full_sqlite_address_is_the_file(trades: Path) -> None:
    source = make_source(None, url=f"sqlite:///{trades}")

    assert source.read({}, {}, NOW) == [Sample("trades_total", (), NOW, 3.0)]
    assert source.identity == make_source(trades).identity == str(trades)


def test_an_address_is_known_without_what_may_be_secret() -> None:
    assert make_source(None, url="postgresql://bot@db/x?sslkey=/k").identity == "postgresql://db/x"


# ─ what a person sees who writes an entry ─


def test_explain_shows_a_row_and_what_stands_in_each_column(trades: Path) -> None:
    query = {
        "query": "SELECT symbol, pnl, closed_at AS t FROM trades ORDER BY id",
        "values": {"pnl": "pnl", "size": "symbl"},
        "labels": {"pair": "symbol"},
        "time": "t",
    }
    matches = {match.key: match for match in make_source(trades, query).explain(NOW)}

    assert matches["queries[0].query"].found == ("symbol = BTC", "pnl = 5", "t = 1699999000")
    assert matches["queries[0].values.pnl"].found == ("5", "-2.5", "1")
    assert matches["queries[0].values.size"][2:] == ((), ("symbol",), "")
    assert matches["queries[0].labels.pair"].found == ("BTC", "ETH")
    assert matches["queries[0].time"].why == ""


def test_explain_says_why_what_it_found_makes_no_sample(trades: Path) -> None:
    query = {
        "query": "SELECT symbol AS v, NULL AS l, side AS t FROM trades",
        "values": {"v": "v"},
        "labels": ["l"],
        "time": "t",
    }
    empty = {"query": "SELECT pnl FROM trades WHERE 0", "values": {"pnl": "pnl"}}
    matches = make_source(trades, query, empty).explain(NOW)

    assert [match.why for match in matches] == [
        "",
        "no number",
        "no label",
        "no time",
        "no row, with the columns pnl",
        "",
    ]
