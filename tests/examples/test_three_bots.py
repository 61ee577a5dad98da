"""Three bots, each of which speaks in its own way: the same KPIs are judged of all of them, by the same expressions."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ports import free_port
from watchdog.config import Config, load
from watchdog.offline.source_look import SourceLooker, undelivered_metrics

EXAMPLES = Path(__file__).parents[2] / "examples"
BOTS = {"jsonl_bot": "events.jsonl", "sql_bot": "bot.sqlite", "http_bot": "api.password"}
"""Example → what is there once the bot is at work."""
SHARED = {"drawdown", "losing_streak", "win_rate", "order_failures"}


def config_of(bot: str) -> Config:
    return load(EXAMPLES / bot / "config", environ={})


@pytest.mark.parametrize("kpi", sorted(SHARED))
def test_a_kpi_is_the_same_however_the_bot_speaks(kpi: str) -> None:
    found = {bot: config_of(bot).kpis[kpi] for bot in BOTS}

    assert len({(each.expr, each.needs, each.unit, each.since) for each in found.values()}) == 1, found


@pytest.mark.parametrize("bot", BOTS)
def test_each_of_them_is_judged(bot: str) -> None:
    config = config_of(bot)

    assert {rule.kpi for rule in config.rules.values()} == set(config.kpis)
    assert set(config.kpis) >= SHARED
    assert {problem.what for problem in config.warnings} <= {"there is no channel: messages go to the log"}


@contextlib.contextmanager
def running(bot: str, folder: Path, *options: str) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "bot.py", "--pace", "50", *options], cwd=folder)
    try:
        deadline = time.monotonic() + 60
        while not (folder / BOTS[bot]).exists():
            assert time.monotonic() < deadline, "the bot does not begin"
            time.sleep(0.01)
        yield
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.parametrize("bot", BOTS)
def test_all_that_is_judged_of_it_its_bot_really_says(bot: str, tmp_path: Path) -> None:
    folder, port = tmp_path / bot, free_port()
    shutil.copytree(EXAMPLES / bot, folder, ignore=shutil.ignore_patterns("__pycache__", "state"))
    for path in (folder / "config").rglob("*.yaml"):
        path.write_text(path.read_text().replace("127.0.0.1:8080", f"127.0.0.1:{port}"))
    config = load(folder / "config", environ={})
    looker = SourceLooker(config.sources, lambda: time.time_ns() // 1_000_000)

    with running(bot, folder, *(("--port", str(port)) if bot == "http_bot" else ())):
        deadline = time.monotonic() + 60
        while True:
            looks = looker.look(explain=False)
            said = {(each.name, dict(each.labels).get("result")) for look in looks for each in look.series}
            if {("trades_total", "win"), ("trades_total", "loss"), ("equity", None)} <= said:
                break
            assert time.monotonic() < deadline, looks
            time.sleep(0.05)

    assert undelivered_metrics(config, looks) == {}
    assert [look.error for look in looks] == [None]
