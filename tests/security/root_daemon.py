"""A watchdog as root begins it, bots of another user beside it, and a page of metrics that the test decides."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil

from tests.e2e.harness import wait_until
from tests.security.unprivileged import BOT, STRANGER
from tests.support.ports import free_port

SECRET = "s3cret-of-the-daemon"
"""In the daemon's environment, and nowhere else."""
SOON = 90.0
"""Seconds in which what should happen at once has happened, on a machine that is busy with other tests."""
VERIFY = {"settle": "10ms", "that": ["alive > 0"], "quiet": "10ms", "give_up": "3s", "watch": "10ms"}
HALT_FILE = "halt.py"


class Page:
    """`/metrics` as the bot serves it: lines that may be changed at any time; `block` keeps every answer waiting."""

    def __init__(self) -> None:
        self.lines: dict[str, str] = {"alive": "1"}
        self.body: bytes | None = None
        """In place of the lines."""
        self.posted: list[tuple[str, str | None]] = []
        """Path and `Authorization` of everything that was posted."""
        page = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = page.body if page.body is not None and self.path == "/huge" else page.render()
                self.answer(body)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                page.posted.append((self.path, self.headers.get("Authorization")))
                self.answer(b"{}")

            def answer(self, body: bytes) -> None:
                with contextlib.suppress(OSError):
                    self.send_response(200)
                    self.send_header("Content-Type", "text/plain")
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def render(self) -> bytes:
        return "".join(f"{name} {value}\n" for name, value in dict(self.lines).items()).encode()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class RootDaemon:
    """`trading-watchdog run` by root: root's files, state of nobody's yet, and as many bots of user BOT as are added.

    A bot's rule trips with `breach(bot)`. Its repair has the steps that it was added with; its halt posts to
    `/halted/BOT`, and then sets TRADING in `halt.py` of the bot's folder.
    """

    def __init__(self) -> None:
        self.top = Path(tempfile.mkdtemp(prefix="root-lab-"))  # pytest's own folders are closed to other users
        self.top.chmod(0o755)
        self.config, self.state, self.bots = self.top / "etc", self.top / "state", self.top / "bots"
        for folder in (self.config / "rules", self.bots):
            folder.mkdir(parents=True)
        self.outside = self._lay_outside()
        self.page = Page()
        self.web_port = free_port()
        self.rules: dict[str, dict[str, Any]] = {"targets": {}, "kpis": {}, "plans": {}}
        self.rule_list: list[dict[str, Any]] = []
        self.sources: dict[str, Any] = {
            "page": {"type": "scrape", "url": f"http://127.0.0.1:{self.page.port}/metrics", "every": "500ms"}
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.log_path = self.top / "log"

    def _lay_outside(self) -> Path:
        """What nobody's step may change: a file of root's that only root reads, one that all may read, a stranger's."""
        outside = self.top / "outside"
        for name, uid, mode in (("root", 0, 0o700), ("public", 0, 0o755), ("stranger", STRANGER, 0o755)):
            folder = outside / name
            folder.mkdir(parents=True)
            for file, text in (
                ("config.py", "TRADING = True\nROOT_ONLY = 'CANARY'\n"),
                ("state.json", '{"canary": "CANARY"}'),
                ("CANARY", "CANARY\n"),
            ):
                (folder / file).write_text(text)
                (folder / file).chmod(0o600 if uid == 0 and mode == 0o700 else 0o644)
                os.chown(folder / file, uid, uid)
            folder.chmod(mode)
            os.chown(folder, uid, uid)
        return outside

    # what is watched

    def add_bot(self, name: str, *steps: dict[str, Any], repo: Path | None = None, **target: Any) -> Path:
        """A folder of the bot's user, and what its plan does. Its halt waits for no proof.

        `verify`: over that of the repair's level.
        """
        folder = repo or self.bots / name
        if not folder.exists():
            folder.mkdir()
            for file, text in (
                (HALT_FILE, "TRADING = True\n"),
                ("config.py", "FEATURE = True\n"),
                ("state.json", '{"n": 2}'),
                ("state.json.backup", '{"n": 1}'),
            ):
                (folder / file).write_text(text)
        give(folder, BOT)
        verify = {**VERIFY, **target.pop("verify", {})}
        halting = [
            {"do": "http", "url": f"http://127.0.0.1:{self.page.port}/halted/{name}", "timeout": "10s"},
            {"do": "flag", "file": HALT_FILE, "set": {"TRADING": False}, "on_error": "continue"},
        ]
        self.page.lines[f'bad{{bot="{name}"}}'] = "0"
        self.rules["targets"][name] = {"repo": str(folder), "cooldown": "1s", "settling": "1s", **target}
        self.rules["kpis"][f"bad-{name}"] = {"expr": f'bad{{bot="{name}"}}', "unit": "count"}
        self.rules["plans"][f"halt-{name}"] = {
            "kind": "halt",
            "levels": [{"name": "halt", "steps": halting, "verify": {**VERIFY, "give_up": "1s"}}],
        }
        crit = {"above": 0.5, "for": "1ms", "plan": f"halt-{name}"}
        if steps:
            crit["plan"] = f"repair-{name}"
            self.rules["plans"][f"repair-{name}"] = {
                "kind": "repair",
                "mode": "auto",
                "exhausted": f"halt-{name}",
                "levels": [{"name": "only", "steps": list(steps), "verify": verify}],
            }
        self.rule_list.append({"name": f"bad-{name}", "kpi": f"bad-{name}", "target": name, "crit": crit})
        return folder

    def write_config(self) -> None:
        main = {
            "state": str(self.state),
            "web": {"listen": f"127.0.0.1:{self.web_port}"},
            "sources": self.sources,
            "reload": {"watch": False},
        }
        (self.config / "watchdog.yaml").write_text(json.dumps(main))
        (self.config / "rules/all.yaml").write_text(json.dumps({**self.rules, "rules": self.rule_list}))

    # the daemon

    def start(self, *, wait: bool = True, **environ: str) -> None:
        self.write_config()
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "watchdog", "run", "--config", str(self.config)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, "SECRET_TOKEN": SECRET, "GIT_CONFIG_NOSYSTEM": "1", **environ},
            )  # fmt: skip
        if wait:
            wait_until(
                lambda: (self.process and self.process.poll() is not None) or self._well(), "every rule is judged", SOON
            )
            assert self.process.poll() is None, self.log()

    def refusal(self) -> str:
        """What it says as it does not start."""
        self.start(wait=False)
        assert self.process is not None
        assert self.process.wait(SOON) == 1, self.log()
        return self.log()

    def cli(self, *args: str) -> subprocess.CompletedProcess[str]:
        """A command of root's, who has not come by sudo."""
        known = {name: value for name, value in os.environ.items() if name not in ("SUDO_USER", "LOGNAME", "USER")}
        return subprocess.run(
            [sys.executable, "-m", "watchdog", *args, "--config", str(self.config)],
            capture_output=True, text=True, timeout=180, env={**known, "SECRET_TOKEN": SECRET},
        )  # fmt: skip

    def _well(self) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            rules = self.status()["rules"]
            return len(rules) == len(self.rule_list) and all(rule["outcome"] == "ok" for rule in rules)
        return False

    def breach(self, *bots: str) -> None:
        for bot in bots:
            self.page.lines[f'bad{{bot="{bot}"}}'] = "1"

    def heal(self, *bots: str) -> None:
        for bot in bots:
            self.page.lines[f'bad{{bot="{bot}"}}'] = "0"

    def halted(self, bot: str) -> bool:
        return any(path == f"/halted/{bot}" for path, _ in self.page.posted)

    def wait_halted(self, *bots: str) -> float:
        """Seconds that it took."""
        began = time.monotonic()
        for bot in bots:
            wait_until(lambda: self.halted(bot), f"{bot} is halted", SOON)  # noqa: B023 - called at once
        return time.monotonic() - began

    def wait_halts_over(self, *bots: str) -> None:
        """All of their steps were done, or are known to have failed."""
        for bot in bots:
            self.wait_logged(rf" {bot}: halt-{bot} (proven|exhausted|stopped): ")

    def log(self) -> str:
        return self.log_path.read_text()

    def lines_of(self, bot: str) -> str:
        return "\n".join(line for line in self.log().splitlines() if f" {bot}: " in line)

    def wait_logged(self, pattern: str) -> str:
        found = wait_until(lambda: re.search(pattern, self.log()), pattern, SOON)
        assert found
        return found[0]

    def get(self, path: str, timeout: float = SOON) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.web_port}{path}", timeout=timeout) as page:
            body: bytes = page.read()
        return body

    def status(self) -> dict[str, Any]:
        known: dict[str, Any] = json.loads(self.get("/api/status"))
        return known

    # its processes

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def descendants(self, uid: int | None = None) -> list[psutil.Process]:
        """What lives of what it has begun, and of what those have begun: all, or those of one user."""
        found = []
        for each in psutil.Process(self.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if each.status() != psutil.STATUS_ZOMBIE and uid in (None, each.uids().real):
                    found.append(each)
        return found

    def broker(self) -> psutil.Process:
        (broker,) = self.descendants(uid=0)
        return broker

    def workers(self, uid: int = BOT) -> list[psutil.Process]:
        """Processes of that user, those that answer (the leaders of their groups) last."""
        return self.descendants(uid)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            ours = self.descendants()
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            for each in ours:
                with contextlib.suppress(psutil.Error):
                    each.kill()
        self.page.close()
        shutil.rmtree(self.top)


def give(folder: Path, uid: int) -> None:
    """All of it is that user's, links themselves included."""
    for path in (folder, *folder.rglob("*")):
        os.chown(path, uid, uid, follow_symlinks=False)


def status_of(pid: int) -> dict[str, str]:
    """`/proc/PID/status`, by its names."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":", 1) for line in lines)


@contextlib.contextmanager
def root_daemon(prepare: Callable[[RootDaemon], None]) -> Iterator[RootDaemon]:
    daemon = RootDaemon()
    try:
        prepare(daemon)
        yield daemon
    finally:
        daemon.close()
