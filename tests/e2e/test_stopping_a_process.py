"""A halt stops the bot itself, whatever its pid file says, or goes on; with a real daemon, real bots and what they begin."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.harness import E2EHarness, wait_until
from tests.support.processes import is_alive

pytestmark = pytest.mark.slow

BOT = """\
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
open("child.pid", "w").write(str(child.pid))
time.sleep(600)
"""
MAIN = """\
sources:
  equity: {{type: json_file, file: equity.json, every: 200ms, max_age: 1h, values: {{equity: equity}}}}
  process: {{type: process, pid_file: bot/bot.pid, every: 200ms}}
state: state
web: {{listen: "127.0.0.1:{web}"}}
"""
RULES = """\
targets:
  toy: {{repo: {repo}, process: {{pid_file: bot.pid, command: ["{python}", bot.py]}}}}
kpis:
  worth: {{expr: equity}}
  alive: {{expr: process_up}}
defaults: {{target: toy}}
rules:
  - {{name: worth, kpi: worth, crit: {{below: 900, plan: halt}}}}
  - {{name: alive, kpi: alive, warn: {{below: 1, for: 1h}}}}
plans:
  halt:
    kind: halt
    levels:
      - {{name: stop, steps: [{{do: process, stop: process, grace: 2s}}], verify: {{that: [process_up == 0], give_up: 60s}}}}
      - {{name: flag, steps: [{{do: flag, file: config.py, set: {{TRADING: false}}}}], verify: {{that: [equity > 0]}}}}
"""


class Night:
    def __init__(self, folder: Path) -> None:
        self.harness = E2EHarness(folder)
        self.bots: list[subprocess.Popen[bytes]] = []
        self.set_worth(1_000)
        (folder / "rules").mkdir()
        (folder / "watchdog.yaml").write_text(MAIN.format(web=self.harness.web_port))
        (folder / "rules/toy.yaml").write_text(RULES.format(repo=self.harness.repo, python=sys.executable))

    def set_worth(self, value: float) -> None:
        beside = self.harness.folder / "equity.new"
        beside.write_text(f'{{"equity": {value}}}')
        beside.rename(self.harness.folder / "equity.json")

    def start_bot(self, name: str, *more: str) -> subprocess.Popen[bytes]:
        """In a folder of that name, with a child in a session of its own."""
        folder = self.harness.folder / name
        folder.mkdir(exist_ok=True)
        (folder / "bot.py").write_text(BOT)
        bot = subprocess.Popen([sys.executable, "bot.py", *more], cwd=folder, start_new_session=True)
        self.bots.append(bot)
        wait_until(lambda: (folder / "child.pid").exists() and self.child(name), why="the bot has begun its child")
        return bot

    def child(self, name: str) -> int:
        return int((self.harness.folder / name / "child.pid").read_text() or 0)

    def halt(self) -> dict[str, Any]:
        """The halt, once it has ended."""
        self.harness.start_watchdog()
        self.harness.wait_until_healthy()
        self.set_worth(800)
        wait_until(lambda: any(run["outcome"] for run in self.harness.list_runs()), why="the halt has ended")
        return self.harness.list_runs()[0]

    def close(self) -> None:
        for bot in self.bots:
            with contextlib.suppress(psutil.Error):
                for each in psutil.Process(bot.pid).children(recursive=True):
                    each.kill()
            bot.kill()
            bot.wait(60)
        with contextlib.suppress(OSError, ValueError):
            for path in self.harness.folder.glob("*/child.pid"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(path.read_text()), 9)
        (self.harness.repo / "bot.pid").unlink(missing_ok=True)
        self.harness.close()


@pytest.fixture
def night(tmp_path: Path) -> Iterator[Night]:
    made = Night(tmp_path)
    yield made
    made.close()


def test_a_halt_ends_the_bot_that_its_stale_pid_file_does_not_name_and_not_the_one_next_door(night: Night) -> None:
    bot, next_door = night.start_bot("bot"), night.start_bot("next door")
    (night.harness.repo / "bot.pid").write_text(str(next_door.pid))
    run = night.halt()

    assert (run["plan"], run["outcome"]) == ("halt", "proven")
    assert not is_alive(bot.pid)
    assert not is_alive(night.child("bot"))
    assert is_alive(next_door.pid)
    assert is_alive(night.child("next door"))
    assert (night.harness.repo / "config.py").read_text().startswith("TRADING = True")


def test_a_halt_goes_on_to_its_next_level_where_nobody_can_tell_that_the_bot_is_gone(night: Night) -> None:
    bot = night.start_bot("bot", "--with-more-words")
    (night.harness.repo / "bot.pid").write_text(str(bot.pid))
    night.harness.start_watchdog()
    wait_until(lambda: "equity" in night.harness.status()["sources"], why="the watchdog watches")
    night.set_worth(800)
    wait_until(lambda: any(run["outcome"] for run in night.harness.list_runs()), why="the halt has ended")

    assert is_alive(bot.pid)
    assert (night.harness.repo / "config.py").read_text().startswith("TRADING = False")
    assert "which runs" in (night.harness.folder / "watchdog.log").read_text()
