"""Stories of a watchdog that is not root, beside the bot of another user. Each tells what it found out, as in scenarios.py."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
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

    def rollback(self, plan: str) -> dict[str, Any]:
        """A run by hand: ``{"code", "outcome", "reason", "steps"}``."""
        ran = self.run_cli("rollback", plan, "--reason", "by hand", "--json")
        run = json.loads(ran.stdout or "{}")
        steps = [[step["say"], step["status"], step["detail"]] for step in run.get("steps", [])]
        return {"code": ran.returncode, "outcome": run.get("outcome"), "steps": steps, "stderr": ran.stderr}

    def values(self, metric: str) -> dict[str, float]:
        """What a metric is now, by its label `disk`."""
        asked = urllib.parse.urlencode({"expr": metric})
        with urllib.request.urlopen(f"http://127.0.0.1:{self.web_port}/api/query?{asked}", timeout=20) as page:
            found = json.load(page)["series"]
        return {series["labels"].get("disk", ""): series["values"][-1] for series in found}


def watching() -> None:
    """It reads, judges and tells; restarts what its files name, by polkit, and nothing else."""
    night = UnprivilegedHarness()
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
    report("log", service_log("-p", "warning").splitlines())


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


STORIES = {story.__name__: story for story in (watching,)}

if __name__ == "__main__":
    try:
        STORIES[sys.argv[1]]()
    except BaseException:
        sys.stdout.write(service_log())
        raise
