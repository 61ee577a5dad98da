"""A story of units that are watched: see sandbox.py and test_watched_units.py."""

from __future__ import annotations

import pwd
import sys
import time
from pathlib import Path

from tests.e2e.harness import wait_until
from tests.systemd.harness import get_property, report, service_log, systemctl
from watchdog.core.errors import SourceError
from watchdog.core.executor import owner_executor
from watchdog.sources import ProcessSource, SystemdSource
from watchdog.worker.client import WorkerExecutor

SHIPPED = Path("/usr/local/lib/systemd/system")
"""Where units lie that can be masked."""
UNITS = {
    "tight.slice": "[Slice]\nMemoryMax=32M\n",
    "limited.service": "[Service]\nSlice=tight.slice\nMemoryMax=64M\nCPUQuota=50%\nExecStart=/bin/sleep infinity\n",
    "alive.service": (
        "[Service]\nType=notify\nNotifyAccess=all\nWatchdogSec=100\n"
        "ExecStart=/bin/sh -c 'systemd-notify --ready; systemd-notify WATCHDOG=1; exec sleep infinity'\n"
    ),
    "failing.service": "[Service]\nType=oneshot\nExecStart=/bin/false\n",
    "crashing.service": (
        "[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestart=always\nRestartSec=10ms\nExecStart=/bin/false\n"
    ),
    "broken.service": "[Service]\nType=simple\n",
    "backup.service": "[Service]\nType=oneshot\nExecStart=/bin/true\n",
    "backup.timer": "[Timer]\nOnActiveSec=10ms\nOnCalendar=daily\nAccuracySec=1ms\n",
    "idle.timer": "[Timer]\nUnit=backup.service\nOnActiveSec=1h\n",
}


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def read(*units: str, **fields: object) -> dict[str, dict[str, float]]:
    """Unit → series, without what is common to their names → value."""
    source = SystemdSource.model_validate({"type": "systemd", "units": list(units), **fields})
    found: dict[str, dict[str, float]] = {}
    for name, labels, _, value in source.read({}, {}, now_ms()):
        if name != "systemd_unit_state":
            found.setdefault(dict(labels)["unit"], {})[name.removeprefix("systemd_").removeprefix("unit_")] = value
    return found


def watched_units() -> None:
    """Units that run, fail, restart, wait and are limited; a user's own manager."""
    SHIPPED.mkdir(parents=True, exist_ok=True)
    for name, text in UNITS.items():
        (SHIPPED / name).write_text(text)
    systemctl("daemon-reload")
    systemctl("start", "limited", "alive", "backup.timer", "idle.timer")
    systemctl("start", "failing")
    systemctl("start", "--no-block", "crashing")
    wait_until(lambda: int(get_property("crashing", "NRestarts") or 0) > 1, "it was restarted")
    wait_until(lambda: get_property("backup.timer", "LastTriggerUSec") not in ("", "n/a"), "the timer has run")
    wait_until(lambda: get_property("backup.service", "ActiveState") == "inactive", "what it starts has ended")
    report("all", read(*UNITS, "nowhere.service"))
    systemctl("stop", "crashing")
    systemctl("mask", "--now", "alive")
    report("masked", read("alive"))
    report("by pattern", sorted(read("b*.timer", "limited.service")))
    try:
        read("limited", machine="nowhere")
    except SourceError as error:
        report("no such machine", str(error))
    limited = ProcessSource(type="process", unit="limited.service").read({}, {}, now_ms())
    report("limited process", {each.name: each.v for each in limited})
    watch_user_manager()


def watch_user_manager() -> None:
    account = pwd.getpwnam("botuser")
    systemctl("start", "trading-watchdog-worker@botuser.socket")
    token = owner_executor.set(executor := WorkerExecutor())
    try:
        try:
            read("basic.target", user="botuser")
        except SourceError as error:
            report("user manager, not there", str(error))
        systemctl("start", f"user@{account.pw_uid}.service")
        report("user manager", read("basic.target", "nowhere", user="botuser"))
    finally:
        owner_executor.reset(token)
        executor.close()


if __name__ == "__main__":
    try:
        watched_units()
    except BaseException:
        sys.stdout.write(service_log())
        raise
