"""What a bot's user lays in the way of every kind of step, the whole way through a watchdog that root has begun.

Each attack is a bot of its own, whose repair runs into it; all of them trip at once. Nothing outside of a bot's folder
changes, nothing of root's comes into it, each step ends with a word, and each bot is halted all the same.
"""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.security.root_daemon import HALT_FILE, SECRET, RootDaemon, give, root_daemon
from tests.security.unprivileged import BOT, STRANGER, snapshot, start_as

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to let go of it")]

FLAG = {"do": "flag", "file": "config.py", "set": {"FEATURE": False}, "timeout": "60s"}
RESTORE = {"do": "restore", "file": "state.json", "from": "state.json.backup", "timeout": "60s"}
ARCHIVE = {"do": "archive", "paths": ["data"], "into": "kept", "timeout": "60s"}
REVERT = {"do": "git", "revert": "bad", "timeout": "60s"}
RESTART = {"do": "process", "restart": "process", "grace": "300ms", "alive_for": "50ms", "timeout": "60s"}
TELL = "#!/bin/sh\n{ id -u; env; cat /proc/$PPID/environ; } >> %s/ran\ncat\n"


class Attack(NamedTuple):
    lay: Callable[[Path, Path], object]
    """(the bot's folder, what lies outside)"""
    step: dict[str, Any]
    says: str
    """Regular expression of what is told of the bot."""
    target: dict[str, Any] = {}  # noqa: RUF012 - never changed


def replace(path: Path, target: Path) -> None:
    """By a link."""
    if path.is_dir() and not path.is_symlink():
        path.rename(path.with_name(f"{path.name}-was"))
    else:
        path.unlink(missing_ok=True)
    path.symlink_to(target)


def special(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink(missing_ok=True)
    make(path)


def device(path: Path) -> None:
    os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))


def git(bot: Path, *args: str) -> None:
    """As root, before it is given to the bot's user."""
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "safe.directory=*")
    subprocess.run(["git", *who, *args], cwd=bot, check=True, capture_output=True)


def make_repository(bot: Path) -> None:
    git(bot, "init", "-q", "-b", "main")
    for version in (1, 2):
        (bot / "model.py").write_text(f"SIZE = {version}\n")
        git(bot, "add", "-A")
        git(bot, "commit", "-q", "-m", f"v{version}")
    git(bot, "tag", "bad")


def hostile_settings(bot: Path, outside: Path) -> None:
    """Programs wherever git may name one."""
    tell = bot / "tell"
    tell.write_text(TELL % bot)
    tell.chmod(0o755)
    (bot / "hooks").mkdir()
    for hook in ("post-checkout", "pre-commit", "post-commit", "reference-transaction", "post-index-change"):
        (bot / "hooks" / hook).symlink_to(tell)
    settings = {
        "core.hooksPath": str(bot / "hooks"),
        "core.fsmonitor": str(tell),
        "core.sshCommand": str(tell),
        "core.pager": str(tell),
        "core.editor": str(tell),
        "filter.x.clean": str(tell),
        "filter.x.smudge": str(tell),
        "diff.x.textconv": str(tell),
        "gpg.program": str(tell),
        "commit.gpgSign": "true",
    }
    for name, value in settings.items():
        git(bot, "config", name, value)
    (bot / ".git/info/attributes").write_text("*.py filter=x diff=x\n")


def name_process(uid: int) -> Callable[[Path, Path], None]:
    """The pid file names a process of that user that runs the bot's very command, with a forged time."""

    def lay(bot: Path, outside: Path) -> None:
        victim = start_as(uid, "sleep", "600")
        VICTIMS.append(victim)
        (bot / "bot.pid").write_text(f"{victim.pid}\n")
        os.utime(bot / "bot.pid", (time.time() - 1, time.time() - 1))

    return lay


VICTIMS: list[subprocess.Popen[bytes]] = []
PROCESS = {"process": {"pid_file": "bot.pid", "command": ["sleep", "600"], "log": "bot.log"}}
LEADS_OUT = r"failed \(.* is a link, or lies behind one, that leads out of "
NO_FILE = r"failed \(.* is no regular file but a (?:FIFO|device)"
NO_LINK = r"is a symbolic link, and git would write where it leads"

