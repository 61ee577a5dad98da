"""kill -9 of the daemon while bots write and rotate: of no line an increment is lost, and none is counted twice."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import wait_until
from tests.host.test_tail_races import Bot
from tests.support.ports import free_port

KILLS = int(os.environ.get("KILLS", "4"))
CONFIG = """\
sources:
  lines:
    type: jsonl
    files: {bots}/events.jsonl
    every: 100ms
    values: {{n_total: {{count: n}}, v_total: {{sum: n}}}}
  log:
    type: log
    files: {bots}/bot.log
    every: 100ms
    event_start: '^'
    values: {{n_total: {{count: '^line '}}, v_total: {{sum: '^line (?P<value>[0-9]+)'}}}}
state: {state}
web: {{listen: "127.0.0.1:{port}"}}
"""
RUN = """
import runpy
from watchdog.app import daemon
daemon.WRITE_INTERVAL = 0.3
runpy.run_module("watchdog", run_name="__main__")
"""
"""What is remembered is written down every 60 s; so a kill would mostly meet the state of the start."""


class JsonBot(Bot):
    def line(self, number: int) -> bytes:
        return b'{"n": %d}\n' % number


class Daemon:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bots").mkdir()
        (folder / "rules").mkdir()
        (folder / "watchdog.yaml").write_text(
            CONFIG.format(bots=folder / "bots", state=folder / "state", port=free_port())
        )
        self.log = folder / "daemon.log"
        self.log.touch()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        argv = [sys.executable, "-c", RUN, "run", "--config", str(self.folder)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)

    def wait_until_watching(self) -> None:
        before = self.log.read_text().count("watching:")
        self.start()
        wait_until(lambda: self.log.read_text().count("watching:") > before, "it watches")

    def kill(self) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def counted(self, source: str) -> dict[str, float]:
        """What it has written down."""
        try:
            with contextlib.closing(sqlite3.connect(f"file:{self.folder}/state/series.db?mode=ro", uri=True)) as db:
                row = db.execute("SELECT state FROM source_state WHERE source = ?", (source,)).fetchone()
        except sqlite3.OperationalError:  # it is not there yet
            return {}
        state: dict[str, Any] = {} if row is None else json.loads(row[0])
        rows = "values" if "values" in state else "series"
        field = "rows" if rows == "values" else "sets"
        return {name: sum(each[1] for each in value[field]) for name, value in state.get(rows, {}).items()}


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    made = Daemon(tmp_path)
    yield made
    made.kill()


def test_every_line_counts_once_whenever_it_is_killed(daemon: Daemon) -> None:
    chance = random.Random(os.environ.get("SEED", "1"))
    bots = {"lines": JsonBot(daemon.folder / "bots", "events.jsonl"), "log": Bot(daemon.folder / "bots")}
    stop = threading.Event()
    errors: list[BaseException] = []

    def write(source: str, bot: Bot) -> None:
        ways: list[Callable[[], None]] = [bot.copy_and_truncate, bot.rename, bot.pack, bot.new_day]
        if KILLS > 10:
            ways.append(lambda: delete(source, bot))
        try:
            while not stop.wait(chance.random() * 0.05):
                bot.write(chance.randrange(1, 200))
                if chance.random() < 0.1:
                    way = chance.choice(ways)
                    bot.rotations.append((time.time(), way.__name__, bot.written))
                    way()
        except BaseException as error:
            errors.append(error)

    def delete(source: str, bot: Bot) -> None:
        """What is read and written down; more is gone with the file."""
        if is_counted(source, bot):
            bot.path.unlink()
            bot.path.touch()

    def expected(bot: Bot) -> dict[str, float]:
        return {"n_total": bot.written, "v_total": bot.written * (bot.written + 1) / 2}

    def is_counted(source: str, bot: Bot) -> bool:
        return daemon.counted(source) == expected(bot)

    daemon.wait_until_watching()
    wait_until(lambda: all(daemon.counted(source) for source in bots), "it has looked once")
    writers = [threading.Thread(target=write, args=each, daemon=True) for each in bots.items()]
    for writer in writers:
        writer.start()
    for _ in range(KILLS):
        time.sleep(chance.random() * 1.5)
        daemon.kill()
        daemon.wait_until_watching()
    stop.set()
    for writer in writers:
        writer.join()

    assert not errors
    for source, bot in bots.items():
        for _ in range(2):
            with contextlib.suppress(AssertionError):
                wait_until(lambda: is_counted(source, bot), seconds=30 + 4 * KILLS)  # noqa: B023
            assert daemon.counted(source) == expected(bot), f"{source}: {bot.rotations}"
            bot.write(1)
