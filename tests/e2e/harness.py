"""A night in a folder: a real bot, its real git repository, and a real watchdog process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import psutil

from tests.support.ports import free_port
from tests.support.processes import is_alive
from watchdog.cli.status import incident_as_json
from watchdog.journal import open_journal

T = TypeVar("T")
TOY_BOT = Path(__file__).with_name("toy_bot.py")

MAIN_TEMPLATE = """\
sources:
  bot: {{type: scrape, url: "http://127.0.0.1:{port}/metrics", every: 200ms}}
  process: {{type: process, pid_file: bot/bot.pid, every: 500ms}}
state: {state}
web: {{listen: "127.0.0.1:{web}"}}
"""

RULES_TEMPLATE = """\
targets:
  {name}:
    repo: {repo}
    {place}
    cooldown: 1s
    settling: 1s
kpis:
  errors: {{expr: error_ratio, unit: ratio, baseline: 1%}}
  drawdown: {{expr: "1 - equity / max_over_time(equity[1h])", unit: ratio, since: resume}}
{kpis}
defaults: {{target: {name}}}
rules:
  - {{name: errors-high, kpi: errors, crit: {{above: 10%, for: 600ms, plan: ladder}}}}
  - {{name: drawdown, kpi: drawdown, crit: {{at_least: 10%, plan: halt}}}}
{rules}
plans:
  halt:
    kind: halt
    levels:
      - {{name: no-entries, steps: [{{do: flag, file: config.py, set: {{TRADING: false}}}}],
         verify: {{that: [bot_entries_enabled == 0], give_up: 5s}}}}
{plans}
  ladder:
    kind: repair
    mode: auto
    exhausted: halt
    before: [{{do: flag, file: config.py, set: {{TRADING: false}}}}]
    proven: [{{do: flag, file: config.py, set: {{TRADING: true}}}}]
    verify: {{settle: {settle}, that: ["increase(beats_total[1s]) > 0"], quiet: 600ms, give_up: {give_up}, watch: 500ms}}
    levels:
      - {{name: feature, steps: [{{do: flag, file: config.py, set: {{FEATURE_V2: false}}}}, {{{restart}}}]}}
      - {{name: version, steps: [{{do: git, revert: v2-merge}}, {{{restart}}}], verify: {{settle: 800ms}}}}
"""


def wait_until(condition: Callable[[], T], why: str = "", seconds: float = 90.0) -> T:
    """The first true answer; fails with the last one when there is none in time. Patient: the machine may be busy."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {why or condition} (last answer: {answer!r})")
        time.sleep(0.05)


