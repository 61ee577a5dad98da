"""A watchdog that root has begun: who it is afterwards, and what of it the bots of another user get to see."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.security.root_daemon import SECRET, RootDaemon, give, root_daemon, status_of
from tests.security.unprivileged import BOT, STRANGER, run_in_child

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to let go of it")]
CAP_DAC_READ_SEARCH = 1 << 2
TELL = """#!/bin/sh
{ id -u; id -g; id -G; grep -E '^Cap(Inh|Prm|Eff|Amb)' /proc/self/status; } > who-$1
cat /proc/self/environ /proc/$PPID/environ | tr '\\0' '\\n' > environ-$1
cat /proc/[0-9]*/environ 2> /dev/null | tr '\\0' '\\n' > all-$1
"""


def prepare(daemon: RootDaemon) -> None:
    tell = {"do": "command", "run": ["./scripts/tell", "step"], "check": ["test", "-s", "all-step"]}
    flag = {"do": "flag", "file": "config.py", "set": {"FEATURE": False}}
    bot = daemon.add_bot("bot", flag, tell, verify={"run": ["./scripts/tell", "verify"]})
    (bot / "scripts").mkdir()
    (bot / "scripts/tell").write_text(TELL)
    (bot / "scripts/tell").chmod(0o755)
    give(bot, BOT)


@pytest.fixture(scope="module")
def daemon() -> Iterator[RootDaemon]:
    with root_daemon(prepare) as made:
        made.start()
        made.get("/api/query?expr=alive")  # who answers queries is there, too
        made.breach("bot")
        made.wait_halts_over("bot")
        yield made


def capabilities(pid: int) -> set[int]:
    status = status_of(pid)
    return {int(status[name], 16) for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")}


def test_whoever_reads_judges_tells_and_serves_is_not_root_and_may_at_most_read(daemon: RootDaemon) -> None:
    status = status_of(daemon.pid)

    assert {*status["Uid"].split()}.isdisjoint({"0", str(BOT), str(STRANGER)})
    assert "0" not in {*status["Gid"].split(), *status["Groups"].split()}
    assert capabilities(daemon.pid) <= {0, CAP_DAC_READ_SEARCH}


def test_of_what_it_begins_only_who_begins_workers_is_root_and_that_one_knows_nothing(daemon: RootDaemon) -> None:
    service = psutil.Process(daemon.pid).uids().real
    broker = daemon.broker()
    others = [each for each in daemon.descendants() if each.pid != broker.pid]

    assert broker.cmdline()[-2:] == ["broker", str(daemon.config)]
    assert {*broker.environ()} <= {
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "LANG",
        "LANGUAGE",
        "LC_ALL",
        "LC_CTYPE",
        "TZ",
    }
    assert {each.uids().real for each in others} == {service, BOT}
    assert os.getpgid(broker.pid) != os.getpgid(daemon.pid)


def test_workers_are_the_bots_user_and_nothing_else(daemon: RootDaemon) -> None:
    workers = daemon.workers()

    assert workers
    for each in workers:
        status = status_of(each.pid)
        assert {*status["Uid"].split(), *status["Gid"].split()} == {str(BOT)}
        assert not status["Groups"].split()
        assert capabilities(each.pid) == {0}
        assert os.getpgid(each.pid) != os.getpgid(daemon.pid)


def test_the_daemons_secrets_are_in_no_environment_but_its_own(daemon: RootDaemon) -> None:
    with_it = []
    for each in daemon.descendants():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, psutil.NoSuchProcess):  # it has ended meanwhile
            environ = Path(f"/proc/{each.pid}/environ").read_bytes()
            if SECRET.encode() in environ and each.uids().real != psutil.Process(daemon.pid).uids().real:
                with_it.append((each.pid, each.cmdline()))

    assert SECRET.encode() in Path(f"/proc/{daemon.pid}/environ").read_bytes()
    assert with_it == []


@pytest.mark.parametrize("when", ["step", "verify"])
def test_a_script_of_the_bots_runs_as_the_bot_and_finds_no_secret_in_any_environment(
    daemon: RootDaemon, when: str
) -> None:
    bot = daemon.bots / "bot"
    uid, gid, groups, *capabilities = (bot / f"who-{when}").read_text().splitlines()

    assert (uid, gid, groups) == (str(BOT), str(BOT), str(BOT))
    assert {int(line.split()[1], 16) for line in capabilities} == {0}
    assert SECRET not in (bot / f"environ-{when}").read_text() + (bot / f"all-{when}").read_text()
    assert "SECRET_TOKEN" not in (bot / f"environ-{when}").read_text()


def test_what_was_changed_is_the_bots_still(daemon: RootDaemon) -> None:
    for path in (daemon.bots / "bot").rglob("*"):
        assert (path.lstat().st_uid, path.lstat().st_gid) == (BOT, BOT), path
    assert (daemon.bots / "bot/config.py").read_text() == "FEATURE = False\n"


@pytest.mark.parametrize("uid", [BOT, STRANGER])
def test_the_state_folder_is_nobody_elses(daemon: RootDaemon, uid: int) -> None:
    for path in (daemon.state, *daemon.state.rglob("*")):
        with contextlib.suppress(FileNotFoundError):
            assert path.stat().st_uid == psutil.Process(daemon.pid).uids().real, path

    def plant() -> list[str]:
        done = []
        for name in (".", "journal.db", "journal.db-wal", "journal.db-shm", "series.db", "lock", "backups"):
            for mode in (os.O_RDONLY, os.O_RDWR):
                with contextlib.suppress(PermissionError, IsADirectoryError):
                    os.close(os.open(daemon.state / name, mode))
                    done.append(name)
        with contextlib.suppress(sqlite3.OperationalError):
            with contextlib.closing(sqlite3.connect(daemon.state / "journal.db")) as journal:
                journal.execute("DELETE FROM target")
            done.append("journal.db, by SQLite")
        with contextlib.suppress(PermissionError):
            daemon.state.rename(daemon.state.with_name("moved"))
            done.append("moved")
        return done

    assert run_in_child(plant, uid=uid) == []


def test_nobody_else_may_stop_it_or_look_into_it(daemon: RootDaemon) -> None:
    broker = daemon.broker().pid

    def meddle() -> list[str]:
        done: list[str] = []
        for pid in (daemon.pid, broker):
            for name in ("environ", "mem", "maps"):
                with contextlib.suppress(PermissionError):
                    Path(f"/proc/{pid}/{name}").open("rb").close()
                    done.append(name)
            with contextlib.suppress(PermissionError):
                done += [f"fd {each.name}" for each in Path(f"/proc/{pid}/fd").iterdir()]
            with contextlib.suppress(PermissionError):
                os.kill(pid, signal.SIGSTOP)
                done.append("stopped")
        return done

    assert run_in_child(meddle, uid=BOT) == []


def test_people_ask_as_root_and_nothing_of_roots_comes_into_the_state(daemon: RootDaemon) -> None:
    """The command, too, parses the journal and the files as the service's user."""
    told = daemon.cli("incidents", "1")
    asked = daemon.cli("hold", "bot", "--for", "1m", "--reason", "a look")

    assert (told.returncode, asked.returncode) == (0, 0), told.stderr + asked.stderr
    assert "set FEATURE = false in config.py" in told.stdout
    assert {path.stat().st_uid for path in daemon.state.iterdir()} == {psutil.Process(daemon.pid).uids().real}


