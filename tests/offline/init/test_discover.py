"""What `init` takes a folder, a file and an address for."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from tests.support.raw_http_server import StartServer, respond_with, start_server
from watchdog.offline.init.discover import Discovery, discover
from watchdog.offline.init.write import main_text

__all__ = ["start_server"]

DAY = 86_400
LOG_LINE = "2026-12-01 05:00:00,123 - bot - ERROR - no answer\n"


def look(folder: Path) -> Discovery:
    return discover([str(folder)], time.time())


def events(every: float, **values: object) -> str:
    now = int(time.time())
    return "".join(json.dumps({"ts": now - (20 - n) * every, **values}) + "\n" for n in range(20))


@pytest.fixture
def bot(tmp_path: Path) -> Path:
    (tmp_path / "bot").mkdir()
    return tmp_path / "bot"


def test_the_files_of_each_day_are_one_source_without_a_day_in_its_name(bot: Path) -> None:
    for day in ("2026-11-30", "2026-12-01"):
        (bot / f"events-{day}.jsonl").write_text(events(0.5, equity=1.5))

    (source,) = look(bot).sources

    assert (source.name, source.entry["files"]) == ("events", f"{bot}/events-*.jsonl")


def test_a_bot_that_writes_once_a_minute_is_read_so_that_its_values_are_believed_until_the_next(bot: Path) -> None:
    (bot / "events.jsonl").write_text(events(60, equity=1.5))

    (source,) = look(bot).sources

    assert (source.entry["every"], source.entry["max_age"], source.gap) == ("1s", "5m", 60)


def test_settings_are_no_state_however_young_they_are(bot: Path) -> None:
    (bot / "config.json").write_text('{"stake_amount": 1000, "secret": "s3cr3t"}')
    (bot / "state.json").write_text('{"equity": 1000, "last_order_id": 5, "config": {"grid": 7}}')

    (source,) = look(bot).sources

    assert (source.name, source.entry["values"]) == ("state", {"equity": "equity"})


def test_one_file_that_cannot_be_read_costs_no_other(bot: Path) -> None:
    (bot / "fake.sqlite").write_text("SQLite format 3\0garbage")
    (bot / "bot.log").write_text(LOG_LINE)

    found = look(bot)

    assert [source.name for source in found.sources] == ["bot-log"]
    assert "fake.sqlite cannot be read as a database" in found.notes[0]


def test_a_folder_of_metrics_files_is_one_source(bot: Path) -> None:
    for name in ("a.prom", "b.prom"):
        (bot / name).write_text("equity 5\n")

    assert [source.entry["folder"] for source in look(bot).sources] == [str(bot)]


def test_a_file_for_each_trade_is_no_state_file(bot: Path) -> None:
    for number in range(30):
        (bot / f"trade-{number:05}.json").write_text('{"pnl": 3}')

    found = look(bot)

    assert found.sources == []
    assert found.notes == [
        f"{bot}/trade-*.json: there is more than one of that kind: which of them says how it is now?"
    ]


def test_half_a_line_does_not_make_a_log_of_lines_of_json(bot: Path) -> None:
    (bot / "half.jsonl").write_text('{"equity": 5}\n{"equ')
    (bot / "start.jsonl").write_text('{"equ')

    assert [(source.name, source.entry["type"]) for source in look(bot).sources] == [("half", "jsonl")]


def test_what_nobody_wrote_to_for_a_week_is_left_out(bot: Path) -> None:
    (bot / "old.log").write_text(LOG_LINE)
    os.utime(bot / "old.log", (time.time() - 8 * DAY,) * 2)

    found = look(bot)

    assert (found.sources, len(found.notes)) == ([], 1)


@pytest.mark.parametrize("name", ["a [x]*?.jsonl", "new\nline.jsonl", "é.jsonl", "a: #b.jsonl"])
def test_any_name_of_a_file_is_one_line_of_the_file_and_names_that_file(bot: Path, name: str) -> None:
    (bot / name).write_text(events(1, equity=5))

    found = look(bot)
    text = main_text(found.sources, {}, [], own_state=True)

    (source,) = yaml.safe_load(text)["sources"].values()
    assert source["files"] == found.sources[0].entry["files"]
    assert sum("files:" in line for line in text.splitlines()) == 1
    assert list(bot.glob(Path(source["files"]).name)) == [bot / name]


def test_only_a_plugin_is_run(bot: Path) -> None:
    for name in ("check_bot", "retrain.sh"):
        (bot / name).write_text("#!/bin/sh\ntouch ran\n")
        (bot / name).chmod(0o755)

    (plugin,) = look(bot / "check_bot").sources
    job = look(bot / "retrain.sh")

    assert (plugin.entry["type"], plugin.entry["run"]) == ("command", [str(bot / "check_bot")])
    assert job.sources == []
    assert "docs/sources/heartbeat.md" in job.notes[0]


def test_the_books_of_freqtrade_are_won_lost_lost_in_a_row_and_open(bot: Path) -> None:
    path = bot / "tradesv3.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.executescript(
            """
            CREATE TABLE trades (id INTEGER PRIMARY KEY, is_open BOOLEAN, open_rate FLOAT, close_profit FLOAT,
                close_profit_abs FLOAT, realized_profit FLOAT, open_date DATETIME, close_date DATETIME);
            INSERT INTO trades VALUES (1, 0, 5.0, 0.1, 9.0, 9.0, '2026-12-01 01:00:00', '2026-12-01 01:01:00'),
                (2, 0, 5.0, -0.1, -9.0, -9.0, '2026-12-01 02:00:00', '2026-12-01 02:09:00'),
                (3, 0, 5.0, 0.1, 9.0, 9.0, '2026-12-01 02:01:00', '2026-12-01 02:02:00'),
                (4, 1, 5.0, NULL, NULL, 0.0, '2026-12-01 03:00:00', NULL);
            CREATE TABLE orders (id INTEGER PRIMARY KEY, price FLOAT, order_date DATETIME);
            INSERT INTO orders VALUES (1, 5.0, '2026-12-01 01:00:00');
            """
        )

    (source,) = look(bot).sources

    values: dict[str, float] = {}
    with closing(sqlite3.connect(path)) as database:
        for query in source.entry["queries"]:
            row = database.execute(query["query"]).fetchone()
            values |= dict(zip(query["values"], row, strict=True))
    assert values == {"trades_won_total": 2, "trades_lost_total": 1, "open_trades": 1, "losing_streak": 1}


@pytest.mark.parametrize("path", ["", "/api/v1", "/api/v1/profit"])
def test_freqtrade_is_known_by_its_ping_and_wants_only_a_password(start_server: StartServer, path: str) -> None:
    url = start_server(respond_with('{"status": "pong"}')).url.split("/")[2]

    found = discover([f"{url}{path}"], time.time())

    assert {source.entry["url"].rpartition("/")[2] for source in found.sources} == {
        "profit",
        "balance",
        "count",
        "health",
        "show_config",
    }
    assert all(source.waits_for and "password_file" in source.entry["login"]["basic"] for source in found.sources)
    assert found.target.name == "freqtrade"
