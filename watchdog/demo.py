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
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from watchdog.actions.process import Process
from watchdog.journal import Journal, incidents, outbox, runs
from watchdog.model import ProcessPlace, Target, WatchdogError

EXAMPLE = Path(__file__).parent.parent / "examples" / "hmm_bot"
PACE = 50
"""Bars a second. A bar is a trading day, so one second of the demo is fifty days of the bot's life."""
HEALTHY_FOR = 5.0
"""Seconds that all rules are seen well before the bad version is deployed."""
PATIENCE = 300.0
"""Seconds after which the demo gives up; about a minute passes where nothing else is at work."""

_WATCHDOG = """\
sources:
  bot: {{type: scrape, url: "http://127.0.0.1:{port}/metrics", every: 250ms}}
  process: {{type: process, pid_file: bot/bot.pid, every: 1s}}
state: {folder}/state
web: {{listen: "127.0.0.1:0"}}
"""

_RULES = """\
# A second here is fifty trading days: what would be hours in the night of a real bot is seconds below.
targets:
  hmm-bot:
    repo: {folder}/bot
    process:
      pid_file: bot.pid
      command: ["{python}", bot.py, --port, "{port}"]
      log: ../bot.log
      env: {{OMP_NUM_THREADS: "1"}}
    budget: [3 per 1h, 7 per 1d]
    cooldown: 15m
    settling: 2s

kpis:
  regime_change_rate:
    expr: increase(hmm_regime_changes_total[10s]) / increase(hmm_bars_total[10s])
    needs: increase(hmm_bars_total[10s]) >= 250
    unit: ratio
    baseline: 4.5%
    help: Share of bars whose regime differs from the bar before.
  confidence:
    expr: increase(hmm_confidence_sum_total[10s]) / increase(hmm_bars_total[10s])
    needs: increase(hmm_bars_total[10s]) >= 250
    unit: ratio
    baseline: 96.7%
    help: Mean probability of the regime that the model decided for.

defaults: {{target: hmm-bot, if_missing: {{after: 15s, then: hold}}}}

rules:
  - name: regime-flapping
    kpi: regime_change_rate
    crit: {{above: 15%, for: 2s, clear: 12%, plan: hmm-v2}}
    summary: "Regime changed on {{{{ value }}}} of bars (baseline {{{{ baseline }}}})"
  - name: confidence-drop
    kpi: confidence
    crit: {{below: 90%, for: 2s, clear: 92%, plan: hmm-v2}}
    summary: "Mean confidence {{{{ value }}}} (baseline {{{{ baseline }}}})"

plans:
  halt:
    kind: halt
    levels:
      - name: no-entries
        steps: [{{do: flag, file: config.py, set: {{GLOBAL_TRADING: false}}}}]
        verify: {{that: [bot_entries_enabled == 0], give_up: 30s}}
  hmm-v2:
    kind: repair
    mode: auto
    exhausted: halt
    before: [{{do: flag, file: config.py, set: {{GLOBAL_TRADING: false}}}}]
    proven: [{{do: flag, file: config.py, set: {{GLOBAL_TRADING: true}}}}]
    verify: {{settle: 10s, that: ["increase(hmm_bars_total[5s]) > 0"], quiet: 5s, give_up: 30s, watch: 5s}}
    levels:
      - name: feature
        steps: [{{do: flag, file: config.py, set: {{FEATURE_HMM_V2: false}}}}, {{do: process, restart: process}}]
      - name: version
        steps: [{{do: git, revert: hmm-v2-merge}}, {{do: process, restart: process}}]
"""


def demo(*, as_json: bool, keep: Path | None) -> int:
    """Runs the demo; 0 when the bad version was rolled back and that was proven."""
    if not (EXAMPLE / "bot.py").is_file():
        raise WatchdogError(f"the example bot is not at {EXAMPLE} — run the demo from a clone of the repository")
    if importlib.util.find_spec("hmmlearn") is None:
        raise WatchdogError("the example bot needs hmmlearn — pip install 'trading-watchdog[demo]', or make demo")
    with _folder(keep) as folder, _stage(folder) as stage:
        result = stage.play()
    if as_json:
        print(json.dumps(result))
    return 0 if result["outcome"] == "proven" else 1


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        if any(keep.iterdir()):
            raise WatchdogError(f"{keep} is not empty — name a new folder")
        yield keep.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="trading-watchdog-demo-") as name:
        yield Path(name).resolve()


