"""Stories of a watchdog that is not root, beside the bot of another user. Each tells what it found out, as in scenarios.py."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
import tarfile
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import psutil

from tests.e2e.harness import wait_until
from tests.systemd.harness import (
    CHECKOUT,
    CONFIG_DIR,
    SERVICE,
    STATE_DIR,
    UNIT_DIR,
    WATCHDOG_USER,
    SystemdHarness,
    get_property,
    main_pid,
    report,
    run_as,
    service_log,
    systemctl,
)

SOURCES = """\
  process: {{type: process, unit: {unit}, every: 500ms}}
  host: {{type: host, every: 500ms, disks: [/, /home, /tmp]}}
"""
FREEZE_PLAN = r"""
  freeze:
    kind: halt
    levels:
      - name: stop
        steps: [{do: systemd, stop: 'spare\x2dbot.service', mask: true}]
        verify: {that: [beats_total > 0], give_up: 20s}
"""
MEDDLE_PLAN = """\
  meddle:
    kind: repair
    mode: auto
    exhausted: leave-running
    latch: never
    verify: {that: [beats_total > 0], quiet: 200ms, give_up: 20s}
    levels:
      - {name: restart, steps: [{do: systemd, restart: other.service}]}
"""


TIDY_PLAN = """\
  tidy:
    kind: repair
    mode: auto
    exhausted: leave-running
    latch: never
    verify: {that: [beats_total > 0], quiet: 200ms, give_up: 20s}
    levels:
      - {name: archive, steps: [{do: archive, paths: [memory], into: ../archives}, {do: systemd, restart: unit}]}
"""
ODD_RULES = """\
targets:
  odd: {run_as: odd$}
plans:
  tell:
    kind: repair
    mode: auto
    exhausted: leave-running
    latch: never
    verify: {that: [beats_total > 0], quiet: 200ms, give_up: 20s}
    levels:
      - {name: tell, steps: [{do: command, run: [sh, -c, id -Gn >/srv/odd/told], check: [test, -s, /srv/odd/told]}]}
