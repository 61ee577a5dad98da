"""A page of which every second read fails: the rule on it fires in its time, and people hear that the source flaps."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.e2e.harness import wait_until
from tests.support.ports import free_port

MAIN = """\
sources: {{bot: {{type: scrape, url: "http://127.0.0.1:{port}/metrics", every: 500ms}}}}
state: state
web: {{listen: "127.0.0.1:{web}"}}
"""
RULES = """\
targets: {bot: {}}
kpis: {x: {expr: x}}
rules: [{name: high, kpi: x, target: bot, warn: {above: 5, for: 5s}}]
"""


class FlappingPage(BaseHTTPRequestHandler):
    counter: Iterator[int]

    def do_GET(self) -> None:
        fails = next(self.counter) % 2
        body = b"" if fails else b"x 9\n"
        self.send_response(500 if fails else 200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_a_rule_on_a_page_of_which_every_second_read_fails_fires_in_its_time(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "rules.yaml").write_text(RULES)
    handler = type("Page", (FlappingPage,), {"counter": itertools.count()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (tmp_path / "watchdog.yaml").write_text(MAIN.format(port=server.server_port, web=free_port()))
    command = [sys.executable, "-m", "watchdog", "run", "--config", str(tmp_path)]
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, stderr=log, env=os.environ) as daemon:
        try:
            wait_until(lambda: "watching:" in (tmp_path / "log").read_text(), "the watchdog has begun")
            wait_until(lambda: "source bot flaps" in (tmp_path / "log").read_text(), "it is seen that the source flaps")
            wait_until(lambda: "high (warn) tripped" in (tmp_path / "log").read_text(), "the rule fires", seconds=30)
            wait_until(lambda: "message: source bot flaps" in (tmp_path / "log").read_text(), "people are told")
        finally:
            daemon.kill()
            server.shutdown()
            server.server_close()

    assert (tmp_path / "log").read_text().count("message: source bot flaps") == 1
