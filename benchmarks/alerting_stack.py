"""Prometheus with Alertmanager, as quick as their files can make them: 1 s scrapes, 1 s rules, no waiting, a webhook."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil

from benchmarks.measure import fetch, free_port, require_alive, running_process

_PROMETHEUS = """\
global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: [{folder}/rules.yml]
alerting: {{alertmanagers: [{{static_configs: [{{targets: ["127.0.0.1:{alerts}"]}}]}}]}}
scrape_configs: [{{job_name: bot, static_configs: [{{targets: ["{target}"]}}]}}]
"""
_ALERTMANAGER = """\
route: {{receiver: bench, group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}
receivers: [{{name: bench, webhook_configs: [{{url: "http://127.0.0.1:{webhook}/", send_resolved: true}}]}}]
"""


class AlertingStack:
    """Both programs; the action is the webhook's call."""

    def __init__(self, folder: Path, prometheus: str, alertmanager: str, exprs: Sequence[str]) -> None:
        self._folder, self._prometheus, self._alertmanager = folder, prometheus, alertmanager
        folder.mkdir()
        self._port, self._alerts = free_port(), free_port()
        self._processes: dict[str, psutil.Popen] = {}
        self._fired: float | None = None
        self._resolved = True
        self._webhook = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._webhook.serve_forever, daemon=True).start()
        listed = [{"alert": f"rule-{i}", "expr": f"{expr} > 1000"} for i, expr in enumerate(exprs)]
        groups = [{"name": "all", "rules": [*listed, {"alert": "breach", "expr": "breach > 0.5"}]}]
        (folder / "rules.yml").write_text(json.dumps({"groups": groups}))
        (folder / "alertmanager.yml").write_text(_ALERTMANAGER.format(webhook=self._webhook.server_port))

    @classmethod
    def find(cls, folder: Path, exprs: Sequence[str]) -> AlertingStack | None:
        """None when one of them is not on PATH."""
        prometheus = shutil.which("prometheus")
        alertmanager = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
        return cls(folder, prometheus, alertmanager, exprs) if prometheus and alertmanager else None

    @contextlib.contextmanager
    def running(self, url: str) -> Iterator[list[psutil.Popen]]:
        """Both processes, without any memory of earlier ones."""
        target = url.removeprefix("http://").partition("/")[0]
        config = _PROMETHEUS.format(folder=self._folder, alerts=self._alerts, target=target)
        (self._folder / "prometheus.yml").write_text(config)
        for name in ("tsdb", "alerts"):
            shutil.rmtree(self._folder / name, ignore_errors=True)
        argvs = [
            [
                self._alertmanager,
                f"--config.file={self._folder}/alertmanager.yml",
                "--cluster.listen-address=",
                f"--storage.path={self._folder}/alerts",
                f"--web.listen-address=127.0.0.1:{self._alerts}",
            ],
            [
                self._prometheus,
                f"--config.file={self._folder}/prometheus.yml",
                "--rules.alert.resend-delay=1s",  # else what Alertmanager misses while it starts comes a minute later
                f"--storage.tsdb.path={self._folder}/tsdb",
                f"--web.listen-address=127.0.0.1:{self._port}",
            ],
        ]
        with contextlib.ExitStack() as stack:
            started = [
                stack.enter_context(running_process([*argv, "--log.level=error"], self._log_file(argv[0])))
                for argv in argvs
            ]
            self._processes = dict(zip((self._alertmanager, self._prometheus), started, strict=True))
            stack.callback(self._processes.clear)
            yield started

    def close(self) -> None:
        self._webhook.shutdown()
        self._webhook.server_close()

    def is_ready(self) -> bool:
        """Whether the one sees the bot and the other one takes alerts. Raises MeasurementError when one has ended."""
        self.require_alive()
        return (
            '"breach"' in (fetch(f"http://127.0.0.1:{self._port}/api/v1/query?query=breach") or "")
            and fetch(f"http://127.0.0.1:{self._alerts}/-/ready") is not None
        )

    def acted_at(self, after: float) -> float | None:
        """When the webhook was last called for a breach, in monotonic seconds; None when that was before `after`.

        Raises MeasurementError when one of them has ended.
        """
        self.require_alive()
        fired = self._fired
        return fired if fired is not None and fired > after else None

    def is_resolved(self) -> bool:
        self.require_alive()
        return self._resolved

    def require_alive(self) -> None:
        """Raises MeasurementError when one of them has ended by itself."""
        for program, process in self._processes.items():
            require_alive(process, Path(program).name, self._log_file(program))

    def _log_file(self, program: str) -> Path:
        return self._folder / f"{Path(program).name}.log"

    def reset(self) -> None:
        self._fired, self._resolved = None, True

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        pair = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                now = time.monotonic()
                news = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if news["status"] == "firing" and pair._resolved:
                    pair._fired, pair._resolved = now, False
                elif news["status"] == "resolved":
                    pair._resolved = True
                self.send_response(200)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        return Handler
