"""The pages of the example bots: what they say is typed in that order, up to the watchdog's start, and is well. How the nights
end is in tests/e2e."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.commands import CHECKOUT, shown_blocks
from tests.e2e.harness import wait_until
from tests.support.ports import free_port

BOTS = {"jsonl_bot": "events.jsonl", "sql_bot": "bot.sqlite", "http_bot": "api.password"}
"""Example → what is there once the bot is at work."""


class Terminal:
    """Lines of a page, typed one after the other in a copy of the example."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.started = folder, list[subprocess.Popen[bytes]]()
        self.environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def type(self, line: str) -> str:
        done = subprocess.run(
            ["bash", "-c", line], cwd=self.folder, env=self.environ, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        return done.stdout

    def type_and_leave(self, line: str) -> None:
        self.started.append(
            subprocess.Popen(["bash", "-c", f"{line}\nwait"], cwd=self.folder, env=self.environ, start_new_session=True)
        )


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for process in (each for terminal in opened for each in terminal.started):
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


@pytest.mark.slow
@pytest.mark.parametrize("bot", BOTS)
def test_what_the_page_of_an_example_says_works_in_its_order(
    bot: str, tmp_path: Path, terminals: list[Terminal]
) -> None:
    lines = shown_blocks(CHECKOUT / "examples" / bot / "README.md")[0]
    copy, enter, *others, run = [line.replace(f"/tmp/{bot}", str(tmp_path / bot)) for line in lines]
    Terminal(CHECKOUT).type(copy)
    assert (enter, run) == (f"cd {tmp_path / bot}", "trading-watchdog run --config config")
    terminals.append(terminal := Terminal(tmp_path / bot))
    ports = {"8080": str(free_port()), "9464": str(free_port())}  # others may have those of the files
    for path in [*terminal.folder.rglob("*.yaml"), terminal.folder / "bot.py"]:
        for old, new in ports.items():
            path.write_text(path.read_text().replace(old, new))

    printed = {}
    for line in others:
        if line.startswith("python"):
            terminal.type_and_leave(line)
            wait_until((terminal.folder / BOTS[bot]).exists)
        else:
            printed[line] = terminal.type(line)

    assert "well: " in printed["trading-watchdog check --probe --config config"]
    assert "could not be read" not in printed["trading-watchdog check --probe --config config"]
    assert ": up, " in printed["trading-watchdog sources --config config"]