def test_what_it_makes_is_nobody_elses_and_what_a_worker_makes_is_as_the_bot_would(daemon: RootDaemon) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in daemon.state.rglob("*")}

    assert not {name: mode for name, mode in modes.items() if mode & 0o077}
    assert {path.stat().st_mode & 0o777 for path in daemon.state.parent.rglob("environ-*")} == {0o644}


def test_that_nobody_can_act_as_root_any_more_is_told_and_is_no_good_health() -> None:
    with root_daemon(prepare) as made:
        made.start()
        made.broker().kill()

        made.wait_logged("what acts as root has ended: nothing can be done to bots of other users")
        with pytest.raises(OSError, match="503"):
            made.get("/healthz")


@pytest.mark.slow
def test_what_root_says_is_told_as_roots_and_nothing_is_told_of_rights(daemon: RootDaemon) -> None:
    asked = daemon.cli("ack", "1", "--note", "a look")

    assert (asked.stdout, asked.stderr) == ("incident 1 acknowledged by root\n", "")


@pytest.mark.slow
def test_a_report_is_written_where_root_alone_may_write(daemon: RootDaemon) -> None:
    folder = daemon.top / "roots"
    folder.mkdir(mode=0o700)
    report = folder / "1.md"
    report.write_text("what stood there before\n" * 1_000)
    unknown = daemon.cli("report", "4711", "-o", str(report))
    before = report.read_text()
    told = daemon.cli("report", "1", "-o", str(report))

    assert (unknown.returncode, before.splitlines()[-1]) == (1, "what stood there before")
    assert (told.returncode, told.stderr) == (0, "")
    assert report.read_text().startswith("# ")
    assert "what stood there before" not in report.read_text()
    assert report.stat().st_uid == 0
    assert daemon.cli("report", "1", "-o", "/dev/null").returncode == 0
