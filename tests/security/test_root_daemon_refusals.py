"""What a watchdog that root begins does not begin with, or does not touch: each with a word that says the cure."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.security.root_daemon import RootDaemon, give, root_daemon
from tests.security.unprivileged import BOT, STRANGER, snapshot
from watchdog.host.privileges import service_account

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to let go of it")]
FLAG = {"do": "flag", "file": "config.py", "set": {"FEATURE": False}, "timeout": "60s"}


@pytest.fixture
def daemon() -> Iterator[RootDaemon]:
    with root_daemon(lambda made: None) as made:
        yield made


@pytest.mark.parametrize("where", ["in the bot's folder", "writable beside the configuration", "a link"])
def test_a_token_that_the_bot_could_put_in_place_is_sent_nowhere(daemon: RootDaemon, where: str) -> None:
    """A relative one lies beside watchdog.yaml, whatever the bot has of that name."""
    bot = daemon.add_bot("bot", {"do": "http", "url": f"http://127.0.0.1:{daemon.page.port}/", "token_file": "a.token"})
    (bot / "a.token").write_text("the bot's")
    give(bot, BOT)
    token = daemon.config / "a.token"
    if where == "writable beside the configuration":
        token.write_text("somebody's")
        os.chown(token, BOT, BOT)
    elif where == "a link":
        token.symlink_to(bot / "a.token")
    if where == "in the bot's folder":
        daemon.start()
        daemon.breach("bot")
        daemon.wait_logged(r" bot: .*failed \(.*a\.token")
        assert daemon.page.posted == [("/halted/bot", None)] or not daemon.page.posted
    else:
        told = daemon.refusal()
        assert "a.token" in told
        assert "chown" in told
        assert not daemon.page.posted


@pytest.mark.parametrize("kind", ["FIFO", "link", "file", "folder of a stranger's", "folder with a link in it"])
def test_a_state_folder_that_somebody_laid_before_the_first_start_is_not_used(daemon: RootDaemon, kind: str) -> None:
    shared = daemon.top / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    daemon.state = shared / "state"
    if kind == "FIFO":
        os.mkfifo(daemon.state)
    elif kind == "link":
        daemon.state.symlink_to(daemon.outside / "public")
    elif kind == "file":
        daemon.state.write_text("x")
    else:
        daemon.state.mkdir()
    if kind == "folder with a link in it":
        (daemon.state / "journal.db").symlink_to(daemon.outside / "public/CANARY")
        os.chown(daemon.state / "journal.db", STRANGER, STRANGER, follow_symlinks=False)
    os.chown(daemon.state, STRANGER, STRANGER, follow_symlinks=False)
    daemon.add_bot("bot")
    was = snapshot(daemon.outside), snapshot(shared)
    told = daemon.refusal()

    assert str(daemon.state) in told
    assert "Traceback" not in told
    assert (snapshot(daemon.outside), snapshot(shared)) == was


@pytest.mark.parametrize("above", [0, 1])
def test_a_state_folder_that_holds_the_configuration_is_not_given_away(daemon: RootDaemon, above: int) -> None:
    daemon.add_bot("bot")
    daemon.state = (daemon.config, daemon.top)[above]
    told = daemon.refusal()

    assert f"the state folder {daemon.state} is not handed to user" in told
    assert {path.stat().st_uid for path in (daemon.top, daemon.config, *daemon.config.rglob("*"))} == {0}


def test_what_is_said_of_a_state_folder_of_roots_is_said_of_whom_it_will_be(daemon: RootDaemon) -> None:
    """A version that ran as root left one. The token was given to the new user, as the page says."""
    daemon.add_bot("bot")
    daemon.state.mkdir()
    token = daemon.config / "a.token"
    token.write_text("s3cret")
    os.chown(token, (uid := service_account(daemon.state).uid), uid)
    daemon.sources["page"]["token_file"] = "a.token"
    daemon.start()
    os.chown(daemon.state, 0, 0)

    assert "run will refuse" not in daemon.cli("check").stdout


def test_a_state_folder_within_a_bots_own_does_not_make_it_the_bots_process(daemon: RootDaemon) -> None:
    """What the bot's user lays there could have it act on other bots."""
    bot = daemon.add_bot("bot")
    daemon.state = bot / "state"
    daemon.state.mkdir()
    give(bot, BOT)
    was = snapshot(bot)

    assert f"the state folder {daemon.state} is not used: the folder {bot} belongs to {BOT}" in (
        told := daemon.refusal()
    )
    assert "sudo -u" in told  # a bot's folder, or somebody's home, is not root's to take
    assert "chown" not in told
    assert snapshot(bot) == was


@pytest.mark.parametrize("where", ["the configuration's own", "what else root has"])
def test_a_folder_in_which_root_has_something_else_is_handed_to_nobody(daemon: RootDaemon, where: str) -> None:
    """The service's user could exchange the configuration otherwise, and say `run_as: root`."""
    daemon.add_bot("bot")
    daemon.state = daemon.config if "configuration" in where else daemon.outside / "public"
    daemon.write_config()
    was = {path: (path.stat().st_uid, path.stat().st_mode) for path in (daemon.state, *daemon.state.rglob("*"))}

    told = daemon.refusal()
    assert f"the state folder {daemon.state} is not handed to user" in told
    assert "name a folder of its own" in told
    assert {path: (path.stat().st_uid, path.stat().st_mode) for path in (daemon.state, *daemon.state.rglob("*"))} == was


