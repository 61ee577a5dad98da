"""A bot that no page is read of: it pushes, counts over UDP, and its jobs call in."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.e2e.harness import wait_until
from tests.support.ports import free_port

TOKEN = "a-token-of-the-bots-own"
MAIN = """\
sources:
  bot: {{type: push, token_file: token, every: 1s, timeout: 1h}}
  counts: {{type: statsd, listen: "127.0.0.1:{udp}"}}
  job: {{type: heartbeat, token_file: token, every: 200ms}}
state: state
web: {{listen: "127.0.0.1:{web}"}}
"""
RULES = """\
targets: {{bot: {{repo: {folder}}}}}
kpis:
  equity: {{expr: equity, unit: count}}
  rejected: {{expr: "orders_rejected", unit: count}}
rules:
  - {{name: too-low, kpi: equity, target: bot, crit: {{below: 10, plan: stop}}}}
plans:
  stop:
    kind: halt
    levels:
      - name: file
        steps: [{{do: command, run: [touch, {folder}/stopped]}}]
        verify: {{that: [equity > 100, "orders_rejected == 3", "heartbeat_success == 1"], give_up: 60s}}
"""


class Watchdog:
    def __init__(self, folder: Path) -> None:
        self.folder, self.web, self.udp = folder, free_port(), free_port(socket.SOCK_DGRAM)
        (folder / "rules").mkdir()
        (folder / "token").write_text(TOKEN)
        (folder / "token").chmod(0o600)
        (folder / "watchdog.yaml").write_text(MAIN.format(udp=self.udp, web=self.web))
        (folder / "rules" / "rules.yaml").write_text(RULES.format(folder=folder))

    @contextlib.contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        command = [sys.executable, "-m", "watchdog", "run", "--config", str(self.folder)]
        with (self.folder / "log").open("ab") as log, subprocess.Popen(command, stderr=log, env=os.environ) as daemon:
            try:
                wait_until(lambda: self.push({"starting": 1}), "what is pushed is taken")
                yield daemon
            finally:
                daemon.kill()

    def ask(self, path: str, body: bytes | None = None) -> str:
        """What is answered; empty when that is an error."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.web}{path}", body)
        request.add_header("Authorization", f"Bearer {TOKEN}")
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return f"{answer.status} {answer.read().decode()}"
        except OSError:
            return ""

    def push(self, values: dict[str, float]) -> str:
        return self.ask("/push/bot", json.dumps(values).encode())

    def count(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bot:
            bot.sendto(b"orders.rejected:1|c", ("127.0.0.1", self.udp))

    def value(self, expression: str) -> float | None:
        answer = self.ask(f"/api/query?expr={quote(expression)}")
        series = json.loads(answer.partition(" ")[2] or "{}").get("series", [])
        return float(series[0]["values"][-1]) if series else None


def test_what_is_told_trips_proves_and_outlives_a_restart(tmp_path: Path) -> None:
    watchdog = Watchdog(tmp_path)
    with watchdog.running() as daemon:
        watchdog.push({"equity": 1_000})
        watchdog.push({"equity": 5})
        wait_until((tmp_path / "stopped").exists, "the action has acted")

        watchdog.count()
        watchdog.count()
        assert watchdog.ask(f"/heartbeat/job/{TOKEN}/start") == "200 OK\n"
        assert watchdog.ask(f"/heartbeat/job/{TOKEN}/0") == "200 OK\n"
        wait_until(lambda: watchdog.value("orders_rejected") == 2, "what is counted is kept")
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(30) == 0
    with watchdog.running() as daemon:
        watchdog.count()
        wait_until(lambda: watchdog.value("orders_rejected") == 3, "the counter goes on")
        assert watchdog.value("equity") is None, "what was pushed before says nothing of now"
        wait_until(lambda: (watchdog.value("heartbeat_age_seconds") or 0) > 1, "the age goes on")
        text = (tmp_path / "watchdog.yaml").read_text()
        (tmp_path / "watchdog.yaml").write_text(text.replace("every: 1s", "every: 2s"))
        daemon.send_signal(signal.SIGHUP)
        wait_until(lambda: watchdog.push({"equity": 1_000}), "the source is there after a reload")
        wait_until(lambda: "proven" in (tmp_path / "log").read_text(), "what is told proves the plan")
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(30) == 0

    log = (tmp_path / "log").read_text()
    assert "Traceback" not in log
    assert TOKEN not in log


def check_probe(folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "watchdog", "check", "--probe", "--json", "--config", str(folder)]
    told: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, timeout=180).stdout)
    return told


def test_check_probe_knows_from_the_daemon_what_came(tmp_path: Path) -> None:
    watchdog = Watchdog(tmp_path)
    with watchdog.running():
        watchdog.push({"equity": 1_000})
        wait_until(lambda: watchdog.value("equity") == 1_000, "it came")
        told = check_probe(tmp_path)
    alone = check_probe(tmp_path)

    assert {"counts", "job"} >= told["unread"].keys(), "of these nothing has come yet"
    said = [each["what"] for each in told["warnings"]]
    assert not any("deliver" in what and "equity" in what for what in said)
    assert set(alone["unread"].values()) == {
        "it listens to what others send, and no watchdog runs that could say what came"
    }
    assert alone["unread"].keys() == {"bot", "counts", "job"}
