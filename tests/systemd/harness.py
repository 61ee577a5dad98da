"""A night inside a box: what its stories ask systemd, tell and wait for. See sandbox.py."""

from __future__ import annotations

import json
import os
import pwd
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.e2e.harness import RULES_TEMPLATE, TOY_BOT, E2EHarness, wait_until
from watchdog.journal.sqlite import SqliteJournal
from watchdog.journal.targets import TargetState

SERVICE = "trading-watchdog.service"
WATCHDOG_USER = "trading-watchdog"
CONFIG_DIR = Path("/etc/trading-watchdog")
STATE_DIR = Path("/var/lib/trading-watchdog")
UNIT_DIR = Path("/etc/systemd/system")
CHECKOUT = Path(__file__).parents[2]

MAIN_TEMPLATE = """\
sources:
  bot: {{type: scrape, url: "http://127.0.0.1:${{BOT_PORT}}/metrics", every: 200ms}}
{more}
web: {{listen: "127.0.0.1:{web}"}}
"""

BOUNCE_PLAN = """\
  bounce:
    kind: repair
    mode: auto
    exhausted: leave-running
    verify: {{that: [beats_total > 0], quiet: 200ms, give_up: 20s}}
    levels:
      - {{name: restart, steps: [{{{restart}}}]}}
"""

BOT_UNIT = """\
[Service]
User=botuser
WorkingDirectory={repo}
ExecStart={python} -B {toybot} {port}
{more}
"""


def report(name: str, value: object) -> None:
    sys.stdout.write(json.dumps([name, value]) + "\n")
    sys.stdout.flush()