"""
REMEMBERED = {"memory/regimes.json": "[1, 2]\n", "memory/positions.json": "{}\n"}
BAD_MODEL = "ERRORS = 0.5\nERRORS_OFF = 0.4\n"


class UnprivilegedHarness(SystemdHarness):
    """The bot is a unit of botuser's; beside it are units that are nobody's business."""

    def __init__(self) -> None:
        super().__init__("toy")
        units = Path("/usr/local/lib/systemd/system")
        units.mkdir(parents=True, exist_ok=True)
        for name in ("other", r"spare\x2dbot"):
            (units / f"{name}.service").write_text("[Service]\nExecStart=/bin/sleep infinity\n")
        self.install_bot_unit()
        systemctl("start", "other", r"spare\x2dbot.service")

    def rollback(self, plan: str, *more: str) -> dict[str, Any]:
        """A run by hand: ``{"code", "outcome", "steps", "stderr"}``, of each step what it is, what became of it, and why."""
        ran = self.run_cli("rollback", plan, *(more or ("--target", "toy")), "--reason", "by hand", "--json")
        run = json.loads(ran.stdout or "{}")
        steps = [[step["say"], step["status"], step["detail"]] for step in run.get("steps", [])]
        return {"code": ran.returncode, "outcome": run.get("outcome"), "steps": steps, "stderr": ran.stderr}

    def values(self, metric: str) -> dict[str, float]:
        """What a metric is now, by its label `disk`."""
        asked = urllib.parse.urlencode({"expr": metric})
        with urllib.request.urlopen(f"http://127.0.0.1:{self.web_port}/api/query?{asked}", timeout=90) as page:
            found = json.load(page)["series"]
        return {series["labels"].get("disk", ""): series["values"][-1] for series in found}


def watching() -> None:
    """It reads, judges and tells; restarts what its files name, by polkit, and nothing else."""
    night = UnprivilegedHarness()
    night.deploy_v2("ERRORS = 0.01\n")  # what the plans name is there
    night.write_service_config(more=SOURCES.format(unit=night.unit), plans=FREEZE_PLAN)
    written = night.allow_planned_units()
    report("polkit --write", [written.returncode, written.stderr])
    report_unit_files()
    systemctl("start", SERVICE)
    night.wait_until_healthy()
    report_identity()
    report_sources(night)
    check_named_unit(night)
    check_unit_that_is_not_named(night)
    check_mask(night)
    report_privileges(night)


def report_unit_files() -> None:
    shipped = sorted((CHECKOUT / "systemd").glob("*.*"))
    names = [path.name.replace("@", "@botuser") for path in shipped if path.suffix != ".sysusers"]
    verified = subprocess.run(["systemd-analyze", "verify", *names], capture_output=True, text=True, check=False)
    report("systemd-analyze verify", verified.stderr)
    systemctl("start", "trading-watchdog-worker@botuser.socket")
    door = Path("/run/trading-watchdog-worker/botuser.sock")
    connects = f"import socket; socket.socket(socket.AF_UNIX).connect({str(door)!r})"
    report(
        "socket of the worker",
        [
            [door.owner(), oct(door.stat().st_mode & 0o7777)],
            [door.parent.owner(), oct(door.parent.stat().st_mode & 0o7777)],
            run_as("botuser", sys.executable, "-c", connects).stderr.splitlines()[-1:],
        ],
    )
    systemctl("stop", "trading-watchdog-worker@botuser.socket")
    report("socket of a worker that was stopped", door.exists())
    systemctl("start", "trading-watchdog-worker@botuser.socket")


def report_identity() -> None:
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{main_pid()}/status").read_text().splitlines())
    account = pwd.getpwnam(WATCHDOG_USER)
    report("uids are the user's", set(status["Uid"].split()) == {str(account.pw_uid)})
    report("groups", [status["Gid"].split()[0] == str(account.pw_gid), status["Groups"].split()])
    report("capabilities", [status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")])
    report("confined", [status["NoNewPrivs"], status["Seccomp"]])
    report("oom_score_adj", Path(f"/proc/{main_pid()}/oom_score_adj").read_text().strip())
    files = [STATE_DIR, *STATE_DIR.iterdir()]
    report(
        "what of the state others may do anything with",
        [str(path) for path in files if path.stat().st_mode & 0o077 or path.stat().st_uid != account.pw_uid],
    )


def report_sources(harness: UnprivilegedHarness) -> None:
    wait_until(lambda: all(one["up"] for one in harness.status()["sources"].values()), "all sources deliver")
    report("sources", {name: one["error"] for name, one in harness.status()["sources"].items()})
    measured = wait_until(lambda: harness.values("process_resident_memory_bytes"), "the bot is measured")
    report("bot's memory is measured", measured[""] > 0)
    measured = harness.values("host_disk_total_bytes")
    sizes = {disk: os.statvfs(disk) for disk in measured}
    report("disks are the machine's", {disk: measured[disk] == s.f_blocks * s.f_frsize for disk, s in sizes.items()})
    report("memory is the machine's", harness.values("host_memory_total_bytes")[""] == psutil.virtual_memory().total)


def check_named_unit(harness: UnprivilegedHarness) -> None:
    before = get_property(harness.unit, "InvocationID")
    report("bounce", harness.rollback("bounce"))
    report("bot was restarted", get_property(harness.unit, "InvocationID") != before)


def check_mask(harness: UnprivilegedHarness) -> None:
    report("freeze", harness.rollback("freeze"))
    spare = r"spare\x2dbot.service"
    report("spare bot", [get_property(spare, "ActiveState"), get_property(spare, "LoadState")])


def check_unit_that_is_not_named(harness: UnprivilegedHarness) -> None:
    before = get_property("other", "InvocationID")
    rules = CONFIG_DIR / "rules" / "toy.yaml"
    rules.write_text(rules.read_text() + MEDDLE_PLAN)
    systemctl("reload", SERVICE)
    wait_until(lambda: "1 plan added: meddle" in service_log(), "reloaded")
    report("meddle, not allowed", harness.rollback("meddle"))
    report("other was left alone", get_property("other", "InvocationID") == before)
    said = harness.run_cli("check", user="root").stdout
    report("check", [line for line in said.splitlines() if "polkit" in line])
    harness.allow_planned_units()
    report(
        "check, once written",
        [line for line in harness.run_cli("check", user="root").stdout.splitlines() if "polkit" in line],
    )
    report("meddle, allowed", harness.rollback("meddle"))
    report("other was restarted", get_property("other", "InvocationID") != before)


def report_privileges(harness: UnprivilegedHarness) -> None:
    """What whoever has taken over the watchdog's user may not ask systemd for; only a restart of the bot is planned."""
    asked = [
        f"stop {harness.unit}",
        f"start {harness.unit}",
        f"reload-or-restart {harness.unit}",
        f"mask {harness.unit}",
        f"start trading-watchdog-mask@{harness.unit}.service",
        f"kill {harness.unit}",
        f"set-property {harness.unit} MemoryMax=1",
        "restart dbus.service",
        f"restart {SERVICE}",
        "daemon-reload",
        "link /srv/evil.service",
    ]
    Path("/srv/evil.service").write_text("[Service]\nExecStart=/bin/true\n")
    report("asked in vain", asked)
    said = {
        command: run_as(WATCHDOG_USER, "systemctl", "--no-ask-password", *command.split()).stderr for command in asked
    }
    report("refused", [command for command in asked if "authentication required" in said[command]])


# ─ what is done to the bot ─


def acting() -> None:
    """Flag, revert, restart, undo, archive and halt on a bot of another user's, by the worker of that user alone."""
    night = UnprivilegedHarness()
    night.write_service_config(plans=TIDY_PLAN)
    systemctl("start", SERVICE)
    night.wait_until_healthy()
    check_repair(night)
    check_undo(night)
    report_archive(night)
    report_halt(night)
    report("strangers in the repository", night.foreign_files())
    report_odd_user(night)


