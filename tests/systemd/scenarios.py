"""Stories that happen inside a box; each tells what it found out as lines ``["name", value]``. See sandbox.py."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import yaml

from tests.e2e.harness import wait_until
from tests.systemd.harness import (
    CHECKOUT,
    CONFIG_DIR,
    SERVICE,
    STATE_DIR,
    UNIT_DIR,
    SystemdHarness,
    get_property,
    main_pid,
    report,
    service_log,
    systemctl,
    write_drop_in,
)
from watchdog.actions import SystemdAction
from watchdog.core.errors import ActionError

BAD_MODEL = "ERRORS = 0.5\nERRORS_OFF = 0.4\n"


# ─ the service ─


def service() -> None:
    """The shipped unit: started, reloaded, killed, hung, broken and mended."""
    night = SystemdHarness()
    night.write_service_config()
    verified = subprocess.run(
        ["systemd-analyze", "verify", UNIT_DIR / SERVICE], capture_output=True, text=True, check=False
    )
    report("systemd-analyze verify", verified.stderr)
    check_start(night)
    bot = check_bot_start(night)
    check_reload(night)
    check_sigkill(night, bot)
    check_hang(night)
    check_worker_restart(night, bot)
    report("bot survived all of it", bot.is_running())
    check_mended_config(night)


def check_start(harness: SystemdHarness) -> None:
    os.mkfifo("/run/gate")
    command = next(
        line.removeprefix("ExecStart=")
        for line in (UNIT_DIR / SERVICE).read_text().splitlines()
        if line.startswith("ExecStart=")
    )
    write_drop_in(SERVICE, "gate", f"ExecStart=\nExecStart=/bin/sh -c 'read -r _ </run/gate; exec {command}'")
    systemctl("start", "--no-block", SERVICE)
    pid = wait_until(main_pid, "it has begun")
    report("before READY=1", [get_property(SERVICE, "ActiveState"), get_property(SERVICE, "SubState")])
    (UNIT_DIR / f"{SERVICE}.d" / "gate.conf").unlink()
    Path("/run/gate").write_text("open\n")
    begun = systemctl("start", SERVICE)  # joins the start that is under way, and waits for its end
    with urllib.request.urlopen(f"http://127.0.0.1:{harness.web_port}/healthz", timeout=60) as page:
        answers = page.status  # refused at once, were it not there yet: READY=1 is said when it answers
    systemctl("daemon-reload")
    report("start", [begun.returncode, get_property(SERVICE, "ActiveState"), answers, main_pid() == pid])
    report("StatusText", get_property(SERVICE, "StatusText"))
    report("WatchdogUSec", get_property(SERVICE, "WatchdogUSec"))
    report("state folder", [oct(STATE_DIR.stat().st_mode & 0o7777), sorted(path.name for path in STATE_DIR.iterdir())])
    wait_for_watchdog_pings()
    report("said to be alive", True)


def wait_for_watchdog_pings() -> None:
    """Waits until systemd has heard WATCHDOG=1 twice more."""
    for _ in range(2):
        last = get_property(SERVICE, "WatchdogTimestampMonotonic")
        wait_until(lambda last=last: get_property(SERVICE, "WatchdogTimestampMonotonic") != last, "WATCHDOG=1 is heard")  # type: ignore[misc]


def check_bot_start(harness: SystemdHarness) -> psutil.Process:
    ran = harness.run_cli("rollback", "bounce", "--reason", "start the bot", "--json")
    report("rollback by hand", [ran.returncode, json.loads(ran.stdout or "{}").get("outcome"), ran.stderr])
    bot = psutil.Process(int((harness.folder / "bot.pid").read_text()))
    report("bot is its user's", [bot.username(), bot.gids().real == harness.owner.pw_gid])
    report("bot is in the worker's control group", harness.worker in Path(f"/proc/{bot.pid}/cgroup").read_text())
    told = ("NOTIFY", "WATCHDOG", "LISTEN", "BOT_PORT")
    report("bot's environment", sorted(name for name in bot.environ() if any(word in name for word in told)))
    scores = [Path(f"/proc/{pid}/oom_score_adj").read_text().strip() for pid in (main_pid(), bot.pid)]
    report("oom_score_adj of watchdog and bot", scores)
    return bot


def check_reload(harness: SystemdHarness) -> None:
    harness.wait_until_healthy()
    pid = main_pid()
    good = "watchdog_config_last_reload_successful"
    limit = 'watchdog_rule_limit{bound="upper",rule="errors-high",severity="critical",target="toy"}'
    harness.edit_rules("above: 10%", "above: 20%")
    report("reload", systemctl("reload", SERVICE).returncode)
    wait_until(lambda: harness.watchdog_metric(limit) == 0.2, "the new limit is in force")
    report("after a good reload", [harness.watchdog_metric(good), main_pid() == pid])

    line = harness.edit_rules("above: 20%", "above: 20 parsecs")
    report("broken line", f"{CONFIG_DIR}/rules/toy.yaml:{line}:")
    systemctl("reload", SERVICE)
    wait_until(lambda: harness.watchdog_metric(good) == 0, "the reload has failed")
    wait_until(lambda: get_property(SERVICE, "ActiveState") == "active", "the reload is over")
    report(
        "after a broken reload",
        [harness.watchdog_metric(limit), main_pid() == pid, get_property(SERVICE, "StatusText")],
    )
    report("log of a broken reload", [text for text in service_log().splitlines() if "not reloaded" in text])
    words = {text.partition(" ")[0] for text in service_log("-p", "warning").splitlines()}
    report("levels at priority warning", sorted(words & {"INFO", "WARNING", "ERROR"}))

    harness.edit_rules("above: 20 parsecs", "above: 15%")
    systemctl("reload", SERVICE)
    wait_until(lambda: harness.watchdog_metric(good) == 1, "the mended files are read")
    report("after a mended reload", [harness.watchdog_metric(limit), get_property(SERVICE, "StatusText")])


def check_sigkill(harness: SystemdHarness, bot: psutil.Process) -> None:
    harness.set_equity(800)
    wait_until(lambda: any(run["plan"] == "halt" and run["outcome"] for run in harness.list_runs()), "halted")
    before, pid = harness.list_incidents(), main_pid()
    os.kill(pid, signal.SIGKILL)
    wait_until(
        lambda: get_property(SERVICE, "NRestarts") == "1" and get_property(SERVICE, "ActiveState") == "active",
        "started again",
    )
    report("latched after kill -9", harness.watchdog_metric('watchdog_target_latched{target="toy"}'))
    report("pid after kill -9 is new", main_pid() != pid)
    report("bot survived kill -9", bot.is_running())
    wait_until(lambda: {rule["outcome"] for rule in harness.status()["rules"]} == {"ok", "bad"}, "it judges again")
    report("judges after kill -9", True)
    report(
        "incidents after kill -9 are the same",
        [one["id"] for one in harness.list_incidents()] == [one["id"] for one in before],
    )
    report("halts after kill -9", [run["outcome"] for run in harness.list_runs() if run["plan"] == "halt"])


def check_worker_restart(harness: SystemdHarness, bot: psutil.Process) -> None:
    worker = f"{harness.worker}.service"
    before = main_pid(worker)
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: main_pid(worker) not in (0, before), "another worker")
    report("bot survived kill -9 of the worker", bot.is_running())
    harness.run_cli("resume", "toy", "--reason", "looked at")
    ran = harness.run_cli("rollback", "halt", "--reason", "the worker is another one", "--json")
    report("halt by another worker", json.loads(ran.stdout or "{}").get("outcome"))


def check_hang(harness: SystemdHarness) -> None:
    git = Path("/srv/bin/git")
    git.parent.mkdir()
    known = harness.repo / ".git"  # where the step may look and write
    git.write_text(
        f'#!/bin/sh\nif [ -e {known}/hang ]; then echo $$ >{known}/hung; exec sleep 60; fi\nexec /usr/bin/git "$@"\n'
    )
    git.chmod(0o755)
    write_drop_in(f"{harness.worker}.service", "git", "Environment=PATH=/srv/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    systemctl("restart", f"{harness.worker}.service")
    systemctl("restart", SERVICE)
    report("end on request", "Deactivated successfully" in service_log().split("Stopping")[-1])
    pid = main_pid()
    (known / "hang").touch()
    hung = known / "hung"
    wait_until(lambda: hung.exists() and hung.read_text(), "git hangs")
    wait_for_watchdog_pings()
    report("alive while git hangs", main_pid() == pid)
    stuck = psutil.Process(int(hung.read_text()))

    write_drop_in(SERVICE, "hurry", "WatchdogSec=2")
    begun = time.monotonic()
    systemctl("restart", SERVICE)
    report("seconds to restart while git hangs", time.monotonic() - begun)
    wait_until(lambda: not stuck.is_running(), "the git that hung was ended")
    report("a git that hangs ends with the watchdog", True)
    (known / "hang").unlink()
    pid = main_pid()
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: main_pid() not in (0, pid) and get_property(SERVICE, "ActiveState") == "active", "started again")
    wait_until(lambda: harness.watchdog_metrics() is not None, "it answers")
    told = service_log()
    report(
        "hung", ["Watchdog timeout" in told, "with result 'watchdog'" in told, "Fatal Python error: Aborted" in told]
    )


def check_mended_config(harness: SystemdHarness) -> None:
    harness.edit_rules("above: 15%", "above: 15 parsecs")
    systemctl("stop", SERVICE)
    begun = systemctl("start", SERVICE)
    wait_until(lambda: int(get_property(SERVICE, "NRestarts")) >= 1, "it is tried again")
    report("start with broken files", [begun.returncode != 0, f"\n{CONFIG_DIR}/rules/toy.yaml:" in service_log()])
    harness.edit_rules("above: 15 parsecs", "above: 15%")
    wait_until(lambda: get_property(SERVICE, "ActiveState") == "active", "mended")
    report("starts by itself once the files are mended", True)


# ─ the bot is a unit ─


def ladder() -> None:
    """A bad merge, a person at work, and crashes."""
    night = SystemdHarness()
    night.install_bot_unit("Restart=on-failure\nRestartSec=1")
    crashes = yaml.safe_load((CHECKOUT / "rules" / "process.yaml").read_text())["kpis"]["crashes"]
    night.write_service_config(
        more=f"  process: {{type: process, unit: {night.unit}, every: 500ms}}",
        kpis=f"  crashes: {json.dumps(crashes)}",
        rules="  - {name: crash, kpi: crashes, crit: {above: 0, for: 600ms, clear: 0}}",
    )
    systemctl("start", SERVICE)
    night.wait_until_healthy()
    deployed = check_external_restart(night)
    check_rollback(night, deployed)
    check_bot_crash(night)


def check_external_restart(harness: SystemdHarness) -> str:
    """Somebody restarts the bot, and then deploys what is bad: the repair waits for as long as it is settling.

    Returns the invocation that was deployed.
    """
    harness.edit_rules("settling: 1s", "settling: 1h")
    wait_until(
        lambda: harness.target_state().invocation == get_property(harness.unit, "InvocationID"),
        "the bot's invocation was noted",
    )
    systemctl("reload", SERVICE)
    wait_until(lambda: "reloaded" in service_log(), "reloaded")
    report("settling before", harness.target_state().unsettled)
    harness.restart_bot()
    wait_until(lambda: harness.target_state().unsettled, "the person's restart was seen")
    report("log of a person's restart", [text for text in service_log().splitlines() if "somebody else" in text])
    harness.deploy_v2(BAD_MODEL)
    wait_until(lambda: "plan ladder refused" in service_log(), "the ladder is refused")
    report("refused", [text for text in service_log().splitlines() if "plan ladder refused" in text])
    report("runs while settling", len(harness.list_runs()))
    deployed = get_property(harness.unit, "InvocationID")
    harness.edit_rules("settling: 1h", "settling: 1s")
    systemctl("reload", SERVICE)
    return deployed


def check_rollback(harness: SystemdHarness, deployed: str) -> None:
    wait_until(lambda: harness.list_runs() and harness.list_runs()[-1]["outcome"], "the ladder has ended")
    (run,) = harness.list_runs()
    report("ladder", [run["outcome"], run["level"], run["reason"]])
    report("ladder's steps", [[step["phase"], step["level"], step["say"], step["status"]] for step in run["steps"]])
    restarts = [step["before"]["invocation"] for step in run["steps"] if step["say"].startswith("restart")]
    report(
        "invocations differ",
        len({*restarts, get_property(harness.unit, "InvocationID")}) == 3 and restarts[0] == deployed,
    )
    report("tree is v1's", harness.git("rev-parse", "HEAD^{tree}") == harness.git("rev-parse", "v1^{tree}"))
    report("git status", harness.git("status", "--porcelain"))
    report("reverts", harness.revert_commits())
    report("page", (harness.bot_metrics() or "").splitlines()[0])
    report("strangers in the repository", harness.foreign_files())
    wait_until(lambda: all(one["closed"] for one in harness.list_incidents()), "the incident is closed")
    report("trips", [one["trips"] for one in harness.list_incidents()])


def check_bot_crash(harness: SystemdHarness) -> None:
    state, value = 'watchdog_rule_state{rule="crash",target="toy"}', 'watchdog_kpi_value{kpi="crashes",target="toy"}'
    wait_until(
        lambda: harness.target_state().invocation == get_property(harness.unit, "InvocationID"),
        "our own restart was noted",
    )
    report(
        "before any crash",
        [harness.watchdog_metric(state), harness.watchdog_metric(value), get_property(harness.unit, "NRestarts")],
    )
    settled = harness.target_state().unsettled
    os.kill(main_pid(harness.unit), signal.SIGKILL)
    wait_until(
        lambda: (
            get_property(harness.unit, "NRestarts") == "1" and get_property(harness.unit, "ActiveState") == "active"
        ),
        "restarted",
    )
    wait_until(lambda: harness.watchdog_metric(state) == 2, "the crash is seen")
    wait_until(lambda: round(harness.watchdog_metric(value) or 0) == 1, "systemd's restart is counted")
    wait_until(
        lambda: harness.target_state().invocation == get_property(harness.unit, "InvocationID"),
        "systemd's restart was seen",
    )
    report("a crash is nobody's restart", harness.target_state().unsettled == settled)

    write_drop_in(harness.unit, "left", "Restart=no")
    os.kill(main_pid(harness.unit), signal.SIGKILL)
    wait_until(lambda: get_property(harness.unit, "ActiveState") == "failed", "left dead")
    wait_until(lambda: round(harness.watchdog_metric(value) or 0) == 2, "a unit that stays down counts, too")
    report("crashes", harness.list_incidents()[0]["trips"])


def falls() -> None:
    """Bots that cannot start at level one: systemd leaves one dead, and starts the other again and again."""
    for name, restart in (("dead", "Restart=no"), ("looping", "Restart=always\nRestartSec=5")):
        night = SystemdHarness(name)
        night.install_bot_unit(restart)
        night.write_service_config(settle="1m")
        systemctl("restart", SERVICE)
        night.wait_until_healthy()
        night.deploy_v2(BAD_MODEL + "CRASH = True\n")
        wait_until(lambda night=night: night.list_runs() and night.list_runs()[0]["outcome"], "the ladder has ended")  # type: ignore[misc]
        run = night.list_runs()[0]
        rungs = [step for step in run["steps"] if step["phase"] == "level"]
        last_of_first = max(step["ended"] for step in rungs if step["level"] == 0)
        first_of_second = min([step["started"] for step in rungs if step["level"] == 1], default=None)
        report(f"{name}: ladder", [run["outcome"], run["level"], run["reason"]])
        report(f"{name}: ms from level one to level two", first_of_second and first_of_second - last_of_first)
        said = f"WARNING {name}: ladder: level feature disproven: "
        report(f"{name}: level one", [text for text in service_log().splitlines() if text.startswith(said)])
        (CONFIG_DIR / "rules" / f"{name}.yaml").unlink()


def units() -> None:
    """The action by itself: one unit that can be masked, one that cannot, one that crashes until its limit is hit."""
    local = Path("/usr/local/lib/systemd/system")
    local.mkdir(parents=True, exist_ok=True)
    sleeps = "[Service]\nExecStart=/bin/sleep infinity\n"
    (local / "kept.service").write_text(sleeps)
    (UNIT_DIR / "own.service").write_text(sleeps)
    crashes = (
        "[Unit]\nStartLimitBurst=2\nStartLimitIntervalSec=300\n[Service]\nType=notify\nExecStart=/bin/sh -c '{}'\n"
    )
    (UNIT_DIR / "crashing.service").write_text(crashes.format("exit 3"))
    systemctl("daemon-reload")
    systemctl("start", "kept", "own")

    for name in ("kept", "own"):
        stop = SystemdAction(do="systemd", stop=f"{name}.service", mask=True)
        before = stop.capture()
        states = [stop.state(before)]
        said = stop.apply(before, "k")
        report(
            f"{name}: masked",
            [*states, stop.state(before), get_property(name, "ActiveState"), get_property(name, "LoadState")],
        )
        report(f"{name}: said", said)
    start = SystemdAction(do="systemd", start="kept.service")
    try:
        start.capture()
    except ActionError as error:
        report("masked: start", str(error))
    systemctl("unmask", "kept")
    before = start.capture()
    start.apply(before, "k")
    report("unmasked: start", start.state(before))

    start = SystemdAction(do="systemd", start="crashing.service")
    before = start.capture()
    errors = []
    for _ in range(4):
        try:
            start.apply(before, "k")
        except ActionError as error:
            errors.append(str(error))
    report("crashing: said", errors)
    (UNIT_DIR / "crashing.service").write_text(
        crashes.format("[ ! -e /tmp/mended ] || exec /bin/sleep infinity; exit 3").replace("Type=notify", "Type=exec")
    )
    systemctl("daemon-reload")
    for _ in range(4):
        systemctl("start", "crashing")
    Path("/tmp/mended").touch()
    report("crashing: by hand", [systemctl("start", "crashing").returncode, get_property("crashing", "ActiveState")])
    report("crashing: mended", [start.apply(before, "k"), start.state(before), get_property("crashing", "ActiveState")])


SCENARIOS = {story.__name__: story for story in (service, ladder, falls, units)}

if __name__ == "__main__":
    try:
        SCENARIOS[sys.argv[1]]()
    except BaseException:
        sys.stdout.write(service_log())
        raise
