"""Three bots that have no metrics page: each goes bad in its own way, and is halted or rolled back by the files of its example."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import wait_until
from tests.support.ports import free_port
from watchdog.cli.status import incident_as_json
from watchdog.journal import open_journal

pytestmark = pytest.mark.quick

EXAMPLES = Path(__file__).parents[2] / "examples"


class Night:
    """A copy of an example, its bot and its watchdog."""

    def __init__(self, folder: Path, example: str, **changes: str) -> None:
        """`changes`: what stands otherwise in the files, beside the addresses: the example's text → that of the test."""
        self.folder, self.web_port = folder / example, free_port()
        shutil.copytree(EXAMPLES / example, self.folder, ignore=shutil.ignore_patterns("__pycache__", "state"))
        self.environ = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
        for path in (self.folder / "config").rglob("*.yaml"):
            text = path.read_text().replace("127.0.0.1:9464", f"127.0.0.1:{self.web_port}")
            for old, new in changes.items():
                text = text.replace(old, new)
            path.write_text(text)
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, argv: Sequence[str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.out").open("ab") as log:
            self._started.append(
                subprocess.Popen(
                    argv, cwd=self.folder, stdout=log, stderr=log, env=self.environ, start_new_session=True
                )
            )
        return self._started[-1]

    def start_bot(self, *options: str) -> None:
        self.start("bot", [sys.executable, "bot.py", "--pace", "50", *options])

    def start_watchdog(self, folder: str = "config") -> None:
        self.start("watchdog", [sys.executable, "-m", "watchdog", "run", "--config", folder])

    def incidents(self, folder: str = "config") -> list[dict[str, Any]]:
        if not (self.folder / folder / "state" / "journal.db").exists():
            return []
        journal = open_journal(self.folder / folder / "state", migrate=False)
        try:
            return [incident_as_json(journal, one, timeline=False) for one in journal.incidents.list_incidents()]
        finally:
            journal.close()

    def wait_for_run(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The incident and its run, once that has ended."""

        def ended() -> list[tuple[dict[str, Any], dict[str, Any]]]:
            return [(one, run) for one in self.incidents() for run in one["runs"] if run["outcome"]]

        return wait_until(ended, why=(self.folder / "watchdog.out").read_text())[0]

    def git(self, *args: str) -> str:
        done = subprocess.run(["git", *args], cwd=self.folder, env=self.environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def close(self) -> None:
        for process in reversed(self._started):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(60)
                except subprocess.TimeoutExpired:
                    process.kill()
            process.wait()
        with contextlib.suppress(OSError, ValueError):  # started by the watchdog
            os.kill(int((self.folder / "bot.pid").read_text()), signal.SIGKILL)


@pytest.fixture
def nights() -> Iterator[list[Night]]:
    opened: list[Night] = []
    yield opened
    for night in opened:
        night.close()


def test_a_bot_that_writes_json_lines_is_halted_when_it_loses_trade_after_trade(
    tmp_path: Path, nights: list[Night]
) -> None:
    nights.append(night := Night(tmp_path, "jsonl_bot"))
    night.start_bot("--bad-after", "50")
    wait_until((night.folder / "events.jsonl").exists)
    night.start_watchdog()

    incident, run = night.wait_for_run()

    assert [trip["rule"] for trip in incident["trips"]] == ["losing-streak"]
    assert (run["plan"], run["outcome"]) == ("halt", "proven")
    assert json.loads((night.folder / "settings.json").read_text()) == {"trading": False}


@pytest.mark.slow
def test_a_bot_that_keeps_its_books_in_sqlite_is_rolled_back_to_the_version_that_won(
    tmp_path: Path, nights: list[Night]
) -> None:
    nights.append(
        night := Night(tmp_path, "sql_bot", **{"[python3, bot.py]": f"['{sys.executable}', bot.py, --pace, '50']"})
    )
    for words in (
        "init -q -b main",
        "config user.email dev@example.invalid",
        "config user.name Dev",
        "add bot.py model.py",
    ):
        night.git(*words.split())
    night.git("commit", "-q", "-m", "v1")
    night.git("switch", "-q", "-c", "v2")
    (night.folder / "model.py").write_text('VERSION = "v2"\nWIN_RATE = 0.0\n')
    night.git("commit", "-q", "-am", "v2: bolder")
    night.git("switch", "-q", "main")
    night.git("merge", "-q", "--no-ff", "-m", "Merge v2", "v2")
    night.git("tag", "v2-merge")
    night.start("bot", [sys.executable, "bot.py", "--pace", "50"])
    (night.folder / "bot.pid").write_text(f"{night._started[-1].pid}\n")
    wait_until((night.folder / "bot.sqlite").exists)
    night.start_watchdog()

    incident, run = night.wait_for_run()

    assert [trip["rule"] for trip in incident["trips"]] == ["win-rate"]
    assert (run["plan"], run["outcome"]) == ("rollback", "proven")
    assert "0.7" in (night.folder / "model.py").read_text()
    assert night.git("log", "-1", "--format=%s").startswith("Revert")
    with contextlib.closing(sqlite3.connect(night.folder / "bot.sqlite")) as books:
        (version,) = books.execute("SELECT version FROM account ORDER BY t DESC LIMIT 1").fetchone()
    assert version == "v1"


def test_a_bot_with_a_json_api_behind_a_login_is_stopped_through_it_when_its_orders_fail(
    tmp_path: Path, nights: list[Night]
) -> None:
    port = free_port()
    nights.append(night := Night(tmp_path, "http_bot", **{"127.0.0.1:8080": f"127.0.0.1:{port}"}))
    night.start_bot("--bad-after", "50", "--port", str(port))
    wait_until((night.folder / "api.password").exists)
    night.start_watchdog()

    incident, run = night.wait_for_run()

    assert [trip["rule"] for trip in incident["trips"]] == ["orders-fail"]
    assert (run["plan"], run["outcome"]) == ("halt", "proven")


@pytest.mark.slow
def test_from_init_to_the_first_trip_nothing_has_to_be_edited(tmp_path: Path, nights: list[Night]) -> None:
    nights.append(night := Night(tmp_path, "jsonl_bot"))
    shutil.rmtree(night.folder / "config")
    night.start_bot("--bad-after", "50")
    wait_until(
        lambda: (night.folder / "events.jsonl").exists() and (night.folder / "events.jsonl").stat().st_size > 4_000
    )

    for command in (["init", ".", "--config", "new"], ["check", "--config", "new"]):
        done = subprocess.run(
            [sys.executable, "-m", "watchdog", *command], cwd=night.folder, capture_output=True, text=True, timeout=180
        )
        assert done.returncode == 0, done.stderr + done.stdout
    assert " error" not in done.stdout
    main = night.folder / "new" / "watchdog.yaml"
    main.write_text(main.read_text().replace("127.0.0.1:9464", f"127.0.0.1:{night.web_port}"))  # others use that one
    night.start_watchdog("new")

    (incident,) = wait_until(lambda: night.incidents("new"))

    assert {trip["rule"] for trip in incident["trips"]} <= {"losing-streak", "drawdown"}  # whichever is there first