def check_repair(harness: UnprivilegedHarness) -> None:
    harness.deploy_v2(BAD_MODEL)
    wait_until(lambda: harness.list_runs() and harness.list_runs()[0]["outcome"], "the ladder has ended")
    run = harness.list_runs()[0]
    report("ladder", [run["outcome"], [[step["say"], step["status"]] for step in run["steps"]]])
    wait_until(lambda: all(one["closed"] for one in harness.list_incidents()), "the incident is closed")
    report("repository after the ladder", [harness.revert_commits(), harness.git("status", "--porcelain")])


def check_undo(harness: UnprivilegedHarness) -> None:
    ran = harness.run_cli("undo", "1", "--reason", "the model was not it")
    report("undo", [ran.returncode, ran.stderr])
    report("v2 is back", (harness.repo / "model.py").read_text() == BAD_MODEL)
    harness.write_repo_file("model.py", "ERRORS = 0.01\n")
    harness.restart_bot()
    harness.run_cli("resume", "toy", "--reason", "mended")


def report_archive(harness: UnprivilegedHarness) -> None:
    (harness.repo / "memory").mkdir()
    harness.chown_to_owner(harness.repo / "memory")
    for name, content in REMEMBERED.items():
        harness.write_repo_file(name, content)
    report("tidy", harness.rollback("tidy"))
    (archive,) = (harness.folder / "archives").iterdir()
    report("archive", [archive.owner(), oct(archive.stat().st_mode & 0o7777)])
    with tarfile.open(archive) as packed:
        files = {member.name: packed.extractfile(member) for member in packed.getmembers() if member.isfile()}
        report("archived", {name: file.read().decode() for name, file in files.items() if file is not None})
    report("archived is gone", not (harness.repo / "memory").exists())


def report_halt(harness: UnprivilegedHarness) -> None:
    report("halt", harness.rollback("halt"))
    flags = harness.repo / "config.py"
    report("flags", [flags.read_text().splitlines()[0], flags.owner()])


def report_odd_user(harness: UnprivilegedHarness) -> None:
    """A user whose name no unit can have, without a worker at first."""
    subprocess.run(["useradd", "--badname", "--groups", "games", "odd$"], check=True, capture_output=True)
    account = pwd.getpwnam("odd$")
    Path("/srv/odd").mkdir()
    os.chown("/srv/odd", account.pw_uid, account.pw_gid)
    (CONFIG_DIR / "rules" / "odd.yaml").write_text(ODD_RULES)
    systemctl("reload", SERVICE)
    wait_until(lambda: "1 target added: odd" in service_log(), "reloaded")
    report("odd user, at the reload", [line for line in service_log().splitlines() if "may not act as odd$" in line])
    report("odd user without a worker", harness.rollback("tell", "--target", "odd"))
    systemctl("start", f"trading-watchdog-worker@{account.pw_uid}.socket")
    report("odd user", harness.rollback("tell", "--target", "odd"))
    told = Path("/srv/odd/told")
    report("odd user told", [told.owner(), told.read_text().split()])
    report("odd user's number", account.pw_uid)


# ─ the page that says how ─


def installing() -> None:
    """What docs/operations.md says, line by line, on a machine on which an older version ran as root."""
    for path in UNIT_DIR.glob("trading-watchdog*"):
        path.unlink()
    systemctl("daemon-reload")
    STATE_DIR.mkdir()
    (STATE_DIR / "backups").mkdir()
    (STATE_DIR / "backups" / "old").write_text("what an older version saved")
    page = (CHECKOUT / "docs" / "operations.md").read_text()
    CONFIG_DIR.mkdir(exist_ok=True)
    (CONFIG_DIR / "environment").touch(0o600)
    lines = page.partition("## Installing\n")[2].split("```")[1].splitlines()
    prepared = [line for line in lines if "-m venv" in line or "pip install" in line]  # as the box is
    report("lines that the box has done", len(prepared))
    for line in (line for line in lines if line and line not in prepared):
        ran = subprocess.run(["sh", "-c", line], cwd=CHECKOUT, capture_output=True, text=True, check=False)
        report(f"$ {line.partition('  ')[0]}", [ran.returncode, ran.stderr.splitlines()])
        if ran.returncode != 0:
            return
    report("status", get_property(SERVICE, "StatusText"))
    report("worker listens", get_property("trading-watchdog-worker@botuser.socket", "ActiveState"))
    left = [STATE_DIR, *STATE_DIR.rglob("*")]
    report("owners of the state", sorted({path.owner() for path in left}))
    for user in ("root", WATCHDOG_USER):
        ran = run_as(user, "trading-watchdog", "status", "--json")
        report(f"status for {user}", [ran.returncode, ran.stderr, bool(json.loads(ran.stdout or "{}").get("rules"))])


STORIES = {story.__name__: story for story in (watching, acting, installing)}

if __name__ == "__main__":
    try:
        STORIES[sys.argv[1]]()
    except BaseException:
        sys.stdout.write(service_log())
        raise