ATTACKS: dict[str, Attack] = {
    "flag-link": Attack(lambda bot, out: replace(bot / "config.py", out / "root/config.py"), FLAG, LEADS_OUT),
    "flag-link-public": Attack(lambda bot, out: replace(bot / "config.py", out / "public/config.py"), FLAG, LEADS_OUT),
    "flag-link-stranger": Attack(
        lambda bot, out: replace(bot / "config.py", out / "stranger/config.py"), FLAG, LEADS_OUT
    ),
    "flag-fifo": Attack(lambda bot, _: special(bot / "config.py", os.mkfifo), FLAG, NO_FILE),
    "flag-device": Attack(lambda bot, _: special(bot / "config.py", device), FLAG, NO_FILE),
    "flag-setuid": Attack(lambda bot, _: None, FLAG, r"FEATURE = false in config\.py"),
    "flag-memory": Attack(lambda bot, _: replace(bot / "config.py", Path("/proc/self/mem")), FLAG, LEADS_OUT),
    "restore-link": Attack(
        lambda bot, out: replace(bot / "state.json.backup", out / "root/state.json"), RESTORE, LEADS_OUT
    ),
    "restore-over-link": Attack(
        lambda bot, out: replace(bot / "state.json", out / "public/state.json"), RESTORE, LEADS_OUT
    ),
    "restore-fifo": Attack(lambda bot, _: special(bot / "state.json.backup", os.mkfifo), RESTORE, NO_FILE),
    "archive-paths-link": Attack(
        lambda bot, out: replace(bot / "data", out / "root"), ARCHIVE, r"data is no file or folder"
    ),
    "archive-parent-link": Attack(
        lambda bot, out: replace(bot / "data", out / "stranger"), {**ARCHIVE, "paths": ["data/state.json"]}, LEADS_OUT
    ),
    "archive-into-link": Attack(lambda bot, out: replace(bot / "kept", out / "stranger"), ARCHIVE, LEADS_OUT),
    "archive-fifo": Attack(lambda bot, _: os.mkfifo(bot / "data/pipe"), ARCHIVE, r"data/pipe is no file or folder"),
    "git-private-link": Attack(
        lambda bot, out: (bot / ".git/trading-watchdog").symlink_to(out / "root"),
        REVERT,
        r"git revert bad: \w+ → \w+, 1 file",
    ),
    "git-index-link": Attack(
        lambda bot, out: replace(bot / ".git/index", out / "public/CANARY"), REVERT, rf"\.git/index {NO_LINK}"
    ),
    "git-head-link": Attack(
        lambda bot, out: replace(bot / ".git/HEAD", out / "root/CANARY"), REVERT, rf"\.git/HEAD {NO_LINK}"
    ),
    "git-refs-link": Attack(
        lambda bot, out: replace(bot / ".git/refs", out / "stranger"), REVERT, rf"\.git/refs {NO_LINK}"
    ),
    "git-objects-link": Attack(
        lambda bot, out: replace(bot / ".git/objects", out / "stranger"), REVERT, rf"\.git/objects {NO_LINK}"
    ),
    "git-model-link": Attack(
        lambda bot, out: replace(bot / "model.py", out / "root/config.py"),
        REVERT,
        r"edited or in the way, and not by us: model\.py",
    ),
    "git-index-fifo": Attack(
        lambda bot, _: special(bot / ".git/index", os.mkfifo), REVERT, r"\.git/index is neither a file nor a folder"
    ),
    "git-settings": Attack(hostile_settings, REVERT, r"git revert bad: \w+ → \w+, 1 file"),
    "git-include": Attack(
        lambda bot, out: git(bot, "config", "include.path", str(out / "root/config.py")), REVERT, r"Permission denied"
    ),
    "process-fifo": Attack(
        lambda bot, _: os.mkfifo(bot / "bot.pid"), RESTART, r"bot\.pid is no regular file but a FIFO", PROCESS
    ),
    "process-log-link": Attack(
        lambda bot, out: (bot / "bot.log").symlink_to(out / "public/CANARY"),
        RESTART,
        r"bot\.log is a link, or lies behind one, that leads out of",
        PROCESS,
    ),
    "process-of-root": Attack(name_process(0), RESTART, r"belongs to root", PROCESS),
    "process-of-stranger": Attack(name_process(STRANGER), RESTART, rf"belongs to {STRANGER}", PROCESS),
    "process-of-init": Attack(
        lambda bot, _: (bot / "bot.pid").write_text("1\n"), RESTART, r"bot\.pid holds no process id", PROCESS
    ),
    "verify-log-fifo": Attack(
        lambda bot, _: os.mkfifo(bot / "bot.log"),
        FLAG,
        r"no proof within",
        {"verify": {"settle": "1s", "log": {"file": "bot.log", "present": "up"}}},
    ),
    "verify-log-link": Attack(
        lambda bot, out: (bot / "bot.log").symlink_to(out / "root/CANARY"),
        FLAG,
        r"no proof within",
        {"verify": {"settle": "1s", "log": {"file": "bot.log", "absent": "CANARY"}}},
    ),
    "command-link": Attack(
        lambda bot, out: (bot / "where").symlink_to(out / "root"),
        {"do": "command", "run": ["cp", "where/CANARY", "stolen"], "check": ["test", "-e", "stolen"]},
        r"Permission denied",
    ),
    "halt-file-fifo": Attack(lambda bot, _: special(bot / HALT_FILE, os.mkfifo), FLAG, NO_FILE),
    "halt-file-link": Attack(lambda bot, out: replace(bot / HALT_FILE, out / "root/config.py"), FLAG, LEADS_OUT),
}