class E2EHarness:
    """One bot and its watchdog in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repo = folder / "bot"
        self.bot_port, self.web_port = free_port(), free_port()
        self.environ = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
        self.watchdogs: list[subprocess.Popen[bytes]] = []
        self.repo.mkdir()
        self.set_equity(1000)
        self.git("init", "-q", "-b", "main")
        self.git("config", "user.email", "dev@example.invalid")
        self.git("config", "user.name", "Dev")
        self.write_repo_file("config.py", "TRADING = True  # new positions\n")
        self.write_repo_file("model.py", "ERRORS = 0.01\n")
        self.write_repo_file(".gitignore", "bot.pid\n__pycache__/\n")
        self.commit("v1")
        self.git("tag", "v1")

    def write_config(self, *, settle: str = "800ms", give_up: str = "10s", extra_main: str = "") -> None:
        """`extra_main`: lines for watchdog.yaml, such as channels."""
        (self.folder / "rules").mkdir(exist_ok=True)
        ports = {"port": self.bot_port, "web": self.web_port, "state": self.folder / "state"}
        place = f'process: {{pid_file: bot.pid, command: ["{sys.executable}", "{TOY_BOT}", "{self.bot_port}"], log: ../bot.log}}'
        (self.folder / "watchdog.yaml").write_text(MAIN_TEMPLATE.format(**ports) + extra_main)
        (self.folder / "rules" / "toy.yaml").write_text(
            RULES_TEMPLATE.format(
                name="toy",
                repo=self.repo,
                place=place,
                restart="do: process, restart: process",
                settle=settle,
                give_up=give_up,
                kpis="",
                rules="",
                plans="",
            )
        )

    # the repository

    def git(self, *args: str) -> str:
        done = subprocess.run(
            ["git", *args], cwd=self.repo, env=self.environ, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def write_repo_file(self, name: str, text: str) -> None:
        (self.repo / name).write_text(text)

    def commit(self, message: str) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)

    def deploy_v2(self, model: str, *, squashed: bool = False) -> str:
        """Merges v2 behind its flag, restarts the bot; returns the merge.

        `squashed`: as a plain commit; the tag is the branch's end."""
        self.git("switch", "-q", "-c", "v2")
        self.write_repo_file("model.py", model)
        self.write_repo_file("config.py", "TRADING = True  # new positions\nFEATURE_V2 = True\n")
        self.commit("v2: a better model")
        self.git("switch", "-q", "main")
        if squashed:
            self.git("tag", "v2-merge", "v2")
            self.git("merge", "-q", "--squash", "v2")
            self.git("commit", "-q", "-m", "v2 (#1)")
        else:
            self.git("merge", "-q", "--no-ff", "-m", "Merge v2", "v2")
            self.git("tag", "v2-merge")
        self.restart_bot()
        return self.git("rev-parse", "HEAD")

    def revert_commits(self) -> list[str]:
        return [line for line in self.git("log", "--format=%s").splitlines() if line.startswith("Revert")]

    # the bot

    def set_equity(self, value: float) -> None:
        (self.folder / "equity.txt").write_text(str(value))

    def bot_pid(self) -> int | None:
        try:
            pid = int((self.repo / "bot.pid").read_text())
        except (OSError, ValueError):
            return None
        return pid if is_alive(pid) else None

    def kill_bot(self) -> None:
        if (pid := self.bot_pid()) is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                bot = psutil.Process(pid)
                bot.kill()
                wait_until(lambda: not is_alive(bot))

    def restart_bot(self) -> None:
        """As a person does it: not through the watchdog."""
        self.kill_bot()
        with (self.folder / "bot.log").open("ab") as log:
            bot = subprocess.Popen(
                [sys.executable, str(TOY_BOT), str(self.bot_port)],
                cwd=self.repo,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._bot_processes = [*getattr(self, "_bot_processes", []), bot]
        (self.repo / "bot.pid").write_text(f"{bot.pid}\n")
        wait_until(lambda: self.bot_metrics() is not None, why="the bot answers")

    def bot_metrics(self) -> str | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.bot_port}/metrics", timeout=90) as page:
                return str(page.read().decode())
        except OSError:
            return None

    # the watchdog

    def start_watchdog(self, **environ: str) -> subprocess.Popen[bytes]:
        with (self.folder / "watchdog.log").open("ab") as log:
            dog = subprocess.Popen(
                [sys.executable, "-m", "watchdog", "run", "--config", str(self.folder)],
                stdout=log,
                stderr=log,
                env={**self.environ, **environ},
                start_new_session=True,
            )
        self.watchdogs.append(dog)
        wait_until(lambda: dog.poll() is not None or self.watchdog_metrics() is not None, why="the watchdog answers")
        assert dog.poll() is None, self.watchdog_log()
        return dog

    def watchdog_log(self) -> str:
        return (self.folder / "watchdog.log").read_text()

    def watchdog_metrics(self) -> str | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.web_port}/metrics", timeout=90) as page:
                return str(page.read().decode())
        except OSError:
            return None

    def status(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.web_port}/api/status", timeout=90) as page:
            known: dict[str, Any] = json.load(page)
        return known

    def run_cli(self, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "watchdog", *args, "--config", str(self.folder)],
            capture_output=True,
            text=True,
            env=self.environ,
            timeout=180,
        )

    def list_incidents(self, number: int | None = None) -> list[dict[str, Any]]:
        """What `incidents --json` prints, without a process for each look."""
        journal = open_journal(self.folder / "state", migrate=False)
        try:
            one = None if number is None else journal.incidents.find_incident(number)
            found = journal.incidents.list_incidents() if number is None else [one] if one is not None else []
            return [incident_as_json(journal, one, timeline=number is not None) for one in found]
        finally:
            journal.close()

    def list_runs(self) -> list[dict[str, Any]]:
        """Every plan run, oldest first."""
        return [run for one in reversed(self.list_incidents()) for run in one["runs"]]

    def wait_until_healthy(self) -> None:
        """Waits until the watchdog has judged every rule and found it well."""

        def well() -> bool:
            rules = self.status()["rules"]
            return len(rules) >= 2 and all(rule["outcome"] == "ok" for rule in rules)

        wait_until(well, why="all rules are well")
        wait_until(self._commit_was_seen, why="the bot's commit was seen")

    def _commit_was_seen(self) -> bool:
        """What is deployed from now on is somebody else's doing."""
        with contextlib.closing(sqlite3.connect(f"file:{self.folder}/state/journal.db?mode=ro", uri=True)) as journal:
            return any(head for (head,) in journal.execute("SELECT head FROM target"))

    def close(self) -> None:
        for dog in self.watchdogs:
            if dog.poll() is None:
                dog.send_signal(signal.SIGTERM)
                try:
                    dog.wait(90)
                except subprocess.TimeoutExpired:
                    dog.kill()
                    dog.wait()
        self.kill_bot()
        for bot in getattr(self, "_bot_processes", []):
            bot.wait()
