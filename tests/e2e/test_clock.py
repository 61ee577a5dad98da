"""A real watchdog whose machine's clock is set, and one that stands still."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import wait_until
from tests.support.ports import free_port

SET_CLOCK = """\
import os, time
real = time.time_ns
def time_ns():
    with open(os.environ["CLOCK_OFFSET"]) as file:
        return real() + int(file.read() or 0) * 1_000_000
time.time_ns, time.time = time_ns, lambda: time_ns() / 1e9
"""
"""What python runs at its start: the machine's clock as the file says. Nobody may set the real one."""

RULES = """\
targets: {bot: {}}
kpis: {x: {expr: x}, mean: {expr: "avg_over_time(x[8s])"}}
rules:
  - {name: high, kpi: x, target: bot, crit: {above: 5}}
  - {name: long, kpi: x, target: bot, crit: {above: 5, for: 4s}}
  - {name: mean, kpi: mean, target: bot, crit: {above: 8}}
"""


class Machine:
    """A bot's page, and a watchdog over it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.value, self.asked = folder, 1, 0
        self.port = free_port()
        machine = self

        class Page(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                machine.asked += 1
                body = f"x {machine.value}\n".encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.page = ThreadingHTTPServer(("127.0.0.1", 0), Page)
        threading.Thread(target=self.page.serve_forever, daemon=True).start()
        (folder / "rules").mkdir()
        (folder / "rules" / "r.yaml").write_text(RULES)
        address = f"http://127.0.0.1:{self.page.server_address[1]}/"
        (folder / "watchdog.yaml").write_text(
            f'sources: {{bot: {{type: scrape, url: "{address}", every: 500ms, timeout: 5s}}}}\nstate: state\n'
            f'web: {{listen: "127.0.0.1:{self.port}"}}\n'
        )
        (folder / "python").mkdir()
        (folder / "python" / "sitecustomize.py").write_text(SET_CLOCK)
        self.offset = 0
        self.set_clock(0)

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.watchdog = subprocess.Popen(
                [sys.executable, "-m", "watchdog", "run", "--config", str(self.folder)],
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    "PYTHONPATH": str(self.folder / "python"),
                    "CLOCK_OFFSET": str(self.folder / "offset"),
                },
                start_new_session=True,
            )
        wait_until(lambda: self.said("watching:") and self.asked > 2)

    def set_clock(self, step: int) -> None:
        """By so many ms."""
        self.offset += step
        new = self.folder / "offset.new"
        new.write_text(str(self.offset))
        new.rename(self.folder / "offset")

    def said(self, text: str) -> int:
        return (self.folder / "log").read_text().count(text)

    def rules(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/status", timeout=30) as answer:
            return {rule["rule"]: rule for rule in json.load(answer)["rules"] if rule["labels"]}

    def outcome(self, rule: str) -> str | None:
        found = self.rules().get(rule)
        return None if found is None else str(found["outcome"])

    def phases(self) -> dict[str, str]:
        return {name: rule["phase"] for name, rule in self.rules().items()}

    def close(self) -> None:
        for number in (signal.SIGCONT, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.watchdog.pid, number)
        self.watchdog.wait(60)
        self.page.shutdown()
        self.page.server_close()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    one = Machine(tmp_path)
    try:
        one.start()
        yield one
    finally:
        one.close()


HOUR = 3_600_000


def test_whatever_is_done_to_the_clock_the_watchdog_goes_on_and_says_so_once(machine: Machine) -> None:
    steps = {
        -2 * HOUR: "the clock was set back by 2 h",
        -20_000: "the clock was set back by 20 s",
        -1_000: "the clock was set back by 1 s",
        20_000: "the clock was set forward by 20 s",
        2 * HOUR: "the clock was set forward by 2 h",
        30 * 24 * HOUR: "the clock was set forward by 30 d",
    }
    wait_until(lambda: machine.outcome("mean") == "ok")
    for step, text in steps.items():
        asked, machine.value = machine.asked, 9
        machine.set_clock(step)
        wait_until(lambda text=text: machine.said(text), text)  # type: ignore[misc]
        wait_until(lambda: machine.phases().get("high") == "firing", "high")
        began = time.monotonic()
        assert machine.outcome("mean") in ("ok", "bad"), text
        wait_until(lambda: machine.phases().get("long") == "firing", "long")
        assert time.monotonic() - began > 2, "four seconds are four seconds"
        assert machine.asked > asked
        machine.value = 1
        wait_until(lambda: set(machine.phases().values()) == {"ok"}, "well")
    log = (machine.folder / "log").read_text()
    assert [log.count(f"WARNING {text}:") for text in steps.values()] == [1] * len(steps)
    assert "blind" not in log
    assert "nobody watched" not in log
    assert "Traceback" not in log


def test_after_standing_still_a_window_is_not_judged_by_the_one_sample_that_came_since(machine: Machine) -> None:
    wait_until(lambda: machine.outcome("mean") == "ok")
    os.killpg(machine.watchdog.pid, signal.SIGSTOP)
    asked = machine.asked
    time.sleep(9)  # it is what is tested
    assert machine.asked == asked
    machine.value = 9
    os.killpg(machine.watchdog.pid, signal.SIGCONT)
    wait_until(lambda: machine.said("nobody watched for"))
    seen: list[dict[str, Any]] = []

    def fires() -> bool:
        seen.append(machine.rules()["mean"])
        return bool(seen[-1]["phase"] == "firing")

    wait_until(fires)
    assert {rule["outcome"] for rule in seen[:3]} == {"nodata"}
    assert any("of 8 s" in rule["reason"] for rule in seen)
    assert machine.said("nobody watched for") == 1
