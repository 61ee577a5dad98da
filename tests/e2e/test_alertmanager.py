"""A real Alertmanager shows what fires for as long as it does: over `kill -9` of the watchdog, and of itself."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import wait_until
from tests.support.alertmanagers import RealAlertmanager, needs_alertmanager, run_alertmanager
from tests.support.ports import free_port

pytestmark = needs_alertmanager
MAIN = """\
sources:
  bot: {{type: json_file, file: bot.json, every: 100ms, max_age: 1h, values: {{equity: equity}}}}
channels:
  am: {{type: alertmanager, url: "http://127.0.0.1:{port}", resend: 1s, labels: {{team: trading}}}}
state: state
web: {{listen: "127.0.0.1:{web}"}}
"""
RULES = """\
targets: {{bot: {{repo: {folder}}}}}
kpis: {{equity: {{expr: equity, unit: count}}}}
rules:
  - {{name: too-low, kpi: equity, target: bot, crit: {{below: 10}}, labels: {{desk: fx}}, runbook: "https://wiki/too-low"}}
"""


class Watchdog:
    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        (folder / "rules").mkdir()
        (folder / "watchdog.yaml").write_text(MAIN.format(port=self.port, web=free_port()))
        (folder / "rules" / "rules.yaml").write_text(RULES.format(folder=folder))
        self.set_equity(100)

    def set_equity(self, value: float) -> None:
        new = self.folder / "new"
        new.write_text(json.dumps({"equity": value}))
        new.rename(self.folder / "bot.json")

    @contextlib.contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        command = [sys.executable, "-m", "watchdog", "run", "--config", str(self.folder)]
        with (self.folder / "log").open("ab") as log, subprocess.Popen(command, stderr=log, env=os.environ) as daemon:
            try:
                yield daemon
            finally:
                daemon.kill()


@pytest.fixture
def watchdog(tmp_path: Path) -> Watchdog:
    return Watchdog(tmp_path)


def firing(server: RealAlertmanager) -> list[str]:
    return [alert["labels"]["alertname"] for alert in server.alerts()]


def test_what_fires_is_shown_until_it_is_over_and_over_a_kill_of_both(watchdog: Watchdog) -> None:
    folder = watchdog.folder / "am"
    with run_alertmanager(folder, resolve_timeout="5s", port=watchdog.port) as server:
        with watchdog.running() as daemon:
            watchdog.set_equity(5)
            (alert,) = wait_until(server.alerts, "it fires")
            labels = alert["labels"]
            shown = {name: labels[name] for name in ("alertname", "target", "severity", "incident", "team", "desk")}
            assert shown == {
                "alertname": "too-low",
                "target": "bot",
                "severity": "critical",
                "incident": "1",
                "team": "trading",
                "desk": "fx",
            }
            assert alert["annotations"]["runbook_url"] == "https://wiki/too-low"
            assert alert["annotations"]["summary"].startswith("too-low: ")
            until = time.monotonic() + 7  # longer than the 5 s after which it is over when nobody says so again
            while time.monotonic() < until:
                assert firing(server) == ["too-low"]
                time.sleep(0.2)
            daemon.send_signal(signal.SIGKILL)
        wait_until(lambda: firing(server) == [], "nobody tells it any more")
        with watchdog.running():
            (again,) = wait_until(server.alerts, "it fires again")
            assert (again["fingerprint"], again["startsAt"]) == (alert["fingerprint"], alert["startsAt"])
    with run_alertmanager(folder, resolve_timeout="1h", port=watchdog.port) as server, watchdog.running() as daemon:
        wait_until(lambda: firing(server) == ["too-low"], "an Alertmanager that was killed is told again")
        daemon.send_signal(signal.SIGKILL)
        daemon.wait()
        watchdog.set_equity(100)
        assert firing(server) == ["too-low"]
        with watchdog.running():
            wait_until(lambda: firing(server) == [], "that it is over is told also by who was not there before")