def systemctl(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemctl", *args], capture_output=True, text=True, check=False)


def run_as(user: str, *command: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    account = pwd.getpwnam(user)
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=env,
        timeout=180,
        check=False,
        user=account.pw_uid,
        group=account.pw_gid,
        extra_groups=os.getgrouplist(user, account.pw_gid),
    )


def get_property(unit: str, name: str) -> str:
    return systemctl("show", "--value", "-p", name, unit).stdout.strip()


def service_log(*options: str) -> str:
    """What the service, and systemd about it, have written so far."""
    subprocess.run(["journalctl", "--sync"], capture_output=True, check=False)
    asked = ["journalctl", "-u", SERVICE, "-o", "cat", *options]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout


def write_drop_in(unit: str, name: str, lines: str) -> None:
    folder = UNIT_DIR / f"{unit}.d"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.conf").write_text(f"[Service]\n{lines}\n")
    systemctl("daemon-reload")


class SystemdHarness(E2EHarness):
    """A night on a machine with systemd: the repository is not root's, and the watchdog is the shipped service."""

    def __init__(self, name: str = "toy") -> None:
        self.name = name
        self.unit = f"trading-{name}.service"
        self.owner = pwd.getpwnam("botuser")
        folder = Path("/srv") / name
        folder.mkdir(parents=True)
        self.chown_to_owner(folder)
        folder.chmod(0o700)  # nobody but its owner looks at the bot
        super().__init__(folder)
        self.worker = f"trading-watchdog-worker@{self.owner.pw_name}"
        systemctl("start", f"{self.worker}.socket")

    def git(self, *args: str) -> str:
        if args[0] == "init":
            self.chown_to_owner(self.repo)
        ran = subprocess.run(
            ["git", *args],
            cwd=self.repo,
            env=self.environ,
            capture_output=True,
            text=True,
            check=True,
            user=self.owner.pw_uid,
            group=self.owner.pw_gid,
            extra_groups=(),
        )
        return ran.stdout.strip()

    def write_repo_file(self, name: str, text: str) -> None:
        super().write_repo_file(name, text)
        self.chown_to_owner(self.repo / name)

    def chown_to_owner(self, path: Path) -> None:
        os.chown(path, self.owner.pw_uid, self.owner.pw_gid)

    def foreign_files(self) -> list[str]:
        """What in the repository does not belong to its owner."""
        return [str(path) for path in self.repo.rglob("*") if path.lstat().st_uid != self.owner.pw_uid]

    # the bot

    def install_bot_unit(self, more: str = "") -> None:
        """Makes the bot a unit of its own, and starts it. `more`: further lines of its [Service]."""
        known = {"repo": self.repo, "python": sys.executable, "toybot": TOY_BOT, "port": self.bot_port, "more": more}
        (UNIT_DIR / self.unit).write_text(BOT_UNIT.format(**known))
        systemctl("daemon-reload")
        self.restart_bot()

    def restart_bot(self) -> None:
        systemctl("restart", self.unit)
        wait_until(lambda: self.bot_metrics() is not None, "the bot answers")

    # the watchdog

    def write_service_config(
        self, *, more: str = "", kpis: str = "", rules: str = "", plans: str = "", settle: str = "800ms"
    ) -> None:
        """`more`: sources. The bot is a unit once it was installed, else a plain process."""
        is_unit = (UNIT_DIR / self.unit).exists()
        place = (
            f"unit: {self.unit}"
            if is_unit
            else (
                f'process: {{pid_file: ../bot.pid, command: ["{sys.executable}", "{TOY_BOT}", "{self.bot_port}"], log: ../bot.log}}'
            )
        )
        (CONFIG_DIR / "rules").mkdir(parents=True, exist_ok=True)
        (CONFIG_DIR / "watchdog.yaml").write_text(MAIN_TEMPLATE.format(web=self.web_port, more=more))
        (CONFIG_DIR / "environment").write_text(f"BOT_PORT={self.bot_port}\n")
        self.environ["BOT_PORT"] = str(self.bot_port)
        restart = "do: systemd, restart: unit" if is_unit else "do: process, restart: process"
        (CONFIG_DIR / "rules" / f"{self.name}.yaml").write_text(
            RULES_TEMPLATE.format(
                name=self.name,
                repo=self.repo,
                place=f"run_as: {self.owner.pw_name}\n    {place}",
                kpis=kpis,
                rules=rules,
                settle=settle,
                give_up="2m",
                plans=BOUNCE_PLAN.format(restart=restart) + plans,
                restart=restart,
            )
        )
        assert self.allow_planned_units().returncode == 0

    def edit_rules(self, old: str, new: str) -> int:
        """Replaces text in the rules; returns the number of its line."""
        path = CONFIG_DIR / "rules" / f"{self.name}.yaml"
        text = path.read_text()
        assert text.count(old) == 1, (old, text)
        path.write_text(text.replace(old, new))
        return text[: text.index(old)].count("\n") + 1

    def allow_planned_units(self) -> subprocess.CompletedProcess[str]:
        """As root does it whenever the plans name other units."""
        return self.run_cli("polkit", "--write", user="root")

    def run_cli(self, *args: str, user: str = WATCHDOG_USER) -> subprocess.CompletedProcess[str]:
        return run_as(user, sys.executable, "-m", "watchdog", *args, env=self.environ)

    def list_incidents(self, number: int | None = None) -> list[dict[str, Any]]:
        """As `trading-watchdog incidents --json` says it, without a program of its own for each look."""
        journal = SqliteJournal(STATE_DIR / "journal.db")
        try:
            return [
                {
                    **asdict(one),
                    "trips": [trip.rule for trip in journal.incidents.list_trips(one.id)],
                    "runs": [
                        {**asdict(run), "steps": [asdict(step) for step in journal.runs.list_steps(run.id)]}
                        for run in journal.runs.list_for_incident(one.id)
                    ],
                }
                for one in journal.incidents.list_incidents()
                if number in (None, one.id)
            ]
        finally:
            journal.close()

    def list_runs(self) -> list[dict[str, Any]]:
        return [run for run in super().list_runs() if run["target"] == self.name]

    def target_state(self) -> TargetState:
        journal = SqliteJournal(STATE_DIR / "journal.db")
        try:
            return journal.targets.get_state(self.name, 0)
        finally:
            journal.close()

    def _commit_was_seen(self) -> bool:
        return self.target_state().head is not None

    def watchdog_metric(self, name: str) -> float | None:
        """One of the watchdog's own metrics, with its labels as they are printed; None when nobody answers."""
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.watchdog_metrics() or "", re.MULTILINE)
        return None if found is None else float(found[1])


def main_pid(unit: str = SERVICE) -> int:
    return int(get_property(unit, "MainPID"))
