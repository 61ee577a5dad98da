"""Stories that happen inside a box; each tells what it found out as lines ``["name", value]``. See box.py."""

from __future__ import annotations

import json
import os
import pwd
import re
import signal
import subprocess
import sys
import urllib.request
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.e2e.night import RULES, TOYBOT, Night, until
from watchdog.actions import Systemd
from watchdog.journal import Journal, incidents, runs
from watchdog.journal.incidents import Standing
from watchdog.model import ActionError

SERVICE = "trading-watchdog.service"
CONFIG = Path("/etc/trading-watchdog")
STATE = Path("/var/lib/trading-watchdog")
UNITS = Path("/etc/systemd/system")
CHECKOUT = Path(__file__).parents[2]

BAD = "ERRORS = 0.5\nERRORS_OFF = 0.4\n"

WATCHDOG = """\
sources:
  bot: {{type: scrape, url: "http://127.0.0.1:${{BOT_PORT}}/metrics", every: 200ms}}
{more}
web: {{listen: "127.0.0.1:{web}"}}
"""

BOUNCE = """\
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
WorkingDirectory={repo}
ExecStart={python} -B {toybot} {port}
{more}
"""


def tell(name: str, value: object) -> None:
    sys.stdout.write(json.dumps([name, value]) + "\n")
    sys.stdout.flush()


def systemctl(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemctl", *args], capture_output=True, text=True, check=False)


def show(unit: str, name: str) -> str:
    return systemctl("show", "--value", "-p", name, unit).stdout.strip()


def log(*options: str) -> str:
    """What the service, and systemd about it, have written so far."""
    subprocess.run(["journalctl", "--sync"], capture_output=True, check=False)
    asked = ["journalctl", "-u", SERVICE, "-o", "cat", *options]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout


def drop_in(unit: str, name: str, lines: str) -> None:
    folder = UNITS / f"{unit}.d"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.conf").write_text(f"[Service]\n{lines}\n")
    systemctl("daemon-reload")


class Machine(Night):
    """A night on a machine with systemd: the repository is not root's, and the watchdog is the shipped service."""

    def __init__(self, name: str = "toy") -> None:
        self.name = name
        self.unit = f"trading-{name}.service"
        self.owner = pwd.getpwnam("nobody")
        folder = Path("/srv") / name
        folder.mkdir(parents=True)
        super().__init__(folder)

    def git(self, *args: str) -> str:
        if args[0] == "init":
            self._theirs(self.repo)
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

    def write(self, name: str, text: str) -> None:
        super().write(name, text)
        self._theirs(self.repo / name)

    def _theirs(self, path: Path) -> None:
        os.chown(path, self.owner.pw_uid, self.owner.pw_gid)

    def strangers(self) -> list[str]:
        """What in the repository does not belong to its owner."""
        return [str(path) for path in self.repo.rglob("*") if path.lstat().st_uid != self.owner.pw_uid]

    # the bot

    def install(self, more: str = "") -> None:
        """Makes the bot a unit of its own, and starts it. `more`: further lines of its [Service]."""
        known = {"repo": self.repo, "python": sys.executable, "toybot": TOYBOT, "port": self.port, "more": more}
        (UNITS / self.unit).write_text(BOT_UNIT.format(**known))
        systemctl("daemon-reload")
        self.restart_bot()

    def restart_bot(self) -> None:
        systemctl("restart", self.unit)
        until(lambda: self.page() is not None, "the bot answers")

    # the watchdog

    def describe(self, *, more: str = "", kpis: str = "", rules: str = "", settle: str = "800ms") -> None:
        """`more`: sources. The bot is a unit once it was installed, else a plain process."""
        is_unit = (UNITS / self.unit).exists()
        place = (
            f"unit: {self.unit}"
            if is_unit
            else (
                f'process: {{pid_file: ../bot.pid, command: ["{sys.executable}", "{TOYBOT}", "{self.port}"], log: ../bot.log}}'
            )
        )
        (CONFIG / "rules").mkdir(parents=True, exist_ok=True)
        (CONFIG / "watchdog.yaml").write_text(WATCHDOG.format(web=self.web, more=more))
        (CONFIG / "environment").write_text(f"BOT_PORT={self.port}\n")
        self.environ["BOT_PORT"] = str(self.port)
        restart = "do: systemd, restart: unit" if is_unit else "do: process, restart: process"
        (CONFIG / "rules" / f"{self.name}.yaml").write_text(
            RULES.format(
                name=self.name,
                repo=self.repo,
                place=place,
                kpis=kpis,
                rules=rules,
                settle=settle,
                give_up="2m",
                plans=BOUNCE.format(restart=restart),
                restart=restart,
            )
        )

    def edit(self, old: str, new: str) -> int:
        """Replaces text in the rules; returns the number of its line."""
        path = CONFIG / "rules" / f"{self.name}.yaml"
        text = path.read_text()
        assert text.count(old) == 1, (old, text)
        path.write_text(text.replace(old, new))
        return text[: text.index(old)].count("\n") + 1

    def command(self, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "watchdog", *args], capture_output=True, text=True, env=self.environ, timeout=60
        )

    def incidents(self, number: int | None = None) -> list[dict[str, Any]]:
        """As `trading-watchdog incidents --json` says it, without a program of its own for each look."""
        journal = Journal(STATE / "journal.db")
        try:
            return [
                {
                    **asdict(one),
                    "trips": [trip.rule for trip in incidents.trips(journal, one.id)],
                    "runs": [
                        {**asdict(run), "steps": [asdict(step) for step in runs.steps(journal, run.id)]}
                        for run in runs.of_incident(journal, one.id)
                    ],
                }
                for one in incidents.listing(journal, number)
            ]
        finally:
            journal.close()

    def runs(self) -> list[dict[str, Any]]:
        return [run for run in super().runs() if run["target"] == self.name]

    def standing(self) -> Standing:
        journal = Journal(STATE / "journal.db")
        try:
            return incidents.standing(journal, self.name, 0)
        finally:
            journal.close()

    def metric(self, name: str) -> float | None:
        """One of the watchdog's own metrics, with its labels as they are printed; None when nobody answers."""
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.metrics() or "", re.MULTILINE)
        return None if found is None else float(found[1])


