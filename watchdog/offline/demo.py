"""`trading-watchdog demo`: a real bot goes bad, is rolled back, and recovers. Nothing of it is scripted.

The demo plays the people: it writes the repository, starts the bot, deploys the bad version. The watchdog is a process
of its own with nothing but the bot's endpoint, its process and its repository to go by.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from watchdog.actions.process import ProcessAction
from watchdog.core.errors import WatchdogError, install_command
from watchdog.core.target import ProcessSpec, Target
from watchdog.journal import open_journal
from watchdog.net import http
from watchdog.net.deadline import Deadline

EXAMPLE_BOT = Path(__file__).parents[2] / "examples" / "hmm_bot"
SHIPPED_RULES = Path(__file__).parents[2] / "rules" / "model.yaml"
SHOWN_KPIS = ("regime_change_rate", "confidence")
FIRST_BAR, LAST_BAR = 1_010, 5_030
"""Bars at which the bot may begin: it needs as many before it as it learns from."""
BARS_PER_SECOND = 50
"""Bars a second. A bar is a trading day, so one second of the demo is fifty days of the bot's life."""
HEALTHY_SECONDS = 5.0
"""Seconds that all rules are seen well before the bad version is deployed."""
TIMEOUT_SECONDS = 300.0
"""Seconds after which the demo gives up; about a minute passes where nothing else is at work."""

_WATCHDOG_YAML = """\
sources:
  bot: {{type: scrape, url: "http://127.0.0.1:{port}/metrics", every: 250ms}}
  process: {{type: process, pid_file: bot/bot.pid, every: 1s}}
state: {folder}/state
web: {{listen: "127.0.0.1:0"}}
"""

_TARGETS_YAML = """\
# The rules beside this file are those that ship. What an operator adds is the bot, its pace and its plans. A second here is
# fifty trading days: what would be minutes in the night of a real bot is seconds below.
targets:
  bot:
    vars: {{bar: {bar_ms}ms}}
    repo: {folder}/bot
    process:
      pid_file: bot.pid
      command: ["{python}", bot.py, --port, "{port}"]
      log: ../bot.log
      env: {{OMP_NUM_THREADS: "1"}}
    budget: [3 per 1h, 7 per 1d]
    cooldown: 15m
    settling: 2s

plans:
  halt:
    kind: halt
    levels:
      - name: no-entries
        steps: [{{do: flag, file: config.py, set: {{GLOBAL_TRADING: false}}}}]
        verify: {{that: [bot_entries_enabled == 0], give_up: 30s}}
  rollback:
    kind: repair
    mode: auto
    exhausted: halt
    before: [{{do: flag, file: config.py, set: {{GLOBAL_TRADING: false}}}}]
    proven: [{{do: flag, file: config.py, set: {{GLOBAL_TRADING: true}}}}]
    verify: {{settle: 5s, that: ["increase(hmm_bars_total[5s]) > 0"], quiet: 5s, give_up: 1m, watch: 5s}}
    levels:
      - name: feature
        steps: [{{do: flag, file: config.py, set: {{FEATURE_HMM_V2: false}}}}, {{do: process, restart: process}}]
      - name: version
        steps: [{{do: git, revert: hmm-v2-merge}}, {{do: process, restart: process}}]
"""


def run_demo(*, as_json: bool, keep: Path | None, first_bar: int = FIRST_BAR, seed: int = 1) -> int:
    """Runs the demo; 0 when the bad version was rolled back and that was proven.

    `first_bar`: of the market's data, where the bot begins. `seed`: of the bad version's fits, which begin at random.
    """
    if not FIRST_BAR <= first_bar <= LAST_BAR:
        raise WatchdogError(
            f"the bot's data has no bar {first_bar} to begin at — say one from {FIRST_BAR} to {LAST_BAR}"
        )
    if not (EXAMPLE_BOT / "bot.py").is_file():
        raise WatchdogError(f"the example bot is not at {EXAMPLE_BOT} — run the demo from a clone of the repository")
    if importlib.util.find_spec("hmmlearn") is None:
        raise WatchdogError(f"the example bot needs hmmlearn — {install_command('hmmlearn')}, or make demo")
    os.umask(0o022)  # what others may write is not run, and the demo's own files are no exception
    with _work_folder(keep) as folder, _demo_environment(folder, first_bar, seed) as environment:
        result = environment.run()
    if as_json:
        print(json.dumps(result))
    return 0 if result["outcome"] == "proven" else 1


@contextmanager
def _work_folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        if any(keep.iterdir()):
            raise WatchdogError(f"{keep} is not empty — name a new folder")
        yield keep.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="trading-watchdog-demo-") as name:
        yield Path(name).resolve()


@contextmanager
def _demo_environment(folder: Path, first_bar: int, seed: int) -> Iterator[DemoEnvironment]:
    """Whatever happens, Ctrl-C included: no process is left behind."""
    environment = DemoEnvironment(folder, first_bar, seed)
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield environment
    finally:
        environment.close()
        signal.signal(signal.SIGTERM, before)


