"""What `init` makes of what a bot writes."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchdog.offline.init.draft import MAX_VALUES, SourceDraft, metric_name
from watchdog.offline.init.json_drafts import draft_document, draft_lines, parse_lines
from watchdog.offline.init.kpis import FoundSeries, recognise
from watchdog.offline.init.log_drafts import draft_log
from watchdog.offline.init.sql_drafts import draft_database, quote_name
from watchdog.sources.json_path import search

NOW = 1_790_000_000.0
BOT = SourceDraft("bot", {"type": "scrape"}, "a page")
EVENTS = [
    {"ts": "2026-11-30T12:00:00.100+00:00", "type": "trade", "symbol": "BTC", "qty": 0.1, "pnl": 12.5, "order_id": 7},
    {"ts": "2026-11-30T12:00:00.200+00:00", "type": "bar", "equity": 10_012.5, "account": {"free": "3.5"}},
    {"ts": "2026-11-30T12:00:00.300+00:00", "type": "trade", "symbol": "ETH", "qty": 0.2, "pnl": -3.5, "order_id": 8},
    {"ts": "2026-11-30T12:00:00.400+00:00", "type": "bar", "equity": 10_009.0, "account": {"free": "3.4"}},
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def test_events_of_several_kinds_become_counts_and_last_values() -> None:
    drafted = draft_lines(EVENTS)

    assert drafted["time"] == "ts"
    assert drafted["values"] == {
        "events_total": {"count": "type != `null`", "labels": {"kind": "type"}},
        "trades_won_total": {"count": "type == 'trade' && pnl > `0`"},
        "trades_lost_total": {"count": "type == 'trade' && pnl < `0`"},
        "qty": {"last": "qty", "where": "type == 'trade'", "labels": {"symbol": "symbol"}},
        "pnl": {"last": "pnl", "where": "type == 'trade'", "labels": {"symbol": "symbol"}},
        "equity": {"last": "equity", "where": "type == 'bar'"},
        "account_free": {"last": "account.free", "where": "type == 'bar'"},
    }


def test_what_two_kinds_of_events_say_is_one_value() -> None:
    lines = [{"type": "a", "equity": 1}, {"type": "b", "equity": 2}, {"type": "a", "equity": 3}]

    assert draft_lines(lines)["values"]["equity"] == {"last": "equity"}


def test_half_a_line_and_what_is_no_object_is_passed_over() -> None:
    text = 'quity": 5}\n[1]\n{"a": 1}\n{"a": 2'

    assert parse_lines(text) == [{"a": 1}]


def test_a_document_becomes_values_and_its_lists_series() -> None:
    document = {
        "state": "RUNNING",
        "updated_at": 1_790_000_000_000,
        "account": {"equity": "10012.50", "currency": "USDT"},
        "positions": [{"symbol": "BTC", "size": 0.5, "opened_at": 1_790_000_000}, {"symbol": "ETH", "size": 1}],
        "bids": [1, 2, 3],
    }

    assert draft_document(document) == {
        "time": "updated_at",
        "values": {
            "account_equity": "account.equity",
            "position_size": {"path": "positions[]", "value": "size", "labels": {"symbol": "symbol"}},
        },
    }


@given(st.lists(st.dictionaries(st.text(), JSON, max_size=5), max_size=5))
def test_whatever_a_bot_writes_the_draft_is_bounded_and_finds_what_it_names(lines: list[dict[str, Any]]) -> None:
    for line in lines:
        values = draft_document(line)["values"]
        assert len(values) <= MAX_VALUES
        for value in values.values():
            assert search(value if isinstance(value, str) else value["path"], line) is not None
    assert len(draft_lines(lines)["values"]) <= MAX_VALUES + 3


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        (("totalEquity",), "total_equity"),
        (("account", "free.usdt"), "account_free_usdt"),
        (("1h",), "value_1h"),
        (("up",), "is_up"),
        (("ü",), "value"),
    ],
)
def test_names_of_metrics_are_made_of_what_the_bot_calls_it(parts: tuple[str, ...], name: str) -> None:
    assert metric_name(*parts) == name


def test_a_database_becomes_the_newest_row_of_what_has_times_and_counts_of_trades(tmp_path: Path) -> None:
    path = tmp_path / "bot.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.executescript(
            """
            CREATE TABLE account (id INTEGER PRIMARY KEY, equity REAL, note TEXT, t REAL);
            INSERT INTO account VALUES (1, 10000.5, 'x', 1790000000), (2, 10001.5, 'y', 1790000060);
            CREATE TABLE trades (id INTEGER PRIMARY KEY, "group" TEXT, pnl REAL);
            INSERT INTO trades VALUES (1, 'a', 5), (2, 'a', -1), (3, 'b', 2);
            CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
            CREATE TABLE empty (id INTEGER);
            """
        )

    queries, gap = draft_database(path)

    assert queries == [
        {"query": "SELECT equity, t FROM account ORDER BY t DESC LIMIT 1", "values": {"equity": "equity"}, "time": "t"},
        {
            "query": "SELECT coalesce(sum(pnl > 0), 0) AS won, coalesce(sum(pnl < 0), 0) AS lost FROM trades",
            "values": {"trades_won_total": "won", "trades_lost_total": "lost"},
        },
        {
            "query": "SELECT count(*) AS streak FROM trades WHERE pnl < 0 "
            "AND coalesce(rowid > (SELECT max(rowid) FROM trades WHERE pnl > 0), 1)",
            "values": {"losing_streak": "streak"},
        },
    ]
    assert gap is None  # of two rows nobody knows
    with closing(sqlite3.connect(path)) as database:
        assert database.execute(queries[1]["query"]).fetchone() == (2, 1)
        assert database.execute(queries[2]["query"]).fetchone() == (0,)
        database.execute("INSERT INTO trades VALUES (4, 'b', -2), (5, 'b', 0), (6, 'b', -3)")
        assert database.execute(queries[2]["query"]).fetchone() == (2,)


@pytest.mark.parametrize("name", ["trades", "group", 'a"b', "a b", "1a", ""])
def test_any_name_of_a_column_is_a_name_in_sql(name: str) -> None:
    with closing(sqlite3.connect(":memory:")) as database:
        assert database.execute(f"SELECT 1 AS {quote_name(name or 'x')}").description[0][0] == (name or "x")


def test_a_log_with_time_stamps_says_how_they_are_written() -> None:
    text = "2026-11-30 12:00:00,123 INFO started\nTraceback (most recent call last):\n2026-11-30 12:00:01,000 ERROR x\n"

    assert "time" in draft_log(text)
    assert "time" not in draft_log("started\nstopped\n")
    assert set(draft_log("")["values"]) == {"log_errors_total", "log_warnings_total", "exceptions_total"}


def test_kpis_are_recognised_by_the_names_that_bots_give_them() -> None:
    names = ["account_equity", "losing_streak", "trades_won_total", "order_failures_total", "process_up", "x"]
    found = [FoundSeries("bot", name, (), 1.0) for name in names]

    drafts = {each.name: each for each in recognise(found, [BOT], NOW)}

    assert set(drafts) == {"drawdown", "losing-streak", "win-rate", "order-failures", "process-down", "silent"}
    assert drafts["drawdown"].kpi["expr"] == "1 - account_equity / max_over_time(account_equity[1d])"
    assert json.dumps([each._asdict() for each in drafts.values()])


@pytest.mark.parametrize(
    ("metric", "value", "kpi"),
    [
        ("mybot_account_balance_usd", 5.0, "drawdown"),
        ("balance", 5.0, "drawdown"),
        ("balance_total", 5.0, "drawdown"),
        ("mybot_drawdown_percent", 2.0, "drawdown"),
        ("bot_running", 1.0, "bot-running"),
        ("log_errors_total", 0.0, "log-errors"),
        ("order_rejected_total", 0.0, "order-rejected"),
        ("mybot_last_tick_timestamp_seconds", NOW - 60, "mybot-last-tick-age"),
        ("free_balance", 5.0, None),
        ("price", 5.0, None),
        ("max_drawdown_pct", 5.0, None),
        ("order_id", 5.0, None),
    ],
)
def test_what_has_a_limit_that_makes_sense_is_a_kpi_and_prices_and_numbers_of_orders_are_none(
    metric: str, value: float, kpi: str | None
) -> None:
    found = {each.name for each in recognise([FoundSeries("bot", metric, (), value)], [BOT], NOW)}

    assert found == {"silent", kpi} - {None}


def test_series_by_account_are_told_apart_and_those_by_symbol_are_not_the_account() -> None:
    by_account = [FoundSeries("bot", "equity", (("account", name),), 5.0) for name in "ab"]
    by_symbol = [FoundSeries("bot", "equity", (("symbol", name),), 5.0) for name in "ab"]

    drafts = {each.name: each for each in recognise(by_account, [BOT], NOW)}

    assert drafts["drawdown"].rule["each"] == ["account"]
    assert "drawdown" not in {each.name for each in recognise(by_symbol, [BOT], NOW)}


def test_silence_is_judged_by_what_grows_old_when_the_bot_is_dead() -> None:
    """A log and a database are there all the same; a page's runtime says nothing of the bot."""

    def expr(kind: str, *metrics: str, **entry: str) -> list[str]:
        bot = SourceDraft("bot", {"type": kind, **entry}, "")
        found = recognise([FoundSeries("bot", name, (), 1.0) for name in metrics], [bot], NOW)
        return [each.kpi["expr"] for each in found if each.name == "silent"]

    assert expr("jsonl", "x", time="ts") == ['time() - jsonl_last_event_timestamp_seconds{source="bot"}']
    assert expr("json_file", "x") == ['json_file_age_seconds{source="bot"}']
    assert expr("scrape", "python_info", "x") == ['max(time() - timestamp(x{source="bot"}))']
    assert expr("log", "log_lines_total") == ['sum(increase(log_lines_total{source="bot"}[15m]))']
    assert expr("sql", "x") == []