def main_pid(unit: str = SERVICE) -> int:
    return int(show(unit, "MainPID"))


# ─ the service ─


def service() -> None:
    """The shipped unit: started, reloaded, killed, hung, broken and mended."""
    night = Machine()
    night.describe()
    verified = subprocess.run(
        ["systemd-analyze", "verify", UNITS / SERVICE], capture_output=True, text=True, check=False
    )
    tell("systemd-analyze verify", verified.stderr)
    starts(night)
    bot = starts_a_bot(night)
    reloads(night)
    dies(night, bot)
    hangs(night)
    tell("bot survived all of it", bot.is_running())
    is_mended(night)


def starts(night: Machine) -> None:
    os.mkfifo("/run/gate")
    begin = (CONFIG.parent / "systemd/system" / f"{SERVICE}.d" / "checkout.conf").read_text().splitlines()[-1]
    command = begin.removeprefix("ExecStart=")
    drop_in(SERVICE, "gate", f"ExecStart=\nExecStart=/bin/sh -c 'read -r _ </run/gate; exec {command}'")
    systemctl("start", "--no-block", SERVICE)
    pid = until(main_pid, "it has begun")
    tell("before READY=1", [show(SERVICE, "ActiveState"), show(SERVICE, "SubState")])
    (UNITS / f"{SERVICE}.d" / "gate.conf").unlink()
    Path("/run/gate").write_text("open\n")
    begun = systemctl("start", SERVICE)  # joins the start that is under way, and waits for its end
    with urllib.request.urlopen(f"http://127.0.0.1:{night.web}/healthz", timeout=60) as page:
        answers = page.status  # refused at once, were it not there yet: READY=1 is said when it answers
    systemctl("daemon-reload")
    tell("start", [begun.returncode, show(SERVICE, "ActiveState"), answers, main_pid() == pid])
    tell("StatusText", show(SERVICE, "StatusText"))
    tell("WatchdogUSec", show(SERVICE, "WatchdogUSec"))
    tell("state folder", [oct(STATE.stat().st_mode & 0o7777), sorted(path.name for path in STATE.iterdir())])
    alive_again()
    tell("said to be alive", True)


def alive_again() -> None:
    """Waits until systemd has heard WATCHDOG=1 twice more."""
    for _ in range(2):
        last = show(SERVICE, "WatchdogTimestampMonotonic")
        until(lambda last=last: show(SERVICE, "WatchdogTimestampMonotonic") != last, "WATCHDOG=1 is heard")  # type: ignore[misc]