@contextmanager
def _stage(folder: Path) -> Iterator[Stage]:
    """Whatever happens, Ctrl-C included: no process is left behind."""
    stage = Stage(folder)
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield stage
    finally:
        stage.close()
        signal.signal(signal.SIGTERM, before)


class Stage:
    """The bot, its repository, and the watchdog, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repo = folder / "bot"
        self.port = _free_port()
        self.started, self.began = time.monotonic(), time.time()
        self._dog: subprocess.Popen[bytes] | None = None
        self._web = ""
        place = ProcessPlace(
            pid_file="bot.pid",
            command=(sys.executable, "bot.py", "--port", str(self.port)),
            log="../bot.log",
            env={"OMP_NUM_THREADS": "1"},
        )
        target = Target(repo=str(self.repo), process=place)
        self._start = Process(do="process", start="process").at(target)
        self._restart = Process(do="process", restart="process").at(target)
        self._stop = Process(do="process", stop="process").at(target)

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self.started:6.1f} s  {text}", flush=True)

    # ─ the story ─

    def play(self) -> dict[str, Any]:
        print(f"Time is compressed: the bot walks {PACE} trading days a second, so 1 s here is {PACE} days there,")
        print("and the rule file's hours are seconds. The market is the S&P 500 from 1999 to 2018.\n")
        self._write_repository()
        self._act(self._start)
        self.say(f"v1 of the bot is started (commit {self._git('rev-parse', '--short', 'HEAD')}, tag v1)")
        self._watch()
        self.say("the watchdog is started: it sees the bot's /metrics page, its process, its repository")
        self._until_well()
        bad = self._deploy()
        deployed = time.time()
        self.say(f"A developer merges v2 behind a flag and restarts the bot (merge {bad[:7]}) …")
        number = self._follow()
        return self._result(number, bad, deployed)

    def _write_repository(self) -> None:
        self.repo.mkdir()
        for name in ("bot.py", "model.py", "config.py", "sp500.csv", ".gitignore"):
            shutil.copy(EXAMPLE / name, self.repo / name)
        with (self.repo / ".gitignore").open("a") as ignored:
            ignored.write("bot.pid\n")
        self._git("init", "-q", "-b", "main")
        self._git("config", "user.name", "A developer")
        self._git("config", "user.email", "developer@example.invalid")
        self._commit("HMM bot, v1")
        self._git("tag", "v1")
        (self.folder / "rules").mkdir()
        known = {"port": self.port, "folder": self.folder, "python": sys.executable}
        (self.folder / "watchdog.yaml").write_text(_WATCHDOG.format(**known))
        (self.folder / "rules" / "hmm.yaml").write_text(_RULES.format(**known))

    def _deploy(self) -> str:
        self._git("switch", "-q", "-c", "hmm-v2")
        for name in ("model.py", "config.py"):
            shutil.copy(EXAMPLE / "v2" / name, self.repo / name)
        self._commit("HMM v2: a faster fit")
        self._git("switch", "-q", "main")
        self._git("merge", "-q", "--no-ff", "-m", "Merge HMM v2", "hmm-v2")
        self._git("tag", "hmm-v2-merge")
        self._act(self._restart)
        return self._git("rev-parse", "HEAD")

    def _watch(self) -> None:
        with (self.folder / "watchdog.log").open("wb") as log:
            self._dog = subprocess.Popen(
                [sys.executable, "-m", "watchdog", "run", "--config", str(self.folder)],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._web = self._wait_for(self._address, "the watchdog's page")

    def _address(self) -> str | None:
        """The free port that the watchdog took stands in its log."""
        for line in (self.folder / "watchdog.log").read_text().splitlines():
            if "http://" in line:
                return "http://" + line.split("http://")[1].split("/")[0]
        return None

    def _until_well(self) -> None:
        """Shows the KPIs live until every rule has been well for a while."""
        well_since: float | None = None
        while well_since is None or time.monotonic() - well_since < HEALTHY_FOR:
            self._hurry()
            status = self._status()
            if any(rule["phase"] in ("pending", "firing") for rule in status["rules"]):
                raise WatchdogError(f"the healthy bot trips: {status['rules']}")
            well = len(status["rules"]) >= 2 and all(rule["outcome"] == "ok" for rule in status["rules"])
            well_since = (well_since or time.monotonic()) if well else None
            self._show(status)
            time.sleep(1)

    def _follow(self) -> int:
        """Prints the timeline as the watchdog writes it, and the KPIs in between; ends when the incident is closed."""
        journal = Journal(self.folder / "state" / "journal.db")
        seen, shown = 0, 0.0
        try:
            while True:
                self._hurry()
                for event in journal.rows("SELECT id, t, text FROM event WHERE id > ? ORDER BY id", seen):
                    seen = event["id"]
                    print(f"{event['t'] / 1_000 - self.began:6.1f} s  ▸ {event['text']}", flush=True)
                listed = incidents.listing(journal)
                if listed and listed[0].closed is not None:
                    return listed[0].id
                if time.monotonic() - shown > 2:
                    shown = time.monotonic()
                    self._show(self._status())
                time.sleep(0.2)
        finally:
            journal.close()

    def _show(self, status: dict[str, Any]) -> None:
        texts = []
        for name, kpi in status["kpis"].items():
            value = kpi["values"][0]["text"] if kpi["values"] else "gathering evidence"
            texts.append(f"{name.replace('_', ' ')} {value} (baseline {kpi['baseline']})")
        self.say("  " + ",  ".join(texts))

    def _result(self, number: int, bad: str, deployed: float) -> dict[str, Any]:
        journal = Journal(self.folder / "state" / "journal.db")
        try:
            (incident,) = incidents.listing(journal, number)
            run = runs.of_incident(journal, number)[-1]
            done = [step for step in runs.steps(journal, run.id) if step.phase == "level" and step.level == run.level]
            told = outbox.told(journal, number)
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
            "messages": told,
        }
        same = self._git("rev-parse", "HEAD^{tree}") == self._git("rev-parse", "v1^{tree}")
        print()
        self.say(f"Incident {number} is closed: {run.plan} {run.outcome} at level {result['level']}.")
        print(
            f"  detected {result['detected_s']} s, rolled back {result['rolled_back_s']} s, recovered"
            f" {result['recovered_s']} s after the bad version was deployed; {told} messages\n"
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

    def _act(self, action: Process) -> None:
        action.apply(action.before(), "demo")

    def _status(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self._web}/api/status", timeout=30) as page:  # noqa: S310 – our own address
            status: dict[str, Any] = json.load(page)
        return status

    def _wait_for(self, what: Any, name: str) -> Any:
        while not (answer := what()):
            self._hurry()
            if self._dog is not None and self._dog.poll() is not None:
                raise WatchdogError(f"the watchdog ended: {(self.folder / 'watchdog.log').read_text().strip()[-500:]}")
            if time.monotonic() - self.started > PATIENCE / 3:
                raise WatchdogError(f"no sign of {name}")
            time.sleep(0.1)
        return answer

    def _hurry(self) -> None:
        if time.monotonic() - self.started > PATIENCE:
            raise WatchdogError(
                f"the story did not end within {PATIENCE:.0f} s — run it with --keep DIR and see its logs"
            )

    def close(self) -> None:
        """The watchdog first, so that it does not take the end of the bot for news."""
        if self._dog is not None and self._dog.poll() is None:
            self._dog.terminate()
            try:
                self._dog.wait(10)
            except subprocess.TimeoutExpired:
                self._dog.kill()
                self._dog.wait()
        if self.repo.is_dir():
            self._act(self._stop)


def _free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])
