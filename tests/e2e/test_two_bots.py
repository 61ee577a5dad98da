"""A night with two bots under one watchdog, and one file of rules for both."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import TOY_BOT, E2EHarness, wait_until

pytestmark = pytest.mark.slow

SOURCE = '  {name}: {{type: scrape, url: "http://127.0.0.1:{port}/metrics", every: 200ms}}\n'
TARGET = """\
  {name}:
    repo: {repo}
    process: {{pid_file: bot.pid, command: ["{python}", "{bot}", "{port}"], log: ../bot.log}}
    sources: [{name}]
    vars: {{switch: TRADING}}
"""
RULES = """\
kpis:
  drawdown: {expr: "1 - equity / max_over_time(equity[1h])", unit: ratio, since: resume}
defaults: {target: all}
rules:
  - {name: drawdown, kpi: drawdown, crit: {at_least: 10%, plan: halt}}
plans:
  halt:
    kind: halt
    levels:
      - {name: no-entries, steps: [{do: flag, file: config.py, set: {"${switch}": false}}],
         verify: {that: [bot_entries_enabled == 0], give_up: 30s}}
"""


class Night:
    """Two bots, and the watchdog of the first one's folder."""

    def __init__(self, folder: Path) -> None:
        self.bots = {}
        for name in ("alpha", "beta"):
            (folder / name).mkdir()
            self.bots[name] = E2EHarness(folder / name)
        self.watchdog = self.bots["alpha"]

    def write_config(self, *names: str) -> None:
        folder = self.watchdog.folder
        (folder / "rules").mkdir(exist_ok=True)
        bots = {name: self.bots[name] for name in names}
        sources = "".join(SOURCE.format(name=name, port=bot.bot_port) for name, bot in bots.items())
        web = f'web: {{listen: "127.0.0.1:{self.watchdog.web_port}"}}\nreload: {{watch: true}}\n'
        (folder / "watchdog.yaml").write_text(f"sources:\n{sources}state: {folder / 'state'}\n{web}")
        targets = "".join(
            TARGET.format(name=name, repo=bot.repo, python=sys.executable, bot=TOY_BOT, port=bot.bot_port)
            for name, bot in bots.items()
        )
        (folder / "rules" / "bots.yaml").write_text(f"targets:\n{targets}{RULES}")

    def trades(self, name: str) -> bool:
        return "bot_entries_enabled 1" in (self.bots[name].bot_metrics() or "")

    def halts(self) -> list[tuple[str, str]]:
        return [(each["target"], run["plan"]) for each in self.watchdog.list_incidents() for run in each["runs"]]


@pytest.fixture
def night(tmp_path: Path) -> Iterator[Night]:
    made = Night(tmp_path)
    with contextlib.ExitStack() as ended:
        for bot in made.bots.values():
            ended.callback(bot.close)
        yield made


def test_the_second_bots_loss_halts_it_and_when_it_is_taken_away_the_first_is_watched_as_before(night: Night) -> None:
    for bot in night.bots.values():
        bot.restart_bot()
    night.write_config("alpha", "beta")
    night.watchdog.start_watchdog()
    night.watchdog.wait_until_healthy()

    night.bots["beta"].set_equity(843)
    wait_until(lambda: night.halts() == [("beta", "halt")], why="beta is halted")
    wait_until(lambda: not night.trades("beta"), why="beta trades no more")
    assert night.trades("alpha")
    assert {(row["target"], row["outcome"]) for row in night.watchdog.status()["rules"]} == {
        ("alpha", "ok"),
        ("beta", "bad"),
    }

    night.bots["beta"].kill_bot()
    night.write_config("alpha")
    wait_until(lambda: night.watchdog.status()["files"]["refused"], why="a latched bot does not go by itself")
    asked = night.watchdog.run_cli("reload", "--yes", "--reason", "beta is retired")
    assert asked.returncode == 0, asked.stderr
    assert set(night.watchdog.status()["sources"]) == {"alpha"}
    assert night.trades("alpha")
    night.bots["alpha"].set_equity(843)
    wait_until(lambda: ("alpha", "halt") in night.halts(), why="alpha is halted")
    wait_until(lambda: not night.trades("alpha"), why="alpha trades no more")