def starts_a_bot(night: Machine) -> psutil.Process:
    ran = night.command("rollback", "bounce", "--reason", "start the bot", "--json")
    tell("rollback by hand", [ran.returncode, json.loads(ran.stdout or "{}").get("outcome"), ran.stderr])
    bot = psutil.Process(int((night.folder / "bot.pid").read_text()))
    tell("bot is in the watchdog's control group", SERVICE in Path(f"/proc/{bot.pid}/cgroup").read_text())
    tell("bot's environment", sorted(name for name in bot.environ() if "NOTIFY" in name or "WATCHDOG" in name))
    scores = [Path(f"/proc/{pid}/oom_score_adj").read_text().strip() for pid in (main_pid(), bot.pid)]
    tell("oom_score_adj of watchdog and bot", scores)
    return bot


def reloads(night: Machine) -> None:
    night.healthy()
    pid = main_pid()
    good = "watchdog_config_last_reload_successful"
    limit = 'watchdog_rule_limit{bound="upper",rule="errors-high",severity="critical"}'
    night.edit("above: 10%", "above: 20%")
    tell("reload", systemctl("reload", SERVICE).returncode)
    until(lambda: night.metric(limit) == 0.2, "the new limit is in force")
    tell("after a good reload", [night.metric(good), main_pid() == pid])

    line = night.edit("above: 20%", "above: 20 parsecs")
    tell("broken line", f"{CONFIG}/rules/toy.yaml:{line}:")
    systemctl("reload", SERVICE)
    until(lambda: night.metric(good) == 0, "the reload has failed")
    until(lambda: show(SERVICE, "ActiveState") == "active", "the reload is over")
    tell("after a broken reload", [night.metric(limit), main_pid() == pid, show(SERVICE, "StatusText")])
    tell("log of a broken reload", [text for text in log().splitlines() if "not reloaded" in text])
    words = {text.partition(" ")[0] for text in log("-p", "warning").splitlines()}
    tell("levels at priority warning", sorted(words & {"INFO", "WARNING", "ERROR"}))

    night.edit("above: 20 parsecs", "above: 15%")
    systemctl("reload", SERVICE)
    until(lambda: night.metric(good) == 1, "the mended files are read")
    tell("after a mended reload", [night.metric(limit), show(SERVICE, "StatusText")])


def dies(night: Machine, bot: psutil.Process) -> None:
    night.equity(800)
    until(lambda: any(run["plan"] == "halt" and run["outcome"] for run in night.runs()), "halted")
    before, pid = night.incidents(), main_pid()
    os.kill(pid, signal.SIGKILL)
    until(lambda: show(SERVICE, "NRestarts") == "1" and show(SERVICE, "ActiveState") == "active", "started again")
    tell("latched after kill -9", night.metric('watchdog_target_latched{target="toy"}'))
    tell("pid after kill -9 is new", main_pid() != pid)
    tell("bot survived kill -9", bot.is_running())
    until(lambda: {rule["outcome"] for rule in night.status()["rules"]} == {"ok", "bad"}, "it judges again")
    tell("judges after kill -9", True)
    tell(
        "incidents after kill -9 are the same",
        [one["id"] for one in night.incidents()] == [one["id"] for one in before],
    )
    tell("halts after kill -9", [run["outcome"] for run in night.runs() if run["plan"] == "halt"])