def test_of_roots_the_service_gets_what_is_its_own_state_and_nothing_else(daemon: RootDaemon) -> None:
    daemon.add_bot("bot")
    (daemon.state / "snapshots").mkdir(parents=True)
    for path in (daemon.state / "snapshots/a.json", daemon.state / "note"):
        path.write_text("x")
    os.chown(daemon.state, 61_913, 61_913)
    (daemon.state / "snapshots/shadow").hardlink_to(daemon.outside / "root/CANARY")
    was = snapshot(daemon.outside)

    assert str(daemon.state / "snapshots/shadow") in daemon.refusal()
    owners = {path.name: path.stat().st_uid for path in daemon.state.rglob("*")}
    assert owners["snapshots"] == owners["a.json"] == 61_913
    assert owners["shadow"] == owners["note"] == 0
    assert snapshot(daemon.outside) == was


@pytest.mark.parametrize("planted", ["FIFO", "link", "file of the bot's", "file that all may write"])
def test_what_was_planted_in_the_state_folder_is_not_believed(daemon: RootDaemon, planted: str) -> None:
    daemon.add_bot("bot")
    daemon.state.mkdir(mode=0o777)
    os.chown(daemon.state, 61_913, 61_913)
    journal = daemon.state / "journal.db"
    if planted == "FIFO":
        os.mkfifo(journal)
    elif planted == "link":
        journal.symlink_to(daemon.outside / "public/CANARY")
    else:
        journal.write_bytes(b"")
        journal.chmod(0o666 if "all" in planted else 0o644)
    os.chown(journal, BOT if "bot's" in planted else 61_913, -1, follow_symlinks=False)
    was = snapshot(daemon.outside)

    assert str(journal) in daemon.refusal()
    assert snapshot(daemon.outside) == was


@pytest.mark.parametrize("owner", [0, STRANGER])
def test_a_repository_that_becomes_somebody_elses_is_not_acted_upon(daemon: RootDaemon, owner: int) -> None:
    """By a link that the bot's user lays where its repository was, once the watchdog runs."""
    own = daemon.bots / "own"
    own.mkdir()
    victim = daemon.outside / ("root" if owner == 0 else "stranger")
    daemon.add_bot("bot", {**FLAG, "set": {"TRADING": False}}, repo=own / "repo")
    os.chown(own, BOT, BOT)
    daemon.start()
    (own / "repo").rename(own / "was")
    (own / "repo").symlink_to(victim)
    os.chown(own / "repo", BOT, BOT, follow_symlinks=False)
    was = snapshot(daemon.outside)
    daemon.breach("bot")
    told = daemon.wait_logged(r" bot: set TRADING = false in config.py: failed .*")
    daemon.wait_halted("bot")
    daemon.wait_halts_over("bot")

    assert "run_as" in told
    assert snapshot(daemon.outside) == was


def test_a_program_or_a_configuration_that_others_could_change_keeps_it_from_starting(daemon: RootDaemon) -> None:
    bot = daemon.add_bot("bot", {"do": "command", "run": ["./x"], "check": ["true"]})
    (bot / "x").write_text("#!/bin/sh\n")
    (bot / "x").chmod(0o755)
    give(bot, BOT)
    os.chown(bot / "x", STRANGER, STRANGER)
    assert f"chown {BOT} {bot}/x" in daemon.refusal() or "chown" in daemon.log()
    os.chown(bot / "x", BOT, BOT)
    (daemon.config / "rules").chmod(0o777)
    assert "chmod go-w" in daemon.refusal()
    assert not daemon.state.exists() or not any(daemon.state.iterdir())


def test_a_targets_owner_that_no_file_names_is_no_account_that_the_broker_becomes(daemon: RootDaemon) -> None:
    """Who took over the daemon could ask root's process for any worker it likes; it begins those of the files."""
    daemon.add_bot("bot")
    daemon.start()
    code = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from watchdog.worker import launch, program
from watchdog.host.account import Account
from watchdog.core.errors import ActionError
broker = launch.Broker(*program.start_broker({str(daemon.config)!r}))
for uid in (0, {STRANGER}):
    try:
        broker.begin(Account("x", uid, {BOT}, (), "/"))
    except ActionError as error:
        print(error)
for verb, unit in (("restart", "ssh.service"), ("stop", "bot.service"), ("mask", "ssh.service"), ("daemon-reload", "")):
    try:
        broker.systemctl(verb, unit, 1000)
    except ActionError as error:
        print(error)
broker.begin(Account("x", {BOT}, 0, (0,), "/")).connect()
broker.close()
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=180)

    assert ran.stdout.splitlines() == [
        "no target or source of the files belongs to user 0",
        f"no target or source of the files belongs to user {STRANGER}",
        "no plan of the files may restart ssh.service",
        "no plan of the files may stop bot.service",
        "no plan of the files may mask ssh.service",
        "no plan of the files may daemon-reload ",
    ], ran.stderr
