"""What stays root does what the files name, for whoever stands at its socket, and nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.security.unprivileged import BOT, STRANGER, run_in_child
from tests.support.actions import wait_until
from watchdog import config
from watchdog.core.errors import ActionError, SourceError
from watchdog.core.executor import DirectExecutor, owner_executor
from watchdog.core.target import Target
from watchdog.host import file_state, systemctl
from watchdog.host.account import Account, account_by_name, account_by_uid, become, target_account
from watchdog.worker import allowed, launch, program
from watchdog.worker import broker as broker_module
from watchdog.worker.client import WorkerExecutor

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")]

CONFIG = """\
targets:
  bot: {{repo: {bot}, unit: bot.service}}
plans:
  fix:
    kind: halt
    levels:
      - name: stop
        steps: [{{do: systemd, stop: bot.service}}]
        verify: {{that: ["vector(1) > 0"], settle: 1s, quiet: 1s, give_up: 5s}}
kpis:
  cpu: {{expr: vector(20), unit: ratio}}
rules:
  - {{name: hot, kpi: cpu, target: bot, crit: {{above: 1000%, for: 2s, plan: fix}}}}
"""


@pytest.fixture
def top() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="broker-"))
    made.chmod(0o755)
    (made / "bot").mkdir()
    os.chown(made / "bot", BOT, BOT)
    (made / "etc").mkdir()
    (made / "etc/rules").mkdir()
    (made / "etc/watchdog.yaml").write_text(f"state: {made}/state\n")
    (made / "etc/rules/bot.yaml").write_text(CONFIG.format(bot=made / "bot"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def broker(top: Path) -> Iterator[launch.Broker]:
    made = launch.Broker(*program.start_broker(str(top / "etc")))
    yield made
    made.close()


def test_it_begins_workers_of_the_owners_of_targets_and_of_nobody_else(broker: launch.Broker, top: Path) -> None:
    server = broker.begin(account_by_uid(BOT, BOT))
    with server.connect():
        pass
    server.close()
    for uid in (0, STRANGER, 1):
        with pytest.raises(ActionError, match=f"no target or source of the files belongs to user {uid}"):
            broker.begin(account_by_uid(uid))
    assert top.exists()


@pytest.mark.slow
@pytest.mark.parametrize("target", ["{}", "{unit: other.service}"])
def test_a_target_that_says_nobody_has_no_worker_of_roots_begun(top: Path, target: str) -> None:
    """The daemon acts on it itself: who took that over would be root by asking for it."""
    (top / "etc/rules/other.yaml").write_text(f"targets:\n  other: {target}\n")
    broker = launch.Broker(*program.start_broker(str(top / "etc")))
    try:
        with pytest.raises(ActionError, match="no target or source of the files belongs to user 0"):
            broker.begin(account_by_uid(0)).close()
    finally:
        broker.close()


@pytest.mark.slow
def test_it_begins_workers_of_those_as_whom_programs_of_sources_run(top: Path) -> None:
    entries = "".join(
        f"  probe{number}: {{type: command, run: ['true'], format: nagios{said}}}\n"
        for number, said in enumerate((", user: nobody", f", cwd: {top}/bot", "", ", cwd: /", ", user: no-such-user"))
    )
    (top / "etc/watchdog.yaml").write_text(f"sources:\n{entries}")
    (top / "etc/rules/bot.yaml").unlink()
    broker = launch.Broker(*program.start_broker(str(top / "etc")))
    try:
        for account in (account_by_name("nobody"), account_by_uid(BOT, BOT)):
            broker.begin(account).close()
        for uid in (0, STRANGER):
            with pytest.raises(ActionError, match=f"no target or source of the files belongs to user {uid}"):
                broker.begin(account_by_uid(uid))
    finally:
        broker.close()


@pytest.mark.parametrize(
    "said",
    [
        "type: jsonl, files: {bot}/*.jsonl, values: {{n: {{count: n}}}}",
        *(
            pytest.param(said, marks=pytest.mark.slow)  # each begins a broker
            for said in (
                "type: json_file, file: {bot}/state.json, values: {{n: n}}",
                "type: log, files: {bot}/bot.log, values: {{n: {{count: n}}}}",
                "type: textfile, folder: {bot}",
                "type: sql, file: {bot}/bot.db, queries: [{{query: SELECT 1 AS n, values: {{n: n}}}}]",
                "type: process, pid_file: {bot}/bot.pid",
                "type: systemd, units: [bot.service], user: nobody",
                "type: log, files: {top}/bot.log, user: nobody, values: {{n: {{count: n}}}}",
                "type: jsonl, files: {top}/*.jsonl, user: '65534', values: {{n: {{count: n}}}}",
                "type: json_file, file: {top}/state.json, values: {{n: n}}",
                "type: log, unit: bot.service, user: nobody, values: {{n: {{count: n}}}}",
                "type: textfile, folder: {top}/nowhere",
            )
        ),
    ],
)
def test_it_begins_workers_of_those_as_whom_sources_are_read(top: Path, said: str) -> None:
    """Of each: whom a read asks is whom the files allow, and nobody else."""
    (top / "etc/watchdog.yaml").write_text(f"sources:\n  it: {{{said.format(bot=top / 'bot', top=top)}}}\n")
    (top / "etc/rules/bot.yaml").unlink()
    source = config.load(top / "etc", environ={}).sources["it"]
    asked = AskedExecutor()
    token = owner_executor.set(asked)
    with contextlib.suppress(SourceError):
        source.read({}, {}, 1_700_000_000_000)  # type: ignore[union-attr]
    owner_executor.reset(token)

    assert allowed.allowed(config.load(top / "etc", environ={}))["accounts"] == asked.uids
    broker = launch.Broker(*program.start_broker(str(top / "etc")))
    try:
        for uid in asked.uids:
            broker.begin(account_by_uid(uid, uid)).close()
        for uid in {0, BOT, STRANGER} - {*asked.uids}:
            with pytest.raises(ActionError, match=f"no target or source of the files belongs to user {uid}"):
                broker.begin(account_by_uid(uid))
    finally:
        broker.close()


class AskedExecutor(DirectExecutor):
    """Notes as whom something was to be done, and does nothing."""

    def __init__(self) -> None:
        self.uids: list[int] = []

    def call(self, target: Target, function: Any, *args: Any, **kwargs: Any) -> Any:
        self.uids.append(target_account(target).uid)
        raise ActionError("nothing is done")


def test_it_asks_systemd_for_what_a_plan_names_and_for_nothing_else(broker: launch.Broker) -> None:
    for verb, unit in (
        *(("restart", "bot.service"), ("stop", "ssh.service"), ("mask", "bot.service")),
        *(("poweroff", ""), ("stop", "--force bot.service"), ("stop", "bot.service ssh.service")),
    ):
        with pytest.raises(ActionError, match="no plan of the files may"):
            broker.systemctl(verb, unit, 1_000)


@pytest.mark.slow
def test_files_that_somebody_else_has_changed_meanwhile_allow_nothing(broker: launch.Broker, top: Path) -> None:
    (top / "mine").mkdir()
    os.chown(top / "mine", STRANGER, STRANGER)
    text = (top / "etc/rules/bot.yaml").read_text()
    (top / "etc/rules/bot.yaml").write_text(text.replace("plans:", f"  two: {{repo: {top}/mine}}\nplans:"))
    os.chown(top / "etc/rules/bot.yaml", STRANGER, STRANGER)

    with pytest.raises(ActionError, match=f"no target or source of the files belongs to user {STRANGER}"):
        broker.begin(account_by_uid(STRANGER, STRANGER))


@pytest.mark.slow
def test_files_that_root_has_changed_meanwhile_count_and_what_was_allowed_stays(
    broker: launch.Broker, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.begin(account_by_uid(BOT, BOT)).close()
    os.chown(top / "bot", STRANGER, STRANGER)
    deadline = threading.Event()
    monkeypatch.setattr(broker_module, "_RELOAD_INTERVAL", 0)
    deadline.wait(broker_module._RELOAD_INTERVAL + 1.1)
    broker.begin(account_by_uid(STRANGER, STRANGER)).close()
    broker.begin(account_by_uid(BOT, BOT)).close()


@pytest.mark.slow
def test_it_serves_several_at_once_and_hangs_on_none(broker: launch.Broker) -> None:
    started = [broker.begin(account_by_uid(BOT, BOT)) for _ in range(3)]
    ended: list[bool] = []

    def ask() -> None:
        server = broker.begin(account_by_uid(BOT, BOT))
        with server.connect():
            ended.append(True)
        server.close()

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(ended) == 6
    for server in started:
        server.close()


def test_what_is_no_question_is_refused_and_the_next_is_answered(broker: launch.Broker) -> None:
    for question in (
        b"",
        b"{",
        b"[]",
        b"7",
        b'{"do": "worker"}',
        b'{"do": "worker", "uid": "0", "gid": 0}',
        b'{"do": "worker", "uid": [], "gid": 0}',
        b'{"do": "systemctl", "verb": [], "unit": {}}',
        b'{"do": "shell", "verb": "x"}',
        b"[" * 4_000,
    ):
        ours, theirs = socket.socketpair()
        with theirs:
            launch._send_handle(broker._control, question or b"x", theirs)
        with pytest.raises(ActionError):
            broker._receive(ours, 20)
        ours.close()
        with pytest.raises(ActionError, match="no plan of the files may"):
            broker.systemctl("stop", "ssh.service", 20_000)
    broker.begin(account_by_uid(BOT, BOT)).close()


@pytest.mark.slow
def test_a_worker_has_no_groups_no_capabilities_and_never_roots_group(broker: launch.Broker, top: Path) -> None:
    os.chown(top / "bot", BOT, 0)  # an owner without an account, whose repository has root's group
    server = broker.begin(account_by_uid(BOT, 0))
    try:
        with server.connect():
            root = psutil.Process(broker._process.pid)
            wait_until(lambda: root.children(recursive=True)[1:])
            workers = root.children(recursive=True)
            assert workers
            for process in workers:
                status = dict(
                    line.split(":", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines()
                )
                assert status["Uid"].split() == [str(BOT)] * 4
                assert status["Gid"].split() == ["65534"] * 4
                assert status["Groups"].split() == []
                assert all(int(status[name], 16) == 0 for name in ("CapEff", "CapPrm", "CapInh", "CapAmb"))
                assert process.environ().keys() <= {*program._PASSED_ON, "HOME", "USER", "LOGNAME", "SHELL"}
    finally:
        server.close()


@pytest.mark.parametrize("gid", [0, None, BOT + 7])
def test_whoever_is_become_has_nothing_of_roots_left(gid: int | None) -> None:
    def look() -> tuple[object, ...]:
        become(account_by_uid(BOT, gid))
        status = Path("/proc/self/status").read_text()
        return os.getresuid(), os.getresgid(), os.getgroups(), "CapEff:\t0000000000000000" in status

    assert run_in_child(look) == ((BOT,) * 3, (65534,) * 3, [], True)


@pytest.mark.parametrize(
    ("booted", "cure"),
    [
        (True, "systemctl enable --now trading-watchdog-worker@40001.socket, or run the watchdog as 40001"),
        (False, "run it as root, which becomes 40001 for that, or as 40001"),
    ],
)
def test_whoever_may_not_act_as_a_bots_user_is_told_what_helps_on_this_machine(
    monkeypatch: pytest.MonkeyPatch, booted: bool, cure: str
) -> None:
    monkeypatch.setattr(systemctl, "is_booted", lambda: booted)

    def ask() -> str:
        become(account_by_uid(STRANGER))
        with pytest.raises(ActionError) as told:
            launch.begin(account_by_uid(BOT))
        return str(told.value)

    assert run_in_child(ask) == f"{STRANGER} may not act as {BOT} — {cure}"


def test_an_account_with_groups_has_them_and_no_other() -> None:
    def look() -> tuple[object, ...]:
        become(Account("somebody", BOT, BOT, (BOT, BOT + 1), "/"))
        with pytest.raises(PermissionError):
            os.setgroups([0])
        with pytest.raises(PermissionError):
            os.setuid(0)
        return os.getresgid(), sorted(os.getgroups())

    assert run_in_child(look) == ((BOT,) * 3, [BOT, BOT + 1])


def test_a_daemon_that_is_no_root_asks_it_and_acts(
    broker: launch.Broker, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def act() -> str:
        become(account_by_uid(STRANGER))
        monkeypatch.setattr(launch, "_broker", broker)
        executor = WorkerExecutor()
        said = executor.call(Target(repo=str(top / "bot")), file_state.file_state, top / "bot/x")
        executor.close()
        return json.dumps(said)

    assert run_in_child(act) == '{"kind": "absent"}'


@pytest.mark.slow
def test_what_it_is_told_counts_once_and_from_whoever_was_root_alone(top: Path) -> None:
    broker = launch.Broker(*program.start_broker(str(top / "etc")))
    try:
        broker.tell({"accounts": [], "units": []})
        broker.tell({"accounts": [0], "units": ["stop ssh.service"]})

        with pytest.raises(ActionError, match="no target or source of the files belongs to user 0"):
            broker.begin(account_by_uid(0)).close()
        with pytest.raises(ActionError, match="no plan of the files may"):
            broker.systemctl("stop", "ssh.service", 1_000)
    finally:
        broker.close()
