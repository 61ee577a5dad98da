"""A bot small enough to break on purpose: serves gauges that its own repository's files decide.

`model.py` says how often it errs (ERRORS), `config.py` holds the flags, `equity.txt` beside the repository (outside of
git) what it is worth. A line ``CRASH = True`` in model.py keeps it from starting while the feature flag is off.
"""

from __future__ import annotations

import runpy
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

REPO = Path.cwd()
STARTED = time.time()


def load_settings(name: str) -> dict[str, object]:
    return runpy.run_path(str(REPO / name))


config = load_settings("config.py")
model = load_settings("model.py")
if model.get("CRASH") and not config.get("FEATURE_V2", True):
    sys.exit("cannot start: the code behind the flag was removed")
ERRORS = model["ERRORS"] if config.get("FEATURE_V2", True) else model.get("ERRORS_OFF", model["ERRORS"])


class MetricsHandler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        beats = (time.time() - STARTED) * 50
        equity = float((REPO.parent / "equity.txt").read_text())
        entries = int(bool(load_settings("config.py")["TRADING"]))
        lines = f"error_ratio {ERRORS}\nbeats_total {beats}\nequity {equity}\nbot_entries_enabled {entries}\n"
        body = lines.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), MetricsHandler).serve_forever()
