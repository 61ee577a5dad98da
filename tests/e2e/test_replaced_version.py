"""A bot whose metrics carry its version: the version that was bad is gone after the rollback, and the one before it proves it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.e2e.harness import wait_until
from tests.support.ports import free_port
from watchdog.journal import open_journal
from watchdog.journal.runs import PlanRun

MAIN = """\
sources: {{bot: {{type: scrape, url: "http://127.0.0.1:{port}/metrics", every: 200ms}}}}
state: state
web: {{listen: "127.0.0.1:{web}"}}
"""
RULES = """\
targets: {{bot: {{repo: {folder}/repo, cooldown: 1s, settling: 0s}}}}
kpis: {{x: {{expr: x}}}}
rules: [{{name: high, kpi: x, target: bot, crit: {{above: 5, for: 400ms, plan: back}}}}]
plans:
  stop:
    kind: halt
    levels: [{{name: stop, steps: [{{do: flag, file: config.py, set: {{TRADING: false}}}}], verify: {{that: [bot_up == 1]}}}}]
  back:
    kind: repair
    mode: auto
    exhausted: stop
    verify: {{that: [bot_up == 1], quiet: 1s, give_up: 60s}}
    levels: [{{name: v1, steps: [{{do: flag, file: config.py, set: {{VERSION: v1}}}}]}}]
"""


class Page(BaseHTTPRequestHandler):
    """The bot: what it says follows from the version in its file. Version 2 is bad."""

    repo: Path

    def do_GET(self) -> None:
        version = "v1" if "v1" in (self.repo / "config.py").read_text() else "v2"
        body = f'x{{version="{version}"}} {1 if version == "v1" else 9}\nbot_up 1\n'.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving(repo: Path) -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("PageOfBot", (Page,), {"repo": repo}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def find_runs(folder: Path) -> list[PlanRun]:
    if not (folder / "state" / "journal.db").exists():
        return []
    with contextlib.closing(open_journal(folder / "state", migrate=False)) as journal:
        return journal.runs.list_for_incident(1)


def test_a_rollback_to_another_version_is_proven_and_its_incident_ends(tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    repo.mkdir()
    (repo / "config.py").write_text('TRADING = True\nVERSION = "v2"\n')
    (tmp_path / "rules").mkdir()
    with serving(repo) as port:
        (tmp_path / "watchdog.yaml").write_text(MAIN.format(port=port, web=free_port()))
        (tmp_path / "rules" / "rules.yaml").write_text(RULES.format(folder=tmp_path))
        command = [sys.executable, "-m", "watchdog", "run", "--config", str(tmp_path)]
        with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, stderr=log, env=os.environ) as daemon:
            try:
                wait_until(lambda: any(run.ended for run in find_runs(tmp_path)), "the plan comes to its end")
                wait_until(lambda: "incident 1 closed" in (tmp_path / "log").read_text(), "the incident ends")
            finally:
                daemon.kill()

    assert [(run.plan, run.outcome) for run in find_runs(tmp_path)] == [("back", "proven")]
    assert "TRADING = True" in (repo / "config.py").read_text()