def hangs(night: Machine) -> None:
    git = Path("/srv/bin/git")
    git.parent.mkdir()
    git.write_text(
        '#!/bin/sh\nif [ -e /run/hang ]; then echo $$ >/tmp/hung; exec sleep 60; fi\nexec /usr/bin/git "$@"\n'
    )
    git.chmod(0o755)
    drop_in(SERVICE, "git", "Environment=PATH=/srv/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    systemctl("restart", SERVICE)
    tell("end on request", "Deactivated successfully" in log().split("Stopping")[-1])
    pid = main_pid()
    Path("/run/hang").touch()
    hung = Path("/tmp/hung")
    until(lambda: hung.exists() and hung.read_text(), "git hangs")
    alive_again()
    tell("alive while git hangs", main_pid() == pid)
    Path("/run/hang").unlink()

    drop_in(SERVICE, "hurry", "WatchdogSec=2")
    systemctl("restart", SERVICE)
    tell("restarted while git hangs", psutil.pid_exists(int(hung.read_text())))
    os.kill(int(hung.read_text()), signal.SIGKILL)
    pid = main_pid()
    os.kill(pid, signal.SIGSTOP)
    until(lambda: main_pid() not in (0, pid) and show(SERVICE, "ActiveState") == "active", "started again")
    until(lambda: night.metrics() is not None, "it answers")
    told = log()
    tell("hung", ["Watchdog timeout" in told, "with result 'watchdog'" in told, "Fatal Python error: Aborted" in told])


def is_mended(night: Machine) -> None:
    night.edit("above: 15%", "above: 15 parsecs")
    systemctl("stop", SERVICE)
    begun = systemctl("start", SERVICE)
    until(lambda: int(show(SERVICE, "NRestarts")) >= 1, "it is tried again")
    tell("start with broken files", [begun.returncode != 0, f"\n{CONFIG}/rules/toy.yaml:" in log()])
    night.edit("above: 15 parsecs", "above: 15%")
    until(lambda: show(SERVICE, "ActiveState") == "active", "mended")
    tell("starts by itself once the files are mended", True)


# ─ the bot is a unit ─


def ladder() -> None:
    """A bad merge, a person at work, and crashes."""
    night = Machine()
    night.install("Restart=on-failure\nRestartSec=1")
    crashes = yaml.safe_load((CHECKOUT / "rules" / "process.yaml").read_text())["kpis"]["crashes"]
    night.describe(
        more=f"  process: {{type: process, unit: {night.unit}, every: 500ms}}",
        kpis=f"  crashes: {json.dumps(crashes)}",
        rules="  - {name: crash, kpi: crashes, crit: {above: 0, for: 600ms, clear: 0}}",
    )
    systemctl("start", SERVICE)
    night.healthy()
    deployed = person(night)
    rolled_back(night, deployed)
    crashed(night)


def person(night: Machine) -> str:
    """Somebody restarts the bot, and then deploys what is bad: the repair waits for as long as it is settling.

    Returns the invocation that was deployed.
    """
    night.edit("settling: 1s", "settling: 1h")
    until(lambda: night.standing().invocation == show(night.unit, "InvocationID"), "the bot's invocation was noted")
    systemctl("reload", SERVICE)
    until(lambda: "reloaded" in log(), "reloaded")
    tell("settling before", night.standing().unsettled)
    night.restart_bot()
    until(lambda: night.standing().unsettled, "the person's restart was seen")
    tell("log of a person's restart", [text for text in log().splitlines() if "somebody else" in text])
    night.deploy_v2(BAD)
    until(lambda: "plan ladder refused" in log(), "the ladder is refused")
    tell("refused", [text for text in log().splitlines() if "plan ladder refused" in text])
    tell("runs while settling", len(night.runs()))
    deployed = show(night.unit, "InvocationID")
    night.edit("settling: 1h", "settling: 1s")
    systemctl("reload", SERVICE)
    return deployed


def rolled_back(night: Machine, deployed: str) -> None:
    until(lambda: night.runs() and night.runs()[-1]["outcome"], "the ladder has ended")
    (run,) = night.runs()
    tell("ladder", [run["outcome"], run["level"], run["reason"]])
    tell("ladder's steps", [[step["phase"], step["level"], step["say"], step["status"]] for step in run["steps"]])
    restarts = [step["before"]["invocation"] for step in run["steps"] if step["say"].startswith("restart")]
    tell("invocations differ", len({*restarts, show(night.unit, "InvocationID")}) == 3 and restarts[0] == deployed)
    tell("tree is v1's", night.git("rev-parse", "HEAD^{tree}") == night.git("rev-parse", "v1^{tree}"))
    tell("git status", night.git("status", "--porcelain"))
    tell("reverts", night.reverts())
    tell("page", (night.page() or "").splitlines()[0])
    tell("strangers in the repository", night.strangers())
    until(lambda: all(one["closed"] for one in night.incidents()), "the incident is closed")
    tell("trips", [one["trips"] for one in night.incidents()])


def crashed(night: Machine) -> None:
    state, value = 'watchdog_rule_state{rule="crash"}', 'watchdog_kpi_value{kpi="crashes"}'
    until(lambda: night.standing().invocation == show(night.unit, "InvocationID"), "our own restart was noted")
    tell("before any crash", [night.metric(state), night.metric(value), show(night.unit, "NRestarts")])
    settled = night.standing().unsettled
    os.kill(main_pid(night.unit), signal.SIGKILL)
    until(lambda: show(night.unit, "NRestarts") == "1" and show(night.unit, "ActiveState") == "active", "restarted")
    until(lambda: night.metric(state) == 2, "the crash is seen")
    until(lambda: round(night.metric(value) or 0) == 1, "systemd's restart is counted")
    until(lambda: night.standing().invocation == show(night.unit, "InvocationID"), "systemd's restart was seen")
    tell("a crash is nobody's restart", night.standing().unsettled == settled)

    drop_in(night.unit, "left", "Restart=no")
    os.kill(main_pid(night.unit), signal.SIGKILL)
    until(lambda: show(night.unit, "ActiveState") == "failed", "left dead")
    until(lambda: round(night.metric(value) or 0) == 2, "a unit that stays down counts, too")
    tell("crashes", night.incidents()[0]["trips"])


def falls() -> None:
    """Bots that cannot start at level one: systemd leaves one dead, and starts the other again and again."""
    for name, restart in (("dead", "Restart=no"), ("looping", "Restart=always\nRestartSec=5")):
        night = Machine(name)
        night.install(restart)
        night.describe(settle="1m")
        systemctl("restart", SERVICE)
        night.healthy()
        night.deploy_v2(BAD + "CRASH = True\n")
        until(lambda night=night: night.runs() and night.runs()[0]["outcome"], "the ladder has ended")  # type: ignore[misc]
        run = night.runs()[0]
        rungs = [step for step in run["steps"] if step["phase"] == "level"]
        last_of_first = max(step["ended"] for step in rungs if step["level"] == 0)
        first_of_second = min([step["started"] for step in rungs if step["level"] == 1], default=None)
        tell(f"{name}: ladder", [run["outcome"], run["level"], run["reason"]])
        tell(f"{name}: ms from level one to level two", first_of_second and first_of_second - last_of_first)
        said = f"WARNING {name}: ladder: level feature disproven: "
        tell(f"{name}: level one", [text for text in log().splitlines() if text.startswith(said)])
        (CONFIG / "rules" / f"{name}.yaml").unlink()


def units() -> None:
    """The action by itself: one unit that can be masked, one that cannot, one that crashes until its limit is hit."""
    local = Path("/usr/local/lib/systemd/system")
    local.mkdir(parents=True, exist_ok=True)
    sleeps = "[Service]\nExecStart=/bin/sleep infinity\n"
    (local / "kept.service").write_text(sleeps)
    (UNITS / "own.service").write_text(sleeps)
    crashes = (
        "[Unit]\nStartLimitBurst=2\nStartLimitIntervalSec=300\n[Service]\nType=notify\nExecStart=/bin/sh -c '{}'\n"
    )
    (UNITS / "crashing.service").write_text(crashes.format("exit 3"))
    systemctl("daemon-reload")
    systemctl("start", "kept", "own")

    for name in ("kept", "own"):
        stop = Systemd(do="systemd", stop=f"{name}.service", mask=True)
        before = stop.before()
        states = [stop.state(before)]
        said = stop.apply(before, "k")
        tell(f"{name}: masked", [*states, stop.state(before), show(name, "ActiveState"), show(name, "LoadState")])
        tell(f"{name}: said", said)
    start = Systemd(do="systemd", start="kept.service")
    try:
        start.before()
    except ActionError as error:
        tell("masked: start", str(error))
    systemctl("unmask", "kept")
    before = start.before()
    start.apply(before, "k")
    tell("unmasked: start", start.state(before))

    start = Systemd(do="systemd", start="crashing.service")
    before = start.before()
    errors = []
    for _ in range(4):
        try:
            start.apply(before, "k")
        except ActionError as error:
            errors.append(str(error))
    tell("crashing: said", errors)
    (UNITS / "crashing.service").write_text(
        crashes.format("[ ! -e /tmp/mended ] || exec /bin/sleep infinity; exit 3").replace("Type=notify", "Type=exec")
    )
    systemctl("daemon-reload")
    for _ in range(4):
        systemctl("start", "crashing")
    Path("/tmp/mended").touch()
    tell("crashing: by hand", [systemctl("start", "crashing").returncode, show("crashing", "ActiveState")])
    tell("crashing: mended", [start.apply(before, "k"), start.state(before), show("crashing", "ActiveState")])


STORIES = {story.__name__: story for story in (service, ladder, falls, units)}

if __name__ == "__main__":
    try:
        STORIES[sys.argv[1]]()
    except BaseException:
        sys.stdout.write(log())
        raise
