"""A real watchdog over one page whose text the test says."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.e2e.harness import wait_until
from tests.support.ports import free_port
from tests.support.raw_http_server import RawHttpServer, respond_with


class PageDaemon:
    """`page`: what the bot says now. `main`: lines for watchdog.yaml beside its source."""

    def __init__(self, folder: Path, rules: str, page: str, main: str = "") -> None:
        self.folder, self.page, self.web = folder, page, free_port()
        self.rules = folder / "rules" / "rules.yaml"
        self.server = RawHttpServer(self._answer)
        self.rules.parent.mkdir()
        self.rules.write_text(rules)
        (folder / "watchdog.yaml").write_text(
            f'sources: {{bot: {{type: scrape, url: "{self.server.url}", every: 200ms}}}}\n'
            f'state: state\nweb: {{listen: "127.0.0.1:{self.web}"}}\n{main}'
        )

    def _answer(self, server: RawHttpServer, connection: socket.socket) -> object:
        return respond_with(self.page)(server, connection)

    @contextlib.contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        command = [sys.executable, "-m", "watchdog", "run", "--config", str(self.folder)]
        with (self.folder / "log").open("ab") as log, subprocess.Popen(command, stderr=log, env=os.environ) as daemon:
            try:
                wait_until(lambda: daemon.poll() is not None or self.get("/healthz")[0], "the watchdog answers")
                assert daemon.poll() is None, self.log()
                yield daemon
            finally:
                daemon.terminate()
                daemon.wait(90)

    def get(self, path: str) -> tuple[int, str]:
        """Status and body; 0: nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.web}{path}", timeout=90) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def status(self) -> dict[str, Any]:
        known: dict[str, Any] = json.loads(self.get("/api/status")[1])
        return known

    def is_firing(self, rule: str) -> bool:
        return any(one["rule"] == rule and one["phase"] == "firing" for one in self.status()["rules"])

    def cli(self, *args: str, **environ: str) -> tuple[int, str]:
        """Exit code, and both outputs as bytes read them."""
        done = subprocess.run(
            [sys.executable, "-m", "watchdog", *args, "--config", str(self.folder)],
            capture_output=True,
            env={**os.environ, **environ},
            timeout=180,
            stdin=subprocess.DEVNULL,
        )
        return done.returncode, (done.stdout + done.stderr).decode(errors="replace")

    def log(self) -> str:
        return (self.folder / "log").read_text()