class DemoEnvironment:
    """The bot, its repository, and the watchdog, in one folder."""

    def __init__(self, folder: Path, first_bar: int, seed: int) -> None:
        self.folder = folder
        self.first_bar, self.seed = first_bar, seed
        self.repo = folder / "bot"
        self.port = _free_port()
        self.started, self.started_at = time.monotonic(), time.time()
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._web = ""
        process_spec = ProcessSpec(
            pid_file="bot.pid",
            command=(sys.executable, "bot.py", "--port", str(self.port)),
            log="../bot.log",
            env={"OMP_NUM_THREADS": "1"},
        )
        target = Target(repo=str(self.repo), process=process_spec)
        self._start = ProcessAction(do="process", start="process").bind(target)
        self._restart = ProcessAction(do="process", restart="process").bind(target)
        self._stop = ProcessAction(do="process", stop="process").bind(target)

    def print_progress(self, text: str) -> None:
        print(f"{time.monotonic() - self.started:6.1f} s  {text}", flush=True)

    # ─ what happens ─

    def run(self) -> dict[str, Any]:
        print(
            f"Time is compressed: the bot walks {BARS_PER_SECOND} trading days a second, "
            f"so 1 s here is {BARS_PER_SECOND} days there,"
        )
        print("and the rules, those that ship, count in bars. The market is the S&P 500 from 1999 to 2018.\n")
        self._write_repository()
        self._apply_action(self._start)
        self.print_progress(f"v1 of the bot is started (commit {self._git('rev-parse', '--short', 'HEAD')}, tag v1)")
        self._start_watchdog()
        self.print_progress("the watchdog is started: it sees the bot's /metrics page, its process, its repository")
        self._wait_until_healthy()
        bad = self._deploy()
        deployed = time.time()
        self.print_progress(f"A developer merges v2 behind a flag and restarts the bot (merge {bad[:7]}) …")
        number = self._follow_incident()
        return self._build_result(number, bad, deployed)

    def _write_repository(self) -> None:
        self.repo.mkdir()
        for name in ("bot.py", "model.py", "config.py", "sp500.csv", ".gitignore"):
            shutil.copyfile(EXAMPLE_BOT / name, self.repo / name)
        with (self.repo / ".gitignore").open("a") as ignored:
            ignored.write("bot.pid\n")
        (self.repo / "state.json").write_text(json.dumps({"bar": self.first_bar}))
        self._git("init", "-q", "-b", "main")
        self._git("config", "user.name", "A developer")
        self._git("config", "user.email", "developer@example.invalid")
        self._commit("HMM bot, v1")
        self._git("tag", "v1")
        (self.folder / "rules").mkdir()
        known = {"port": self.port, "folder": self.folder, "python": sys.executable, "bar_ms": 1_000 // BARS_PER_SECOND}
        (self.folder / "watchdog.yaml").write_text(_WATCHDOG_YAML.format(**known))
        shutil.copyfile(SHIPPED_RULES, self.folder / "rules" / SHIPPED_RULES.name)
        (self.folder / "rules" / "targets.yaml").write_text(_TARGETS_YAML.format(**known))

    def _deploy(self) -> str:
        self._git("switch", "-q", "-c", "hmm-v2")
        for name in ("model.py", "config.py"):
            shutil.copyfile(EXAMPLE_BOT / "v2" / name, self.repo / name)
        model = (self.repo / "model.py").read_text()
        (self.repo / "model.py").write_text(model.replace("SEED = 1\n", f"SEED = {self.seed}\n"))
        self._commit("HMM v2: a faster fit")
        self._git("switch", "-q", "main")
        self._git("merge", "-q", "--no-ff", "-m", "Merge HMM v2", "hmm-v2")
        self._git("tag", "hmm-v2-merge")
        self._apply_action(self._restart)
        return self._git("rev-parse", "HEAD")

    def _start_watchdog(self) -> None:
        with (self.folder / "watchdog.log").open("wb") as log:
            self._watchdog = subprocess.Popen(
                [sys.executable, "-m", "watchdog", "run", "--config", str(self.folder)],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._web = self._wait_for(self._find_address, "the watchdog's page")

    def _find_address(self) -> str | None:
        """The free port that the watchdog took stands in its log."""
        for line in (self.folder / "watchdog.log").read_text().splitlines():
            if "http://" in line:
                return "http://" + line.split("http://")[1].split("/")[0]
        return None

    def _wait_until_healthy(self) -> None:
        """Shows the KPIs live until every rule has been well for a while."""
        healthy_since: float | None = None
        while healthy_since is None or time.monotonic() - healthy_since < HEALTHY_SECONDS:
            self._check_timeout()
            status = self._fetch_status()
            if any(rule["phase"] in ("pending", "firing") for rule in status["rules"]):
                raise WatchdogError(f"the healthy bot trips: {status['rules']}")
            healthy = bool(status["rules"]) and all(rule["outcome"] == "ok" for rule in status["rules"])
            healthy_since = (healthy_since or time.monotonic()) if healthy else None
            self._print_kpis(status)
            time.sleep(1)

    def _follow_incident(self) -> int:
        """Prints the timeline as the watchdog writes it, and the KPIs in between; ends when the incident is closed."""
        journal = open_journal(self.folder / "state")
        seen, printed_at = 0, 0.0
        try:
            while True:
                self._check_timeout()
                for event in journal.timeline.list_events_after(seen):
                    seen = event.id
                    print(f"{event.t / 1_000 - self.started_at:6.1f} s  ▸ {event.text}", flush=True)
                listed = journal.incidents.list_incidents()
                if listed and listed[0].closed is not None:
                    return listed[0].id
                if time.monotonic() - printed_at > 2:
                    printed_at = time.monotonic()
                    self._print_kpis(self._fetch_status())
                time.sleep(0.2)
        finally:
            journal.close()

    def _print_kpis(self, status: dict[str, Any]) -> None:
        texts = []
        for name in SHOWN_KPIS:
            kpi = status["kpis"][name]
            value = kpi["values"][0]["text"] if kpi["values"] else "gathering evidence"
            texts.append(f"{name.replace('_', ' ')} {value} (baseline {kpi['baseline']})")
        self.print_progress("  " + ",  ".join(texts))

    def _build_result(self, number: int, bad: str, deployed: float) -> dict[str, Any]:
        journal = open_journal(self.folder / "state")
        try:
            incident = journal.incidents.find_incident(number)
            assert incident is not None
            run = journal.runs.list_for_incident(number)[-1]
            done = [
                step for step in journal.runs.list_steps(run.id) if step.phase == "level" and step.level == run.level
            ]
            messages = journal.messages.count_sent(number)
        finally:
            journal.close()
        plan = json.loads(run.text)
        proven = run.watch_until - plan["verify"]["watch"] if run.watch_until else run.ended
        result = {
            "incident": number,
            "plan": run.plan,
            "level": plan["levels"][run.level]["name"],
            "outcome": run.outcome,
            "detected_s": round(incident.opened / 1_000 - deployed, 1),
            "rolled_back_s": round(max(step.ended or 0 for step in done) / 1_000 - deployed, 1),
            "recovered_s": round((proven or 0) / 1_000 - deployed, 1),
            "bad_commit": bad,
            "head_after": self._git("rev-parse", "HEAD"),
            "messages": messages,
        }
        same = self._git("rev-parse", "HEAD^{tree}") == self._git("rev-parse", "v1^{tree}")
        print()
        self.print_progress(f"Incident {number} is closed: {run.plan} {run.outcome} at level {result['level']}.")
        print(
            f"  detected {result['detected_s']} s, rolled back {result['rolled_back_s']} s, recovered"
            f" {result['recovered_s']} s after the bad version was deployed; {messages} messages\n"
            f"  {bad[:7]} is reverted by {result['head_after'][:7]}, whose tree is {'' if same else 'NOT '}that of v1"
        )
        return result

    # ─ tools ─

    def _git(self, *args: str) -> str:
        environ = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        done = subprocess.run(["git", *args], cwd=self.repo, env=environ, capture_output=True, text=True, check=False)
        if done.returncode:
            raise WatchdogError(f"git {args[0]}: {done.stderr.strip()}")
        return done.stdout.strip()

    def _commit(self, message: str) -> None:
        self._git("add", "-A")
        self._git("commit", "-q", "-m", message)

    def _apply_action(self, action: ProcessAction) -> None:
        action.apply(action.capture(), "demo")

    def _fetch_status(self) -> dict[str, Any]:
        asked = http.request(
            "GET", f"{self._web}/api/status", deadline=Deadline.after(30_000), max_bytes=1 << 24, expect=200
        )
        status: dict[str, Any] = json.loads(asked.body)
        return status

    def _wait_for(self, what: Any, name: str) -> Any:
        while not (answer := what()):
            self._check_timeout()
            if self._watchdog is not None and self._watchdog.poll() is not None:
                raise WatchdogError(f"the watchdog ended: {(self.folder / 'watchdog.log').read_text().strip()[-500:]}")
            if time.monotonic() - self.started > TIMEOUT_SECONDS / 3:
                raise WatchdogError(f"no sign of {name}")
            time.sleep(0.1)
        return answer

    def _check_timeout(self) -> None:
        if time.monotonic() - self.started > TIMEOUT_SECONDS:
            raise WatchdogError(
                f"the story did not end within {TIMEOUT_SECONDS:.0f} s — run it with --keep DIR and see its logs"
            )

    def close(self) -> None:
        """The watchdog first, so that it does not take the end of the bot for news."""
        if self._watchdog is not None and self._watchdog.poll() is None:
            self._watchdog.terminate()
            try:
                self._watchdog.wait(10)
            except subprocess.TimeoutExpired:
                self._watchdog.kill()
                self._watchdog.wait()
        if self.repo.is_dir():
            self._apply_action(self._stop)


def _free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])
