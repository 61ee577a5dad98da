"""A SQLite file in a bot's folder, read by a process of the bot's user that reaches that folder and no other."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

import pytest

from tests.worker.conftest import World, give
from watchdog.core.errors import ActionError
from watchdog.core.model import Sample
from watchdog.sources.sql_file import explain_sqlite, query_sqlite
from watchdog.sources.sql_rows import QuerySpec, ReadLimits

NOW = 1_700_000_000_000
LIMITS = ReadLimits(20_000, 100, 10_000)
QUERIES = (QuerySpec("SELECT symbol, pnl FROM trades", {"pnl": "pnl"}, {"symbol": "symbol"}, None),)


def make_database(folder: Path) -> Path:
    path = folder / "trades.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE trades(symbol, pnl)")
        database.execute("INSERT INTO trades VALUES ('BTC', 1.5)")
    give(path)
    return path


def test_the_owner_reads_it_and_makes_nothing_beside_it(world: World, forked_server: None) -> None:
    path = make_database(world.bot)

    found = world.call(query_sqlite, path, QUERIES, LIMITS, "UTC", NOW)

    assert found == [Sample("pnl", (("symbol", "BTC"),), NOW, 1.5)]
    assert [each.name for each in world.bot.iterdir()] == ["trades.sqlite"]
    matches = world.call(explain_sqlite, path, QUERIES, LIMITS, "UTC", NOW)
    assert matches[0].found == ("symbol = BTC", "pnl = 1.5")


def test_beside_a_writer_the_owner_reads_it_too(world: World, forked_server: None) -> None:
    path = make_database(world.bot)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("INSERT INTO trades VALUES ('ETH', 2)")
        for each in world.bot.iterdir():
            give(each)

        assert len(world.call(query_sqlite, path, QUERIES, LIMITS, "UTC", NOW)) == 2


def test_an_error_comes_back_as_it_is(world: World, forked_server: None) -> None:
    with pytest.raises(ActionError, match=r"^there is no such file — the bot makes it; or mend the path$"):
        world.call(query_sqlite, world.bot / "trades.sqlite", QUERIES, LIMITS, "UTC", NOW)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to have somebody else's file")
def test_what_its_owner_may_not_read_is_not_read(world: World, forked_server: None) -> None:
    path = make_database(world.bot)
    os.chown(path, 0, 0)
    path.chmod(0o600)

    with pytest.raises(ActionError, match="it cannot be opened: Permission denied — user says as whom"):
        world.call(query_sqlite, path, QUERIES, LIMITS, "UTC", NOW)