def prepare(daemon: RootDaemon) -> None:
    for name, attack in ATTACKS.items():
        bot = daemon.add_bot(name, attack.step, **attack.target)
        (bot / "data").mkdir()
        (bot / "data/memory").write_text("own")
        if attack.step["do"] == "git":
            make_repository(bot)
        attack.lay(bot, daemon.outside)
        give(bot, BOT)
        if name == "flag-setuid":
            (bot / "config.py").chmod(0o6755)


@pytest.fixture(scope="module")
def attacked() -> Iterator[tuple[RootDaemon, dict[str, tuple[Any, ...]]]]:
    try:
        with root_daemon(prepare) as daemon:
            was = snapshot(daemon.outside)
            daemon.start()
            daemon.breach(*ATTACKS)
            for name in ("verify-log-fifo", "verify-log-link"):  # nothing but the log is left to wait for
                daemon.wait_logged(rf"{name}: set FEATURE = false in config.py: FEATURE")
                daemon.heal(name)
            daemon.wait_halted(*ATTACKS)
            daemon.wait_halts_over(*ATTACKS)
            yield daemon, was
    finally:
        for victim in VICTIMS:
            victim.kill()
            victim.wait()
        VICTIMS.clear()


Attacked = tuple[RootDaemon, dict[str, tuple[Any, ...]]]


def test_every_step_that_meets_one_ends_with_a_word_of_it(attacked: Attacked) -> None:
    daemon, _ = attacked
    told = {name: daemon.lines_of(name) for name in ATTACKS}

    assert {name: told[name] for name, attack in ATTACKS.items() if not re.search(attack.says, told[name])} == {}
    assert "CANARY" not in daemon.log().replace("/CANARY", "")
    assert "Traceback" not in daemon.log()
    assert "did not end in time" not in daemon.log()


def test_nothing_outside_changes_and_nothing_of_roots_is_read_into_a_bots_folder(attacked: Attacked) -> None:
    daemon, was = attacked

    assert snapshot(daemon.outside) == was
    assert [victim.poll() for victim in VICTIMS] == [None] * len(VICTIMS)
    for path in daemon.bots.rglob("*"):
        found = path.lstat()
        assert (found.st_uid, found.st_gid) == (BOT, BOT), path
        if not stat.S_ISREG(found.st_mode):
            continue
        assert not found.st_mode & (stat.S_ISUID | stat.S_ISGID), path
        assert b"CANARY" not in path.read_bytes().replace(b"/CANARY", b""), path
        assert SECRET.encode() not in path.read_bytes(), path
        if path.name.endswith(".tar.gz"):
            with tarfile.open(path) as tar:
                assert not any("CANARY" in name for name in tar.getnames())


def test_what_git_was_told_to_run_ran_as_the_bot_if_at_all(attacked: Attacked) -> None:
    ran = attacked[0].bots / "git-settings/ran"
    lines = ran.read_text().splitlines() if ran.exists() else [str(BOT)]

    assert lines[0] == str(BOT)
    assert "SECRET_TOKEN" not in "\n".join(lines)


def test_every_halt_wrote_down_what_could_not_be_done_and_went_on(attacked: Attacked) -> None:
    daemon, _ = attacked
    for name in ATTACKS:
        path = daemon.bots / name / HALT_FILE
        if not name.startswith("halt-file"):
            assert path.read_text() == "TRADING = False\n", name


@pytest.mark.parametrize("name", ["flag-setuid", "git-private-link"])
def test_undo_goes_through_no_link_that_was_laid_since(name: str, attacked: Attacked) -> None:
    """What the repair changed is a link to root's by now; `undo` runs in the daemon, as the bot's user."""
    daemon, was = attacked
    (incident,) = [one["id"] for one in json.loads(daemon.cli("incidents", "--json").stdout) if one["target"] == name]
    daemon.heal(name)
    resumed = daemon.cli("resume", name, "--reason", "it is well")
    assert resumed.returncode == 0, resumed.stderr
    file = {"flag-setuid": "config.py", "git-private-link": "model.py"}[name]
    bot = daemon.bots / name
    replace(bot / file, daemon.outside / "root/config.py")
    give(bot, BOT)
    undone = daemon.cli("undo", str(incident), "--reason", "a try", "--yes")

    assert undone.returncode == 1, undone.stdout
    assert re.search(rf"{file}|link", undone.stdout + undone.stderr)
    assert (bot / file).is_symlink()
    assert snapshot(daemon.outside) == was
